"""Several datasets of rows as one, each with its share; SmartEdit's stages train on such mixtures.

    python -m src.train +experiment=smartedit_stage2 data=mixture \
        data.dataset.parts.edits.folder=DIR data.dataset.parts.chat.file=CHAT.json ...

The parts, in the words of SmartEdit's release (Huang et al. 2024, section 4):
- edits: triplets, as anywhere.
- segmentation: also triplets. The edited image is the original with the object painted over, half
  transparent, in one of a few colours; the instruction names both ("mark the dog in red"). Write the
  overlays to disk once and list them like any edits.
- chat: a question about an image in place of the instruction, and an `answer` in place of the edited image
  (columns.py). Only the language model learns from them.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import final

from src.data.rows import DatasetRow, RowSource, check_index
from src.records import Reward


@final
class Mixture(RowSource):
    """Rows of several datasets. A pass is just long enough to contain every row; parts that are too short for
    their share are repeated.

    The loader decides when a row is used (order.py), as for any dataset: a function of seed, step and
    position. A row's id is that in its part, prefixed by the part's name: "chat/17".

    Args:
        parts: datasets by name.
        shares: of the rows of a pass, by name; only ratios matter.

    Raises:
        ValueError: no parts, a part without rows or without a share, or a share that is not positive.
    """

    def __init__(self, parts: Mapping[str, RowSource], shares: Mapping[str, float | int]) -> None:
        if not parts or set(parts) != set(shares):
            raise ValueError(
                f"a mixture has parts and a share of each: the parts are {', '.join(parts) or 'none'}, "
                f"the shares {', '.join(shares) or 'none'}"
            )
        for name, part in parts.items():
            if len(part) < 1 or not shares[name] > 0:
                raise ValueError(
                    f"part {name} of the mixture has {len(part)} rows and a share of {shares[name]}: "
                    "both must be more than 0, or leave the part out"
                )
        longest = max(len(part) / shares[name] for name, part in parts.items())
        self.parts = dict(parts)
        self.lengths = {name: max(len(part), round(longest * shares[name])) for name, part in parts.items()}
        self.ends = list(accumulate(self.lengths.values()))

    def __len__(self) -> int:
        return self.ends[-1]

    def row(self, index: int) -> DatasetRow:
        name, part, own = self._place(index)
        row = part.row(own)
        return replace(row, id=f"{name}/{row.id}", reward=prefix_reward_id(name, row.reward))

    def id_of(self, index: int) -> str:
        name, part, own = self._place(index)
        return f"{name}/{part.id_of(own)}"

    def reward_of(self, index: int) -> Reward | None:
        name, part, own = self._place(index)
        return prefix_reward_id(name, part.reward_of(own))

    def files(self, index: int) -> Sequence[Path]:
        _, part, own = self._place(index)
        return part.files(own)

    def counts(self) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for name, part in self.parts.items():
            found[f"rows of {name} (it has {len(part)})"] = self.lengths[name]
            for what, number in part.counts().items():
                found[what] = found.get(what, 0) + number
        return found

    def _place(self, index: int) -> tuple[str, RowSource, int]:
        """Find the part of a row, and its place there."""
        check_index(index, len(self))
        number = bisect_right(self.ends, index)
        name, part = list(self.parts.items())[number]
        return name, part, (index - self.ends[number]) % len(part)


def prefix_reward_id(name: str, reward: Reward | None) -> Reward | None:
    """Prefix the id of a reward by the name of its part."""
    return None if reward is None else replace(reward, id=f"{name}/{reward.id}")
