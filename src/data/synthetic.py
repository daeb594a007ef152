"""Training triplets of the synthetic world, rendered on the fly."""

import hashlib
import os
from pathlib import Path
from random import Random

from src.data.dataset import Example
from src.data.transforms import Transform
from src.progress import with_progress
from src.records import Reward, Triplet
from src.reward_file import append_rewards, read_rewards
from src.seeds import fold_seed
from src.synthetic.annotation import Annotator, Unrated
from src.synthetic.edits import OBJECT_TYPES
from src.synthetic.world import World, code_digest

CANDIDATES = 8
"""With as many, the wanted type of edit is missing in 1 % of the runs at most."""


class SyntheticTriplets:
    """`length` triplets of a world, rewarded or not.

    Args:
        world: renders them.
        annotator: rewards them; Unrated does not, which is several times faster.
        length: number of different triplets (20,000 in the paper's RewardEdit-20K).
        split: "train" or "validation".
        seed: which triplets.
        cache: a folder in which rewards are kept, so that they are measured once and not in every epoch of
            every training; None for none.
        object_share: share of triplets whose edit is one of a single object (local, remove, add, texture),
            the hardest to learn; None for that of the world, 4 of 7. Not with `cache`.

    Raises:
        ValueError: no triplet, or a share outside (0, 1) or beside a cache.
    """

    def __init__(
        self,
        world: World,
        annotator: Annotator | Unrated,
        length: int,
        split: str = "train",
        seed: int = 0,
        cache: str | Path | None = None,
        object_share: float | None = None,
    ) -> None:
        if object_share is not None and (not 0.0 < object_share < 1.0 or cache is not None):
            raise ValueError(
                f"object_share={object_share} with cache={cache}: a share in (0, 1), and without a cache"
            )
        if length < 1:
            raise ValueError(f"a dataset needs at least one triplet, got length {length}")
        self.world = world
        self.annotator = annotator
        self.length = length
        self.split = split
        self.seed = seed
        self.cache = None if cache is None else Path(cache)
        self.object_share = object_share
        self._rewards: list[Reward] | None = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Triplet, Reward | None]:
        if isinstance(self.annotator, Unrated):
            return self.world.triplet(self.split, self.seed, self._index(index)), None
        if self.cache is not None:
            # First asked for by the process that then starts the workers (EditData.image_size).
            if self._rewards is None:
                self._rewards = kept_rewards(
                    self.world, self.annotator, self.length, self.split, self.seed, self.cache
                )
            return self.world.triplet(self.split, self.seed, index), self._rewards[index]
        return self.world.rewarded_triplet(self.split, self.seed, self._index(index), self.annotator)

    def id_of(self, index: int) -> str:
        """The id alone, without rendering the triplet."""
        return self.world.case_id(self.split, self.seed, self._index(index))

    def examples(self, transform: Transform | None, count: int) -> list[Example]:
        """Validation cases, with their exact edits at the size of the world."""
        return validation_examples(self.world, count)

    def _index(self, index: int) -> int:
        """Which triplet of the world is number `index`: one in a run of CANDIDATES that has the wanted type,
        or the last of them.
        """
        if self.object_share is None:
            return index
        rng = Random(fold_seed("object share", self.split, self.seed, index))
        wanted = rng.random() < self.object_share
        candidates = range(index * CANDIDATES, (index + 1) * CANDIDATES)
        for candidate in candidates:
            edit = self.world.edit(self.world.case_id(self.split, self.seed, candidate))
            if (edit.type in OBJECT_TYPES) == wanted:
                return candidate
        return candidates[-1]


def kept_rewards(
    world: World, annotator: Annotator, length: int, split: str, seed: int, folder: Path
) -> list[Reward]:
    """The rewards of triplets 0 to length - 1 from a reward file in the folder. Missing ones are measured,
    and the whole file is replaced.

    The file's name depends on everything that decides a reward, including the code of the world. Several
    processes may do this at once, as all write the same.
    """
    name = " ".join(
        (world.version(split), str(world.size), split, str(seed), annotator.settings, code_digest())
    )
    path = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.jsonl"
    known = {reward.id: reward for reward in read_rewards(path)}
    ids = [world.case_id(split, seed, index) for index in range(length)]
    lacking = [index for index in range(length) if ids[index] not in known]
    if lacking:
        each = ([index] for index in lacking)
        for (index,) in with_progress(each, len(lacking), f"rewards, kept in {path}:", "triplets"):
            known[ids[index]] = world.rewarded_triplet(split, seed, index, annotator)[1]
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        append_rewards(partial, list(known.values()))
        partial.replace(path)
    return [known[id] for id in ids]


def validation_examples(world: World, count: int = 7) -> list[Example]:
    """Validation cases for previews; each seven have one of each edit type."""
    cases = [world.case("validation", 0, index) for index in range(count)]
    return [Example(case, world.exact_edit(case.id)) for case in cases]
