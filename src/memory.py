"""Tunes the memory of CPU tensors. By default, a training step on a CPU waits for memory longer than it
computes.

The C library returns every large block to Linux as soon as it is freed, and Linux hands out the next one
zeroed, 4 KiB at a time. A step that allocates and frees ten gigabytes of tensors thus waits for millions of
pages, every time. `keep_freed` makes the process keep its memory; with huge pages of 2 MiB, which
src/__init__.py asks torch for, even the first allocation is quick. Measured in
experiments/results/throughput.md.

Sources: mallopt(3), prctl(2), and torch's THP_MEM_ALLOC_ENABLE.
"""

import ctypes
import sys

# of <malloc.h> and <linux/prctl.h>
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
PR_SET_THP_DISABLE = 41


def keep_freed() -> bool:
    """Keep freed memory for later tensors until the process ends.

    The process then holds its peak and some gaps: about 8 % above its normal peak for a training of the full
    size.

    Returns:
        Whether it took effect; only glibc, Linux's usual C library, supports it.
    """
    library = _c_library()
    mallopt = getattr(library, "mallopt", None)
    if mallopt is None:
        return False
    # allocate from the heap only, as nothing else can be kept, and never give any of it back
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))


def refuse_huge_pages() -> None:
    """Use pages of 4 KiB, as if src/__init__.py hadn't asked for huge ones; for comparisons."""
    prctl = getattr(_c_library(), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


def _c_library() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
