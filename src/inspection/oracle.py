"""The true scores of synthetic triplets, measured as they are read."""

from collections.abc import Sequence
from typing import final

from src.data.lint import LintEntry
from src.data.synthetic import SyntheticTriplets
from src.inspection.label_precision import precision_rows
from src.records import Reward, Scores, Triplet
from src.synthetic.measure import measure


@final
class OracleScored:
    """Triplets of the synthetic world; the oracle measures each when it is first read.

    Args:
        triplets: with the annotator's rewards.

    Attributes:
        truth: scores by index.
    """

    def __init__(self, triplets: SyntheticTriplets) -> None:
        self.triplets = triplets
        self.truth: dict[int, Scores] = {}

    def __len__(self) -> int:
        return len(self.triplets)

    def __getitem__(self, index: int) -> tuple[Triplet, Reward | None]:
        triplet, reward = self.triplets[index]
        if index not in self.truth:
            self.truth[index] = measure(
                self.triplets.world.ground_truth(triplet.case.id), triplet.edited
            ).scores
        return triplet, reward

    def precision_of(self, entries: Sequence[LintEntry], least: float) -> list[tuple[str, list[str]]]:
        """Tabulate how precise the annotator's labels are, see label_precision.py; [] where nothing is rated.

        Args:
            entries: of these triplets.
            least: points, in each perspective, of a clean triplet.
        """
        rated = [
            (entry.reward, self.truth[entry.row])
            for entry in entries
            if entry.reward is not None and not entry.reward.failed
        ]
        if not rated:
            return []
        return precision_rows([reward for reward, _ in rated], [truth for _, truth in rated], least)
