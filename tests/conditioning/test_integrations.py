"""Laws of every integration and every reward encoder; new yamls are picked up by glob."""

import copy
import io
import pickle
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from conditioning.editors import editor, equal_weights, gradients, loss, output, wake
from conftest import config, small_editor, triplets
from hydra.errors import InstantiationException
from killing import in_own_process
from options import NATIVE, options
from torch.nn.parallel import DistributedDataParallel

from src.algorithms.denoising import Denoising, draw
from src.batch import EditBatch, TextTokens
from src.differences import leaves
from src.editor import Editor
from src.records import Feedback

INTEGRATIONS = [name for name in options("model/integration") if name not in NATIVE]
ENCODERS = options("model/reward_encoder")
PAIRS = [(name, "score_text") for name in INTEGRATIONS]
PAIRS += [("both", name) for name in ENCODERS if name != "score_text"]
"""Each integration with one encoder, each encoder with one integration: encoders act through tokens alone."""

WITH_REWARD = [pair for pair in PAIRS if "none" not in pair]


@pytest.mark.parametrize(("integration", "encoder"), PAIRS)
def test_untrained_editor_equals_its_backbone_exactly_if_it_says_so(
    integration: str, encoder: str, batch: EditBatch
) -> None:
    plain, model = editor("none"), editor(integration, encoder)
    equal_weights(plain, model)
    is_identity = model.integration is None or model.integration.identity_at_init
    assert torch.equal(output(plain, batch), output(model, batch)) == is_identity


@pytest.mark.parametrize(("integration", "encoder"), WITH_REWARD)
def test_output_depends_on_the_reward(integration: str, encoder: str, batch: EditBatch) -> None:
    model = wake(editor(integration, encoder))
    before = output(model, batch)
    if encoder == "text":
        feedback = [("the red circle was not removed", "None", "None")] * 3
        other = output(model, replace(batch, feedback=feedback))
    else:
        other = output(model, batch, scores=torch.full((3, 3), 2.0))
    assert all((before[i] - other[i]).abs().max() > 1e-6 for i in (0, 2))


def init_overrides(integration: str, value: str) -> list[str]:
    """Overrides that set every `init` in an integration's config."""
    config_tree = config(f"model/integration={integration}").model.integration or {}
    names = [name for name, _ in leaves(config_tree) if name.rpartition(".")[2] == "init"]
    return [f"model.integration.{name}={value}" for name in names]


@pytest.mark.parametrize("integration", [name for name in INTEGRATIONS if init_overrides(name, "random")])
@pytest.mark.parametrize("init", ["zero", "random"])
def test_init_says_where_an_untrained_editor_starts(integration: str, init: str, batch: EditBatch) -> None:
    """Zero at the backbone, bit for bit; random away from it, as the paper does."""
    plain, model = editor("none"), editor(integration, "score_text", *init_overrides(integration, init))
    equal_weights(plain, model)
    assert torch.equal(output(plain, batch), output(model, batch)) == (init == "zero")


@pytest.mark.parametrize("name", ["integration", "reward_encoder"])
def test_none_builds_no_reward_parameters(name: str) -> None:
    model = small_editor(f"model/{name}=none")
    assert model.integration is None
    assert model.reward_encoder is None
    assert all(parameter.startswith("backbone.") for parameter, _ in model.named_parameters())


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_survives_deepcopy_and_pickling(integration: str, batch: EditBatch) -> None:
    model = wake(editor(integration))
    expected = output(model, batch)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(output(twin, batch), expected)
        # a copy is independent: changing the original must not reach it
        for parameter in twin.parameters():
            parameter.data += 1.0
        assert torch.equal(output(model, batch), expected)
        assert not torch.equal(output(twin, batch), expected)


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_gradient_checkpointing_gives_equal_gradients(integration: str, batch: EditBatch) -> None:
    model = wake(editor(integration))
    plain = gradients(model, batch)
    model.backbone.unet.enable_gradient_checkpointing()
    model.train()
    checkpointed = gradients(model, batch)
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize(("integration", "encoder"), PAIRS)
def test_every_parameter_gets_a_gradient(integration: str, encoder: str, batch: EditBatch) -> None:
    """So DDP needs no search for unused parameters."""
    assert not [
        name for name, gradient in gradients(editor(integration, encoder), batch).items() if gradient is None
    ]


@pytest.fixture
def one_process(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_ddp_without_unused_parameters(integration: str, batch: EditBatch, one_process) -> None:
    module = Denoising(wake(editor(integration)), torch.optim.AdamW, seed=0)
    draws = draw(0, 0, 0, range(3), module.editor.backbone.latent_shape(16, 16))
    module.forward = module.losses  # what DDP wraps
    wrapped = DistributedDataParallel(module, find_unused_parameters=False)
    for _ in range(2):  # an unused parameter would raise at the second forward
        wrapped(batch, draws).minimised.backward()


def compare_with_one_graph(integration: str) -> None:
    model, batch = wake(editor(integration)), triplets()
    latent = model.backbone.encode_image(batch.original)
    condition = model.condition(latent, batch.instructions, batch.scores, batch.feedback)
    t = torch.tensor([0.2, 0.5, 0.9])
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(
        compiled(latent, t, condition), model(latent, t, condition), atol=1e-5, rtol=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_compiles_as_one_graph(integration: str) -> None:
    in_own_process(compare_with_one_graph, integration)


@pytest.mark.parametrize("integration", [name for name in INTEGRATIONS if name != "none"])
def test_a_missing_reward_is_an_error(integration: str, batch: EditBatch) -> None:
    model = editor(integration)
    latent = model.backbone.encode_image(batch.original)
    condition = editor("none").condition(latent, batch.instructions, batch.scores, batch.feedback)
    with pytest.raises(ValueError, match="reward is missing"):
        model(latent, torch.tensor([0.2, 0.5, 0.9]), condition)
    if not model.integration.sites:  # it is in the text
        return
    with (
        pytest.raises(RuntimeError, match="without a reward"),
        model.backbone.stem.adding(torch.zeros(3, 16, 1, 1)),
    ):
        model.backbone.unet(
            torch.zeros(3, 2 * latent.shape[1] + 2, *latent.shape[2:]),
            torch.zeros(3),
            condition.instruction.tokens,
            class_labels=torch.zeros(3, 16),
        )


def test_a_reward_nobody_reads_is_an_error(batch: EditBatch) -> None:
    model = editor("none")
    latent = model.backbone.encode_image(batch.original)
    condition = editor("both").condition(latent, batch.instructions, batch.scores, batch.feedback)
    with pytest.raises(ValueError, match="ignored"):
        model(latent, torch.tensor([0.2, 0.5, 0.9]), condition)


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_exactly_the_trainable_parameters_change_in_a_step(integration: str, batch: EditBatch) -> None:
    model = wake(editor(integration))
    model.backbone.text_encoder.requires_grad_(False)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    module = Denoising(model, lambda parameters: torch.optim.AdamW(parameters, lr=1e-2), seed=0)
    optimizer = module.configure_optimizers()
    loss(model, batch).backward()
    optimizer.step()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == trained


def test_state_dict_of_the_unet_is_that_of_a_stock_unet() -> None:
    """Attached, not forked: a stock U-Net of the same config loads the weights strictly."""
    model = editor("both")
    stock = type(model.backbone.unet).from_config(model.backbone.unet.config)
    buffer = io.BytesIO()
    torch.save(model.backbone.unet.state_dict(), buffer)
    buffer.seek(0)
    stock.load_state_dict(torch.load(buffer, weights_only=True), strict=True)


@pytest.mark.parametrize(("option", "blocks"), [("last_block=true", 5), ("last_block=false", 4)])
def test_addition_reaches_the_blocks_it_names(option: str, blocks: int) -> None:
    model = editor("addition", "score_text", f"model.integration.{option}")
    assert model.integration is not None
    assert model.integration.sites == tuple(f"block.{i}" for i in range(blocks))


def test_skips_are_changed_only_if_asked_for(batch: EditBatch) -> None:
    seen = []
    for skips in ("false", "true"):
        model = wake(editor("addition", "score_text", f"model.integration.skips={skips}"))
        seen.append(output(model, batch))
    assert not torch.equal(*seen)


def test_appended_tokens_stand_behind_the_text_whatever_its_padding(batch: EditBatch) -> None:
    model, plain = wake(editor("tokens")), editor("none")
    latent = model.backbone.encode_image(batch.original)

    def words(which: Editor, feedback: Sequence[Feedback] | None) -> TextTokens:
        return which.condition(latent, batch.instructions, batch.scores, feedback).instruction

    ours, theirs = words(model, batch.feedback), words(plain, batch.feedback)
    length = theirs.mask.shape[1]
    assert ours.mask.shape == (3, length + 2)  # a token per signal
    assert ours.mask[:, length:].all()
    assert torch.equal(ours.mask[:, :length], theirs.mask)
    # longer feedback of another sample pads the first one's, and changes nothing of it
    longer = [batch.feedback[0], *[("the red circle was not removed",) * 3] * 2]
    torch.testing.assert_close(words(model, longer).tokens[0, length:], ours.tokens[0, length:])


@pytest.mark.parametrize("integration", NATIVE)
def test_an_integration_of_transformers_is_refused_by_a_unet(integration: str) -> None:
    with pytest.raises(InstantiationException, match=r"no site 'modulation\.'; it has time_embedding, stem"):
        editor(integration)


NARROW = {
    "attention": ["model.integration.inner=8", "model.integration.heads=2"],
    "addition": ["model.integration.rank=4"],
    "both": [
        "model.reward_encoder.width=12",
        "model.integration.parts.attention.inner=8",
        "model.integration.parts.addition.rank=4",
    ],
}
"""Ways to make the reward modules small where text and network are wide."""


@pytest.mark.parametrize("integration", NARROW)
@pytest.mark.parametrize("init", ["zero", "random"])
def test_narrow_reward_modules_keep_the_laws(integration: str, init: str, batch: EditBatch) -> None:
    narrow = [*NARROW[integration], *init_overrides(integration, init)]
    plain, model = editor("none"), editor(integration, "score_text", *narrow)
    equal_weights(plain, model)
    assert torch.equal(output(plain, batch), output(model, batch)) == (init == "zero")
    assert not [name for name, gradient in gradients(model, batch).items() if gradient is None]
    before = output(wake(model), batch)
    assert not torch.equal(before, output(model, batch, batch.scores.flip(0)))


@pytest.mark.parametrize("integration", NARROW)
def test_narrow_reward_modules_are_smaller(integration: str) -> None:
    sizes = [
        sum(
            weight.numel()
            for name, weight in editor(integration, "score_text", *given).named_parameters()
            if not name.startswith("backbone.")
        )
        for given in ([], NARROW[integration])
    ]
    assert sizes[1] < sizes[0]
