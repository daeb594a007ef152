"""What a cell of a sweep is: everything that may change its weights, and nothing else."""

import inspect
from types import ModuleType

import pytest
from conftest import config
from omegaconf import DictConfig, OmegaConf, open_dict
from pytorch_lightning import Trainer

from src import train_judge, train_reward_model
from src.sweeps.launcher import SweepInterface
from src.sweeps.settings import fingerprint
from src.sweeps.titles import OF_TRAINER, title, without_machinery
from src.sweeps.trainings import LENGTHS, training_depends_on, training_settings

ARGUMENTS = sorted(set(inspect.signature(Trainer.__init__).parameters) - {"self"})


@pytest.fixture(scope="module")
def cfg() -> DictConfig:
    return config("+experiment=reward_synthetic")


def with_trainer(cfg: DictConfig, **settings: object) -> DictConfig:
    changed = OmegaConf.merge(cfg, {})
    assert isinstance(changed, DictConfig)
    with open_dict(changed):
        changed.trainer.update(settings)
    return changed


def cell_hash(cfg: DictConfig) -> str:
    return fingerprint(training_depends_on(cfg))


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_setting_of_the_trainer_but_machinery_is_part_of_a_cell(name: str, cfg: DictConfig) -> None:
    """By Lightning's own list, so that a setting of a later version is part of it, too."""
    one, other = (with_trainer(cfg, **{name: value}) for value in (1, 2))
    is_counted = name in ("devices", "num_nodes")
    assert (cell_hash(one) == cell_hash(other)) == (name in OF_TRAINER and not is_counted)
    may_change = name in LENGTHS or name in OF_TRAINER
    assert (training_settings(one)["trainer"] == training_settings(other)["trainer"]) == may_change


OTHERS = {
    train_reward_model: config(name="train_reward_model"),
    train_judge: config("data=table", "data.dataset.table.path=DIR", "ledger=FILE", name="train_judge"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("training", OTHERS, ids=lambda module: module.__name__)
def test_trainings_of_judges_depend_on_the_same(training: ModuleType, name: str) -> None:
    one, other = (with_trainer(OTHERS[training], **{name: value}) for value in (1, 2))
    may_change = name in LENGTHS or name in OF_TRAINER
    assert (training.settings_of(one)["trainer"] == training.settings_of(other)["trainer"]) == may_change


def test_machinery_names_what_lightning_has() -> None:
    assert {*OF_TRAINER, *LENGTHS} <= {*ARGUMENTS, "_target_"}


def test_the_cells_of_the_report_differ(cfg: DictConfig) -> None:
    cells = [
        cell_hash(with_trainer(cfg, gradient_clip_algorithm=algorithm, overfit_batches=batches))
        for algorithm in ("norm", "value", "bad")
        for batches in (0.0, 2)
    ]
    assert len({cell_hash(cfg), *cells}) == 7
    assert SweepInterface(training_depends_on).depends_on is training_depends_on


def test_a_plain_training_is_the_cell_that_it_was(cfg: DictConfig) -> None:
    """So finished sweeps and checkpoints of before are found again."""
    assert set(training_settings(cfg)["trainer"]) == {
        *("precision", "accumulate_grad_batches", "gradient_clip_val"),
    }
    assert set(training_depends_on(cfg)["trainer"]) - set(training_settings(cfg)["trainer"]) == {
        *("max_steps", "processes"),
    }


def test_titles_say_what_may_change_the_weights() -> None:
    given = [
        *("+experiment=reward_synthetic", "trainer.devices=2", "+trainer.overfit_batches=2", "trainer=gpu"),
        *("~callbacks.scores", "start='runs/a=b, c/editor'", "+trainer.profiler=simple", "logger.project=x"),
    ]
    assert title(without_machinery(given)) == (
        "reward_synthetic, overfit_batches=2, scores=none, start=a=b, c/editor"
    )
