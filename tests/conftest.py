"""Shared ground: one thread per test process, the composed config tree, and a small reward-conditioned
editor.
"""

import importlib
import os
import sys

import pytest
import torch
from commands import SMALL, only_error
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from options import SEARCH_PATH

from src import launch
from src.batch import EditBatch
from src.editor import Editor
from src.launch import CONF

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # for the commands that tests start


def config(*overrides: str, name: str = "train") -> DictConfig:
    """A composed config, as an entry point would get it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides=[*SEARCH_PATH, *overrides])


def small_editor(*overrides: str) -> Editor:
    """A small editor with reproducible random weights."""
    torch.manual_seed(0)
    return instantiate(config(*SMALL, *overrides).model)


def triplets() -> EditBatch:
    """Three triplets of 16 x 16 pixels with different rewards."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 3, 16, 16, generator=generator) * 2 - 1
    return EditBatch(
        ids=["a", "b", "c"],
        original=images[0],
        edited=images[1],
        instructions=["remove the red circle", "make it night", ""],
        scores=torch.tensor([[5.0, 5.0, 5.0], [0.0, 3.0, 4.5], [1.0, 0.0, 2.0]]),
        feedback=[
            ("None", "None", "None"),
            ("the red circle was not removed", "None", "None"),
            ("None", "None", "None"),
        ],
    )


@pytest.fixture
def batch() -> EditBatch:
    return triplets()


@pytest.fixture
def quickly_refused(capfd, monkeypatch):
    """The same in this process: what a command prints does not depend on it, and its imports need not be
    repeated.
    """

    def command(*arguments: str, module: str = "src.train") -> str:
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        with pytest.raises(SystemExit) as stopped:
            launch.entry_point(importlib.import_module(module).main, module.removeprefix("src."))
        return only_error(capfd.readouterr().err, stopped.value.code)

    return command
