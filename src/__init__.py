"""The framework. Before any of it imports torch: ask for huge pages where tensors are large, see memory.py.
Set the variable to 0 to have none.
"""

import os

# read once, when torch reserves memory for the first time
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
