"""A small study of known pictures, and its real server in a thread."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from aiohttp import web
from tabulation.page_runs import Greys, write_page_runs

from src.studies.answers import AnswerFile
from src.studies.order import Showing
from src.studies.preparation import Design, plan_study, prepare_study
from src.studies.server import StudyServer, token_of
from src.studies.study import Study, read_study, write_study
from src.studies.systems import find_systems

SECRET_NAMES = ("SmartEdit", "Reward-SmartEdit")
"""Of the two systems, which no rater may see."""


def write_study_folder(folder: Path, **settings: Any) -> Study:
    """A study of run a (whose edits are pink) against the row 0/0/0 of it, over 12 grey photographs."""
    benchmark = Greys(12)
    write_page_runs(folder / "runs", 12)
    where = folder / "runs" / "a" / "evaluation" / "greys"
    systems = find_systems([str(folder / "runs" / "a"), str(where / "0-0-0")], SECRET_NAMES, "greys", "5/5/5")
    chosen = {
        "title": "Which is better?",
        "questions": ("pairs", "scores"),
        "compared": ("overall",),
        "cases": 4,
        "per_rater": None,
        "repeats": 1,
        "seed": 0,
        "gold": 1,
        "gold_file": None,
    }
    design = Design(**{**chosen, **settings})
    plan = plan_study(benchmark, benchmark.cases(), systems, design)
    write_study(folder / "study", prepare_study(folder / "study", benchmark, plan, systems, design))
    return read_study(folder / "study")


@contextmanager
def served(folder: Path, raters: list[str] | None = None) -> Iterator[str]:
    """Serve a study folder; yields the address of its page."""
    study = read_study(folder)
    server = StudyServer(folder, study, AnswerFile(folder, study), token_of(folder), raters)
    loop, started, port = asyncio.new_event_loop(), threading.Event(), []

    async def start() -> web.AppRunner:
        runner = web.AppRunner(server.application(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port.append(runner.addresses[0][1])
        started.set()
        return runner

    def run() -> None:
        runner = loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(20)
    try:
        yield f"http://127.0.0.1:{port[0]}/{server.token}/"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def asked(
    address: str, body: Any = None, kind: str = "application/json"
) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of a GET, or of a POST of JSON or bytes."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(address, data, {"Content-Type": kind} if data is not None else {})
    try:
        with urlopen(request, timeout=20) as reply:
            return reply.status, reply.read(), dict(reply.headers)
    except HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def item_address(page: str, rater: str, position: int) -> str:
    """Of an item of a rater."""
    return f"{page}raters/{quote(rater, safe='')}/items/{position}"


def answer(given: dict[str, Any], revision: int = 0, seconds: float = 1.5) -> dict[str, Any]:
    """The body of an answer."""
    return {"answer": given, "seconds": seconds, "revision": revision}


def known_answer(study: Study, rater: str, showing: Showing) -> dict[str, int | str]:
    """What the simulated raters anna and ben say, so that what tables show of them is known by hand.

    Pairs 0 to 3: anna prefers the first edit in 0 and 1, ben in 0 alone; anna is right on gold and says the
    same again, ben neither. Scores 0 to 7: following is 0 0 5 5 0 0 5 5 by anna and 0 0 5 5 0 0 5 0 by ben,
    preserving 0 1 2 3 4 5 0 1 by both, quality always 3; on gold, a copy of the input, anna gives 0 5 3, ben
    5 5 3.
    """
    item, is_anna = showing.item, rater == "anna"
    place = study.of(item.question, gold=False).index(item) if not item.is_gold else None
    if item.question == "scores":
        following = (0 if is_anna else 5) if place is None else (0, 0, 5, 5, 0, 0, 5, 5 * is_anna)[place]
        return {"following": following, "preserving": 5 if place is None else place % 6, "quality": 3}
    first = is_anna if place is None else place < (2 if is_anna else 1)
    if showing.repeated and not is_anna:
        first = not first
    return {"overall": "left" if first == (showing.sides[0] == 0) else "right"}
