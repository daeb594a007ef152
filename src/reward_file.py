"""Rewards on disk: JSON lines, append-only, one object per (triplet, judge), so that a judgement once paid for is never paid for twice.

A line is `{"id", "judge", "key", "following": {"score", "success", "feedback", "status"}, "preserving": ..., "quality": ..., "usage"}`.
A failed verdict has `"score": null` and is counted, never replaced by a number. A retry appends; the last line per (id, judge, key) is the valid one.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

from src.files import not_written
from src.records import PERSPECTIVES, Reward, Verdict

F = TypeVar("F")

Usage = Mapping[str, int | float | str]
"""What a judgement cost, as its judge counts it (tokens, seconds, model); empty for the oracle."""


def append_rewards(path: Path, rewards: Sequence[Reward], usages: Sequence[Usage] | None = None) -> None:
    """Append rewards and return only when they are on the disk; a line torn by an earlier kill is repaired first.

    One process at a time may append to a file.

    Args:
        path: the reward file; it and its folder are made when missing.
        rewards: any number, written in this order.
        usages: one per reward, or None where nothing was used.

    Raises:
        ValueError: another number of usages than of rewards.
        NotWrittenError: the disk is full; the file is as it was before.
    """
    if usages is not None and len(usages) != len(rewards):
        raise ValueError(f"{path}: {len(rewards)} rewards need as many usages, got {len(usages)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    repair_torn_line(path)
    lines = [reward_line(reward, usages[index] if usages is not None else {}) for index, reward in enumerate(rewards)]
    before = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab") as file:
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if path.exists():
            os.truncate(path, before)
        raise not_written(path, error) from error


def read_rewards(path: Path) -> list[Reward]:
    """The valid rewards of a file: the last line per (id, judge, key), in the order in which those lines stand. No file, no rewards.

    A last line without its line end was being written when its process was killed; it does not count and the next append removes it.

    Raises:
        ValueError: a line that is not a reward, with file and line number.
    """
    return [reward for reward, _ in read_rewards_and_usages(path)]


def read_rewards_and_usages(path: Path) -> list[tuple[Reward, Usage]]:
    """The same, each with what it cost. Raises as `read_rewards`."""
    if not path.exists():
        return []
    last: dict[tuple[str, str, str], tuple[Reward, Usage]] = {}
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            break
        if not line.strip():
            continue
        try:
            text = line.decode()
            reward, usage = parse_reward(text), parse_usage(text)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: not a reward ({error}); correct or delete this line") from error
        name = (reward.id, reward.judge, reward.key)
        last.pop(name, None)
        last[name] = reward, usage
    return list(last.values())


def repair_torn_line(path: Path) -> None:
    """Cut off what stands behind the last line end, so that the next append starts a line of its own. A missing file is fine."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def reward_line(reward: Reward, usage: Usage) -> str:
    """One reward as one line of JSON, line end included."""
    row: dict[str, object] = {"id": reward.id, "judge": reward.judge, "key": reward.key}
    for perspective, verdict in zip(PERSPECTIVES, reward.verdicts, strict=True):
        row[perspective.value] = {"score": verdict.score, "success": verdict.success, "feedback": verdict.feedback, "status": verdict.status}
    row["usage"] = dict(usage)
    return json.dumps(row, ensure_ascii=False) + "\n"


def parse_reward(line: str) -> Reward:
    """The reward in one line of JSON.

    Raises:
        ValueError: not JSON, a field missing or of the wrong kind, a score outside [0, 5].
    """
    row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    id, judge, key = (_field(row, name, str) for name in ("id", "judge", "key"))
    return Reward(id, judge, key, *(_verdict(_field(row, perspective.value, dict)) for perspective in PERSPECTIVES))


def parse_usage(line: str) -> Usage:
    """What the reward in one line of JSON cost; nothing where the line does not say.

    Raises:
        ValueError: not JSON, or a usage that is no object.
    """
    row = json.loads(line)
    return _field(row, "usage", dict) if "usage" in row else {}


def _verdict(row: dict[str, object]) -> Verdict:
    status = _field(row, "status", str)
    if status not in ("ok", "repaired", "failed"):
        raise ValueError(f"status {status!r} is none of ok, repaired, failed")
    score = _field(row, "score", int, float, type(None))
    return Verdict(
        score=None if score is None else float(score),
        success=_field(row, "success", bool, type(None)),
        feedback=_field(row, "feedback", str),
        status=status,
    )


def _field(row: dict[str, object], name: str, *kinds: type[F]) -> F:
    if name not in row:
        raise ValueError(f"field {name!r} is missing")
    value = row[name]
    # JSON's true is Python's int 1: a score of true is a mistake, not a 1.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"field {name!r} holds {value!r}")
    return cast(F, value)
