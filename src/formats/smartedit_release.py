"""SmartEdit's published weights (`TencentARC/SmartEdit-7B`, `-13B`; Huang et al. 2024): the names of their
tensors, and ours.

Four pickles: the language model with its LoRA (LLM), Q-Former, head and projector (embeddings_qformer),
interaction module (modulate), U-Net (unet). Our names begin with the folder in a SmartEdit folder to which a
tensor belongs: language_model/, reader/ or unet/.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

LANGUAGE, QUERY, INTERACTION, UNET = "LLM", "embeddings_qformer", "modulate", "unet"
"""The release's four files."""

EMBEDDING, HEAD = "model.base_model.model.embed_tokens.weight", "lm_head.weight"
"""Hold a row for each token of the language model, followed by one for each that SmartEdit adds."""

NEW_TOKENS = 3
"""Number of tokens added before the image tokens: <img>, <im_start>, <im_end>."""

SPLIT = {
    EMBEDDING: (
        "language_model/model.language_model.embed_tokens.weight",
        "reader/language.new_tokens.weight",
    ),
    HEAD: ("language_model/lm_head.weight", "reader/language.new_head.weight"),
}
"""Tensors whose rows are split into two of ours: the language model's and the added ones."""

QUERIES = "sd_query_tokens"
"""(1, queries, width) in the release, (queries, width) here."""

FREQUENCIES, POSITIONS = ".rotary_emb.inv_freq", "sd_qformer.embeddings.position_ids"
"""Suffixes of constants that older libraries saved with the weights."""


@final
@dataclass(frozen=True)
class Family:
    """Tensors that are renamed by the same rule.

    Attributes:
        file: the release's file.
        theirs, ours: prefixes of the names.
        renamed: renamed parts of the rest between dots, theirs to ours.
        lora: whether these are LoRA's factors.
    """

    file: str
    theirs: str
    ours: str
    renamed: Mapping[str, str] = field(default_factory=dict)
    lora: bool = False


FAMILIES = (
    Family(LANGUAGE, "model.base_model.model.", "language_model/model.language_model."),
    Family(LANGUAGE, "model.base_model.model.", "reader/language.llava.model.language_model.", lora=True),
    Family(QUERY, "mm_projector.", "language_model/model.multi_modal_projector.linear_1."),
    Family(QUERY, HEAD, SPLIT[HEAD][0]),
    Family(QUERY, QUERIES, "reader/query_transformer.queries"),
    Family(
        QUERY,
        "sd_qformer.",
        "reader/query_transformer.qformer.",
        {
            "embeddings.LayerNorm": "layernorm",
            "attention.self": "attention.attention",
            "crossattention.self": "crossattention.attention",
        },
    ),
    Family(INTERACTION, "modulate_head.", "reader/interaction.text_in."),
    Family(INTERACTION, "pe_layer.positional_encoding_gaussian_matrix", "reader/interaction.frequencies"),
    Family(INTERACTION, "dimension_reduction_head_qformer_out.", "reader/interaction.text_out."),
    Family(INTERACTION, "dimension_reduction_head_zeroconv.", "reader/interaction.image_out."),
    Family(
        INTERACTION,
        "modulate_transformer.",
        "reader/interaction.",
        {
            "self_attn": "self_attention",
            "cross_attn_token_to_image": "text_to_image",
            "cross_attn_image_to_token": "image_to_text",
            "final_attn_token_to_image": "final_attention",
            "norm_final_attn": "final_norm",
            "mlp.lin1": "feedforward_in",
            "mlp.lin2": "feedforward_out",
            "q_proj": "query",
            "k_proj": "key",
            "v_proj": "value",
            "out_proj": "out",
        },
    ),
    Family(UNET, "unet.", "unet/"),
)


def family_of(theirs: str) -> Family:
    """The family of a tensor of the release.

    Raises:
        ValueError: the release has no such tensor.
    """
    for family in FAMILIES:
        if theirs.startswith(family.theirs) and family.lora == is_lora(theirs):
            return family
    raise ValueError(f"SmartEdit's release has no tensor {theirs}")


def is_constant(theirs: str) -> bool:
    """Whether a tensor is a constant that follows from the model's sizes, which we don't store."""
    return theirs.endswith(FREQUENCIES) or theirs == POSITIONS


def is_lora(name: str) -> bool:
    """Whether a tensor, by our name or theirs, is a LoRA factor."""
    return ".lora_A." in name or ".lora_B." in name


def our_names(theirs: str) -> tuple[str, ...]:
    """The names in a SmartEdit folder of a tensor of the release: one, two if its rows are split, none for a
    constant.

    Raises:
        ValueError: the release has no such tensor.
    """
    family = family_of(theirs)
    if is_constant(theirs):
        return ()
    if theirs in SPLIT:
        return SPLIT[theirs]
    return (family.ours + _renamed(theirs.removeprefix(family.theirs), family.renamed),)


def keeps_its_name(theirs: str) -> bool:
    """Whether only the prefix of a tensor's name changes."""
    family = family_of(theirs)
    return our_names(theirs) == (family.ours + theirs.removeprefix(family.theirs),)


def smartedit_release_name(ours: str) -> str:
    """The release's name of a tensor in a SmartEdit folder. Two of ours that are rows of one tensor of theirs
    have the same name.

    Raises:
        ValueError: the release has nothing that corresponds to it.
    """
    for theirs, parts in SPLIT.items():
        if ours in parts:
            return theirs
    candidates = [
        family for family in FAMILIES if ours.startswith(family.ours) and family.lora == is_lora(ours)
    ]
    if not candidates:
        raise ValueError(f"SmartEdit's release has nothing that corresponds to {ours}")
    family = max(candidates, key=lambda candidate: len(candidate.ours))
    return family.theirs + _renamed(
        ours.removeprefix(family.ours), {mine: yours for yours, mine in family.renamed.items()}
    )


def _renamed(name: str, parts: Mapping[str, str]) -> str:
    """A dotted name with whole parts replaced."""
    if not parts:
        return name
    one_of = "|".join(re.escape(part) for part in parts)
    return re.sub(rf"(?<![^.])({one_of})(?![^.])", lambda found: parts[found[0]], name)
