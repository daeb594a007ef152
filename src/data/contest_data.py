"""Batches of contests for Lightning, any source, any number of ranks and workers: functions of (seed, step,
rank), so that training resumes anywhere.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from itertools import islice
from typing import Any, final

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from src.batch import ComparedEdits, ContestBatch, ModelInputs, RatedEdits
from src.data.contests import ContestSource, RatingScale, is_held_out, members_of
from src.data.training_loader import order_from_here, training_loader
from src.records import ASPECTS, Candidate, Case, Contest, Image, Triplet

Prepare = Callable[[Sequence[Triplet]], ModelInputs]
"""A reward model's way to read triplets."""


@final
class ContestData(LightningDataModule):
    """Serves the contests of a source, but those held out.

    Args:
        source: of all contests, or of those for training where `held_out` is given.
        batch_size: contests per rank.
        num_workers: processes that prepare batches; 0 prepares them in the training process.
        seed: of the order.
        held_out: contests that calibrate the model and measure it; None: a share of the source's own.
        held_out_share: of the originals of the source, if there is no `held_out`; the same in every training.
        words: all that its texts are made of, where their language is closed; small networks are handed them,
            nothing else depends on them.

    Raises:
        ValueError: no share, or nothing left on one side of it.
    """

    def __init__(
        self,
        source: ContestSource,
        batch_size: int,
        num_workers: int,
        seed: int,
        held_out: ContestSource | None = None,
        held_out_share: float = 0.1,
        words: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if not 0.0 < held_out_share < 1.0:
            raise ValueError(f"contests.held_out_share={held_out_share}: a share in (0, 1) is needed")
        self.source, self.batch_size, self.num_workers, self.seed = source, batch_size, num_workers, seed
        self.held_out, self.held_out_share = held_out, held_out_share
        self.sources = members_of(source)

    @cached_property
    def split(self) -> tuple[list[int], list[int]]:
        """Indices for training and those held out, of the source. Raises ValueError where one is empty."""
        everything = range(len(self.source))
        if self.held_out is not None:
            return list(everything), []
        out = [is_held_out(self.source.original_of(index), self.held_out_share) for index in everything]
        split = [i for i in everything if not out[i]], [i for i in everything if out[i]]
        if not all(split):
            raise ValueError(
                f"contests.held_out_share={self.held_out_share} of {len(everything)} contests leaves "
                f"{len(split[0])} to learn from and {len(split[1])} held out, by whole originals: give "
                "another share, or held-out contests of their own (contests.held_out)"
            )
        return split

    @property
    def dataset(self) -> Sequence[int]:
        """The contests to learn from."""
        return self.split[0]

    def held_out_contests(self, most: int | None = None) -> Iterator[Contest]:
        """The held-out contests, in a fixed order.

        Args:
            most: contests; None for all.
        """
        own = self.held_out is None
        found = (self.source[i] for i in self.split[1]) if own else map(self._held_out, self._others)
        return islice(found, most)

    @property
    def held_out_sources(self) -> list[ContestSource]:
        """Who compared the held-out contests."""
        return self.sources if self.held_out is None else members_of(self.held_out)

    @property
    def _others(self) -> range:
        assert self.held_out is not None
        return range(len(self.held_out))

    def _held_out(self, index: int) -> Contest:
        assert self.held_out is not None
        return self.held_out[index]

    def sample_texts(self, count: int) -> list[str]:
        """At most `count` instructions, spread evenly over the contests to learn from."""
        chosen = np.unique(np.linspace(0, len(self.dataset) - 1, count).astype(int))
        return [self.source[self.dataset[int(place)]].case.instruction for place in chosen]

    def train_dataloader(self) -> DataLoader[ContestBatch]:
        """Endless batches from the step that training has reached."""
        assert self.trainer is not None
        module: Any = self.trainer.lightning_module
        return training_loader(
            ServedContests(self.source, self.dataset),
            order_from_here(self.trainer, len(self.dataset), self.batch_size, self.seed),
            partial(collate_contests, prepare=module.model.prepare, sources=self.sources),
            self.num_workers,
        )


@final
class ServedContests:
    """Some contests of a source, by their place in a list.

    Args:
        source: of all.
        indices: of those served.
    """

    def __init__(self, source: ContestSource, indices: Sequence[int]) -> None:
        self.source, self.indices = source, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Contest:
        return self.source[self.indices[place]]


def triplets_of(contest: Contest) -> list[Triplet]:
    """A contest's edits as triplets; each has the id of its edit."""
    case = contest.case
    return [triplet_of(case, edit) for edit in contest.candidates]


def triplet_of(case: Case, edit: Candidate) -> Triplet:
    """An edit of a case as a triplet with the edit's id; stored pictures are decoded."""
    decoded: Image = edit.picture if isinstance(edit.picture, np.ndarray) else edit.picture.decode()
    named = Case(edit.id, case.original, case.instruction, case.edit_type, case.photograph)
    return Triplet(named, decoded)


def collate_contests(
    contests: Sequence[Contest], prepare: Prepare, sources: Sequence[ContestSource]
) -> ContestBatch:
    """A batch of contests.

    Args:
        contests: each of one of the sources.
        prepare: reads their triplets.
        sources: who compared; a contest's is found by its name.

    Raises:
        ValueError: a contest of another source, with a rating that its scale doesn't have, or a triplet that
            the model can't read.
    """
    triplets = [triplet for contest in contests for triplet in triplets_of(contest)]
    return ContestBatch(
        [contest.case.id for contest in contests],
        [triplet.case.id for triplet in triplets],
        prepare(triplets),
        *labels_of(contests, sources),
    )


def labels_of(
    contests: Sequence[Contest], sources: Sequence[ContestSource]
) -> tuple[ComparedEdits, RatedEdits]:
    """What was said of the edits of contests, which are counted through. Raises as `collate_contests`."""
    numbers = {source.name: number for number, source in enumerate(sources)}
    pairs: list[tuple[int, int, bool, bool, int, int, float]] = []
    ratings: list[tuple[int, float, int, int, int]] = []
    first = 0
    for contest in contests:
        if contest.source not in numbers:
            raise ValueError(
                f"contest {contest.case.id!r} is of {contest.source!r}, and the sources are "
                f"{', '.join(numbers)}"
            )
        number = numbers[contest.source]
        pairs += [
            (first + a, first + b, tie, bad, aspect, number, weight)
            for a, b, tie, bad, aspect, weight in _pairs(contest)
        ]
        scales = sources[number].scales
        ratings += [
            (first + edit, value, level, aspect, number)
            for edit, value, level, aspect in _ratings(contest, scales)
        ]
        first += len(contest.candidates)
    return _compared(pairs), _rated(ratings)


def _pairs(contest: Contest) -> Iterator[tuple[int, int, bool, bool, int, float]]:
    for ranking in contest.rankings:
        found = list(contest.pairs(ranking.aspect))
        for pair in found:
            aspect = ASPECTS.index(ranking.aspect)
            yield pair.better, pair.worse, pair.tie, ranking.both_bad, aspect, 1.0 / len(found)


def _ratings(contest: Contest, scales: Any) -> Iterator[tuple[int, float, int, int]]:
    for number, edit in enumerate(contest.candidates):
        for aspect, rating in edit.ratings.items():
            if aspect in scales:
                value, level = on_scale(rating, scales[aspect], edit.id)
                yield number, value, level, ASPECTS.index(aspect)


def on_scale(rating: float, scale: RatingScale, edit: str) -> tuple[float, int]:
    """A rating in units of its scale, from its middle, and its level, -1 where a scale has none.

    Raises:
        ValueError: a rating that the scale doesn't have.
    """
    level = (rating - scale.lowest) / scale.step if scale.step else 0.0
    if not scale.lowest <= rating <= scale.highest or abs(level - round(level)) > 1e-6:
        raise ValueError(
            f"edit {edit!r} is rated {rating:g} on a scale from {scale.lowest:g} to {scale.highest:g} in "
            f"steps of {scale.step:g}: correct the rating or the scale"
        )
    return (rating - scale.middle) / scale.unit, round(level) if scale.step else -1


def _compared(pairs: Sequence[tuple[int, int, bool, bool, int, int, float]]) -> ComparedEdits:
    better, worse, tie, bad, aspect, source, weight = _columns(pairs, 7)
    return ComparedEdits(
        _int(better), _int(worse), _bool(tie), _bool(bad), _int(aspect), _int(source), _float(weight)
    )


def _rated(ratings: Sequence[tuple[int, float, int, int, int]]) -> RatedEdits:
    edit, value, level, aspect, source = _columns(ratings, 5)
    return RatedEdits(_int(edit), _float(value), _int(level), _int(aspect), _int(source))


def _columns(rows: Sequence[tuple[Any, ...]], number: int) -> list[list[Any]]:
    return [[row[column] for row in rows] for column in range(number)]


def _int(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def _bool(values: list[bool]) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


def _float(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)
