"""The interaction module equals Segment Anything's two-way transformer and plain formulas, on any grid, and
changes nothing at first.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from transformers.models.sam.configuration_sam import SamMaskDecoderConfig
from transformers.models.sam.modeling_sam import SamTwoWayTransformer

from src.backbones.smartedit.interaction import InteractionModule, grid_encoding

SIZES = {
    "text_width": 10,
    "image_width": 24,
    "stem_width": 6,
    "depth": 2,
    "heads": 3,
    "feedforward": 32,
    "downsample": 2,
}
IN_SAM = {
    "self_attention": "self_attn",
    "text_to_image": "cross_attn_token_to_image",
    "image_to_text": "cross_attn_image_to_token",
    "final_attention": "final_attn_token_to_image",
    "final_norm": "layer_norm_final_attn",
    "feedforward_in": "mlp.lin1",
    "feedforward_out": "mlp.lin2",
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "out": "out_proj",
} | {f"norm{number}": f"layer_norm{number}" for number in range(1, 5)}


def small(**changes: int) -> InteractionModule:
    torch.manual_seed(0)
    module = InteractionModule(**(SIZES | changes))
    for parameter in module.parameters():  # also what starts at zero
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def linear(weights: dict[str, torch.Tensor], x: torch.Tensor, name: str) -> torch.Tensor:
    return x @ weights[f"{name}.weight"].flatten(1).T + weights[f"{name}.bias"]


def by_formula(
    weights: dict[str, torch.Tensor], text: torch.Tensor, image: torch.Tensor, depth: int, heads: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The module for one sample (n, t), (c, h, w) in plain matrix products, from its weights alone."""

    def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, name: str) -> torch.Tensor:
        parts = zip(
            *(
                linear(weights, x, f"{name}.{part}").chunk(heads, -1)
                for x, part in ((query, "query"), (key, "key"), (value, "value"))
            ),
            strict=True,
        )
        return linear(
            weights,
            torch.cat([(q @ k.T / math.sqrt(q.shape[-1])).softmax(-1) @ v for q, k, v in parts], -1),
            f"{name}.out",
        )

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return (
            centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weights[f"{name}.weight"]
            + weights[f"{name}.bias"]
        )

    height, width = image.shape[1:]
    cells = [(column, row) for row in range(height) for column in range(width)]
    places = (
        torch.tensor(
            [[2 * (column + 0.5) / width - 1, 2 * (row + 0.5) / height - 1] for column, row in cells]
        )
        @ weights["frequencies"]
    )
    e = torch.cat([torch.sin(2 * math.pi * places), torch.cos(2 * math.pi * places)], -1)
    x = t = linear(weights, text, "text_in")
    y = torch.stack([image[:, row, column] for column, row in cells])
    for index in range(depth):
        name = f"layers.{index}"
        x = (
            attention(x, x, x, f"{name}.self_attention")
            if index == 0
            else x + attention(x + t, x + t, x, f"{name}.self_attention")
        )
        x = norm(x, f"{name}.norm1")
        x = norm(x + attention(x + t, y + e, y, f"{name}.text_to_image"), f"{name}.norm2")
        x = norm(
            x
            + linear(
                weights, linear(weights, x, f"{name}.feedforward_in").clamp_min(0), f"{name}.feedforward_out"
            ),
            f"{name}.norm3",
        )
        y = norm(y + attention(y + e, x + t, x, f"{name}.image_to_text"), f"{name}.norm4")
    x = norm(x + attention(x + t, y + e, y, "final_attention"), "final_norm")
    bias = linear(weights, y, "image_out")
    return text + 0.5 * linear(weights, x, "text_out"), bias.T.reshape(-1, height, width)


@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (1, 2)])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_it_equals_plain_formulas(depth: int, grid: tuple[int, int]) -> None:
    module = small(depth=depth)
    text, image = torch.randn(2, 7, 10), torch.randn(2, 24, *grid)
    both = [
        by_formula(module.state_dict(), *sample, depth, heads=3) for sample in zip(text, image, strict=True)
    ]
    new_text, bias = module(text, image)
    torch.testing.assert_close(new_text, torch.stack([one for one, _ in both]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(bias, torch.stack([one for _, one in both]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("grid", [(4, 4), (3, 5)])
def test_its_transformer_equals_that_of_segment_anything(grid: tuple[int, int]) -> None:
    module = small()
    config = SamMaskDecoderConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, mlp_dim=32, attention_downsample_rate=2
    )
    config.layer_norm_eps = 1e-5
    sam = SamTwoWayTransformer(config)
    weights = {
        name: value for name, value in module.state_dict().items() if name.startswith(("layers.", "final_"))
    }
    sam.load_state_dict(
        {
            ".".join(IN_SAM.get(part, part) for part in name.split(".")): value
            for name, value in weights.items()
        }
    )
    text, image = torch.randn(2, 7, 10), torch.randn(2, 24, *grid)
    places = grid_encoding(*grid, module.frequencies).T.reshape(1, 24, *grid).expand(2, -1, -1, -1)
    queries, keys = sam(module.text_in(text).unsqueeze(1), image, places, attention_similarity=None)
    new_text, bias = module(text, image)
    torch.testing.assert_close(
        new_text, text + 0.5 * module.text_out(queries.squeeze(1)), atol=1e-5, rtol=1e-5
    )
    features = keys.squeeze(1).transpose(1, 2).reshape(2, 24, *grid)
    torch.testing.assert_close(bias, module.image_out(features), atol=1e-5, rtol=1e-5)


def test_it_has_the_published_size() -> None:
    with torch.device("meta"):
        module = InteractionModule(text_width=768, image_width=1024, stem_width=320)
    transformer = [
        value for name, value in module.state_dict().items() if name.startswith(("layers.", "final_"))
    ]
    assert round(sum(value.numel() for value in transformer) / 1e6, 2) == 27.31
    assert len(module.state_dict()) == 89  # as in the release


def test_at_first_the_text_stays_and_there_is_no_bias() -> None:
    module = InteractionModule(**SIZES)
    text, image = torch.randn(2, 7, 10), torch.randn(2, 24, 4, 4)
    new_text, bias = module(text, image)
    assert torch.equal(new_text, text)
    assert not bias.any()
    (new_text.square().sum() + bias.sum()).backward()
    assert module.text_out.weight.grad is not None
    assert module.text_out.weight.grad.any()
    assert module.image_out.weight.grad is not None
    assert module.image_out.weight.grad.any()


def test_resizing_the_bias_equals_resizing_the_features() -> None:
    """As the release does it; ours can be kept on the small grid."""
    module = small()
    features = torch.randn(1, 24, 4, 4)
    late = F.interpolate(module.image_out(features), size=(9, 7), mode="bilinear")
    torch.testing.assert_close(
        late, module.image_out(F.interpolate(features, size=(9, 7), mode="bilinear")), atol=1e-5, rtol=1e-5
    )


def test_places_are_those_of_cell_centres() -> None:
    frequencies = torch.tensor([[1.0, 0.0], [0.0, 0.25]])
    encoding = grid_encoding(1, 2, frequencies)  # x is -1/2 and 1/2, y is 0
    torch.testing.assert_close(
        encoding, torch.tensor([[0.0, 0.0, -1.0, 1.0], [0.0, 0.0, -1.0, 1.0]]), atol=1e-6, rtol=0
    )
    column = grid_encoding(2, 1, frequencies)  # y is -1/2 and 1/2, a quarter of it turns by pi/4
    half = math.sin(math.pi / 4)
    torch.testing.assert_close(
        column, torch.tensor([[0.0, -half, 1.0, half], [0.0, half, 1.0, half]]), atol=1e-6, rtol=0
    )


def test_the_frequencies_are_saved_and_not_trained() -> None:
    module = small()
    assert "frequencies" in module.state_dict()
    assert "frequencies" not in dict(module.named_parameters())
    assert module.frequencies.shape == (2, 12)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"heads": 5}, "5 heads"), ({"downsample": 5}, "downsampling of 5"), ({"image_width": 9}, "is odd")],
)
def test_impossible_sizes_are_named(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**wrong)
