"""Digests of source ignore what changes no result, and nothing else."""

import ast
from pathlib import Path

import pytest

from src.source_code import source_digest, tree_digest
from src.synthetic import world

CODE = '''"""A file."""

SCALE = 0.5
"""Explains the constant."""


class Thing:
    """A class."""

    def area(self, side: float) -> float:
        """A method."""
        return SCALE * side**2
'''


def digest(folder: Path, code: str, name: str = "code.py") -> str:
    (folder / name).write_text(code)
    return source_digest([folder / name])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A file."""', '"""Another header\n\nof several lines."""'),
        ('"""Explains the constant."""\n', ""),
        ('        """A method."""\n', ""),
        ("SCALE = 0.5", "SCALE = 0.5  # half"),
        ("return SCALE * side**2", "return (\n            SCALE * side ** 2\n        )"),
    ],
    ids=["header", "string below a constant", "docstring", "comment", "layout"],
)
def test_words_and_layout_change_no_digest(tmp_path: Path, old: str, new: str) -> None:
    assert old in CODE
    assert digest(tmp_path, CODE) == digest(tmp_path, CODE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [("0.5", "0.25"), ("side**2", "side**3"), ("SCALE * side", "side * SCALE"), ("-> float", "-> int")],
)
def test_changed_code_changes_the_digest(tmp_path: Path, old: str, new: str) -> None:
    assert old in CODE
    assert digest(tmp_path, CODE) != digest(tmp_path, CODE.replace(old, new))


def test_a_moved_file_and_a_new_one_change_the_digest(tmp_path: Path) -> None:
    assert digest(tmp_path, CODE) != digest(tmp_path, CODE, "other.py")
    both = [tmp_path / "code.py", tmp_path / "other.py"]
    assert source_digest(both) != source_digest(both[:1])


def test_a_string_that_is_used_counts() -> None:
    first, second = (tree_digest(ast.parse(f"def name():\n    return '{name}'\n")) for name in "ab")
    assert first != second


def test_the_digest_of_the_synthetic_world_covers_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    monkeypatch.setattr(world, "source_digest", lambda files: seen.extend(files) or "digest")
    assert world.code_digest.__wrapped__() == "digest"
    assert {"measure.py", "scene.py", "language.py", "world.py"} <= {file.name for file in seen}
    assert seen == sorted(seen)
