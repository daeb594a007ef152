"""A client of models behind the OpenAI chat protocol: OpenAI itself, Azure, vLLM, SGLang and others.

One `ask` is one HTTP attempt: the OpenAI library's own retries are off, so that the caller counts, pays for
and records every attempt. The key comes from the environment; only the library holds it, and it is removed
from whatever servers return. Source: platform.openai.com/docs/api-reference/chat; docs.vllm.ai
(OpenAI-compatible server); Azure: learn.microsoft.com, Azure OpenAI REST reference.
"""

import asyncio
import base64
import email.utils
import json
import logging
import math
import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, final
from urllib.parse import urlsplit

import openai

from src.judges.bounded_client import BoundedClient, OversizedReplyError, RedirectedError
from src.judges.image_tokens import ImageTokens, most_image_tokens
from src.judges.question import AnswerSchema, CallFailed, ImagePart, Question, Reply
from src.seeds import fold_seed

LAYOUT = "pictures-then-text"
"""Order of a question's parts; part of the fingerprint. Images come first, so that servers with a prefix
cache (vLLM) process the images of a triplet once for all its questions."""

ORDINALS = ("First", "Second", "Third", "Fourth")
NO_KEY = "no-key"
"""Sent to servers that need no key; the library insists on one."""

FRAME_TOKENS = 7
"""Overhead of a single user message at OpenAI: 12 tokens were billed for five words of text
(community.openai.com/t/1262691).
"""
LABEL_TOKENS = 4
"""Tokens of "First picture:" (3, o200k_base) and its line end."""

SAID = ("text", "output_text")
"""Types of the parts of a message that are its words."""

OWN_FIELDS = {
    "model": "judge.client.model",
    "messages": "made by the rubric",
    "temperature": "judge.client.temperature",
    "seed": "judge.client.seed",
    "max_tokens": "judge.client.max_tokens",
    "max_completion_tokens": "judge.client.max_tokens",
    "response_format": "judge.client.structured",
    "logprobs": "judge.client.probabilities",
    "top_logprobs": "judge.client.probabilities",
    "n": "judge.rubric.repeats",
    "stream": "replies are read as a whole",
    "stream_options": "replies are read as a whole",
}
"""Fields of a request that no extra_body may set, and what sets them."""

SHORTEST_KEY = 8
"""Shorter ones are no secrets, and their letters stand in many texts."""
SHORTEST_PART = 6
"""Letters of a key in a row that are taken for a part of it."""
HALF_MASKED = re.compile(r"[\w-]*(?:\*{2,}|\.{2,}|…|•+|[xX]{3,})[\w*.•…-]*\w{2}\b|[\w-]+(?:\*{3,})")

VARIABLE_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,39}")

# What a status means for the next attempt; any other 4xx refuses the question for good.
TRANSIENT = (408, 409, 425)
FATAL = (401, 402, 403, 404)
# Codes that refuse every question, not just this one.
FATAL_CODES = (
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "model_not_found",
    "invalid_api_key",
    "account_deactivated",
)
FATAL_CODES += ("unsupported_parameter", "unsupported_value", "unknown_parameter")


@final
class OpenAIChat:
    """A vision-language model behind POST <base_url>/chat/completions. Implements `VLMClient` and
    `RemoteClient`.

    Args:
        model: its name at the server; at Azure, the deployment's name.
        image_tokens: the provider's rule, for estimates.
        base_url: up to the version ("https://api.openai.com/v1", "http://localhost:8000/v1"); at Azure, the
            resource ("https://x.openai.azure.com"). It is no part of the fingerprint: two servers with the
            same model and revision share answers.
        azure_api_version: such as "2024-10-21"; null if this isn't Azure.
        key_variable: environment variable that holds the key; null for servers that need none.
        revision: anything that distinguishes weights of the same name (a commit of the hub); part of the
            fingerprint.
        temperature: null is not sent, as some models refuse any.
        temperature_again: of the second try after an unreadable reply; at 0 the same words might come again.
            Not sent if `temperature` is null.
        seed: of the sampling; the seed of a call is made of it and the question's repeat. Null is not sent.
        max_tokens: longer answers are cut off.
        max_tokens_name: "max_completion_tokens" for OpenAI's newer models, "max_tokens" for most other
            servers.
        timeout: seconds for a whole call.
        detail: "high", "low", "auto", or null, which is not sent.
        structured: "json_schema" (strict), "json_object", or null for words only.
        probabilities: number of alternatives per token (at most 20 at OpenAI); null for none.
        characters_per_token: of English text, for estimates.
        output_tokens: expected in an answer, for estimates.
        extra_body: further fields of a request, such as {reasoning_effort: low} or {chat_template_kwargs:
            {enable_thinking: false}}; part of the fingerprint.

    Raises:
        ValueError: a setting out of range, a password in the address, or a field of extra_body that has a
            setting of its own; on the first `ask`: no key in the
            environment (estimates need none).
    """

    is_remote = True

    def __init__(
        self,
        model: str,
        image_tokens: ImageTokens,
        base_url: str = "https://api.openai.com/v1",
        azure_api_version: str | None = None,
        key_variable: str | None = "OPENAI_API_KEY",
        revision: str = "",
        temperature: float | None = 0.0,
        temperature_again: float = 0.7,
        seed: int | None = 0,
        max_tokens: int = 300,
        max_tokens_name: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens",
        timeout: float = 60.0,
        detail: Literal["high", "low", "auto"] | None = "high",
        structured: Literal["json_schema", "json_object"] | None = "json_schema",
        probabilities: int | None = None,
        characters_per_token: float = 4.3,
        output_tokens: int = 35,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        for name, value, allowed in (
            ("max_tokens_name", max_tokens_name, ("max_completion_tokens", "max_tokens")),
            ("detail", detail, ("high", "low", "auto", None)),
            ("structured", structured, ("json_schema", "json_object", None)),
        ):
            if value not in allowed:
                choices = ", ".join("null" if choice is None else choice for choice in allowed)
                raise ValueError(f"{name}={value}: say one of {choices}")
        if (
            not 0 < timeout < math.inf
            or max_tokens < 1
            or characters_per_token <= 0
            or (probabilities is not None and probabilities < 1)
        ):
            raise ValueError(
                f"timeout={timeout}, max_tokens={max_tokens}, characters_per_token={characters_per_token}, "
                f"probabilities={probabilities}: all of them must be positive"
            )
        check_base_url(base_url)
        self.extra_body = check_extra_body(extra_body)
        self.model = model
        self.image_tokens = image_tokens
        self.base_url = base_url.rstrip("/")
        self.azure_api_version = azure_api_version
        self.key_variable = key_variable
        self.temperature = temperature
        self.temperature_again = temperature_again
        self.seed = seed
        self.max_tokens = max_tokens
        self.max_tokens_name = max_tokens_name
        self.timeout = timeout
        self.detail = detail
        self.structured = structured
        self.probabilities = probabilities
        self.characters_per_token = characters_per_token
        self.output_tokens = output_tokens
        self.fingerprint = (
            f"{model} revision={revision} layout={LAYOUT} temperature={temperature} "
            f"again={temperature_again} "
            f"seed={seed} max_tokens={max_tokens} detail={detail} structured={structured} "
            f"probabilities={probabilities}"
        )
        if self.extra_body:
            self.fingerprint += f" extra_body={json.dumps(self.extra_body, sort_keys=True)}"
        self._client: tuple[asyncio.AbstractEventLoop, openai.AsyncOpenAI] | None = None
        self._formats: dict[AnswerSchema, dict[str, object]] = {}
        check_variable_name(key_variable)

    def check_ready(self) -> None:
        """Raise ValueError unless the environment has the key, if one is needed."""
        read_api_key(self.key_variable)

    async def ask(self, question: Question) -> Reply:
        start = time.perf_counter()
        try:
            # a deadline for the whole call: the library's own limits are per packet, and a slow server never
            # exceeds them
            async with asyncio.timeout(self.timeout):
                response = await self._connected().chat.completions.with_raw_response.create(
                    **self._request(question)
                )
            failure = None
        except TimeoutError:
            failure = CallFailed(
                f"no answer from {self.base_url} within {self.timeout:g} s", "transient", may_cost=True
            )
        except RedirectedError as error:
            failure = CallFailed(
                f"{error}, where neither pictures nor key are sent; give that as judge.client.base_url if it "
                "is the server you mean",
                "fatal",
            )
        except OversizedReplyError as error:
            failure = CallFailed(
                f"{self.base_url} answered with {error}, which is no answer of at most {self.max_tokens} "
                "tokens (judge.client.max_tokens)",
                "transient",
                may_cost=True,
            )
        except openai.APIStatusError as error:
            failure = self._failure(error.status_code, error.body, error.response.headers)
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            failure = CallFailed(
                f"no connection to {self.base_url} ({type(cause).__name__}: {self._masked(str(cause))})",
                "transient",
                # anything but a failure to connect: the question may have arrived
                may_cost="Connect" not in type(cause).__name__,
            )
        if failure is not None:
            # raised outside the handlers, so that it carries no cause: the library's errors hold the request
            # with its key
            raise failure
        return self._reply(self._without_key(response.text), response.headers, time.perf_counter() - start)

    def tokens(self, question: Question) -> tuple[int, int]:
        characters = len(question.prompt)
        if self.structured == "json_schema" and not question.schema.free:
            # servers prepend the schema to the prompt and count it
            characters += len(json.dumps(question.schema.json_schema()))
        images = sum(
            self.image_tokens.tokens(image.height, image.width, self.detail) for image in question.images
        )
        labels = LABEL_TOKENS * len(question.images) if len(question.images) > 1 else 0
        return FRAME_TOKENS + labels + round(
            characters / self.characters_per_token
        ) + images, self.output_tokens

    def most_tokens(self, question: Question) -> tuple[int, int]:
        characters = len(question.prompt.encode()) + len(json.dumps(question.schema.json_schema()))
        images = sum(most_image_tokens(image.height, image.width) for image in question.images)
        return FRAME_TOKENS + characters + images, self.max_tokens

    async def close(self) -> None:
        if self._client is not None and self._client[0] is asyncio.get_running_loop():
            await self._client[1].close()
        self._client = None

    def _connected(self) -> openai.AsyncOpenAI:
        """The library's client for the running event loop, made on first use; connections can't move between
        loops.
        """
        loop = asyncio.get_running_loop()
        if self._client is None or self._client[0] is not loop:
            # the HTTP library logs a line per request, 60,000 of them in a long run
            for name in ("httpx", "httpx2"):
                logging.getLogger(name).setLevel(logging.WARNING)
            settings: dict[str, Any] = {
                "api_key": read_api_key(self.key_variable),
                "max_retries": 0,
                "timeout": openai.Timeout(None, connect=self.timeout),
                "http_client": BoundedClient(self._most_bytes()),
            }
            if self.azure_api_version is None:
                client = openai.AsyncOpenAI(base_url=self.base_url, **settings)
            else:
                client = openai.AsyncAzureOpenAI(
                    azure_endpoint=self.base_url, api_version=self.azure_api_version, **settings
                )
            self._client = loop, client
        return self._client[1]

    def _about_key(self) -> str:
        if self.key_variable is None:
            return "name the environment variable that holds it: judge.client.key_variable=NAME"
        return f"check the environment variable {self.key_variable}"

    def _most_bytes(self) -> int:
        """Of a reply: a generous number per token and its alternatives, and as many for all that is around
        them.
        """
        return 2**20 + 256 * self.max_tokens * (1 + (self.probabilities or 0))

    def _request(self, question: Question) -> dict[str, Any]:
        """The body of a call."""
        temperature = (
            self.temperature_again if question.again and self.temperature is not None else self.temperature
        )
        seed = (
            None
            if self.seed is None
            else fold_seed("call", self.seed, question.repeat, question.again) % 2**31
        )
        optional = {
            "temperature": temperature,
            "seed": seed,
            "response_format": self._format(question.schema),
            "top_logprobs": self.probabilities,
        }
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": message_content(question, self.detail)}],
            self.max_tokens_name: self.max_tokens,
            **{name: value for name, value in optional.items() if value is not None},
            **({"logprobs": True} if self.probabilities else {}),
            **({"extra_body": self.extra_body} if self.extra_body else {}),
        }

    def _format(self, schema: AnswerSchema) -> dict[str, object] | None:
        if self.structured is None or schema.free:
            return None
        if self.structured == "json_object":
            return {"type": "json_object"}
        if schema not in self._formats:
            self._formats[schema] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": schema.json_schema()},
            }
        return self._formats[schema]

    def _reply(self, text: str, headers: Mapping[str, str], seconds: float) -> Reply:
        """The reply in a body with status 200.

        Raises:
            CallFailed: the body holds none.
        """
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            kind = "an HTML page" if text.lstrip()[:1] == "<" else "a body that is no JSON or was cut off"
            kind = kind if text.strip() else "an empty body"
            raise self._no_reply(kind, text) from None
        if not isinstance(body, dict):
            raise self._no_reply("JSON that is no object", text)
        if body.get("error"):
            # some routers answer 200 and put the status of the model's server into the body
            code = body["error"].get("code") if isinstance(body["error"], dict) else None
            raise self._failure(code if isinstance(code, int) and 400 <= code < 600 else 502, body, headers)
        try:
            choice = body["choices"][0]
            message, finish = choice["message"], choice.get("finish_reason") or "stop"
            words, thoughts = said_and_thought(message)
            alternatives = token_alternatives(choice.get("logprobs"))
        except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError):
            raise self._no_reply("no choice in it", text) from None
        if message.get("refusal"):
            words, finish = str(message["refusal"]), "refusal"
        # half of an emoji, as some servers cut them, can't be stored
        words = words.encode(errors="replace").decode()
        usage = body.get("usage")
        given, taken = (told_tokens(usage, name) for name in ("prompt_tokens", "completion_tokens"))
        written = round((len(words) + len(thoughts)) / self.characters_per_token)
        return Reply(words, str(finish), given, taken, seconds, alternatives, text, written)

    def _no_reply(self, what: str, text: str) -> CallFailed:
        """The failure of a call that was answered, and so may cost something, with something else."""
        reason = f"{self.base_url} answered with {what}: {excerpt_line(self._masked(text[:1000]))}"
        return CallFailed(reason, "transient", may_cost=True)

    def _failure(self, status: int, body: object, headers: Mapping[str, str]) -> CallFailed:
        """The failure that an error status stands for."""
        fields = error_fields(body)
        code = str(fields.get("code") or fields.get("type") or "")
        message = excerpt_line(self._masked(str(fields.get("message") or body or "")))
        detail = f" ({message})" if message else ""
        where = f"{self.base_url}, model {self.model}"
        if status == 401 or code == "invalid_api_key":
            # a server's message about a wrong key often quotes parts of it
            return CallFailed(
                f"{where}: the key is not accepted; {self._about_key()}",
                "fatal",
            )
        if code in FATAL_CODES:
            return CallFailed(
                f"{where}: {code}{detail}; no question can be answered until this is fixed", "fatal"
            )
        if status == 404:
            return CallFailed(
                f"{where}: not found{detail}; check model, and that base_url is complete (most end in /v1)",
                "fatal",
            )
        if status in FATAL:
            return CallFailed(
                f"{where}: status {status}{detail}; the account has no access to this model, "
                "or its balance is used up",
                "fatal",
            )
        if status == 429:
            return CallFailed(f"{where}: busy{detail}", "busy", retry_after_seconds(headers))
        if status in TRANSIENT or status >= 500:
            return CallFailed(f"{where}: status {status}{detail}", "transient", retry_after_seconds(headers))
        if fields.get("param") and str(fields["param"]).split(".")[0] not in ("messages", "prompt"):
            return CallFailed(f"{where}: the server refuses the setting {fields['param']}{detail}", "fatal")
        return CallFailed(f"{where}: refused with status {status}{detail}", "refused")

    def _without_key(self, text: str) -> str:
        """A server's text without the key, which some servers repeat."""
        key = self._key()
        return text if len(key) < SHORTEST_KEY else text.replace(key, "***")

    def _masked(self, text: str) -> str:
        """A server's error without the key or parts of it, as some servers quote it half masked."""
        return mask_parts(text, self._key())

    def _key(self) -> str:
        key = self._client[1].api_key if self._client is not None else NO_KEY
        return "" if key == NO_KEY else key


def said_and_thought(message: Mapping[str, Any]) -> tuple[str, str]:
    """The words of a message, and the thoughts that its server tells apart from them.

    Parts of a kind of their own ("thinking", "reasoning") are thoughts; so are fields besides the content.
    """
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    words = [part.get("text") or "" for part in parts if part.get("type", "text") in SAID]
    others = [part for part in parts if part.get("type", "text") not in SAID]
    thoughts = [message.get(name) for name in ("reasoning_content", "reasoning")]
    return "".join(words), "".join(str(each) for each in (*others, *thoughts) if each)


def told_tokens(usage: object, name: str) -> int | None:
    """A number of tokens in a reply's usage; None if it tells none."""
    told = usage.get(name) if isinstance(usage, dict) else None
    return told if isinstance(told, int) and not isinstance(told, bool) and told >= 0 else None


def mask_parts(text: str, key: str) -> str:
    """A text without a key, without parts of it, reversed or in other letter case too, and without what is
    left of it beside a mask ("sk-...6789").
    """
    if len(key) < SHORTEST_KEY:
        return text
    lower, hidden = text.lower(), set()
    for known in (key.lower(), key.lower()[::-1]):
        for start in range(len(known) - SHORTEST_PART + 1):
            part = known[start : start + SHORTEST_PART]
            for found in re.finditer(f"(?={re.escape(part)})", lower):
                hidden.update(range(found.start(), found.start() + SHORTEST_PART))
    shown = "".join("\0" if index in hidden else letter for index, letter in enumerate(text))
    return HALF_MASKED.sub("***", re.sub("\0+", "***", shown))


def check_extra_body(extra_body: Mapping[str, Any] | None) -> dict[str, Any]:
    """Further fields of a request.

    Raises:
        ValueError: one that the judge sets itself, or a value that is no JSON.
    """
    fields = dict(extra_body or {})
    own = sorted(fields.keys() & OWN_FIELDS.keys())
    if own:
        instead = ", ".join(f"{name} ({OWN_FIELDS[name]})" for name in own)
        raise ValueError(f"extra_body holds what the judge sets itself: {instead}")
    try:
        json.dumps(fields, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"extra_body={fields} can't be sent as JSON ({error})") from None
    return fields


def read_api_key(variable: str | None) -> str:
    """The key in an environment variable; a dummy if no variable is named.

    Raises:
        ValueError: the variable isn't set.
    """
    if variable is None:
        return NO_KEY
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(
            f"the environment variable {variable} is not set; set it to the key of the server, or give "
            "judge.client.key_variable=null for a server without keys"
        )
    return key


def check_base_url(base_url: str) -> None:
    """Check that a server's address is one, and holds nothing secret.

    Raises:
        ValueError: a password or a query, or no address of http.
    """
    address = urlsplit(base_url)
    if address.username or address.password or address.query:
        raise ValueError(
            "base_url holds a password or a query; keys belong in the environment, see key_variable"
        )
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError(
            f"base_url={base_url} is no address; give one like https://api.openai.com/v1 or "
            "http://localhost:8000/v1"
        )


def check_variable_name(name: str | None) -> None:
    """Check that a name can be that of an environment variable, as a key in its place must not end up in an
    error or a config dump.

    Raises:
        ValueError: it can't; the message doesn't repeat it.
    """
    if name is not None and not VARIABLE_NAME.fullmatch(name):
        raise ValueError(
            "key_variable is the name of an environment variable in capitals, such as OPENAI_API_KEY, "
            "and never the key itself"
        )


def message_content(question: Question, detail: str | None) -> list[dict[str, object]]:
    """The images in order, each labelled if there are several, then the text."""
    parts: list[dict[str, object]] = []
    for index, image in enumerate(question.images):
        if len(question.images) > 1:
            ordinal = ORDINALS[index] if index < len(ORDINALS) else f"{index + 1}th"
            parts.append({"type": "text", "text": f"{ordinal} picture:"})
        address = {"url": image_data_uri(image)} | ({"detail": detail} if detail is not None else {})
        parts.append({"type": "image_url", "image_url": address})
    return [*parts, {"type": "text", "text": question.prompt}]


def image_data_uri(image: ImagePart) -> str:
    """An image as a data URI (RFC 2397)."""
    return f"data:{image.media_type};base64,{base64.b64encode(image.content).decode()}"


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, or None: OpenAI's retry-after-ms, or Retry-After in seconds or as a
    date (RFC 9110).
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * scale
        except ValueError:
            continue
        if 0 <= seconds < math.inf:
            return seconds
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def token_alternatives(logprobs: Mapping[str, Any] | None) -> tuple[tuple[tuple[str, float], ...], ...]:
    """Per token of the answer, the most probable tokens with their probabilities, the chosen one first."""
    places = []
    for place in (logprobs or {}).get("content") or ():
        chosen = (place["token"], math.exp(place["logprob"]))
        others = [(other["token"], math.exp(other["logprob"])) for other in place.get("top_logprobs") or ()]
        places.append((chosen, *(other for other in others if other[0] != chosen[0])))
    return tuple(places)


def error_fields(body: object) -> Mapping[str, Any]:
    """The fields of an error's body: OpenAI wraps them in "error", older vLLM doesn't."""
    if isinstance(body, dict):
        inner = body.get("error", body)
        return inner if isinstance(inner, dict) else {"message": inner}
    return {}


def excerpt_line(text: str, length: int = 200) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
