"""Finds, reads, checks and writes the files of SmartEdit's release, whatever its sizes.

LLM-15000/adapter_model.bin                                   language model and LoRA; adapter_config.json
beside it or one folder up embeddings_qformer/checkpoint-15000_embeddings_qformer.bin    Q-Former, its
queries, the language model's head, the projector of the image modulate-15000/adapter_model.bin
interaction module unet-15000/adapter_model.bin                                  U-Net
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import LlamaConfig, LlamaModel

from src.backbones.pretrained import tensor_differences
from src.backbones.smartedit.interaction import InteractionModule
from src.backbones.smartedit.query_transformer import QueryTransformer
from src.files import not_written, replacing
from src.formats.smartedit_release import (
    EMBEDDING,
    FREQUENCIES,
    HEAD,
    INTERACTION,
    LANGUAGE,
    NEW_TOKENS,
    QUERIES,
    QUERY,
    SPLIT,
    UNET,
    Family,
    family_of,
    is_constant,
    is_lora,
    smartedit_release_name,
)
from src.formats.weights import read_tensors
from src.json_files import read_json

FILES = {
    LANGUAGE: "LLM-{}/adapter_model.bin",
    QUERY: "embeddings_qformer/checkpoint-{}_embeddings_qformer.bin",
    INTERACTION: "modulate-{}/adapter_model.bin",
    UNET: "unet-{}/adapter_model.bin",
}
"""The release's files, by the step of its training."""

ADAPTER_CONFIG = "adapter_config.json"

LORA_SETTINGS = ("r", "lora_alpha", "lora_dropout", "target_modules", "bias")
"""The LoRA settings that peft needs."""

LORA_VARIANTS = (
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "fan_in_fan_out",
    "modules_to_save",
)
"""Settings of peft that would change what a LoRA computes."""

ROTARY_BASE = 10000.0
"""Rotary base of LLaMA-1."""

RELEASED_HEAD_WIDTH = 128
"""Width of LLaMA's attention heads, at 7B and at 13B."""

LAYERS = "model.base_model.model.layers."


@final
@dataclass(frozen=True)
class Release:
    """The content of the four files of one step, by the release's names.

    Attributes:
        step: "15000".
        tensors: of all four files.
        lora: peft's settings of the LoRA; None for a language model without LoRA.
        repeated: the embedding, if a second file holds it as well, where the release's code ignores it.
    """

    step: str
    tensors: Mapping[str, Tensor]
    lora: Mapping[str, Any] | None
    repeated: Sequence[Tensor] = ()

    def file_name(self, file: str) -> str:
        """The path of one of the four files in the release."""
        return FILES[file].format(self.step)


@final
@dataclass(frozen=True)
class UnstatedSizes:
    """Sizes that can't be inferred from the shapes of tensors.

    Attributes:
        image_tokens: number of <img_0>, <img_1>, ...
        language_head_width: width of the language model's attention heads; None infers it from the rotary
            frequencies, or takes LLaMA's 128.
        query_head_width: width of the Q-Former's attention heads.
        interaction_heads: number of the interaction module's attention heads.
    """

    image_tokens: int = 32
    language_head_width: int | None = None
    query_head_width: int = 64
    interaction_heads: int = 8


@final
@dataclass(frozen=True)
class Sizes:
    """The architecture of a release: arguments of the three networks, without the U-Net.

    Attributes:
        language: the language model; its vocabulary is without SmartEdit's tokens.
        query_transformer, interaction: arguments of the two modules.
        image_tokens: as in Untold.
    """

    language: LlamaConfig
    query_transformer: Mapping[str, int]
    interaction: Mapping[str, int]
    image_tokens: int


def read_release(source: Path, step: str | None) -> Release:
    """The files of a release; pickles are read as weights only.

    Args:
        source: the folder that holds LLM-15000/ and the others.
        step: which step, if there are several; None for the only one.

    Raises:
        FileNotFoundError: no such folder, or a file is missing.
        ValueError: several steps, a file that can't be read, or a tensor in a file where it does not belong.
    """
    if not source.is_dir():
        raise FileNotFoundError(
            f"no folder source={source}: download the release and give the folder that holds LLM-15000/"
        )
    steps = {file: release_step(source, file, step) for file in FILES}
    if len(set(steps.values())) > 1:
        raise ValueError(
            f"the files in {source} are of different steps "
            f"({', '.join(FILES[f].format(s) for f, s in steps.items())}): take one step's"
        )
    (found,) = set(steps.values())
    tensors: dict[str, Tensor] = {}
    repeated: list[Tensor] = []
    for file, pattern in FILES.items():
        path = source / pattern.format(found)
        for name, value in read_tensors(path).items():
            if file == QUERY and name == EMBEDDING:
                repeated.append(value)
            elif family_or_error(name, path).file != file:
                raise ValueError(
                    f"{path} holds {name}, which belongs into {FILES[family_of(name).file].format(found)}: "
                    "take the files as published"
                )
            else:
                tensors[name] = value
    language = source / FILES[LANGUAGE].format(found)
    return Release(
        found, tensors, lora_settings(language, tensors) if any(map(is_lora, tensors)) else None, repeated
    )


def family_or_error(name: str, path: Path) -> Family:
    """The family of a tensor. Raises ValueError naming the file as well."""
    try:
        return family_of(name)
    except ValueError as error:
        raise ValueError(f"{path} is not one of SmartEdit's files: {error}") from error


def release_step(source: Path, file: str, step: str | None) -> str:
    """The step in the name of one of the four files. Raises FileNotFoundError if there is none, ValueError if
    there are several.
    """
    before, after = FILES[file].split("{}")
    there = sorted(
        path.relative_to(source).as_posix() for path in source.glob(f"{before}{step or '*'}{after}")
    )
    if not there:
        raise FileNotFoundError(
            f"{source / FILES[file].format(step or '*')} is missing: download the release again; it has "
            f"{', '.join(FILES.values())}"
        )
    if len(there) > 1:
        raise ValueError(
            f"{source} holds several checkpoints ({', '.join(there)}): say which one with "
            f"step={there[-1][len(before) : -len(after)]}"
        )
    return there[0][len(before) : -len(after)]


def lora_settings(language: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings of a file's LoRA in adapter_config.json, checked against its tensors.

    Raises:
        FileNotFoundError: it is neither beside the file nor one folder up.
        ValueError: it can't be read, or describes another LoRA.
    """
    places = [language.parent / ADAPTER_CONFIG, language.parent.parent / ADAPTER_CONFIG]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"{ADAPTER_CONFIG} is neither in {places[0].parent} nor in {places[1].parent}; it holds the "
            "scale of the LoRA: "
            "copy data/adapter_config.json of github.com/TencentARC/SmartEdit there"
        )
    try:
        config = read_json(path)
        settings = {name: config[name] for name in LORA_SETTINGS}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} doesn't describe a LoRA ({error}): copy data/adapter_config.json of "
            "github.com/TencentARC/SmartEdit"
        ) from error
    other = [name for name in LORA_VARIANTS if config.get(name)] + (
        ["bias"] if settings["bias"] != "none" else []
    )
    if other:
        raise ValueError(
            f"{path} sets {', '.join(other)}, which SmartEdit's LoRA doesn't have and this conversion "
            "doesn't know"
        )
    factors = {name: value for name, value in tensors.items() if ".lora_A." in name}
    modules, ranks = (
        {name.split(".lora_A.")[0].rpartition(".")[2] for name in factors},
        {value.shape[0] for value in factors.values()},
    )
    if modules != set(settings["target_modules"]) or ranks != {settings["r"]}:
        raise ValueError(
            f"{path} describes a LoRA of rank {settings['r']} on "
            f"{', '.join(sorted(settings['target_modules']))}, {language} holds one of rank "
            f"{', '.join(map(str, sorted(ranks)))} on {', '.join(sorted(modules))}: take both from the same "
            "release"
        )
    return settings


def infer_sizes(tensors: Mapping[str, Tensor], unstated: UnstatedSizes) -> Sizes:
    """The architecture of a release.

    Raises:
        ValueError: a tensor that would tell is missing, or parts that don't fit each other: a language model
            of 13B with a Q-Former of 7B.
    """
    width = tensor_side(tensors, "model.base_model.model.norm.weight", 0)
    read = tensor_side(tensors, "sd_qformer.encoder.layer.0.crossattention.self.key.weight", 1)
    if read != width:
        raise ValueError(
            f"the language model has width {width}{published_name(width)} and the Q-Former reads width "
            f"{read}{published_name(read)}: "
            "take LLM-*/ and embeddings_qformer/ of the same release, SmartEdit-7B or SmartEdit-13B"
        )
    rows, head_rows = tensor_side(tensors, EMBEDDING, 0), tensor_side(tensors, HEAD, 0)
    new = unstated.image_tokens + NEW_TOKENS
    if rows != head_rows or rows <= new:
        raise ValueError(
            f"the language model's embedding has {rows} rows and its head {head_rows}; both have one per "
            f"token, {new} of them SmartEdit's "
            f"({NEW_TOKENS} and image_tokens={unstated.image_tokens}): take LLM-*/ and embeddings_qformer/ "
            "of the same release"
        )
    return Sizes(
        language_config(tensors, width, rows - new, unstated),
        query_sizes(tensors, unstated),
        interaction_sizes(tensors, unstated),
        unstated.image_tokens,
    )


def published_name(width: int) -> str:
    """The published size of a language model of this width."""
    return {4096: " (7B)", 5120: " (13B)"}.get(width, "")


def tensor_side(tensors: Mapping[str, Tensor], name: str, axis: int) -> int:
    """One side of a tensor. Raises ValueError if the tensor is missing."""
    if name not in tensors or axis >= tensors[name].ndim:
        raise ValueError(
            f"{name}, which tells a size, is missing from the release's {family_of(name).file} file or "
            "misshapen: download it again"
        )
    return tensors[name].shape[axis]


def layer_numbers(tensors: Mapping[str, Tensor], before: str, after: str = "") -> list[int]:
    """The numbers between two parts of tensor names, mostly layer numbers."""
    found = (re.match(rf"{re.escape(before)}(\d+)\.{re.escape(after)}", name) for name in tensors)
    return sorted({int(match[1]) for match in found if match})


def language_config(
    tensors: Mapping[str, Tensor], width: int, vocabulary: int, unstated: UnstatedSizes
) -> LlamaConfig:
    """LLaMA-1's config at the sizes of the tensors. Raises ValueError for heads that don't divide the width,
    or other rotary frequencies.
    """
    frequencies = tensors.get(f"{LAYERS}0.self_attn{FREQUENCIES}")
    head = unstated.language_head_width or (
        RELEASED_HEAD_WIDTH if frequencies is None else 2 * frequencies.numel()
    )
    keys = tensor_side(tensors, f"{LAYERS}0.self_attn.k_proj.weight", 0)
    if width % head or keys % head:
        raise ValueError(
            f"attention heads of width {head} don't divide the language model's {width} and {keys}: set "
            "language_head_width"
        )
    if frequencies is not None and (
        2 * frequencies.numel() != head
        or not torch.allclose(frequencies.float(), rotary_frequencies(head), rtol=0.01, atol=1e-6)
    ):
        raise ValueError(
            f"the language model's rotary frequencies are not those of LLaMA-1 with heads of width {head}: "
            "take the release's own files"
        )
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=tensor_side(tensors, f"{LAYERS}0.mlp.gate_proj.weight", 0),
        num_hidden_layers=len(layer_numbers(tensors, LAYERS)),
        num_attention_heads=width // head,
        num_key_value_heads=keys // head,
        rms_norm_eps=1e-6,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": ROTARY_BASE},
    )


def rotary_frequencies(head_width: int) -> Float[Tensor, " half"]:
    """LLaMA-1's rotary frequencies."""
    return 1.0 / (ROTARY_BASE ** (torch.arange(0, head_width, 2).float() / head_width))


def query_sizes(tensors: Mapping[str, Tensor], unstated: UnstatedSizes) -> dict[str, int]:
    """Arguments of QueryTransformer. Raises ValueError as `tensor_side`, or for heads that don't divide the
    width.
    """
    layer = "sd_qformer.encoder.layer."
    width = tensor_side(tensors, QUERIES, 2)
    if width % unstated.query_head_width:
        raise ValueError(
            f"attention heads of width {unstated.query_head_width} don't divide the Q-Former's {width}: set "
            "query_head_width"
        )
    layers, reading = len(layer_numbers(tensors, layer)), layer_numbers(tensors, layer, "crossattention.")
    return {
        "encoder_width": tensor_side(tensors, f"{layer}0.crossattention.self.key.weight", 1),
        "width": width,
        "queries": tensor_side(tensors, QUERIES, 1),
        "layers": layers,
        "heads": width // unstated.query_head_width,
        "feedforward": tensor_side(tensors, f"{layer}0.intermediate_query.dense.weight", 0),
        "cross_attention_every": reading[1] - reading[0] if len(reading) > 1 else layers,
    }


def interaction_sizes(tensors: Mapping[str, Tensor], unstated: UnstatedSizes) -> dict[str, int]:
    """Arguments of InteractionModule. Raises ValueError as `tensor_side`."""
    width = tensor_side(tensors, "modulate_head.weight", 0)
    return {
        "text_width": tensor_side(tensors, "modulate_head.weight", 1),
        "image_width": width,
        "stem_width": tensor_side(tensors, "dimension_reduction_head_zeroconv.weight", 0),
        "depth": len(layer_numbers(tensors, "modulate_transformer.layers.")),
        "heads": unstated.interaction_heads,
        "feedforward": tensor_side(tensors, "modulate_transformer.layers.0.mlp.lin1.weight", 0),
        "downsample": width
        // tensor_side(tensors, "modulate_transformer.final_attn_token_to_image.q_proj.weight", 0),
    }


def release_shapes(sizes: Sizes, lora: Mapping[str, Any] | None) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a release of these sizes, without the U-Net's and without constants."""
    width, new = sizes.language.hidden_size, sizes.image_tokens + NEW_TOKENS
    with torch.device("meta"):
        language = LlamaModel(sizes.language)
        query, interaction = (
            QueryTransformer(**sizes.query_transformer),
            InteractionModule(**sizes.interaction),
        )
    ours = {
        f"language_model/model.language_model.{name}": value.shape
        for name, value in language.state_dict().items()
    }
    ours |= {f"reader/query_transformer.{name}": value.shape for name, value in query.state_dict().items()}
    ours |= {f"reader/interaction.{name}": value.shape for name, value in interaction.state_dict().items()}
    shapes = {smartedit_release_name(name): tuple(shape) for name, shape in ours.items()}
    shapes |= {name: (sizes.language.vocab_size + new, width) for name in SPLIT}
    shapes |= {
        "mm_projector.weight": (width, sizes.interaction["image_width"]),
        "mm_projector.bias": (width,),
    }
    shapes[QUERIES] = (1, *shapes[QUERIES])
    if lora is not None:
        for name, value in language.named_parameters():
            module = name.removesuffix(".weight")
            if module.rpartition(".")[2] in lora["target_modules"]:
                shapes[f"model.base_model.model.{module}.lora_A.default.weight"] = (lora["r"], value.shape[1])
                shapes[f"model.base_model.model.{module}.lora_B.default.weight"] = (value.shape[0], lora["r"])
    return shapes


def check_release_shapes(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], what: str
) -> None:
    """Raise ValueError naming every tensor, constants aside, that is missing, extra or misshapen.

    Args:
        tensors: by the release's names.
        shapes: the expected ones.
        what: what the tensors are, for the message.
    """
    wrong = tensor_differences(
        {name: value for name, value in tensors.items() if name in shapes or not is_constant(name)},
        shapes,
        "the release",
    )
    if wrong:
        raise ValueError(
            f"{what} is not that of SmartEdit's release ({len(wrong)} differences): {'; '.join(wrong[:5])}"
        )


def write_release(release: Release, target: Path) -> Iterator[Sequence[str]]:
    """Write the four files, and adapter_config.json where peft looks for it and where the release's own
    script does; the names, file by file.

    Raises:
        NotWrittenError: the disk is full.
    """
    with replacing(target) as partial:
        try:
            for file in FILES:
                path = partial / release.file_name(file)
                path.parent.mkdir(parents=True)
                part = {
                    name: value for name, value in release.tensors.items() if family_of(name).file == file
                }
                torch.save(part, path)
                yield list(part)
            if release.lora is not None:
                config = {
                    "peft_type": "LORA",
                    "task_type": "CAUSAL_LM",
                    "base_model_name_or_path": "vicuna",
                    "inference_mode": True,
                    **release.lora,
                }
                for folder in (partial, (partial / release.file_name(LANGUAGE)).parent):
                    (folder / ADAPTER_CONFIG).write_text(
                        json.dumps(config, indent=2) + "\n", encoding="utf-8"
                    )
        except (OSError, RuntimeError) as error:
            raise not_written(target, error) from error
