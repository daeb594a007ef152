"""Read triplets with their rewards one after the other, keeping hashes of their images."""

import os
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import final

from src.data.dataset import RewardedTriplets
from src.data.lint import LintEntry, hash_pair
from src.data.rewards import Rewards
from src.data.rows import RowSource, decode_row
from src.records import Image, Reward, Triplet
from src.reward_file import UsageFields, iter_rewards

PORTION = 64
"""Triplets read between two updates of the progress bar."""


@final
@dataclass(frozen=True)
class RewardFile:
    """The content of a reward file, sorted for one judge.

    Attributes:
        path: the file.
        judge: whose rewards are inspected; "" in an empty file.
        chosen: the judge's rewards by id of the triplet, the last one if there are several.
        others: all other rewards by id: by other judges, or by this one under other keys.
        usages: what each reward of the judge cost.
    """

    path: str
    judge: str
    chosen: Mapping[str, Reward]
    others: Mapping[str, tuple[Reward, ...]]
    usages: Sequence[UsageFields]


def read_reward_file(path: str | Path, judge: str | None = None) -> RewardFile:
    """Read a reward file, for one judge.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a broken line, several judges and none chosen, or a judge that is not in it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no reward file {path}; give an existing one")
    last: dict[tuple[str, str, str], tuple[Reward, UsageFields]] = {}
    for reward, usage in iter_rewards(Path(path)):
        place = (reward.id, reward.judge, reward.key)
        last.pop(place, None)
        last[place] = reward, usage
    lines = list(last.values())
    judges = sorted({reward.judge for reward, _ in lines})
    if judge is None and len(judges) > 1:
        raise ValueError(f"{path} holds rewards of {', '.join(judges)}: say whose with judge_name=NAME")
    if judge is not None and judge not in judges:
        raise ValueError(f"{path} holds no rewards of {judge!r}, but of {', '.join(judges) or 'no judge'}")
    name = judge or (judges[0] if judges else "")
    chosen: dict[str, Reward] = {}
    others: defaultdict[str, list[Reward]] = defaultdict(list)
    for reward, _ in lines:
        if reward.judge == name:
            if reward.id in chosen:
                others[reward.id].append(chosen[reward.id])
            chosen[reward.id] = reward
        else:
            others[reward.id].append(reward)
    usages = [usage for reward, usage in lines if reward.judge == name]
    return RewardFile(str(path), name, chosen, {id: tuple(rewards) for id, rewards in others.items()}, usages)


class TripletSource(ABC):
    """Triplets in a fixed order."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of triplets."""

    @abstractmethod
    def id_of(self, index: int) -> str:
        """Return the id alone, as cheaply as possible; "row <index>" where it is unknown."""

    @abstractmethod
    def entry(self, index: int) -> LintEntry:
        """Read what the linter needs of one triplet, and the dataset's own reward."""

    @abstractmethod
    def images(self, index: int) -> tuple[Image, Image] | None:
        """Read original and edited, or None if there are none. Raises ValueError or FileNotFoundError for
        images that can't be read.
        """

    def entries(self) -> Iterator[Sequence[LintEntry]]:
        """Read all entries, a portion at a time."""
        for start in range(0, len(self), PORTION):
            yield [self.entry(index) for index in range(start, min(start + PORTION, len(self)))]


@final
class StoredTriplets(TripletSource):
    """A dataset on disk; all cores decode.

    Args:
        rows: at native size.
        rewards: joined by id, in place of the dataset's own; None for these.
        check_images: whether to decode and hash the images.
    """

    def __init__(self, rows: RowSource, rewards: Rewards | None = None, check_images: bool = True) -> None:
        self.rows = rows
        self.rewards = rewards
        self.check_images = check_images

    def __len__(self) -> int:
        return len(self.rows)

    def id_of(self, index: int) -> str:
        try:
            return self.rows.id_of(index)
        except (ValueError, FileNotFoundError):
            return f"row {index}"

    def entry(self, index: int) -> LintEntry:
        try:
            row = self.rows.row(index)
        except (ValueError, FileNotFoundError) as error:
            return LintEntry(index, f"row {index}", problem=str(error))
        reward = row.reward if self.rewards is None else self.rewards.by_id.get(row.id)
        entry = LintEntry(index, row.id, row.instruction, reward, edit_type=row.edit_type)
        if not self.check_images:
            return entry
        try:
            return replace(entry, hashes=hash_pair(row.original.decode(), row.edited.decode()))
        except (ValueError, FileNotFoundError) as error:
            return replace(entry, problem=str(error))

    def images(self, index: int) -> tuple[Image, Image]:
        triplet = decode_row(self.rows.row(index))
        return triplet.case.original, triplet.edited

    def entries(self) -> Iterator[Sequence[LintEntry]]:
        """Read all entries in threads, as Pillow decodes outside the GIL; few portions wait at a time."""
        starts = iter(range(0, len(self), PORTION))
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            waiting: list[Future[list[LintEntry]]] = [
                pool.submit(self._portion, start) for start in islice(starts, 16)
            ]
            try:
                while waiting:
                    done = waiting.pop(0).result()
                    waiting += [pool.submit(self._portion, start) for start in islice(starts, 1)]
                    yield done
            finally:
                for future in waiting:
                    future.cancel()

    def _portion(self, start: int) -> list[LintEntry]:
        return [self.entry(index) for index in range(start, min(start + PORTION, len(self)))]


@final
class GeneratedTriplets(TripletSource):
    """A dataset that is made on the fly, such as that of the synthetic world.

    Args:
        dataset: triplets with their rewards.
        check_images: whether to hash the images.
    """

    def __init__(self, dataset: RewardedTriplets, check_images: bool = True) -> None:
        self.dataset = dataset
        self.check_images = check_images

    def __len__(self) -> int:
        return len(self.dataset)

    def id_of(self, index: int) -> str:
        return self.dataset[index][0].case.id

    def entry(self, index: int) -> LintEntry:
        triplet, reward = self.dataset[index]
        return entry_of(index, triplet, reward, self.check_images)

    def images(self, index: int) -> tuple[Image, Image]:
        triplet, _ = self.dataset[index]
        return triplet.case.original, triplet.edited


@final
class RewardsOnly(TripletSource):
    """Rewards without their triplets: no images, no instructions."""

    def __init__(self, rewards: Mapping[str, Reward]) -> None:
        self.rewards = list(rewards.values())

    def __len__(self) -> int:
        return len(self.rewards)

    def id_of(self, index: int) -> str:
        return self.rewards[index].id

    def entry(self, index: int) -> LintEntry:
        return LintEntry(index, self.rewards[index].id, reward=self.rewards[index])

    def images(self, index: int) -> None:
        return None


@final
class FirstTriplets(TripletSource):
    """The first triplets of another source."""

    def __init__(self, source: TripletSource, count: int) -> None:
        self.source = source
        self.count = min(count, len(source))

    def __len__(self) -> int:
        return self.count

    def id_of(self, index: int) -> str:
        return self.source.id_of(index)

    def entry(self, index: int) -> LintEntry:
        return self.source.entry(index)

    def images(self, index: int) -> tuple[Image, Image] | None:
        return self.source.images(index)

    def entries(self) -> Iterator[Sequence[LintEntry]]:
        left = self.count
        for portion in self.source.entries():
            yield portion[:left]
            left -= len(portion)
            if left <= 0:
                return


def entry_of(index: int, triplet: Triplet, reward: Reward | None, check_images: bool = True) -> LintEntry:
    """Build an entry from a triplet in memory."""
    hashes = hash_pair(triplet.case.original, triplet.edited) if check_images else None
    return LintEntry(
        index,
        triplet.case.id,
        triplet.case.instruction,
        reward,
        hashes=hashes,
        edit_type=triplet.case.edit_type,
    )


def check_ids(source: TripletSource, rewards: RewardFile) -> None:
    """Raise ValueError, with ids of both, if a file has no reward for any of the triplets; reads no image."""
    if (
        not len(source)
        or not rewards.chosen
        or any(source.id_of(index) in rewards.chosen for index in range(len(source)))
    ):
        return
    theirs, ours = (
        ", ".join(map(repr, islice(ids, 3)))
        for ids in (rewards.chosen, map(source.id_of, range(len(source))))
    )
    raise ValueError(
        f"none of the {len(rewards.chosen)} rewards in {rewards.path} is for one of the {len(source)} "
        "triplets: "
        f"the file rewards {theirs}, the triplets are {ours}; give the dataset that was judged, "
        "or leave data= "
        "out for a page without images"
    )


def with_file_rewards(entries: Iterable[LintEntry], rewards: RewardFile) -> list[LintEntry]:
    """Replace the rewards of triplets by those of a file, joined by id."""
    return [
        replace(entry, reward=rewards.chosen.get(entry.id), others=rewards.others.get(entry.id, ()))
        for entry in entries
    ]
