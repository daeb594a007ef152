"""What trainings and other commands leave in their folders, read for comparison."""

import csv
from pathlib import Path

import torch

from src import checkpoint

STATE = ("state_dict", "ema", "ema_updates", "optimizer_states", "lr_schedulers", "global_step")


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def differences(one: object, other: object, where: str = "") -> list[str]:
    """Where two nested states differ, tensors bit for bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if torch.equal(one, other) else [where]
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [found for key in one for found in differences(one[key], other[key], f"{where}.{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [
            found
            for index, pair in enumerate(zip(one, other, strict=True))
            for found in differences(*pair, f"{where}.{index}")
        ]
    return [] if one == other else [where]


def assert_same(one: Path, other: Path) -> None:
    """Two run folders hold the same training."""
    first, second = (
        checkpoint.read(one / "checkpoints/last.ckpt"),
        checkpoint.read(other / "checkpoints/last.ckpt"),
    )
    assert differences({key: first[key] for key in STATE}, {key: second[key] for key in STATE}) == []
    for name in ("metrics.csv", "editor/model.safetensors", "editor/config.yaml"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert not list(other.rglob("*.partial"))
    assert [path.name for path in (other / "checkpoints").iterdir()] == ["last.ckpt"]
