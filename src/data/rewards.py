"""Rewards joined to rows by id, read from a reward file or from the release's RewardEdit_20K.json."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, final

from rich.progress import track

from src.data.columns import parse_verdict
from src.data.rows import DatasetRow, RowSource, check_index
from src.json_files import read_json
from src.records import PERSPECTIVES, Reward
from src.reward_file import iter_rewards, read_rewards

MissingReward = Literal["drop", "fail"]


@final
@dataclass(frozen=True)
class Rewards:
    """Rewards by the id of their triplet.

    Attributes:
        source: the file.
        by_id: rewards, failed ones included.
        wrong: ids whose reward can't be used -> why (a score outside [0, 5], for example).
    """

    source: str
    by_id: Mapping[str, Reward]
    wrong: Mapping[str, str]


def from_reward_file(path: str | Path, judge: str | None = None) -> Rewards:
    """Read the rewards of one judge from a reward file (reward_file.py).

    Args:
        path: JSON lines.
        judge: whose rewards; None if the file holds a single judge's.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a broken line, several judges and none chosen, or two valid rewards of one triplet.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no reward file {path}; give an existing one")
    rewards = read_rewards(Path(path))
    judges = sorted({reward.judge for reward in rewards})
    if judge is None and len(judges) > 1:
        raise ValueError(f"{path} holds rewards of {', '.join(judges)}: say whose with judge=NAME")
    if judge is not None and judge not in judges:
        raise ValueError(f"{path} holds no rewards of {judge!r}, but of {', '.join(judges) or 'no judge'}")
    check_agreement(Path(path))
    by_id: dict[str, Reward] = {}
    for reward in rewards:
        if judge is not None and reward.judge != judge:
            continue
        if reward.id in by_id and reward.failed != by_id[reward.id].failed:
            # a failure (an unreadable image or answer) that a second try resolved
            by_id[reward.id] = reward if by_id[reward.id].failed else by_id[reward.id]
            continue
        if reward.id in by_id:
            # other images, or another prompt: which reward is meant is unknown
            raise ValueError(
                f"{path} rewards {reward.id!r} twice under different keys, {by_id[reward.id].key[:12]} and "
                f"{reward.key[:12]}: keep one"
            )
        by_id[reward.id] = reward
    return Rewards(str(path), by_id, {})


def check_agreement(path: Path) -> None:
    """Raise ValueError if a judge gave the same triplet two different rewards, of which none failed; a line
    after a failure is a second try.
    """
    seen: dict[tuple[str, str, str], Reward] = {}
    for reward, _ in iter_rewards(path):
        name = (reward.id, reward.judge, reward.key)
        if not reward.failed and seen.setdefault(name, reward).verdicts != reward.verdicts:
            raise ValueError(
                f"{path} rewards {reward.id!r} twice with different verdicts of {reward.judge}: keep one line"
            )


def key_as_id(key: str) -> str:
    """Resolver: the key is the id."""
    return key


def last_parts(key: str, count: int = 2) -> str:
    """Resolver: the last `count` parts of a key that is a path, without extension; "train/0000123/456.json"
    gives the id "0000123/456".
    """
    path = Path(key)
    return "/".join(
        path.with_suffix("").parts[-count:]
        if path.suffix in (".json", ".jpg", ".png")
        else path.parts[-count:]
    )


def first_ids(ids: Sequence[str]) -> str:
    """List a few ids for an error message."""
    return ", ".join(map(repr, ids[:3])) + (", ..." if len(ids) > 3 else "") if ids else "missing"


def from_reward_edit(path: str | Path, resolver: Callable[[str], str] = key_as_id) -> Rewards:
    """Read RewardEdit_20K.json: key -> three of {"Score": number, "Negative Prompt": text}, in the order
    following, preserving, quality.

    The meaning of its keys depends on how the triplets were exported; a resolver, any function of a key,
    gives the triplet's id.

    Args:
        path: the file.
        resolver: key -> id; in yaml a `_partial_` of `key_as_id`, `last_parts` or your own function.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a malformed file, two keys for one triplet, or one key with two rewards.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}; give an existing RewardEdit_20K.json")
    entries = read_json(Path(path))
    if not isinstance(entries, dict):
        raise ValueError(
            f"{path} holds a JSON {type(entries).__name__}, an object key -> three verdicts is needed"
        )
    by_id: dict[str, Reward] = {}
    wrong: dict[str, str] = {}
    key_of: dict[str, str] = {}
    for key, entry in entries.items():
        id = resolve_id(key, resolver, f"{path}, key {key!r}")
        if id in key_of:
            raise ValueError(
                f"{path}: the keys {key_of[id]!r} and {key!r} both mean the triplet {id!r}: "
                "another resolver is needed"
            )
        key_of[id] = key
        try:
            by_id[id] = parse_entry(entry, id, f"{path}, key {key!r}")
        except ValueError as error:
            wrong[id] = str(error)
    return Rewards(str(path), by_id, wrong)


def resolve_id(key: str, resolver: Callable[[str], str], where: str) -> str:
    """Resolve a key to an id. Raises ValueError naming a key that the resolver can't resolve."""
    try:
        id = resolver(key)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{where}: the resolver fails on it ({type(error).__name__}: {error}), another one is needed"
        ) from error
    if not isinstance(id, str):
        raise ValueError(f"{where}: the resolver returns {id!r}, a text is needed")
    return id


def parse_entry(entry: object, id: str, where: str) -> Reward:
    """Parse one reward of RewardEdit_20K.json. Raises ValueError naming what is wrong."""
    if (
        not isinstance(entry, list)
        or len(entry) != len(PERSPECTIVES)
        or not all(isinstance(verdict, dict) for verdict in entry)
    ):
        raise ValueError(
            f"{where} holds {str(entry)[:80]!r}: "
            "three verdicts are needed, each with Score and Negative Prompt"
        )
    verdicts = [
        parse_verdict(verdict.get("Score"), verdict.get("Negative Prompt"), f"{where}, {name}")
        for verdict, name in zip(entry, PERSPECTIVES, strict=True)
    ]
    return Reward(id, "RewardEdit-20K", id, *verdicts)


@final
class WithRewards(RowSource):
    """The rows of a source that have a usable reward; all of its rows, unrated, if there is no reward
    anywhere.

    Args:
        rows: where the rows come from.
        rewards: joined by id; None for the rows' own.
        missing_reward: rows whose reward is missing or failed are dropped and counted, or an error.

    Attributes:
        indices: of the rows that are left.
        wrong: ids of rows dropped because their reward can't be used -> why.

    Raises:
        ValueError: no reward fits any row, or one is missing and `missing_reward` is "fail".
    """

    def __init__(
        self, rows: RowSource, rewards: Rewards | None = None, missing_reward: MissingReward = "drop"
    ) -> None:
        if missing_reward not in ("drop", "fail"):
            raise ValueError(f"missing_reward is drop or fail, not {missing_reward!r}")
        self.rows = rows
        self.rewards = rewards
        self.indices: Sequence[int] = range(len(rows))
        self.wrong: dict[str, str] = {}
        self.numbers: dict[str, int] = {}
        if rewards is None:
            self._choose([self._own(index) for index in range(len(rows))], missing_reward)
            return
        ids = [
            self._id(index)
            for index in track(
                range(len(rows)), "ids of rows", transient=True, disable=not sys.stdout.isatty()
            )
        ]
        unmatched = (rewards.by_id.keys() | rewards.wrong.keys()) - set(ids)
        if len(unmatched) == len(rewards.by_id) + len(rewards.wrong):
            raise ValueError(
                f"none of {len(unmatched)} rewards of {rewards.source} fits any of {len(ids)} rows: "
                "the rows' ids "
                f"are {first_ids(ids)}, those of the rewards {first_ids([*rewards.by_id, *rewards.wrong])}; "
                "give the rewards of these rows, or another resolver (conf/rewards)"
            )
        self._choose([rewards.wrong.get(id) or rewards.by_id.get(id) for id in ids], missing_reward)
        self.numbers["rewards of other triplets"] = len(unmatched)

    @property
    def is_unrated(self) -> bool:
        """Whether there is no reward anywhere."""
        return self.rewards is None and "unrated" in self.numbers

    def __len__(self) -> int:
        return len(self.indices)

    def row(self, index: int) -> DatasetRow:
        check_index(index, len(self))
        row = self.rows.row(self.indices[index])
        return row if self.rewards is None else replace(row, reward=self.rewards.by_id[row.id])

    def id_of(self, index: int) -> str:
        return self.rows.id_of(self.indices[index])

    def reward_of(self, index: int) -> Reward | None:
        return (
            self.rows.reward_of(self.indices[index])
            if self.rewards is None
            else self.rewards.by_id[self.id_of(index)]
        )

    def files(self, index: int) -> Sequence[Path]:
        return self.rows.files(self.indices[index])

    def counts(self) -> Mapping[str, int]:
        return {**self.rows.counts(), **self.numbers}

    def _id(self, index: int) -> str:
        """Id of a row of the source, or its place if it can't be read: no reward can be joined to it then."""
        try:
            return self.rows.id_of(index)
        except (ValueError, FileNotFoundError):
            return f"row {index}"

    def _own(self, index: int) -> Reward | str | None:
        try:
            return self.rows.reward_of(index)
        except (ValueError, FileNotFoundError) as error:
            return str(error)

    def _choose(self, found: Sequence[Reward | str | None], missing_reward: MissingReward) -> None:
        """Keep the rows with a usable reward, and count the others. `found` holds a reward, why it can't be
        used, or None.
        """
        if self.rewards is None and all(reward is None for reward in found):
            self.numbers = {"unrated": len(found)}
            return
        wrong = [index for index, reward in enumerate(found) if isinstance(reward, str)]
        self.wrong = {self._id(index): str(found[index]) for index in wrong}
        failed = [index for index, reward in enumerate(found) if isinstance(reward, Reward) and reward.failed]
        missing = [index for index, reward in enumerate(found) if reward is None]
        if missing_reward == "fail" and missing + failed:
            raise ValueError(
                f"{len(missing)} of {len(found)} rows have no reward and {len(failed)} a failed one, "
                "the first is "
                f"{self._id((missing + failed)[0])!r}: rate them, or drop them with data.missing_reward=drop"
            )
        left_out = {*wrong, *failed, *missing}
        self.indices = [index for index in range(len(found)) if index not in left_out]
        self.numbers = {
            "rated": len(self.indices),
            "dropped, no reward": len(missing),
            "dropped, failed reward": len(failed),
        }
