"""From utilities to scores of 0 to 5, probabilities and honest deviations; fitted on held-out contests, after
the training.

Scores are 5 sigmoid(slope utility + offset) with a slope above 0, so that they order edits as the utilities
do and nothing is clipped: edits that all look perfect still differ, which best-of-N and online learning need.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from jaxtyping import Float
from torch import Tensor

from src.records import ASPECTS, MAX_SCORE, Scores, three

LEAST_SLOPE, MOST_SLOPE = 0.01, 10.0
"""Bounds of a fitted slope. Utilities are trained in units of about a point: a training of a few steps hardly
tells edits apart, and the slope that spreads its utilities over the whole scale (476 was seen) makes scores
of noise; one of almost 0, which ratings against all utilities would get, makes ties of them.
"""

MOST_LOGIT = 7.0
"""Of the middle utility's score: .005 or 4.995 points. Ratings that are all 5 would take it to infinity,
where all scores are equal.
"""


@final
@dataclass(frozen=True)
class ScoreMap:
    """score = 5 sigmoid(slope utility + offset).

    Raises:
        ValueError: a slope that isn't above 0, or a number that isn't finite.
    """

    slope: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and math.isfinite(self.offset) and self.slope > 0.0):
            raise ValueError(
                f"a calibration of slope {self.slope} and offset {self.offset}: finite numbers and a slope "
                "above 0 are needed, so that better edits get higher scores"
            )

    @property
    def at_bound(self) -> str | None:
        """Why its scores say little, in words; None for a slope within the bounds."""
        if self.slope >= MOST_SLOPE:
            return f"its slope is at the bound of {MOST_SLOPE:g}: utilities hardly differ, train longer"
        if self.slope <= LEAST_SLOPE:
            return f"its slope is at the bound of {LEAST_SLOPE:g}: ratings don't follow the utilities"
        return None

    def bounded(self, centre: float) -> "ScoreMap":
        """The nearest map within the bounds of a slope, and of the score of a utility in the middle.

        Args:
            centre: that utility.
        """
        slope = min(max(self.slope, LEAST_SLOPE), MOST_SLOPE)
        said = self.slope * centre + self.offset
        logit = min(max(said, -MOST_LOGIT), MOST_LOGIT)
        if (slope, logit) == (self.slope, said):
            return self
        return ScoreMap(slope, logit - slope * centre)

    def scores(self, utilities: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """In (0, 5), in double precision, in which no two ordinary utilities become equal."""
        return MAX_SCORE * (self.slope * utilities.double() + self.offset).sigmoid()

    def deviations(
        self, utilities: Float[Tensor, "*n"], deviations: Float[Tensor, "*n"]
    ) -> Float[Tensor, "*n"]:
        """Deviations in points, of utilities' deviations (first order)."""
        share = self.scores(utilities) / MAX_SCORE
        return MAX_SCORE * self.slope * share * (1.0 - share) * deviations.double()


@final
@dataclass(frozen=True)
class Calibration:
    """What was fitted, and on how much.

    Attributes:
        scores: by aspect; an aspect that isn't there has no scores.
        temperature: P(A better than B) = sigmoid(difference of utilities / temperature).
        factors: by perspective, what a deviation is multiplied by so that it covers what it should.
        tie_widths: by source and aspect, the difference of utilities up to which people called edits equal.
        weights: of the perspectives in "overall".
        sharpness: of the minimum in "semantic".
        n: by what was fitted ("scores following", "pairs", ...), the number of labels; none: not fitted.
        digest: of the ids of the contests that it was fitted on.
    """

    scores: Mapping[str, ScoreMap]
    temperature: float = 1.0
    factors: Mapping[str, float] = field(default_factory=dict)
    tie_widths: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    weights: Scores = (1 / 3, 1 / 3, 1 / 3)
    sharpness: float = 0.5
    n: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""

    def __post_init__(self) -> None:
        unknown = [aspect for aspect in self.scores if aspect not in ASPECTS]
        numbers = [self.temperature, self.sharpness, *self.factors.values()]
        if unknown or not all(math.isfinite(number) and number > 0.0 for number in numbers):
            raise ValueError(
                f"a calibration of {unknown or 'these aspects'} with temperature {self.temperature} and "
                f"factors {dict(self.factors)}: aspects are {', '.join(ASPECTS)}, numbers above 0"
            )

    def as_json(self) -> dict[str, Any]:
        """Plain values, which `calibration_of` reads."""
        return {
            "scores": {
                name: {"slope": each.slope, "offset": each.offset} for name, each in self.scores.items()
            },
            "temperature": self.temperature,
            "factors": dict(self.factors),
            "tie_widths": {name: dict(widths) for name, widths in self.tie_widths.items()},
            "weights": list(self.weights),
            "sharpness": self.sharpness,
            "n": dict(self.n),
            "digest": self.digest,
        }


def calibration_of(values: Mapping[str, Any], source: str) -> Calibration:
    """The calibration in the values of a file.

    Args:
        values: as `Calibration.as_json`.
        source: the file, for messages.

    Raises:
        ValueError: values that are none.
    """
    try:
        scores = {
            str(name): ScoreMap(float(each["slope"]), float(each["offset"]))
            for name, each in values["scores"].items()
        }
        factors = {str(name): float(value) for name, value in values["factors"].items()}
        widths = {
            str(name): {str(aspect): float(width) for aspect, width in each.items()}
            for name, each in values["tie_widths"].items()
        }
        counts = {str(name): int(count) for name, count in values["n"].items()}
        weights = three([float(weight) for weight in values["weights"]], "weights")
        return Calibration(
            scores,
            float(values["temperature"]),
            factors,
            widths,
            weights,
            float(values["sharpness"]),
            counts,
            str(values["digest"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{source} holds no calibration of a reward model ({type(error).__name__}: {error}): copy it "
            "again, or train again"
        ) from error
