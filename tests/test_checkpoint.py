"""Saved editors: the way there and back, and what is refused."""

from pathlib import Path

import pytest
import torch
from conftest import SMALL, config, small_editor
from omegaconf import OmegaConf

from src import checkpoint, export


def described(*overrides: str) -> str:
    return OmegaConf.to_yaml(config(*SMALL, *overrides).model, resolve=True)


def exported(folder: Path, *overrides: str, weights_of: tuple[str, ...] | None = None) -> Path:
    tensors = small_editor(*(overrides if weights_of is None else weights_of)).state_dict()
    checkpoint.export(folder, described(*overrides), (32, 32), tensors)
    return folder


@pytest.mark.parametrize(
    "overrides",
    [(), ("model/integration=none",), ("model/reward_encoder=score", "model/integration=time_embedding")],
)
def test_an_export_comes_back_bit_for_bit(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    loaded = checkpoint.load_editor(exported(tmp_path, *overrides))
    for (name, ours), theirs in zip(
        small_editor(*overrides).state_dict().items(), loaded.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    assert not loaded.training


@pytest.mark.parametrize("dtype", export.DTYPES)
def test_a_small_editor_is_exported_rounded(tmp_path: Path, dtype: str) -> None:
    """With a card, whose commands name it; loaded in float32, so that only the weights are rounded."""
    folder = exported(tmp_path / "run/editor")
    options = {
        "checkpoint": str(folder),
        "output": str(tmp_path / "mine"),
        "weights": "ema",
        "dtype": dtype,
        "trust": [],
    }
    export.main(OmegaConf.create(options))
    assert "checkpoint=mine" in (tmp_path / "mine/README.md").read_text()
    loaded = checkpoint.load_editor(tmp_path / "mine").state_dict()
    for name, ours in small_editor().state_dict().items():
        assert torch.equal(ours.to(getattr(torch, dtype)).float(), loaded[name]), name
    is_equal = checkpoint.content_hash(tmp_path / "mine") == checkpoint.content_hash(folder)
    assert is_equal == (dtype == "float32")
    with pytest.raises(ValueError, match="exists already"):
        export.main(OmegaConf.create(options))


def test_weights_of_another_configuration_are_named(tmp_path: Path) -> None:
    folder = exported(tmp_path, weights_of=("model.backbone.fold=4",))
    with pytest.raises(
        ValueError,
        match=r"another configuration .*conv_in.weight has shape \(16, 98, 3, 3\), "
        r"this editor \(16, 26, 3, 3\)",
    ):
        checkpoint.load_editor(folder)


def test_missing_and_extra_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"reward_encoder.type_embedding is missing"):
        checkpoint.load_editor(
            exported(tmp_path / "a", "model/integration=attention", weights_of=("model/integration=none",))
        )
    with pytest.raises(ValueError, match="is not in this editor"):
        checkpoint.load_editor(exported(tmp_path / "b", "model/integration=none", weights_of=()))


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    weights = exported(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ValueError, match="truncated"):
        checkpoint.load_editor(tmp_path)


def test_a_folder_that_is_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config.yaml is missing"):
        checkpoint.load_editor(tmp_path)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="lacks editor_config"):
        checkpoint.read(tmp_path / "other.ckpt")


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    torch.save({"state_dict": Path("/")}, tmp_path / "pickle.ckpt")
    with pytest.raises(ValueError, match="can't be read as a checkpoint"):
        checkpoint.read(tmp_path / "pickle.ckpt")


def test_a_config_may_not_build_anything_else() -> None:
    with pytest.raises(ValueError, match=r"the config of x builds 'os.system' at backbone"):
        checkpoint.build("_target_: src.editor.Editor\nbackbone: {_target_: os.system, command: ls}\n", "x")


def test_differences_between_configurations_are_named() -> None:
    differences = checkpoint.config_differences(
        described(), described("model.backbone.fold=4", "model/integration=attention")
    )
    assert "backbone.fold is 2 in the checkpoint and 4 here" in differences
    assert any(line.startswith("integration.") for line in differences)
    assert checkpoint.config_differences(described(), described()) == []


def test_a_reward_stage_starts_from_stage_1(tmp_path: Path) -> None:
    stage_1 = exported(tmp_path, "model/integration=none")
    torch.manual_seed(1)
    editor = small_editor()
    for parameter in editor.parameters():
        parameter.data += 1.0
    fresh = {name: value.clone() for name, value in editor.state_dict().items()}
    checkpoint.start_from(editor, stage_1)
    saved = checkpoint.read(stage_1)["ema"]
    for name, value in editor.state_dict().items():
        assert torch.equal(
            value, fresh[name] if name.startswith(checkpoint.REWARD_MODULES) else saved[name]
        ), name


def test_starting_from_other_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"another configuration .*conv_in.weight has shape"):
        checkpoint.start_from(
            small_editor(), exported(tmp_path / "a", "model.backbone.fold=4", "model/integration=none")
        )
    with pytest.raises(ValueError, match=r"is not in this editor"):
        checkpoint.start_from(small_editor("model/integration=none"), exported(tmp_path / "b"))
