"""The pages of a study: a small HTTP server whose addresses hold the study's token, the rater's name and a
place in the rater's sequence, and never the name of a system, a case or a file.

    GET  /TOKEN/                                     the page, with page.css and page.js beside it
    GET  /TOKEN/raters/NAME                          how far this rater is
    GET  /TOKEN/raters/NAME/items/7                  what is asked at place 7
    GET  /TOKEN/raters/NAME/items/7/left.png         ... and its pictures: original, left, right
    POST /TOKEN/raters/NAME/items/7                  {"answer": {...}, "seconds": 12.5, "revision": 0}

Nothing else is served. A request is answered from memory and the study folder's own pictures; no part of an
address becomes part of a path.
"""

import asyncio
import hmac
import math
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, final

from aiohttp import web

from src.files import NotWrittenError, is_written
from src.json_files import parse_json
from src.pages import template_environment
from src.studies.answers import AnswerFile, RaterAnswer
from src.studies.guide import POINTS, rating_guide
from src.studies.order import Showing, rater_name
from src.studies.study import ALIKE, IMAGES, LEFT, RIGHT, Study

HERE = Path(__file__).parent
TOKEN_FILE = "token"
MOST_BYTES = 16_384
"""Of a request's body."""

SECONDS_TO_SEND = 20
"""For a request's body."""

ORIGINAL = "original"
STATIC = {"page.css": "text/css", "page.js": "text/javascript"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' data:; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "study",
}
KEPT = {"Cache-Control": "private, max-age=3600"}

QUESTIONS_OF_PAIRS = {
    "overall": "All in all, which edit is better?",
    "following": "Which follows the instruction better?",
    "preserving": "Which keeps better what the instruction leaves alone?",
    "quality": "Which is the better made picture?",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def token_of(folder: Path) -> str:
    """The secret part of a study's addresses, drawn once and readable by the owner alone."""
    path = folder / TOKEN_FILE
    if not is_written(path):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(16))
    return path.read_text(encoding="utf-8").strip()


@final
class StudyServer:
    """Shows items and takes answers.

    Args:
        folder: of the study.
        study: read from it.
        answers: of the same folder.
        token: without which nothing is served.
        raters: names that may rate; None for all.

    Raises:
        ValueError: a name in `raters` that can't be one.
    """

    def __init__(
        self, folder: Path, study: Study, answers: AnswerFile, token: str, raters: Sequence[str] | None = None
    ) -> None:
        self.images = folder / IMAGES
        self.study, self.answers, self.token = study, answers, token
        self.invited = None if raters is None else frozenset(map(rater_name, raters))
        self.page = render_page(study)

    def application(self) -> web.Application:
        """The server's routes."""
        app = web.Application(middlewares=[_guarded], client_max_size=MOST_BYTES)
        item = r"/{token}/raters/{rater}/items/{position:\d{1,6}}"
        app.add_routes(
            [
                web.get("/{token}/", self.show_page),
                web.get("/{token}/{name:page\\.(?:css|js)}", self.show_static),
                web.get("/{token}/raters/{rater}", self.show_rater),
                web.get(item, self.show_item),
                web.post(item, self.take_answer),
                web.get(item + r"/{slot:original|left|right}.png", self.show_picture),
            ]
        )
        return app

    async def show_page(self, request: web.Request) -> web.Response:
        """The page itself."""
        self._check_token(request)
        return web.Response(text=self.page, content_type="text/html")

    async def show_static(self, request: web.Request) -> web.Response:
        """Its style and script."""
        self._check_token(request)
        name = request.match_info["name"]
        return web.Response(text=(HERE / name).read_text(encoding="utf-8"), content_type=STATIC[name])

    async def show_rater(self, request: web.Request) -> web.Response:
        """How far a rater is."""
        return web.json_response(self.state(self._rater(request)))

    async def show_item(self, request: web.Request) -> web.Response:
        """What is asked, and what was answered before."""
        rater, showing = self._asked(request)
        item, before = showing.item, self.answers.of(rater, showing.position)
        return web.json_response(
            {
                "position": showing.position,
                "question": item.question,
                "instruction": item.instruction,
                "pictures": list(slots(showing)),
                "answer": None if before is None else before.answer,
                "revision": next_revision(before),
                **self.state(rater),
            }
        )

    async def show_picture(self, request: web.Request) -> web.Response:
        """One of an item's pictures."""
        _, showing = self._asked(request)
        file = slots(showing).get(request.match_info["slot"])
        if file is None:
            raise web.HTTPNotFound
        content = await asyncio.to_thread((self.images / file).read_bytes)
        return web.Response(body=content, content_type="image/png", headers=KEPT)

    async def take_answer(self, request: web.Request) -> web.Response:
        """Write an answer; what is there already is not written again."""
        rater, showing = self._asked(request)
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="answers are application/json")
        async with asyncio.timeout(SECONDS_TO_SEND):
            sent = parse_json(await request.read(), "the answer")
        given, seconds, revision = _parts(sent)
        # from here to the end nothing is awaited: no other request comes between looking and writing
        written = self.answers.add(rater, showing.position, given, seconds, revision)
        return web.json_response({"saved": written, **self.state(rater)}, status=200 if written else 409)

    def state(self, rater: str) -> dict[str, Any]:
        """How far a rater is: for the page."""
        return {
            "rater": rater,
            "total": len(self.answers.sequence(rater)),
            "answered": self.answers.number_of(rater),
            "next": self.answers.next_of(rater),
        }

    def _check_token(self, request: web.Request) -> None:
        given = request.match_info["token"].encode()
        if not hmac.compare_digest(given, self.token.encode()):
            raise web.HTTPNotFound

    def _rater(self, request: web.Request) -> str:
        self._check_token(request)
        rater = rater_name(request.match_info["rater"])
        if self.invited is not None and rater not in self.invited:
            raise web.HTTPForbidden(
                text=f"{rater!r} is not among the raters of this study; is it spelt right?"
            )
        return rater

    def _asked(self, request: web.Request) -> tuple[str, Showing]:
        rater, position = self._rater(request), int(request.match_info["position"])
        asked = self.answers.sequence(rater)
        if position >= len(asked):
            raise web.HTTPNotFound
        return rater, asked[position]


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every response with the same headers; what can't be answered in one plain line."""
    try:
        response: web.StreamResponse = await handler(request)
    except web.HTTPException as error:
        response = web.Response(text=error.text or error.reason, status=error.status)
    except (ValueError, TimeoutError) as error:
        response = web.Response(text=" ".join(str(error).split())[:300] or "too slow", status=400)
    except NotWrittenError as error:
        response = web.Response(text=f"not saved: {error}", status=507)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _parts(sent: Any) -> tuple[Any, float, int]:
    """Answer, seconds and revision of a request's body. Raises ValueError."""
    if not isinstance(sent, dict) or set(sent) != {"answer", "seconds", "revision"}:
        raise ValueError("an answer is sent as answer, seconds and revision")
    seconds, revision = sent["seconds"], sent["revision"]
    is_number = isinstance(seconds, int | float) and math.isfinite(seconds)
    if not is_number or isinstance(revision, bool) or not isinstance(revision, int):
        raise ValueError(f"seconds={seconds!r:.40}, revision={revision!r:.40}: numbers are needed")
    return sent["answer"], float(seconds), revision


def slots(showing: Showing) -> dict[str, str]:
    """File names by their place on the page."""
    item = showing.item
    return {ORIGINAL: item.original} | {
        slot: item.edits[side] for slot, side in zip((LEFT, RIGHT), showing.sides, strict=False)
    }


def next_revision(before: RaterAnswer | None) -> int:
    """The revision that the next answer has."""
    return 0 if before is None else before.revision + 1


def render_page(study: Study) -> str:
    """The page with the words of the guide; items come later."""
    scales = [
        {
            "name": scale.perspective,
            "about": scale.about,
            "points": list(zip(POINTS, scale.words, strict=True)),
        }
        for scale in rating_guide()
    ]
    pairs = [(aspect, QUESTIONS_OF_PAIRS[aspect]) for aspect in study.compared]
    choices = [(LEFT, "A is better"), (ALIKE, "Both alike"), (RIGHT, "B is better")]
    return (
        template_environment(HERE)
        .get_template("page.html")
        .render(title=study.title, questions=study.questions, scales=scales, pairs=pairs, choices=choices)
    )
