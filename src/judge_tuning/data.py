"""Batches of lessons for Lightning: which are in which batch is a function of seed, step and rank."""

from collections.abc import Sequence
from typing import Any, final

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from src.data.all_rows import decode_with_files, row_at
from src.data.dataset import RewardedTriplets
from src.data.problems import Problem
from src.data.training_loader import order_from_here, training_loader
from src.judge_tuning.lessons import Lesson
from src.judge_tuning.network import AnsweredBatch, AnsweredQuestion, AnswerReader
from src.judges.rubric import Rubric


@final
class LessonRows(Dataset[tuple[str, AnsweredQuestion]]):
    """Lessons as tokens and patches, read when they are asked for.

    Args:
        dataset, rubric: of the questions.
        lessons: which of them, with what answers.
        reader: makes tokens of them.
    """

    def __init__(
        self, dataset: RewardedTriplets, rubric: Rubric, lessons: Sequence[Lesson], reader: AnswerReader
    ) -> None:
        self.dataset, self.rubric, self.lessons, self.reader = dataset, rubric, lessons, reader

    def __len__(self) -> int:
        return len(self.lessons)

    def __getitem__(self, index: int) -> tuple[str, AnsweredQuestion]:
        lesson = self.lessons[index]
        row = row_at(self.dataset, lesson.row)
        if isinstance(row, Problem):
            raise ValueError(f"row {lesson.row} can no longer be read: {row.reason}")
        question = self.rubric.questions(decode_with_files(row))[lesson.place]
        return row.id, self.reader.read(question, lesson.answer)

    def check_lengths(self) -> None:
        """Raise ValueError for questions that are too long to be learnt with their answers."""
        longest = self.reader.longest
        long = [
            (length, id)
            for id, answered in map(self.__getitem__, range(len(self)))
            if (length := len(answered.inputs.ids)) > longest
        ]
        if long:
            raise ValueError(
                f"{len(long)} of {len(self)} questions have more than longest={longest} tokens with their "
                f"answers, the longest {max(long)[0]} ({max(long)[1]!r}), and none is cut off: raise "
                "longest, or lower judge.rubric.max_pixels and annotate with that"
            )


@final
class LessonData(LightningDataModule):
    """Serves lessons.

    Args:
        dataset: of lessons.
        batch_size: per rank.
        num_workers: processes that read; 0 reads in the training process.
        seed: of the order.
    """

    def __init__(self, dataset: LessonRows, batch_size: int, num_workers: int, seed: int) -> None:
        super().__init__()
        self.dataset, self.batch_size, self.num_workers, self.seed = dataset, batch_size, num_workers, seed

    def train_dataloader(self) -> DataLoader[Any]:
        """Endless `AnsweredBatch`es from the step that training has reached."""
        order = order_from_here(self.trainer, len(self.dataset), self.batch_size, self.seed)
        return training_loader(self.dataset, order, self._collate, self.num_workers)

    def _collate(self, rows: Sequence[tuple[str, AnsweredQuestion]]) -> AnsweredBatch:
        return self.dataset.reader.batch([id for id, _ in rows], [each for _, each in rows])
