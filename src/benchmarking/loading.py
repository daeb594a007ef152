"""Measures the project's data loader: one process, one thread, files in the page cache."""

import time
from typing import Any, final

from pytorch_lightning import Trainer

from src.benchmarking.measurement import RungMeasurement
from src.data.datamodule import EditData


@final
class BatchReader:
    """Reads batches and, optionally, the tokens of their texts.

    Args:
        data: with num_workers=0, so that this process does all the work.
        trainer: of one process.
        tokens: also read the encoded instructions and feedback, as a training does in its own process.
    """

    def __init__(self, data: EditData, trainer: Trainer, tokens: bool) -> None:
        data.trainer = trainer
        self.data = data
        self.tokens = tokens
        self.batches = iter(data.train_dataloader())

    def read(self, samples: int) -> None:
        """Read at least this many samples."""
        for _ in range(-(-samples // self.data.batch_size)):
            batch: Any = next(self.batches)
            if self.tokens:
                encoded = self.data.on_after_batch_transfer(batch, 0)
                encoded.encode_text(encoded.instructions)
                encoded.encode_text(["; ".join(feedback) for feedback in encoded.feedback])


def measure_loading(reader: BatchReader, samples: int, seconds: float) -> RungMeasurement:
    """Read everything once to warm the page cache, then repeatedly; the best third of the time counts, since
    other processes only slow reading down.

    Times are CPU times, so other processes on the same core don't count.

    Args:
        reader: reads batches.
        samples: number of samples in the dataset, read between two looks at the clock.
        seconds: total duration.
    """
    reader.read(samples)
    rates = []
    for _ in range(3):
        start, read = time.process_time(), 0
        while time.process_time() - start < seconds / 3:
            reader.read(samples)
            read += -(-samples // reader.data.batch_size) * reader.data.batch_size
        rates.append(read / (time.process_time() - start))
    return RungMeasurement(max(rates), reader.data.batch_size, {"load": 1.0 / max(rates)})
