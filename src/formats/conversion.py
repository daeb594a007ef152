"""Published weights as a model of this project, and back, tensor by tensor; what src.convert runs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from src import checkpoint
from src.backbones.smartedit.conversation import Conversation
from src.checkpoint import ADAPTER, HERE, UNET_WEIGHTS
from src.checkpoint_paths import SETTINGS
from src.files import not_written, replacing
from src.formats import multi_reward_release
from src.formats.smartedit_checkpoint import UnstatedSizes, read_release, write_release
from src.formats.smartedit_companions import CompanionModels
from src.formats.smartedit_folder import folder_from_release, release_from_folder, write_smartedit_folder
from src.formats.weights import read_folder_tensors
from src.pipeline import CODE, standalone_smartedit_source, write_pipeline
from src.progress import with_progress
from src.trained_sampler import sampler_settings

Conversion = Callable[[DictConfig, Path, Path], Sequence[str]]
"""Writes one folder from another and returns lines that report what it did."""


def multi_reward_to_ours(cfg: DictConfig, source: Path, output: Path) -> Sequence[str]:
    """The multi-reward release as an editor. Raises as `from_release`."""
    cfg.model.backbone.pretrained = str(source)
    count = from_release(
        source,
        output,
        OmegaConf.to_yaml(cfg.model, resolve=True),
        (cfg.image_size, cfg.image_size),
        cfg.trust,
        saved_sampler(cfg.sampler),
    )
    return [f"{output}: {count} tensors"]


def multi_reward_from_ours(cfg: DictConfig, source: Path, output: Path) -> Sequence[str]:
    """An editor as the multi-reward release. Raises as `to_release`."""
    return [f"{output}: {to_release(source, output, cfg.trust)} tensors"]


def smartedit_to_ours(cfg: DictConfig, source: Path, output: Path) -> Sequence[str]:
    """SmartEdit's release as a folder that a SmartEdit can be loaded from.

    Raises:
        FileNotFoundError, ValueError: something is missing, broken, or of another model; nothing is written.
        NotWrittenError: the disk is full.
    """
    if cfg.lora not in ("merged", "kept"):
        raise ValueError(f"lora is merged or kept, not {cfg.lora!r}")
    release = read_release(source, None if cfg.step is None else str(cfg.step))
    unstated = UnstatedSizes(
        cfg.image_tokens, cfg.language_head_width, cfg.query_head_width, cfg.interaction_heads
    )
    folder = folder_from_release(
        release,
        unstated,
        CompanionModels(cfg.pipeline, cfg.vision, cfg.language_tokenizer, cfg.llava),
        cfg.lora,
    )
    told = {"conversation": asdict(Conversation(**cfg.conversation)), "dtype": cfg.smartedit.reader.dtype}
    folder = replace(folder, reader={**folder.reader, **told})
    count = write_counted(
        write_smartedit_folder(
            folder, output, {SETTINGS: smartedit_settings(cfg), CODE: standalone_smartedit_source()}
        ),
        folder.tensors(),
    )
    return [*folder.report_lines(), f"{output}: {count} tensors"]


def smartedit_settings(cfg: DictConfig) -> str:
    """The config that makes a converted SmartEdit an editor, without a reward."""
    cfg.smartedit.base.pretrained = HERE
    whole = {"_target_": cfg.model["_target_"], "backbone": cfg.smartedit, "process": cfg.model.process}
    config = OmegaConf.to_container(
        OmegaConf.create({"described": whole, "smartedit": cfg.smartedit}), resolve=True
    )
    assert isinstance(config, dict)
    text = OmegaConf.to_yaml(config["described"])
    return checkpoint.description(text, [cfg.image_size] * 2, saved_sampler(cfg.smartedit_sampler))


def saved_sampler(node: DictConfig) -> Mapping[str, object]:
    """An option of conf/sampler as an editor keeps it."""
    return sampler_settings(OmegaConf.to_container(node, resolve=True))


def smartedit_from_ours(cfg: DictConfig, source: Path, output: Path) -> Sequence[str]:
    """A SmartEdit folder as its release. Raises as `smartedit_to_ours`."""
    release = release_from_folder(source)
    return [f"{output}: {write_counted(write_release(release, output), len(release.tensors))} tensors"]


def write_counted(files: Iterator[Sequence[str]], total: int) -> int:
    """Write files with a progress bar; returns the number of tensors in them."""
    return sum(len(names) for names in with_progress(files, total, "writing", "tensors"))


CONVERSIONS: dict[str, tuple[Conversion, Conversion]] = {
    "multi_reward_release": (multi_reward_to_ours, multi_reward_from_ours),
    "smartedit_release": (smartedit_to_ours, smartedit_from_ours),
}
"""The formats: conversions to ours, and back with reverse=true."""


def from_release(
    source: Path,
    output: Path,
    config: str,
    image_size: tuple[int, int],
    trust: Sequence[str] = (),
    sampler: Mapping[str, object] | None = None,
) -> int:
    """Write a multi-reward release as a folder of ours; returns the number of tensors of its U-Net."""
    tensors = unet_tensors(source)
    editor = checkpoint.build(config, "model", trust)
    multi_reward_release.check_multi_reward_tensors(tensors, editor.trained_state(), str(source / "unet"))
    checkpoint.load_weights(
        editor,
        {multi_reward_release.editor_name(name): value for name, value in tensors.items()},
        str(source),
    )
    card = (
        f"# {output.name}\n\n"
        f"Converted from the multi-reward release at `{source.name}`, tensor by tensor; nothing was "
        "trained.\n"
    )
    write_pipeline(editor, config, image_size, card, output, sampler)
    return len(tensors)


def to_release(source: Path, output: Path, trust: Sequence[str] = ()) -> int:
    """Write an editor in the multi-reward release's format, a pipeline whose U-Net holds all tensors; returns
    their number.
    """
    saved = checkpoint.read(source)
    tensors = {
        multi_reward_release.multi_reward_name(name): value.contiguous()
        for name, value in saved["ema"].items()
    }
    editor = checkpoint.load_editor(source, trust=trust)
    multi_reward_release.check_multi_reward_tensors(tensors, editor.trained_state(), str(source))
    with replacing(output) as partial:
        write_pipeline(editor, saved["editor_config"], tuple(saved["picture_size"]), "", partial)
        try:
            for ours in (
                SETTINGS,
                CODE,
                "README.md",
                f"{ADAPTER}/config.json",
                f"{ADAPTER}/model.safetensors",
            ):
                (partial / ours).unlink()
            (partial / ADAPTER).rmdir()
            save_file(tensors, partial / UNET_WEIGHTS, metadata={"format": "pt"})
        except (OSError, RuntimeError, SafetensorError) as error:
            raise not_written(output, error) from error
    return len(tensors)


def unet_tensors(source: Path) -> dict[str, Tensor]:
    """The tensors of a pipeline's U-Net, from one or several safetensors files or from a pickle, of which
    only weights are read.

    Raises:
        FileNotFoundError: no weights there.
        ValueError: they can't be read.
    """
    if not source.is_dir():
        raise FileNotFoundError(
            f"no folder source={source}: download the release and give the folder that holds unet/"
        )
    tensors = read_folder_tensors(source / "unet")
    if tensors is None:
        raise FileNotFoundError(
            f"no U-Net weights in {source}: {UNET_WEIGHTS} is missing, download the release again"
        )
    return tensors
