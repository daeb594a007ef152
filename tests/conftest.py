"""Shared ground: one thread per test process, the composed config tree, and a small reward-conditioned
editor.
"""

import copy
import importlib
import os
import sys
from functools import cache

import pytest
import shape_checks  # before src
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

LONGEST = (
    "experiments/test_dossier.py",
    "synthetic/test_laws.py",
    "test_bad_weights.py",
    "algorithms/test_compiling.py",
    "test_sweep.py",
    "evaluation/test_best_of_n.py",
    "test_convert_smartedit.py",
    "test_annotate.py",
    "test_throughput.py",
    "evaluation/test_ideal.py",
    "test_smartedit_training.py",
    "test_resume.py",
    "data/test_stream.py",
    "test_config.py",
    "synthetic/test_measure.py",
    "synthetic/test_annotation.py",
    "test_extension.py",
    "evaluation/test_evaluate.py",
    "evaluation/test_strength.py",
    "evaluation/test_killed.py",
    "test_check_judge.py",
    "test_train.py",
    "test_full_disk.py",
    "test_inspix2pix_training.py",
    "experiments/test_linter.py",
)
"""Files of long tests, the first to be shared out between processes: the last one would be waited for."""

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # for the commands that tests start


def config(*overrides: str, name: str = "train") -> DictConfig:
    """A composed config, as an entry point would get it, for the caller to change."""
    return copy.deepcopy(_composed(name, overrides))


@cache
def _composed(name: str, overrides: tuple[str, ...]) -> DictConfig:
    """Composing takes thirty times as long as copying, and many tests want the same config."""
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {f"tests/{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(LONGEST)))


@pytest.hookimpl(tryfirst=True)  # before fixtures
def pytest_runtest_setup(item: pytest.Item) -> None:
    shape_checks.begin_test(all_calls=item.get_closest_marker("slow") is not None)


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
