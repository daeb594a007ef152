"""Supervision of what an editor's tokens say, by labels that the synthetic world knows (stage 1 alone).

The squared error alone does not ask loudly enough that the wanted word reaches the patch that it concerns: an
editor of 1.4 million parameters has not learnt it after 35,000 triplets, and has after 7,000 with labels.
"""

from typing import final

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from src.backbones.backbone import SupervisedBackbone
from src.batch import EditBatch
from src.synthetic.scene_labels import NONE, attribute_sizes, fill_sizes, reading_sizes, scene_labels
from src.synthetic.world import World

VISIBLE = 0.12
"""Change of a cell's brightest channel, in units of half the range of values, from which a patch counts as
changed."""


@final
class SceneSupervision(nn.Module):
    """Label losses of a backbone's readout, and the heads that only they need.

    Args:
        backbone: records what its tokens say.
        world: knows the labels of its triplets by their ids.
        weight: of all label losses together, relative to the squared error's.

    Raises:
        ValueError: a backbone that has nothing to supervise, or whose attributes are not the world's.
    """

    def __init__(self, backbone: nn.Module, world: World, weight: float = 1.0) -> None:
        super().__init__()
        if not isinstance(backbone, SupervisedBackbone):
            raise ValueError(
                f"algorithm.supervision needs a backbone whose tokens can be supervised, such as "
                f"model/backbone=tiny_transformer; {type(backbone).__name__} has none"
            )
        if dict(backbone.attributes) != attribute_sizes():
            raise ValueError(
                f"the backbone's attributes are {dict(backbone.attributes)}, the world's {attribute_sizes()}"
            )
        backbone.keeps_readout = True
        self.world, self.weight = world, weight
        self.changes = nn.Linear(backbone.text_width, 1)
        self.start_norm = nn.LayerNorm(backbone.text_width)
        self.reading = nn.Linear(backbone.text_width, sum(reading_sizes().values()))
        self.fill = nn.Linear(backbone.text_width, sum(fill_sizes().values()))

    def forward(self, backbone: SupervisedBackbone, batch: EditBatch) -> Float[Tensor, ""]:
        """The weighted label losses of the batch that the backbone has just denoised.

        Raises:
            ValueError: triplets of another world.
        """
        readout, backbone.readout = backbone.readout, None  # it holds the graph of the step
        assert readout is not None, "the backbone keeps its readout from its construction on"
        specs = [self.world.case_spec(case_id) for case_id in batch.ids]
        size, device = batch.original.shape[-1], batch.original.device
        labels = scene_labels(specs, size, backbone.patch, backbone.reach)
        before, after, presence, centre, reading, fill, painted = (part.to(device) for part in labels)
        said = readout.said
        looks = said.before.float().split(list(backbone.attributes.values())[:-1], -1)
        total = sum(
            0.25
            * weight
            * F.cross_entropy(logits.flatten(0, 1), before[:, index].flatten(), ignore_index=NONE)
            for index, (logits, weight) in enumerate(zip(looks, (1.0, 1.0, 0.5), strict=True))
        )
        changed = (
            0.3 + 2.0 * (before != after[:, :3]).any(1).float()
        )  # patches whose object changes count more
        expected = said.after.float().split(list(backbone.attributes.values()), -1)
        for index, (logits, weight) in enumerate(zip(expected, (1.0, 1.0, 1.0, 0.3), strict=True)):
            total = total + 0.25 * weight * weighted_cross_entropy(logits, after[:, index], changed)
        for logits, offsets in zip((said.right, said.down), centre.unbind(1), strict=True):
            total = total + 0.125 * F.cross_entropy(
                logits.float().flatten(0, 1), offsets.flatten(), ignore_index=NONE
            )
        present = F.binary_cross_entropy_with_logits(
            said.presence.float().squeeze(-1), presence.float(), reduction="none"
        )
        total = total + 0.25 * (present * changed).mean()
        moved = F.binary_cross_entropy_with_logits(
            self.changes(readout.tokens).float().squeeze(-1), changed_patches(batch, backbone.patch)
        )
        total = total + 0.5 * moved
        answers = (
            self.reading(self.start_norm(readout.start)).float().split(list(reading_sizes().values()), -1)
        )
        for index, logits in enumerate(answers):
            total = total + 0.1 * weighted_cross_entropy(logits, reading[:, index])
        fills = self.fill(readout.tokens).float().split(list(fill_sizes().values()), -1)
        for index, logits in enumerate(fills):  # every patch has to know all of a gradient
            total = total + 0.25 * weighted_cross_entropy(
                logits, fill[:, index, None].expand(logits.shape[:-1])
            )
        opaque = F.binary_cross_entropy_with_logits(readout.opacity.float(), painted)
        return self.weight * (total + opaque)


def weighted_cross_entropy(
    logits: Float[Tensor, "*b k"], labels: Int[Tensor, "*b"], weights: Float[Tensor, "*b"] | None = None
) -> Float[Tensor, ""]:
    """Weighted mean cross-entropy over labels that are not NONE; near 0 if there are hardly any."""
    losses = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=NONE, reduction="none")
    given = (labels.flatten() != NONE).float()
    given = given if weights is None else given * weights.flatten()
    return (losses * given).sum() / (given.sum() + 1.0)


def changed_patches(batch: EditBatch, patch: int) -> Float[Tensor, "b n"]:
    """1 where a patch of the triplet's images differs visibly, row by row."""
    difference = (batch.edited - batch.original).abs().amax(1, keepdim=True)
    cells = F.max_pool2d(F.avg_pool2d(difference, patch // 2), 2)
    return (cells > VISIBLE).float().flatten(1)
