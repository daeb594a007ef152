"""Has every row of a dataset judged and writes the rewards; what was answered in an earlier run is not asked
again.
"""

import hashlib
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from src.annotation.folder import LEDGER, REWARDS, reward_hash
from src.data.all_rows import decode_with_files
from src.data.problems import Problem
from src.data.rows import DatasetRow
from src.judges.judge import Judge, reward_key
from src.judges.ledger import Ledger
from src.judges.streaming import Judgement, stream_judgements
from src.judges.vlm_judge import VLMJudge
from src.progress import with_progress
from src.records import PERSPECTIVES, Reward, Triplet, Verdict
from src.reward_file import append_rewards, iter_rewards

LOST_ANSWERS = ("refuse", "keep", "ask")

BATCH_SIZE = 32
"""Triplets per question to a judge that takes no stream."""

SECONDS_UNWRITTEN = 1.0
"""Rewards are appended in groups, as each append waits for the disk. A kill loses none: they are derived
again from the ledger.
"""


@final
@dataclass
class Counts:
    """Counts of the rows of a run.

    Attributes:
        skipped: rows that needed no question: finished before, or unreadable.
        failed: rows without a usable answer.
        dollars: cost of the rows of this run.
    """

    skipped: int = 0
    failed: int = 0
    dollars: float = 0.0

    def add(self, judgement: Judgement) -> None:
        """Count a finished row."""
        self.failed += judgement.reward.failed
        self.dollars += float(judgement.usage.get("dollars", 0.0))

    def __str__(self) -> str:
        """Text of the progress line."""
        return f"{self.failed} failed, ${self.dollars:.2f}"


@final
@dataclass
class Annotation:
    """The annotation of one shard.

    Attributes:
        folder: of the annotation.
        judge: scores the rows.
        retry_failed: ask again about rows that failed in an earlier run.
        lost_answers: what to do about rewards in the file whose answers the ledger lacks: "refuse", "keep"
            them as they are, or "ask" again.
    """

    folder: Path
    judge: Judge
    retry_failed: bool = False
    lost_answers: str = "refuse"
    counts: Counts = field(default_factory=Counts)
    known: dict[bytes, bool] = field(default_factory=dict)
    """(id, key) of every reward in the file, as a hash, and whether it failed: 100,000 take 15 MB."""
    digests: dict[str, str] = field(default_factory=dict)
    unreadable: deque[Reward] = field(default_factory=deque)
    begun: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> Path:
        """The reward file."""
        return self.folder / REWARDS

    @property
    def ledger(self) -> Ledger | None:
        """The judge's; None if it keeps none of its own."""
        return self.judge.ledger if isinstance(self.judge, VLMJudge) else None

    def read_earlier(self) -> None:
        """Read the rewards of earlier runs.

        Raises:
            ValueError: the ledger lacks the answers behind some, which would be asked, and paid, once more.
        """
        if self.lost_answers not in LOST_ANSWERS:
            raise ValueError(f"lost_answers={self.lost_answers}: say {', '.join(LOST_ANSWERS)}")
        ledger, lost = self.ledger, 0
        for reward, usage in iter_rewards(self.path):
            self.known[reward_hash(reward.id, reward.key)] = reward.failed
            # rows that could not be read were not asked about and have no usage
            lost += ledger is not None and bool(usage) and not ledger.holds_reward(reward.key)
        if lost and ledger is not None and self.lost_answers == "refuse":
            raise ValueError(
                f"{self.path} holds {lost} rewards whose answers are not in {ledger.path}, which was lost, "
                "emptied or replaced: restore it, give lost_answers=keep to keep these rewards as they are, "
                "or lost_answers=ask to ask, and pay, for them again"
            )

    def run(self, rows: Iterator[DatasetRow | Problem], total: int | None) -> None:
        """Have the unfinished rows judged and write their rewards.

        Raises:
            ValueError: further calls are pointless; all rewards so far are written first.
        """
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
        """Judgements as they come, with a None for each skipped row."""
        skipped = 0
        triplets = self._open_triplets(rows)
        for judgement in stream_judgements(self.judge, triplets, BATCH_SIZE):
            yield [None] * (self.counts.skipped - skipped) + [judgement]
            skipped = self.counts.skipped
        yield [None] * (self.counts.skipped - skipped)

    def _open_triplets(self, rows: Iterator[DatasetRow | Problem]) -> Iterator[Triplet]:
        """The unfinished triplets. Streaming judges read them in a thread of its own."""
        ledger = self.ledger
        for row in rows:
            if isinstance(row, Problem):
                self._fail(row.id, row.reason)
                continue
            try:
                digest = row_digest(row, self.judge.fingerprint)
                key = ledger.reward_of_row(digest) if ledger is not None else None
                if key is not None and self._finished(row.id, key):
                    self.counts.skipped += 1
                    continue
                triplet = decode_with_files(row)
                if self._is_kept(triplet):
                    self.counts.skipped += 1
                    continue
            except (ValueError, FileNotFoundError) as error:
                self._fail(row.id, str(error))
                continue
            self.digests[row.id] = digest
            yield triplet

    def _is_kept(self, triplet: Triplet) -> bool:
        """Whether the file holds the reward of a row of which no ledger tells."""
        if self.ledger is not None and self.lost_answers != "keep":
            return False
        return self._finished(triplet.case.id, reward_key(triplet, self.judge.fingerprint))

    def _finished(self, id: str, key: str) -> bool:
        failed = self.known.get(reward_hash(id, key))
        return failed is not None and not (failed and self.retry_failed)

    def _fail(self, id: str, reason: str) -> None:
        """Give an unreadable row failed verdicts with the reason, like a row that the judge can't answer."""
        key = hashlib.sha256(f"unreadable {id} {reason} {self.judge.fingerprint}".encode()).hexdigest()
        following, preserving, quality = (Verdict(None, None, reason, "failed") for _ in PERSPECTIVES)
        self.unreadable.append(Reward(id, self.judge.name, key, following, preserving, quality))
        self.counts.failed += 1
        self.counts.skipped += 1

    def _write(self, judgements: Sequence[Judgement]) -> None:
        done = list(judgements)
        while self.unreadable:  # another thread may add to it
            done.append(Judgement(self.unreadable.popleft(), {}))
        new = [each for each in done if self._is_new(each.reward)]
        append_rewards(self.path, [each.reward for each in new], [each.usage for each in new])
        for each in new:
            self.known[reward_hash(each.reward.id, each.reward.key)] = each.reward.failed
        if isinstance(self.judge, VLMJudge):
            for each in judgements:
                if each.reward.id in self.digests:
                    self.judge.ledger.record_row(self.digests.pop(each.reward.id), each.reward.key)

    def _is_new(self, reward: Reward) -> bool:
        """Whether the file lacks it, or holds a failed one in its place."""
        before = self.known.get(reward_hash(reward.id, reward.key))
        return before is None or (before and not reward.failed)

    def record(self, finished: bool) -> dict[str, Any]:
        """Counts and cost of everything in the folder.

        Args:
            finished: whether all rows were gone through.
        """
        last = {
            reward_hash(reward.id, reward.key): tuple(verdict.status for verdict in reward.verdicts)
            for reward, _ in iter_rewards(self.path)
        }
        verdicts = Counter(status for statuses in last.values() for status in statuses)
        failed = sum("failed" in statuses for statuses in last.values())
        record: dict[str, Any] = {
            "finished": finished,
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
                "estimated": usage.estimated,
            }
            if self.judge.ledger.path != self.folder / LEDGER:
                record["ledger"] = str(self.judge.ledger.path)
        return record


def row_digest(row: DatasetRow, fingerprint: str) -> str:
    """sha256 of a row's files, instruction and judge, without decoding images. Raises FileNotFoundError."""
    return hashlib.sha256(
        "\0".join((row.original.digest(), row.edited.digest(), row.instruction, fingerprint)).encode()
    ).hexdigest()
