"""A stock InstructPix2Pix or FLUX.2-klein pipeline as an editor without reward: a diffusers folder or a hub
id, as others published it. It is the baseline that reward-conditioned editors are compared with.

    python -m src.edit checkpoint=timbrooks/instruct-pix2pix image=photo.jpg instruction="make it night"

Nothing of its code is run: its files say how large it is, and its networks are loaded strictly.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from huggingface_hub import try_to_load_from_cache
from omegaconf import OmegaConf

from src.backbones import stable_diffusion
from src.backbones.pretrained import check_component_files, part_digests
from src.checkpoint_paths import INDEX
from src.hub import check_on_hub
from src.json_files import read_json
from src.missing_settings import CONF

PIPELINE = "StableDiffusionInstructPix2PixPipeline"

PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v", "sample": "sample"}
"""A scheduler's words for what the network says, and ours."""

SCHEDULE = {"steps": "num_train_timesteps", "beta_start": "beta_start", "beta_end": "beta_end"}
"""Our words for a schedule's numbers, and a scheduler's."""

FLUX2_PIPELINE, FLUX2_SIDE, DISTILLED_STEPS = "Flux2KleinPipeline", 1024, 4

FLOW_USUAL = {
    "time_shift_type": "exponential",
    "shift_terminal": None,
    "invert_sigmas": False,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "stochastic_sampling": False,
}
"""What a scheduler of a rectified flow must say, or leave out, to be ours."""

ENTIRE = ("unet", "vae", "text_encoder", "tokenizer")
"""The parts that an editor needs."""


def stock_config(path: Path) -> dict[str, Any]:
    """The config of the editor that a stock pipeline is.

    Raises:
        FileNotFoundError: a hub id that can't be had, or a part that is missing.
        ValueError: another kind of pipeline.
    """
    pretrained = str(path)
    kind = _description(pretrained, INDEX).get("_class_name")
    if kind == FLUX2_PIPELINE:
        return _flux2_config(path)
    if kind != PIPELINE:
        raise ValueError(
            f"{pretrained} is a {kind}, and of stock pipelines only a {PIPELINE} or {FLUX2_PIPELINE} edits: "
            f"train one from Stable Diffusion, +experiment=inspix2pix model.backbone.pretrained={pretrained}"
        )
    for part in ENTIRE if path.is_dir() else ():
        check_component_files(path, part)
    channels = _description(pretrained, "unet/config.json").get("in_channels")
    if channels != stable_diffusion.EDIT_CHANNELS:
        raise ValueError(
            f"the U-Net of {pretrained} has {channels} input channels, and one that sees the original has "
            f"{stable_diffusion.EDIT_CHANNELS}: it was not trained to edit"
        )
    backbone = {**_group("backbone/inspix2pix"), "pretrained": pretrained}
    empty = {"reward_encoder": None, "integration": None}
    return {
        "_target_": _group("editor")["_target_"],
        "backbone": backbone,
        "process": _process(path),
        **empty,
    }


def stock_size(path: Path) -> list[int]:
    """Height and width that its network was trained at, in pixels."""
    if _is_flux2(path):
        return [FLUX2_SIDE, FLUX2_SIDE]
    unet = _description(str(path), "unet/config.json")
    vae = _description(str(path), "vae/config.json")
    cells = unet.get("sample_size", stable_diffusion.UNET["sample_size"])
    side = int(cells) * 2 ** (len(vae.get("block_out_channels", ())) - 1)
    return [side, side]


def stock_weights(path: Path) -> dict[str, Any]:
    """What training would change, by the editor's names: the weights of a U-Net. Nothing of a transformer,
    which the config names: 16 GB need not be in memory twice.
    """
    if _is_flux2(path):
        return {}
    tensors = stable_diffusion.load_unet(str(path)).state_dict()
    return {f"backbone.unet.{name}": value for name, value in tensors.items()}


def stock_sampler(path: Path) -> dict[str, Any] | None:
    """How it is meant to edit, as `Sampler.saved`; None where that isn't known."""
    if not _is_flux2(path):
        return None
    settings = _settings("sampler/flux2")
    guidance = {name: value for name, value in settings["guidance"].items() if name != "_target_"}
    saved = {name: value for name, value in settings.items() if name != "_target_"}
    saved |= {"guidance": guidance, "resize": f"area:{FLUX2_SIDE**2}"}
    if _description(str(path), INDEX).get("is_distilled"):
        saved |= {"steps": DISTILLED_STEPS, "guidance": {**guidance, "text": 1.0}}
    return saved


def stock_digests(path: Path) -> Mapping[str, str | None]:
    """sha256 of the files of weights that `stock_weights` doesn't give."""
    if not _is_flux2(path):
        return {}
    return {part: part_digests(str(path), part)["weights"] for part in ("transformer", "vae", "text_encoder")}


def _is_flux2(path: Path) -> bool:
    return _description(str(path), INDEX).get("_class_name") == FLUX2_PIPELINE


def _flux2_config(path: Path) -> dict[str, Any]:
    backbone = {**_group("backbone/flux2_klein"), "pretrained": str(path), "trained": "none"}
    return {
        "_target_": _group("editor")["_target_"],
        "backbone": {**backbone, "allow_distilled": True},
        "process": _flux2_process(path),
        "reward_encoder": None,
        "integration": None,
    }


def _flux2_process(path: Path) -> dict[str, Any]:
    """The noise process that its scheduler describes. Raises ValueError for one that this project lacks."""
    said = _description(str(path), "scheduler/scheduler_config.json")
    odd = [f"{name}={said[name]}" for name, usual in FLOW_USUAL.items() if said.get(name, usual) != usual]
    if odd:
        raise ValueError(f"the scheduler of {path} says {', '.join(odd)}, which is not known here")
    process = {**_group("process/rectified_flow"), **_group("process/flux2")}
    return (
        process if said.get("use_dynamic_shifting") else {**process, "shift": float(said.get("shift", 1.0))}
    )


def _process(path: Path) -> dict[str, Any]:
    """The noise process that its scheduler describes. Raises ValueError for one that this project lacks."""
    said = _description(str(path), "scheduler/scheduler_config.json")
    schedule, prediction = said.get("beta_schedule", "linear"), said.get("prediction_type", "epsilon")
    if schedule != "scaled_linear" or prediction not in PREDICTIONS or said.get("rescale_betas_zero_snr"):
        raise ValueError(
            f"the scheduler of {path} says beta_schedule={schedule}, prediction_type={prediction}, "
            f"rescale_betas_zero_snr={bool(said.get('rescale_betas_zero_snr'))}: known are scaled_linear, "
            f"{', '.join(PREDICTIONS)} and false"
        )
    given = {ours: said[theirs] for ours, theirs in SCHEDULE.items() if theirs in said}
    return {**_group("process/ddpm"), "prediction": PREDICTIONS[prediction], **given}


def _group(option: str) -> dict[str, Any]:
    """The settings of an option of conf/model."""
    return _settings(f"model/{option}")


def _settings(option: str) -> dict[str, Any]:
    node = OmegaConf.to_container(OmegaConf.load(CONF / f"{option}.yaml"))
    return {str(name): value for name, value in cast("Mapping[Any, Any]", node).items() if name != "defaults"}


def _description(pretrained: str, file: str) -> Mapping[str, Any]:
    """A JSON file of a pipeline.

    Raises:
        FileNotFoundError: it is missing, or a hub id that can't be had.
        ValueError: no JSON object.
    """
    here = Path(pretrained, file)
    if not Path(pretrained).is_dir():
        check_on_hub(pretrained, file, "a diffusers pipeline", "pipeline", "checkpoint")
        cached = try_to_load_from_cache(pretrained, file)
        here = Path(cached) if isinstance(cached, str) else here
    if not here.is_file():
        raise FileNotFoundError(f"{pretrained} is not a whole pipeline: {file} is missing; copy it again")
    described = read_json(here)
    if not isinstance(described, dict):
        raise ValueError(f"{here} holds no settings: copy or download it again")
    return described
