"""Which font draws a text: DejaVu Sans from matplotlib's wheel, so that images look the same on every
machine, or for letters that it lacks (Chinese, Japanese, Korean ...) one that is installed.
"""

import sys
from functools import cache
from pathlib import Path


def shipped_font(bold: bool = False) -> Path:
    """DejaVu Sans: Latin, Greek, Cyrillic, Arabic and more, but no Chinese, Japanese, Korean or emoji."""
    import matplotlib  # slow, and only images with text need it

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name


def font_for(text: str, bold: bool = False) -> Path:
    """The shipped font, or the first installed one that draws more of the text than any before it.

    Letters that none draws are told once, on stderr; boxes stand in their place.
    """
    lacking = {ord(letter) for letter in text} - _letters_of(shipped_font(bold)) - set(b"\t\n\r")
    if not lacking:
        return shipped_font(bold)
    needed = frozenset(map(ord, text)) - set(b"\t\n\r")
    best, missing = shipped_font(bold), lacking
    for font in _installed():
        left = needed - _letters_of(font)
        if len(left) < len(missing):
            best, missing = font, left
        if not missing:
            break
    if missing:
        _tell_missing(frozenset(map(chr, missing)))
    return best


@cache
def drawable_letters(font: Path) -> frozenset[int]:
    """List the code points that a font can draw.

    Raises:
        FileNotFoundError: no such font.
        ValueError: not a font.
    """
    from matplotlib.ft2font import FT2Font

    if not font.is_file():
        raise FileNotFoundError(f"no font {font}; give an existing .ttf or .otf file, or leave font= out")
    try:
        return frozenset(FT2Font(str(font)).get_charmap())
    except RuntimeError as error:
        raise ValueError(f"{font} is not a font ({error}); give a .ttf or .otf file") from error


@cache
def _installed() -> tuple[Path, ...]:
    from matplotlib.font_manager import findSystemFonts

    return tuple(sorted(map(Path, findSystemFonts())))


def _letters_of(font: Path) -> frozenset[int]:
    try:
        return drawable_letters(font)
    except (ValueError, FileNotFoundError):
        return frozenset()  # somebody else's broken file, and one font of many


@cache
def _tell_missing(letters: frozenset[str]) -> None:
    shown = "".join(sorted(letters)[:5])
    print(
        f"warning: no installed font draws {shown!r}{' and others' if len(letters) > 5 else ''}: boxes stand "
        "in their place; install one (Debian: fonts-noto-cjk)",
        file=sys.stderr,
    )
