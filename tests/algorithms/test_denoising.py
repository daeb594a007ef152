"""The training step: clipping, dropout, averaging, learning."""

import pytest
import torch
from conftest import small_editor
from pytorch_lightning import Callback, Trainer
from torch.utils.data import DataLoader

from src.algorithms.denoising import Denoising, draw
from src.batch import EditBatch
from src.callbacks.ema import EMA

SHAPE = (12, 8, 8)


class GradientNorms(Callback):
    """Norms of the gradients that the optimiser was given: they are still there after the step."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        self.norms.append(
            float(torch.stack([p.grad.norm() for p in pl_module.parameters() if p.grad is not None]).norm())
        )


class Weights(Callback):
    """The first layer's weights after every step."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        self.seen.append(pl_module.editor.backbone.unet.conv_in.weight.detach().clone())


def fit(
    module: Denoising,
    batch: EditBatch,
    steps: int,
    *callbacks: Callback,
    clip: float | None = None,
    precision: str = "32-true",
) -> Trainer:
    trainer = Trainer(
        precision=precision,
        max_steps=steps,
        accelerator="cpu",
        gradient_clip_val=clip,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader([batch] * steps, collate_fn=lambda rows: rows[0]))
    return trainer


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize(("clip", "largest"), [(1.0, 1.0), (None, float("inf"))])
def test_gradient_norm_after_clipping(
    batch: EditBatch, clip: float | None, largest: float, precision: str
) -> None:
    norms = GradientNorms()
    module = Denoising(
        small_editor("model.process.prediction=sample"),
        lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True),
        seed=0,
    )
    huge = EditBatch(**{**vars(batch), "edited": batch.edited * 100})  # so that there is something to clip
    fit(module, huge, 3, norms, clip=clip, precision=precision)
    assert len(norms.norms) == 3
    assert max(norms.norms) <= largest * 1.0001
    if clip is None:
        assert min(norms.norms) > 1.0


def test_one_batch_is_learnt(batch: EditBatch) -> None:
    module = Denoising(small_editor(), lambda p: torch.optim.AdamW(p, lr=3e-3), seed=0, condition_dropout=0.0)
    plain = (
        batch.scores[:, :, None, None].expand(3, 3, 16, 16) / 2.5 - 1.0
    )  # one colour each: little to remember
    batch = EditBatch(**{**vars(batch), "edited": plain.contiguous()})

    def level() -> float:
        with torch.no_grad():
            return sum(
                module.losses(batch, draw(9, step, 0, range(3), SHAPE)).error.item() for step in range(20)
            )

    before = level()
    fit(module, batch, 150)
    assert level() < 0.6 * before


def test_average_follows_its_formula(batch: EditBatch) -> None:
    weights, ema = Weights(), EMA(decay=0.2)
    module = Denoising(small_editor(), lambda p: torch.optim.AdamW(p, lr=1e-2), seed=0)
    expected = module.editor.backbone.unet.conv_in.weight.detach().clone()
    fit(module, batch, 4, weights, ema)
    for n, weight in enumerate(weights.seen, start=1):
        decay = min(0.2, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(ema.average["backbone.unet.conv_in.weight"], expected)


def test_reward_dropout_reaches_the_encoder() -> None:
    module = Denoising(small_editor("model.reward_encoder.dropout=0.5"), torch.optim.AdamW, seed=0)
    draws = draw(0, 0, 0, range(3), SHAPE)
    both = module._not_given(draws, torch.device("cpu"))
    assert both is not None
    assert both.tolist() == [
        [s < 0.5, t < 0.5] for s, t in zip(draws.score.tolist(), draws.text.tolist(), strict=True)
    ]


def test_times_are_spread_evenly_over_a_batch() -> None:
    time = draw(0, 3, 0, range(64), SHAPE).time.sort().values
    assert time[0] >= 0
    assert time[-1] < 1
    assert time.diff().max() < 3 / 64
