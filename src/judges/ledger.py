"""The ledger: every attempt to ask a judge, in an append-only SQLite file, so that no paid answer is lost or
asked for twice.

It is content-addressed: an attempt belongs to the key of its question (question.py: images, text, schema,
model, parameters, repeat). Rewards are derived from its replies and can be derived again (`python -m
src.annotate steps=[verify]`). Write-ahead logging lets several processes write at once and survives kill -9
at any moment; calls in flight are then asked again. Where files can't be locked, as on some network disks,
one process may write, with a rollback journal, which needs no shared memory.
"""

import json
import sqlite3
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final
from urllib.parse import quote

import pyarrow
import pyarrow.parquet

from src.files import NotWrittenError, can_lock, not_written, replacing
from src.judges.price import Charge
from src.judges.question import AnswerSchema, Question, Reply

PATIENCE = 60.0
"""Seconds that a process waits for another one to finish writing."""

MEMORY = ":memory:"
"""The path of a ledger that is in no file."""

LOCKED = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL", "SQLITE_IOERR_LOCK", "SQLITE_IOERR_SHM")
"""Beginnings of SQLite's names for errors of locks."""

ROWS_PER_GROUP = 1000

TABLES = """
CREATE TABLE IF NOT EXISTS questions (
  key TEXT PRIMARY KEY, triplet TEXT NOT NULL, about TEXT NOT NULL, repeat INTEGER NOT NULL,
  again INTEGER NOT NULL, model TEXT NOT NULL, respondent TEXT NOT NULL, prompt TEXT NOT NULL,
  pictures TEXT NOT NULL, form TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempts (
  id TEXT PRIMARY KEY, key TEXT NOT NULL, time REAL NOT NULL, seconds REAL NOT NULL, outcome TEXT NOT NULL,
  reason TEXT NOT NULL, text TEXT, finish TEXT, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
  dollars REAL NOT NULL, alternatives TEXT, raw TEXT
);
CREATE INDEX IF NOT EXISTS attempts_by_key ON attempts (key);
CREATE TABLE IF NOT EXISTS given_up (
  key TEXT NOT NULL, time REAL NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (key, time)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rewards (
  key TEXT PRIMARY KEY, triplet TEXT NOT NULL, judge TEXT NOT NULL, questions TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS estimated (attempt TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rows (digest TEXT PRIMARY KEY, reward TEXT NOT NULL) WITHOUT ROWID;
"""
"""questions: what was asked (prompt: its sha256; respondent: the client's fingerprint; form: the schema).
attempts: what came back and what it was charged, each with an id of its own so that ledgers can be merged.
estimated: the attempts whose charge is not what the server told (price.py). given_up: questions
without an answer after all attempts. rewards: the questions behind a reward. rows: dataset rows whose reward
is known, by the digest of their files, so that a finished row is skipped without decoding it."""

NAMES = ("questions", "attempts", "estimated", "given_up", "rewards", "rows")


@final
@dataclass(frozen=True)
class Usage:
    """The cost of questions, all attempts counted.

    Attributes:
        calls: attempts, whether they reached the model or not.
        input_tokens, output_tokens: as charged.
        dollars: by the price at the time.
        seconds: of the calls, summed.
        estimated: calls that were not charged as their server told.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: float = 0.0
    seconds: float = 0.0
    estimated: int = 0

    def fields(self) -> dict[str, int | float]:
        """By name; without the number of estimated calls where there is none, as in files of before."""
        return {name: value for name, value in asdict(self).items() if name != "estimated" or value}


@final
class Ledger:
    """A ledger file, created if missing. Used by one thread.

    Args:
        path: the file.

    Raises:
        ValueError: the file is no ledger.
        NotWrittenError: the disk is full or the file read-only.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with self._checked():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.has_locks = str(path) == MEMORY or can_lock(self.path.parent)
            self.connection = sqlite3.connect(
                self._address(self.path),
                timeout=PATIENCE,
                isolation_level=None,
                check_same_thread=False,
                uri=True,
            )
            self._choose_journal()
            # a kill loses nothing; a power failure may lose the last replies, but never breaks the file
            self.connection.execute("PRAGMA synchronous=NORMAL")
            self.connection.executescript(TABLES)

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def _address(self, path: Path) -> str:
        """A file as SQLite opens it, with or without locks."""
        if str(path) == MEMORY:
            return MEMORY
        return f"file:{quote(str(path.absolute()))}" + ("" if self.has_locks else "?vfs=unix-none")

    def _choose_journal(self) -> None:
        if self.has_locks:
            self.connection.execute("PRAGMA journal_mode=WAL")
            return
        print(f"warning: {self.path} is kept without locks, so no second process may use it", file=sys.stderr)
        # alone for a moment, which opens a file with a write-ahead log although there is no shared memory
        for setting in ("locking_mode=EXCLUSIVE", "journal_mode=DELETE", "locking_mode=NORMAL"):
            self.connection.execute(f"PRAGMA {setting}").fetchall()

    def record_reply(
        self, key: str, question: Question, model: str, client: str, reply: Reply, charge: Charge
    ) -> None:
        """Record an attempt that brought a reply, readable or not. On return it survives a kill.

        Args:
            key: of the question.
            question: what was asked.
            model, client: name and fingerprint of the client.
            reply: as received.
            charge: its tokens and price.
        """
        values = (reply.text, reply.finish)
        alternatives = json.dumps(reply.alternatives) if reply.alternatives else None
        self._record(
            key,
            question,
            model,
            client,
            ("reply", "", reply.seconds),
            values,
            charge,
            alternatives,
            reply.raw,
        )

    def record_failure(
        self,
        key: str,
        question: Question,
        model: str,
        client: str,
        kind: str,
        reason: str,
        seconds: float,
        charge: Charge,
    ) -> None:
        """Record an attempt that brought no reply, which may cost something all the same."""
        self._record(key, question, model, client, (kind, reason, seconds), (None, None), charge, None, None)

    def record_given_up(self, key: str, reason: str) -> None:
        """Record that all attempts at a question failed."""
        with self._checked():
            self.connection.execute(
                "INSERT OR IGNORE INTO given_up VALUES (?, ?, ?)", (key, time.time(), reason)
            )

    def record_reward(self, key: str, triplet: str, judge: str, questions: Sequence[str]) -> None:
        """Record the questions behind a reward, in the rubric's order; a second try follows the first."""
        with self._checked():
            self.connection.execute(
                "INSERT OR REPLACE INTO rewards VALUES (?, ?, ?, ?)",
                (key, triplet, judge, json.dumps(list(questions))),
            )

    def record_row(self, digest: str, reward: str) -> None:
        """Record the reward of a dataset row, by the digest of the row's files."""
        with self._checked():
            self.connection.execute("INSERT OR REPLACE INTO rows VALUES (?, ?)", (digest, reward))

    def reply(self, key: str) -> Reply | None:
        """The reply to a question, or None. If two processes asked at once, the first reply counts, so that
        both derive the same reward.
        """
        row = self._one(
            "SELECT text, finish, input_tokens, output_tokens, seconds, alternatives, raw FROM attempts "
            "WHERE key = ? AND outcome = 'reply' ORDER BY rowid LIMIT 1",
            key,
        )
        if row is None:
            return None
        text, finish, input_tokens, output_tokens, seconds, alternatives, raw = row
        choices = json.loads(alternatives) if alternatives else []
        tokens = tuple(tuple((token, share) for token, share in options) for options in choices)
        return Reply(text, finish, input_tokens, output_tokens, seconds, tokens, raw or "")

    def given_up(self, key: str) -> str | None:
        """Why a question was given up, or None."""
        row = self._one("SELECT reason FROM given_up WHERE key = ? ORDER BY time DESC LIMIT 1", key)
        return None if row is None else row[0]

    def schema(self, key: str) -> AnswerSchema | None:
        """The answer schema of a question that was asked, or None."""
        row = self._one("SELECT form FROM questions WHERE key = ?", key)
        return None if row is None else AnswerSchema(**json.loads(row[0]))

    def about(self, key: str) -> tuple[str, int, int] | None:
        """`about`, `repeat` and `again` of a question that was asked, or None."""
        return self._one("SELECT about, repeat, again FROM questions WHERE key = ?", key)

    def questions_of(self, reward: str) -> list[str] | None:
        """The keys of the questions behind a reward, or None if the ledger doesn't hold it."""
        row = self._one("SELECT questions FROM rewards WHERE key = ?", reward)
        return None if row is None else json.loads(row[0])

    def holds_reward(self, key: str) -> bool:
        """Whether it holds the questions behind a reward."""
        return self._one("SELECT 1 FROM rewards WHERE key = ?", key) is not None

    def reward_of_row(self, digest: str) -> str | None:
        """The key of the reward of a row, or None."""
        row = self._one("SELECT reward FROM rows WHERE digest = ?", digest)
        return None if row is None else row[0]

    def usage(self, keys: Sequence[str]) -> Usage:
        """The cost of these questions."""
        places = ", ".join("?" * len(keys))
        row = self._one(f"{SUMS} WHERE key IN ({places})", *keys)
        assert row is not None
        return Usage(*row)

    def total(self) -> Usage:
        """The cost of everything in the ledger."""
        row = self._one(SUMS)
        assert row is not None
        return Usage(*row)

    def dearest(self) -> float:
        """The dollars of the dearest call."""
        row = self._one("SELECT COALESCE(MAX(dollars), 0.0) FROM attempts")
        assert row is not None
        return row[0]

    def mean_output_tokens(self) -> float | None:
        """Mean length of the replies so far, or None."""
        row = self._one("SELECT AVG(output_tokens) FROM attempts WHERE outcome = 'reply'")
        return None if row is None else row[0]

    def outcomes(self) -> dict[str, int]:
        """Attempts by outcome."""
        with self._checked():
            return dict(
                self.connection.execute(
                    "SELECT outcome, COUNT(*) FROM attempts GROUP BY outcome ORDER BY outcome"
                ).fetchall()
            )

    def attempts(self) -> Iterator[dict[str, Any]]:
        """All attempts with their questions, by time."""
        with self._checked():
            cursor = self.connection.execute(
                "SELECT a.id, a.key, triplet, about, repeat, again, model, respondent, prompt, pictures, "
                "form, time, seconds, outcome, reason, text, finish, input_tokens, output_tokens, dollars, "
                "raw FROM attempts a JOIN questions q ON a.key = q.key ORDER BY time, a.id"
            )
            names = [column[0] for column in cursor.description]
            for row in cursor:
                yield dict(zip(names, row, strict=True))

    def export(self, path: Path) -> int:
        """Write all attempts to a .jsonl or .parquet file and return their number.

        Raises:
            ValueError: another suffix.
            NotWrittenError: the disk is full.
        """
        if path.suffix not in (".jsonl", ".parquet"):
            raise ValueError(f"{path}: a ledger is exported to a .jsonl or a .parquet file")
        count = 0
        with replacing(path) as partial:
            if path.suffix == ".jsonl":
                with partial.open("w", encoding="utf-8") as file:
                    for row in self.attempts():
                        file.write(json.dumps(row, ensure_ascii=False) + "\n")
                        count += 1
            else:
                with pyarrow.parquet.ParquetWriter(partial, PARQUET) as writer:
                    group: list[dict[str, Any]] = []
                    for row in self.attempts():
                        group.append(row)
                        count += 1
                        if len(group) == ROWS_PER_GROUP:
                            writer.write_table(pyarrow.Table.from_pylist(group, schema=PARQUET))
                            group = []
                    writer.write_table(pyarrow.Table.from_pylist(group, schema=PARQUET))
        return count

    def merge(self, other: Path) -> None:
        """Copy everything that another ledger holds; doing so twice changes nothing.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is no ledger.
        """
        if not other.is_file():
            raise FileNotFoundError(f"no ledger {other}; give an existing one")
        Ledger(other).close()  # raises if it is none
        with self._checked(other):
            self.connection.execute("ATTACH DATABASE ? AS other", (self._address(other),))
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                for name in NAMES:
                    self.connection.execute(f"INSERT OR IGNORE INTO main.{name} SELECT * FROM other.{name}")
                self.connection.execute("COMMIT")
            finally:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                self.connection.execute("DETACH DATABASE other")

    def _record(
        self,
        key: str,
        question: Question,
        model: str,
        client: str,
        outcome: tuple[str, str, float],
        values: tuple[str | None, str | None],
        charge: Charge,
        alternatives: str | None,
        raw: str | None,
    ) -> None:
        kind, reason, seconds = outcome
        asked = (
            key,
            question.triplet,
            question.about,
            question.repeat,
            question.again,
            model,
            client,
            question.prompt_digest(),
        )
        asked += (
            json.dumps([image.digest() for image in question.images]),
            json.dumps(asdict(question.schema)),
        )
        attempt = (uuid.uuid4().hex, key, time.time(), seconds, kind, reason, *values)
        attempt += (charge.input_tokens, charge.output_tokens, charge.dollars, alternatives, raw)
        with self._checked():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                self.connection.execute(
                    "INSERT OR IGNORE INTO questions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", asked
                )
                self.connection.execute(
                    "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", attempt
                )
                if charge.is_estimated:
                    self.connection.execute("INSERT INTO estimated VALUES (?)", attempt[:1])
                self.connection.execute("COMMIT")
            finally:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")

    def _one(self, query: str, *values: str) -> tuple[Any, ...] | None:
        with self._checked():
            return self.connection.execute(query, values).fetchone()

    @contextmanager
    def _checked(self, source: Path | None = None) -> Iterator[None]:
        """Translates SQLite's errors."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorname", "").startswith(LOCKED):
                raise NotWrittenError(
                    f"{source or self.path} is locked ({error}): another process has it, or its file system "
                    "has no locks, as some network disks; wait for that process, or give ledger=FILE on a "
                    "local disk"
                ) from error
            raise not_written(self.path, OSError(0, str(error))) from error
        except sqlite3.DatabaseError as error:
            raise ValueError(
                f"{source or self.path} is no ledger, or a damaged one ({error}); move it away, or restore it"
            ) from error


SUMS = (
    "SELECT COUNT(*), COALESCE(SUM(input_tokens), 0), COALESCE(SUM(output_tokens), 0), "
    "COALESCE(SUM(dollars), 0.0), COALESCE(SUM(seconds), 0.0), COUNT(estimated.attempt) "
    "FROM attempts LEFT JOIN estimated ON estimated.attempt = attempts.id"
)

PARQUET = pyarrow.schema(
    [(name, pyarrow.string()) for name in ("id", "key", "triplet", "about")]
    + [(name, pyarrow.int64()) for name in ("repeat", "again")]
    + [(name, pyarrow.string()) for name in ("model", "respondent", "prompt", "pictures", "form")]
    + [(name, pyarrow.float64()) for name in ("time", "seconds")]
    + [(name, pyarrow.string()) for name in ("outcome", "reason", "text", "finish")]
    + [(name, pyarrow.int64()) for name in ("input_tokens", "output_tokens")]
    + [("dollars", pyarrow.float64()), ("raw", pyarrow.string())]
)
