"""The page in a real browser: an example and a photograph of one's own are edited, what can't be is told, and
nothing leaves this machine.
"""

import os
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from app_page.shipped import shipped_workbench
from chromium import Chromium

from src.app_page.server import private_folder, reserve, served
from src.synthetic.photos import wheel_folder

SHOWN = "document.querySelectorAll('#examples img').length > 7 && !!document.querySelector('#edit')"
INSTRUCTION = "document.querySelector('#instruction textarea, #instruction input')"
ALERT = "document.querySelector('#message [role=alert]')"
EDITED = "[...document.querySelectorAll('#compare img')].map(image => image.src).join()"
PICTURE = "document.querySelector('#picture img')"
FILE = "#picture input[type=file]"
REMOVE = "#picture button[aria-label='Remove Image'], #picture button[aria-label='Clear']"


@pytest.fixture(scope="module")
def connected() -> Iterator[list[str]]:
    """The addresses that this process connects to, besides its own machine."""
    found, connect = [], socket.socket.connect

    def recorded(own: socket.socket, address) -> None:
        if own.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
            found.append(str(address))
        connect(own, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", recorded)
        yield found


@pytest.fixture(scope="module")
def url(connected: list[str]) -> Iterator[str]:
    if find_spec("gradio") is None:
        assert os.environ.get("CI") != "true", "no gradio: make setup installs it"
        pytest.skip("no gradio here (make setup installs it)")
    with pytest.MonkeyPatch.context() as patch, private_folder() as folder:
        patch.setenv("GRADIO_TEMP_DIR", os.environ["GRADIO_TEMP_DIR"])
        from src.app_page.page import build_page

        workbench = shipped_workbench(folder)
        workbench.name = "/" + "a_folder_of_mine_" * 6  # one word, as wide as two telephones
        with served(build_page(workbench), reserve("127.0.0.1", 0), 1) as address:
            yield address


@pytest.fixture(scope="module")
def browser(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile"), height=1300) as started:
        started.visit(url, SHOWN)
        yield started


def take_example(browser: Chromium, number: int) -> None:
    """Press an example and wait until its picture, too, is there."""
    browser.click(f"#examples .gallery-item:nth-child({number + 1}) button")
    browser.wait(f"{PICTURE}?.naturalWidth > 0")


def edit(browser: Chromium) -> None:
    """Press Edit and wait for another edit or a message."""
    before = browser.value(EDITED)
    browser.value(f"{ALERT}?.remove()")
    browser.click("#edit")
    browser.wait(f"{EDITED} !== {before!r} || {ALERT} !== null", 120)


def say(browser: Chromium, instruction: str) -> None:
    browser.value(f"{INSTRUCTION}.select()")
    browser.write(instruction)


def test_an_example_is_edited_and_judged(browser: Chromium) -> None:
    take_example(browser, 0)
    browser.wait(f"{INSTRUCTION}.value === 'make the yellow circle cyan'")
    edit(browser)
    assert browser.value(ALERT) is None
    browser.wait("document.querySelectorAll('#verdict tr').length === 3")
    browser.wait(
        "[...document.querySelectorAll('#compare img')].filter(i => i.naturalWidth === 384).length >= 2"
    )
    words = browser.value("document.querySelector('#verdict').innerText")
    assert words.startswith("judged by oracle")
    assert "success" in words


def test_a_strip_over_the_scores(browser: Chromium) -> None:
    browser.click("#make_strip")
    browser.wait("document.querySelectorAll('#strip figure').length === 6", 120)
    asked = browser.value("[...document.querySelectorAll('#strip figcaption')].map(each => each.textContent)")
    assert asked == [f"{score}/{score}/{score}" for score in range(6)]
    browser.wait("[...document.querySelectorAll('#strip img')].every(image => image.naturalWidth === 32)")


def test_an_example_that_asks_for_the_worst_moves_the_sliders(browser: Chromium) -> None:
    take_example(browser, 1)
    browser.wait("document.querySelector('#following input[type=range]').value === '0'")
    take_example(browser, 0)
    browser.wait("document.querySelector('#following input[type=range]').value === '5'")


def test_a_photograph_of_ones_own(browser: Chromium, tmp_path: Path) -> None:
    """Whose words are refused at first."""
    with PIL.Image.open(wheel_folder() / "rocket.jpg") as opened:
        opened.resize((90, 60)).save(tmp_path / "mine.jpg")
    browser.click(REMOVE)
    browser.wait(f"document.querySelector({FILE!r}) !== null")
    browser.upload(FILE, tmp_path / "mine.jpg")
    browser.wait(f"{PICTURE}?.naturalWidth === 90")
    say(browser, "make it bright & <b>bold</b>")
    edit(browser)
    told = browser.value(f"{ALERT}.textContent")
    assert told.startswith("the word 'bright' in 'make it bright & <b>bold</b>'")
    say(browser, "make it night")
    edit(browser)
    assert browser.value(ALERT) is None
    browser.wait("[...document.querySelectorAll('#compare img')].some(image => image.naturalWidth === 576)")


@pytest.mark.parametrize(
    ("size", "said"), [(100, "broken.png is not a readable image"), (2**21, "too large")]
)
def test_a_file_that_is_no_picture_is_told(browser: Chromium, tmp_path: Path, size: int, said: str) -> None:
    (tmp_path / "broken.png").write_bytes(np.random.default_rng(0).bytes(size))
    if browser.value(f"document.querySelector({REMOVE!r}) !== null"):
        browser.click(REMOVE)
    browser.wait(f"document.querySelector({FILE!r}) !== null")
    browser.upload(FILE, tmp_path / "broken.png")
    if said == "too large":
        browser.wait(
            "document.querySelector('.toast-body')?.innerText.includes('exceed the maximum allowed')"
        )
        return
    browser.wait(f"document.querySelector({REMOVE!r}) !== null")
    edit(browser)
    assert browser.value(f"{ALERT}.textContent").startswith(said)


def test_it_fits_a_telephone(browser: Chromium, url: str) -> None:
    """However long the words of what it is told and of what it tells."""
    browser.do("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    browser.visit(url, SHOWN)
    take_example(browser, 0)
    edit(browser)
    assert browser.value(ALERT) is None
    browser.wait("document.querySelectorAll('#verdict tr').length === 3")
    _check_width(browser)
    say(browser, f"make it {'n' * 80}ight")
    edit(browser)
    assert "nnnnight" in browser.value(f"{ALERT}.textContent")
    _check_width(browser)
    browser.do("Emulation.clearDeviceMetricsOverride")


def _check_width(browser: Chromium) -> None:
    too_wide = "[...document.querySelectorAll('*')].filter(each => each.getBoundingClientRect().right > 391)"
    wide = browser.value(f"{too_wide}.map(each => each.outerHTML.slice(0, 100))")
    assert browser.value("document.documentElement.scrollWidth") <= 390, wide


def test_nothing_left_this_machine(url: str, browser: Chromium, connected: list[str]) -> None:
    assert [each for each in browser.requests if not each.startswith((url, "blob:"))] == []
    assert connected == []
