"""Memory that is kept, in processes of their own: what is kept there can't be given back."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import src
import torch
from src import memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def fill():
    before = faults()
    torch.ones(16, 1024, 1024)
    return faults() - before

calls = {"kept": memory.keep_freed, "small pages": memory.refuse_huge_pages, "plain": lambda: None}
done = calls[sys.argv[1]]()
fill()
print(done, fill())
"""

PAGES = 16 * 1024 * 1024 * 4 // 4096


def pages(how: str) -> tuple[str, int]:
    """What the call returned, and how many pages a second tensor of 64 MiB waited for."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
    ).stdout.split()
    return done[0], int(done[1])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' memory is left as it is")
def test_freed_memory_is_used_again() -> None:
    kept, waited = pages("kept")
    assert kept == "True"
    assert waited < PAGES // 10  # a busy machine may have to find a few anew
    assert pages("small pages")[1] >= PAGES
