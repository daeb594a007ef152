"""The share of bad triplets as a knob: some triplets of the synthetic world with the exact edit in place of
the corrupted one.

The fewer bad triplets there are, the less a reward has to tell; where does it stop paying?
(conf/sweep/bad_triplets.yaml)
"""

from typing import final

import numpy as np

from src.data.synthetic import SyntheticTriplets
from src.records import Reward, Triplet
from src.seeds import fold_seed
from src.synthetic.annotation import Unrated, Work
from src.synthetic.corruptions import Corruption


@final
class MendedTriplets:
    """A synthetic dataset of which a share is as good as can be. The annotator is asked about what is served,
    with the errors it always makes.

    Args:
        dataset: rated or not. Of each hundred of its triplets 91 or 92 are spoiled in some perspective, all
            of them with `never_all_good`.
        share: of the triplets, drawn at random, that get the exact edit; a larger share mends those of a
            smaller one, and more.

    Raises:
        ValueError: a share outside [0, 1].
    """

    def __init__(self, dataset: SyntheticTriplets, share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share={share} of the triplets can't be mended: it is 0 to 1")
        self.dataset = dataset
        order = np.random.default_rng(fold_seed("mended triplets", dataset.seed)).permutation(len(dataset))
        self.mended = frozenset(order[: round(share * len(dataset))].tolist())

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Triplet, Reward | None]:
        triplet, reward = self.dataset[index]
        if index not in self.mended:
            return triplet, reward
        world, annotator = self.dataset.world, self.dataset.annotator
        exact = Triplet(triplet.case, world.exact(triplet.case.id))
        if isinstance(annotator, Unrated):
            return exact, None
        situation = world.situation(triplet.case.id)
        work = Work(
            triplet.case.id,
            world.stage,
            situation.scene,
            situation.edit,
            situation.free,
            Corruption(),
            exact.edited,
        )
        return exact, annotator.annotate(work)
