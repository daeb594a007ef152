"""Reads what a run on Weights & Biases left on this machine."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2


def wandb_records(file: Path) -> Iterator[wandb_internal_pb2.Record]:
    """wandb has no reader of its run files in Python. They are a LevelDB log: a 7-byte file header, then
    blocks of 32 KiB that hold framed chunks (checksum 4 bytes, length 2, type 1: whole, first, middle, last)
    of protobuf records.
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


class WandbFile:
    """The records of the one run below a folder.

    Attributes:
        path: the run file.
        run: name, group and job type.
        history: every logged value by name, the last one of each.
        config: what was logged as such.
        exit_code: how the run ended.
        artifacts: with their manifests, inputs (`use_after_commit`) and outputs.
    """

    def __init__(self, folder: Path) -> None:
        (self.path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
        limit, ends = time.monotonic() + 30, []
        while not ends:  # wandb's own process closes the file, soon after the run is finished
            assert time.monotonic() < limit, f"{self.path} is not whole"
            records = list(wandb_records(self.path))
            ends = [record.exit.exit_code for record in records if record.HasField("exit")]
            time.sleep(0.0 if ends else 0.1)
        (self.exit_code,) = ends
        self.run = next(record.run for record in records if record.HasField("run"))
        self.history: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        for record in records:
            for item in record.history.item:
                self.history[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
            for item in record.config.update:
                self.config[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
        self.artifacts = [record.artifact for record in records if record.HasField("artifact")]

    def of_type(self, kind: str, used: bool = False) -> list[wandb_internal_pb2.ArtifactRecord]:
        """The artifacts of a type that the run made, or that it used."""
        return [
            artifact
            for artifact in self.artifacts
            if artifact.type == kind and artifact.use_after_commit == used
        ]
