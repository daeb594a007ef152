"""Batches of rewarded triplets for Lightning: any dataset, any number of ranks and workers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, final

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from src.batch import EditBatch, EncodedBatch
from src.data.check import DataCheckReport, Thoroughness
from src.data.collate import collate
from src.data.dataset import Example, RewardedTriplets
from src.data.examples import examples_of
from src.data.order import SampleIndexSampler
from src.data.precomputed import PrecomputedRows, collate_encoded
from src.data.rewards import MissingReward, Rewards, WithRewards
from src.data.rows import DatasetRow, some_rows
from src.data.training_loader import order_from_here, training_loader
from src.data.training_rows import TrainingRows
from src.data.transformed_dataset import TransformedDataset
from src.data.transforms import Transform


@final
class EditData(LightningDataModule):
    """Serves a dataset.

    Args:
        dataset: rewarded triplets; built, and so validated, before any model.
        batch_size: per rank.
        num_workers: processes that prepare batches; 0 prepares them in the training process.
        seed: of the order, of crops and flips.
        transform: of both images of a pair; None for triplets that have their training size.
        rewards: joined by id to the rows of a dataset on disk; None for the dataset's own.
        missing_reward: rows whose reward is missing or failed are dropped and counted, or an error.
        on_error: rows that can't be used end the training before it begins, or are listed in a file and
            replaced by other rows.
        check: how thoroughly a dataset on disk is checked, see check.py.
        augmentations: number of transformed versions of a pair, the same for every seed, taken in turn; None
            for a new one in each pass, or for as many as are precomputed.
        precomputed: a folder of src.precompute that holds images and texts encoded; they are then not read.
        control: makes what is served of the dataset: the same triplets with other rewards, or some of them
            (conf/control).
        outside: whether rows may name files outside of their dataset's folder; conf/data hands it to the
            datasets, nothing else depends on it.
        only: a selection (only.py), whose rows alone are served, also of a cache of all; None for all.
        words: all that its texts are made of, where their language is closed; small backbones are handed them
            (conf/model/tokenizer), nothing else depends on them.

    Raises:
        FileNotFoundError: nothing precomputed there, or no selection.
        ValueError: rewards or precomputed conditions for a dataset that is not on disk, a control for one
            that is, an unknown `on_error`, less than one augmentation, or what `only`, `WithRewards` or
            the control raises.
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
        outside: bool = False,
        only: str | Path | None = None,
        words: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.rows = TrainingRows(
            dataset,
            transform,
            rewards,
            missing_reward,
            on_error,
            check,
            augmentations,
            precomputed,
            control,
            only=only,
        )
        self.source = self.rows.source
        self.dataset = self.rows.dataset
        self.transform = transform
        self.on_error = on_error
        self.augmentations = augmentations
        self.precomputed = self.rows.precomputed
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images in a batch."""
        return self.rows.image_size

    @property
    def is_unrated(self) -> bool:
        """Whether these are rows of which none has a reward."""
        return isinstance(self.dataset, WithRewards) and self.dataset.is_unrated

    def examples(self, count: int) -> Sequence[Example]:
        """What previews show. Raises ValueError if no row can be shown."""
        return examples_of(self.source, self.transform, count)

    def sample_rows(self, count: int) -> list[DatasetRow]:
        """At most `count` rows, spread evenly; none of triplets that are made on the fly."""
        return some_rows(self.dataset, count) if isinstance(self.dataset, WithRewards) else []

    def check(self, listed: Path) -> DataCheckReport | None:
        """Check the rows, see `TrainingRows.check`."""
        return self.rows.check(listed)

    def train_dataloader(self) -> DataLoader[EditBatch | EncodedBatch]:
        """Endless batches from the step that training has reached."""
        if self.precomputed is None:
            samples = TransformedDataset(
                self.dataset,
                self.transform,
                self.seed,
                self.rows.broken,
                self.rows.listed,
                self.augmentations,
            )
        else:
            assert isinstance(self.dataset, WithRewards)  # so TrainingRows has it
            samples = PrecomputedRows(self.dataset, self.precomputed, self.rows.is_part)
        order = order_from_here(self.trainer, len(self.dataset), self.batch_size, self.seed)
        together = collate if self.precomputed is None else collate_encoded
        return training_loader(samples, SampleIndexSampler(order), together, self.num_workers)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Attach the lookup of encoded texts, in the training's process: dropout decides which are needed."""
        return batch if self.precomputed is None else replace(batch, recall=self.precomputed.tokens)
