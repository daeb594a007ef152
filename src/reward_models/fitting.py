"""Calibration fitted on held-out contests, with nothing random in it, and how well the model does on them."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from src.batch import ComparedEdits, RatedEdits
from src.data.contest_data import labels_of, triplets_of
from src.data.contests import ContestSource
from src.finite import NotFiniteError
from src.records import ASPECTS, MAX_SCORE, PERSPECTIVES, Contest, Scores
from src.reward_models.aspects import SHARPNESS, aspect_utilities
from src.reward_models.calibration import Calibration, ScoreMap
from src.reward_models.reward_model import Estimates, RewardModel

COVERED, NORMAL = 0.9, 1.645
"""The share that u +- 1.645 s should hold."""

BINS = 10
"""Of the expected calibration error, each with as many pairs."""

LEAST = 20
"""Labels that anything is fitted on; with fewer it stays as it is, and its n says so."""


@final
@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a model says of held-out edits in the five aspects, beside what people said.

    Attributes:
        utilities, deviations: of n edits; deviations are None for a network that says none.
        compared, rated: labels of the edits.
        originals: of each edit, by number: labels of one original are not independent.
        digest: of the ids of the contests.
    """

    utilities: Float[Tensor, "n 5"]
    deviations: Float[Tensor, "n 5"] | None
    compared: ComparedEdits
    rated: RatedEdits
    originals: Int[np.ndarray, " n"]
    digest: str

    def differences(self) -> Float[Tensor, " p"]:
        """Of the utilities of each pair, better minus worse."""
        said = self.compared
        return self.utilities[said.better, said.aspect] - self.utilities[said.worse, said.aspect]


def estimated(
    model: RewardModel,
    contests: Sequence[Contest],
    device: torch.device,
    batch_size: int | None = None,
) -> Estimates:
    """A model's estimates of all edits of contests, on the CPU.

    Args:
        model: in evaluation mode, on the device.
        contests: their edits are counted through.
        device: of the model.
        batch_size: edits at once; None for as many as the model says.

    Raises:
        NotFiniteError: utilities that are not finite.
    """
    found, batch_size = [], batch_size or model.at_once
    triplets = [triplet for contest in contests for triplet in triplets_of(contest)]
    with torch.inference_mode():
        for first in range(0, len(triplets), batch_size):
            found.append(model(model.prepare(triplets[first : first + batch_size]).to(device)))
    deviations = [each.log_deviation.cpu() for each in found if each.log_deviation is not None]
    means = torch.cat([each.mean.cpu() for each in found])
    if not bool(means.isfinite().all()):
        raise NotFiniteError(
            f"{int((~means.isfinite()).any(1).sum())} of {len(means)} held-out edits have utilities that are "
            "not finite: the training diverged; lower algorithm.optimizer.lr"
        )
    return Estimates(means, torch.cat(deviations) if deviations else None)


def held_out(
    estimates: Estimates,
    contests: Sequence[Contest],
    sources: Sequence[ContestSource],
    weights: Scores = (1 / 3, 1 / 3, 1 / 3),
    sharpness: float = SHARPNESS,
) -> HeldOut:
    """Estimates of contests' edits beside their labels.

    Args:
        estimates: of all edits.
        contests: in the same order.
        sources: who compared.
        weights, sharpness: see `aspect_utilities`.
    """
    said = aspect_utilities(estimates, torch.tensor(weights), sharpness)
    compared, rated = labels_of(contests, sources)
    names = [contest.case.photograph for contest in contests for _ in contest.candidates]
    ids = " ".join(edit.id for contest in contests for edit in contest.candidates)
    return HeldOut(
        said.mean,
        None if said.variance is None else said.variance.sqrt(),
        compared,
        rated,
        np.unique(np.array(names), return_inverse=True)[1].astype(int),
        hashlib.sha256(ids.encode()).hexdigest(),
    )


def fitted(
    seen: HeldOut,
    identified: Sequence[str],
    widths: Mapping[str, Mapping[str, float]],
    weights: Scores = (1 / 3, 1 / 3, 1 / 3),
    sharpness: float = SHARPNESS,
) -> Calibration:
    """The calibration of held-out estimates.

    Args:
        seen: the estimates and labels.
        identified: the aspects that are scored.
        widths: learnt tie widths by source and aspect.
        weights, sharpness: that the estimates were made with.
    """
    maps, factors, counts = {}, {}, {}
    for aspect in identified:
        utility, value, _ = ratings_of(seen, aspect)
        counts[f"scores {aspect}"] = len(value)
        targets = value + MAX_SCORE / 2.0  # a scale has five units
        maps[aspect] = score_map(utility, targets, seen.utilities[:, ASPECTS.index(aspect)])
    for perspective in (each.value for each in PERSPECTIVES if each.value in identified):
        utility, value, deviation = ratings_of(seen, perspective)
        if deviation is not None and len(value) >= LEAST:
            factors[perspective] = deviation_factor(utility, value, deviation)
    decided = ~seen.compared.tie
    differences = seen.differences()[decided]
    counts["pairs"] = int(decided.sum())
    temperature = temperature_of(differences)
    return Calibration(maps, temperature, factors, widths, weights, sharpness, counts, seen.digest)


def ratings_of(seen: HeldOut, aspect: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Utility, rating and deviation of each edit that was rated in an aspect."""
    number = ASPECTS.index(aspect)
    rows = seen.rated.aspect == number
    edits = seen.rated.edit[rows]
    deviation = None if seen.deviations is None else seen.deviations[edits, number]
    return seen.utilities[edits, number], seen.rated.value[rows], deviation


def score_map(utility: Tensor, scores: Tensor, everything: Tensor) -> ScoreMap:
    """The map to scores of least squared error; with too few scores, the one that spreads all utilities over
    the scale. Both within the bounds of `ScoreMap.bounded`.

    Args:
        utility, scores: of the rated edits; scores in [0, 5].
        everything: utilities of all held-out edits.
    """
    centre, spread = float(everything.mean()), max(float(everything.std()), 1e-3)
    start = torch.tensor([-np.log(spread), -centre / spread], dtype=torch.float64)
    if len(scores) < LEAST or float(utility.std()) < 1e-6:
        return ScoreMap(float(start[0].exp()), float(start[1])).bounded(centre)
    free, said, wanted = start.clone().requires_grad_(), utility.double(), scores.double() / MAX_SCORE
    found = _minimised(free, lambda at: ((at[0].exp() * said + at[1]).sigmoid() - wanted).square().mean())
    slope = float(found[0].clamp(-20.0, 20.0).exp())  # neither 0 nor infinity
    return ScoreMap(slope, float(found[1])).bounded(centre)


def temperature_of(differences: Float[Tensor, " p"]) -> float:
    """The temperature of least mean -log sig(d / T) over decided pairs; 1 with too few, and at most e^3."""
    if len(differences) < LEAST:
        return 1.0
    said = differences.double()
    free = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    found = _minimised(
        free, lambda at: torch.nn.functional.softplus(-said * (-at[0].clamp(-3.0, 3.0)).exp()).mean()
    )
    return float(found[0].clamp(-3.0, 3.0).exp())


def _minimised(free: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    optimizer = torch.optim.LBFGS([free], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(free)
        value.backward()
        return value

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    return free.detach()


def deviation_factor(utility: Tensor, value: Tensor, deviation: Tensor) -> float:
    """What to multiply deviations by, so that u +- 1.645 s holds COVERED of the ratings."""
    ratio = ((value - utility).abs() / deviation).double()
    return max(1e-3, float(torch.quantile(ratio, COVERED)) / NORMAL)


def coverage(utility: Tensor, value: Tensor, deviation: Tensor, factor: float = 1.0) -> float:
    """The share of ratings within u +- 1.645 factor s."""
    return float(((value - utility).abs() <= NORMAL * factor * deviation).double().mean())


@final
@dataclass(frozen=True)
class Probabilities:
    """How true P(better wins) is on decided pairs: mean -log P, mean squared error, and the mean distance of
    shares from probabilities over bins.
    """

    log_loss: float
    brier: float
    calibration_error: float


def probabilities(differences: Float[Tensor, " p"], temperature: float) -> Probabilities:
    """Of pairs whose better edit is known; each counts in both directions, as their order says nothing."""
    said = (differences.double() / temperature).sigmoid()
    both = torch.cat((said, 1.0 - said))
    won = torch.cat((torch.ones_like(said), torch.zeros_like(said)))
    order = both.argsort()
    errors = [
        abs(float(both[part].mean() - won[part].mean())) * len(part) / len(both)
        for part in order.tensor_split(BINS)
        if len(part)
    ]
    return Probabilities(float(-said.log().mean()), float((both - won).square().mean()), sum(errors))


def accuracies(seen: HeldOut) -> Iterator[tuple[str, Bool[np.ndarray, " p"], Int[np.ndarray, " p"]]]:
    """By aspect, whether each decided pair is ordered right, with its original."""
    differences = seen.differences()
    for number, aspect in enumerate(ASPECTS):
        rows = (seen.compared.aspect == number) & ~seen.compared.tie
        if bool(rows.any()):
            clusters = seen.originals[seen.compared.better[rows].numpy()]
            yield aspect, (differences[rows] > 0).numpy(), clusters
