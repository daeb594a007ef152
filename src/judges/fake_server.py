"""A server that speaks the OpenAI chat protocol and makes its answers up, to try annotation and evaluation
without a key or cost: POST /v1/chat/completions, Azure's address of the same, GET /v1/models.

    python -m src.judges.fake_server --port 8000 --latency 0.2 --faults 0.3

It shares no code with the clients, as tests check them against it: images are decoded and tokens counted
here. It prints its port and serves until it is stopped. An answer depends only on the content of the question
(and on the seed in the request, at temperatures above 0), a fault on the content, the number of the attempt
and --seed, so every run can be repeated. With `--truth`, a file of JSON lines {"edited": image_key(edited),
"following": {"score", "feedback", "success"}, "preserving": ..., "quality": ...}, the images in it get these
scores, rounded. With `--replies`, a file of JSON lines {"edited": image_key(edited), "replies": {WORDS:
TEXT}}, a question whose last image is in it and whose prompt has WORDS gets TEXT, word for word; the file may
grow. The model "fault:KIND" always answers with that fault; kinds are those of FAULTS and ONLY_BY_NAME.
"""

import argparse
import asyncio
import base64
import contextlib
import email.utils
import gzip
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
from typing import Any, final

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
"""Kinds for --faults: the first five are the server's, the others are replies of a model."""

ERRORS = {
    "busy": (429, "rate_limit_exceeded", "Rate limit reached, please try again later."),
    "busy_date": (429, "rate_limit_exceeded", "Rate limit reached."),
    "busy_ms": (429, "rate_limit_exceeded", "Rate limit reached."),
    "busy_silent": (429, "rate_limit_exceeded", "Rate limit reached."),
    "busy_for_a_day": (429, "rate_limit_exceeded", "Daily limit reached."),
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
USAGES = {
    "no_usage": None,
    "no_tokens": 0.0,
    "tenth_of_tokens": 0.1,
    "ten_times_tokens": 10.0,
    "million_times_tokens": 1e6,
}
"""Servers that tell no usage, or lie about it by this factor."""

REMARKS = {
    "thinks_in_tags": ("<think>", "</think>"),
    "thinks_in_brackets": ("[THINK]", "[/THINK]"),
    "thinks_in_channels": (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    "thinks_only": ("<think>", ""),
}
"""Models that think aloud, with a draft of another answer."""

ONLY_BY_NAME = (
    *ERRORS,
    *USAGES,
    *REMARKS,
    "busy_for_a_day",
    "redirect",
    "redirect_within",
    "flood",
    "flood_of_error",
    "packed",
    "key_in_parts",
    "thinks_aside",
    "thinks_in_parts",
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
"""Words of src/judges/prompts that tell the perspective in question; needed for --truth only."""

FEEDBACK = {
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


@final
class RequestError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param


@final
@dataclass(frozen=True)
class ReceivedImage:
    """An image in a request."""

    height: int
    width: int
    key: str


@final
@dataclass(frozen=True)
class ChatRequest:
    """A valid request."""

    model: str
    prompt: str
    characters: int
    images: tuple[ReceivedImage, ...]
    schema: dict | None
    key: str
    detail: str | None
    random: np.random.Generator
    limit: int
    logprobs: int | None


@final
class FakeServer:
    """Answers requests; holds the settings and the state of a run."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.attempts: Counter[str] = Counter()
        self.seen: OrderedDict[bytes, ReceivedImage] = OrderedDict()
        # open as long as the server runs
        self.log = Path(arguments.log).open("a", buffering=1) if arguments.log else None  # noqa: SIM115
        lines = Path(arguments.truth).read_text().split("\n") if arguments.truth else []
        self.truth = {row["edited"]: row for row in map(json.loads, filter(None, lines))}
        self.replies: dict[str, dict[str, str]] = {}
        self.replies_read = -1

    async def models(self, request: web.Request) -> web.Response:
        try:
            self.check_key(request)
        except RequestError as error:
            return error_response(error)
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
            chat = self.parse_request(body, request.match_info.get("deployment"))
            note |= {"key": chat.key, "model": chat.model}
            self.attempts[chat.key] += 1
            note["attempt"] = self.attempts[chat.key]
            note["fault"] = fault = self.fault(chat, note["attempt"])
            note["extra"] = {name: value for name, value in body.items() if name not in USUAL_FIELDS}
            await asyncio.sleep(
                self.arguments.latency * (self.arguments.slow_factor if fault == "slow" else 1)
            )
            if fault in ("flood", "flood_of_error"):
                return await flood(request, 200 if fault == "flood" else 500, note)
            return self.respond(request, chat, fault, note)
        except json.JSONDecodeError:
            note["status"] = 400
            return error_response(RequestError(400, "We could not parse the JSON body of your request."))
        except RequestError as error:
            note["status"] = error.status
            return error_response(error)
        finally:
            if self.log is not None:
                self.log.write(json.dumps(note) + "\n")

    async def redirected(self, request: web.Request) -> web.StreamResponse:
        """Answers what was redirected here, whatever model it asked for."""
        body = json.loads(await request.read())
        return web.json_response(self.completion(self.parse_request(body, MODELS[0]), None))

    def check_key(self, request: web.Request) -> None:
        expected = self.arguments.key
        given = request.headers.get("api-key") or request.headers.get("Authorization", "").removeprefix(
            "Bearer "
        )
        if expected and given != expected:
            raise RequestError(
                401, f"Incorrect API key provided: {given[:3]}***{given[-4:]}.", "invalid_api_key"
            )

    def parse_request(self, body: dict, deployment: str | None) -> ChatRequest:
        """The request in a body.

        Raises:
            RequestError: OpenAI would refuse it.
        """
        model = deployment or body.get("model", "")
        if model not in MODELS and not model.startswith("fault:"):
            raise RequestError(
                404, f"The model `{model}` does not exist or you do not have access to it.", "model_not_found"
            )
        texts, images, details = [], [], set()
        for message in body.get("messages") or ():
            content: Any = message["content"]
            parts: Any = [{"type": "text", "text": content}] if isinstance(content, str) else content
            for part in parts:
                if part["type"] == "text":
                    texts.append(part["text"])
                elif part["type"] == "image_url":
                    images.append(self.image(part["image_url"]["url"]))
                    details.add(part["image_url"].get("detail"))
                else:
                    raise RequestError(400, f"Invalid value: '{part['type']}'.", param="messages")
        if not texts:
            raise RequestError(
                400, "Missing required parameter: 'messages'.", "missing_required_parameter", "messages"
            )
        if details - {None, "auto", "low", "high"}:
            raise RequestError(
                400, f"Invalid value: {details}.", param="messages[0].content[0].image_url.detail"
            )
        limit = body.get("max_completion_tokens", body.get("max_tokens", 4096))
        if not isinstance(limit, int) or limit < 1:
            raise RequestError(400, "Invalid 'max_tokens'.", "integer_below_min_value", "max_tokens")
        schema = parse_response_format(body.get("response_format"))
        content = "\0".join([*texts, *(image.key for image in images)])
        key = hashlib.sha256(content.encode()).hexdigest()[:32]
        sampled = f"{body.get('seed')}" if body.get("temperature", 1) else ""
        random = np.random.Generator(
            np.random.PCG64(int(hashlib.sha256(f"{key}{sampled}".encode()).hexdigest()[:16], 16))
        )
        logprobs = (body.get("top_logprobs") or 0) if body.get("logprobs") else None
        if logprobs is not None and not 0 <= logprobs <= 20:
            raise RequestError(
                400, "Invalid value for 'top_logprobs'.", "integer_above_max_value", "top_logprobs"
            )
        return ChatRequest(
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

    def image(self, address: str) -> ReceivedImage:
        """The image in a data URI, decoded; the last ones are cached, as several questions share an image."""
        head, comma, _ = address[:64].partition(",")
        match = re.fullmatch(r"data:(image/[a-z]+);base64", head)
        if not comma or match is None:
            raise RequestError(
                400,
                "Invalid image URL; expected a base64 data URL with an image MIME type.",
                "invalid_image_url",
                "messages",
            )
        try:
            file = base64.b64decode(address[len(head) + 1 :], validate=True)
        except ValueError:
            raise RequestError(400, "Invalid base64 image_url.", "invalid_base64", "messages") from None
        digest = hashlib.sha1(file).digest()
        if digest not in self.seen:
            try:
                with PIL.Image.open(io.BytesIO(file)) as opened:
                    image = opened.convert("RGB")
                    media_type = f"image/{str(opened.format).lower()}"
            except (OSError, SyntaxError, ValueError):
                raise RequestError(
                    400, "You uploaded an unsupported image.", "invalid_image_format", "messages"
                ) from None
            if media_type != match[1]:
                raise RequestError(
                    400, f"The file is {media_type}, not {match[1]}.", "invalid_image_format", "messages"
                )
            self.seen[digest] = ReceivedImage(
                image.height,
                image.width,
                image_key(np.asarray(image)) if self.truth or self.arguments.replies else digest.hex(),
            )
            if len(self.seen) > 512:
                self.seen.popitem(last=False)
        return self.seen[digest]

    def written_reply(self, chat: ChatRequest) -> str | None:
        """The reply that the file of replies has for a question; None if it has none."""
        path = None if self.arguments.replies is None else Path(self.arguments.replies)
        if path is None or not chat.images or not path.exists():
            return None
        if path.stat().st_size != self.replies_read:
            lines = list(filter(None, path.read_text().split("\n")))
            self.replies = {row["edited"]: row["replies"] for row in map(json.loads, lines)}
            self.replies_read = path.stat().st_size
        known = self.replies.get(chat.images[-1].key, {})
        return next((text for words, text in known.items() if words in chat.prompt), None)

    def fault(self, chat: ChatRequest, attempt: int) -> str | None:
        if chat.model.startswith("fault:"):
            return chat.model.removeprefix("fault:")
        digest = hashlib.sha256(f"{self.arguments.seed} {chat.key} {attempt}".encode()).digest()
        if int.from_bytes(digest[:6], "big") / 2**48 >= self.arguments.faults:
            return None
        kinds = self.arguments.kinds.split(",")
        return kinds[int.from_bytes(digest[6:10], "big") % len(kinds)]

    def respond(
        self, request: web.Request, chat: ChatRequest, fault: str | None, note: dict
    ) -> web.StreamResponse:
        if fault in ("dropped", "short_body"):
            note["status"] = 0
            transport = request.transport
            if fault == "short_body" and transport is not None:
                transport.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
                    b'{"choices": [{"mess'
                )
            if transport is not None:
                transport.close() if fault == "short_body" else transport.abort()
            return web.Response()
        if fault in ERRORS:
            note["status"] = ERRORS[fault][0]
            return self.error_of(fault)
        if fault in ("redirect", "redirect_within"):
            note["status"] = 307
            elsewhere = self.arguments.elsewhere or "http://127.0.0.1:9"
            where = f"{elsewhere}/v1/chat/completions" if fault == "redirect" else "/v1/redirected"
            return web.Response(status=307, headers={"Location": where})
        if fault == "packed":
            packed = gzip.compress(json.dumps(self.completion(chat, None)).encode() + b" " * 2**24)
            return web.Response(
                body=packed, headers={"Content-Encoding": "gzip"}, content_type="application/json"
            )
        if fault == "key_in_parts":
            note["status"] = 400
            key = request.headers.get("Authorization", "").removeprefix("Bearer ")
            parts = (f"{key[:10]}...{key[-4:]}", key[::-1], key.upper(), f"{key[:3]}***{key[-4:]}")
            return error_response(RequestError(400, f"Wrong header {', '.join(parts)}", param="messages"))
        if fault == "key_echo":
            note["status"] = 400
            return error_response(
                RequestError(400, f"Your header was {request.headers.get('Authorization')}")
            )
        note["status"] = 502 if fault == "bad_gateway" else 200
        if fault in ("html", "bad_gateway"):
            page = "<html><body><h1>Welcome to the proxy</h1></body></html>"
            return web.Response(status=note["status"], text=page, content_type="text/html")
        if fault == "array":
            return web.json_response([{"role": "assistant"}])
        if fault == "error_in_200":
            return web.json_response({"error": {"code": 429, "message": "Provider returned error"}})
        completion = self.completion(chat, fault)
        note |= {
            "input_tokens": completion["usage"]["prompt_tokens"],
            "output_tokens": completion["usage"]["completion_tokens"],
        }
        if fault in USAGES:
            factor = USAGES[fault]
            lie = {name: int(value * (factor or 0)) for name, value in completion.pop("usage").items()}
            completion |= {} if factor is None else {"usage": lie}
        text = json.dumps(completion)
        if fault == "truncated":
            text = text[: len(text) * 2 // 3]
        return web.Response(text=text, content_type="application/json")

    def error_of(self, fault: str) -> web.Response:
        status, code, message = ERRORS[fault]
        wait = self.arguments.retry_after
        headers = {
            "busy": {"Retry-After": f"{wait:g}"},
            "busy_for_a_day": {"Retry-After": "86400"},
            "busy_date": {"Retry-After": email.utils.formatdate(time.time() + 30, usegmt=True)},
            "busy_ms": {"retry-after-ms": f"{wait * 1000:g}", "Retry-After": f"{math.ceil(wait) + 5}"},
        }.get(fault, {})
        param = {"unsupported": "max_tokens", "bad_setting": "top_logprobs", "policy": None}.get(fault)
        return error_response(RequestError(status, message, code, param), headers)

    def completion(self, chat: ChatRequest, fault: str | None) -> dict:
        fields = self.fields(chat)
        if fault == "out_of_range":
            (name,) = [each for each in fields if "score" in each]
            fields[name] = [99] * len(fields[name]) if isinstance(fields[name], list) else 99
        content: str | None = json.dumps(fields)
        finish, refusal = "stop", None
        written = self.written_reply(chat)
        content = content if written is None else written
        if fault == "prose":
            content = (
                "I have looked at both pictures carefully. The edit is mostly fine, "
                "although one could argue about some details."
            )
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
        words = split_tokens(content or refusal or "")
        if fault in REMARKS:
            begin, end = REMARKS[fault]
            draft = {name: value if isinstance(value, str) else 0 for name, value in fields.items()}
            content = f"{begin}Perhaps {json.dumps(draft)}? No, rather:{end}{content if end else ''}"
            words = split_tokens(content)
        if fault == "cut" or len(words) > chat.limit:
            words = words[: min(chat.limit, max(1, len(words) // 2))]
            content, finish = "".join(words), "length"
        message = {"role": "assistant", "content": content, "refusal": refusal}
        if fault == "parts":
            message["content"] = [{"type": "text", "text": content}]
        if fault == "thinks_aside":
            message["reasoning_content"] = 'Perhaps {"feedback": "x", "score": 0}?'
        if fault == "thinks_in_parts":
            thought = {"type": "reasoning", "text": 'Perhaps {"feedback": "x", "score": 0}?'}
            message["content"] = [thought, {"type": "text", "text": content}]
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        if chat.logprobs is not None:
            choice["logprobs"] = {"content": [fake_logprobs(word, chat.logprobs) for word in words]}
        return {
            "id": f"chatcmpl-{chat.key[:12]}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": chat.model,
            "choices": [] if fault == "no_choices" else [choice],
            "usage": count_usage(chat, len(words)),
        }

    def fields(self, chat: ChatRequest) -> dict:
        """An answer with the fields that the schema, or else the prompt, asks for."""
        names = [name for name, words in PERSPECTIVES.items() if words in chat.prompt]
        perspective = names[0] if len(names) == 1 else "quality"
        known = self.truth.get(chat.images[-1].key) if chat.images else None
        score = int(chat.random.integers(6))
        words = (
            "None"
            if score == 5
            else str(chat.random.choice(FEEDBACK[perspective])).format(chat.random.choice(THINGS))
        )
        success = score >= 4
        if known is not None and len(names) == 1:
            score, words = round(known[perspective]["score"]), known[perspective]["feedback"]
            success = known[perspective].get("success", score >= 4)
        properties = (chat.schema or {}).get("properties") or fields_of_example(chat.prompt)
        fields: dict = {}
        for name, rule in properties.items():
            if rule.get("type") == "array":
                top = max(rule["items"].get("enum", [25]))
                fields[name] = [
                    int(value) for value in chat.random.integers(top + 1, size=rule.get("minItems", 2))
                ]
            elif rule.get("type") == "integer":
                top = max(rule.get("enum", [5]))
                fields[name] = score if top == 5 else round(score * top / 5)
            elif rule.get("enum") == ["yes", "no"] or name == "success":
                fields[name] = "yes" if success else "no"
            else:
                fields[name] = words
        return fields


USUAL_FIELDS = (
    "model",
    "messages",
    "temperature",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "response_format",
    "logprobs",
    "top_logprobs",
)


async def flood(request: web.Request, status: int, note: dict) -> web.StreamResponse:
    """A body without end."""
    note |= {"status": status, "megabytes": 0}
    response = web.StreamResponse(status=status, headers={"Content-Type": "application/json"})
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while note["megabytes"] < 4000:
            await response.write(b" " * 2**20)
            note["megabytes"] += 1
    return response


def parse_response_format(form: dict | None) -> dict | None:
    """The schema of a response_format.

    Raises:
        RequestError: OpenAI's strict mode would refuse it.
    """
    if form is None or form.get("type") in ("text", "json_object"):
        return None
    if form.get("type") != "json_schema":
        raise RequestError(400, f"Invalid value: {form.get('type')}.", param="response_format.type")
    described = form.get("json_schema") or {}
    schema = described.get("schema") or {}
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", described.get("name", "")):
        raise RequestError(
            400,
            "Missing required parameter: 'response_format.json_schema.name'.",
            param="response_format.json_schema.name",
        )
    closed = schema.get("type") == "object" and schema.get("additionalProperties") is False
    if described.get("strict") and not (
        closed and schema.get("required") == list(schema.get("properties") or {})
    ):
        raise RequestError(
            400,
            "Invalid schema: every object is closed and requires all of its fields.",
            param="response_format",
        )
    return schema


def fields_of_example(prompt: str) -> dict:
    """The fields of the last JSON object in a prompt, as a schema's properties."""
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


def split_tokens(text: str) -> list[str]:
    """The server's tokens of a text: a word of up to nine letters with the space before it, a digit, or a
    mark.
    """
    return re.findall(r" ?[^\W\d_]{1,9}|\d| ?[^\w\s]{1,2}|\s+|_", text)


def count_usage(chat: ChatRequest, output: int) -> dict[str, int]:
    """The tokens used: OpenAI's tiles (the image fits into 2048 x 2048, its short side into 768), a token per
    4.2 characters of text, and 7 for the message.
    """
    base, per_tile = (2833, 5667) if "mini" in chat.model else (85, 170)
    total = (
        7
        + math.ceil(chat.characters / 4.2)
        + (math.ceil(len(json.dumps(chat.schema)) / 4.2) if chat.schema else 0)
    )
    for image in chat.images:
        long, short = max(image.height, image.width), min(image.height, image.width)
        shrink = min(1.0, 2048 / long, 768 / short)
        count = math.ceil(long * shrink / 512 - 1e-6) * math.ceil(short * shrink / 512 - 1e-6)
        total += base if chat.detail == "low" else base + per_tile * count
    return {"prompt_tokens": total, "completion_tokens": output, "total_tokens": total + output}


def fake_logprobs(word: str, number: int) -> dict:
    """Made-up probabilities: 0.7 for the token, and for the neighbours of a digit 0.2 and 0.1."""
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


def error_response(bad: RequestError, headers: dict[str, str] | None = None) -> web.Response:
    """The response to a refused request, as OpenAI words it."""
    kind = (
        "insufficient_quota"
        if bad.code == "insufficient_quota"
        else "invalid_request_error"
        if bad.status < 500
        else "server_error"
    )
    body = {"error": {"message": str(bad), "type": kind, "param": bad.param, "code": bad.code}}
    return web.json_response(body, status=bad.status, headers=headers)


@final
@dataclass(frozen=True)
class RunningServer:
    """A fake server in a process of its own."""

    base_url: str
    log: Path
    process: subprocess.Popen

    def requests(self) -> list[dict]:
        """The server's log, one row per request."""
        return [json.loads(line) for line in self.log.read_text().split("\n") if line]


@contextlib.contextmanager
def running_server(log: Path, *options: str) -> Iterator[RunningServer]:
    """Start the server on a free port and stop it afterwards.

    Args:
        log: file for its requests.
        options: command-line options, such as "--latency=0.2".
    """
    command = [sys.executable, "-m", "src.judges.fake_server", "--port=0", f"--log={log}", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port.isdigit(), f"the server did not start: {port}"
        yield RunningServer(f"http://127.0.0.1:{port}/v1", log, process)
    finally:
        process.terminate()
        process.wait(timeout=10)


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until cancelled."""
    server = FakeServer(arguments)
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_get("/v1/models", server.models)
    app.router.add_post("/v1/chat/completions", server.completions)
    app.router.add_post("/v1/redirected", server.redirected)
    app.router.add_post("/openai/deployments/{deployment}/chat/completions", server.completions)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", arguments.port)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="A fake server that speaks the OpenAI chat protocol")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds per answer")
    parser.add_argument(
        "--slow-factor", type=float, default=5.0, help="latency of the fault slow, in units of --latency"
    )
    parser.add_argument("--faults", type=float, default=0.0, help="share of requests with a fault")
    parser.add_argument("--kinds", default=",".join(FAULTS), help="of faults, comma-separated")
    parser.add_argument(
        "--retry-after", type=float, default=0.1, help="seconds that a busy server asks to wait"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--key", default="test-key", help="expected key; empty: none")
    parser.add_argument("--elsewhere", help="address of the server that the fault redirect names")
    parser.add_argument("--truth", help="JSON lines with true scores by edited image")
    parser.add_argument("--replies", help="JSON lines with whole replies by edited image")
    parser.add_argument("--log", help="JSON lines, one per request, appended")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
