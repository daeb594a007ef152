"""A training whose numbers are not finite ends with one line, and nothing good is overwritten."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, config, small_editor, triplets
from omegaconf import OmegaConf
from pytorch_lightning import Callback, Trainer
from torch.utils.data import DataLoader

from src import checkpoint
from src.algorithms import step_watch
from src.algorithms.denoising import Denoising
from src.algorithms.step_watch import MOST_SKIPPED, StepWatch
from src.batch import EditBatch
from src.callbacks import ema as averages
from src.callbacks.editor_checkpoint import EditorCheckpoint
from src.callbacks.ema import EMA
from src.callbacks.last_checkpoint import AtomicCheckpointIO, LastCheckpoint
from src.diffusion.guidance import Guidance
from src.diffusion.samplers import Sampler
from src.finite import NotFiniteError
from src.finite_tensors import HostCopy, nested_tensors, not_finite

STEPS = 5
SPOILT = 3
"""The step, counted from 1, in which something goes wrong."""


class Spoil(Callback):
    """Does something at the beginning or after the backward pass of one step."""

    def __init__(self, before: Callable[[Any], None] | None, after: Callable[[Any], None] | None) -> None:
        self.before, self.after = before, after

    def on_train_batch_start(self, trainer, pl_module, *_) -> None:
        if trainer.global_step == SPOILT - 1 and self.before is not None:
            self.before(pl_module)

    def on_after_backward(self, trainer, pl_module) -> None:
        if trainer.global_step == SPOILT - 1 and self.after is not None:
            self.after(pl_module)


def nan_weight(module: Any) -> None:
    with torch.no_grad():
        module.editor.backbone.unet.conv_in.weight[0, 0, 0, 0] = math.nan


def nan_gradient(module: Any) -> None:
    module.editor.backbone.unet.conv_in.weight.grad[0, 0, 0, 0] = math.nan


def nan_optimiser(module: Any) -> None:
    state = module.optimizers().optimizer.state[module.editor.backbone.unet.conv_in.weight]
    state["exp_avg"][0, 0, 0, 0] = math.nan


def endless_rate(module: Any) -> None:
    for group in module.optimizers().optimizer.param_groups:
        group["lr"] = math.inf


def overflowing_autoencoder(module: Any) -> None:
    backbone = module.editor.backbone

    def encoded(edited: torch.Tensor, original: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        latent = type(backbone).encode_edited(backbone, edited, original, noise)
        return torch.where(torch.arange(len(latent)).reshape(-1, 1, 1, 1) == 1, latent / 0.0, latent)

    backbone.encode_edited = encoded


def nan_score(module: Any) -> None:
    module.editor.reward_encoder.score_scale = math.nan


Kind = tuple[Callable[[Any], None] | None, Callable[[Any], None] | None, str]
KINDS: dict[str, Kind] = {
    "weights": (nan_weight, None, "the norm of the gradients is nan, the loss is not finite"),
    "gradients": (None, nan_gradient, "the norm of the gradients is nan, though the losses are finite"),
    "optimiser": (nan_optimiser, None, r"the weights after it are not finite, .*conv_in\.weight"),
    "rate": (endless_rate, None, "the weights after it are not finite"),
    "autoencoder": (
        overflowing_autoencoder,
        None,
        r"the norm of the gradients is nan, the loss of 1 of 3 triplets \(b\) is",
    ),
    "scores": (nan_score, None, "the norm of the gradients is nan, the loss is not finite"),
}


def fit(
    folder: Path,
    *more: Callback,
    resume: Path | None = None,
    every: int = 1,
    steps: int = STEPS,
    lr: float = 1e-3,
) -> EMA:
    """Five steps with a checkpoint after each, and an export at the end."""
    ema = EMA(0.5)
    described = OmegaConf.to_yaml(config(*SMALL).model, resolve=True)
    module = Denoising(small_editor(), lambda p: torch.optim.AdamW(p, lr=lr), seed=0)
    callbacks = [ema, EditorCheckpoint(folder, described, (16, 16), ema, Sampler(1, Guidance())), *more]
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        callbacks=[*callbacks, LastCheckpoint(folder, every)],
        plugins=[AtomicCheckpointIO()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches: list[EditBatch] = [triplets()] * steps
    loader = DataLoader(batches, collate_fn=lambda rows: rows[0])
    try:
        trainer.fit(module, loader, ckpt_path=resume, weights_only=True)
    except NotFiniteError as error:
        error.average = ema.average
        raise
    return ema


def finite_checkpoint(file: Path, step: int) -> None:
    saved = checkpoint.read(file)
    assert saved["global_step"] == step
    assert not_finite(nested_tensors(saved)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_good_checkpoint_is_kept_and_goes_on(tmp_path: Path, kind: str) -> None:
    before, after, message = KINDS[kind]
    with pytest.raises(NotFiniteError, match=f"training stopped at step {SPOILT}: {message}") as stopped:
        fit(tmp_path, Spoil(before, after))
    assert "try a smaller algorithm.optimizer.lr" in str(stopped.value)
    assert "\n" not in str(stopped.value)
    assert not_finite(stopped.value.average) == []
    finite_checkpoint(tmp_path / "last.ckpt", SPOILT - 1)
    assert not (tmp_path / "editor").exists()


def test_a_resumed_training_finishes(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole")
    with pytest.raises(NotFiniteError):
        fit(tmp_path / "part", Spoil(nan_weight, None))
    again = fit(tmp_path / "part", resume=tmp_path / "part/last.ckpt")
    finite_checkpoint(tmp_path / "part/last.ckpt", STEPS)
    for name, value in whole.average.items():
        assert torch.equal(value, again.average[name]), name


def test_another_rate_is_used_and_recorded(tmp_path: Path) -> None:
    fit(tmp_path, steps=1)
    fit(tmp_path, resume=tmp_path / "last.ckpt", steps=2, lr=0.5)
    groups = checkpoint.read(tmp_path / "last.ckpt")["optimizer_states"][0]["param_groups"]
    assert [group["lr"] for group in groups] == [0.5]


class Late:
    """A number of a GPU: it is there when it is read and not before."""

    is_here = False

    def __init__(self, value: torch.Tensor) -> None:
        self.copy = HostCopy(value.detach().clone())

    def read(self) -> float:
        return self.copy.read()


@pytest.mark.parametrize(
    ("kind", "every"), [("gradients", 1), ("gradients", 100), ("optimiser", 100), ("autoencoder", 100)]
)
def test_numbers_that_come_a_step_later_do_no_more_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, every: int
) -> None:
    """As on a GPU: the step after is computed meanwhile, but neither average nor file have the bad one."""
    for module in (step_watch, averages):
        monkeypatch.setattr(module, "HostCopy", Late)
    before, after, message = KINDS[kind]
    with pytest.raises(NotFiniteError, match=f"training stopped at step {SPOILT}: {message}") as stopped:
        fit(tmp_path, Spoil(before, after), every=every)
    assert not_finite(stopped.value.average) == []
    if every == 1:
        finite_checkpoint(tmp_path / "last.ckpt", SPOILT - 1)
    assert (tmp_path / "last.ckpt").exists() == (every == 1)


def test_the_last_step_is_looked_at_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (step_watch, averages):
        monkeypatch.setattr(module, "HostCopy", Late)
    with pytest.raises(NotFiniteError, match=f"stopped at step {SPOILT}"):
        fit(tmp_path, Spoil(None, nan_gradient), every=100, steps=SPOILT)
    assert not list(tmp_path.iterdir())


def test_averages_are_the_same_whenever_the_numbers_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = fit(tmp_path / "a", every=2)
    for module in (step_watch, averages):
        monkeypatch.setattr(module, "HostCopy", Late)
    later = fit(tmp_path / "b", every=2)
    assert at_once.updates == later.updates == STEPS
    for name, value in at_once.average.items():
        assert torch.equal(value, later.average[name]), name


def test_a_broken_checkpoint_is_neither_resumed_nor_loaded_nor_exported(tmp_path: Path) -> None:
    fit(tmp_path, steps=1)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    for entry, where in (("ema", "ema."), ("optimizer_states", "optimizer_states.")):
        broken = torch.load(tmp_path / "last.ckpt", weights_only=True)
        next(iter(nested_tensors(broken[entry]).values())).fill_(math.nan)
        torch.save(broken, tmp_path / "broken.ckpt")
        with pytest.raises(ValueError, match=f"the numbers in .*broken.ckpt are not finite.*{where}") as told:
            fit(tmp_path / "again", resume=tmp_path / "broken.ckpt")
        assert not isinstance(told.value, NotFiniteError)  # whose advice is to go on from this file
    saved["ema"]["backbone.unet.conv_in.weight"][0] = math.inf
    torch.save(saved, tmp_path / "broken.ckpt")
    for load in (checkpoint.load_editor, lambda path: checkpoint.start_from(small_editor(), path)):
        with pytest.raises(NotFiniteError, match=r"the weights in .*broken\.ckpt are not finite"):
            load(tmp_path / "broken.ckpt")
    with pytest.raises(NotFiniteError, match="nothing is exported"):
        checkpoint.export(tmp_path / "export", saved["editor_config"], (16, 16), saved["ema"])
    assert not (tmp_path / "export").exists()


def looked_at(norm: float, losses: list[float], on_ranks: list[float]) -> None:
    watch = StepWatch(lambda _: torch.tensor(on_ranks))
    watch.remember(["a", "b"], torch.tensor(sum(losses)), torch.tensor(losses))
    watch.look(7, torch.tensor(norm), scaled=False)


def test_the_rank_is_named() -> None:
    looked_at(1.0, [1.0, 2.0], [0.0, 0.0])
    with pytest.raises(NotFiniteError, match=r"stopped at step 7: .* the loss on rank 1 is not finite"):
        looked_at(math.nan, [1.0, 2.0], [0.0, 1.0])
    with pytest.raises(NotFiniteError, match=r"the loss on rank 0 of 1 of 2 triplets \(b\) is not finite"):
        looked_at(math.inf, [1.0, math.nan], [1.0, 0.0])


def test_a_gradient_scaler_may_leave_out_some_steps_and_not_all() -> None:
    watch = StepWatch(lambda flag: flag)
    for step in range(MOST_SKIPPED):
        watch.look(step, torch.tensor(math.inf), scaled=True)
    watch.look(1, torch.tensor(1.0), scaled=True)
    for step in range(MOST_SKIPPED):
        watch.look(step, torch.tensor(math.nan), scaled=True)
    with pytest.raises(NotFiniteError, match="the norm of the gradients is nan"):
        watch.look(9, torch.tensor(math.nan), scaled=True)
