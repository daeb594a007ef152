"""Training triplets of the synthetic world, rendered on the fly."""

from src.data.dataset import Example
from src.records import Reward, Triplet
from src.synthetic.annotation import Annotator, Unrated
from src.synthetic.world import World


class SyntheticTriplets:
    """`length` triplets of a world, rewarded or not.

    Args:
        world: renders them.
        annotator: rewards them; with Unrated nobody does, which is several times faster.
        length: how many different triplets there are (20,000 in the paper's RewardEdit-20K).
        split: "train" or "validation".
        seed: which triplets.
    """

    def __init__(self, world: World, annotator: Annotator | Unrated, length: int, split: str = "train", seed: int = 0) -> None:
        if length < 1:
            raise ValueError(f"a dataset needs at least one triplet, got length {length}")
        self.world = world
        self.annotator = annotator
        self.length = length
        self.split = split
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Triplet, Reward | None]:
        if isinstance(self.annotator, Unrated):
            return self.world.triplet(self.split, self.seed, index), None
        return self.world.rewarded_triplet(self.split, self.seed, index, self.annotator)


def examples(world: World, count: int = 7) -> list[Example]:
    """Cases of the validation split for previews, one of each edit type for every seven."""
    cases = [world.case("validation", 0, index) for index in range(count)]
    return [Example(case, world.exact(case.id)) for case in cases]
