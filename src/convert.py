"""Turn published weights into an editor of this project, and back, bit for bit.

    python -m src.convert format=multi_reward_release source=stage2_reward_instruct_pix2pix target=my-editor
    python -m src.convert format=multi_reward_release source=my-editor target=DIR reverse=true

The result of the first is what `src.export` writes: `checkpoint=my-editor` works in src.edit, src.evaluate and src.train, and diffusers loads it.
"""

import json
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from src import checkpoint, launch
from src.backbones.pretrained import what_is_broken
from src.checkpoint import ADAPTER, SETTINGS, UNET_WEIGHTS
from src.files import not_written, replacing
from src.formats import multi_reward_release
from src.pipeline import write_pipeline


def main(cfg: DictConfig) -> None:
    """Convert the folder `cfg.source` to the new folder `cfg.target`.

    Raises:
        ValueError: an unknown format, or a source or target that is missing.
    """
    if cfg.format != "multi_reward_release":
        raise ValueError(f"unknown format {cfg.format!r}: multi_reward_release is what can be converted")
    for name in ("source", "target"):
        if not cfg[name]:
            raise ValueError(f"{name}=... is missing; see the head of src/convert.py for a command")
    source, target = Path(cfg.source), Path(cfg.target)
    if target.exists():
        raise ValueError(f"target={target} exists already: give a new folder")
    if cfg.reverse:
        count = to_release(source, target)
    else:
        cfg.model.backbone.pretrained = str(source)
        count = from_release(source, target, OmegaConf.to_yaml(cfg.model, resolve=True), (cfg.picture_size, cfg.picture_size))
    print(f"{target}: {count} tensors")


def from_release(source: Path, target: Path, config: str, picture_size: tuple[int, int]) -> int:
    """Write a release's folder as ours; the number of tensors of its U-Net."""
    tensors = unet_tensors(source)
    editor = checkpoint.build(config)
    multi_reward_release.check(tensors, editor.trained_state(), str(source / "unet"))
    checkpoint.fill(editor, {multi_reward_release.our_name(name): value for name, value in tensors.items()}, str(source))
    card = f"# {target.name}\n\nConverted from the multi-reward release at `{source.name}`, tensor by tensor; nothing was trained.\n"
    write_pipeline(editor, config, picture_size, card, target)
    return len(tensors)


def to_release(source: Path, target: Path) -> int:
    """Write an editor as the release does: a pipeline whose U-Net holds all tensors; their number."""
    saved = checkpoint.read(source)
    tensors = {multi_reward_release.their_name(name): value.contiguous() for name, value in saved["ema"].items()}
    editor = checkpoint.load_editor(source)
    multi_reward_release.check(tensors, editor.trained_state(), str(source))
    with replacing(target) as partial:
        write_pipeline(editor, saved["editor_config"], tuple(saved["picture_size"]), "", partial)
        try:
            for ours in (SETTINGS, "pipeline.py", "README.md", f"{ADAPTER}/config.json", f"{ADAPTER}/model.safetensors"):
                (partial / ours).unlink()
            (partial / ADAPTER).rmdir()
            save_file(tensors, partial / UNET_WEIGHTS, metadata={"format": "pt"})
        except (OSError, RuntimeError, SafetensorError) as error:
            raise not_written(target, error) from error
    return len(tensors)


def unet_tensors(source: Path) -> dict[str, Tensor]:
    """The tensors of a pipeline's U-Net: safetensors, several files of them, or a pickle that is read as weights only.

    Raises:
        FileNotFoundError: no weights there.
        ValueError: they can't be read.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"no folder source={source}: download the release and give the folder that holds unet/")
    single = source / UNET_WEIGHTS
    index, pickled = single.with_name(f"{single.name}.index.json"), single.with_suffix(".bin")
    if single.exists():
        return tensors_of(single)
    if index.exists():
        try:
            files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{index} doesn't say which file holds which tensor ({error}): download it again") from error
        return {name: value for file in files for name, value in tensors_of(source / "unet" / file).items()}
    if pickled.exists():
        return tensors_of(pickled)
    raise FileNotFoundError(f"no U-Net weights in {source}: {single.relative_to(source)} is missing, download the release again")


def tensors_of(file: Path) -> dict[str, Tensor]:
    """The tensors of a file. Raises FileNotFoundError, or ValueError if it is cut off or a pickle of anything else, which is never run."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: download the release again")
    broken = what_is_broken(file)
    if broken is not None:
        raise ValueError(broken)
    if file.suffix == ".safetensors":
        return load_file(file)
    tensors = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ValueError(f"{file} holds no named tensors, but a {type(tensors).__name__}: give the weights of a U-Net")
    return tensors


if __name__ == "__main__":
    launch.entry_point(main, "convert")
