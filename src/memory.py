"""Where the memory of a CPU's tensors comes from. Left alone, a training step on a CPU spends more time on
waiting for memory than on its arithmetic.

The C library hands every large block back to Linux as soon as it is freed, and Linux gives the next one out
empty, zeroed and 4 KiB at a time. A step that makes and drops ten gigabytes of tensors so waits for millions
of pages, every time. `keep_freed` makes the process keep what it has once been given; with huge pages of 2
MiB (src/__init__.py asks torch for them) even the first time is quick. Measured in
experiments/results/throughput.md.

Sources: mallopt(3), prctl(2), and torch's THP_MEM_ALLOC_ENABLE.
"""

import ctypes
import sys

# of <malloc.h> and <linux/prctl.h>
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
PR_SET_THP_DISABLE = 41


def keep_freed() -> bool:
    """From now on, keep memory that is freed, for tensors to come, until the process ends.

    The process then holds its peak, and some gaps: about 8 % more than it would at most without, for a
    training of the full size.

    Returns:
        Whether it does: not where the C library is another than Linux's usual one (glibc).
    """
    library = _c_library()
    mallopt = getattr(library, "mallopt", None)
    if mallopt is None:
        return False
    # nothing from outside the heap, which alone can be kept; and no part of the heap is ever given back
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))


def refuse_huge_pages() -> None:
    """From now on, pages of this process have 4 KiB, as if src/__init__.py had not asked for others. For
    comparisons.
    """
    prctl = getattr(_c_library(), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


def _c_library() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
