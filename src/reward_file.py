"""Rewards on disk: append-only JSON lines, one object per (triplet, judge), so that no judgement is paid for
twice.

A line is `{"id", "judge", "key", "following": {"score", "success", "feedback", "status"}, "preserving": ...,
"quality": ..., "usage"}`; a judge that says how sure it is adds `"deviation"` to each, in points. A failed
verdict has `"score": null` and is counted, never replaced by a number. A retry appends; the last line per
(id, judge, key) is the valid one.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from src.files import append_lines
from src.json_files import parse_json
from src.records import PERSPECTIVES, Reward, Verdict

F = TypeVar("F")

BLOCK = 1 << 16
"""Bytes read at once in search of a torn last line."""

UsageFields = Mapping[str, int | float | str]
"""The cost of a judgement as its judge counts it (tokens, seconds, model); empty for the oracle."""


def append_rewards(
    path: Path, rewards: Sequence[Reward], usages: Sequence[UsageFields] | None = None
) -> None:
    """Append rewards and return when they are on the disk; a line torn by an earlier kill is removed first.

    Only one process at a time may append to a file.

    Args:
        path: the reward file; it and its folder are created if missing.
        rewards: written in this order.
        usages: one per reward, or None if nothing was used.

    Raises:
        ValueError: the numbers of rewards and usages differ.
        NotWrittenError: the disk is full; the file is as it was before.
    """
    if usages is not None and len(usages) != len(rewards):
        raise ValueError(f"{path}: {len(rewards)} rewards need as many usages, got {len(usages)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    repair_torn_line(path)
    lines = [
        reward_line(reward, usages[index] if usages is not None else {})
        for index, reward in enumerate(rewards)
    ]
    append_lines(path, "".join(lines))


def read_rewards(path: Path) -> list[Reward]:
    """The valid rewards of a file: the last line per (id, judge, key), in file order; none without a file.

    Raises:
        ValueError: a line that is not a reward, with file and line number.
    """
    last: dict[tuple[str, str, str], Reward] = {}
    for reward, _ in iter_rewards(path):
        name = (reward.id, reward.judge, reward.key)
        last.pop(name, None)
        last[name] = reward
    return list(last.values())


def iter_rewards(path: Path) -> Iterator[tuple[Reward, UsageFields]]:
    """Every line of a file with its cost, superseded ones too, without holding the file in memory; none
    without a file.

    A last line without line end is what a killed process was writing; it doesn't count, and the next append
    removes it.

    Raises:
        ValueError: a line that is not a reward, with file and line number.
    """
    for _, reward, usage in located_rewards(path):
        yield reward, usage


def located_rewards(path: Path) -> Iterator[tuple[int, Reward, UsageFields]]:
    """As `iter_rewards`, each with the byte at which its line begins, for `reward_at`."""
    if not path.exists():
        return
    start = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            if line.strip():
                yield start, *_parse_line(line, f"{path}:{number}")
            start += len(line)


def reward_at(file: BinaryIO, start: int) -> Reward:
    """The reward whose line begins at a byte of an open reward file. Raises ValueError as `iter_rewards`."""
    file.seek(start)
    return _parse_line(file.readline(), f"{file.name}, byte {start}")[0]


def _parse_line(line: bytes, where: str) -> tuple[Reward, UsageFields]:
    try:
        row = parse_json(line, "the line")
        return parse_reward(row), row.get("usage", {})
    except ValueError as error:
        raise ValueError(f"{where}: not a reward ({error}); correct or delete this line") from error


def repair_torn_line(path: Path) -> None:
    """Cut off what follows the last line end, so that the next append starts a new line. A missing file is
    fine.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        end = whole = file.seek(0, os.SEEK_END)
        while whole and (position := _last_line_end(file, whole)) != whole:
            whole = position
    if whole < end:
        os.truncate(path, whole)


def _last_line_end(file: BinaryIO, end: int) -> int:
    """The position after the last line end in the block before `end`, or the block's start if it has none."""
    start = max(0, end - BLOCK)
    file.seek(start)
    return start + file.read(end - start).rfind(b"\n") + 1


def reward_line(reward: Reward, usage: UsageFields) -> str:
    """A reward as one line of JSON, line end included."""
    row: dict[str, object] = {"id": reward.id, "judge": reward.judge, "key": reward.key}
    for perspective, verdict in zip(PERSPECTIVES, reward.verdicts, strict=True):
        row[perspective.value] = {
            "score": verdict.score,
            "success": verdict.success,
            "feedback": verdict.feedback,
            "status": verdict.status,
        } | ({} if verdict.deviation is None else {"deviation": verdict.deviation})
    row["usage"] = dict(usage)
    return json.dumps(row, ensure_ascii=False) + "\n"


def parse_reward(row: object) -> Reward:
    """The reward in a line's JSON value.

    Raises:
        ValueError: a field is missing or of the wrong type, or a score lies outside [0, 5].
    """
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    id, judge, key = (_field(row, name, str) for name in ("id", "judge", "key"))
    return Reward(
        id, judge, key, *(_verdict(_field(row, perspective.value, dict)) for perspective in PERSPECTIVES)
    )


def _verdict(row: dict[str, object]) -> Verdict:
    status = _field(row, "status", str)
    if status not in ("ok", "repaired", "failed"):
        raise ValueError(f"status {status!r} is none of ok, repaired, failed")
    score = _field(row, "score", int, float, type(None))
    deviation = _field(row, "deviation", int, float) if "deviation" in row else None
    return Verdict(
        score=None if score is None else float(score),
        success=_field(row, "success", bool, type(None)),
        feedback=_field(row, "feedback", str),
        status=status,
        deviation=None if deviation is None else float(deviation),
    )


def _field(row: dict[str, object], name: str, *kinds: type[F]) -> F:
    if name not in row:
        raise ValueError(f"field {name!r} is missing")
    value = row[name]
    # bool is a subclass of int in Python, but a score of true is a mistake, not a 1
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"field {name!r} holds {value!r}")
    return cast(F, value)
