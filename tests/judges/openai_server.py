"""A server that speaks the OpenAI chat protocol, for the tests: POST /v1/chat/completions, GET /v1/models,
and Azure's address of the former.

It reads nothing of the code under test: images are decoded, tokens are counted and answers are made up
here. It prints its port and serves until it is ended:

    python -m tests.judges.openai_server --port 0 --latency 0.2 --faults 0.3 --seed 1 --log requests.jsonl

The answer depends on the content of the question alone (and on the seed asked for, if the temperature is
above 0); a fault depends on the content, the number of the attempt at it and --seed. So a run can be
repeated. With `--truth`, JSON lines {"edited": image_key(edited), "following": {"score", "feedback",
"success"}, "preserving": ..., "quality": ...}, images that are found there get the scores given there,
rounded. The model "fault:KIND" always answers with that fault; kinds are the keys of FAULTS and ONLY_BY_NAME.
"""

import argparse
import asyncio
import base64
import contextlib
import email.utils
import hashlib
import io
import json
import math
import re
import subprocess
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
from aiohttp import web

MODELS = ("gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18", "Qwen/Qwen3-VL-8B-Instruct")
ROOT = Path(__file__).resolve().parents[2]

FAULTS = (
    "busy",
    "error",
    "dropped",
    "slow",
    "truncated",
    "cut",
    "prose",
    "refusal",
    "out_of_range",
    "empty",
    "two_answers",
)
"""Drawn from with --faults: the first five happen on the way, the others are what a model says."""

ERRORS = {
    "busy": (429, "rate_limit_exceeded", "Rate limit reached, please try again later."),
    "busy_date": (429, "rate_limit_exceeded", "Rate limit reached."),
    "busy_ms": (429, "rate_limit_exceeded", "Rate limit reached."),
    "busy_silent": (429, "rate_limit_exceeded", "Rate limit reached."),
    "quota": (
        429,
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "error": (500, None, "The server had an error while processing your request."),
    "overloaded": (503, None, "The engine is currently overloaded."),
    "request_timeout": (408, None, "Request timed out."),
    "conflict": (409, None, "Conflict."),
    "forbidden": (403, None, "Country, region, or territory not supported."),
    "unpaid": (402, None, "Insufficient balance."),
    "policy": (400, "content_policy_violation", "Your request was rejected by the safety system."),
    "too_large": (413, None, "Request entity too large."),
    "unprocessable": (422, None, "Invalid image."),
    "unsupported": (
        400,
        "unsupported_parameter",
        "Unsupported parameter: 'max_tokens' is not supported with this model.",
    ),
    "bad_setting": (400, None, "Invalid value for top_logprobs."),
}
ONLY_BY_NAME = (
    *ERRORS,
    "html",
    "no_choices",
    "content_filter",
    "short_body",
    "error_in_200",
    "key_echo",
    "parts",
    "null",
    "array",
    "bad_gateway",
)

PERSPECTIVES = {
    "following": "whether the instruction was carried out",
    "preserving": "leaves alone was left alone",
    "quality": "how well made",
}
"""Words of src/judges/prompts by which the server knows what it is asked, needed for --truth only."""

SAID = {
    "following": (
        "the {} was not changed as asked",
        "only half of the {} was edited",
        "the wrong {} was changed",
    ),
    "preserving": (
        "the {} in the background changed too",
        "the {} moved although it was to stay",
        "the colours of the {} shifted",
    ),
    "quality": ("the {} has blurred edges", "there is a seam around the {}", "the {} looks distorted"),
}
THINGS = ("dog", "sky", "cup", "house", "red circle", "left hand", "window", "tree")


class Bad(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param


@dataclass(frozen=True)
class Shown:
    """A image that came with a request."""

    height: int
    width: int
    key: str


@dataclass(frozen=True)
class Asked:
    """A request that was understood."""

    model: str
    prompt: str
    characters: int
    images: tuple[Shown, ...]
    schema: dict | None
    key: str
    detail: str | None
    random: np.random.Generator
    limit: int
    logprobs: int | None


class Server:
    """Settings and what happened so far."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.attempts: Counter[str] = Counter()
        self.seen: OrderedDict[bytes, Shown] = OrderedDict()
        self.log = Path(arguments.log).open("a", buffering=1) if arguments.log else None  # noqa: SIM115  # open as long as the server
        lines = Path(arguments.truth).read_text().splitlines() if arguments.truth else []
        self.truth = {row["edited"]: row for row in map(json.loads, lines)}

    async def models(self, request: web.Request) -> web.Response:
        try:
            self.check_key(request)
        except Bad as bad:
            return error(bad)
        return web.json_response(
            {
                "object": "list",
                "data": [{"id": model, "object": "model", "owned_by": "tests"} for model in MODELS],
            }
        )

    async def completions(self, request: web.Request) -> web.StreamResponse:
        note: dict = {"time": time.time(), "status": None, "fault": None}
        try:
            self.check_key(request)
            body = json.loads(await request.read())
            asked = self.understood(body, request.match_info.get("deployment"))
            note |= {"key": asked.key, "model": asked.model}
            self.attempts[asked.key] += 1
            note["attempt"] = self.attempts[asked.key]
            note["fault"] = fault = self.fault(asked, note["attempt"])
            await asyncio.sleep(
                self.arguments.latency * (self.arguments.slow_factor if fault == "slow" else 1)
            )
            return self.answered(request, asked, fault, note)
        except json.JSONDecodeError:
            note["status"] = 400
            return error(Bad(400, "We could not parse the JSON body of your request."))
        except Bad as bad:
            note["status"] = bad.status
            return error(bad)
        finally:
            if self.log is not None:
                self.log.write(json.dumps(note) + "\n")

    def check_key(self, request: web.Request) -> None:
        expected = self.arguments.key
        given = request.headers.get("api-key") or request.headers.get("Authorization", "").removeprefix(
            "Bearer "
        )
        if expected and given != expected:
            raise Bad(401, f"Incorrect API key provided: {given[:3]}***{given[-4:]}.", "invalid_api_key")

    def understood(self, body: dict, deployment: str | None) -> Asked:
        """What is asked.

        Raises:
            Bad: a request that OpenAI would not take.
        """
        model = deployment or body.get("model", "")
        if model not in MODELS and not model.startswith("fault:"):
            raise Bad(
                404, f"The model `{model}` does not exist or you do not have access to it.", "model_not_found"
            )
        texts, images, details = [], [], set()
        for message in body.get("messages") or ():
            content = message["content"]
            for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
                if part["type"] == "text":
                    texts.append(part["text"])
                elif part["type"] == "image_url":
                    images.append(self.image(part["image_url"]["url"]))
                    details.add(part["image_url"].get("detail"))
                else:
                    raise Bad(400, f"Invalid value: '{part['type']}'.", param="messages")
        if not texts:
            raise Bad(
                400, "Missing required parameter: 'messages'.", "missing_required_parameter", "messages"
            )
        if details - {None, "auto", "low", "high"}:
            raise Bad(400, f"Invalid value: {details}.", param="messages[0].content[0].image_url.detail")
        limit = body.get("max_completion_tokens", body.get("max_tokens", 4096))
        if not isinstance(limit, int) or limit < 1:
            raise Bad(400, "Invalid 'max_tokens'.", "integer_below_min_value", "max_tokens")
        schema = checked_format(body.get("response_format"))
        content = "\0".join([*texts, *(image.key for image in images)])
        key = hashlib.sha256(content.encode()).hexdigest()[:32]
        sampled = f"{body.get('seed')}" if body.get("temperature", 1) else ""
        random = np.random.Generator(
            np.random.PCG64(int(hashlib.sha256(f"{key}{sampled}".encode()).hexdigest()[:16], 16))
        )
        logprobs = (body.get("top_logprobs") or 0) if body.get("logprobs") else None
        if logprobs is not None and not 0 <= logprobs <= 20:
            raise Bad(400, "Invalid value for 'top_logprobs'.", "integer_above_max_value", "top_logprobs")
        return Asked(
            model,
            texts[-1],
            sum(map(len, texts)),
            tuple(images),
            schema,
            key,
            next(iter(details), None),
            random,
            limit,
            logprobs,
        )

    def image(self, address: str) -> Shown:
        """The image in a data URI, decoded; a few are remembered, as a triplet's images come with several
        questions.
        """
        head, comma, _ = address[:64].partition(",")
        match = re.fullmatch(r"data:(image/[a-z]+);base64", head)
        if not comma or match is None:
            raise Bad(
                400,
                "Invalid image URL; expected a base64 data URL with an image MIME type.",
                "invalid_image_url",
                "messages",
            )
        try:
            file = base64.b64decode(address[len(head) + 1 :], validate=True)
        except ValueError:
            raise Bad(400, "Invalid base64 image_url.", "invalid_base64", "messages") from None
        digest = hashlib.sha1(file).digest()
        if digest not in self.seen:
            try:
                with PIL.Image.open(io.BytesIO(file)) as opened:
                    image = opened.convert("RGB")
                    media_type = f"image/{str(opened.format).lower()}"
            except (OSError, SyntaxError, ValueError):
                raise Bad(
                    400, "You uploaded an unsupported image.", "invalid_image_format", "messages"
                ) from None
            if media_type != match[1]:
                raise Bad(
                    400, f"The file is {media_type}, not {match[1]}.", "invalid_image_format", "messages"
                )
            self.seen[digest] = Shown(
                image.height,
                image.width,
                image_key(np.asarray(image)) if self.truth else digest.hex(),
            )
            if len(self.seen) > 512:
                self.seen.popitem(last=False)
        return self.seen[digest]

    def fault(self, asked: Asked, attempt: int) -> str | None:
        if asked.model.startswith("fault:"):
            return asked.model.removeprefix("fault:")
        digest = hashlib.sha256(f"{self.arguments.seed} {asked.key} {attempt}".encode()).digest()
        if int.from_bytes(digest[:6], "big") / 2**48 >= self.arguments.faults:
            return None
        kinds = self.arguments.kinds.split(",")
        return kinds[int.from_bytes(digest[6:10], "big") % len(kinds)]

    def answered(
        self, request: web.Request, asked: Asked, fault: str | None, note: dict
    ) -> web.StreamResponse:
        if fault in ("dropped", "short_body"):
            note["status"] = 0
            transport = request.transport
            if fault == "short_body" and transport is not None:
                transport.write(
                    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"choices": [{"mess'
                )
            if transport is not None:
                transport.close() if fault == "short_body" else transport.abort()
            return web.Response()
        if fault in ERRORS:
            note["status"] = ERRORS[fault][0]
            return self.refused(fault)
        if fault == "key_echo":
            note["status"] = 400
            return error(Bad(400, f"Your header was {request.headers.get('Authorization')}"))
        note["status"] = 502 if fault == "bad_gateway" else 200
        if fault in ("html", "bad_gateway"):
            page = "<html><body><h1>Welcome to the proxy</h1></body></html>"
            return web.Response(status=note["status"], text=page, content_type="text/html")
        if fault == "array":
            return web.json_response([{"role": "assistant"}])
        if fault == "error_in_200":
            return web.json_response({"error": {"code": 429, "message": "Provider returned error"}})
        completion = self.completion(asked, fault)
        note |= {
            "input_tokens": completion["usage"]["prompt_tokens"],
            "output_tokens": completion["usage"]["completion_tokens"],
        }
        text = json.dumps(completion)
        if fault == "truncated":
            text = text[: len(text) * 2 // 3]
        return web.Response(text=text, content_type="application/json")

    def refused(self, fault: str) -> web.Response:
        status, code, message = ERRORS[fault]
        wait = self.arguments.retry_after
        headers = {
            "busy": {"Retry-After": f"{wait:g}"},
            "busy_date": {"Retry-After": email.utils.formatdate(time.time() + 30, usegmt=True)},
            "busy_ms": {"retry-after-ms": f"{wait * 1000:g}", "Retry-After": f"{math.ceil(wait) + 5}"},
        }.get(fault, {})
        param = {"unsupported": "max_tokens", "bad_setting": "top_logprobs", "policy": None}.get(fault)
        return error(Bad(status, message, code, param), headers)

    def completion(self, asked: Asked, fault: str | None) -> dict:
        fields = self.fields(asked)
        if fault == "out_of_range":
            (name,) = [each for each in fields if "score" in each]
            fields[name] = [99] * len(fields[name]) if isinstance(fields[name], list) else 99
        content: str | None = json.dumps(fields)
        finish, refusal = "stop", None
        if fault == "prose":
            content = "I have looked at both pictures carefully. The edit is mostly fine, although one could argue about some details."
        elif fault == "two_answers":
            other = {
                name: value
                if isinstance(value, str)
                else [0, 0]
                if isinstance(value, list)
                else (value + 1) % 6
                for name, value in fields.items()
            }
            content = f"{content}\n\nOn second thought: {json.dumps(other)}"
        elif fault == "empty":
            content = ""
        elif fault == "null":
            content = None
        elif fault == "refusal":
            content, refusal = None, "I'm sorry, I can't assist with that."
        elif fault == "content_filter":
            content, finish = "", "content_filter"
        words = pieces(content or refusal or "")
        if fault == "cut" or len(words) > asked.limit:
            words = words[: min(asked.limit, max(1, len(words) // 2))]
            content, finish = "".join(words), "length"
        message = {"role": "assistant", "content": content, "refusal": refusal}
        if fault == "parts":
            message["content"] = [{"type": "text", "text": content}]
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        if asked.logprobs is not None:
            choice["logprobs"] = {"content": [logprobs_of(word, asked.logprobs) for word in words]}
        return {
            "id": f"chatcmpl-{asked.key[:12]}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": asked.model,
            "choices": [] if fault == "no_choices" else [choice],
            "usage": counted(asked, len(words)),
        }

    def fields(self, asked: Asked) -> dict:
        """An answer in the form that the schema, or else the prompt, asks for."""
        names = [name for name, words in PERSPECTIVES.items() if words in asked.prompt]
        perspective = names[0] if len(names) == 1 else "quality"
        known = self.truth.get(asked.images[-1].key) if asked.images else None
        score = int(asked.random.integers(6))
        words = (
            "None"
            if score == 5
            else str(asked.random.choice(SAID[perspective])).format(asked.random.choice(THINGS))
        )
        success = score >= 4
        if known is not None and len(names) == 1:
            score, words = round(known[perspective]["score"]), known[perspective]["feedback"]
            success = known[perspective].get("success", score >= 4)
        properties = (asked.schema or {}).get("properties") or json_example(asked.prompt)
        fields: dict = {}
        for name, rule in properties.items():
            if rule.get("type") == "array":
                top = max(rule["items"].get("enum", [25]))
                fields[name] = [
                    int(value) for value in asked.random.integers(top + 1, size=rule.get("minItems", 2))
                ]
            elif rule.get("type") == "integer":
                top = max(rule.get("enum", [5]))
                fields[name] = score if top == 5 else round(score * top / 5)
            elif rule.get("enum") == ["yes", "no"] or name == "success":
                fields[name] = "yes" if success else "no"
            else:
                fields[name] = words
        return fields


def checked_format(form: dict | None) -> dict | None:
    """The schema of a response_format.

    Raises:
        Bad: one that OpenAI's strict mode doesn't take.
    """
    if form is None or form.get("type") in ("text", "json_object"):
        return None
    if form.get("type") != "json_schema":
        raise Bad(400, f"Invalid value: {form.get('type')}.", param="response_format.type")
    described = form.get("json_schema") or {}
    schema = described.get("schema") or {}
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", described.get("name", "")):
        raise Bad(
            400,
            "Missing required parameter: 'response_format.json_schema.name'.",
            param="response_format.json_schema.name",
        )
    closed = schema.get("type") == "object" and schema.get("additionalProperties") is False
    if described.get("strict") and not (
        closed and schema.get("required") == list(schema.get("properties") or {})
    ):
        raise Bad(
            400,
            "Invalid schema: every object is closed and requires all of its fields.",
            param="response_format",
        )
    return schema


def json_example(prompt: str) -> dict:
    """The form of the last JSON object that a prompt shows, as a schema's properties."""
    for text in reversed(re.findall(r"\{.*?\}", prompt)):
        with contextlib.suppress(ValueError):
            kinds = {
                str: {"type": "string"},
                int: {"type": "integer"},
                list: {"type": "array", "items": {}, "minItems": 2},
            }
            return {name: kinds[type(value)] for name, value in json.loads(text).items()}
    return {"feedback": {"type": "string"}, "score": {"type": "integer"}}


def image_key(image: np.ndarray) -> str:
    """sha256 over an RGB image's size and pixels, whatever file it came in."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def pieces(text: str) -> list[str]:
    """A text cut into the server's tokens: a word of up to nine letters with the space before it, a digit, a
    mark.
    """
    return re.findall(r" ?[^\W\d_]{1,9}|\d| ?[^\w\s]{1,2}|\s+|_", text)


def counted(asked: Asked, output: int) -> dict[str, int]:
    """Usage: OpenAI's tiles (the image fits into 2048 x 2048, its short side into 768), a token per 4.2
    characters of text, 7 for the message.
    """
    base, per_tile = (2833, 5667) if "mini" in asked.model else (85, 170)
    total = (
        7
        + math.ceil(asked.characters / 4.2)
        + (math.ceil(len(json.dumps(asked.schema)) / 4.2) if asked.schema else 0)
    )
    for image in asked.images:
        long, short = max(image.height, image.width), min(image.height, image.width)
        shrink = min(1.0, 2048 / long, 768 / short)
        count = math.ceil(long * shrink / 512 - 1e-6) * math.ceil(short * shrink / 512 - 1e-6)
        total += base if asked.detail == "low" else base + per_tile * count
    return {"prompt_tokens": total, "completion_tokens": output, "total_tokens": total + output}


def logprobs_of(word: str, number: int) -> dict:
    """The chosen token has 0.7 of the probability; next to a digit stand its neighbours with 0.2 and 0.1."""
    others = (
        [
            (str(int(word) + step), share)
            for step, share in ((-1, 0.2), (1, 0.1))
            if 0 <= int(word) + step <= 9
        ]
        if word.isdigit()
        else []
    )
    top = [(word, 0.7), *others][:number]
    return {
        "token": word,
        "logprob": math.log(0.7),
        "bytes": list(word.encode()),
        "top_logprobs": [
            {"token": token, "logprob": math.log(share), "bytes": list(token.encode())}
            for token, share in top
        ],
    }


def error(bad: Bad, headers: dict[str, str] | None = None) -> web.Response:
    kind = (
        "insufficient_quota"
        if bad.code == "insufficient_quota"
        else "invalid_request_error"
        if bad.status < 500
        else "server_error"
    )
    body = {"error": {"message": str(bad), "type": kind, "param": bad.param, "code": bad.code}}
    return web.json_response(body, status=bad.status, headers=headers)


@dataclass(frozen=True)
class Running:
    """A server in a process of its own."""

    base_url: str
    log: Path
    process: subprocess.Popen

    def requests(self) -> list[dict]:
        """What the server wrote down, one row per request."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextlib.contextmanager
def running_server(log: Path, *options: str) -> Iterator[Running]:
    """Start the server on a free port and end it afterwards.

    Args:
        log: where it writes its requests.
        options: of the command line, such as "--latency=0.2".
    """
    command = [sys.executable, "-m", "tests.judges.openai_server", "--port=0", f"--log={log}", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port.isdigit(), f"the server did not start: {port}"
        yield Running(f"http://127.0.0.1:{port}/v1", log, process)
    finally:
        process.terminate()
        process.wait(timeout=10)


async def serve(arguments: argparse.Namespace) -> None:
    server = Server(arguments)
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_get("/v1/models", server.models)
    app.router.add_post("/v1/chat/completions", server.completions)
    app.router.add_post("/openai/deployments/{deployment}/chat/completions", server.completions)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", arguments.port)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A server that speaks the OpenAI chat protocol, for tests")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds per answer")
    parser.add_argument(
        "--slow-factor", type=float, default=5.0, help="times the latency, for the fault slow"
    )
    parser.add_argument("--faults", type=float, default=0.0, help="share of requests with a fault")
    parser.add_argument("--kinds", default=",".join(FAULTS), help="of faults, separated by commas")
    parser.add_argument(
        "--retry-after", type=float, default=0.1, help="seconds that a busy server asks to wait"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--key", default="test-key", help="expected; empty: none")
    parser.add_argument("--truth", help="JSON lines with true scores by edited picture")
    parser.add_argument("--log", help="JSON lines, one per request, appended")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
