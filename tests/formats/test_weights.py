"""Weights of others: every form that they come in is read, whole, and none is run."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from src.formats.smartedit_folder import write_tensors
from src.formats.weights import read_folder_tensors, read_tensors

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.bfloat16), "c": torch.zeros(300)}


def equal(found: dict[str, torch.Tensor] | None) -> bool:
    return (
        found is not None
        and found.keys() == TENSORS.keys()
        and all(torch.equal(value, TENSORS[name]) for name, value in found.items())
    )


def test_every_form_is_read(tmp_path: Path) -> None:
    assert read_folder_tensors(tmp_path) is None
    torch.save(TENSORS, tmp_path / "pytorch_model.bin")
    torch.save(TENSORS, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    save_file(TENSORS, tmp_path / "one.safetensors")
    assert equal(read_folder_tensors(tmp_path))
    assert equal(read_tensors(tmp_path / "old.bin"))
    assert equal(read_tensors(tmp_path / "one.safetensors"))


def test_several_files_and_their_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.formats.smartedit_folder.LARGEST_FILE", 1000)
    assert sorted(sorted(names) for names in write_tensors(TENSORS, tmp_path)) == [["a", "b"], ["c"]]
    assert (tmp_path / "model.safetensors.index.json").exists()
    assert equal(read_folder_tensors(tmp_path))


@pytest.mark.parametrize("name", ["a.bin", "a.safetensors"])
def test_a_file_that_is_cut_off(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    if name == "a.bin":
        torch.save(TENSORS, file)
    else:
        save_file(TENSORS, file)
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(ValueError, match="it may be truncated"):
        read_tensors(file)
    with pytest.raises(FileNotFoundError, match="is missing: download"):
        read_tensors(tmp_path / "nothing.bin")
