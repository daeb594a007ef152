"""Fingerprints the code that a job's result depends on, so that all cells of a table come from one program.

The fingerprint covers the files of src/, and of the user's own packages, that the entry point and the classes
named in the config import, directly or indirectly, without comments, docstrings and layout: a better
explanation or another command's code doesn't invalidate finished jobs, a changed line of the training does.
"""

import ast
import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

from src.source_code import tree_digest
from src.trust import TARGET, own_package

SRC = Path(__file__).resolve().parent.parent
LEFT_OUT = (
    "src.command_line",
    "src.environment",
    "src.files",
    "src.launch",
    "src.missing_settings",
    "src.renamed_keys",
    "src.resolvers",
    "src.slurm",
    "src.sweeps",
    "src.tracking",
)
"""Modules that decide how jobs start, what is logged and how files are written, but not what comes out."""


def code_fingerprints(entry_point: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """The files that a job depends on, each with a fingerprint: {"src/editor.py": "0123456789ab"}.

    Args:
        entry_point: its module, "src.train".
        settings: of the job, flat; values that name a class of src or of the user's own are followed.
    """
    classes = {value for name, value in settings.items() if isinstance(value, str) and _is_class(name, value)}
    roots = {name.partition(".")[0] for name in ("src.", *classes)}
    found: dict[str, str] = {}
    waiting = [entry_point, *(name.rpartition(".")[0] for name in sorted(classes))]
    while waiting:
        module = waiting.pop()
        file = module_file(module)
        if file is None or str(file) in found or module.startswith(LEFT_OUT):
            continue
        state = file.stat()
        digest, imported = _read(file, module, state.st_mtime_ns, state.st_size)
        found[str(file)] = digest
        waiting.extend(name for name in imported if name.partition(".")[0] in roots)
    return {_shown(Path(name)): digest for name, digest in sorted(found.items())}


def _is_class(name: str, value: str) -> bool:
    """Whether a setting names a class of src, or one that is the user's own."""
    return value.startswith("src.") or (name.endswith(TARGET) and own_package(value) is not None)


def _shown(file: Path) -> str:
    return str(file.relative_to(SRC.parent) if file.is_relative_to(SRC) else file)


def code_hash(files: Mapping[str, str]) -> str:
    """12 hex digits for all files together."""
    return hashlib.sha256(
        "".join(f"{name} {digest}\n" for name, digest in sorted(files.items())).encode()
    ).hexdigest()[:12]


def changed_files(saved: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    """Files that differ, or that only one of the two versions has."""
    return [name for name in sorted(saved.keys() | present.keys()) if saved.get(name) != present.get(name)]


def module_file(module: str) -> Path | None:
    """The file of a module of src or of a package of the user's own; None for any other name."""
    root, *parts = module.split(".")
    if root == "src":
        return _file_of(SRC.joinpath(*parts)) if parts else None
    place = _place(root) if own_package(module) else None
    return None if place is None else _file_of(place.joinpath(*parts))


def _file_of(path: Path) -> Path | None:
    files = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


@cache
def _place(root: str) -> Path | None:
    """Where a package lies, or a module without its suffix; it is not imported."""
    spec = find_spec(root)
    origin = None if spec is None or spec.origin is None else Path(spec.origin)
    if origin is None or origin.suffix != ".py":
        return None
    return origin.parent if origin.name == "__init__.py" else origin.with_suffix("")


@cache
def _read(file: Path, module: str, changed: int, size: int) -> tuple[str, tuple[str, ...]]:
    """Fingerprint of a file, and the modules it imports; `changed` and `size` keep versions apart in the
    cache.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return tree_digest(tree)[:12], tuple(_imports(tree, package))


def _imports(tree: ast.Module, package: str) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            source = f"{'.' * node.level}{node.module or ''}"
            source = resolve_name(source, package) if node.level else source
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
