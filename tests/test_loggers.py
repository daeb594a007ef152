"""Every logger writes real files that can be read back, without an account."""

import struct
from collections.abc import Iterator
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_train import LEAN, run
from wandb.proto import wandb_internal_pb2

PREVIEWED = [override for override in LEAN if override != "~callbacks.previews"]


def trained(folder: Path, logger: str) -> Path:
    done = run(*PREVIEWED, f"logger={logger}", "trainer.max_steps=2", "data.batch_size=2", "sampler.steps=1", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def wandb_records(file: Path) -> Iterator[wandb_internal_pb2.Record]:
    """wandb has no reader of its run files in Python. They are a LevelDB log: a 7-byte file header, then blocks of 32 KiB that hold framed chunks
    (checksum 4 bytes, length 2, type 1: whole, first, middle, last) of protobuf records.
    """
    data, position, parts = file.read_bytes(), 7, b""
    while position + 7 <= len(data):
        if 32768 - position % 32768 < 7:  # too little left in the block for a header: padding
            position += 32768 - position % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


def test_tensorboard_holds_loss_and_previews(tmp_path: Path) -> None:
    events = EventAccumulator(str(trained(tmp_path / "run", "tensorboard") / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [0, 1]
    assert events.Images("previews")


def test_wandb_offline_run_file_holds_loss_and_previews(tmp_path: Path) -> None:
    (file,) = (trained(tmp_path / "run", "wandb") / "wandb").glob("offline-run-*/run-*.wandb")
    items = [item for record in wandb_records(file) for item in record.history.item]
    names = [item.key or ".".join(item.nested_key) for item in items]
    assert names.count("train/loss") == 2
    assert any(key.startswith("previews") for key in names)
