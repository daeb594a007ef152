"""The ledger: what a key covers, what survives a kill, two writers, a merge, an export."""

import json
import multiprocessing
import sqlite3
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest

from src.files import NO_LOCKS, NotWrittenError, append_lines
from src.judges.ledger import Ledger
from src.judges.price import Charge
from src.judges.question import AnswerSchema, ImagePart, Question, Reply

QUESTION = Question(
    "t1",
    "following",
    "was the dog removed?",
    (ImagePart(b"one", "image/png", 4, 4), ImagePart(b"two", "image/png", 4, 4)),
    AnswerSchema(),
)
REPLY = Reply('{"feedback": "None", "score": 5}', "stop", 100, 10, 0.5, ((("5", 0.9), ("4", 0.1)),), "{}")

CHANGED = {
    "a picture's bytes": replace(
        QUESTION, images=(ImagePart(b"other", "image/png", 4, 4), QUESTION.images[1])
    ),
    "the order of pictures": replace(QUESTION, images=QUESTION.images[::-1]),
    "a picture less": replace(QUESTION, images=QUESTION.images[:1]),
    "the text": replace(QUESTION, prompt="was the cat removed?"),
    "the schema": replace(QUESTION, schema=AnswerSchema(max_score=10)),
    "the repeat": replace(QUESTION, repeat=1),
    "asked again": replace(QUESTION, again=1),
}


@pytest.mark.parametrize("what", CHANGED)
def test_changing_any_input_changes_the_key(what: str) -> None:
    assert CHANGED[what].key("model a") != QUESTION.key("model a")


def test_the_key_depends_on_the_model_and_not_on_the_id() -> None:
    assert QUESTION.key("model a") != QUESTION.key("model b")
    assert replace(QUESTION, triplet="t2").key("model a") == QUESTION.key("model a")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    key = QUESTION.key("m")
    assert ledger.reply(key) is None
    ledger.record_failure(key, QUESTION, "gpt", "m", "busy", "try later", 0.1, Charge())
    assert ledger.reply(key) is None
    ledger.record_reply(key, QUESTION, "gpt", "m", REPLY, Charge(100, 10, 0.25))
    assert ledger.reply(key) == REPLY
    assert ledger.schema(key) == QUESTION.schema
    usage = ledger.usage([key])
    assert (usage.calls, usage.input_tokens, usage.output_tokens, usage.dollars) == (2, 100, 10, 0.25)
    assert ledger.outcomes() == {"busy": 1, "reply": 1}


def test_estimated_charges_are_counted_and_merged(tmp_path: Path) -> None:
    ledger, key = Ledger(tmp_path / "ledger.sqlite"), QUESTION.key("m")
    ledger.record_reply(key, QUESTION, "gpt", "m", REPLY, Charge(100, 10, 0.25))
    assert "estimated" not in ledger.total().fields()
    ledger.record_failure(
        key, QUESTION, "gpt", "m", "transient", "cut", 0.1, Charge(90, 9, 0.2, is_estimated=True)
    )
    whole = Ledger(tmp_path / "whole.sqlite")
    for _ in range(2):
        whole.merge(tmp_path / "ledger.sqlite")
    for each in (ledger, whole):
        assert each.total().fields()["estimated"] == each.usage([key]).estimated == 1
        assert (each.total().input_tokens, each.total().dollars) == (190, pytest.approx(0.45))


def test_of_two_replies_the_first_is_valid(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    key = QUESTION.key("m")
    ledger.record_reply(key, QUESTION, "gpt", "m", REPLY, Charge(100, 10))
    ledger.record_reply(key, QUESTION, "gpt", "m", replace(REPLY, text="another"), Charge())
    assert ledger.reply(key) == REPLY
    assert ledger.total().calls == 2


def write_many(path: str, name: str, count: int) -> None:
    ledger = Ledger(path)
    for number in range(count):
        question = replace(QUESTION, prompt=f"{name} {number}")
        ledger.record_reply(
            question.key("m"),
            question,
            "gpt",
            "m",
            replace(REPLY, text=f"{name} {number}"),
            Charge(100, 10, 0.001),
        )
    ledger.close()


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(str(path), name, 200)) for name in ("one", "two")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    ledger = Ledger(path)
    assert ledger.total().calls == 400
    for name in ("one", "two"):
        found = ledger.reply(replace(QUESTION, prompt=f"{name} 199").key("m"))
        assert found is not None
        assert found.text == f"{name} 199"


def test_a_merge_takes_all_and_a_second_one_nothing(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_many(str(tmp_path / f"{name}.sqlite"), name, 5)
    whole = Ledger(tmp_path / "whole.sqlite")
    for _ in range(2):
        for name in ("one", "two"):
            whole.merge(tmp_path / f"{name}.sqlite")
        assert whole.total().calls == 10
    assert whole.total().dollars == pytest.approx(0.01)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_an_export_holds_every_attempt(tmp_path: Path, suffix: str) -> None:
    write_many(str(tmp_path / "ledger.sqlite"), "one", 7)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    target = tmp_path / f"replies.{suffix}"
    assert ledger.export(target) == 7
    readers = {"jsonl": lambda: [json.loads(line) for line in target.read_text().splitlines()]}
    readers["parquet"] = lambda: pyarrow.parquet.read_table(target).to_pylist()
    rows = readers[suffix]()
    assert [row["text"] for row in rows] == [f"one {number}" for number in range(7)]
    assert rows == list(ledger.attempts())


@pytest.mark.parametrize("number", NO_LOCKS)
def test_where_files_cannot_be_locked_a_ledger_works(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one that was begun with locks."""
    path = tmp_path / "a ledger?.sqlite"
    write_many(str(path), "one", 2)

    def refuse(*arguments: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr("fcntl.lockf", refuse)
    monkeypatch.setattr("fcntl.flock", refuse)
    write_many(str(path), "two", 2)
    one, other = Ledger(path), Ledger(path)  # as the members of an ensemble share one
    assert not one.has_locks
    for ledger, name in ((one, "three"), (other, "four"), (one, "five")):
        question = replace(QUESTION, prompt=name)
        ledger.record_reply(question.key("m"), question, "gpt", "m", REPLY, Charge())
    assert one.total().calls == other.total().calls == 7
    whole = Ledger(tmp_path / "whole.sqlite")
    whole.merge(path)
    assert whole.total().calls == 7
    assert "is kept without locks" in capsys.readouterr().err
    append_lines(tmp_path / "rewards.jsonl", "a line\n")
    assert (tmp_path / "rewards.jsonl").read_text() == "a line\n"
    for ledger in (one, other, whole):
        ledger.close()
    monkeypatch.undo()
    assert Ledger(path).total().calls == 7


def test_a_locked_ledger_is_no_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.judges.ledger.PATIENCE", 0.05)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    holder = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(NotWrittenError, match=r"is locked .*ledger=FILE on a local disk") as caught:
        ledger.record_given_up("key", "reason")
    assert "make room" not in str(caught.value)
    holder.close()


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"not a database, although it has some length" * 100)
    with pytest.raises(ValueError, match=r"photo\.jpg is no ledger"):
        Ledger(tmp_path / "photo.jpg")
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with pytest.raises(ValueError, match=r"photo\.jpg is no ledger"):
        ledger.merge(tmp_path / "photo.jpg")
    with pytest.raises(FileNotFoundError, match="no ledger"):
        ledger.merge(tmp_path / "nothing.sqlite")


def test_nothing_is_ever_changed_or_deleted(tmp_path: Path) -> None:
    """Append-only: what stands in the file stays, whatever is recorded after it."""
    path = tmp_path / "ledger.sqlite"
    write_many(str(path), "one", 3)
    before = sqlite3.connect(path).execute("SELECT * FROM attempts ORDER BY rowid").fetchall()
    ledger = Ledger(path)
    key = replace(QUESTION, prompt="one 0").key("m")
    ledger.record_failure(key, QUESTION, "gpt", "m", "transient", "gone", 0.1, Charge())
    ledger.record_given_up(key, "gone")
    write_many(str(path), "one", 3)
    assert sqlite3.connect(path).execute("SELECT * FROM attempts ORDER BY rowid").fetchall()[:3] == before
