"""Reward files as arrays: 80 bytes a row, whatever its texts. What a row's line says is read again where it
is needed, so that a million rewards take no more memory than their numbers.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, final

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

from src.progress import with_progress
from src.records import PERSPECTIVES, Reward
from src.reward_file import located_rewards, reward_at
from src.seeds import fold_seed

PORTION = 1000
NAN = float("nan")


@final
@dataclass(frozen=True, eq=False)
class ScoredRows:
    """Rows with a reward by one judge, each once.

    Attributes:
        judge: whose rewards.
        files: that hold them.
        file, start: of each row, in which file and at which byte its line begins.
        identity: 128 bits that stand for its id.
        scores: following, preserving, quality in [0, 5]; NaN in all three where a verdict failed.
        deviations: the judge's own uncertainty of each score, in points; NaN where it says none.
        superseded: lines of rows that were rewarded once more.
    """

    judge: str
    files: tuple[Path, ...]
    file: Int[np.ndarray, " n"]
    start: Int[np.ndarray, " n"]
    identity: UInt64[np.ndarray, "n 2"]
    scores: Float[np.ndarray, "n 3"]
    deviations: Float[np.ndarray, "n 3"]
    superseded: int = 0

    def __len__(self) -> int:
        return len(self.file)

    @property
    def failed(self) -> Bool[np.ndarray, " n"]:
        """Rows with a failed verdict."""
        return np.isnan(self.scores[:, 0])

    def digest(self) -> str:
        """Which rows these are, in whatever order: 128 bits."""
        first, second = (int(self.identity[:, half].sum(dtype=np.uint64)) for half in (0, 1))
        return f"{first:016x}{second:016x}"

    def order(self, *salt: str | int) -> UInt64[np.ndarray, " n"]:
        """A number per row that depends on its id and the salt alone: decides between equals."""
        return mixed(self.identity[:, 1] ^ np.uint64(fold_seed(*salt)))


def identity_of(id: str) -> bytes:
    """16 bytes that stand for an id."""
    return hashlib.blake2b(id.encode(), digest_size=16).digest()


def mixed(values: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """Each number scrambled by the finaliser of splitmix64 (Steele et al. 2014), one to one."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))


@final
@dataclass(frozen=True)
class _Columns:
    """Lines as they are read; arrays of numbers grow in place."""

    file: array = field(default_factory=lambda: array("h"))
    start: array = field(default_factory=lambda: array("q"))
    identity: array = field(default_factory=lambda: array("Q"))
    scores: array = field(default_factory=lambda: array("d"))
    deviations: array = field(default_factory=lambda: array("f"))

    def add(self, file: int, start: int, reward: Reward) -> None:
        self.file.append(file)
        self.start.append(start)
        self.identity.frombytes(identity_of(reward.id))
        failed = reward.failed
        self.scores.extend(NAN if failed else verdict.score or 0.0 for verdict in reward.verdicts)
        said = (verdict.deviation for verdict in reward.verdicts)
        self.deviations.extend(NAN if each is None else each for each in said)

    def rows(self, judge: str, files: Sequence[Path]) -> ScoredRows:
        return ScoredRows(
            judge,
            tuple(files),
            _numbers(self.file, np.int16),
            _numbers(self.start, np.int64),
            _numbers(self.identity, np.uint64).reshape(-1, 2),
            _numbers(self.scores, np.float64).reshape(-1, len(PERSPECTIVES)),
            _numbers(self.deviations, np.float32).reshape(-1, len(PERSPECTIVES)),
        )


def _numbers(values: array, kind: type[np.generic]) -> np.ndarray:
    """An array's numbers, not copied; numpy refuses a buffer of none."""
    return np.frombuffer(values, kind) if values else np.zeros(0, kind)


def read_scored_rows(files: Sequence[Path], judge: str | None = None) -> ScoredRows:
    """Read the rewards of one judge from reward files, such as the shards of an annotation.

    Args:
        files: in whatever order; a later line about a row counts, and a failure never more than an answer.
        judge: whose rewards; None if the files hold a single judge's.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no reward, a broken line, several judges and none chosen, or two rewards of one row.
    """
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"no reward file {file}; give an existing one")
    columns, judges = _Columns(), Counter[str]()
    lines = _lines(files)
    for portion in with_progress(_portions(lines), None, "rewards", "lines"):
        for number, start, reward in portion:
            judges[reward.judge] += 1
            if judge is None or reward.judge == judge:
                columns.add(number, start, reward)
    return without_superseded(columns.rows(_one_judge(files, judges, judge), files))


def _lines(files: Sequence[Path]) -> Iterator[tuple[int, int, Reward]]:
    for number, file in enumerate(files):
        for start, reward, _ in located_rewards(file):
            yield number, start, reward


def _portions(
    lines: Iterator[tuple[int, int, Reward]],
) -> Iterator[Sequence[tuple[int, int, Reward]]]:
    portion = []
    for line in lines:
        portion.append(line)
        if len(portion) == PORTION:
            yield portion
            portion = []
    yield portion


def _one_judge(files: Sequence[Path], judges: Counter[str], judge: str | None) -> str:
    where = ", ".join(map(str, files[:3])) + (", ..." if len(files) > 3 else "")
    names = ", ".join(sorted(judges)) or "no judge"
    if not judges:
        raise ValueError(f"{where} holds no reward: have the rows judged first (python -m src.annotate)")
    if judge is None and len(judges) > 1:
        raise ValueError(f"{where} holds rewards of {names}: say whose with judge_name=NAME")
    if judge is not None and judge not in judges:
        raise ValueError(f"{where} holds no rewards of {judge!r}, but of {names}")
    return judge or next(iter(judges))


def without_superseded(rows: ScoredRows) -> ScoredRows:
    """Each row once: by its last line, or its only one that didn't fail.

    Raises:
        ValueError: two rewards of one row, of which it is unknown which is meant.
    """
    order = np.lexsort((rows.identity[:, 1], rows.identity[:, 0]))  # stable: equal ones stay in file order
    ordered = rows.identity[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.flatnonzero(begins)
    sizes = np.diff(np.append(first, len(order)))
    if not (sizes > 1).any():
        return rows
    kept = np.ones(len(rows), bool)
    with open_files(rows.files) as opened:
        for begin, size in zip(first[sizes > 1], sizes[sizes > 1], strict=True):
            lines = order[begin : begin + size]
            kept[lines] = False
            kept[lines[valid_line([reward_of(rows, int(line), opened) for line in lines], rows.files)]] = True
    return ScoredRows(
        rows.judge,
        rows.files,
        rows.file[kept],
        rows.start[kept],
        rows.identity[kept],
        rows.scores[kept],
        rows.deviations[kept],
        int((~kept).sum()),
    )


def valid_line(rewards: Sequence[Reward], files: Sequence[Path]) -> int:
    """Which of several rewards of one row counts: of one key the last, and an answer rather than a failure.

    Raises:
        ValueError: two that didn't fail and differ in key or verdicts.
    """
    answers = [reward for reward in rewards if not reward.failed]
    other = next((reward for reward in answers if reward != answers[0]), None)
    if other is not None:
        how = "keys" if other.key != answers[0].key else "verdicts"
        raise ValueError(
            f"{other.id!r} is rewarded twice by {other.judge} with different {how} in "
            f"{', '.join(map(str, files[:3]))}: keep one line"
        )
    last = {reward.key: place for place, reward in enumerate(rewards)}
    answered = [place for place in last.values() if not rewards[place].failed]
    return max(answered or last.values())


@contextmanager
def open_files(files: Sequence[Path]) -> Iterator[list[BinaryIO]]:
    """Reward files, open for reading again what a row's line says."""
    with ExitStack() as stack:
        yield [stack.enter_context(file.open("rb")) for file in files]


def reward_of(rows: ScoredRows, row: int, opened: Sequence[BinaryIO]) -> Reward:
    """A row's whole reward, read again.

    Raises:
        ValueError: the file has changed since it was first read.
    """
    file = opened[rows.file[row]]
    try:
        reward = reward_at(file, int(rows.start[row]))
    except ValueError as error:
        raise changed(file.name) from error
    if np.frombuffer(identity_of(reward.id), np.uint64).tolist() != rows.identity[row].tolist():
        raise changed(file.name)
    return reward


def changed(file: str) -> ValueError:
    """The error for a reward file that was not left alone."""
    return ValueError(
        f"{file} was changed while it was read: give the same command again when it is finished"
    )
