"""The page in a real browser: it renders, its filters act, no message on the console, no request leaves it,
and no text of the data becomes code.
"""

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from conftest import config
from data.written import write_list
from PIL import Image

from src import inspect_rewards
from src.records import Reward, Verdict
from src.reward_file import append_rewards

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = (
    '<script>document.title = "taken"</script><img src="http://127.0.0.1:{port}/picture">'
    '<b onmouseover=alert(1)>&amp; "quoted"</b>'
)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, list[str]]]:
    """A real server that records its requests."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Not on the terminal."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield listening.server_port, asked
    listening.shutdown()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, server: tuple[int, list[str]]) -> Path:
    """A page of 12 triplets: scores 0 to 5, a failure in quality, hostile, Chinese and Arabic texts."""
    folder = tmp_path_factory.mktemp("page")
    hostile = HOSTILE.format(port=server[0])
    instructions = [
        hostile,
        "把天空变成夜晚",
        "اجعل السماء ليلا",
        *(f"make it night {row}" for row in range(9)),
    ]
    rows = write_list(folder, 12, id=[f"t{row}" for row in range(12)], instruction=instructions)
    rewards = []
    for row in range(12):
        score = float(row % 6)
        said = Verdict(
            score, feedback="None" if score == 5 else hostile if row == 0 else f"the sky is not dark ({row})"
        )
        quality = (
            Verdict(None, feedback="the reply was not JSON", status="failed") if row == 7 else Verdict(5.0)
        )
        rewards.append(Reward(f"t{row}", "judge <b>", f"k{row}", said, Verdict(5.0), quality))
    append_rewards(
        folder / "rewards.jsonl",
        rewards,
        [{"prompt_tokens": 1000, "dollars": 0.01, "model": "<i>m</i>"}] * 12,
    )
    given = [
        "data=json_list",
        f"data.dataset.file={rows}",
        f"rewards_file={folder / 'rewards.jsonl'}",
        f"output={folder / 'out'}",
    ]
    inspect_rewards.main(config(*given, "per_score=12", name="inspect_rewards"))
    return folder / "out" / "index.html"


def browse(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Chromium once; tests are skipped where there is none, except in CI."""
    if CHROMIUM is None:
        assert os.environ.get("CI") != "true", "no chromium: .ci/run installs it"
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
    ]
    return subprocess.run(
        [CHROMIUM, *flags, "--virtual-time-budget=3000", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def dumped(page: Path, view: str = "") -> subprocess.CompletedProcess[str]:
    """The page's elements after its script has run; messages of its console in stderr."""
    return browse("--enable-logging=stderr", "--dump-dom", page.as_uri() + view)


def shown(html: str) -> list[int]:
    """Rows of the cards that are not hidden, in their order."""
    return [
        int(row)
        for row, rest in re.findall(r'<article [^>]*data-row="(\d+)"([^>]*)>', html)
        if " hidden" not in rest
    ]


def test_it_shows_everything_and_leaves_the_console_empty(page: Path, server: tuple[int, list[str]]) -> None:
    seen = dumped(page)
    assert shown(seen.stdout) == list(range(12))
    assert "12 of 12" in seen.stdout
    assert ":CONSOLE" not in seen.stderr, seen.stderr
    assert "<title>Rewards of" in seen.stdout
    assert "taken" not in re.findall("<title>(.*?)</title>", seen.stdout)[0]
    assert "&lt;script&gt;document.title" in seen.stdout
    assert 'dir="auto">把天空变成夜晚' in seen.stdout
    assert server[1] == [], "the page asked for something"


@pytest.mark.parametrize(
    ("view", "rows"),
    [
        ("#perspective=following&score=3", [3, 9]),
        ("#status=failed", [7]),
        ("#perspective=following&sort=down&words=make", [5, 11, 4, 10, 3, 9, 8, 7, 6]),
        ("#row=8", [8]),
    ],
)
def test_a_view_is_an_address(page: Path, view: str, rows: list[int]) -> None:
    seen = dumped(page, view)
    assert shown(seen.stdout) == rows
    assert f"{len(rows)} of 12" in seen.stdout
    assert ":CONSOLE" not in seen.stderr


def test_the_instruments_of_these_tests_work(tmp_path: Path, server: tuple[int, list[str]]) -> None:
    """A page that requests an image and prints an error is noticed."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        f'<img src="http://127.0.0.1:{server[0]}/asked"><script>console.error("complaint")</script>'
    )
    seen = dumped(bad)
    assert "complaint" in seen.stderr
    assert ":CONSOLE" in seen.stderr
    assert server[1] == ["/asked"]
    server[1].clear()


@pytest.mark.parametrize("width", [1280, 500])
def test_it_renders_at_every_width(page: Path, tmp_path: Path, width: int) -> None:
    image = tmp_path / "page.png"
    browse(f"--window-size={width},1400", "--hide-scrollbars", f"--screenshot={image}", page.as_uri())
    with Image.open(image) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    assert pixels.shape[1] == width
    assert tuple(pixels[5, 5]) == (255, 255, 255), "dark on white"
    assert (np.abs(pixels - 255).sum(axis=2) > 60).mean() > 0.03, "and not empty"


def test_nothing_in_it_comes_from_elsewhere(page: Path) -> None:
    html = re.sub(r"data:image/webp;base64,[\w+/=]+", "data:", page.read_text(encoding="utf-8"))
    assert not re.search(r"<(link|script|img|iframe)[^>]+(src|href)=\"(?!data:)", html)
    assert "default-src 'none'" in html
    assert "@import" not in html
    assert "url(" not in html
