"""How precise labels are where the truth is known: this decides the order of the rows in Table 4 of the
paper.

A triplet is clean if the oracle gives it enough points in each perspective. An editor asked for 5/5/5, or for
"None" three times, learns from the triplets annotated so; the share of clean ones among them bounds what each
signal can teach.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool

from src.records import MAX_SCORE, NO_FAILURE, PERSPECTIVES, Reward, Scores

TITLES = ("clean at all", "P(clean | score 5)", 'P(clean | text "None")', "P(clean | both)")


@final
@dataclass(frozen=True)
class LabelPrecision:
    """Number of triplets that are labelled good, and how many of them are.

    Attributes:
        labelled: number of triplets labelled good.
        clean: number of clean ones among them.
    """

    labelled: int
    clean: int

    def __str__(self) -> str:
        """As in "0.85 (61 of 72)"."""
        if not self.labelled:
            return "- (0 of 0)"
        return f"{self.clean / self.labelled:.2f} ({self.clean} of {self.labelled})"


def label_precisions(
    best: Bool[np.ndarray, "n 3"], nothing: Bool[np.ndarray, "n 3"], clean: Bool[np.ndarray, "n 3"]
) -> dict[str, tuple[LabelPrecision, LabelPrecision, LabelPrecision]]:
    """Count P(clean | score 5), P(clean | text "None"), P(clean | both), for each perspective and for all
    three at once.

    Args:
        best: where the score is 5.
        nothing: where the text is "None".
        clean: where the oracle's score is high enough.
    """

    def three_precisions(
        score: Bool[np.ndarray, " n"], text: Bool[np.ndarray, " n"], true: Bool[np.ndarray, " n"]
    ) -> tuple[LabelPrecision, LabelPrecision, LabelPrecision]:
        by_score, by_text, by_both = (
            LabelPrecision(int(labelled.sum()), int((labelled & true).sum()))
            for labelled in (score, text, score & text)
        )
        return by_score, by_text, by_both

    found = {
        perspective.value: three_precisions(best[:, index], nothing[:, index], clean[:, index])
        for index, perspective in enumerate(PERSPECTIVES)
    }
    everywhere = (np.asarray(labels.all(1)) for labels in (best, nothing, clean))
    return {**found, "all three": three_precisions(*everywhere)}


def precision_rows(
    rewards: Sequence[Reward], truth: Sequence[Scores], least: float
) -> list[tuple[str, list[str]]]:
    """Tabulate, for each perspective and for all three, the share of clean triplets and the precision of
    labels.

    Args:
        rewards: the labels.
        truth: the oracle's scores of the same triplets.
        least: points, in each perspective, of a clean triplet.
    """
    best = np.array([[verdict.score == MAX_SCORE for verdict in reward.verdicts] for reward in rewards])
    nothing = np.array(
        [[verdict.feedback == NO_FAILURE for verdict in reward.verdicts] for reward in rewards]
    )
    clean = np.array(truth) >= least
    true: dict[str, np.ndarray] = {
        perspective.value: clean[:, index] for index, perspective in enumerate(PERSPECTIVES)
    }
    true["all three"] = np.all(clean, axis=1)
    return [
        (name, [f"{true[name].mean():.3f}", *map(str, precisions)])
        for name, precisions in label_precisions(best, nothing, clean).items()
    ]
