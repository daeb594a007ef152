"""Contests of the synthetic world: several corrupted edits of one case, rated by a noisy annotator.

An edit's rating in each perspective is the oracle's score with an error of its own, rounded to whole points;
its errors are functions of (label seed, edit). Who scores higher is better, equal scores are a tie.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Literal, final

import numpy as np
from jaxtyping import Float

from src.data.contests import ContestSource, RatingScale, check_aspects
from src.data.kept_edits import EditSet, MeasuredEdits, edit_ids, kept_edits
from src.data.problems import Problem
from src.data.votes import ranking_of_ratings
from src.records import PERSPECTIVES, Candidate, Contest, Ranking
from src.seeds import fold_seed
from src.synthetic.annotation import noisy_score
from src.synthetic.world import World

POINTS = RatingScale(0.0, 5.0)


@final
class SyntheticContests(ContestSource):
    """Contests by index.

    Args:
        world: renders and measures them.
        length: number of contests.
        candidates: edits of each.
        split, seed: which cases of the world.
        deviation: of a score's error, in points, before rounding.
        label_seed: of the errors: another one is another annotator.
        aspects: what is compared, of records.ASPECTS: "overall" compares the sum of the three scores,
            "semantic" the lower of following and preserving.
        rated: whether the scores themselves are labels, too, of the perspectives among `aspects`.
        labels: "permuted" gives each contest the labels of another one: a control, from which nothing can be
            learnt.
        cache: a folder that keeps edits once they are rendered and measured; None for none.

    Raises:
        ValueError: no contest, fewer than two edits, a negative deviation, or an unknown aspect.
    """

    def __init__(
        self,
        world: World,
        length: int,
        candidates: int = 2,
        split: str = "train",
        seed: int = 0,
        deviation: float | int = 0.7,
        label_seed: int = 0,
        aspects: Sequence[str] = ("following", "preserving", "quality"),
        rated: bool = True,
        labels: Literal["own", "permuted"] = "own",
        cache: str | Path | None = None,
    ) -> None:
        if length < 1 or candidates < 2 or not deviation >= 0:
            raise ValueError(
                f"contests.source: length={length} candidates={candidates} deviation={deviation}: at least "
                "one contest of two edits and a deviation of 0 or more are needed"
            )
        check_aspects(aspects, "contests.source.aspects")
        self.edit_set = EditSet(world, split, seed, length, candidates)
        self.deviation, self.label_seed = float(deviation), label_seed
        self._aspects, self.rated, self.labels = tuple(aspects), rated, labels
        self.cache = None if cache is None else Path(cache)

    @property
    def name(self) -> str:
        return "synthetic"

    @property
    def aspects(self) -> Sequence[str]:
        return self._aspects

    @property
    def scales(self) -> Mapping[str, RatingScale]:
        perspectives = [each.value for each in PERSPECTIVES if each.value in self._aspects]
        return dict.fromkeys(perspectives, POINTS) if self.rated else {}

    @property
    def licence(self) -> str:
        return "Apache-2.0"

    @property
    def digest(self) -> str:
        said = (self.deviation, self.label_seed, *self._aspects, self.rated, self.labels)
        return hashlib.sha256(f"{self.edit_set.name} {len(self)} {said}".encode()).hexdigest()

    @property
    def problems(self) -> Sequence[Problem]:
        return ()

    def counts(self) -> Mapping[str, int]:
        return {}

    def __len__(self) -> int:
        return self.edit_set.length

    def __getitem__(self, index: int) -> Contest:
        case = self.measured.cases[index]
        scores = self.noisy_scores[self.labelled_as(index)]
        ids = list(edit_ids([case], len(scores)))
        edits = tuple(
            Candidate(id, picture, ratings=self._ratings(row))
            for id, picture, row in zip(ids, self.measured.edits[index], scores, strict=True)
        )
        rankings = tuple(
            Ranking(aspect, ranking_of_ratings(compared_by(aspect, scores).tolist()))
            for aspect in self._aspects
        )
        return Contest(case, edits, rankings, self.name)

    def original_of(self, index: int) -> str:
        return self.measured.cases[index].photograph

    def labelled_as(self, index: int) -> int:
        """The contest whose labels this one has; under permuted labels that of the next place in a shuffled
        ring, so never its own where there are two.
        """
        return index if self.labels == "own" else self._next[index]

    @cached_property
    def _next(self) -> dict[int, int]:
        rng = np.random.default_rng(fold_seed("permuted labels", self.label_seed))
        places = rng.permutation(len(self)).tolist()
        return dict(zip(places, [*places[1:], places[0]], strict=True))

    @cached_property
    def measured(self) -> MeasuredEdits:
        """All edits with their exact scores, rendered or read when first asked for."""
        return kept_edits(self.edit_set, self.cache)

    @cached_property
    def noisy_scores(self) -> Float[np.ndarray, "n k 3"]:
        """The annotator's scores."""
        exact, number = self.measured.scores, self.edit_set.number
        ids = list(edit_ids(self.measured.cases, number))
        rows = [
            [noisy_score(float(score), self.deviation, rng) for score in scores]
            for id, scores in zip(ids, exact.reshape(-1, 3), strict=True)
            for rng in [Random(fold_seed("contest scores", self.label_seed, id))]
        ]
        return np.array(rows).reshape(exact.shape)

    def _ratings(self, scores: Float[np.ndarray, "3"]) -> dict[str, float]:
        named = dict(zip((each.value for each in PERSPECTIVES), map(float, scores), strict=True))
        return {aspect: named[aspect] for aspect in self.scales}


def compared_by(aspect: str, scores: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, " k"]:
    """What edits are compared by in an aspect."""
    if aspect == "overall":
        return scores.sum(1)
    if aspect == "semantic":
        return scores[:, :2].min(1)
    return scores[:, [each.value for each in PERSPECTIVES].index(aspect)]
