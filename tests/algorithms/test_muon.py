"""Muon: singular values become equal, each kind of parameter gets its rule, Adam is torch's Adam, and state
survives saving.
"""

import pytest
import torch
from torch import nn

from src.algorithms.muon import Muon, orthogonalised


def test_singular_values_become_about_one_and_vectors_stay() -> None:
    matrix = torch.randn(24, 60, generator=torch.Generator().manual_seed(0)) @ torch.diag(
        torch.logspace(0, -2, 60)
    )
    result = orthogonalised(matrix)
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.5
    assert values.max() < 1.4
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    aligned = torch.diagonal(u.T @ result @ vh.T)
    torch.testing.assert_close(aligned, values.sort(descending=True).values, atol=0.5, rtol=0.5)
    assert (aligned > 0.4).all()
    torch.testing.assert_close(orthogonalised(matrix.T), result.T, atol=2e-2, rtol=2e-2)
    assert not orthogonalised(torch.zeros(3, 5)).any()
    torch.testing.assert_close(orthogonalised(matrix, dtype=torch.float32), result, atol=2e-2, rtol=2e-2)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "conv_in": nn.Conv2d(3, 8, 3),
            "hidden": nn.Conv2d(8, 16, 3),
            "token_embedding": nn.Embedding(7, 8),
            "linear": nn.Linear(16, 4),
        }
    )


def test_hidden_matrices_go_by_muon_and_the_rest_by_adam() -> None:
    groups = Muon(network().named_parameters()).param_groups
    names = {bool(group["muon"]): set() for group in groups}
    for group in groups:
        names[group["muon"]] |= set(group["param_names"])
    assert names[True] == {"hidden.weight", "linear.weight"}
    assert names[False] == {
        "conv_in.weight",
        "conv_in.bias",
        "hidden.bias",
        "token_embedding.weight",
        "linear.bias",
    }


def test_a_muon_step_changes_a_matrix_by_its_rate_in_every_direction() -> None:
    layer = nn.Linear(20, 20, bias=False)
    before = layer.weight.detach().clone()
    optimizer = Muon(layer.named_parameters(), lr=0.1)
    layer(torch.randn(64, 20)).square().sum().backward()
    optimizer.step()
    values = torch.linalg.svdvals(layer.weight.detach() - before)
    assert values.max() < 0.14
    assert values.median() > 0.05


def test_adam_is_that_of_torch() -> None:
    ours, theirs = network(), network()
    one = Muon(
        [(f"embedding.{name}", p) for name, p in ours.named_parameters()], adam_lr=1e-2, betas=(0.9, 0.99)
    )
    other = torch.optim.Adam(theirs.parameters(), lr=1e-2, betas=(0.9, 0.99))
    for step in range(4):
        for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=torch.Generator().manual_seed(step))
            reference.grad = mine.grad.clone()
        one.step()
        other.step()
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-6, rtol=1e-5)


def test_a_saved_state_continues_exactly() -> None:
    def train(net: nn.Module, optimizer: Muon, steps: range) -> None:
        for step in steps:
            for index, parameter in enumerate(net.parameters()):
                parameter.grad = torch.randn(
                    parameter.shape, generator=torch.Generator().manual_seed(100 * step + index)
                )
            optimizer.step()

    whole = network()
    train(whole, Muon(whole.named_parameters()), range(6))
    first = network()
    optimizer = Muon(first.named_parameters())
    train(first, optimizer, range(3))
    second = network()
    second.load_state_dict(first.state_dict())
    resumed = Muon(second.named_parameters())
    resumed.load_state_dict(optimizer.state_dict())
    train(second, resumed, range(3, 6))
    for one, other in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_impossible_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="momentum"):
        Muon(network().named_parameters(), momentum=1.0)
    with pytest.raises(ValueError, match="bfloat16 or float32, not 'half'"):
        Muon(network().named_parameters(), dtype="half")


def test_its_products_are_computed_in_the_dtype_asked_for() -> None:
    def changed(dtype: str) -> torch.Tensor:
        torch.manual_seed(0)
        layer = nn.Linear(20, 20, bias=False)
        layer.weight.grad = torch.randn(20, 20)
        before = layer.weight.detach().clone()
        Muon(layer.named_parameters(), dtype=dtype).step()
        return layer.weight.detach() - before

    assert not torch.equal(changed("float32"), changed("bfloat16"))
    torch.testing.assert_close(changed("float32"), changed("bfloat16"), atol=2e-3, rtol=0.1)
