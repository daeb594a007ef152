"""The share of bad triplets as a knob: some triplets of the synthetic world show the exact edit in place of
the corrupted one.

The fewer bad triplets there are, the less a reward has to tell; where does it stop paying?
(conf/sweep/bad_triplets.yaml)
"""

from typing import final

import numpy as np

from src.data.synthetic import SyntheticTriplets
from src.records import Reward, Triplet
from src.seeds import fold_seed
from src.synthetic.annotation import AnnotationTask, Unrated
from src.synthetic.corruptions import Corruption


@final
class PartlyClean:
    """A synthetic dataset in which a share of the triplets shows the exact edit. The annotator rates what is
    shown, with its usual errors.

    Args:
        dataset: rated or not. 91 or 92 % of its triplets are corrupted in some perspective; all of them with
            `never_all_good`.
        clean_share: share of the triplets, drawn at random, that show the exact edit. A larger share
            contains the triplets of a smaller one.

    Attributes:
        clean: indices of the triplets that show the exact edit.

    Raises:
        ValueError: a share outside [0, 1].
    """

    def __init__(self, dataset: SyntheticTriplets, clean_share: float) -> None:
        if not 0 <= clean_share <= 1:
            raise ValueError(f"clean_share={clean_share} is not possible: give a share from 0 to 1")
        self.dataset = dataset
        order = np.random.default_rng(fold_seed("mended triplets", dataset.seed)).permutation(len(dataset))
        self.clean = frozenset(order[: round(clean_share * len(dataset))].tolist())

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Triplet, Reward | None]:
        triplet, reward = self.dataset[index]
        if index not in self.clean:
            return triplet, reward
        world, annotator = self.dataset.world, self.dataset.annotator
        exact = Triplet(triplet.case, world.exact_edit(triplet.case.id))
        if isinstance(annotator, Unrated):
            return exact, None
        spec = world.case_spec(triplet.case.id)
        task = AnnotationTask(
            triplet.case.id,
            world.renderer,
            spec.scene,
            spec.edit,
            spec.free_place,
            Corruption(),
            exact.edited,
        )
        return exact, annotator.annotate(task)
