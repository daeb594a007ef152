"""Saves, loads and exports an Editor together with its config.

A checkpoint is Lightning's .ckpt with four entries of ours: `editor_config` (the resolved model config as a
YAML string), `picture_size`, `sampler` and `ema` (averaged weights). An export is a folder: `config.yaml` and
`model.safetensors` with the averaged weights. A diffusers pipeline is read as well: one written by
pipeline.py, or a stock InstructPix2Pix or FLUX.2-klein, an editor without reward. Nothing is ever unpickled.
"""

import hashlib
import pickle
import sys
import zipfile
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, cast, final, runtime_checkable

import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from src.backbones.backbone import Backbone
from src.backbones.pretrained import tensor_differences
from src.backbones.stock_pipeline import (
    PIPELINE,
    stock_config,
    stock_digests,
    stock_sampler,
    stock_size,
    stock_weights,
)
from src.checkpoint_paths import SETTINGS, check_there, is_stock
from src.differences import ABSENT, differing_leaves
from src.diffusion.process import Process
from src.diffusion.samplers import check_saved
from src.editor import Editor
from src.files import not_written, replacing, write_atomically
from src.finite_tensors import check_finite
from src.trust import check_model, plain_tree

CONFIG = "editor_config"
"""Key under which an export's weights file carries the text of its config.yaml."""

NOUNS = {CONFIG: "editor", "reward_model_config": "reward model", "judge_config": "judge"}
"""What a checkpoint of a training may hold, by the entry with its config."""

HERE = "."
"""Stands for the folder itself in the config of an exported pipeline folder."""

ADAPTER = "reward_adapter"
"""Folder of the reward modules in a diffusers pipeline folder; not listed in model_index.json, so stock
pipelines ignore it.
"""

UNET_WEIGHTS = "unet/diffusion_pytorch_model.safetensors"

MOST_SIDE = 16_384
"""Longest side of the images that an editor was trained on, in pixels."""

BACKBONE = "backbone."
"""How the names of a backbone's weights begin in an editor."""

REWARD_MODULES = ("reward_encoder.", "integration.")
"""How the names of an editor's reward modules begin."""


@final
class SavedProcess(NamedTuple):
    """The noise process of a saved editor, and its config as JSON."""

    process: Process
    settings: Mapping[str, object]


def load_editor(path: Path, weights: Literal["ema", "raw"] = "ema", trust: Sequence[str] = ()) -> Editor:
    """The editor in a .ckpt or in an exported folder, in evaluation mode, on the CPU.

    Args:
        path: `checkpoints/last.ckpt` or `editor/`.
        weights: averaged ("ema") or as the optimiser left them ("raw", .ckpt only).
        trust: packages or classes of the user's own that its config may name.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: truncated, not of this project, a config that names more than src/trust.py allows, or
            weights that don't fit its config or are not finite.
    """
    saved = read(path)
    if weights == "raw" and "state_dict" not in saved:
        raise ValueError(
            f"{path} is an export and holds averaged weights only; take the .ckpt for weights=raw"
        )
    tensors = saved["ema"] if weights == "ema" else _editor_weights(saved["state_dict"])
    editor = build(without_reader_weights(saved["editor_config"]), str(path), trust)
    load_weights(editor, tensors, str(path))
    return editor.eval()


def read(path: Path) -> dict[str, Any]:
    """Entries of a checkpoint or export (`editor_config`, `picture_size`, `sampler`, `ema`, and those of
    Lightning), without building a model. `sampler` is None where it was saved before editors knew theirs.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: truncated, not of this project, or a config that is more than plain values.
    """
    path = Path(path)
    saved = _read(path)
    _check_described(saved, path)
    return saved


def read_training(path: Path) -> dict[str, Any]:
    """Entries of a training's checkpoint, whatever was trained; of an editor, what `read` gives.

    Raises:
        FileNotFoundError, ValueError: as `read`.
    """
    path = Path(path)
    if path.is_dir() or not path.exists():
        return read(path)
    saved = _read_entries(path)
    if not any(name in saved for name in NOUNS if name != CONFIG):
        return read(path)
    if not {"ema", "state_dict"} <= saved.keys():
        raise ValueError(
            f"{path} is not a checkpoint of this project: it lacks ema or state_dict; give the "
            "checkpoints/last.ckpt of a run"
        )
    return saved


def config_of(saved: Mapping[str, Any]) -> str:
    """The model config among the entries of a training's checkpoint."""
    return str(next(saved[name] for name in NOUNS if name in saved))


def describe(path: Path) -> dict[str, Any]:
    """What `read` gives of an editor but its weights, which are not read. Raises as `read`."""
    path = Path(path)
    saved = _read(path, with_weights=False)
    _check_described({**saved, "ema": {}}, path)
    return {name: saved[name] for name in ("editor_config", "picture_size", "sampler")}


def _check_described(saved: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError unless the config is plain YAML, the image size a size, and the sampler one."""
    plain_config(saved["editor_config"], path)
    size = saved["picture_size"]
    sides = size if isinstance(size, list | tuple) else []
    if len(sides) != 2 or not all(type(side) is int and 0 < side <= MOST_SIDE for side in sides):
        raise ValueError(
            f"{path} says picture_size={str(size)[:60]}: height and width in pixels are needed, up to "
            f"{MOST_SIDE}; export the editor again"
        )
    if saved["sampler"] is not None:
        check_saved(saved["sampler"], str(path))
    if not all(isinstance(value, Tensor) for value in saved["ema"].values()):
        raise ValueError(f"{path} is not a checkpoint of this project: not all of its weights are tensors")


def _read(path: Path, with_weights: bool = True) -> dict[str, Any]:
    if (path / SETTINGS).exists():
        return _read_pipeline(path, with_weights)
    if is_stock(path):
        return _read_stock(path, with_weights)
    if path.is_dir():
        return _read_export(path, with_weights)
    check_there(path)
    return {"sampler": None, **_read_checkpoint(path, with_weights)}


def _read_stock(path: Path, with_weights: bool) -> dict[str, Any]:
    return {
        "editor_config": OmegaConf.to_yaml(stock_config(path)),
        "picture_size": stock_size(path),
        "sampler": stock_sampler(path),
        "ema": stock_weights(path) if with_weights else {},
    }


def _read_entries(path: Path, with_weights: bool = True) -> dict[str, Any]:
    try:
        # mapped into memory, weights that nobody asks for stay on disk
        mapped = not with_weights and zipfile.is_zipfile(path)
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} can't be read as a checkpoint: it is a pickle of more than tensors, or of none; nothing "
            "of it was run"
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError) as error:
        reason = str(error).splitlines()[0][:120]
        raise ValueError(
            f"{path} can't be read as a checkpoint, it may be truncated ({reason}): copy it again, or take "
            "another one"
        ) from error
    if not isinstance(saved, dict):
        raise ValueError(
            f"{path} is not a checkpoint of this project: it holds a {type(saved).__name__}; give a .ckpt or "
            "editor/ of a run"
        )
    return saved


def _read_checkpoint(path: Path, with_weights: bool) -> dict[str, Any]:
    saved = _read_entries(path, with_weights)
    other = [noun for name, noun in NOUNS.items() if name in saved and name != CONFIG]
    if other:
        raise ValueError(f"{path} is a checkpoint of a {other[0]}, and an editor is needed")
    missing = [key for key in ("editor_config", "picture_size", "ema", "state_dict") if key not in saved]
    if missing:
        raise ValueError(
            f"{path} is not a checkpoint of this project: it lacks {', '.join(missing)}; give a .ckpt or "
            "editor/ of a run"
        )
    return saved


def _read_export(folder: Path, with_weights: bool) -> dict[str, Any]:
    config, weights = folder / "config.yaml", folder / "model.safetensors"
    for file in (config, weights):
        if not file.exists():
            raise FileNotFoundError(
                f"{folder} is not an exported editor: {file.name} is missing{_hint_for_folder(folder)}"
            )
    metadata, tensors = read_weights(weights, with_weights)
    carried = metadata.get(CONFIG)
    text = config.read_text()
    if carried is not None and carried != text:
        print(
            f"warning: {config} is not the config that {weights.name} was saved with, which is used instead",
            file=sys.stderr,
        )
    described = _parse_description(carried or text, config)
    return {**described, "ema": tensors}


def read_weights(weights: Path, with_weights: bool = True) -> tuple[dict[str, str], dict[str, Tensor]]:
    """What an export's weights file carries, and its tensors.

    Args:
        weights: a safetensors file.
        with_weights: false: no tensor is read.

    Raises:
        ValueError: it can't be read.
    """
    try:
        with safe_open(weights, framework="pt") as opened:
            names = opened.keys() if with_weights else ()
            return opened.metadata() or {}, {name: opened.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{weights} can't be read, it may be truncated ({error}): copy it again, or export the run's "
            ".ckpt again"
        ) from error


def _hint_for_folder(folder: Path) -> str:
    """A hint at what was probably meant by a folder that is not an export."""
    if (folder / "editor").is_dir():
        return f"; it is a run, give {folder / 'editor'} or {folder / 'checkpoints/last.ckpt'}"
    return "; give the editor/ or checkpoints/last.ckpt of a run, or what src.export wrote"


def _parse_description(text: str, file: Path) -> dict[str, Any]:
    """The config and image size in a file's text. Raises ValueError unless it is plain YAML with both."""
    described = plain_tree(text, str(file))
    if not {"editor_config", "picture_size"} <= described.keys():
        raise ValueError(
            f"{file} doesn't describe an editor: editor_config and picture_size are needed; export the "
            "editor again"
        )
    known = ("editor_config", "picture_size", "sampler")
    return {name: described.get(name) for name in known}


def plain_config(config: object, source: Path) -> dict[str, Any]:
    """The config of a saved editor. Raises ValueError unless it is plain YAML of an editor."""
    tree = plain_tree(str(config), str(source))
    if not isinstance(tree.get("backbone"), dict):
        raise ValueError(f"the config of {source} names no backbone: it is no editor of this project")
    return tree


def _read_pipeline(folder: Path, with_weights: bool) -> dict[str, Any]:
    described = _parse_description((folder / SETTINGS).read_text(encoding="utf-8"), folder / SETTINGS)
    tree = plain_config(described["editor_config"], folder / SETTINGS)
    backbone = tree["backbone"]
    parts = [backbone.get("base"), backbone.get("reader")] if "base" in backbone else [backbone]
    if not all(isinstance(part, dict) for part in parts):
        raise ValueError(f"{folder / SETTINGS} describes no InsPix2Pix and no SmartEdit: export it again")
    for part, name in zip(parts, ("pretrained", "folder"), strict=False):
        part[name] = str(folder)
    prefix = f"{BACKBONE}base." if "base" in backbone else BACKBONE
    config = {**described, "editor_config": OmegaConf.to_yaml(tree)}
    return {**config, "ema": _pipeline_weights(folder, prefix) if with_weights else {}}


def _pipeline_weights(folder: Path, prefix: str) -> dict[str, Tensor]:
    weights = {f"{prefix}unet.{name}": value for name, value in _tensors(folder / UNET_WEIGHTS).items()}
    if (folder / ADAPTER).exists():
        weights |= _tensors(folder / ADAPTER / "model.safetensors")
    return weights


def _tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file of an exported pipeline. Raises FileNotFoundError or ValueError."""
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing from an exported editor: copy it again, or export the run again"
        )
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{file} can't be read, it may be truncated ({error}): copy it again, or export the run again"
        ) from error


def build(config: str, source: str, trust: Sequence[str] = ()) -> Editor:
    """An editor with fresh weights from its YAML config.

    Args:
        config: of a saved editor.
        source: where it was found, for messages.
        trust: packages or classes of the user's own that it may name.

    Raises:
        ValueError: the config names more than src/trust.py allows; nothing was built.
    """
    return instantiate(_checked(config, source, trust))


def lossless_process(path: Path, trust: Sequence[str] = ()) -> SavedProcess | None:
    """The noise process of a saved editor whose latents are lossless; None for one with an autoencoder. No
    network is built.

    Raises:
        FileNotFoundError, ValueError: as `read` and `build`.
    """
    tree: Any = _checked(describe(path)["editor_config"], str(path), trust)
    backbone: type[Backbone] = get_class(tree.backbone["_target_"])
    if not backbone.is_lossless:
        return None
    settings = cast(dict[str, object], OmegaConf.to_container(tree.process))
    return SavedProcess(instantiate(tree.process), settings)


def _checked(config: str, source: str, trust: Sequence[str]) -> DictConfig:
    """The tree of a saved editor's config, which may be built. Raises ValueError as `build`."""
    tree = plain_tree(config, source)
    check_model(tree, source, trust)
    return OmegaConf.create(tree)


def without_reader_weights(config: str) -> str:
    """A config without the place where a SmartEdit's reader began, if all of it was trained: its weights are
    in the checkpoint then.
    """
    tree: Any = OmegaConf.create(config)
    if (
        tree.backbone.get("trained") == "all"
        and OmegaConf.select(tree, "backbone.reader.weights") is not None
    ):
        tree.backbone.reader.weights = None
    return OmegaConf.to_yaml(tree)


@runtime_checkable
class Loadable(Protocol):
    """A network whose trained weights can be replaced."""

    def trained_state(self) -> dict[str, Tensor]:
        """Weights that a training changes, and buffers, by name."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> object:
        """As torch's modules have it."""
        ...


def load_weights(model: Loadable, tensors: Mapping[str, Tensor], where: str, noun: str = "editor") -> None:
    """Copy weights into an editor or another network.

    Raises:
        ValueError: names missing, extra or misshapen ones, or those that are not finite.
    """
    wrong = tensor_differences(
        tensors,
        {name: value.shape for name, value in model.trained_state().items()},
        f"this {noun}",
    )
    if wrong:
        raise ValueError(
            f"the weights in {where} are of another configuration ({len(wrong)} differences): "
            f"{'; '.join(wrong[:3])}; "
            "take the backbone, LoRA and reward modules that they were trained with"
        )
    advice = "the training diverged; take an earlier checkpoint of it, or train with a smaller lr"
    check_finite(tensors, f"the weights in {where}", advice)
    model.load_state_dict(dict(tensors), strict=False)  # frozen weights are not among them


def start_from(editor: Editor, path: Path) -> None:
    """Give an editor the averaged weights of another one: stage 1 without rewards before the reward stage, or
    a backbone alone before a SmartEdit around it.

    Reward modules that the other editor lacks keep their fresh weights. Everything else must be there and
    fit, except for what the backbone keeps of its own (`Backbone.adopt`).

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: truncated, of another configuration, or trained with another frozen reader.
    """
    own, found = editor.trained_state(), read(path)["ema"]
    weights = {name: value for name, value in own.items() if name.startswith(REWARD_MODULES)}
    weights |= {name: value for name, value in found.items() if not name.startswith(BACKBONE)}
    backbone = {
        name.removeprefix(BACKBONE): value for name, value in found.items() if name.startswith(BACKBONE)
    }
    adopted = editor.backbone.adopt(backbone, str(path))
    weights |= {f"{BACKBONE}{name}": value for name, value in adopted.items()}
    load_weights(editor, weights, str(path))


def config_differences(saved: str, present: str) -> list[str]:
    """Settings in which two model configs differ, in words; one of null equals one that is absent."""
    one, other = (
        cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.create(x))) for x in (saved, present)
    )
    return [
        f"{key} is {old} in the checkpoint and {new} here"
        for key, old, new in sorted(differing_leaves(one, other, into_lists=True), key=itemgetter(0))
        if any(value is not None and value is not ABSENT for value in (old, new))
    ]


def write(path: Path, saved: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically: a kill or a full disk leaves the previous one.

    Raises:
        NotWrittenError: the disk is full.
    """
    with replacing(path) as partial:
        try:
            torch.save(dict(saved), partial)
        except RuntimeError as error:  # raised by torch's writer when the disk is full
            raise not_written(path, error) from error


def export(
    folder: Path,
    config: str,
    image_size: tuple[int, int],
    tensors: Mapping[str, Tensor],
    sampler: Mapping[str, object] | None = None,
) -> None:
    """Write an export. The weights file carries the config as well and takes precedence, so that a reader
    between the two renames, or after a kill there, finds config and weights of the same export.

    Args:
        folder: for the files.
        config: the model config, as YAML.
        image_size: height and width trained on.
        tensors: the averaged weights.
        sampler: trained with, as `Sampler.saved`; None if that isn't known.

    Raises:
        NotWrittenError: the disk is full.
        NotFiniteError: NaN or infinity among the weights.
    """
    described = description(config, image_size, sampler)
    write_weights(folder / "model.safetensors", tensors, {CONFIG: described})
    write_atomically(folder / "config.yaml", described)


def write_weights(weights: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write an export's weights with what they carry, atomically. Raises as `export`."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    check_finite(whole, f"the weights for {weights}", "nothing is exported")
    with replacing(weights) as partial:
        try:
            save_file(whole, partial, metadata=dict(metadata))
        except SafetensorError as error:
            raise not_written(weights, error) from error


def description(config: str, image_size: Sequence[int], sampler: Mapping[str, object] | None) -> str:
    """The text of an export's config.yaml or a pipeline folder's editor.yaml; arguments as of `export`."""
    known = {} if sampler is None else {"sampler": dict(sampler)}
    return OmegaConf.to_yaml({"editor_config": config, "picture_size": list(image_size), **known})


def content_hash(path: Path) -> str:
    """sha256 of the averaged weights and the model config; equal for a .ckpt and its export, and for a stock
    pipeline wherever it lies.
    """
    saved = read(path)
    config: Any = OmegaConf.create(saved["editor_config"])
    if is_stock(path):
        config.backbone.pretrained = PIPELINE
        config.merge_with({f"{part}_weights": found for part, found in stock_digests(path).items()})
    digest = hashlib.sha256(OmegaConf.to_yaml(config).encode())
    for name, tensor in sorted(saved["ema"].items()):
        digest.update(name.encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())  # NumPy knows no bfloat16
    return digest.hexdigest()


def _editor_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The editor's weights among those of its LightningModule."""
    return {
        name.removeprefix("editor."): tensor for name, tensor in state.items() if name.startswith("editor.")
    }
