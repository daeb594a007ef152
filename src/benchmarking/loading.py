"""How fast batches come out of the project's own loader: one process, one thread, files in the page cache."""

import time
from typing import Any, final

from pytorch_lightning import Trainer

from src.benchmarking.measurement import RungMeasurement
from src.data.datamodule import EditData


@final
class BatchReader:
    """Takes batches, and if asked for the tokens of their texts.

    Args:
        data: with num_workers=0, so that all the work is done in this process.
        trainer: of one process.
        tokens: read what the text encoder made of instructions and feedback, which a training does in its own
            process.
    """

    def __init__(self, data: EditData, trainer: Trainer, tokens: bool) -> None:
        data.trainer = trainer
        self.data = data
        self.tokens = tokens
        self.batches = iter(data.train_dataloader())

    def read(self, samples: int) -> None:
        """At least so many."""
        for _ in range(-(-samples // self.data.batch_size)):
            batch: Any = next(self.batches)
            if self.tokens:
                encoded = self.data.on_after_batch_transfer(batch, 0)
                encoded.encode_text(encoded.instructions)
                encoded.encode_text(["; ".join(feedback) for feedback in encoded.feedback])


def measure_loading(reader: BatchReader, samples: int, seconds: float) -> RungMeasurement:
    """Read everything once to warm the page cache, then on and on for a while; the best of three thirds
    counts, as other processes only slow it down.

    The time is that of the processor: what others do on the same core in between is not counted.

    Args:
        reader: takes batches.
        samples: how many there are, and so how many are read between two looks at the clock.
        seconds: how long to read, in all.
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
