"""The rating page in a real browser: two raters answer everything, one with the mouse and one with the
keyboard; what they have said is on the disk, once each.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chromium import Chromium
from studies.served import answer, asked, item_address, known_answer, served, write_study_folder
from tabulation.page_runs import HOSTILE

from src.evaluation.raters import agreement_alpha, rating_matrix
from src.studies.answers import ANSWERS
from src.studies.order import Showing, showings
from src.studies.ratings import read_ratings
from src.studies.study import Study, read_study

READY = "document.documentElement.dataset.view === '{view}' && !sending"
AT = "asked !== null && asked.position === {position} && !sending && !document.getElementById('asked').hidden"
CODES = {
    "Enter": 13,
    "z": 90,
    "ArrowRight": 39,
    "Escape": 27,
    **{str(digit): 48 + digit for digit in range(6)},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("browser")
    write_study_folder(place)
    return place / "study"


@pytest.fixture(scope="module")
def study(folder: Path) -> Study:
    return read_study(folder)


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[str]:
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


def opened(browser: Chromium, page: str, view: str = "welcome") -> None:
    browser.do("Page.navigate", url="about:blank")
    browser.do("Page.navigate", url=page)
    browser.wait("document.documentElement?.dataset.view !== undefined")
    browser.wait(READY.format(view=view))


def begin(browser: Chromium, page: str, name: str) -> None:
    opened(browser, page)
    browser.click("#name")
    browser.write(name)
    browser.click("#begin button")
    browser.wait(AT.format(position=0))


def press(browser: Chromium, key: str) -> None:
    browser.press(key, CODES[key])


def by_mouse(browser: Chromium, showing: Showing, given: dict[str, int | str]) -> None:
    for aspect, value in given.items():
        browser.click(f"input[name='{showing.item.question}-{aspect}'][value='{value}']")
    browser.click("#save", times=2)


def by_keyboard(browser: Chromium, showing: Showing, given: dict[str, int | str]) -> None:
    keys = {"left": "1", "alike": "2", "right": "3"}
    for value in given.values():
        press(browser, keys[value] if isinstance(value, str) else str(value))
    press(browser, "Enter")


@pytest.mark.parametrize(("rater", "by"), [("anna", by_mouse), ("ben", by_keyboard)])
def test_a_rater_answers_everything(
    browser: Chromium, page: str, study: Study, rater: str, by: Callable[..., None]
) -> None:
    begin(browser, page, f" {rater.upper()} ")
    sequence = showings(study, rater)
    assert HOSTILE in {showing.item.instruction for showing in sequence}
    for showing in sequence:
        if showing.position == 3:  # another day: the page knows the rater and the place
            opened(browser, page, "asked")
        browser.wait(AT.format(position=showing.position))
        assert browser.value("document.getElementById('instruction').textContent") == showing.item.instruction
        by(browser, showing, known_answer(study, rater, showing))
    browser.wait(READY.format(view="done"))
    assert (
        browser.value("document.getElementById('count').textContent") == f"{len(sequence)} of {len(sequence)}"
    )
    browser.click("#leave")


def test_every_answer_is_on_the_disk_once(folder: Path, study: Study) -> None:
    """And the raters agree as is known by hand: alpha is 8/15 in pairs and 16/21 in following, see
    test_tables.
    """
    assert len((folder / ANSWERS).read_text().splitlines()) == 32
    ratings = read_ratings(folder)
    sequences = {rater: showings(study, rater) for rater in ("anna", "ben")}
    for rating in ratings.all:
        showing = sequences[rating.answer.rater][rating.answer.position]
        assert rating.answer.answer == known_answer(study, rating.answer.rater, showing)
    for question, aspect, level, alpha in (
        ("pairs", "overall", "nominal", 8 / 15),
        ("scores", "following", "ordinal", 16 / 21),
    ):
        given = ratings.of(question, aspect)
        matrix = rating_matrix(
            [each.answer.rater for each in given],
            [each.item.id for each in given],
            [each.value for each in given],
        )
        assert agreement_alpha(matrix, level) == pytest.approx(alpha)


def test_nothing_leaves_the_study_and_no_text_becomes_code(browser: Chromium, page: str) -> None:
    assert browser.requests
    assert all(address.startswith(page) for address in browser.requests)
    assert browser.messages == []
    assert browser.value("document.title") == "Which is better?", (
        "an instruction has been shown that changes it"
    )


def test_two_tabs_write_one_answer(browser: Chromium, page: str, folder: Path) -> None:
    """The page of a second tab learns that the first one has answered, and goes on."""
    begin(browser, page, "dora")
    # what another tab sends meanwhile
    where, body = item_address(page, "dora", 0), answer({"overall": "alike"})
    assert asked(where, body)[0] == 200
    press(browser, "1")
    press(browser, "Enter")
    browser.wait(AT.format(position=1))
    assert "nothing was counted twice" in browser.value("document.getElementById('status').textContent")
    lines = [line for line in (folder / ANSWERS).read_text().splitlines() if '"dora"' in line]
    assert len(lines) == 1
    assert '"alike"' in lines[0]
    browser.click("#back")
    browser.wait(AT.format(position=0))
    assert browser.value("document.querySelector('input[value=alike]').checked")
    press(browser, "3")
    press(browser, "Enter")
    browser.wait(AT.format(position=1))
    lines = [line for line in (folder / ANSWERS).read_text().splitlines() if '"dora"' in line]
    assert ['"right"' in line for line in lines] == [False, True]


def test_pictures_can_be_compared_in_one_place(browser: Chromium) -> None:
    press(browser, "z")
    assert browser.value("document.getElementById('zoom').open")
    assert browser.value("document.getElementById('which').textContent") == "Edit A"
    press(browser, "ArrowRight")
    assert browser.value("document.getElementById('which').textContent") == "Edit B"
    browser.click("#after")
    assert browser.value("document.getElementById('which').textContent") == "Original"
    browser.click("#close")
    assert not browser.value("document.getElementById('zoom').open")


def test_it_fits_a_telephone_and_everything_has_a_name(browser: Chromium) -> None:
    browser.do("Emulation.setDeviceMetricsOverride", width=420, height=860, deviceScaleFactor=1, mobile=True)
    for words in ("make it night", "n" * 90):
        browser.value(f"document.getElementById('instruction').textContent = {words!r}")
        assert browser.value("document.documentElement.scrollWidth") <= 420, words
    tall = (
        "[...document.querySelectorAll('#answer button, #answer label')].filter(each => each.offsetParent)"
        ".every(each => each.offsetHeight >= 40)"
    )
    assert browser.value(tall), "large enough for a thumb"
    assert browser.value(
        "[...document.querySelectorAll('#pictures figure:not([hidden]) img')].every(each => each.alt)"
    )
    assert browser.value("[...document.querySelectorAll('input')].every(each => each.labels.length > 0)")
    assert browser.value(
        "[...document.querySelectorAll('fieldset')].every(each => each.querySelector('legend'))"
    )
    browser.do("Emulation.clearDeviceMetricsOverride")
