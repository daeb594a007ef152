"""What a training reads, before anything is a tensor: a dataset, the rewards joined to it, and its check.

Needs neither torch nor Lightning; datamodule.py makes batches of it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, final

from src.data.check import DataCheckReport, Thoroughness, check_rows
from src.data.dataset import RewardedTriplets
from src.data.only import only as only_selected
from src.data.problems import write_problems
from src.data.rewards import MissingReward, Rewards, WithRewards
from src.data.rows import RowSource
from src.data.transforms import Transform


@final
class TrainingRows:
    """A dataset as it is trained on.

    Args:
        dataset, transform, rewards, missing_reward, on_error, check, augmentations, precomputed, control,
            outside, only: see `EditData`.

    Attributes:
        source: the selected rows, rated or not.
        is_part: whether rows were selected.
        dataset: the rows with a usable reward, or what the control makes of the triplets.
        broken: indices of rows that can't be used, known after `check`.
        listed: the file that lists such rows; None where they end the training.

    Raises:
        FileNotFoundError: nothing precomputed there, or no selection.
        ValueError: see `EditData`.
    """

    def __init__(
        self,
        dataset: RewardedTriplets,
        transform: Transform | None = None,
        rewards: Rewards | None = None,
        missing_reward: MissingReward = "drop",
        on_error: Literal["fail", "skip"] = "fail",
        check: Thoroughness = 1000,
        augmentations: int | None = None,
        precomputed: str | Path | None = None,
        control: Callable[[RewardedTriplets], RewardedTriplets] | None = None,
        outside: bool = False,
        only: str | Path | None = None,
    ) -> None:
        name = type(dataset).__name__
        if on_error not in ("fail", "skip"):
            raise ValueError(f"on_error is fail or skip, not {on_error!r}")
        if rewards is not None and not isinstance(dataset, RowSource):
            raise ValueError(f"rewards can't be joined to {name}, only to datasets on disk")
        if precomputed is not None and not isinstance(dataset, RowSource):
            raise ValueError(f"conditions of {name} can't be precomputed, only those of datasets on disk")
        if augmentations is not None and augmentations < 1:
            raise ValueError(
                f"augmentations={augmentations} is not possible: give at least 1, "
                "or null for a new one in each pass"
            )
        if control is not None and isinstance(dataset, RowSource):
            raise ValueError(
                f"a control can't be made of {name}, only of rendered triplets: say data=synthetic"
            )
        if only is not None:
            dataset = only_selected(dataset, only)
        self.source, self.is_part = dataset, only is not None
        if isinstance(dataset, RowSource):
            self.dataset = WithRewards(dataset, rewards, missing_reward)
        else:
            self.dataset = dataset if control is None else control(dataset)
        self.transform = transform
        self.on_error = on_error
        self.thoroughness: Thoroughness = check
        self.augmentations = augmentations
        self.precomputed = None
        if precomputed is not None:
            from src.data.precomputed import PrecomputedConditions  # needs torch

            self.precomputed = PrecomputedConditions(precomputed)
        self.broken: frozenset[int] = frozenset()
        self.listed: Path | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images in a batch: the transform's, or those of the first triplet."""
        if self.transform is not None:
            return self.transform.image_size
        height, width, _ = self.dataset[0][0].case.original.shape
        return height, width

    def check(self, listed: Path) -> DataCheckReport | None:
        """Check a dataset on disk; None for one that is made on the fly, which has nothing to check.

        Args:
            listed: the file that names the rows which can't be used.

        Raises:
            ValueError: rows that can't be used, unless they are to be skipped; no row is left; or precomputed
                conditions of something else.
        """
        if not isinstance(self.dataset, WithRewards):
            return None
        if self.precomputed is not None:
            # every image was decoded when it was encoded
            self.precomputed.check(self.dataset, self.transform, self.augmentations, self.is_part)
            what = (
                f"digests are those of {self.precomputed.folder}, "
                f"with {self.precomputed.augmentations} augmentations of each"
            )
            return DataCheckReport(len(self.dataset), what, [], self.dataset.counts())
        report = check_rows(self.dataset, self.thoroughness)
        write_problems(listed, report.problems)
        if report.problems and self.on_error == "fail":
            raise ValueError(
                f"{len(report.problems)} rows can't be used, the first because {report.problems[0].reason}; "
                f"all are listed in {listed}: correct them, or say data.on_error=skip"
            )
        self.broken = frozenset(problem.index for problem in report.problems if problem.index is not None)
        if len(self.broken) >= len(self.dataset):
            raise ValueError(
                f"no row is left: of {len(self.dataset)} with a usable reward, {len(self.broken)} can't be "
                f"used, see {listed}"
            )
        self.listed = listed if self.on_error == "skip" else None
        return report
