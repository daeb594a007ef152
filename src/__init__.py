"""The framework, and its Python interface:

    from src import load_editor, load_judge

Importing it imports neither torch nor Hydra; that is left to the calls.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from src.loading import load_editor, load_judge

__all__ = ["load_editor", "load_judge"]

# Before any of it imports torch: ask for huge pages where tensors are large, see memory.py. Read once, when
# torch reserves memory for the first time; 0 asks for none.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def __getattr__(name: str) -> object:
    if name in __all__:
        from src import loading

        return getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
