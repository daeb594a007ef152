"""Originals and edited images in two folders, with an instruction per pair in a text file: the layout of
kohya's scripts, ai-toolkit and SimpleTuner.

    FOLDER/control/a.png     original; also controls, original, source, input, before, conditioning, reference
    FOLDER/target/a.png      edited; also edited, output, after, images, train, dataset
    FOLDER/target/a.txt      the instruction; or a.caption, or beside the original, or in FOLDER/captions

The names of a pair agree but for their suffix, in subfolders too. A pair's id is its name: "sub/a".
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, final

from src.image_files import images_in, is_hidden
from src.json_files import read_text

ORIGINALS = {
    *("control", "controls", "original", "originals", "source", "sources", "input", "inputs", "before"),
    *("conditioning", "condition", "conditions", "reference", "references"),
}
EDITED = {"target", "targets", "edited", "edits", "edit", "output", "outputs", "after"}
PLAIN = {"image", "images", "img", "imgs", "picture", "pictures", "train", "dataset", "data", "instance"}
"""Words of a folder's name that say nothing; a folder of these alone holds the edited images."""

TEXTS = {"caption", "captions", "prompt", "prompts", "instruction", "instructions", "text", "texts"}
TEXT_SUFFIXES = (".txt", ".caption")


@final
class PairFolders(NamedTuple):
    """The folders of a dataset of pairs."""

    originals: Path
    edited: Path
    texts: Path | None


def find_pair_folders(folder: Path) -> PairFolders | None:
    """The folders of a dataset of pairs; None if there are none.

    Raises:
        ValueError: several folders for one role.
    """
    below = [path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.relative_to(folder))]
    words = {path: set(re.split(r"[\W_]+", path.name.lower())) for path in sorted(below)}
    originals = _only([path for path, said in words.items() if said & ORIGINALS], "originals")
    named = [path for path, said in words.items() if said & EDITED and not said & ORIGINALS]
    edited = _only(named or [path for path, said in words.items() if said <= PLAIN], "edited images")
    texts = _only([path for path, said in words.items() if said & TEXTS and not said & ORIGINALS], "texts")
    return None if originals is None or edited is None else PairFolders(originals, edited, texts)


def has_texts(folders: PairFolders) -> bool:
    """Whether any instruction stands in a text file."""
    return any(_by_name(_texts_in(folder)) for folder in folders if folder is not None)


def pair_columns(folder: Path, folders: PairFolders) -> dict[str, list[str | None]]:
    """The pairs as columns, in the order of their names. A pair without one of its files names it all the
    same, so that the check of the rows finds it.

    Raises:
        ValueError: two files of one name in a folder, a text that is not UTF-8, or no images.
    """
    originals, edited = (_by_name(_images_in(each)) for each in (folders.originals, folders.edited))
    texts: dict[str, Path] = {}
    for each in (folders.texts, folders.originals, folders.edited):
        texts |= {} if each is None else _by_name(_texts_in(each))
    names = sorted({*originals, *edited})
    if not names:
        raise ValueError(f"{folders.originals} and {folders.edited} hold no images")
    return {
        "id": list(names),
        "original_image": [_place(folder, folders.originals, originals, edited, name) for name in names],
        "edited_image": [_place(folder, folders.edited, edited, originals, name) for name in names],
        "instruction": [read_text(texts[name]).strip() if name in texts else None for name in names],
    }


def _only(found: list[Path], what: str) -> Path | None:
    """The only folder for a role. Raises ValueError for several."""
    if len(found) > 1:
        raise ValueError(
            f"{' and '.join(map(str, found))} may both hold the {what} of pairs: keep one of them there, or "
            "list the pairs in a .csv file (data.dataset.table.path=FILE)"
        )
    return found[0] if found else None


def _images_in(folder: Path) -> Iterable[tuple[str, Path]]:
    return ((_name(folder, path), path) for path in images_in(folder, below=True))


def _texts_in(folder: Path) -> Iterable[tuple[str, Path]]:
    found = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in TEXT_SUFFIXES)
    return ((_name(folder, path), path) for path in found if not is_hidden(path.relative_to(folder)))


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _by_name(files: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Files by their names without suffix. Raises ValueError for two of one name."""
    found: dict[str, Path] = {}
    for name, path in files:
        if name in found:
            raise ValueError(f"{found[name]} and {path} have one name, so that pairs are not clear: keep one")
        found[name] = path
    return found


def _place(folder: Path, side: Path, own: Mapping[str, Path], other: Mapping[str, Path], name: str) -> str:
    """Where the image of a pair is, or would be."""
    path = own.get(name, side / f"{name}{other.get(name, Path()).suffix}")
    return path.relative_to(folder).as_posix()
