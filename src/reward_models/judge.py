"""A learnt reward model as a Judge: for annotation, best-of-N, curation, evaluation and online learning.

    python -m src.annotate data=... judge=reward_model judge.model.path=runs/.../reward_model

It scores and says how sure it is; it has no words, so its feedback is "None" whatever the score: train
editors on its scores alone (model/reward_encoder=score).
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, final

import torch

from src.judges.judge import reward_key
from src.ranks import device_of
from src.records import ASPECTS, PERSPECTIVES, Reward, Triplet, Verdict
from src.reward_models.aspects import aspect_utilities, nearest_aspects
from src.reward_models.calibration import Calibration
from src.reward_models.reward_model import Estimates, TrainedRewardModel


@final
class RewardModelJudge:
    """Calibrated scores of a reward model. Implements `Judge`.

    Scores order edits exactly as the model's utilities do and are never clipped. What it says of an edit
    doesn't depend on what else is judged.

    Args:
        model: the network and its calibration.
        perspectives: "own" refuses a model whose labels don't tell all three perspectives apart; "shared"
            lets the nearest aspect that they do tell stand for each: "semantic" for following and preserving,
            "overall" for any.
        batch_size: edits at once; None for as many as the network says.
        device: "auto" (the GPU if there is one), "cpu", "cuda" or "cuda:1".
        name: see Judge.

    Raises:
        ValueError: a batch of none, or perspectives that the model doesn't tell apart.
    """

    def __init__(
        self,
        model: TrainedRewardModel,
        perspectives: Literal["own", "shared"] = "own",
        batch_size: int | None = None,
        device: str = "auto",
        name: str = "reward_model",
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"judge.batch_size={batch_size}: at least 1")
        self.aspects = nearest_aspects(model.identified, perspectives == "shared")
        uncalibrated = [aspect for aspect in self.aspects if aspect not in model.calibration.scores]
        if uncalibrated:
            raise ValueError(
                f"this reward model isn't calibrated for {', '.join(uncalibrated)}: train it again"
            )
        self.device = device_of(device)
        self.network = model.network.to(self.device).eval()
        self.calibration: Calibration = model.calibration
        self.batch_size, self.name = batch_size or self.network.at_once, name
        self.fingerprint = f"reward_model {model.digest} perspectives={','.join(self.aspects)}"

    def judge(self, triplets: Sequence[Triplet]) -> list[Reward]:
        """One Reward per triplet, in order; one that the network can't read gets failed verdicts."""
        rewards: list[Reward] = []
        for first in range(0, len(triplets), self.batch_size):
            rewards += self._judged(triplets[first : first + self.batch_size])
        return rewards

    @torch.inference_mode()
    def utilities(self, triplets: Sequence[Triplet]) -> Estimates:
        """The network's own estimates, without calibration, on the CPU. Raises ValueError as
        `RewardModel.prepare`.
        """
        found = self.network(self.network.prepare(triplets).to(self.device))
        log_deviation = found.log_deviation
        return Estimates(found.mean.cpu(), None if log_deviation is None else log_deviation.cpu())

    def _judged(self, triplets: Sequence[Triplet]) -> Iterator[Reward]:
        try:
            estimates = self.utilities(triplets)
        except ValueError as error:
            if len(triplets) == 1:
                yield self._reward(triplets[0], [Verdict(None, None, str(error), "failed")] * 3)
                return
            for triplet in triplets:
                yield from self._judged([triplet])
            return
        for triplet, verdicts in zip(triplets, self._verdicts(estimates), strict=True):
            yield self._reward(triplet, verdicts)

    def _verdicts(self, estimates: Estimates) -> list[list[Verdict]]:
        weights = torch.tensor(self.calibration.weights)
        said = aspect_utilities(estimates, weights, self.calibration.sharpness)
        columns = []
        for perspective, aspect in zip(PERSPECTIVES, self.aspects, strict=True):
            number, scores = ASPECTS.index(aspect), self.calibration.scores[aspect]
            utilities = said.mean[:, number]
            points = scores.scores(utilities).tolist()
            deviations: list[float | None] = [None] * len(points)
            if said.variance is not None:
                factor = self.calibration.factors.get(perspective.value, 1.0)
                spread = factor * said.variance[:, number].sqrt()
                deviations = list(scores.deviations(utilities, spread).tolist())
            columns.append([_verdict(*pair) for pair in zip(points, deviations, strict=True)])
        return [list(row) for row in zip(*columns, strict=True)]

    def _reward(self, triplet: Triplet, verdicts: Sequence[Verdict]) -> Reward:
        following, preserving, quality = verdicts
        key = reward_key(triplet, self.fingerprint)
        return Reward(triplet.case.id, self.name, key, following, preserving, quality)


def _verdict(score: float, deviation: float | None) -> Verdict:
    if not math.isfinite(score):
        return Verdict(None, None, f"the reward model says {score}", "failed")
    return Verdict(score, None, deviation=deviation)
