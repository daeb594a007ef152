"""An annotation: a folder with the rewards of a dataset's rows, made by one judge, that can be gone on with
at any moment.

`request.json` says what was asked of whom, `rewards.jsonl` holds the rewards, `ledger.sqlite` every raw
reply, `annotation.json` the counts. Written by src.annotate, joined by src.merge_annotations, checked by
src.verify_annotations.
"""

import hashlib
import json
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src import files
from src.batching import batches_of
from src.data.all_rows import decode_with_files
from src.data.problems import Problem
from src.data.rows import DatasetRow
from src.differences import unlike_request
from src.files import remove_leftovers, write_atomically
from src.judges.asking import Judgement, StreamingJudge, VLMJudge
from src.judges.judge import Judge
from src.progress import with_progress
from src.records import PERSPECTIVES, Reward, Triplet, Verdict
from src.reward_file import append_rewards, each_reward

REQUEST, REWARDS, RECORD, LEDGER = "request.json", "rewards.jsonl", "annotation.json", "ledger.sqlite"

SECONDS_UNWRITTEN = 1.0
"""Rewards are appended in groups, as each append waits for the disk; a kill loses none, they are derived once
more from the ledger.
"""


def claim(folder: Path, request: dict[str, Any]) -> None:
    """Make a new folder ours, or check that what it holds was made from the same data.

    Raises:
        ValueError: another request; the message names what differs.
    """
    before = files.claim(folder / REQUEST, request, in_new_folder=False)
    different = unlike_request({name: before.get(name) for name in request}, request)
    if different:
        raise ValueError(
            f"{folder} holds the annotation of other rows ({'; '.join(different)}); give another output=, or the same command"
        )
    remove_leftovers(folder)


def claim_judge(folder: Path, judge: Judge) -> None:
    """Note who judges in this folder, or check that it is the same judge, asked in the same way.

    Raises:
        ValueError: another one; the message names what differs.
    """
    path = folder / REQUEST
    request = json.loads(path.read_text(encoding="utf-8"))
    asked = {"judge": judge.name, "fingerprint": judge.fingerprint}
    if "judge" in request:
        different = unlike_request({name: request[name] for name in asked}, asked)
        if different:
            raise ValueError(
                f"{folder} holds the answers of another judge ({'; '.join(different)}); give another output=, or the same judge"
            )
    write_atomically(path, json.dumps(request | asked, indent=2) + "\n")


@dataclass
class Counts:
    """What became of the rows of a run.

    Attributes:
        passed: rows that nobody was asked about: finished before, or unreadable.
        failed: rows without a usable answer.
        dollars: what the rows of this run cost.
    """

    passed: int = 0
    failed: int = 0
    dollars: float = 0.0

    def add(self, judgement: Judgement) -> None:
        """A row is done."""
        self.failed += judgement.reward.failed
        self.dollars += float(judgement.usage.get("dollars", 0.0))

    def __str__(self) -> str:
        """For the progress line."""
        return f"{self.failed} failed, ${self.dollars:.2f}"


@dataclass
class Annotation:
    """The annotation of one shard.

    Attributes:
        folder: where it lies.
        judge: who is asked.
        retry_failed: ask again about rows that failed in an earlier run.
    """

    folder: Path
    judge: Judge
    retry_failed: bool = False
    counts: Counts = field(default_factory=Counts)
    known: dict[bytes, bool] = field(default_factory=dict)
    """(id, key) of every reward in the file, as a short hash, and whether it failed: a hundred thousand fit
    into 15 MB.
    """
    digests: dict[str, str] = field(default_factory=dict)
    unreadable: deque[Reward] = field(default_factory=deque)
    begun: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> Path:
        """The reward file."""
        return self.folder / REWARDS

    def run(self, rows: Iterator[DatasetRow | Problem], total: int | None) -> None:
        """Have every row judged that isn't yet, and write the rewards.

        Raises:
            ValueError: there is no point in asking on; what was answered is written first.
        """
        for reward, _ in each_reward(self.path):
            self.known[short(reward.id, reward.key)] = reward.failed
        unwritten: list[Judgement] = []
        written = time.monotonic()
        try:
            for batch in with_progress(
                self._judged(rows), total, f"annotate {self.folder}", "rows", self.counts.__str__
            ):
                for judgement in batch:
                    if judgement is not None:
                        unwritten.append(judgement)
                        self.counts.add(judgement)
                if time.monotonic() - written > SECONDS_UNWRITTEN:
                    self._write(unwritten)
                    written, unwritten = time.monotonic(), []
        finally:
            self._write(unwritten)

    def _judged(self, rows: Iterator[DatasetRow | Problem]) -> Iterator[list[Judgement | None]]:
        """Judgements as they come, with a None for each row that nobody was asked about."""
        passed = 0
        triplets = self._open_triplets(rows)
        for judgement in judgements_of(self.judge, triplets):
            yield [None] * (self.counts.passed - passed) + [judgement]
            passed = self.counts.passed
        yield [None] * (self.counts.passed - passed)

    def _open_triplets(self, rows: Iterator[DatasetRow | Problem]) -> Iterator[Triplet]:
        """The triplets that have to be judged. Read in a thread of its own by judges that ask many at once."""
        ledger = self.judge.ledger if isinstance(self.judge, VLMJudge) else None
        for row in rows:
            if isinstance(row, Problem):
                self._fail(row.id, row.reason)
                continue
            try:
                digest = digest_of(row, self.judge.fingerprint)
                key = ledger.reward_of_row(digest) if ledger is not None else None
                if key is not None and self._finished(row.id, key):
                    self.counts.passed += 1
                    continue
                triplet = decode_with_files(row)
            except (ValueError, FileNotFoundError) as error:
                self._fail(row.id, str(error))
                continue
            self.digests[row.id] = digest
            yield triplet

    def _finished(self, id: str, key: str) -> bool:
        failed = self.known.get(short(id, key))
        return failed is not None and not (failed and self.retry_failed)

    def _fail(self, id: str, reason: str) -> None:
        """A row that can't be shown to a judge has failed verdicts, with the reason, like one that the judge
        can't answer.
        """
        key = hashlib.sha256(f"unreadable {id} {reason} {self.judge.fingerprint}".encode()).hexdigest()
        following, preserving, quality = (Verdict(None, None, reason, "failed") for _ in PERSPECTIVES)
        self.unreadable.append(Reward(id, self.judge.name, key, following, preserving, quality))
        self.counts.failed += 1
        self.counts.passed += 1

    def _write(self, judgements: Sequence[Judgement]) -> None:
        done = list(judgements)
        while self.unreadable:  # another thread may be adding to it
            done.append(Judgement(self.unreadable.popleft(), {}))
        new = [each for each in done if self._is_new(each.reward)]
        append_rewards(self.path, [each.reward for each in new], [each.usage for each in new])
        for each in new:
            self.known[short(each.reward.id, each.reward.key)] = each.reward.failed
        if isinstance(self.judge, VLMJudge):
            for each in judgements:
                if each.reward.id in self.digests:
                    self.judge.ledger.record_row(self.digests.pop(each.reward.id), each.reward.key)

    def _is_new(self, reward: Reward) -> bool:
        """Whether the file lacks it, or holds a failed one in its place."""
        before = self.known.get(short(reward.id, reward.key))
        return before is None or (before and not reward.failed)

    def record(self) -> dict[str, Any]:
        """What is in the folder now, and what it cost."""
        last = {
            short(reward.id, reward.key): tuple(verdict.status for verdict in reward.verdicts)
            for reward, _ in each_reward(self.path)
        }
        verdicts = Counter(status for statuses in last.values() for status in statuses)
        failed = sum("failed" in statuses for statuses in last.values())
        record: dict[str, Any] = {
            "rows": len(last),
            "scored": len(last) - failed,
            "failed": failed,
            "verdicts": dict(sorted(verdicts.items())),
        }
        record |= {
            "judge": self.judge.name,
            "fingerprint": self.judge.fingerprint,
            "seconds": round(time.monotonic() - self.begun, 1),
        }
        if isinstance(self.judge, VLMJudge):
            usage = self.judge.ledger.total()
            record |= {
                "calls": usage.calls,
                "outcomes": self.judge.ledger.outcomes(),
                "input_tokens": usage.input_tokens,
            }
            record |= {
                "output_tokens": usage.output_tokens,
                "dollars": round(usage.dollars, 6) if self.judge.price else None,
            }
        return record


def judgements_of(judge: Judge, triplets: Iterator[Triplet]) -> Iterator[Judgement]:
    """One judgement per triplet; judges that can't work on many at once get them in batches."""
    if isinstance(judge, StreamingJudge):
        yield from judge.judgements(triplets)
        return
    for batch in batches_of(triplets, 32):
        yield from (Judgement(reward, {}) for reward in judge.judge(batch))


def digest_of(row: DatasetRow, fingerprint: str) -> str:
    """sha256 over a row's files, instruction and judge: known without decoding. Raises FileNotFoundError."""
    return hashlib.sha256(
        "\0".join((row.original.digest(), row.edited.digest(), row.instruction, fingerprint)).encode()
    ).hexdigest()


def short(id: str, key: str) -> bytes:
    """Sixteen bytes that stand for (id, key)."""
    return hashlib.blake2b(f"{id}\0{key}".encode(), digest_size=16).digest()
