"""Which files of a folder are images."""

from pathlib import Path

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")


def images_in(folder: Path, below: bool = False) -> list[Path]:
    """The images of a folder, and with `below` of its subfolders, sorted; none is hidden or in a hidden
    folder (thumbnails, the other halves of files that a Mac copied).
    """
    found = (path for path in folder.glob("**/*" if below else "*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if not is_hidden(path.relative_to(folder)) and path.is_file())


def is_hidden(path: Path) -> bool:
    """Whether a file, or a folder on its way, has a name that isn't shown."""
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)
