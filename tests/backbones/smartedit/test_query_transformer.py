"""The Q-Former equals plain formulas, has the published size, and reads what it should."""

import pytest
import torch
import torch.nn.functional as F

from src.backbones.smartedit.query_transformer import QueryTransformer

SIZES = {
    "encoder_width": 20,
    "width": 24,
    "queries": 7,
    "layers": 4,
    "heads": 3,
    "feedforward": 40,
    "cross_attention_every": 2,
}


def small(**changes) -> QueryTransformer:
    torch.manual_seed(0)
    network = QueryTransformer(**(SIZES | changes)).eval()
    for parameter in network.parameters():  # biases and scales as well, which start at zero and one
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def by_formula(
    weights: dict[str, torch.Tensor], hidden: torch.Tensor, layers: int, heads: int, every: int
) -> torch.Tensor:
    """The Q-Former in plain matrix products, from its weights alone."""

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return (
            centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt() * weights[f"{name}.weight"]
            + weights[f"{name}.bias"]
        )

    def attention(x: torch.Tensor, y: torch.Tensor, name: str) -> torch.Tensor:
        query, key, value = (
            linear(z, f"{name}.attention.{part}") for part, z in (("query", x), ("key", y), ("value", y))
        )
        size = query.shape[-1] // heads
        mixed = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            shares = (query[..., part] @ key[..., part].transpose(1, 2) / size**0.5).softmax(-1)
            mixed.append(shares @ value[..., part])
        return norm(x + linear(torch.cat(mixed, -1), f"{name}.output.dense"), f"{name}.output.LayerNorm")

    x = norm(weights["queries"].repeat(len(hidden), 1, 1), "qformer.layernorm")
    for layer in range(layers):
        name = f"qformer.encoder.layer.{layer}"
        x = attention(x, x, f"{name}.attention")
        if layer % every == 0:
            x = attention(x, hidden, f"{name}.crossattention")
        wide = F.gelu(linear(x, f"{name}.intermediate_query.dense"))
        x = norm(x + linear(wide, f"{name}.output_query.dense"), f"{name}.output_query.LayerNorm")
    return x


@pytest.mark.parametrize("every", [1, 2, 3])
def test_it_equals_plain_formulas(every: int) -> None:
    network = small(cross_attention_every=every)
    hidden = torch.randn(2, 5, 20)
    expected = by_formula(network.state_dict(), hidden, layers=4, heads=3, every=every)
    torch.testing.assert_close(network(hidden), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("width", "millions"), [(4096, 64.96), (5120, 69.67)])
def test_it_has_the_published_size(width: int, millions: float) -> None:
    with torch.device("meta"):
        network = QueryTransformer(width)
    assert round(sum(parameter.numel() for parameter in network.qformer.parameters()) / 1e6, 2) == millions
    assert network.queries.shape == (77, 768)
    assert (
        len(network.state_dict()) == 129
    )  # of the release's 129 one is a constant, and the queries are an entry of their own


def test_samples_do_not_see_each_other_and_every_hidden_state_counts() -> None:
    network = small()
    hidden = torch.randn(3, 5, 20)
    whole = network(hidden)
    torch.testing.assert_close(network(hidden[1:2]), whole[1:2], atol=1e-5, rtol=1e-5)
    for position in range(5):
        changed = hidden.clone()
        changed[:, position] += 1.0
        assert not torch.allclose(network(changed), whole, atol=1e-4)


def test_dropout_only_in_training() -> None:
    network = small(dropout=0.5)
    hidden = torch.randn(1, 5, 20)
    assert torch.equal(network(hidden), network(hidden))
    network.train()
    assert not torch.allclose(network(hidden), network(hidden))


def test_every_weight_gets_a_gradient() -> None:
    network = small()
    network(torch.randn(1, 5, 20)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"heads": 5}, "5 heads don't divide"), ({"cross_attention_every": 0}, "at least 1")],
)
def test_impossible_sizes_are_named(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**wrong)
