"""Models that a SmartEdit needs besides its release: autoencoder and text encoder of another pipeline, CLIP's
vision tower, a tokenizer, LLaVA's embeddings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from diffusers import (
    EulerAncestralDiscreteScheduler,
    StableDiffusionInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import AutoTokenizer, CLIPVisionModel

from src.backbones import stable_diffusion
from src.backbones.pretrained import loaded
from src.backbones.smartedit.llava import check_no_delta
from src.formats.smartedit_checkpoint import Sizes, check_release_shapes
from src.formats.smartedit_release import EMBEDDING, HEAD, NEW_TOKENS
from src.formats.weights import read_folder_tensors
from src.hub import UNREADABLE, error_summary, load_by_name, quiet_libraries

TOKENIZER, VISION = "hf-internal-testing/llama-tokenizer", "openai/clip-vit-large-patch14"
"""The published models."""


@final
@dataclass(frozen=True)
class CompanionModels:
    """Folders, or ids of the hub.

    Attributes:
        pipeline: an InsPix2Pix or Stable Diffusion 1.5: autoencoder, text encoder, tokenizer and the U-Net's
            config.
        vision: the CLIP of LLaVA-1.1, or its vision tower alone.
        language_tokenizer: Vicuna-1.1's, which is LLaMA's.
        llava: a folder with LLaVA-1.1 itself, whose token embeddings replace the release's at every start of
            its code; None keeps the release's.
    """

    pipeline: str
    vision: str
    language_tokenizer: str
    llava: str | None


def build_release_unet(pipeline: str, tensors: Mapping[str, Tensor], sizes: Sizes) -> UNet2DConditionModel:
    """The release's U-Net, built by the config of another pipeline.

    Raises:
        FileNotFoundError, ValueError: no such pipeline, or one of other sizes than the release.
    """
    config: Any = loaded(UNet2DConditionModel.load_config, pipeline, "unet")
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(
            dict(config) | {"in_channels": stable_diffusion.EDIT_CHANNELS}
        )
    own = {name: value for name, value in tensors.items() if name.startswith("unet.")}
    check_release_shapes(
        own,
        {f"unet.{name}": tuple(value.shape) for name, value in unet.state_dict().items()},
        f"the U-Net, by the config of {pipeline},",
    )
    unet.load_state_dict({name.removeprefix("unet."): value for name, value in own.items()}, assign=True)
    reads, stem = unet.config["cross_attention_dim"], unet.conv_in.out_channels
    made, bias = sizes.interaction["text_width"], sizes.interaction["stem_width"]
    if reads != made or sizes.query_transformer["width"] != made or stem != bias:
        raise ValueError(
            f"the release's parts don't fit each other: the U-Net reads width {reads} and has a stem of "
            f"{stem} channels, the Q-Former writes width "
            f"{sizes.query_transformer['width']}, the interaction module width {made} and a bias of {bias} "
            "channels: take all files of one release"
        )
    return unet.eval()


def build_stock_pipeline(pipeline: str, unet: UNet2DConditionModel) -> StableDiffusionInstructPix2PixPipeline:
    """A stock pipeline around a U-Net. Raises as `pretrained.weights`."""
    scheduler: Any = EulerAncestralDiscreteScheduler(1000, 0.00085, 0.012, "scaled_linear", steps_offset=1)
    return StableDiffusionInstructPix2PixPipeline(
        vae=stable_diffusion.load_vae(pipeline),
        text_encoder=stable_diffusion.load_text_encoder(pipeline),
        tokenizer=stable_diffusion.load_tokenizer(pipeline),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,  # pyright: ignore[reportArgumentType]
        feature_extractor=None,  # pyright: ignore[reportArgumentType]
        requires_safety_checker=False,
    )


def load_vision_tower(vision: str, sizes: Sizes) -> CLIPVisionModel:
    """CLIP's vision tower, in fp32 as the release runs it.

    Raises:
        FileNotFoundError, ValueError: no such model, or one of another width.
    """
    try:
        with quiet_libraries():
            loaded: Any = load_by_name(
                lambda: CLIPVisionModel.from_pretrained(
                    vision, dtype=torch.float32, output_loading_info=True
                ),
                vision,
            )
            tower, loading = loaded
    except UNREADABLE as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(
            f"vision={vision} can't be read ({error_summary(error)}); copy or download it again"
        ) from error
    lacking = sorted(loading["missing_keys"]) + sorted(name for name, *_ in loading["mismatched_keys"])
    if lacking:
        raise ValueError(
            f"vision={vision} lacks {len(lacking)} tensors of a CLIP vision tower, such as {lacking[0]}; "
            f"give {VISION}"
        )
    width = sizes.interaction["image_width"]
    if tower.config.hidden_size != width:
        raise ValueError(
            f"vision={vision} makes features of width {tower.config.hidden_size}, the release's projector "
            f"and interaction module read width {width}; "
            f"give {VISION}"
        )
    return tower


def load_language_tokenizer(name: str, sizes: Sizes) -> Any:
    """The language model's tokenizer, without SmartEdit's tokens.

    Raises:
        FileNotFoundError, ValueError: it is missing, or has another number of tokens than the language model.
    """
    try:
        with quiet_libraries():
            tokenizer: Any = load_by_name(
                lambda: AutoTokenizer.from_pretrained(name, trust_remote_code=False), name
            )
    except UNREADABLE as error:
        if isinstance(error, FileNotFoundError):
            raise
        # transformers tries to read it with tiktoken if sentencepiece is not installed
        reason = (
            "its tokenizer.model needs the package sentencepiece"
            if "tiktoken" in str(error)
            else error_summary(error)
        )
        raise ValueError(
            f"language_tokenizer={name} can't be read ({reason}); give one with a tokenizer.json, such as "
            f"{TOKENIZER}"
        ) from error
    if len(tokenizer) != sizes.language.vocab_size:
        raise ValueError(
            f"language_tokenizer={name} has {len(tokenizer)} tokens, the language model "
            f"{sizes.language.vocab_size} besides SmartEdit's "
            f"{sizes.image_tokens + NEW_TOKENS} (image_tokens={sizes.image_tokens}): give Vicuna-1.1's, "
            f"which is LLaMA's, such as {TOKENIZER}"
        )
    return tokenizer


def with_llava_embeddings(
    tensors: Mapping[str, Tensor], sizes: Sizes, llava: str | None
) -> tuple[dict[str, Tensor], list[str]]:
    """The release's tensors with LLaVA's rows in embedding and head, except SmartEdit's own; and notes on
    what is approximated.

    Raises:
        FileNotFoundError: no weights there.
        ValueError: another model, or delta weights.
    """
    words = sizes.language.vocab_size
    if llava is None:
        return dict(tensors), [
            f"rows 0 to {words - 1} of embedding and head are those saved with the release, "
            "which its training may have moved; its own code takes "
            "LLaVA-1.1's, as llava=FOLDER does"
        ]
    folder = Path(llava)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder llava={llava}: give a folder with the weights of LLaVA-1.1, or leave llava out"
        )
    weights = read_folder_tensors(folder)
    if weights is None:
        raise FileNotFoundError(
            f"llava={llava} has no weights: pytorch_model.bin or model.safetensors, or the index of several, "
            "is missing"
        )
    embedding, head = (
        only_tensor(weights, ending, llava) for ending in ("embed_tokens.weight", "lm_head.weight")
    )
    base = embedding.removesuffix("embed_tokens.weight")
    check_same_model(weights, base, tensors, llava)
    rows = min(len(weights[embedding]), len(weights[head]))
    if rows < words:
        raise ValueError(
            f"llava={llava} has {rows} tokens, SmartEdit's language model {words} without its own: give "
            "LLaVA-1.1"
        )
    replaced = dict(tensors)
    for theirs, name in ((EMBEDDING, embedding), (HEAD, head)):
        own = tensors[theirs]
        replaced[theirs] = torch.cat([weights[name][:words].to(own.dtype), own[words:]])
    return replaced, []


def only_tensor(weights: Mapping[str, Tensor], ending: str, llava: str) -> str:
    """The name of the only tensor with this ending. Raises ValueError unless there is exactly one."""
    names = [name for name in weights if name.endswith(ending)]
    if len(names) != 1:
        raise ValueError(
            f"llava={llava} holds {len(names)} tensors whose name ends in {ending}, of which a LLaVA has "
            "one: give LLaVA-1.1's folder"
        )
    return names[0]


def check_same_model(
    weights: Mapping[str, Tensor], base: str, tensors: Mapping[str, Tensor], llava: str
) -> None:
    """Raise ValueError unless a LLaVA has the normalisation weights of the release's language model, which
    SmartEdit's training left unchanged.
    """
    names = [
        name
        for name in tensors
        if name.startswith("model.base_model.model.") and name.endswith("norm.weight")
    ]
    theirs = [weights.get(base + name.removeprefix("model.base_model.model.")) for name in names]
    if any(
        value is None or value.shape != tensors[name].shape for name, value in zip(names, theirs, strict=True)
    ):
        raise ValueError(
            f"llava={llava} is of other sizes than the release's language model of width "
            f"{len(tensors[names[0]])} and {len(names) // 2} layers: "
            "7B goes with 7B, 13B with 13B"
        )
    check_no_delta(
        {name: value for name, value in zip(names, theirs, strict=True) if value is not None},
        f"llava={llava}",
    )
    own, given = (
        torch.cat([value.float() for value in values if value is not None])
        for values in ([tensors[name] for name in names], theirs)
    )
    if (given - own).norm() > 0.02 * own.norm():
        raise ValueError(
            f"llava={llava} is another model than the one that SmartEdit was trained from: give "
            "LLaVA-7B-v1-1 or LLaVA-13B-v1-1"
        )
