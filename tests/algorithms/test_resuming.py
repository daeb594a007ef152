"""A training that goes on uses the optimiser's settings of its own command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import config
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, StepLR

from src import checkpoint
from src.algorithms.muon import Muon
from src.algorithms.resuming import settings_of, take_settings
from src.algorithms.schedules import warmup_cosine
from src.callbacks.resume import Steps, check_resumable
from src.sweeps.trainings import following_steps, schedules

STEPS = 3


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Linear(4, 4)


def muon(module: torch.nn.Module, **more: Any) -> Optimizer:
    return Muon(list(module.named_parameters()), **more)


def step(module: torch.nn.Module, optimizer: Optimizer, scheduler: LRScheduler | None) -> None:
    module(torch.ones(2, 4)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    if scheduler is not None:
        scheduler.step()


def cosine(optimizer: Optimizer) -> LRScheduler:
    return warmup_cosine(optimizer, 2, 10)


Schedule = Callable[[Optimizer], LRScheduler]


def resumed(
    schedule: Schedule | None, again: Schedule | None, **more: Any
) -> tuple[Optimizer, LRScheduler | None, Optimizer]:
    """An optimiser after some steps, and one that takes its state over with other settings."""
    module = network()
    first = muon(module)
    scheduler = None if schedule is None else schedule(first)
    for _ in range(STEPS):
        step(module, first, scheduler)
    second = muon(network(), **more)
    own = settings_of(second)
    new = None if again is None else again(second)
    second.load_state_dict(first.state_dict())
    if new is not None and scheduler is not None:
        new.load_state_dict(scheduler.state_dict())
    take_settings(second, own, new, STEPS)
    return second, new, first


def rates(optimizer: Optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


@pytest.mark.parametrize("schedule", [None, cosine, lambda o: StepLR(o, 2)])
def test_with_the_same_settings_nothing_changes(schedule: Schedule | None) -> None:
    second, scheduler, first = resumed(schedule, schedule)
    assert settings_of(second) == settings_of(first)
    if scheduler is not None:
        assert scheduler.last_epoch == STEPS


@pytest.mark.parametrize("schedule", [None, cosine, lambda o: StepLR(o, 2)])
def test_another_rate_is_used_at_once_and_by_the_schedule(schedule: Schedule | None) -> None:
    second, scheduler, first = resumed(schedule, schedule, lr=0.2, adam_lr=0.01, weight_decay=0.5)
    assert rates(second) == pytest.approx([10 * rate for rate in rates(first)])
    assert [group["weight_decay"] for group in second.param_groups] == [0.5, 0.0]
    if isinstance(scheduler, LambdaLR):
        scheduler.step()
        factor = scheduler.lr_lambdas[0](STEPS + 1)
        assert rates(second) == pytest.approx([0.2 * factor, 0.01 * factor])


def test_a_schedule_may_come_and_go() -> None:
    second, scheduler, _ = resumed(None, cosine)
    assert isinstance(scheduler, LambdaLR)
    assert rates(second) == pytest.approx([rate * scheduler.lr_lambdas[0](STEPS) for rate in (0.02, 1e-3)])
    second, _, _ = resumed(cosine, None)
    assert rates(second) == [0.02, 1e-3]


def saved(folder: Path, settings: str) -> Path:
    described = "_target_: src.editor.Editor\nbackbone: {_target_: x}\n"
    entries = {"editor_config": described, "picture_size": [8, 8], "ema": {}, "state_dict": {}}
    torch.save({**entries, "settings": settings, "global_step": 3}, folder / "last.ckpt")
    return folder / "last.ckpt"


def check(file: Path, settings: str, by_itself: bool = False, steps: Steps | None = None) -> None:
    check_resumable(file, checkpoint.read(file)["editor_config"], settings, by_itself, steps)


def test_only_more_steps_go_on_and_the_schedule_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = saved(tmp_path, "{algorithm: {lr: 1, scheduler: {total_steps: 3}}}")
    longer = "{algorithm: {lr: 1, scheduler: {total_steps: 9}}}"
    follows = frozenset({"algorithm.scheduler.total_steps"})
    check(file, longer, by_itself=True, steps=Steps(9, follows))
    told = capsys.readouterr().err
    assert "trainer.max_steps=9: algorithm.scheduler.total_steps is 3 in the checkpoint and 9 here" in told
    with pytest.raises(ValueError, match=r"other settings: algorithm\.scheduler\.total_steps is 3"):
        check(file, longer, by_itself=True, steps=Steps(9))
    with pytest.raises(ValueError, match=r"algorithm.lr is 1 .*; take another run folder"):
        check(file, longer.replace("lr: 1", "lr: 2"), by_itself=True, steps=Steps(9, follows))
    with pytest.raises(
        ValueError, match=r"at step 3 and trainer.max_steps=2: give more steps, or resume=null"
    ):
        check(file, longer, by_itself=True, steps=Steps(2))


def test_what_follows_the_number_of_steps_is_what_the_config_sets_to_it() -> None:
    given = ("trainer.max_steps=7", "algorithm.scheduler.warmup_steps=7")
    assert following_steps(schedules(config("+experiment=reward_synthetic", *given))) == {
        "algorithm.scheduler.total_steps"
    }
    fixed = "algorithm.scheduler.total_steps=7"
    assert following_steps(schedules(config("+experiment=reward_synthetic", *given, fixed))) == set()


def test_what_a_checkpoint_belongs_to_is_not_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = saved(tmp_path, "{start: null, algorithm: {optimizer: {_target_: a, lr: 1}}}")
    check(file, "{start: null, algorithm: {optimizer: {_target_: a, lr: 2}}}")
    told = capsys.readouterr().err
    assert "those of this command are used from here on: algorithm.optimizer.lr is 1" in told
    for settings in (
        "{start: a.ckpt, algorithm: {optimizer: {_target_: a, lr: 1}}}",
        "{start: null, algorithm: {optimizer: {_target_: b, lr: 1}}}",
    ):
        with pytest.raises(ValueError, match=r"can't be resumed with .*begin anew from its weights, start="):
            check(file, settings)
