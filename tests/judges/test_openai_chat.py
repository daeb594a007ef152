"""The OpenAI client against a real server in its own process: every status and every kind of reply, what
is sent, and what never is.
"""

import asyncio
import base64
import json
import logging
import math
import time
from collections.abc import Iterator

import numpy as np
import pytest
from conftest import CONF, config
from hydra.utils import instantiate
from omegaconf import OmegaConf

from src.judges.fake_server import ONLY_BY_NAME, REMARKS, RunningServer, running_server
from src.judges.image_tokens import TileTokens
from src.judges.judge import check_can_judge
from src.judges.openai_chat import (
    OWN_FIELDS,
    OpenAIChat,
    mask_parts,
    message_content,
    read_api_key,
    retry_after_seconds,
    told_tokens,
)
from src.judges.parsing import UnusableReply, expected_score, parse_reply
from src.judges.question import AnswerSchema, CallFailed, Question, Reply
from src.judges.rubric import PerspectiveRubric
from src.records import Case, Triplet

MODEL = "gpt-4o-2024-08-06"
KEY = "sk-secret-9f81c2d7"
RUBRIC = PerspectiveRubric()


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RunningServer]:
    with running_server(
        tmp_path_factory.mktemp("server") / "requests.jsonl",
        f"--key={KEY}",
        "--retry-after=0.25",
        "--latency=0.01",
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def key(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def triplet(number: int = 0, side: int = 32) -> Triplet:
    random = np.random.default_rng(number)
    original, edited = (random.integers(0, 256, (side, side, 3)).astype(np.uint8) for _ in range(2))
    return Triplet(Case(str(number), original, "make it night", "global", "p"), edited)


QUESTION = RUBRIC.questions(triplet())[0]


def asked(server: RunningServer, model: str = MODEL, question: Question = QUESTION, **settings) -> Reply:
    """One question in an event loop of its own."""
    settings = {"base_url": server.base_url, **settings}
    chat = OpenAIChat(model, TileTokens(), **settings)

    async def ask() -> Reply:
        try:
            return await chat.ask(question)
        finally:
            await chat.close()

    return asyncio.run(ask())


def unanswered(server: RunningServer, model: str, **settings) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        asked(server, model, **settings)
    return caught.value


def test_a_question_is_answered(server: RunningServer) -> None:
    reply = asked(server)
    assert reply.finish == "stop"
    assert 0 <= parse_reply(reply, QUESTION.schema).scores[0] <= 5
    assert 0.01 <= reply.seconds < 10
    assert json.loads(reply.raw)["choices"][0]["message"]["content"] == reply.text
    (row,) = [row for row in server.requests() if row["model"] == MODEL][-1:]
    assert (row["status"], row["input_tokens"], row["output_tokens"]) == (
        200,
        reply.input_tokens,
        reply.output_tokens,
    )


@pytest.mark.parametrize("structured", ["json_schema", "json_object", None])
@pytest.mark.parametrize(
    "schema",
    [
        RUBRIC.schema,
        AnswerSchema(text="reason", success="success", nothing=None),
        AnswerSchema(text="reasoning", count=2, max_score=25.0, nothing=None),
    ],
)
def test_every_form_is_taken(server: RunningServer, structured: str | None, schema: AnswerSchema) -> None:
    prompt = json.dumps(
        {
            schema.text: "why",
            **({schema.success: "yes"} if schema.success else {}),
            schema.score: [1, 2] if schema.count == 2 else 3,
        }
    )
    question = Question("a", "following", f"Answer like this: {prompt}", QUESTION.images, schema)
    answer = parse_reply(asked(server, question=question, structured=structured), schema)
    assert len(answer.scores) == schema.count
    assert (answer.success is None) == (schema.success is None)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("busy", "busy"),
        ("busy_silent", "busy"),
        ("error_in_200", "busy"),
        ("quota", "fatal"),
        ("forbidden", "fatal"),
        ("unpaid", "fatal"),
        ("unsupported", "fatal"),
        ("bad_setting", "fatal"),
        ("policy", "refused"),
        ("too_large", "refused"),
        ("unprocessable", "refused"),
        ("error", "transient"),
        ("overloaded", "transient"),
        ("request_timeout", "transient"),
        ("conflict", "transient"),
        ("dropped", "transient"),
        ("truncated", "transient"),
        ("short_body", "transient"),
        ("no_choices", "transient"),
        ("array", "transient"),
        ("html", "transient"),
        ("bad_gateway", "transient"),
    ],
)
def test_what_a_failure_means(server: RunningServer, kind: str, status: str) -> None:
    before = len(server.requests())
    error = unanswered(server, f"fault:{kind}")
    assert error.kind == status
    assert server.base_url in str(error)
    assert "\n" not in str(error)
    assert len(server.requests()) == before + 1  # one attempt, no retry of the client's own


def test_pictures_go_to_no_other_server(server: RunningServer, tmp_path) -> None:
    with running_server(tmp_path / "other.jsonl", "--key=") as other:
        elsewhere = other.base_url.removesuffix("/v1")
        with running_server(
            tmp_path / "log.jsonl", f"--key={KEY}", f"--elsewhere={elsewhere}"
        ) as redirecting:
            error = unanswered(redirecting, "fault:redirect")
            assert error.kind == "fatal"
            assert f"redirects to {elsewhere}, where neither pictures nor key are sent" in str(error)
            assert parse_reply(asked(redirecting, "fault:redirect_within"), QUESTION.schema).scores
        assert not other.log.exists() or other.requests() == []


@pytest.mark.parametrize("kind", ["flood", "flood_of_error", "packed"])
def test_a_reply_is_read_up_to_a_size(server: RunningServer, kind: str) -> None:
    error = unanswered(server, f"fault:{kind}")
    assert (error.kind, error.may_cost) == ("transient", True)
    assert "more than 1.1 MB" in str(error) or "packed as gzip" in str(error)
    if kind != "packed":
        until = time.monotonic() + 10
        while "megabytes" not in server.requests()[-1] and time.monotonic() < until:
            time.sleep(0.01)
        # the rest is what the operating system holds for the two
        assert server.requests()[-1]["megabytes"] < 64


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("no_usage", (False, False)),
        ("no_tokens", (True, True)),
        ("tenth_of_tokens", (True, True)),
        ("million_times_tokens", (True, True)),
    ],
)
def test_usage_is_what_the_server_tells(server: RunningServer, kind: str, told: tuple[bool, bool]) -> None:
    reply = asked(server, f"fault:{kind}")
    assert (reply.input_tokens is not None, reply.output_tokens is not None) == told
    assert reply.written_tokens == pytest.approx(len(reply.text) / 4.3, abs=1)


@pytest.mark.parametrize(
    "usage",
    [{}, None, [], "x", {"prompt_tokens": -1}, {"prompt_tokens": "9"}, {"prompt_tokens": 1e999}],
)
def test_usage_that_is_no_number_is_none(usage: object) -> None:
    assert told_tokens(usage, "prompt_tokens") is None


@pytest.mark.parametrize("kind", [*(kind for kind in REMARKS), "thinks_aside", "thinks_in_parts"])
def test_thoughts_are_no_answer(server: RunningServer, kind: str) -> None:
    reply = asked(server, f"fault:{kind}")
    if kind == "thinks_only":
        with pytest.raises(UnusableReply, match="thoughts"):
            parse_reply(reply, QUESTION.schema)
        return
    assert parse_reply(reply, QUESTION.schema).scores == parse_reply(asked(server), QUESTION.schema).scores


def test_extra_fields_reach_the_server(server: RunningServer) -> None:
    extra = {"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}, "top_k": None}
    asked(server, extra_body=extra)
    assert server.requests()[-1]["extra"] == extra


@pytest.mark.parametrize(
    "quoted",
    [
        KEY,
        KEY[::-1],
        KEY.upper(),
        f"{KEY[:12]}...{KEY[-4:]}",
        f"{KEY[:3]}***{KEY[-4:]}",
        f"{KEY[:4]}…{KEY[-2:]}",
        f"{KEY[:3]}xxxxxxxxxx{KEY[-4:]}",
        f"{KEY[:3]}••••••{KEY[-4:]}",
        f"Bearer {KEY[2:-2]}",
    ],
)
def test_parts_of_a_key_are_masked(quoted: str) -> None:
    said = mask_parts(f"Incorrect API key: {quoted}. See the docs.", KEY)
    assert said.startswith("Incorrect API key: ")
    assert said.endswith(". See the docs.")
    assert not [part for part in (KEY[:5], KEY[-4:], KEY[5:10]) if part.lower() in said.lower()]
    assert not [part for part in (KEY[::-1][:5], KEY[::-1][-4:]) if part in said]
    assert mask_parts("too short for a secret: abc-abc", "abc-abc") == "too short for a secret: abc-abc"


def test_an_html_page_is_named(server: RunningServer) -> None:
    assert "HTML page" in str(unanswered(server, "fault:html"))


@pytest.mark.parametrize(
    ("kind", "finish", "words"),
    [
        ("refusal", "refusal", "I'm sorry"),
        ("content_filter", "content_filter", ""),
        ("cut", "length", "{"),
        ("empty", "stop", ""),
        ("null", "stop", ""),
        ("parts", "stop", "{"),
        ("prose", "stop", "I have looked"),
        ("two_answers", "stop", "{"),
        ("out_of_range", "stop", "{"),
    ],
)
def test_strange_replies_are_replies(server: RunningServer, kind: str, finish: str, words: str) -> None:
    """They were paid for, and go into the ledger."""
    reply = asked(server, f"fault:{kind}")
    assert reply.finish == finish
    assert reply.text.startswith(words)
    assert reply.input_tokens > 300


def test_how_long_to_wait(server: RunningServer) -> None:
    assert unanswered(server, "fault:busy").retry_after == 0.25
    assert unanswered(server, "fault:busy_ms").retry_after == 0.25
    assert 25 < unanswered(server, "fault:busy_date").retry_after <= 30
    assert unanswered(server, "fault:busy_silent").retry_after is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers) == seconds


def test_a_server_that_takes_too_long(server: RunningServer) -> None:
    start = time.monotonic()
    error = unanswered(server, MODEL, timeout=0.005)
    assert (error.kind, time.monotonic() - start < 2) == ("transient", True)
    assert "within 0.005 s" in str(error)


def test_what_no_retry_will_mend_is_said_in_one_sentence(server: RunningServer, monkeypatch) -> None:
    unknown = unanswered(server, "gpt-9")
    assert unknown.kind == "fatal"
    assert server.base_url in str(unknown)
    assert "gpt-9" in str(unknown)
    address = unanswered(server, MODEL, base_url=server.base_url.removesuffix("/v1"))
    assert address.kind == "fatal"
    assert "/v1" in str(address)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-0123456789")
    wrong = unanswered(server, MODEL)
    assert wrong.kind == "fatal"
    assert "OPENAI_API_KEY" in str(wrong)
    assert "6789" not in str(wrong)


def test_nobody_there(server: RunningServer) -> None:
    error = unanswered(server, MODEL, base_url="http://127.0.0.1:9/v1")
    assert error.kind == "transient"
    assert "http://127.0.0.1:9/v1" in str(error)


def test_no_key(server: RunningServer, monkeypatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ValueError, match="OPENAI_API_KEY is not set"):
        asked(server)
    assert unanswered(server, MODEL, key_variable=None).kind == "fatal"  # this server wants one
    assert OpenAIChat(MODEL, TileTokens()).tokens(QUESTION)[0] > 0  # estimates need none


@pytest.mark.parametrize("written", [KEY, "0f" * 16, "abcdef", "A" * 60, "A B"])
def test_a_key_in_place_of_its_variable_is_not_repeated(written: str) -> None:
    with pytest.raises(ValueError, match="name of an environment variable") as caught:
        OpenAIChat(MODEL, TileTokens(), key_variable=written)
    assert written not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"base_url": "localhost:8000/v1"}, "no address"),
        ({"base_url": "http://me:secret@host/v1"}, "password"),
        ({"base_url": "https://host/v1?key=secret"}, "password"),
        ({"detail": "higher"}, "detail=higher"),
        ({"structured": "xml"}, "structured=xml"),
        ({"max_tokens_name": "tokens"}, "max_tokens_name"),
        ({"timeout": 0.0}, "positive"),
        ({"max_tokens": 0}, "positive"),
        ({"probabilities": 0}, "positive"),
        ({"extra_body": {"x": math.nan}}, "sent as JSON"),
        ({"extra_body": {"x": object()}}, "sent as JSON"),
        *(({"extra_body": {name: 1}}, f"sets itself: {name}") for name in OWN_FIELDS),
    ],
)
def test_settings_that_cannot_work(settings: dict, reason: str) -> None:
    from jaxtyping import TypeCheckError

    with pytest.raises((ValueError, TypeCheckError)) as caught:
        OpenAIChat(MODEL, TileTokens(), **settings)
    assert isinstance(caught.value, TypeCheckError) or reason in str(caught.value)
    assert "secret" not in str(caught.value) or isinstance(caught.value, TypeCheckError)


def test_the_key_is_nowhere(server: RunningServer, caplog, capfd) -> None:
    caplog.set_level(logging.DEBUG)
    chat = OpenAIChat(MODEL, TileTokens(), server.base_url)
    reply = asked(server)
    errors = []
    large = {"flood", "flood_of_error", "packed"}
    for kind in ({*ONLY_BY_NAME} - large) | {"dropped", "truncated"}:
        try:
            asked(server, f"fault:{kind}", timeout=5.0)
        except CallFailed as error:
            errors += [repr(error), str(error), repr(error.__cause__), repr(error.__context__)]
    assert any("***" in error for error in errors)  # a server that repeats it
    said = [
        reply.raw,
        repr(reply),
        repr(chat),
        repr(vars(chat)),
        chat.fingerprint,
        caplog.text,
        *capfd.readouterr(),
        *errors,
    ]
    parts = (KEY, KEY[3:], KEY[::-1], KEY.upper(), KEY[:10], f"***{KEY[-4:]}", f"...{KEY[-4:]}")
    assert not [text for text in said if any(part in text for part in parts)]
    assert KEY not in server.log.read_text()


def test_images_come_in_order_before_the_text() -> None:
    content = message_content(QUESTION, "high")
    assert [part["type"] for part in content] == ["text", "image_url", "text", "image_url", "text"]
    assert [content[index]["text"] for index in (0, 2, 4)] == [
        "First picture:",
        "Second picture:",
        QUESTION.prompt,
    ]
    for part, image in zip((content[1], content[3]), QUESTION.images, strict=True):
        head, data = part["image_url"]["url"].split(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(data) == image.content
        assert part["image_url"]["detail"] == "high"
    quality = RUBRIC.questions(triplet())[2]
    assert [part["type"] for part in message_content(quality, None)] == ["image_url", "text"]
    assert "detail" not in message_content(quality, None)[0]["image_url"]


def test_the_order_of_the_images_arrives(server: RunningServer) -> None:
    swapped = Question("0", "following", QUESTION.prompt, QUESTION.images[::-1], QUESTION.schema)
    asked(server)
    asked(server, question=swapped)
    one, other = server.requests()[-2:]
    assert one["key"] != other["key"]


def test_probabilities(server: RunningServer) -> None:
    reply = asked(server, probabilities=3)
    assert "".join(place[0][0] for place in reply.alternatives) == reply.text
    score = parse_reply(reply, QUESTION.schema).scores[0]
    beside = [(step, share) for step, share in ((-1, 0.2), (1, 0.1)) if 0 <= score + step <= 5]
    expected = (score * 0.7 + sum((score + step) * share for step, share in beside)) / (
        0.7 + sum(share for _, share in beside)
    )
    assert expected_score(reply, QUESTION.schema) == pytest.approx(expected)
    assert asked(server).alternatives == ()


def test_seeds_and_temperature() -> None:
    def sent(again: int = 0, repeat: int = 0, **settings) -> dict:
        request = OpenAIChat(MODEL, TileTokens(), **settings)._request(
            Question("a", "following", "?", (), RUBRIC.schema, repeat, again)
        )
        return {
            name: request.get(name)
            for name in ("seed", "temperature", "max_tokens", "max_completion_tokens", "response_format")
        }

    first = sent()
    assert first == sent()
    assert (first["temperature"], first["max_completion_tokens"], first["max_tokens"]) == (0.0, 300, None)
    assert len({sent()["seed"], sent(again=1)["seed"], sent(repeat=1)["seed"], sent(seed=1)["seed"]}) == 4
    assert 0 <= first["seed"] < 2**31
    assert sent(again=1)["temperature"] == 0.7
    nothing = sent(again=1, temperature=None, seed=None, structured=None, max_tokens_name="max_tokens")
    assert nothing == {
        "seed": None,
        "temperature": None,
        "max_tokens": 300,
        "max_completion_tokens": None,
        "response_format": None,
    }


def test_the_fingerprint_names_what_an_answer_depends_on() -> None:
    def fingerprint(**settings) -> str:
        return OpenAIChat(settings.pop("model", MODEL), TileTokens(), **settings).fingerprint

    changed = [
        {"model": "gpt-4o"},
        {"revision": "abc"},
        {"temperature": 1.0},
        {"temperature_again": 1.0},
        {"seed": 1},
        {"max_tokens": 100},
        {"detail": "low"},
        {"structured": None},
        {"probabilities": 5},
        {"extra_body": {"reasoning_effort": "low"}},
        {"extra_body": {"reasoning_effort": "high"}},
    ]
    assert len({fingerprint(), *(fingerprint(**settings) for settings in changed)}) == len(changed) + 1
    # where the model runs, and how long is waited for it, is no part of the question
    assert fingerprint() == fingerprint(base_url="http://localhost:8000/v1", timeout=5.0, key_variable=None)


def test_azure(server: RunningServer) -> None:
    root = server.base_url.removesuffix("/v1")
    assert asked(server, base_url=root, azure_api_version="2024-10-21").text == asked(server).text


def test_one_respondent_lives_through_several_event_loops(server: RunningServer) -> None:
    chat = OpenAIChat(MODEL, TileTokens(), server.base_url)

    async def many() -> list[Reply]:
        return await asyncio.gather(
            *(chat.ask(question) for number in range(4) for question in RUBRIC.questions(triplet(number)))
        )

    async def then_close() -> list[Reply]:
        replies = await many()
        await chat.close()
        await chat.close()
        return replies

    texts = [[reply.text for reply in asyncio.run(run())] for run in (many, then_close, many)]
    assert texts[0] == texts[1] == texts[2]


@pytest.mark.parametrize("side", [32, 600])
@pytest.mark.parametrize("structured", ["json_schema", None])
@pytest.mark.parametrize("detail", ["high", "low", None])
def test_the_estimate_is_near_what_the_server_counts(
    server: RunningServer, side: int, structured: str | None, detail: str | None
) -> None:
    chat = OpenAIChat(MODEL, TileTokens(), server.base_url, structured=structured, detail=detail)
    for question in RUBRIC.questions(triplet(side, side)):
        counted = asked(server, question=question, structured=structured, detail=detail).input_tokens
        assert chat.tokens(question)[0] == pytest.approx(counted, rel=0.05)


@pytest.mark.parametrize("name", ["gpt4o", "openai_compatible"])
def test_the_configs_name_every_setting_and_no_secret(name: str) -> None:
    import inspect

    cfg = config(f"judge={name}", name="evaluate").judge
    settings = set(inspect.signature(OpenAIChat.__init__).parameters) - {"self"}
    assert set(cfg.client) - {"_target_", "_convert_"} == settings
    text = OmegaConf.to_yaml(cfg)
    assert KEY not in text
    assert (CONF / "judge" / f"{name}.yaml").read_text().startswith("# ")


def test_the_server_knows_what_our_prompts_ask() -> None:
    from src.judges.fake_server import PERSPECTIVES
    from src.judges.rubric import PROMPTS

    for path in (path for version in ("v1", "v2") for path in (PROMPTS / version).glob("*.txt")):
        asked_for = [name for name, words in PERSPECTIVES.items() if words in path.read_text()]
        assert asked_for == [path.stem.split("_")[1]], path


def test_a_key_is_taken_as_it_is_written(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    assert read_api_key("OPENAI_API_KEY") == KEY


def test_a_key_that_is_missing_is_known_before_the_first_question(monkeypatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    judge = instantiate(config("judge=gpt4o", "ledger=null", name="evaluate").judge)
    with pytest.raises(ValueError, match="OPENAI_API_KEY is not set"):
        check_can_judge(judge, ["a"])
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    check_can_judge(judge, ["a"])
