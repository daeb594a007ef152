"""metrics.csv: one row per logged step, without gaps or duplicates, however often the training was killed and
resumed.

Lightning's CSVLogger deletes the file of an earlier start; this one keeps the rows before the step at which
training resumes.
"""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from src.files import not_written, write_atomically

Cells = dict[str, str]


@final
class MetricsFile(Logger):
    """Appends rows to `<save_dir>/metrics.csv`. Each is handed to the operating system at once, so a kill can
    damage the last row only.

    Args:
        save_dir: the run folder.
    """

    def __init__(self, save_dir: str | Path) -> None:
        super().__init__()
        self.file = Path(save_dir) / "metrics.csv"
        self.columns: list[str] = []
        self.last_step = -1
        self.last_names: set[str] = set()

    @property
    def name(self) -> str:
        """Unused by us; Lightning asks."""
        return ""

    @property
    def version(self) -> str:
        """Unused by us; Lightning asks."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.file.parent)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The run folder's .hydra/ holds them."""

    @rank_zero_only
    def keep_before(self, step: int) -> None:
        """Drop the rows of this step and later ones, and a torn last line: training resumes there and writes
        them again.
        """
        rows = [row for row in read_metrics(self.file) if int(row["step"]) < step]
        self.columns = ordered_columns({name for row in rows for name in row})
        self.last_step, self.last_names = -1, set()
        if rows:
            write_atomically(
                self.file, csv_text([dict(zip(self.columns, self.columns, strict=True)), *rows], self.columns)
            )
        else:
            self.file.unlink(missing_ok=True)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float | Tensor], step: int | None = None) -> None:
        """Append a row unless its values were already written for this step.

        Raises:
            ValueError: no step.
            NotWrittenError: the disk is full.
        """
        if step is None:
            raise ValueError(f"{self.file} holds rows by step and was given {sorted(metrics)} without one")
        if step == self.last_step and metrics.keys() <= self.last_names:
            return
        self.last_names = metrics.keys() | (self.last_names if step == self.last_step else set())
        self.last_step = step
        row = {"step": str(step)} | {
            name: str(float(value)) for name, value in metrics.items() if name != "epoch"
        }
        if "epoch" in metrics:
            row["epoch"] = str(int(metrics["epoch"]))
        if not row.keys() <= set(self.columns):
            self._add_columns(row)
        try:
            with self.file.open("a", newline="", encoding="utf-8") as file:
                file.write(csv_text([row], self.columns))
        except OSError as error:
            raise not_written(self.file, error) from error

    def _add_columns(self, row: Cells) -> None:
        """Rewrite the file with the columns of a row added."""
        rows = read_metrics(self.file) if self.columns else []
        self.columns = ordered_columns({*self.columns, *row})
        write_atomically(
            self.file, csv_text([dict(zip(self.columns, self.columns, strict=True)), *rows], self.columns)
        )

    @rank_zero_only
    def force_to_disk(self) -> None:
        """Flush all rows to disk, so that they survive a loss of power."""
        if self.file.exists():
            with self.file.open("rb") as file:
                os.fsync(file.fileno())


def write_row_before_checkpoint(trainer: Trainer) -> None:
    """Write the row of the step just completed. Lightning logs after the hook in which a checkpoint is saved;
    a training killed in between would resume without that row. Lightning's own call later finds it written.
    """
    files = [logger for logger in trainer.loggers if isinstance(logger, MetricsFile)]
    step = trainer.global_step - 1
    every = getattr(trainer, "log_every_n_steps", 0)
    if every and trainer.global_step % every == 0 and trainer._results is not None:
        metrics = {"epoch": trainer.current_epoch, **trainer._logger_connector.metrics["log"]}
        for file in files:
            file.log_metrics(metrics, step)  # pyright: ignore[reportArgumentType]
    for file in files:
        file.force_to_disk()


def read_metrics(file: Path) -> list[Cells]:
    """The complete rows of a metrics.csv without empty cells; a last line without line end is ignored.
    Without a file there are no rows.
    """
    if not file.exists():
        return []
    text = file.read_bytes().decode()
    whole = text[: text.rfind("\n") + 1]
    return [
        {name: value for name, value in row.items() if value}
        for row in csv.DictReader(io.StringIO(whole))
        if row.get("step")
    ]


def ordered_columns(columns: set[str]) -> list[str]:
    """The step first, then the others by name, so that the order does not depend on what was logged first."""
    return sorted(columns, key=lambda name: (name != "step", name))


def csv_text(rows: Sequence[Cells], columns: Sequence[str]) -> str:
    """Rows as CSV; a row without a column leaves its cell empty."""
    text = io.StringIO()
    csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue()
