"""Converts SmartEdit's release to the folder that a SmartEdit is loaded from, and back.

    python -m src.convert format=smartedit_release source=DIR output=FOLDER

    FOLDER/{unet,vae,text_encoder,tokenizer,scheduler}/   a stock InsPix2Pix pipeline
    FOLDER/language_model/, language_tokenizer/           transformers' LLaVA and its tokenizer
    FOLDER/reader/                                        what SmartEdit adds (Q-Former, new tokens, ...)
    FOLDER/editor.yaml                                    the config of the editor that it is, without reward
    FOLDER/conversion.json, conversion.safetensors        the fate of each tensor; what the way back needs

LLaVA-1.1's projector is one linear layer; today's LLaVA has two with an activation between them. Here
activation and second layer are the identity.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from huggingface_hub import split_torch_state_dict_into_shards
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionModel, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from src.checkpoint import ADAPTER
from src.files import not_written, replacing
from src.finite_tensors import check_finite
from src.formats.smartedit_checkpoint import (
    LAYERS,
    Release,
    Sizes,
    UnstatedSizes,
    check_release_shapes,
    infer_sizes,
    release_shapes,
    rotary_frequencies,
)
from src.formats.smartedit_companions import (
    CompanionModels,
    build_release_unet,
    build_stock_pipeline,
    load_language_tokenizer,
    load_vision_tower,
    with_llava_embeddings,
)
from src.formats.smartedit_release import (
    EMBEDDING,
    FREQUENCIES,
    NEW_TOKENS,
    POSITIONS,
    QUERIES,
    QUERY,
    SPLIT,
    family_of,
    is_constant,
    is_lora,
    keeps_its_name,
    our_names,
    smartedit_release_name,
)
from src.formats.weights import read_folder_tensors, read_tensors
from src.hub import check_adapter_learnt, quiet_libraries
from src.json_files import read_json

LANGUAGE_MODEL, TOKENIZER, READER = "language_model", "language_tokenizer", "reader"
REPORT, CONSTANTS = "conversion.json", "conversion.safetensors"

SECOND_LAYER = "model.multi_modal_projector.linear_2"
"""The projector's second layer, which LLaVA-1.1 doesn't have."""

SAVED_NAMES = {
    "language_model.lm_head.": "lm_head.",
    "language_model.model.": "model.language_model.",
    "multi_modal_projector.": "model.multi_modal_projector.",
    "vision_tower.": "model.vision_tower.",
}
"""Prefixes of LLaVA's names in files written by transformers -> in the model."""

DAMAGED = "nothing is written, as no editor could use them; download them again"
LARGEST_FILE = "2GB"
LAST = "last"
"""Stands for the step in file names of a training that has ended."""

Fate = dict[str, Any]
"""What became of a tensor of the release: its file, name, shape and dtype, its fate in a word, and its new
names.
"""


@final
@dataclass(frozen=True)
class SmartEditFolder:
    """The content of a SmartEdit folder.

    Attributes:
        pipeline: a stock one around the release's U-Net.
        language: LLaVA's config; language_tensors: its weights.
        tokenizer: the language model's.
        reader: sizes of what SmartEdit adds; reader_tensors: its weights.
        constants: tensors of the release that follow from its sizes.
        fates: of all of the release's tensors.
        approximations: deviations from what the release's code computes.
        step: of the release.
    """

    pipeline: StableDiffusionInstructPix2PixPipeline
    language: LlavaConfig
    language_tensors: Mapping[str, Tensor]
    tokenizer: Any
    reader: Mapping[str, Any]
    reader_tensors: Mapping[str, Tensor]
    constants: Mapping[str, Tensor]
    fates: Sequence[Fate]
    approximations: Sequence[str]
    step: str

    def tensors(self) -> int:
        """The number of tensors that will be written."""
        return len(self.pipeline.unet.state_dict()) + len(self.language_tensors) + len(self.reader_tensors)

    def report_lines(self) -> list[str]:
        """Lines for the terminal: per file of the release what became of its tensors, then the
        approximations.
        """
        lines = []
        for file in dict.fromkeys(entry["file"] for entry in self.fates):
            fates = [str(entry["fate"]) for entry in self.fates if entry["file"] == file]
            lines.append(
                f"{file}: {len(fates)} tensors, "
                f"{', '.join(f'{fates.count(fate)} {fate}' for fate in dict.fromkeys(fates))}"
            )
        return lines + [f"approximated: {what}" for what in self.approximations]


def folder_from_release(
    release: Release, unstated: UnstatedSizes, companions: CompanionModels, lora: Literal["merged", "kept"]
) -> SmartEditFolder:
    """Check a release and combine it with its companion models. Tensors are moved unchanged, except where a
    LoRA is merged.

    Raises:
        FileNotFoundError, ValueError: something is missing, or belongs to another model.
    """
    sizes = infer_sizes(release.tensors, unstated)
    check_release_shapes(
        without_unet(release.tensors), release_shapes(sizes, release.lora), "what these files hold"
    )
    tensors, approximations = with_llava_embeddings(release.tensors, sizes, companions.llava)
    unet = build_release_unet(companions.pipeline, tensors, sizes)
    ours = {
        name: value
        for theirs, whole in tensors.items()
        for name, value in renamed_tensors(theirs, whole, sizes)
    }
    merged = release.lora if lora == "merged" else None
    if merged is not None:
        ours = merge_all_lora(ours, merged["lora_alpha"] / merged["r"])
        approximations += rounding_notes(release.tensors)
    tower = load_vision_tower(companions.vision, sizes)
    language = llava_config(tower, sizes)
    return SmartEditFolder(
        pipeline=build_stock_pipeline(companions.pipeline, unet),
        language=language,
        language_tensors=llava_tensors(language, tower, tensors_of_part(ours, LANGUAGE_MODEL)),
        tokenizer=load_language_tokenizer(companions.language_tokenizer, sizes),
        reader={
            "image_tokens": sizes.image_tokens,
            "lora": release.lora if merged is None else None,
            "query_transformer": without_widths(sizes.query_transformer, "encoder_width", "width"),
            "interaction": without_widths(sizes.interaction, "text_width", "image_width", "stem_width"),
        },
        reader_tensors=tensors_of_part(ours, READER),
        constants={name: value for name, value in release.tensors.items() if is_constant(name)},
        fates=tensor_fates(release, merged is not None),
        approximations=approximations,
        step=release.step,
    )


def without_widths(sizes: Mapping[str, int], *widths: str) -> dict[str, int]:
    """Sizes of a module without those that its neighbours determine."""
    return {name: size for name, size in sizes.items() if name not in widths}


def without_unet(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The release's tensors without the U-Net's."""
    return {name: value for name, value in tensors.items() if not name.startswith("unet.")}


def tensors_of_part(ours: Mapping[str, Tensor], folder: str) -> dict[str, Tensor]:
    """The tensors of one subfolder, by their names without its prefix."""
    return {
        name.removeprefix(f"{folder}/"): value
        for name, value in ours.items()
        if name.startswith(f"{folder}/")
    }


def renamed_tensors(theirs: str, value: Tensor, sizes: Sizes) -> list[tuple[str, Tensor]]:
    """A tensor of the release by our names."""
    names = our_names(theirs)
    if theirs in SPLIT:
        return list(
            zip(names, value.split([sizes.language.vocab_size, sizes.image_tokens + NEW_TOKENS]), strict=True)
        )
    return [(name, value.squeeze(0) if theirs == QUERIES else value) for name in names]


def without_factor(name: str) -> str:
    """The name of the weight to which a LoRA factor belongs; other names are unchanged."""
    return re.sub(r"\.lora_[AB]\.\w+", "", name)


def merge_all_lora(ours: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The same tensors, by our names, with W + scale B A in place of W, A and B."""
    check_adapter_learnt(ours, "the release")
    merged = {name: value for name, value in ours.items() if not is_lora(name)}
    for name in ours:
        if ".lora_A." in name:
            weight = without_factor(name).replace("reader/language.llava.", "language_model/")
            merged[weight] = merge_lora_factors(
                merged[weight], ours[name], ours[name.replace(".lora_A.", ".lora_B.")], scale
            )
    return merged


def merge_lora_factors(
    weight: Float[Tensor, "out in"], a: Float[Tensor, "r in"], b: Float[Tensor, "out r"], scale: float
) -> Float[Tensor, "out in"]:
    """W + scale B A, computed in fp32 and rounded once."""
    return (weight.float() + scale * (b.float() @ a.float())).to(weight.dtype)


def rounding_notes(tensors: Mapping[str, Tensor]) -> list[str]:
    """Notes on the rounding of merged weights in 16 bits."""
    formats = {
        str(tensors[without_factor(name)].dtype).removeprefix("torch.") for name in tensors if is_lora(name)
    } - {"float32"}
    return (
        [
            f"weights with the LoRA in them are rounded to {' and '.join(sorted(formats))}; "
            "lora=kept keeps both as they are"
        ]
        if formats
        else []
    )


def llava_config(tower: CLIPVisionModel, sizes: Sizes) -> LlavaConfig:
    """The config of a present-day LLaVA that computes what LLaVA-1.1 does."""
    vision: Any = tower.config
    return LlavaConfig(
        vision_config=vision,
        text_config=sizes.language,
        projector_hidden_act="linear",
        image_token_index=sizes.language.vocab_size,  # no word's id, as images enter as vectors
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
        architectures=[LlavaForConditionalGeneration.__name__],
    )


def llava_tensors(
    config: LlavaConfig, tower: CLIPVisionModel, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """All weights of a LLaVA, from its vision tower and the release."""
    bias = tensors["model.multi_modal_projector.linear_1.bias"]
    whole = {f"model.vision_tower.{name}": value for name, value in tower.state_dict().items()} | dict(
        tensors
    )
    whole |= {
        f"{SECOND_LAYER}.weight": torch.eye(len(bias), dtype=bias.dtype),
        f"{SECOND_LAYER}.bias": torch.zeros_like(bias),
    }
    with torch.device("meta"):
        model: Any = LlavaForConditionalGeneration(config)
    model.load_state_dict(whole, assign=True)  # strict: raises for missing or extra tensors
    return whole


def tensor_fates(release: Release, merging: bool) -> list[Fate]:
    """The fate of every tensor of a release."""
    fates = []
    changed = {without_factor(name) for name in release.tensors if is_lora(name)} if merging else set()
    for name, value in release.tensors.items():
        if is_constant(name):
            fate = "dropped (constants, which follow from the sizes)"
        elif name in SPLIT:
            fate = "split (old tokens and new ones)"
        elif without_factor(name) in changed:
            fate = "merged (LoRA)"
        else:
            fate = "taken" if keeps_its_name(name) else "renamed"
        to = our_names(without_factor(name) if merging else name)
        fates.append(fate_entry(release.file_name(family_of(name).file), name, value, fate, to))
    for value in release.repeated:
        why = (
            "dropped (the language model's file has it as well, "
            "which is the one that the release's code reads)"
        )
        fates.append(fate_entry(release.file_name(QUERY), EMBEDDING, value, why, ()))
    return fates


def fate_entry(file: str, name: str, value: Tensor, fate: str, to: Sequence[str]) -> Fate:
    """A tensor's entry in the report."""
    dtype = str(value.dtype).removeprefix("torch.")
    return {
        "file": file,
        "name": name,
        "shape": list(value.shape),
        "dtype": dtype,
        "fate": fate,
        "to": list(to),
    }


def write_smartedit_folder(
    folder: SmartEditFolder, target: Path, texts: Mapping[str, str]
) -> Iterator[Sequence[str]]:
    """Write a SmartEdit folder atomically. Yields the names of the written tensors, file by file.

    Args:
        folder: its content.
        target: must not exist yet.
        texts: further text files, by name.

    Raises:
        NotWrittenError: the disk is full.
        NotFiniteError: NaN or infinity among the weights; nothing is written.
    """
    check_finite(folder.pipeline.unet.state_dict(), "the weights for unet", DAMAGED)
    with replacing(target) as partial:
        try:
            with quiet_libraries():
                folder.pipeline.save_pretrained(partial)
                folder.language.dtype = folder.language_tensors["lm_head.weight"].dtype
                folder.language.save_pretrained(partial / LANGUAGE_MODEL)
                folder.tokenizer.save_pretrained(partial / TOKENIZER)
            yield list(folder.pipeline.unet.state_dict())
            yield from write_tensors(
                {name_in_file(name): value for name, value in folder.language_tensors.items()},
                partial / LANGUAGE_MODEL,
            )
            (partial / READER).mkdir()
            write_json(folder.reader, partial / READER / "config.json")
            yield from write_tensors(folder.reader_tensors, partial / READER)
            if folder.constants:
                save_file(
                    {name: value.contiguous() for name, value in folder.constants.items()},
                    partial / CONSTANTS,
                    metadata={"format": "pt"},
                )
            for name, text in {REPORT: conversion_report(folder), **texts}.items():
                (partial / name).write_text(text, encoding="utf-8")
        except (OSError, RuntimeError, SafetensorError) as error:
            raise not_written(target, error) from error


def conversion_report(folder: SmartEditFolder) -> str:
    """conversion.json: a line per tensor."""
    about = {"format": "smartedit_release", "step": folder.step, "approximations": folder.approximations}
    tensors = ",\n".join(f"    {json.dumps(fate)}" for fate in folder.fates)
    return json.dumps(about, indent=2).removesuffix("\n}") + f',\n  "tensors": [\n{tensors}\n  ]\n}}\n'


def write_json(content: Mapping[str, Any], file: Path) -> None:
    """Write indented JSON."""
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_tensors(tensors: Mapping[str, Tensor], folder: Path) -> Iterator[Sequence[str]]:
    """Write model.safetensors, or several files and their index as transformers does. Yields the names in
    each. Raises NotFiniteError for NaN or infinity.
    """
    split = split_torch_state_dict_into_shards(dict(tensors), max_shard_size=LARGEST_FILE)
    for file, names in split.filename_to_tensors.items():
        part = {name: tensors[name].contiguous() for name in names}
        check_finite(part, f"the weights for {folder.name}", DAMAGED)
        save_file(part, folder / file, metadata={"format": "pt"})
        yield names
    if split.is_sharded:
        write_json(
            {"metadata": split.metadata, "weight_map": split.tensor_to_filename},
            folder / "model.safetensors.index.json",
        )


def release_from_folder(source: Path) -> Release:
    """Restore the release from a SmartEdit folder: bit for bit if it was converted with lora=kept and without
    llava.

    Raises:
        FileNotFoundError: no such folder, or a part of it is missing.
        ValueError: a LoRA that was merged, a projector of two layers, or tensors that the release has no
            place for.
    """
    reader = read_folder_json(source / READER / "config.json", source)
    read_folder_json(source / LANGUAGE_MODEL / "config.json", source)  # checks that it exists and is JSON
    language: Any = LlavaConfig.from_pretrained(source / LANGUAGE_MODEL).text_config
    if (source / ADAPTER).exists():
        raise ValueError(
            f"source={source} is trained with a reward, which SmartEdit's release has no place for: take the "
            "SmartEdit it started from"
        )
    about = (
        read_folder_json(source / REPORT, source)
        if (source / REPORT).is_file()
        else {"step": LAST, "tensors": []}
    )
    if any("merged" in tensor["fate"] for tensor in about["tensors"]):
        raise ValueError(
            f"the LoRA in source={source} is merged into its language model and can't be taken out: convert "
            "the release with lora=kept"
        )
    ours: dict[str, Tensor] = {}
    for folder in (LANGUAGE_MODEL, READER, "unet"):
        tensors = read_folder_tensors(source / folder)
        if tensors is None:
            raise FileNotFoundError(
                f"source={source} is not a whole SmartEdit: {folder}/ has no weights; copy it again"
            )
        ours |= {
            f"{folder}/{name_in_model(name) if folder == LANGUAGE_MODEL else name}": value
            for name, value in tensors.items()
        }
    theirs = release_tensors(ours, source) | release_constants(source, language)
    order = [tensor["name"] for tensor in about["tensors"] if tensor["name"] in theirs]
    theirs = {name: theirs[name] for name in dict.fromkeys([*order, *theirs])}
    width = theirs[QUERIES].shape[-1] if QUERIES in theirs else 0
    unstated = UnstatedSizes(
        reader["image_tokens"],
        None,
        width // reader["query_transformer"]["heads"],
        reader["interaction"]["heads"],
    )
    sizes = infer_sizes(theirs, unstated)
    check_release_shapes(without_unet(theirs), release_shapes(sizes, reader["lora"]), f"what {source} holds")
    build_release_unet(str(source), theirs, sizes)
    return Release(str(about["step"]), theirs, reader["lora"])


def read_folder_json(file: Path, source: Path) -> Any:
    """The content of a JSON file in a SmartEdit folder. Raises FileNotFoundError or ValueError."""
    if not file.is_file():
        raise FileNotFoundError(
            f"source={source} is not a SmartEdit folder: {file.relative_to(source)} is missing; give one "
            "that src.convert wrote"
        )
    try:
        return read_json(file)
    except ValueError as error:
        raise ValueError(f"{error}; copy it again") from error


def name_in_model(saved: str) -> str:
    """A tensor's name in LLaVA, from its name in a file."""
    return replace_prefix(saved, SAVED_NAMES)


def name_in_file(name: str) -> str:
    """A tensor's name in a file, from its name in LLaVA."""
    return replace_prefix(name, {ours: saved for saved, ours in SAVED_NAMES.items()})


def replace_prefix(name: str, beginnings: Mapping[str, str]) -> str:
    """A name with its prefix replaced, if it is one of these."""
    before = next((before for before in beginnings if name.startswith(before)), "")
    return beginnings.get(before, "") + name.removeprefix(before)


def release_tensors(ours: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """The release's tensors, without constants, from those in a SmartEdit folder.

    Raises:
        ValueError: the projector's second layer is not the identity, or the release has no place for a
            tensor.
    """
    weight, bias = (ours.get(f"{LANGUAGE_MODEL}/{SECOND_LAYER}.{kind}") for kind in ("weight", "bias"))
    if (
        weight is None
        or bias is None
        or bias.any()
        or not torch.equal(weight, torch.eye(len(weight), dtype=weight.dtype))
    ):
        raise ValueError(
            f"the projector of source={source} has a second layer, which LLaVA-1.1 and SmartEdit's release "
            "don't have: it can't go back"
        )
    pieces: dict[str, list[Tensor]] = {}
    for name, value in ours.items():
        if not name.startswith(
            (f"{LANGUAGE_MODEL}/model.vision_tower.", f"{LANGUAGE_MODEL}/{SECOND_LAYER}.")
        ):
            pieces.setdefault(smartedit_release_name(name), []).append(
                value.unsqueeze(0) if smartedit_release_name(name) == QUERIES else value
            )
    return {name: torch.cat(values) if name in SPLIT else values[0] for name, values in pieces.items()}


def release_constants(source: Path, language: LlamaConfig) -> dict[str, Tensor]:
    """The release's constants: as they were saved, or computed for a folder that was trained here."""
    if (source / CONSTANTS).is_file():
        return read_tensors(source / CONSTANTS)
    frequencies = rotary_frequencies(language.hidden_size // language.num_attention_heads)
    constants = {
        f"{LAYERS}{layer}.self_attn{FREQUENCIES}": frequencies for layer in range(language.num_hidden_layers)
    }
    return constants | {POSITIONS: torch.arange(512).unsqueeze(0)}
