"""NaN and infinity are found wherever they stand, and pass for nothing."""

import math

import pytest
import torch

from src.data.collate import finite_images, to_images
from src.finite import NotFiniteError
from src.finite_tensors import HostCopy, check_finite, clamp_visibly, nested_tensors, not_finite
from src.shard_writer import check_entries


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("place", [0, 500, -1])
def test_one_bad_entry_is_found(bad: float, dtype: torch.dtype, place: int) -> None:
    tensors = {"a": torch.zeros(3, dtype=dtype), "b": torch.ones(1000, dtype=dtype), "c": torch.arange(4)}
    assert not_finite(tensors) == []
    tensors["b"][place] = bad
    assert not_finite(tensors) == ["b"]
    with pytest.raises(NotFiniteError, match=r"the weights are not finite, .* in 1 of 3 \(b\): go home"):
        check_finite(tensors, "the weights", "go home")


def test_large_numbers_are_numbers() -> None:
    assert not_finite({"a": torch.full((9,), 1e30), "b": torch.full((9,), 6e4, dtype=torch.float16)}) == []
    assert not_finite({}) == not_finite({"empty": torch.zeros(0)}) == []


def test_tensors_are_found_at_any_depth() -> None:
    tree = {"state": [{"a": torch.zeros(1), "step": 3}], "b": (torch.ones(2), None, "x")}
    assert list(nested_tensors(tree)) == ["state.0.a", "b.0"]


def test_clamping_does_not_hide_infinity() -> None:
    values = torch.tensor([-3.0, -0.5, 2.0])
    assert torch.equal(clamp_visibly(values, -1.0, 1.0), values.clamp(-1.0, 1.0))
    assert clamp_visibly(torch.tensor([math.inf, -math.inf, math.nan]), -1.0, 1.0).isnan().all()


def test_what_is_not_finite_becomes_no_picture() -> None:
    images = torch.zeros(3, 3, 4, 4)
    assert len(to_images(images)) == 3
    images[1, 2, 3, 3] = math.nan
    images[2, 0, 0, 0] = math.inf
    assert [image is None for image in finite_images(images)] == [False, True, True]
    with pytest.raises(NotFiniteError, match=r"2 of 3 images are not finite \(NaN\), b, c"):
        to_images(images, ["a", "b", "c"])


def test_a_number_that_is_here_is_read_as_it_is() -> None:
    copy = HostCopy(torch.tensor(2.5, requires_grad=True))
    assert (copy.is_here, copy.read()) == (True, 2.5)


def test_what_is_not_finite_is_not_kept_for_training() -> None:
    entries = torch.zeros(2, 3, 2, 2)
    check_entries("mean", entries, ["a", "b"], "float16")
    entries[1, 0, 0, 0] = 1e6
    with pytest.raises(NotFiniteError, match=r"mean of 1 entries is not finite .* such as of 'b'"):
        check_entries("mean", entries.half(), ["a", "b"], "float16")
