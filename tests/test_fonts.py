"""Letters that the shipped font lacks are drawn with an installed one, or told."""

from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from src import fonts
from src.images import contact_sheet

TEXT = "把天空变红 red"
GREY = np.full((4, 4, 3), 128, dtype=np.uint8)


def write_font(file: Path, text: str) -> None:
    """A font whose letters are all the same full square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 800), (800, 800), (800, 0)):
        pen.lineTo(corner)
    pen.closePath()
    built = FontBuilder(1000, isTTF=True)
    built.setupGlyphOrder([".notdef", "square"])
    built.setupCharacterMap({ord(letter): "square" for letter in text})
    built.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    built.setupHorizontalMetrics({".notdef": (900, 0), "square": (900, 0)})
    built.setupHorizontalHeader(ascent=900, descent=-100)
    built.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    built.setupOS2()
    built.setupPost()
    file.parent.mkdir(parents=True)
    built.save(file)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of fonts; nothing is remembered of those of this machine."""
    folder = tmp_path / "fonts"
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [*map(str, folder.glob("*.ttf"))])
    for remembered in (fonts._installed, fonts._tell_missing):
        remembered.cache_clear()
    return folder


def test_an_installed_font_draws_what_the_shipped_one_lacks(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_font(installed / "squares.ttf", TEXT)
    (installed / "broken.ttf").write_bytes(b"no font")
    assert fonts.font_for("red") == fonts.shipped_font()
    assert fonts.font_for(TEXT) == installed / "squares.ttf"
    sheet = contact_sheet([[GREY]], ["edit"], [TEXT])
    assert not capsys.readouterr().err
    assert not np.array_equal(sheet, contact_sheet([[GREY]], ["edit"], ["red"]))


def test_what_no_font_draws_is_told_once(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contact_sheet([[GREY]], ["edit"], [TEXT], [[TEXT]])
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "no installed font draws '变天把空红'" in told[0]


def test_scripts_without_spaces_are_broken_between_letters(installed: Path) -> None:
    write_font(installed / "squares.ttf", TEXT)
    sheet = contact_sheet([[GREY]], [TEXT.replace(" ", "") * 4], [""])
    assert sheet.shape[0] > contact_sheet([[GREY]], ["edit"], [""]).shape[0]
