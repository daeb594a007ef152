"""How far a good word can be believed, where the truth is known: what decides in which order Table 4 of the
paper should come out.

A triplet is clean if the oracle gives it enough points in each perspective. An editor asked for 5/5/5, or for
"None" three times, learns from the triplets annotated so; the share of clean ones among them says what each
signal can teach.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from src.records import MAX_SCORE, NO_FAILURE, PERSPECTIVES, Reward, Scores

TITLES = ("clean at all", "P(clean | score 5)", 'P(clean | text "None")', "P(clean | both)")


@dataclass(frozen=True)
class LabelPrecision:
    """How many triplets are said to be good, and how many of them are.

    Attributes:
        said: number of triplets of which it is said.
        clean: how many of them are clean.
    """

    said: int
    clean: int

    def __str__(self) -> str:
        """As in "0.85 (61 of 72)"."""
        return f"{self.clean / self.said:.2f} ({self.clean} of {self.said})" if self.said else "- (0 of 0)"


def label_precisions(
    best: Bool[np.ndarray, "n 3"], nothing: Bool[np.ndarray, "n 3"], clean: Bool[np.ndarray, "n 3"]
) -> dict[str, tuple[LabelPrecision, LabelPrecision, LabelPrecision]]:
    """P(clean | score 5), P(clean | text "None"), P(clean | both), for each perspective alone and for all
    three at once.

    Args:
        best: where the score is 5.
        nothing: where the text is "None".
        clean: where the oracle's score is high enough.
    """

    def three_of(
        score: Bool[np.ndarray, " n"], text: Bool[np.ndarray, " n"], true: Bool[np.ndarray, " n"]
    ) -> tuple[LabelPrecision, LabelPrecision, LabelPrecision]:
        first, second, third = (
            LabelPrecision(int(said.sum()), int((said & true).sum())) for said in (score, text, score & text)
        )
        return first, second, third

    found = {
        perspective.value: three_of(best[:, index], nothing[:, index], clean[:, index])
        for index, perspective in enumerate(PERSPECTIVES)
    }
    return {**found, "all three": three_of(*(np.asarray(each.all(1)) for each in (best, nothing, clean)))}


def precision_rows(
    rewards: Sequence[Reward], truth: Sequence[Scores], least: float
) -> list[tuple[str, list[str]]]:
    """A row per perspective, and one for all three: how many are clean at all, and the beliefs.

    Args:
        rewards: what is said.
        truth: the oracle's scores of the same triplets.
        least: points, in each perspective, of a clean triplet.
    """
    best = np.array([[verdict.score == MAX_SCORE for verdict in reward.verdicts] for reward in rewards])
    nothing = np.array(
        [[verdict.feedback == NO_FAILURE for verdict in reward.verdicts] for reward in rewards]
    )
    clean = np.array(truth) >= least
    rows = []
    for name, believed in label_precisions(best, nothing, clean).items():
        true = (
            clean.all(1)
            if name == "all three"
            else clean[:, [perspective.value for perspective in PERSPECTIVES].index(name)]
        )
        rows.append((name, [f"{true.mean():.3f}", *map(str, believed)]))
    return rows
