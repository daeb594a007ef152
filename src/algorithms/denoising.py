"""Training an Editor by denoising: the paper's equations 1 and 4 as a LightningModule.

Noise, times and dropped conditions are pure functions of (seed, optimiser step, micro-step, position in the
global batch). Nothing else is random, so several ranks compute the same gradients as one process on the same
global batch. The exception is dropout inside a network (SmartEdit's reader), a function of (seed, step,
micro-step, rank).
"""

from collections.abc import Callable
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from src.algorithms import compiling
from src.algorithms.editor_module import EditorModule
from src.algorithms.uncertainty import Uncertainty, weighted_losses
from src.backbones.backbone import Backbone
from src.backbones.frozen import FrozenEncoders
from src.batch import EditBatch, EncodedBatch
from src.diffusion.guidance import DroppedConditions, condition_dropout, text_dropout
from src.diffusion.process import Latent, noised
from src.editor import Editor
from src.seeds import fold_seed

GOLDEN_RATIO = 0.6180339887498949
"""Its multiples modulo 1 fill the unit interval evenly, whatever their number."""


@final
class StepDraws(NamedTuple):
    """Everything random in one training step, one row per sample. On the CPU.

    Attributes:
        time, condition, score, text: uniform in [0, 1).
        eps, posterior: (b, c, h, w), N(0, I); the added noise, and the noise that samples the clean latent
            from the autoencoder's posterior.
    """

    time: Float[Tensor, " b"]
    condition: Float[Tensor, " b"]
    score: Float[Tensor, " b"]
    text: Float[Tensor, " b"]
    eps: Latent
    posterior: Latent


@final
class Losses(NamedTuple):
    """Equation 4's mean squared error (None for a batch without edits), the minimised loss, the language
    model's and the labels' losses where there are any, and the squared error of each sample.
    """

    error: Float[Tensor, ""] | None
    minimised: Float[Tensor, ""]
    language: Float[Tensor, ""] | None = None
    labels: Float[Tensor, ""] | None = None
    each: Float[Tensor, " b"] | None = None


def draw(seed: int, step: int, micro_step: int, rows: range, latent_shape: tuple[int, int, int]) -> StepDraws:
    """The random numbers of these rows of the global batch. Row i is the same on every rank.

    Times are uniform for every row, but spread evenly over the rows of a batch (one random offset for all,
    then multiples of the golden ratio): the loss depends on the time more than on anything else, so this
    takes most of the noise out of its mean.
    """
    uniform, eps, posterior = [], [], []
    offset = torch.rand(
        (), generator=torch.Generator().manual_seed(fold_seed("time", seed, step, micro_step))
    )
    for row in rows:
        generator = torch.Generator().manual_seed(fold_seed("train", seed, step, micro_step, row))
        uniform.append(torch.rand(3, generator=generator))
        eps.append(torch.randn(latent_shape, generator=generator))
        posterior.append(torch.randn(latent_shape, generator=generator))
    time = (
        (offset + GOLDEN_RATIO * torch.tensor(rows, dtype=torch.float64))
        .remainder(1.0)
        .float()
        .clamp_max(1.0 - 2**-24)
    )
    condition, score, text = torch.stack(uniform).unbind(1)
    return StepDraws(time, condition, score, text, torch.stack(eps), torch.stack(posterior))


def mean_over_edits(
    losses: Float[Tensor, " b"], edits: Bool[Tensor, " b"], count: float | int
) -> Float[Tensor, ""]:
    """The mean of losses over samples with an edit; zero, with gradients of zero, if there is none.

    Args:
        losses: of all samples.
        edits: samples with an edit; on the CPU, like `count`, so that the common case needs no GPU
            synchronisation.
        count: mean number of edit samples per rank. DDP averages gradients over ranks, so dividing by this
            yields the gradient of the global mean.
    """
    if count == len(losses):
        return losses.mean()
    total = losses.masked_fill(~edits.to(losses.device), 0.0).sum()
    return total / count if count else total


@final
class Denoising(EditorModule):
    """MSE between network output and the process's regression target, with condition dropout.

    Args:
        editor, optimizer, scheduler: as in `EditorModule`.
        seed: of noise, times and dropout.
        condition_dropout: probability p of the InsPix2Pix scheme (text alone, both and image alone are
            dropped with p each); of backbones whose image can't be dropped, that of dropping the text.
        balanced: uncertainty weighting: divide each loss by its expected value for this time and instruction
            (uncertainty.py), so that small edits count as much as those of the whole image. Off in the paper.
        compiled: compile the network for training (torch.compile): steps are about a third faster, the first
            one takes half a minute longer. Editing, which has other batch sizes, is not compiled.
        language_weight: weight of the language model's error, where the backbone trains one; 1 in SmartEdit's
            stage 2.
        supervision: builds label losses on what the backbone's tokens say (supervision.py), for stage 1 on
            exact edits.
    """

    def __init__(
        self,
        editor: Editor,
        optimizer: Callable[..., Optimizer],
        seed: int,
        condition_dropout: float = 0.05,
        scheduler: Callable[..., LRScheduler] | None = None,
        balanced: bool = False,
        compiled: bool = False,
        language_weight: float = 1.0,
        supervision: Callable[[Backbone], nn.Module] | None = None,
    ) -> None:
        super().__init__(editor, optimizer, scheduler, seed)
        self.supervision = None if supervision is None else supervision(editor.backbone)
        self.compiled: Callable[..., Latent] | None = compiling.compiled(editor) if compiled else None
        self.condition_dropout = condition_dropout
        self.language_weight = language_weight
        self.uncertainty = Uncertainty(editor.backbone.text_width) if balanced else None

    def losses(self, batch: EditBatch | EncodedBatch, draws: StepDraws) -> Losses:
        """Equation 4, E |regression target - network(x_t, t, c_I, c_T, c_R)|^2, and the minimised loss: the
        same, or uncertainty-weighted.
        """
        process, device = self.editor.process, batch.original.device
        with torch.no_grad():
            original, x_0 = self._latents(batch, draws.posterior)
        eps = draws.eps.to(device)
        t = process.draw_time(draws.time, x_0[0, 0].numel()).to(device)
        x_t = noised(x_0, eps, process.marginal(t))
        reading = (
            batch.reading
            if isinstance(batch, EncodedBatch)
            else self.editor.backbone.read(batch.original, batch.instructions, batch.answers)
        )
        condition = self.editor.condition(
            original,
            batch.instructions,
            batch.scores,
            batch.feedback,
            dropped=self._dropped(draws),
            not_given=self._not_given(draws, device),
            encode_text=batch.encode_text if isinstance(batch, EncodedBatch) else None,
            reading=reading,
        )
        output = (self.compiled or self.editor)(x_t, t, condition)
        errors = (output.float() - process.regression_target(x_0, eps, t).float()).square().flatten(1).mean(1)
        weighted = errors
        if self.uncertainty is not None:
            weighted = weighted_losses(
                errors, self.uncertainty(process.marginal(t).sigma.to(device), condition.instruction.mean())
            )
        edits = (
            torch.ones(len(errors), dtype=torch.bool)
            if isinstance(batch, EncodedBatch)
            else batch.with_edit()
        )
        error = mean_over_edits(errors.detach(), edits, int(edits.sum())) if edits.any() else None
        minimised = mean_over_edits(
            weighted, edits, self.mean_over_ranks(int(edits.sum())) if self.supports_chat else len(errors)
        )
        labels = language = None
        if self.supervision is not None:
            labels = self.supervision(self.editor.backbone, batch)
            minimised = minimised + labels
        if reading is not None and reading.language_error is not None:
            language = reading.language_error.mean()
            minimised = minimised + self.language_weight * language
        language, labels = (None if loss is None else loss.detach() for loss in (language, labels))
        return Losses(error, minimised, language, labels, errors.detach())

    @property
    def supports_chat(self) -> bool:
        return self.editor.backbone.supports_chat

    def _dropped(self, draws: StepDraws) -> DroppedConditions:
        """Samples that lose their instruction or their image; where an image can't be dropped, the
        instruction alone, with the same probability p.
        """
        if self.editor.backbone.can_drop_image:
            return condition_dropout(draws.condition, self.condition_dropout)
        return text_dropout(draws.condition, self.condition_dropout)

    def _latents(self, batch: EditBatch | EncodedBatch, noise: Latent) -> tuple[Latent, Latent]:
        """c_I and x_0; `noise` samples the latter from the autoencoder's posterior."""
        backbone = self.editor.backbone
        if isinstance(batch, EncodedBatch):
            assert isinstance(backbone, FrozenEncoders)  # images are precomputed for such backbones only
            return batch.original, backbone.sample_latent(batch.edited, noise)
        original = backbone.encode_image(batch.original)
        return original, backbone.encode_edited(batch.edited, original, noise)

    def _not_given(self, draws: StepDraws, device: torch.device) -> Tensor | None:
        """Samples and signals whose reward is dropped, (b, signals); None for an editor without reward
        dropout.
        """
        encoder = self.editor.reward_encoder
        if encoder is None or encoder.dropout == 0.0:
            return None
        uniform = {"score": draws.score, "text": draws.text}
        return torch.stack([uniform[signal] < encoder.dropout for signal in encoder.signals], 1).to(device)

    def training_step(self, batch: EditBatch | EncodedBatch, batch_index: int) -> Tensor:
        """One micro-step; logs `train/loss`."""
        samples, rank = len(batch.ids), self.global_rank
        channels, height, width = batch.original.shape[1:]
        shape = (
            (channels, height, width)
            if isinstance(batch, EncodedBatch)
            else self.editor.backbone.latent_shape(height, width)
        )
        micro_step = batch_index % self.trainer.accumulate_grad_batches
        draws = draw(
            self.seed, self.global_step, micro_step, range(rank * samples, (rank + 1) * samples), shape
        )
        losses = self.losses(batch, draws)
        self.watch.remember(batch.ids, losses.minimised, losses.each)
        if losses.error is not None:
            self.log("train/loss", losses.error, batch_size=samples)
        if losses.language is not None:
            self.log("train/language_loss", losses.language, batch_size=samples)
        if losses.labels is not None:
            self.log("train/labels_loss", losses.labels, batch_size=samples)
        return losses.minimised
