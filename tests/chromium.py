"""A real headless Chromium that tests click, type and look with, spoken to over a pipe (the DevTools
protocol): no driver, no port, no library.

with Chromium(folder) as browser:
    browser.open(page)
    browser.value("document.title")
"""

import json
import os
import select
import shutil
import subprocess
import time
from base64 import b64decode
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


class Chromium:
    """One browser with one page. Tests are skipped where there is none, except in CI.

    Args:
        profile: an empty folder for its settings.
        width, height: of the window in pixels.
    """

    def __init__(self, profile: Path, width: int = 1280, height: int = 900) -> None:
        if PROGRAM is None:
            assert os.environ.get("CI") != "true", "no chromium: .ci/run installs it"
            pytest.skip("no chromium on this machine (apt-get install chromium)")
        asked, self._questions = os.pipe()
        self._answers, answered = os.pipe()
        pipes = [os.dup(asked), os.dup(answered)]  # away from 3 and 4, which they become in the child

        def connect() -> None:
            os.dup2(pipes[0], 3)
            os.dup2(pipes[1], 4)

        command = [
            PROGRAM,
            *FLAGS,
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            "about:blank",
        ]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, preexec_fn=connect, pass_fds=(3, 4, *pipes), **quiet)
        for end in (asked, answered, *pipes):
            os.close(end)
        self._number, self._buffer = 0, b""
        self.requests: list[str] = []
        self.messages: list[str] = []
        targets = self._ask("Target.getTargets")["targetInfos"]
        page = next(each for each in targets if each["type"] == "page")
        self._session = self._ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.do(f"{domain}.enable")

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._questions)
        os.close(self._answers)

    def do(self, method: str, **parameters: object) -> dict[str, Any]:
        """Ask the page's session something of the protocol."""
        return self._ask(method, self._session, **parameters)

    def open(self, page: Path, view: str = "") -> None:
        """Load a file and wait until its script has measured that everything is shown."""
        self.requests.clear()
        self.messages.clear()
        self.do("Page.navigate", url="about:blank")
        self.do("Page.navigate", url=page.as_uri() + view)
        self.wait("document.documentElement?.dataset.shownAfter !== undefined")

    def visit(self, url: str, shown: str) -> None:
        """Load a page of a server and wait until an expression says that it is shown."""
        self.requests.clear()
        self.messages.clear()
        self.do("Page.navigate", url=url)
        self.wait(shown, 120)

    def upload(self, selector: str, file: Path) -> None:
        """Choose a file in an <input type=file>."""
        chosen = self.do("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")
        self.do("DOM.setFileInputFiles", files=[str(file)], objectId=chosen["result"]["objectId"])

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is in the page; a promise is waited for."""
        found = self.do(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> None:
        """Return when an expression has become true."""
        end = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < end, (
                f"{expression} did not become true in {seconds} s; the page says "
                f"{self.value('document.body?.innerText')!r}, its console {self.messages}"
            )
            time.sleep(0.05)

    def click(self, selector: str, times: int = 1) -> None:
        """Press the mouse on the middle of an element, as a person would; it is scrolled to first, and
        pressed again where the page moved away beneath the mouse.
        """
        listen = (
            f"window.pressedByTest = false; document.querySelector({json.dumps(selector)})"
            ".addEventListener('click', () => window.pressedByTest = true, {capture: true, once: true})"
        )
        end = time.monotonic() + 20
        while True:
            x, y = self._middle(selector)
            self.value(listen)
            for kind in ("mousePressed", "mouseReleased") * times:
                self.do("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
            if self.value("window.pressedByTest") is not False:  # another page has none
                return
            assert time.monotonic() < end, f"no press at ({x}, {y}) reaches {selector}"

    def hover(self, selector: str) -> None:
        """Move the mouse onto an element."""
        x, y = self._middle(selector)
        self.do("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key: str, code: int) -> None:
        """Press a key that is no letter ("Tab", 9)."""
        for kind in ("keyDown", "keyUp"):
            self.do("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self.do("Input.insertText", text=text)

    def appearance(self, scheme: str) -> None:
        """Light or dark."""
        self.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def image(self, path: Path) -> None:
        """The window as a PNG file."""
        path.write_bytes(b64decode(self.do("Page.captureScreenshot", format="png")["data"]))

    def _middle(self, selector: str) -> tuple[float, float]:
        """Where an element is seen, as soon as nothing moves or covers it: until then a press goes astray."""
        quoted = json.dumps(selector)
        self.value(f"document.querySelector({quoted}).scrollIntoView({{block: 'center'}})")
        look = (
            f"(() => {{ const seen = document.querySelector({quoted}), r = seen.getBoundingClientRect(); "
            "const x = r.x + r.width / 2, y = r.y + r.height / 2, top = document.elementFromPoint(x, y); "
            "return [x, y, top !== null && (seen.contains(top) || top.contains(seen))] })()"
        )
        before, end = None, time.monotonic() + 10
        while (place := self.value(look)) != before or not place[2]:
            assert time.monotonic() < end, f"{selector} keeps moving, or something covers it: {place}"
            before = place
            time.sleep(0.1)
        return place[0], place[1]

    def _ask(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        self._number += 1
        question = {"id": self._number, "method": method, "params": parameters} | (
            {} if session is None else {"sessionId": session}
        )
        os.write(self._questions, json.dumps(question).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        """Keep what a page must not do: ask for something, or complain."""
        if event.get("method") == "Network.requestWillBeSent":
            url = event["params"]["request"]["url"]
            if not url.startswith(("data:", "file:", "about:")):
                self.requests.append(url)
        if event.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.messages.append(json.dumps(event["params"])[:500])

    def _next(self, seconds: float = 120) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], seconds)
            assert ready, f"chromium said nothing for {seconds} s"
            read = os.read(self._answers, 1 << 20)
            assert read, "chromium has ended"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)
