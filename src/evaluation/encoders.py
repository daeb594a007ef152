"""Embeddings of images and captions: CLIP and DINO of transformers, from a local folder or a hub id.

    image_metrics=magicbrush image_metrics.clip.model=FOLDER image_metrics.dino.model=FOLDER

The official evaluation of MagicBrush uses OpenAI's ViT-B/32 (openai/clip-vit-base-patch32) and DINO's
dino_vits16 (facebook/dino-vits16). It runs CLIP in fp16 on a GPU; here everything is fp32, so that CPU and
GPU agree. That of Reason-Edit uses ViT-L/14 (openai/clip-vit-large-patch14) with the image processor of
transformers, which rounds the centre crop differently. Config and tokenizer are read at once, so that a wrong
name is reported early; weights are looked for before edits are made, and read when there is something to
measure.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, CLIPModel, ViTModel

from src.evaluation.pixels import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    RGBImage,
    preprocess,
)
from src.hub import (
    UNREADABLE,
    check_weights,
    describe_damage,
    error_summary,
    load_by_name,
    quiet_libraries,
    version_of,
    weights_file,
)

VIT_B_32 = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "patch_size": 32,
    "image_size": 224,
}
VIT_L_14 = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 224,
}
VIT_S_16 = {
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "patch_size": 16,
    "image_size": 224,
}


@final
class ClipProtocol(NamedTuple):
    """The CLIP of a protocol and its preprocessing.

    Attributes:
        official: config of the network.
        size: its name.
        example: its hub id.
        middle: see Preprocessing.
    """

    official: Mapping[str, int]
    size: str
    example: str
    middle: Callable[[float], int]


CLIP_PROTOCOLS: Mapping[str, ClipProtocol] = {
    "magicbrush": ClipProtocol(VIT_B_32, "ViT-B/32", "openai/clip-vit-base-patch32", round),
    "reason_edit": ClipProtocol(VIT_L_14, "ViT-L/14", "openai/clip-vit-large-patch14", math.floor),
}


class ImageEncoder(ABC):
    """A network that embeds images.

    Attributes:
        fingerprint: everything besides the image that an embedding depends on.
        described: model, version and size, for the report.
    """

    fingerprint: str
    described: str

    @abstractmethod
    def check_ready(self) -> None:
        """Have its weights on this machine, downloaded if need be. Raises as `check_weights`."""

    @abstractmethod
    def images(self, images: Sequence[RGBImage], device: torch.device) -> Float[Tensor, "n d"]:
        """One vector per image, on the CPU; at least one image."""


class TextEncoder(ImageEncoder):
    """A network that also embeds texts, in the same space as images."""

    @abstractmethod
    def check_text(self, text: str, where: str = "") -> None:
        """Raise ValueError, beginning with `where`, if a text is too long for the network."""

    @abstractmethod
    def texts(self, texts: Sequence[str], device: torch.device) -> Float[Tensor, "n d"]:
        """One vector per text, on the CPU; at least one text. Raises ValueError as `check_text`."""


@final
class ClipEncoder(TextEncoder):
    """CLIP: the projected class token of an image and the projected end token of a text.

    Args:
        model: a folder with transformers' `CLIPModel` and its tokenizer, or a hub id.
        revision: commit, tag or branch on the hub; None for the newest. The resolved commit is part of the
            fingerprint.
        protocol: "magicbrush" or "reason_edit": decides the expected size and the preprocessing.

    Raises:
        FileNotFoundError: no such folder or hub id, or the hub can't be reached.
        ValueError: a model of another kind, no tokenizer, or an unknown protocol.
    """

    def __init__(self, model: str, revision: str | None = None, protocol: str = "magicbrush") -> None:
        if protocol not in CLIP_PROTOCOLS:
            raise ValueError(f"CLIP by the protocol {protocol!r}: there are {', '.join(CLIP_PROTOCOLS)}")
        self.model, self.revision = model, revision
        official, size, example, middle = CLIP_PROTOCOLS[protocol]
        config = model_config(model, revision, "clip", example)
        self.longest = int(config.text_config.max_position_embeddings)
        self.words: Any = clip_tokenizer(model, revision, int(config.text_config.vocab_size))
        version = version_of(model, revision, "config.json")
        self.fingerprint = f"clip {version} fp32" + ("" if protocol == "magicbrush" else f" as {protocol}")
        self.described = f"{model}@{version}, {describe_size(config.vision_config, official, size)}"
        side = int(config.vision_config.image_size)
        self.preparation = Preprocessing(side, side, CLIP_MEAN, CLIP_STD, middle)
        self._network: Any = None

    def check_ready(self) -> None:
        check_weights(self.model, self.revision)

    def images(self, images: Sequence[RGBImage], device: torch.device) -> Float[Tensor, "n d"]:
        pixels = torch.stack([preprocess(image, self.preparation) for image in images])
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            return self._on(device).get_image_features(pixel_values=pixels.to(device)).pooler_output.cpu()

    def check_text(self, text: str, where: str = "") -> None:
        tokens = len(self.words(text)["input_ids"])
        if tokens > self.longest:
            raise ValueError(
                f"{where}the caption {text[:40]!r}... has {tokens} tokens and CLIP takes {self.longest}; "
                "shorten it, or leave the metrics of captions out of image_metrics.metrics"
            )

    def texts(self, texts: Sequence[str], device: torch.device) -> Float[Tensor, "n d"]:
        for text in texts:
            self.check_text(text)
        inputs = self.words(list(texts), padding=True, return_tensors="pt").to(device)
        with torch.inference_mode():
            return self._on(device).get_text_features(**inputs).pooler_output.cpu()

    def _on(self, device: torch.device) -> Any:
        if self._network is None:
            self._network = load_network(CLIPModel, self.model, self.revision)
        return self._network.to(device)


@final
class DinoEncoder(ImageEncoder):
    """DINO: the class token after the last layer norm.

    Args:
        model: a folder with transformers' `ViTModel`, or a hub id.
        revision: as in ClipEncoder.

    Raises:
        FileNotFoundError: no such folder or hub id, or the hub can't be reached.
        ValueError: a model of another kind.
    """

    def __init__(self, model: str, revision: str | None = None) -> None:
        self.model, self.revision = model, revision
        config = model_config(model, revision, "vit", "facebook/dino-vits16")
        version = version_of(model, revision, "config.json")
        self.fingerprint = f"dino {version} fp32"
        self.described = f"{model}@{version}, {describe_size(config, VIT_S_16, 'ViT-S/16')}"
        side = int(config.image_size)
        self.preparation = Preprocessing(round(side * 256 / 224), side, IMAGENET_MEAN, IMAGENET_STD)
        self._network: Any = None

    def check_ready(self) -> None:
        check_weights(self.model, self.revision)

    def images(self, images: Sequence[RGBImage], device: torch.device) -> Float[Tensor, "n d"]:
        pixels = torch.stack([preprocess(image, self.preparation) for image in images])
        if self._network is None:
            # the pooling layer is for classifiers
            self._network = load_network(ViTModel, self.model, self.revision, add_pooling_layer=False)
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            return self._network.to(device)(pixel_values=pixels.to(device)).last_hidden_state[:, 0].cpu()


def model_config(model: str, revision: str | None, kind: str, example: str) -> Any:
    """The config of a model of the given kind.

    Raises:
        FileNotFoundError: no such folder or hub id.
        ValueError: a model of another kind.
    """
    if Path(model).is_dir() and not (Path(model) / "config.json").is_file():
        raise FileNotFoundError(
            f"{model} holds no model: config.json is missing; give a folder that a model was saved to, such "
            f"as {example}"
        )
    try:
        config = load_by_name(
            lambda: AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=False), model
        )
    except ValueError as error:
        raise ValueError(
            f"{model} holds no model that transformers knows ({error_summary(error)}); give one such as "
            f"{example}"
        ) from error
    if config.model_type != kind:
        raise ValueError(
            f"{model} is a model of type {config.model_type}, one of type {kind} is needed here, such as "
            f"{example}"
        )
    return config


def clip_tokenizer(model: str, revision: str | None, size: int) -> Any:
    """The tokenizer in a model's folder, with `size` tokens.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it can't be read, or has another number of tokens (transformers creates an empty one if
            there is none).
    """
    try:
        words = load_by_name(
            lambda: AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=False), model
        )
    except UNREADABLE as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(
            f"{model} has no tokenizer that can be read ({error_summary(error)}); copy or download it again"
        ) from error
    if len(words) != size:
        raise ValueError(
            f"{model} has a network of {size} tokens and a tokenizer of {len(words)}; take both from the "
            "same model"
        )
    return words


def load_network(kind: Any, model: str, revision: str | None, **options: Any) -> Any:
    """Load a network in fp32 with all of its weights; none may be missing.

    Raises:
        FileNotFoundError: no weights.
        ValueError: the weights can't be read or are incomplete.
    """
    try:
        with quiet_libraries():
            network, loading = kind.from_pretrained(
                model, revision=revision, dtype=torch.float32, output_loading_info=True, **options
            )
    except UNREADABLE as error:
        file = weights_file(Path(model))
        broken = None if file is None else describe_damage(file)
        raise ValueError(
            broken or f"{model} can't be loaded ({error_summary(error)}); copy or download it again"
        ) from error
    wrong = sorted(loading["missing_keys"]) + sorted(name for name, *_ in loading["mismatched_keys"])
    if wrong:
        raise ValueError(
            f"the weights of {model} lack {len(wrong)} tensors that its config names, such as {wrong[0]}; "
            "take both from the same model"
        )
    return network.eval().requires_grad_(False)


def describe_size(config: Any, official: Mapping[str, int], name: str) -> str:
    """The size of a network, and whether it is that of the published numbers."""
    if all(getattr(config, field) == value for field, value in official.items()):
        return name
    return (
        f"not {name} but {config.num_hidden_layers} layers of {config.hidden_size}, patches of "
        f"{config.patch_size}, {config.image_size} px: "
        "not the protocol's, compare with no published number"
    )
