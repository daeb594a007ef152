"""The release's names to ours and back, on every tensor that it has; sizes are read from them."""

import pytest
import torch
from formats.smartedit import FILES, HEAD, IMAGE, LANGUAGE, QUERIES, WORDS, release_tensors

from src.formats.smartedit_checkpoint import UnstatedSizes, check_release_shapes, infer_sizes, release_shapes
from src.formats.smartedit_release import (
    EMBEDDING,
    SPLIT,
    family_of,
    is_constant,
    is_lora,
    keeps_its_name,
    our_names,
    smartedit_release_name,
)

UNTOLD = UnstatedSizes(query_head_width=HEAD, interaction_heads=2)
FEW_LAYERS = 2


@pytest.fixture(scope="module")
def published() -> dict[str, dict[str, torch.Tensor]]:
    return release_tensors()


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return {
        name: value
        for file, part in release_tensors(layers=FEW_LAYERS).items()
        if "unet" not in file
        for name, value in part.items()
    }


def test_the_test_release_has_the_published_numbers_of_tensors(published) -> None:
    assert {file: len(part) for file, part in published.items()} == FILES


def test_every_name_goes_there_and_back(published) -> None:
    ours = []
    for file, part in published.items():
        for name in part:
            assert file.startswith(family_of(name).file)
            names = our_names(name)
            assert len(names) == (0 if is_constant(name) else 2 if name in SPLIT else 1)
            assert [smartedit_release_name(one) for one in names] == [name] * len(names)
            ours += names
    assert (
        len(set(ours)) == len(ours) == sum(FILES.values()) + 2 - 33
    )  # two tensors are split, 32 + 1 are constants


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            "model.base_model.model.layers.3.mlp.up_proj.weight",
            "language_model/model.language_model.layers.3.mlp.up_proj.weight",
        ),
        (
            "model.base_model.model.layers.3.self_attn.v_proj.lora_B.default.weight",
            "reader/language.llava.model.language_model.layers.3.self_attn.v_proj.lora_B.default.weight",
        ),
        ("mm_projector.bias", "language_model/model.multi_modal_projector.linear_1.bias"),
        ("sd_query_tokens", "reader/query_transformer.queries"),
        ("sd_qformer.embeddings.LayerNorm.bias", "reader/query_transformer.qformer.layernorm.bias"),
        (
            "sd_qformer.encoder.layer.4.crossattention.self.key.weight",
            "reader/query_transformer.qformer.encoder.layer.4.crossattention.attention.key.weight",
        ),
        (
            "modulate_transformer.layers.1.cross_attn_image_to_token.out_proj.bias",
            "reader/interaction.layers.1.image_to_text.out.bias",
        ),
        ("pe_layer.positional_encoding_gaussian_matrix", "reader/interaction.frequencies"),
        ("dimension_reduction_head_zeroconv.weight", "reader/interaction.image_out.weight"),
        ("unet.conv_in.weight", "unet/conv_in.weight"),
    ],
)
def test_names(theirs: str, ours: str) -> None:
    assert our_names(theirs) == (ours,)


def test_rows_of_embedding_and_head_are_split() -> None:
    assert our_names("lm_head.weight") == ("language_model/lm_head.weight", "reader/language.new_head.weight")
    assert our_names(EMBEDDING)[1] == "reader/language.new_tokens.weight"


def test_taken_means_that_only_the_beginning_of_the_name_changes() -> None:
    assert keeps_its_name("unet.conv_in.weight")
    assert not keeps_its_name("sd_qformer.encoder.layer.0.attention.self.key.bias")
    assert is_lora("model.base_model.model.layers.0.self_attn.q_proj.lora_A.default.weight")


@pytest.mark.parametrize("name", ["surplus", "vae.encoder.conv_in.weight"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        our_names(name)
    with pytest.raises(ValueError, match=name):
        smartedit_release_name(name)


def test_sizes_are_those_of_the_tensors(tensors) -> None:
    sizes = infer_sizes(tensors, UNTOLD)
    assert (sizes.language.vocab_size, sizes.language.hidden_size, sizes.language.num_hidden_layers) == (
        WORDS,
        LANGUAGE,
        FEW_LAYERS,
    )
    assert sizes.language.num_attention_heads == LANGUAGE // HEAD
    assert sizes.query_transformer["queries"] == QUERIES
    assert (
        sizes.query_transformer["layers"],
        sizes.query_transformer["cross_attention_every"],
        sizes.query_transformer["heads"],
    ) == (6, 2, 3)
    assert sizes.interaction == {
        "text_width": 24,
        "image_width": IMAGE,
        "stem_width": 8,
        "depth": 2,
        "heads": 2,
        "feedforward": 20,
        "downsample": 2,
    }
    check_release_shapes(
        tensors, release_shapes(sizes, {"r": 2, "target_modules": ["q_proj", "v_proj"]}), "this"
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.pop("modulate_head.bias"), r"\(1 differences\): modulate_head.bias is missing"),
        (
            lambda t: t.update({"modulate_transformer.surplus": torch.zeros(1)}),
            "modulate_transformer.surplus is not in the release",
        ),
        (
            lambda t: t.update({"mm_projector.bias": torch.zeros(3)}),
            r"mm_projector.bias has shape \(3,\), the release \(16,\)",
        ),
        (
            lambda t: t.pop("sd_query_tokens"),
            "sd_query_tokens, which tells a size, is missing from the release's embeddings_qformer file",
        ),
        (
            lambda t: t.update({"lm_head.weight": torch.zeros(74, 16)}),
            f"embedding has {WORDS + 35} rows and its head 74",
        ),
    ],
)
def test_what_is_wrong_is_named_in_the_words_of_the_release(tensors, damage, message: str) -> None:
    damaged = dict(tensors)
    damage(damaged)
    with pytest.raises(ValueError, match=message):
        check_release_shapes(
            damaged,
            release_shapes(infer_sizes(damaged, UNTOLD), {"r": 2, "target_modules": ["q_proj", "v_proj"]}),
            "this",
        )


@pytest.mark.parametrize(
    ("unstated", "message"),
    [
        (UnstatedSizes(image_tokens=400, query_head_width=HEAD), "403 of them SmartEdit's"),
        (
            UnstatedSizes(language_head_width=4, query_head_width=HEAD),
            "rotary frequencies are not those of LLaMA-1 with heads of width 4",
        ),
        (UnstatedSizes(), "heads of width 64 don't divide the Q-Former's 24: set query_head_width"),
    ],
)
def test_what_shapes_do_not_tell_must_fit(tensors, unstated: UnstatedSizes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        infer_sizes(tensors, unstated)
