"""Fingerprints the code that a job's result depends on, so that all cells of a table come from one program.

The fingerprint covers the files of src/ that the entry point and the classes named in the config import,
directly or indirectly, without comments, docstrings and layout: a better explanation or another command's
code doesn't invalidate finished jobs, a changed line of the training does.
"""

import ast
import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from src.source_code import tree_digest

SRC = Path(__file__).resolve().parent.parent
LEFT_OUT = (
    "src.command_line",
    "src.environment",
    "src.files",
    "src.launch",
    "src.missing_settings",
    "src.renamed_keys",
    "src.resolvers",
    "src.sweeps",
    "src.tracking",
)
"""Modules that decide how jobs start, what is logged and how files are written, but not what comes out."""


def code_fingerprints(entry_point: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """The files that a job depends on, each with a fingerprint: {"src/editor.py": "0123456789ab"}.

    Args:
        entry_point: its module, "src.train".
        settings: of the job, flat; values that name a class of src are followed.
    """
    classes = {value for value in settings.values() if isinstance(value, str) and value.startswith("src.")}
    found: dict[str, str] = {}
    waiting = [entry_point, *(name.rpartition(".")[0] for name in sorted(classes))]
    while waiting:
        module = waiting.pop()
        file = module_file(module)
        if file is None or str(file) in found or module.startswith(LEFT_OUT):
            continue
        state = file.stat()
        digest, imported = _read(file, state.st_mtime_ns, state.st_size)
        found[str(file)] = digest
        waiting.extend(imported)
    return {str(Path(name).relative_to(SRC.parent)): digest for name, digest in sorted(found.items())}


def code_hash(files: Mapping[str, str]) -> str:
    """12 hex digits for all files together."""
    return hashlib.sha256(
        "".join(f"{name} {digest}\n" for name, digest in sorted(files.items())).encode()
    ).hexdigest()[:12]


def changed_files(saved: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    """Files that differ, or that only one of the two versions has."""
    return [name for name in sorted(saved.keys() | present.keys()) if saved.get(name) != present.get(name)]


def module_file(module: str) -> Path | None:
    """The file of a module of src; None for any other name."""
    parts = module.split(".")
    if parts[0] != "src":
        return None
    path = SRC.joinpath(*parts[1:])
    return next(
        (
            file
            for file in (path.with_suffix(".py"), path / "__init__.py")
            if len(parts) > 1 and file.is_file()
        ),
        None,
    )


@cache
def _read(file: Path, changed: int, size: int) -> tuple[str, tuple[str, ...]]:
    """Fingerprint of a file, and the modules it imports; `changed` and `size` keep versions apart in the
    cache.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    imported = tuple(_imports(tree))
    return tree_digest(tree)[:12], imported


def _imports(tree: ast.Module) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "src":
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("src."))
