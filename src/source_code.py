"""Digests of Python source that ignore comments, docstrings and layout: a better explanation does not void
results, a changed number does.
"""

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path


def source_digest(files: Iterable[Path]) -> str:
    """sha256 over the names and the parsed code of Python files, in their order."""
    digest = hashlib.sha256()
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        digest.update(f"{file.name}\0{tree_digest(tree)}\0".encode())
    return digest.hexdigest()


def tree_digest(tree: ast.Module) -> str:
    """sha256 of a parsed file. The docstrings are removed from the tree."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # Not only docstrings: also strings below a constant that explain it.
            body[:] = [statement for statement in body if not _is_bare_constant(statement)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_bare_constant(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
