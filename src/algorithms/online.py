"""Online reinforcement learning of an editor: draw groups of edits, judge them, learn from the differences
within each group.

Every micro-step is complete in itself and strictly on-policy: it draws its edits with the weights of its
optimiser step. Edits are functions of weights and (seed, optimiser step, micro-step, place in the global
batch, member), so a training that was killed goes on bit for bit, and asks a judge with a ledger nothing
twice. A group never leaves its rank.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from src.algorithms.denoising import mean_over_edits
from src.algorithms.editor_module import EditorModule
from src.algorithms.group_rewards import GroupRewards, JudgedGroups
from src.batch import EditBatch, EncodedBatch
from src.data.collate import to_images
from src.diffusion.guidance import Guidance
from src.diffusion.process import Latent
from src.diffusion.rollout import Rollout, Trajectory
from src.editor import Editor, PreparedEdits
from src.records import Case, TargetReward
from src.seeds import fold_seed

Each = Float[Tensor, " b"]
"""One number per edit: p cases with g edits each, b = p g."""


@final
@dataclass
class Costs:
    """What this process has spent since it started: edits, and seconds of drawing and of judging them."""

    edits: int = 0
    rollout_s: float = 0.0
    judge_s: float = 0.0


class Online(EditorModule, ABC):
    """The loop of all online algorithms; subclasses define what is learnt from the judged edits.

    Args:
        editor: one that can edit already.
        optimizer, scheduler, seed: as in `EditorModule`.
        rewards: judges and compares edits.
        rollout: how edits are drawn.
        guidance: of the drawn edits.
        target: the reward that the editor is asked for, if it is conditioned on one.
        members: edits per case, at least 2.
    """

    def __init__(
        self,
        editor: Editor,
        optimizer: Callable[..., Optimizer],
        seed: int,
        rewards: GroupRewards,
        rollout: Rollout,
        guidance: Guidance,
        target: TargetReward,
        members: int = 8,
        scheduler: Callable[..., LRScheduler] | None = None,
    ) -> None:
        super().__init__(editor, optimizer, scheduler, seed)
        if members < 2:
            raise ValueError(
                f"algorithm.members={members}: edits are compared within their group, which has at least 2"
            )
        self.rewards, self.rollout, self.guidance = rewards, rollout, guidance
        self.target, self.members = target, members
        self.costs = Costs()

    @abstractmethod
    def loss(
        self, batch: EditBatch, drawn: Trajectory, judged: JudgedGroups, micro_step: int
    ) -> Float[Tensor, ""]:
        """What is minimised, the mean over all ranks' samples that count (`mean_of`)."""

    @abstractmethod
    def drawing_weights(self) -> AbstractContextManager[None]:
        """A context in which the editor has the weights that edits are drawn with."""

    @property
    @final
    def supports_chat(self) -> bool:
        return False

    @final
    def training_step(self, batch: EditBatch | EncodedBatch, batch_index: int) -> Tensor:
        """One micro-step; logs `train/loss` and `reward/...`."""
        if not isinstance(batch, EditBatch):
            raise ValueError(
                "online learning edits images and judges them, and precomputed conditions hold none: leave "
                "out data.precomputed"
            )
        micro_step = batch_index % self.trainer.accumulate_grad_batches
        self.editor.eval()  # no dropout: what is replayed must be what was drawn
        begun = time.perf_counter()
        drawn = self.draw(batch, self.global_step, micro_step)
        self.costs.rollout_s += time.perf_counter() - begun
        judged = self.judge_edits(batch, drawn.clean)
        self.costs.judge_s += judged.seconds
        self.costs.edits += judged.values.numel()
        loss = self.loss(batch, drawn, judged, micro_step)
        self.watch.remember(batch.ids, loss)
        self._log(batch, judged, loss)
        return loss

    @final
    @torch.no_grad()
    def draw(self, batch: EditBatch, step: int, micro_step: int) -> Trajectory:
        """The edits of a micro-step: `members` of the first case, then those of the second, ..."""
        rows = range(self.global_rank * len(batch.ids), (self.global_rank + 1) * len(batch.ids))
        seeds = [
            fold_seed("rollout", self.seed, step, micro_step, row, member)
            for row in rows
            for member in range(self.members)
        ]
        with self.drawing_weights():
            prepared = self.prepared(batch, self.guidance)
            return self.rollout.sample(
                lambda x_t, t: self.editor.guided(x_t, t, prepared),
                self.editor.process,
                seeds,
                self.editor.backbone.latent_shape(*batch.original.shape[-2:]),
                batch.original.device,
                self.rollout.stochastic(self.seed, step),
            )

    @final
    def prepared(self, batch: EditBatch, guidance: Guidance, repeat: bool = True) -> PreparedEdits:
        """What the network needs to know of a batch, for all members of its groups, or once per case."""
        prepared = self.editor.prepare(
            batch.original, batch.instructions, [self.target] * len(batch.ids), guidance
        )
        return prepared.repeated(self.members) if repeat else prepared

    @final
    @torch.no_grad()
    def judge_edits(self, batch: EditBatch, clean: Latent) -> JudgedGroups:
        """Decode, judge and compare edits.

        Raises:
            NotFiniteError: an edit that is no image.
            ValueError: the judge fails too often.
        """
        originals = self.editor.backbone.encode_image(batch.original).repeat_interleave(self.members, 0)
        names = [f"an edit of {name}" for name in batch.ids for _ in range(self.members)]
        edits = to_images(self.editor.backbone.decode(clean, originals), names)
        return self.rewards(cases_of(batch), edits, self._sum_over_ranks)

    @final
    def mean_of(self, losses: Each, valid: Bool[Tensor, " b"]) -> Float[Tensor, ""]:
        """The mean of losses over all ranks' samples that count; 0, with gradients of 0, if none does."""
        return mean_over_edits(losses, valid, self.mean_over_ranks(int(valid.sum())))

    def _sum_over_ranks(self, sums: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
        if self.trainer.world_size == 1:
            return sums
        gathered = self.all_gather(sums.to(self.device))
        assert isinstance(gathered, Tensor)
        return gathered.sum(0).to(sums.device)

    def _log(self, batch: EditBatch, judged: JudgedGroups, loss: Tensor) -> None:
        """Every name in every step, so that all ranks log the same ones."""
        mean = judged.values.nanmean()
        values = {
            "train/loss": loss.detach(),
            "reward/mean": mean,
            "reward/best_of_group": judged.values.nan_to_num(-1.0).amax(1).mean(),
            "reward/spread": judged.advantages.spread.mean(),
            "reward/equal_groups": (~judged.advantages.valid.any(1)).float().mean(),
            "reward/failed": judged.values.isnan().float().mean(),
        }
        for name, scores in zip(
            ("following", "preserving", "quality"), judged.scores.unbind(-1), strict=True
        ):
            values[f"reward/{name}"] = scores.nanmean()
        self.log_dict(values, batch_size=len(batch.ids))


def cases_of(batch: EditBatch) -> Sequence[Case]:
    """The cases of a batch, with the images that the editor sees."""
    types = batch.edit_types or [""] * len(batch.ids)
    images = to_images(batch.original, batch.ids)
    return [
        Case(name, image, instruction, edit_type, name)
        for name, image, instruction, edit_type in zip(
            batch.ids, images, batch.instructions, types, strict=True
        )
    ]
