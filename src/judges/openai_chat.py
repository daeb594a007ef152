"""Judges behind the OpenAI chat protocol: OpenAI itself, Azure, vLLM, SGLang, and whatever else speaks it.

One `ask` is one HTTP attempt: the client's own retries are off, so that every attempt is counted, paid for
and recorded by who asks. The key comes from the environment and is never kept here: the client alone holds
it, and what servers say is passed on without it. Source: platform.openai.com/docs/api-reference/chat;
docs.vllm.ai (OpenAI-compatible server); Azure: learn.microsoft.com, Azure OpenAI REST reference.
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

from src.judges.image_tokens import ImageTokens
from src.judges.question import Encoded, Form, Question, Reply, Unanswered
from src.seeds import fold_seed

LAYOUT = "pictures-then-text"
"""How a question is laid out; part of the fingerprint. Images come first: servers that keep the states of
equal beginnings (vLLM's prefix cache) then read the images of a triplet once for all its questions."""

ORDINALS = ("First", "Second", "Third", "Fourth")
NO_KEY = "no-key"
"""Sent to servers that ask for none; the client insists on something."""

FRAME_TOKENS = 7
"""What OpenAI adds to a single user message: 12 tokens were billed for five words of text
(community.openai.com/t/1262691).
"""
LABEL_TOKENS = 4
"""Of "First image:" (3, o200k_base) and its line end."""

NAME_OF_A_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,39}")

# What a status means for the next attempt; the rest of 4xx can't be answered however often it is asked.
TRANSIENT = (408, 409, 425)
FATAL = (401, 402, 403, 404)
# Codes that say: not this question, but every question is wrong (or nobody pays for them).
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
    """A vision-language model behind POST <base_url>/chat/completions.

    Args:
        model: as the server calls it; at Azure, the deployment's name.
        image_tokens: the provider's rule, for estimates.
        base_url: up to and with the version ("https://api.openai.com/v1", "http://localhost:8000/v1"); at
            Azure, the resource ("https://x.openai.azure.com").
        azure_api_version: "2024-10-21" and the like; null if this isn't Azure.
        key_variable: environment variable that holds the key; null for servers that ask for none.
        revision: anything that tells weights of the same name apart (a commit of the hub); it goes into the
            fingerprint.
        temperature: null is not sent, as some models refuse any.
        temperature_again: when asked again, after a reply that could not be read; at 0 the same words might
            come again. Not sent where `temperature` isn't.
        seed: of the sampling; together with the question's repeat it gives the seed of a call. Null is not
            sent.
        max_tokens: an answer is cut off there.
        max_tokens_name: "max_completion_tokens" for OpenAI's newer models, "max_tokens" for most other
            servers.
        timeout: seconds for a whole call.
        detail: "high", "low", "auto", or null, which is not sent.
        structured: "json_schema" (strict), "json_object", or null for words only.
        probabilities: how many alternatives per token to ask for (at most 20 at OpenAI), null for none.
        characters_per_token: of English text, for estimates.
        output_tokens: expected in an answer, for estimates.

    Raises:
        ValueError: a setting out of range, a password in the address; when first asked: no key in the
            environment (estimates need none).
    """

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
    ) -> None:
        for name, value, allowed in (
            ("max_tokens_name", max_tokens_name, ("max_completion_tokens", "max_tokens")),
            ("detail", detail, ("high", "low", "auto", None)),
            ("structured", structured, ("json_schema", "json_object", None)),
        ):
            if value not in allowed:
                raise ValueError(
                    f"{name}={value}: say one of {', '.join('null' if each is None else each for each in allowed)}"
                )
        if (
            not 0 < timeout < math.inf
            or max_tokens < 1
            or characters_per_token <= 0
            or (probabilities is not None and probabilities < 1)
        ):
            raise ValueError(
                f"timeout={timeout}, max_tokens={max_tokens}, characters_per_token={characters_per_token}, probabilities={probabilities}: "
                "all of them have to be positive"
            )
        address = urlsplit(base_url)
        if address.username or address.password or address.query:
            raise ValueError(
                "base_url holds a password or a query; keys belong into the environment, see key_variable"
            )
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError(
                f"base_url={base_url} is no address; it looks like https://api.openai.com/v1 or http://localhost:8000/v1"
            )
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
            f"{model} revision={revision} layout={LAYOUT} temperature={temperature} again={temperature_again} seed={seed} max_tokens={max_tokens} "
            f"detail={detail} structured={structured} probabilities={probabilities}"
        )
        self._client: tuple[asyncio.AbstractEventLoop, openai.AsyncOpenAI] | None = None
        self._formats: dict[Form, dict[str, object]] = {}
        name_of_variable(key_variable)

    async def ask(self, question: Question) -> Reply:
        start = time.perf_counter()
        try:
            # a deadline for the whole call: the HTTP client's own limits are per packet, which a slow server
            # never exceeds
            async with asyncio.timeout(self.timeout):
                response = await self._connected().chat.completions.with_raw_response.create(
                    **self._request(question)
                )
            failure = None
        except TimeoutError:
            failure = Unanswered(f"no answer from {self.base_url} within {self.timeout:g} s", "transient")
        except openai.APIStatusError as error:
            failure = self._unanswered(error.status_code, error.body, error.response.headers)
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            failure = Unanswered(
                f"no connection to {self.base_url} ({type(cause).__name__}: {self._public(str(cause))})",
                "transient",
            )
        if failure is not None:
            # raised out here, where no other error hangs on to it: the client's errors hold the request, and
            # the server's words
            raise failure
        return self._reply(self._public(response.text), response.headers, time.perf_counter() - start)

    def tokens(self, question: Question) -> tuple[int, int]:
        characters = len(question.prompt)
        if self.structured == "json_schema":
            # servers put the schema before the prompt and count it
            characters += len(json.dumps(question.form.schema()))
        images = sum(
            self.image_tokens.tokens(image.height, image.width, self.detail) for image in question.images
        )
        labels = LABEL_TOKENS * len(question.images) if len(question.images) > 1 else 0
        return FRAME_TOKENS + labels + round(
            characters / self.characters_per_token
        ) + images, self.output_tokens

    async def close(self) -> None:
        if self._client is not None and self._client[0] is asyncio.get_running_loop():
            await self._client[1].close()
        self._client = None

    def _connected(self) -> openai.AsyncOpenAI:
        """The client of the running event loop, made when first needed; connections can't move from one loop
        to the next.
        """
        loop = asyncio.get_running_loop()
        if self._client is None or self._client[0] is not loop:
            # the HTTP library writes a line per request, in which a run of 60,000 calls would drown
            for name in ("httpx", "httpx2"):
                logging.getLogger(name).setLevel(logging.WARNING)
            settings: dict[str, Any] = {
                "api_key": key_of(self.key_variable),
                "max_retries": 0,
                "timeout": openai.Timeout(None, connect=self.timeout),
            }
            if self.azure_api_version is None:
                client = openai.AsyncOpenAI(base_url=self.base_url, **settings)
            else:
                client = openai.AsyncAzureOpenAI(
                    azure_endpoint=self.base_url, api_version=self.azure_api_version, **settings
                )
            self._client = loop, client
        return self._client[1]

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
            "response_format": self._format(question.form),
            "top_logprobs": self.probabilities,
        }
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": content_of(question, self.detail)}],
            self.max_tokens_name: self.max_tokens,
            **{name: value for name, value in optional.items() if value is not None},
            **({"logprobs": True} if self.probabilities else {}),
        }

    def _format(self, form: Form) -> dict[str, object] | None:
        if self.structured is None:
            return None
        if self.structured == "json_object":
            return {"type": "json_object"}
        if form not in self._formats:
            self._formats[form] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": form.schema()},
            }
        return self._formats[form]

    def _reply(self, text: str, headers: Mapping[str, str], seconds: float) -> Reply:
        """The reply in a body that came with status 200.

        Raises:
            Unanswered: the body is none.
        """
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            kind = (
                "an HTML page"
                if text.lstrip()[:1] == "<"
                else "an empty body"
                if not text.strip()
                else "a body that is no JSON or was cut off"
            )
            raise Unanswered(
                f"{self.base_url} answered with {kind}: {beginning(text)}", "transient"
            ) from None
        if not isinstance(body, dict):
            raise Unanswered(
                f"{self.base_url} answered with JSON that is no object: {beginning(text)}", "transient"
            )
        if body.get("error"):
            # some routers answer 200 and put the status of the model's own server into the body
            code = body["error"].get("code") if isinstance(body["error"], dict) else None
            raise self._unanswered(
                code if isinstance(code, int) and 400 <= code < 600 else 502, body, headers
            )
        try:
            choice, usage = body["choices"][0], body.get("usage") or {}
            message, finish = choice["message"], choice.get("finish_reason") or "stop"
            words = (
                "".join(part.get("text", "") for part in message["content"])
                if isinstance(message.get("content"), list)
                else message.get("content")
            )
            alternatives = alternatives_of(choice.get("logprobs"))
            counted = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            raise Unanswered(
                f"{self.base_url} answered without a choice in it: {beginning(text)}", "transient"
            ) from None
        if message.get("refusal"):
            words, finish = str(message["refusal"]), "refusal"
        # half a character, which some servers cut an emoji into, can't be stored
        words = (words or "").encode(errors="replace").decode()
        return Reply(words, finish, *counted, seconds, alternatives, text)

    def _unanswered(self, status: int, body: object, headers: Mapping[str, str]) -> Unanswered:
        """What an error status means for the next attempt, in a sentence."""
        fields = error_fields(body)
        code, said = (
            str(fields.get("code") or fields.get("type") or ""),
            beginning(self._public(str(fields.get("message") or body or ""))),
        )
        said = f" ({said})" if said else ""
        where = f"{self.base_url}, model {self.model}"
        if status == 401 or code == "invalid_api_key":
            # what the server says about a wrong key often quotes parts of it
            return Unanswered(
                f"{where}: the key is not accepted; check the environment variable {self.key_variable}",
                "fatal",
            )
        if code in FATAL_CODES:
            return Unanswered(
                f"{where}: {code}{said}; no question can be answered before this is put right", "fatal"
            )
        if status == 404:
            return Unanswered(
                f"{where}: not found{said}; check model, and that base_url ends as the server's address does (mostly in /v1)",
                "fatal",
            )
        if status in FATAL:
            return Unanswered(
                f"{where}: status {status}{said}; the account may not use this model, or its balance is used up",
                "fatal",
            )
        if status == 429:
            return Unanswered(f"{where}: busy{said}", "busy", retry_after(headers))
        if status in TRANSIENT or status >= 500:
            return Unanswered(f"{where}: status {status}{said}", "transient", retry_after(headers))
        if fields.get("param") and str(fields["param"]).split(".")[0] not in ("messages", "prompt"):
            return Unanswered(f"{where}: the server refuses the setting {fields['param']}{said}", "fatal")
        return Unanswered(f"{where}: refused with status {status}{said}", "refused")

    def _public(self, text: str) -> str:
        """A server's words without the key, which some servers repeat."""
        key = self._client[1].api_key if self._client is not None else NO_KEY
        return text if key == NO_KEY else text.replace(key, "***")


def key_of(variable: str | None) -> str:
    """The key that an environment variable holds; a dummy if there is to be none.

    Raises:
        ValueError: it isn't set.
    """
    if variable is None:
        return NO_KEY
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(
            f"the environment variable {variable} is not set; it has to hold the key of the server (key_variable: null for servers without)"
        )
    return key


def name_of_variable(name: str | None) -> None:
    """Check that a name can be an environment variable's; a key written in its place must not end up in an
    error or a config dump.

    Raises:
        ValueError: it can't; the message doesn't show it.
    """
    if name is not None and not NAME_OF_A_VARIABLE.fullmatch(name):
        raise ValueError(
            "key_variable is to be the name of an environment variable, in capitals, such as OPENAI_API_KEY; it must not be the key itself"
        )


def content_of(question: Question, detail: str | None) -> list[dict[str, object]]:
    """Images in order, each named if there are several, then the text."""
    parts: list[dict[str, object]] = []
    for index, image in enumerate(question.images):
        if len(question.images) > 1:
            parts.append(
                {
                    "type": "text",
                    "text": f"{ORDINALS[index] if index < len(ORDINALS) else f'{index + 1}th'} picture:",
                }
            )
        shown = {"url": data_uri(image)} | ({"detail": detail} if detail is not None else {})
        parts.append({"type": "image_url", "image_url": shown})
    return [*parts, {"type": "text", "text": question.prompt}]


def data_uri(image: Encoded) -> str:
    """A image inside an address (RFC 2397)."""
    return f"data:{image.media_type};base64,{base64.b64encode(image.content).decode()}"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, None if it doesn't say: OpenAI's retry-after-ms, or Retry-After in
    seconds or as a date (RFC 9110).
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


def alternatives_of(logprobs: Mapping[str, Any] | None) -> tuple[tuple[tuple[str, float], ...], ...]:
    """Per token the most probable ones with their probabilities, the chosen one first."""
    places = []
    for place in (logprobs or {}).get("content") or ():
        chosen = (place["token"], math.exp(place["logprob"]))
        others = [(other["token"], math.exp(other["logprob"])) for other in place.get("top_logprobs") or ()]
        places.append((chosen, *(other for other in others if other[0] != chosen[0])))
    return tuple(places)


def error_fields(body: object) -> Mapping[str, Any]:
    """The fields of an error's body: OpenAI wraps them into "error", vLLM used not to."""
    if isinstance(body, dict):
        inner = body.get("error", body)
        return inner if isinstance(inner, dict) else {"message": inner}
    return {}


def beginning(text: str, length: int = 200) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
