"""Label losses: nothing to say of right answers, and every head and token is taught."""

import pytest
import torch
import torch.nn.functional as F
from conftest import config
from hydra.utils import instantiate

from src.algorithms.denoising import Denoising, draw
from src.algorithms.supervision import SceneSupervision, weighted_cross_entropy
from src.backbones.backbone import Readout, SpokenAttributes
from src.batch import EditBatch
from src.data.collate import to_tensor
from src.synthetic.scene_labels import attribute_sizes, fill_sizes, reading_sizes, scene_labels
from src.synthetic.world import World

WORLD = World(32)
SMALL = [f"model.backbone.{size}" for size in ("width=16", "depth=2", "channels=16", "hidden=16")]


def exact_batch(count: int = 14) -> EditBatch:
    cases = [WORLD.case("benchmark", 0, index) for index in range(count)]
    return EditBatch(
        [case.id for case in cases],
        to_tensor([case.original for case in cases]),
        to_tensor([WORLD.exact_edit(case.id) for case in cases]),
        [case.instruction for case in cases],
        None,
        None,
    )


def supervised() -> Denoising:
    torch.manual_seed(0)
    given = config(
        "+experiment=synthetic_stage1",
        *SMALL,
    )
    return instantiate(given.algorithm)(editor=instantiate(given.model))


def certain(labels: torch.Tensor, size: int) -> torch.Tensor:
    """Logits that leave no doubt of these labels (b, n); anything where there is none."""
    return 50.0 * F.one_hot(labels.clamp_min(0), size).float()


def test_right_answers_cost_nothing() -> None:
    batch, module = exact_batch(), supervised()
    backbone, supervision = module.editor.backbone, module.supervision
    assert isinstance(supervision, SceneSupervision)
    labels = scene_labels([WORLD.case_spec(case_id) for case_id in batch.ids], 32, 4, 7)
    sizes = list(attribute_sizes().values())
    before = torch.cat([certain(labels.before[:, i], size) for i, size in enumerate(sizes[:-1])], -1)
    after = torch.cat([certain(labels.after[:, i], size) for i, size in enumerate(sizes)], -1)
    said = SpokenAttributes(
        before,
        after,
        100.0 * labels.presence.float().unsqueeze(-1) - 50.0,
        *(certain(offsets, 15) for offsets in labels.centre.unbind(1)),
    )
    opacity = torch.logit(labels.painted, eps=1e-6)
    width = backbone.text_width
    right = backbone.readout = Readout(said, torch.zeros(14, 64, width), torch.zeros(14, width), opacity)
    least = F.binary_cross_entropy(labels.painted, labels.painted)  # of half-covered pixels
    rest = float(supervision(backbone, batch) - least)
    unsaid = 0.5 * F.binary_cross_entropy_with_logits(supervision.changes.bias, torch.ones(1))
    guessed = sum(
        weight * float(torch.tensor(list(sizes.values())).log().sum())
        for weight, sizes in ((0.1, reading_sizes()), (0.25, fill_sizes()))
    )
    assert rest < float(unsaid) + guessed + 1.0
    backbone.readout = right._replace(said=said._replace(after=-after))
    assert float(supervision(backbone, batch)) > rest + 10.0


def test_labels_are_learnt_with_the_edit() -> None:
    batch, module = exact_batch(), supervised()
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    first = last = None
    for step in range(30):
        losses = module.losses(batch, draw(0, step, 0, range(14), (12, 16, 16)))
        optimizer.zero_grad()
        losses.minimised.backward()
        optimizer.step()
        assert losses.labels is not None
        first, last = first or losses.labels, losses.labels
    assert float(last) < 0.75 * float(first)
    silent = [
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is None and not name.startswith("uncertainty")
    ]
    assert not silent


def test_a_label_that_is_missing_counts_for_nothing() -> None:
    logits = torch.tensor([[[3.0, 0.0], [0.0, 3.0]]])
    one = weighted_cross_entropy(logits, torch.tensor([[0, -100]]))
    other = weighted_cross_entropy(
        logits.clone().index_fill_(1, torch.tensor([1]), 9.0), torch.tensor([[0, -100]])
    )
    assert torch.equal(one, other)
    assert not weighted_cross_entropy(logits, torch.tensor([[-100, -100]]))


def test_a_backbone_that_says_nothing_is_refused() -> None:
    given = config(
        "+experiment=synthetic_stage1",
        "model/backbone=tiny",
        "model/process=preconditioned",
    )
    with pytest.raises(ValueError, match="TinyBackbone has none"):
        instantiate(given.algorithm)(editor=instantiate(given.model))
