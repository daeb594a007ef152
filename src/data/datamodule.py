"""Batches of rewarded triplets for Lightning, any dataset, any number of ranks and workers."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from src.batch import EditBatch, EncodedBatch
from src.data.check import DataCheckReport, Thoroughness, check_rows, write_problems
from src.data.dataset import RewardedTriplets, collate
from src.data.order import GlobalBatchOrder, SampleIndexSampler
from src.data.precomputed import PrecomputedConditions, PrecomputedRows, collate_encoded
from src.data.rewards import MissingReward, Rewards, WithRewards
from src.data.rows import RowSource
from src.data.transformed_dataset import TransformedDataset
from src.data.transforms import Transform


class EditData(LightningDataModule):
    """Serves a dataset.

    Args:
        dataset: rewarded triplets; built, and so validated, before any model.
        batch_size: per rank.
        num_workers: processes that prepare batches; 0 prepares them in the training process.
        seed: of the order, of crops and flips.
        transform: of both images of a pair; None for triplets that have the size they are trained at.
        rewards: joined to the rows of a dataset on disk by their ids; None for those that it brings along.
        missing_reward: rows whose reward is missing or failed are dropped and counted, or an error.
        on_error: rows that can't be used end the training before it begins, or are listed in a file and other
            rows stand in their place.
        check: how closely the rows of a dataset on disk are looked at, see check.py.
        augmentations: how many transformed versions of a pair there are, the same for every seed, taken in
            turn; None for a new one in each pass, or for as many as are precomputed.
        precomputed: a folder of src.precompute: images and texts were encoded there, and are not read.
        control: what is served in the dataset's place, made of it: the same triplets with other rewards, or
            some of them (conf/control).

    Raises:
        FileNotFoundError: nothing precomputed there.
        ValueError: rewards or precomputed conditions for a dataset that is not on disk, a control for one
            that is, an unknown `on_error`, less than one augmentation, or what `Rated` or the control raises.
    """

    def __init__(
        self,
        dataset: RewardedTriplets,
        batch_size: int,
        num_workers: int,
        seed: int,
        transform: Transform | None = None,
        rewards: Rewards | None = None,
        missing_reward: MissingReward = "drop",
        on_error: Literal["fail", "skip"] = "fail",
        check: Thoroughness = 1000,
        augmentations: int | None = None,
        precomputed: str | Path | None = None,
        control: Callable[[RewardedTriplets], RewardedTriplets] | None = None,
    ) -> None:
        super().__init__()
        if on_error not in ("fail", "skip"):
            raise ValueError(f"on_error is fail or skip, not {on_error!r}")
        if rewards is not None and not isinstance(dataset, RowSource):
            raise ValueError(f"rewards can't be joined to {type(dataset).__name__}, only to datasets on disk")
        if precomputed is not None and not isinstance(dataset, RowSource):
            raise ValueError(
                f"conditions of {type(dataset).__name__} can't be precomputed, only those of datasets on disk"
            )
        if augmentations is not None and augmentations < 1:
            raise ValueError(
                f"augmentations={augmentations} is not possible: at least 1, or null for a new one in each pass"
            )
        if control is not None and isinstance(dataset, RowSource):
            raise ValueError(
                f"a control can't be made of {type(dataset).__name__}, only of triplets that are rendered: say data=synthetic"
            )
        if isinstance(dataset, RowSource):
            self.dataset = WithRewards(dataset, rewards, missing_reward)
        else:
            self.dataset = dataset if control is None else control(dataset)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.transform = transform
        self.on_error = on_error
        self.thoroughness: Thoroughness = check
        self.augmentations = augmentations
        self.precomputed = None if precomputed is None else PrecomputedConditions(precomputed)
        self.broken: frozenset[int] = frozenset()
        self.listed: Path | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images in a batch: the transform's, or read off the first triplet."""
        if self.transform is not None:
            return self.transform.image_size
        height, width, _ = self.dataset[0][0].case.original.shape
        return height, width

    def check(self, listed: Path) -> DataCheckReport | None:
        """Look at a dataset on disk; one that is made on the fly has nothing to look at.

        Args:
            listed: the file that names the rows which can't be used.

        Raises:
            ValueError: rows that can't be used, unless they are to be skipped; or no row is left. What is
                precomputed and of something else.
        """
        if not isinstance(self.dataset, WithRewards):
            return None
        if self.precomputed is not None:
            # every image was decoded when it was encoded
            self.precomputed.check(self.dataset, self.transform, self.augmentations)
            what = f"digests are those of {self.precomputed.folder}, with {self.precomputed.augmentations} augmentations of each"
            return DataCheckReport(len(self.dataset), what, [], self.dataset.counts())
        report = check_rows(self.dataset, self.thoroughness)
        write_problems(listed, report.problems)
        if report.problems and self.on_error == "fail":
            raise ValueError(
                f"{len(report.problems)} rows can't be used, the first because {report.problems[0].reason}; all are listed in {listed}: "
                "correct them, or say data.on_error=skip"
            )
        self.broken = frozenset(problem.index for problem in report.problems if problem.index is not None)
        if len(self.broken) >= len(self.dataset):
            raise ValueError(
                f"no row is left: of {len(self.dataset)} with a usable reward, {len(self.broken)} can't be used, see {listed}"
            )
        self.listed = listed if self.on_error == "skip" else None
        return report

    def train_dataloader(self) -> DataLoader[EditBatch | EncodedBatch]:
        """Endless batches from the step at which training stands."""
        trainer = self.trainer
        assert trainer is not None
        order = GlobalBatchOrder(
            len(self.dataset),
            self.batch_size,
            trainer.global_rank,
            trainer.world_size,
            self.seed,
            start=trainer.global_step * trainer.accumulate_grad_batches,
        )
        if self.precomputed is None:
            served = TransformedDataset(
                self.dataset, self.transform, self.seed, self.broken, self.listed, self.augmentations
            )
        else:
            assert isinstance(self.dataset, WithRewards)  # so the constructor has it
            served = PrecomputedRows(self.dataset, self.precomputed)
        return DataLoader(
            served,  # pyright: ignore[reportArgumentType]  # torch asks for a nominal Dataset, any sequence will do
            batch_sampler=SampleIndexSampler(order),
            collate_fn=collate if self.precomputed is None else collate_encoded,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=ignore_interrupts,
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Texts are looked up here, in the training's own process: which of them are needed, dropout decides."""
        return batch if self.precomputed is None else replace(batch, recall=self.precomputed.tokens)


def ignore_interrupts(worker: int) -> None:
    """Ctrl-C, and SIGTERM from a scheduler, reach every process of a group; workers must live on until the
    training has finished its step. They end with it: each looks every few seconds whether its parent is still
    there.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
