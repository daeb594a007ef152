"""Laws of every integration and every reward encoder; new yamls are picked up by glob."""

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch
from conditioning.editors import editor, wake
from conftest import small_editor
from torch.nn.parallel import DistributedDataParallel

from src.algorithms.denoising import Denoising, draw
from src.batch import EditBatch
from src.editor import Editor
from src.launch import CONF

INTEGRATIONS = sorted(path.stem for path in (CONF / "model/integration").glob("*.yaml"))
ENCODERS = sorted(path.stem for path in (CONF / "model/reward_encoder").glob("*.yaml"))
WITH_REWARD = [(i, e) for i in INTEGRATIONS for e in ENCODERS if "none" not in (i, e)]


def output(model: Editor, batch: EditBatch, scores: torch.Tensor | None = None) -> torch.Tensor:
    """Network output at fixed noise and times."""
    latent = model.backbone.encode_image(batch.original)
    x_t = torch.randn(latent.shape, generator=torch.Generator().manual_seed(3))
    condition = model.condition(
        latent, batch.instructions, batch.scores if scores is None else scores, batch.feedback
    )
    return model(x_t, torch.tensor([0.2, 0.5, 0.9]), condition)


def loss(model: Editor, batch: EditBatch) -> torch.Tensor:
    module = Denoising(model, torch.optim.AdamW, seed=0)
    return module.losses(batch, draw(0, 0, 0, range(3), model.backbone.latent_shape(16, 16))).minimised


def gradients(model: Editor, batch: EditBatch) -> dict[str, torch.Tensor | None]:
    model.zero_grad()
    loss(model, batch).backward()
    return {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("integration", INTEGRATIONS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_untrained_editor_equals_its_backbone_bit_for_bit(
    integration: str, encoder: str, batch: EditBatch
) -> None:
    plain, model = editor("none"), editor(integration, encoder)
    if model.integration is None or not model.integration.identity_at_init:
        assert "none" in (integration, encoder) or integration in ("released", "both_random")
    generator = torch.Generator().manual_seed(4)
    weights = {
        name: torch.randn(value.shape, generator=generator) * 0.1
        for name, value in plain.backbone.state_dict().items()
    }
    plain.backbone.load_state_dict(weights)
    model.backbone.load_state_dict(weights)
    if model.integration is None or model.integration.identity_at_init:
        assert torch.equal(output(plain, batch), output(model, batch))


@pytest.mark.parametrize(("integration", "encoder"), WITH_REWARD)
def test_output_depends_on_the_reward(integration: str, encoder: str, batch: EditBatch) -> None:
    model = wake(editor(integration, encoder))
    before = output(model, batch)
    if encoder == "text":
        other = output(
            model,
            EditBatch(
                **{**vars(batch), "feedback": [("the red circle was not removed", "None", "None")] * 3}
            ),
        )
    else:
        other = output(model, batch, scores=torch.full((3, 3), 2.0))
    assert all((before[i] - other[i]).abs().max() > 1e-6 for i in (0, 2))


@pytest.mark.parametrize(("integration", "encoder"), WITH_REWARD)
def test_init_random_starts_away_from_the_backbone(integration: str, encoder: str, batch: EditBatch) -> None:
    if integration == "both_random":
        overrides = []  # it is the paper's start by name
    elif integration == "both":
        overrides = [
            "model.integration.parts.attention.init=random",
            "model.integration.parts.addition.init=random",
        ]
    else:
        overrides = ["model.integration.init=random"]
    model = editor(integration, encoder, *overrides)
    assert model.integration is not None
    assert not model.integration.identity_at_init


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


@pytest.mark.parametrize("integration", INTEGRATIONS)
@pytest.mark.parametrize("encoder", ENCODERS)
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


COMPILE = """
import sys, torch
sys.path.insert(0, "tests")
from conftest import triplets
from conditioning.editors import editor, wake

BATCH = triplets()
for name in sys.argv[1:]:
    model = wake(editor(name))
    latent = model.backbone.encode_image(BATCH.original)
    condition = model.condition(latent, BATCH.instructions, BATCH.scores, BATCH.feedback)
    t = torch.tensor([0.2, 0.5, 0.9])
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(latent, t, condition), model(latent, t, condition), atol=1e-5, rtol=1e-4)
    print("compiled", name)
"""


@pytest.mark.parametrize(
    "names", [["both"], pytest.param(INTEGRATIONS, marks=pytest.mark.slow)], ids=["both", "all"]
)
def test_compiles_as_one_graph(names: list[str]) -> None:
    """In a process of its own: the shape checks that tests run with cannot be traced."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split("\n")[:-1] == [f"compiled {name}" for name in names]


@pytest.mark.parametrize("integration", [name for name in INTEGRATIONS if name != "none"])
def test_a_missing_reward_is_an_error(integration: str, batch: EditBatch) -> None:
    model = editor(integration)
    latent = model.backbone.encode_image(batch.original)
    condition = editor("none").condition(latent, batch.instructions, batch.scores, batch.feedback)
    with pytest.raises(ValueError, match="reward is missing"):
        model(latent, torch.tensor([0.2, 0.5, 0.9]), condition)
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
