"""The multimodal language model: what it reads is what LLaVA reads of the same sequence; what is trained;
that bad weights are named.
"""

import copy
import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from backbones.smartedit.models import (
    CONVERSATION,
    GRID,
    IMAGE_WIDTH,
    SIDE,
    WIDTH,
    llama_tokenizer,
    lora,
    random_llava,
    small_language_model,
    words,
    write_language_model,
)
from malicious import write_malicious
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BitsAndBytesConfig, CLIPTextConfig, LlamaConfig

from src.backbones.smartedit.conversation import Conversation, PromptTemplate, token_ids, word_tokenizer
from src.backbones.smartedit.language import LanguageModel, clip_pixels, pad_ids
from src.backbones.smartedit.llava import check_no_delta, pretrained_llava, pretrained_tokenizer, small_llava

INSTRUCTIONS = ["make it night", "", "turn the picture into a sunset scene"]
TOKENIZERS = {"words": words, "llama": llama_tokenizer}


def random_images(count: int = 3, height: int = 40, width: int = 24) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def read_alone(
    model: LanguageModel, image: Tensor, instruction: str, own: str | None = None
) -> tuple[Tensor, Tensor]:
    """One sample without padding or batch, its sequence put together by hand and read by LLaVA's own forward:
    states (l, D), logits (l, rows).

    `own` is the answer of a conversation, in place of the fixed one.
    """
    llava, tokenizer, said = model.llava, model.template.tokenizer, model.template.conversation
    embedding = llava.get_input_embeddings()

    def text(piece: str) -> list[Tensor]:
        ids = token_ids(tokenizer, piece.strip())
        return [embedding(torch.tensor(ids))] if ids else []

    img, start, end, *images = model.new_tokens.weight.split(1)
    before, behind = said.before.split("<img>")
    seen = llava.get_image_features(pixel_values=clip_pixels(image[None], SIDE)).pooler_output[0]
    pieces = [embedding(torch.tensor([1])), *text(before), img, *text(behind), start, seen, end]
    pieces += [*text(instruction), *text(said.after)]
    pieces += [*text(said.answer), *images] if own is None else [*text(own), embedding(torch.tensor([2]))]
    output = llava(inputs_embeds=torch.cat(pieces)[None], output_hidden_states=True)
    states = output.hidden_states[-1][0]
    return states, torch.cat([output.logits[0], states @ model.new_head.weight.T], -1)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize(
    "vision",
    [
        {},
        {"vision_feature_layer": -1},
        {"vision_feature_layer": [0, -2], "vision_feature_select_strategy": "full"},
    ],
)
def test_states_are_those_of_llavas_own_forward(tokenizer: str, vision: dict) -> None:
    known = TOKENIZERS[tokenizer]()
    llava = random_llava(known)
    if isinstance(vision.get("vision_feature_layer"), list):
        llava.model.multi_modal_projector.linear_1 = torch.nn.Linear(2 * IMAGE_WIDTH, WIDTH)
    llava.config.update(vision)
    model = LanguageModel(llava, known, CONVERSATION, image_tokens=5).eval()
    torch.nn.init.normal_(model.new_tokens.weight)
    with torch.no_grad():
        answer = model(random_images(), INSTRUCTIONS)
        for row, (image, instruction) in enumerate(zip(random_images(), INSTRUCTIONS, strict=True)):
            states, _ = read_alone(model, image, instruction)
            torch.testing.assert_close(answer.hidden[row], states[-5:], atol=1e-5, rtol=1e-5)


def test_features_are_the_towers_without_class_token_on_their_grid() -> None:
    model = small_language_model()
    with torch.no_grad():
        features = model(random_images(), INSTRUCTIONS).features
        states = model.llava.model.vision_tower(
            clip_pixels(random_images(), SIDE), output_hidden_states=True
        ).hidden_states[-2]
    assert features.shape == (3, model.image_width, model.grid, model.grid) == (3, IMAGE_WIDTH, GRID, GRID)
    for patch in range(GRID * GRID):
        torch.testing.assert_close(features[:, :, patch // GRID, patch % GRID], states[:, 1 + patch])


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_sample_depends_on_nothing_else_in_its_batch(tokenizer: str) -> None:
    """Nor on the padding that longer instructions bring, nor on its place, nor on the run."""
    model = small_language_model(TOKENIZERS[tokenizer]())
    with torch.no_grad():
        together, again = model(random_images(), INSTRUCTIONS), model(random_images(), INSTRUCTIONS)
        backwards = model(random_images().flip(0), INSTRUCTIONS[::-1])
        assert torch.equal(together.hidden, again.hidden)
        assert together.hidden.shape == (3, 32, WIDTH)
        torch.testing.assert_close(backwards.hidden.flip(0), together.hidden, atol=1e-5, rtol=1e-5)
        for row in range(3):
            alone = model(random_images()[row : row + 1], INSTRUCTIONS[row : row + 1])
            torch.testing.assert_close(alone.hidden[0], together.hidden[row], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(alone.features[0], together.features[row], atol=1e-5, rtol=1e-5)
        swapped = model(random_images().roll(1, 0), INSTRUCTIONS).hidden
        said_otherwise = model(random_images(), ["make it foggy", *INSTRUCTIONS[1:]]).hidden
    assert (swapped - together.hidden).abs().amax() > 1e-2, (
        "states that don't depend on the picture test nothing"
    )
    assert (said_otherwise[0] - together.hidden[0]).abs().amax() > 1e-2
    torch.testing.assert_close(said_otherwise[1:], together.hidden[1:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_error_is_the_mean_cross_entropy_of_the_answer(tokenizer: str) -> None:
    model = small_language_model(TOKENIZERS[tokenizer]())
    model.train_parts("alignment")
    error = model.train()(random_images(), INSTRUCTIONS).error
    assert error is not None
    rows = len(model.template.tokenizer)
    answer = [*token_ids(model.template.tokenizer, CONVERSATION.answer), *range(rows + 3, rows + 35)]
    for row, (image, instruction) in enumerate(zip(random_images(), INSTRUCTIONS, strict=True)):
        _, logits = read_alone(model, image, instruction)
        said = logits.log_softmax(-1)[-len(answer) - 1 : -1]  # a state predicts the token behind it
        torch.testing.assert_close(
            error[row], -said[torch.arange(len(answer)), answer].mean(), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_the_error_of_a_conversation_is_that_of_its_own_answer(tokenizer: str) -> None:
    """It ends in the token that ends a text; the others of its batch don't notice."""
    model = small_language_model(TOKENIZERS[tokenizer]())
    model.train_parts("alignment")
    plain, mixed = (
        model.train()(random_images(), INSTRUCTIONS),
        model(random_images(), INSTRUCTIONS, [None, "remove the red circle", None]),
    )
    others = [0, 2]
    torch.testing.assert_close(mixed.hidden[others], plain.hidden[others])
    torch.testing.assert_close(mixed.error[others], plain.error[others])
    answer = [*token_ids(model.template.tokenizer, "remove the red circle"), 2]
    _, logits = read_alone(model, random_images()[1], INSTRUCTIONS[1], "remove the red circle")
    said = logits.log_softmax(-1)[-len(answer) - 1 : -1]
    torch.testing.assert_close(
        mixed.error[1], -said[torch.arange(len(answer)), answer].mean(), atol=1e-5, rtol=1e-5
    )


def test_a_long_conversation_is_cut() -> None:
    template = PromptTemplate(replace(CONVERSATION, max_length=120), llama_tokenizer(), 400, 32)
    room = 120 - len(template.head) - len(template.behind) - len(template.turn)
    with pytest.warns(UserWarning, match=f"cut to {room}"):
        ids, learnt = template.chat_ids("a" * 200, "b" * 200)
    assert len(ids) == room + len(template.behind) + len(template.turn)
    assert learnt == room - room // 2


def test_error_is_only_computed_where_the_new_tokens_are_trained() -> None:
    model = small_language_model()
    model.train_parts("alignment")
    assert model.eval()(random_images(), INSTRUCTIONS).error is None
    assert model.train()(random_images(), INSTRUCTIONS).error is not None
    with torch.no_grad():
        assert model(random_images(), INSTRUCTIONS).error is None
    model.train_parts("none")
    assert model(random_images(), INSTRUCTIONS).error is None


# --- what is trained
# ------------------------------------------------------------------------------------------------------------

NEW = {"new_tokens.weight", "new_head.weight"}
TRAINED: dict[str, tuple[dict, dict, Callable[[str], bool]]] = {
    "none": ({"which": "none"}, {}, lambda name: False),
    "alignment": ({"which": "alignment"}, {}, lambda name: name in NEW),
    "alignment beside lora": ({"which": "alignment"}, {"lora": lora()}, lambda name: name in NEW),
    "all": ({"which": "all"}, {}, lambda name: "vision_tower" not in name),
    "lora": ({"which": "all"}, {"lora": lora()}, lambda name: name in NEW or "lora_" in name),
    "vision": (
        {"which": "all", "train_vision": True},
        {},
        lambda name: (
            "post_layernorm" not in name and "vision_tower.encoder.layers.1" not in name
        ),  # behind the layer that is read
    ),
}


@pytest.mark.parametrize("case", TRAINED)
def test_gradients_reach_exactly_what_is_named(case: str) -> None:
    named, settings, trained = TRAINED[case]
    model = small_language_model(**settings).train()
    model.train_parts(**named)
    expected = {name for name, _ in model.named_parameters() if trained(name)}
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == expected
    if case == "none":
        assert not model(random_images(), INSTRUCTIONS).hidden.requires_grad
        return
    answer = model(random_images(), INSTRUCTIONS)
    assert answer.error is not None
    (answer.error.mean() + answer.hidden.square().mean()).backward()
    # one without gradient would stop DDP; LoRA's first half has a gradient of zero until its second half has
    # moved
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == expected
    assert all(
        parameter.grad.any()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not name.endswith(("k_proj.bias", "lora_A.default.weight"))
    )


def test_trained_parts_can_be_named_again() -> None:
    model = small_language_model(lora=lora())
    model.train_parts("all")
    model.train_parts("alignment")
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == NEW
    with pytest.raises(ValueError, match="train_vision=true goes with which=all"):
        model.train_parts("alignment", train_vision=True)


def test_new_rows_begin_as_the_mean_of_the_old_ones() -> None:
    """Of those that the tokenizer knows: models are padded with rows that were never trained."""
    known = words()
    llava = random_llava(known)
    old, head = llava.get_input_embeddings().weight.clone(), llava.lm_head.weight.clone()
    llava.resize_token_embeddings(len(known) + 9, mean_resizing=False)
    torch.nn.init.constant_(llava.get_input_embeddings().weight[len(known) :].detach(), 9.0)
    model = LanguageModel(llava, known, CONVERSATION)
    assert model.new_tokens.weight.shape == model.new_head.weight.shape == (35, WIDTH)
    torch.testing.assert_close(model.new_tokens.weight, old.mean(0).expand(35, WIDTH))
    torch.testing.assert_close(model.new_head.weight, head.mean(0).expand(35, WIDTH))
    assert model.template.answer[-1] == len(known) + 9 + 34


def test_lora_acts_in_the_language_model_alone_and_begins_as_nothing() -> None:
    plain, adapted = small_language_model(), small_language_model(lora=lora())
    layers = {name for name, _ in adapted.named_parameters() if "lora_" in name}
    assert layers == {
        f"llava.model.language_model.layers.{layer}.self_attn.{projection}_proj.lora_{half}.default.weight"
        for layer in (0, 1)
        for projection in "qv"
        for half in "AB"
    }
    adapted.new_tokens.load_state_dict(plain.new_tokens.state_dict())
    with torch.no_grad():
        before = plain(random_images(), INSTRUCTIONS)
        torch.testing.assert_close(adapted(random_images(), INSTRUCTIONS).hidden, before.hidden)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
        after = adapted(random_images(), INSTRUCTIONS)
    assert (after.hidden - before.hidden).abs().amax() > 1e-2
    assert torch.equal(after.features, before.features)


@pytest.mark.parametrize("settings", [{}, {"lora": lora()}], ids=["whole", "lora"])
def test_gradient_checkpointing_is_at_work_and_changes_nothing(settings: dict) -> None:
    found = []
    for checkpointing in (False, True):
        model = small_language_model(gradient_checkpointing=checkpointing, **settings).train()
        model.load_state_dict(found[0][0] if found else model.state_dict())
        model.train_parts("all")
        calls = []
        model.llava.model.language_model.layers[0].mlp.register_forward_pre_hook(
            lambda *_, calls=calls: calls.append(1)
        )
        answer = model(random_images(), INSTRUCTIONS)
        (answer.error.mean() + answer.hidden.square().mean()).backward()
        assert len(calls) == 1 + checkpointing
        found.append(
            (
                model.state_dict(),
                {
                    name: parameter.grad
                    for name, parameter in model.named_parameters()
                    if parameter.requires_grad
                },
            )
        )
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, atol=1e-6, rtol=1e-4)


# --- number formats
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("autocast", [False, True])
def test_short_numbers_inside_fp32_outside(autocast: bool) -> None:
    exact, short = small_language_model(lora=lora()), small_language_model(lora=lora())
    short.load_state_dict(exact.state_dict())
    if not autocast:
        short.llava.to(torch.bfloat16)
        for name, parameter in short.llava.named_parameters():
            parameter.data = parameter.data.float() if "lora_" in name else parameter.data
    answers = []
    for model, inside in ((exact, False), (short, autocast)):
        model.train_parts("all")
        with torch.autocast("cpu", torch.bfloat16, enabled=inside):
            answers.append(model.train()(random_images(), INSTRUCTIONS))
    (wanted, found) = answers
    assert found.hidden.dtype is found.features.dtype is found.error.dtype is torch.float32
    assert (found.hidden - wanted.hidden).abs().mean() < 0.05 * wanted.hidden.abs().mean()
    torch.testing.assert_close(found.error, wanted.error, atol=0.1, rtol=0.02)
    assert not torch.equal(found.error, wanted.error)


def test_full_size_has_the_published_numbers_of_weights() -> None:
    """LLaVA-1.1 7B: 4.19 million weights in LoRA, 35 rows of 4096 in each new layer; nothing is allocated."""
    vision = {"image_size": 224, "patch_size": 14, "image_width": 1024, "image_layers": 24, "image_heads": 16}
    known = llama_tokenizer()
    with torch.device("meta"):
        llava = small_llava(known, width=4096, layers=32, heads=32, positions=2048, **vision)
        published = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.05, target_modules=["q_proj", "v_proj"])
        model = LanguageModel(llava, known, CONVERSATION, lora=published)
    assert (model.width, model.image_width, model.grid) == (4096, 1024, 16)
    model.train_parts("all")
    trained = {
        name: parameter.numel() for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    assert trained.pop("new_tokens.weight") == trained.pop("new_head.weight") == 35 * 4096
    assert sum(trained.values()) == 4_194_304
    assert len(trained) == 128


def test_a_copy_computes_by_itself() -> None:
    """An average of weights is a copy of the module; hooks that transformers adds must not lead back to the
    original.
    """
    model = small_language_model(lora=lora(), gradient_checkpointing=True)
    with torch.no_grad():
        before = model(random_images(), INSTRUCTIONS)
        copied = copy.deepcopy(model)
        for parameter in model.parameters():
            parameter.zero_()
        after = copied(random_images(), INSTRUCTIONS)
    assert torch.equal(after.hidden, before.hidden)
    assert torch.equal(after.features, before.features)


def test_lora_stays_in_fp32_beside_a_short_model() -> None:
    known = words()
    model = LanguageModel(random_llava(known).to(torch.bfloat16), known, CONVERSATION, lora=lora())
    model.train_parts("all")
    assert {parameter.dtype for parameter in model.parameters() if parameter.requires_grad} == {torch.float32}
    answer = model.train()(random_images(), INSTRUCTIONS)
    answer.error.mean().backward()
    assert answer.hidden.dtype is torch.float32


# --- images and words
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(SIDE, SIDE), (90, 17), (20, 61), (3, 200)])
def test_images_of_any_size_and_shape(size: tuple[int, int]) -> None:
    model = small_language_model()
    with torch.no_grad():
        answer = model(random_images(2, *size), INSTRUCTIONS[:2])
    assert answer.features.shape == (2, IMAGE_WIDTH, GRID, GRID)
    assert answer.hidden.isfinite().all()


def test_images_are_prepared_as_clip_was_trained() -> None:
    """Against Pillow's bicubic resize, and CLIP's published means and deviations."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 61, 3), dtype=np.uint8)
    resized = np.array(PIL.Image.fromarray(pixels).resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC)) / 255
    wanted = (resized - (0.48145466, 0.4578275, 0.40821073)) / (0.26862954, 0.26130258, 0.27577711)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    found = clip_pixels(image, SIDE)[0].permute(1, 2, 0).double()
    torch.testing.assert_close(found, torch.from_numpy(wanted), atol=0.02, rtol=0)
    white = clip_pixels(torch.ones(1, 3, 5, 9), SIDE)
    torch.testing.assert_close(white[0, :, 0, 0], torch.tensor([1.93033625, 2.07488384, 2.14589699]))


def test_an_instruction_that_is_too_long_is_cut_and_the_image_tokens_stay() -> None:
    model = small_language_model(llama_tokenizer())
    template = model.template
    whole = "a" * (template.room - 1)  # LLaMA's tokenizer puts one before it
    assert len(template.head) + len(template.tail_ids(whole)) == CONVERSATION.max_length
    with pytest.warns(UserWarning, match=rf"cut after {template.room} of {template.room + 50} tokens: 'aaa"):
        cut = template.tail_ids(whole + "a" * 50)
    assert cut == template.tail_ids(whole)
    with torch.no_grad(), pytest.warns(UserWarning, match="cut after"):
        long = model(random_images(1), [whole + "b" * 99])
    with torch.no_grad():
        torch.testing.assert_close(long.hidden, model(random_images(1), [whole]).hidden)


def test_the_script_is_vicunas_form() -> None:
    conversation = Conversation(
        before="the picture <img> USER:", between="now", after="ASSISTANT:", answer="Done:", max_length=40
    )
    known = word_tokenizer(["make", "it", "night"], conversation)
    rows = len(known) + 4
    template = PromptTemplate(conversation, known, rows, image_tokens=2)
    names = known.tokenizer.get_vocab()
    named = {index: name for name, index in names.items()} | {
        rows + i: n for i, n in enumerate(["<img>", "<im_start>", "<im_end>", "<img_0>", "<img_1>"])
    }
    spoken = [named[index] for index in (*template.head, *template.tail_ids(" make  it\nnight "))]
    assert spoken == (
        [
            "<start>",
            "the",
            "picture",
            "<img>",
            "USER",
            ":",
            "<im_start>",
            "<im_end>",
            "now",
            "make",
            "it",
            "night",
            "ASSISTANT",
            ":",
            "Done",
            ":",
            "<img_0>",
            "<img_1>",
        ]
    )
    assert [named[index] for index in template.answer] == ["Done", ":", "<img_0>", "<img_1>"]


def test_words_of_an_instruction_are_never_special_tokens() -> None:
    known = llama_tokenizer()
    ids = token_ids(known, "a</s> <s>b<unk>")
    assert not {known.bos_token_id, known.eos_token_id, known.unk_token_id} & set(ids)
    assert known.decode(ids).strip() == "a</s> <s>b<unk>"
    assert token_ids(known, "") == []
    template = PromptTemplate(CONVERSATION, known, len(known), 4)
    assert all(index < len(known) for index in template.tail_ids("<img> <img_0>")[1:-4])


def test_padding_is_on_the_right() -> None:
    ids, mask = pad_ids([[5, 6], [7], [1, 2, 3]])
    assert ids.tolist() == [[5, 6, 0], [7, 0, 0], [1, 2, 3]]
    assert mask.int().tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]


# --- from folders
# ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("smartedit"))


def test_what_is_saved_loads_again(folder: Path, tmp_path: Path) -> None:
    """As a part of a SmartEdit model, and as a LLaVA by itself."""
    built = LanguageModel(random_llava(llama_tokenizer()), llama_tokenizer(), CONVERSATION).eval()
    whole = shutil.copytree(folder / "language_model", tmp_path / "llava")
    shutil.copytree(folder / "language_tokenizer", whole, dirs_exist_ok=True)
    loaded = [
        LanguageModel(pretrained_llava(str(folder)), pretrained_tokenizer(str(folder)), CONVERSATION).eval(),
        LanguageModel(
            pretrained_llava(str(whole), part="llava"),
            pretrained_tokenizer(str(whole), part="llava_tokenizer"),
            CONVERSATION,
        ).eval(),
    ]
    with torch.no_grad():
        wanted = built(random_images(), INSTRUCTIONS)
        for model in loaded:
            assert torch.equal(model(random_images(), INSTRUCTIONS).hidden, wanted.hidden)
    assert pretrained_llava(str(folder), dtype="bfloat16").lm_head.weight.dtype is torch.bfloat16


WEIGHTS = "language_model/model.safetensors"


def reconfigured(file: Path, **settings: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def without(file: Path, part: str) -> None:
    tensors = {name: value for name, value in load_file(file).items() if part not in name}
    save_file(tensors, file, metadata={"format": "pt"})


def scaled(file: Path, by: float) -> None:
    save_file({name: value * by for name, value in load_file(file).items()}, file, metadata={"format": "pt"})


def rewritten(file: Path, config: object) -> None:
    file.write_text(json.dumps(config))


ORIGINAL_LLAVA = {
    "model_type": "llava",
    "architectures": ["LlavaLlamaForCausalLM"],
    "mm_vision_tower": "openai/clip-vit-large-patch14",
}
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (
        lambda folder: shutil.rmtree(folder / "language_model"),
        "is not a SmartEdit model: it has no folder language_model/",
    ),
    "no config": (
        lambda folder: (folder / "language_model/config.json").unlink(),
        "is not a whole model: language_model/config.json is missing",
    ),
    "no weights": (
        lambda folder: (folder / WEIGHTS).unlink(),
        "language_model has no weights: model.safetensors is missing",
    ),
    "cut weights": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:3000]),
        f"{WEIGHTS} can't be read",
    ),
    "no vision tower": (
        lambda folder: without(folder / WEIGHTS, "vision_tower"),
        "model.vision_tower.embeddings.class_embedding is missing",
    ),
    "a tensor too few": (
        lambda folder: without(folder / WEIGHTS, "linear_1.bias"),
        "in 1 tensors: model.multi_modal_projector.linear_1.bias is",
    ),
    "a LLaMA": (
        lambda folder: rewritten(folder / "language_model/config.json", LlamaConfig().to_dict()),
        "is no LLaVA as transformers writes it, with vision tower, projector and language model: "
        "its config.json is of type llama, ",
    ),
    "another model": (
        lambda folder: rewritten(folder / "language_model/config.json", CLIPTextConfig().to_dict()),
        "its config.json is of type clip_text_model, without vision_config",
    ),
    "LLaVA-1.1 itself": (
        lambda folder: rewritten(folder / "language_model/config.json", ORIGINAL_LLAVA),
        "of type llava, without vision_config, without text_config; give one that is, "
        "or let src.convert build it",
    ),
    "delta weights": (
        lambda folder: scaled(folder / WEIGHTS, 1e-3),
        "holds delta weights: its normalisation layers are 0.001 at most",
    ),
    "wider config": (
        lambda folder: reconfigured(
            folder / "language_model/config.json", text_config={"model_type": "llama", "hidden_size": 64}
        ),
        "take both from the same model",
    ),
    "no tokenizer": (
        lambda folder: shutil.rmtree(folder / "language_tokenizer"),
        "it has no folder language_tokenizer/",
    ),
    "no words": (
        lambda folder: [(folder / "language_tokenizer" / name).unlink() for name in ("tokenizer.json",)],
        "language_tokenizer/ has none of tokenizer.json, vocab.json",
    ),
    "broken tokenizer": (
        lambda folder: (folder / "language_tokenizer/tokenizer.json").write_text("{"),
        "language_tokenizer of",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_named(folder: Path, tmp_path: Path, damage: str) -> None:
    break_it, message = DAMAGES[damage]
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    break_it(damaged)
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)) as refused:
        LanguageModel(pretrained_llava(str(damaged)), pretrained_tokenizer(str(damaged)), CONVERSATION)
    assert str(damaged) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("bare", [True, False], ids=["pickle", "torch"])
def test_malicious_pickles_are_never_run(folder: Path, tmp_path: Path, bare: bool) -> None:
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    (damaged / WEIGHTS).unlink()
    write_malicious(damaged / "language_model/pytorch_model.bin", tmp_path / "owned", bare)
    with pytest.raises(ValueError, match="is refused: it is a pickle of more than tensors"):
        pretrained_llava(str(damaged))
    assert not (tmp_path / "owned").exists()


def test_a_path_that_is_not_there_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"no model folder .*nothing; pretrained= takes a folder that src.convert or src.export wrote",
    ):
        pretrained_llava(str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError, match=r"is not a whole model: config\.json is missing"):
        pretrained_llava(str(tmp_path), part="llava")
    with pytest.raises(
        ValueError, match="dtype of the language model is float32, bfloat16, float16, not 'int8'"
    ):
        pretrained_llava(str(tmp_path), dtype="int8")


def test_only_normalisations_tell_delta_weights() -> None:
    """LLaMA's first normalisation is as small as a difference; its others aren't."""
    small, whole = torch.full((8,), 0.004), torch.full((8,), 0.4)
    check_no_delta({"layers.0.input_layernorm.weight": small, "norm.weight": whole}, "x")
    check_no_delta({"layers.0.mlp.up_proj.weight": small}, "x")
    with pytest.raises(
        ValueError, match=r"x holds delta weights: .* add those first \(python -m llava.model.apply_delta"
    ):
        check_no_delta(
            {"layers.0.input_layernorm.weight": small, "norm.weight": -small, "embed_tokens.weight": whole},
            "x",
        )


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "another vocabulary": (
        lambda: LanguageModel(
            random_llava(words()),
            word_tokenizer([str(number) for number in range(999)], CONVERSATION),
            CONVERSATION,
        ),
        "wrong vocabulary size: the tokenizer has 1017 tokens and the language model has rows for",
    ),
    "new tokens in the tokenizer": (
        lambda: LanguageModel(random_llava(llama_tokenizer()), with_new_tokens(), CONVERSATION),
        "don't add the 35 new tokens to either: SmartEdit keeps their rows itself",
    ),
    "an empty tokenizer": (
        lambda: LanguageModel(random_llava(llama_tokenizer()), type(llama_tokenizer())(), CONVERSATION),
        "the tokenizer of 3 tokens can't write",
    ),
    "no room": (
        partial(small_language_model, conversation=replace(CONVERSATION, max_length=51)),
        "the conversation leaves no room for an instruction",
    ),
    "too long": (
        partial(small_language_model, conversation=replace(CONVERSATION, max_length=252)),
        "make sequences of 257; the language model takes 256",
    ),
    "patches that don't fill": (
        lambda: small_llava(words(), image_size=30),
        "of 30 pixels can't be cut into patches of 14",
    ),
    "a line break": (partial(Conversation, before="a\nb"), "conversation.before has a line break"),
    "a line break at the end": (partial(Conversation, answer="a\n"), "conversation.answer has a line break"),
    "an unknown word": (
        lambda: small_language_model()(random_images(1), ["make it funny"]),
        "the word 'funny'",
    ),
    "instructions missing": (
        lambda: small_language_model()(random_images(3), ["make it night"]),
        "1 instructions for 3 images",
    ),
}


def with_new_tokens():
    known = llama_tokenizer()
    known.add_tokens(["<img>"])
    return known


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case: str) -> None:
    build, message = REFUSED[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        build()


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="it is installed here")
def test_quantisation_without_its_package_is_one_line(folder: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"quantization can't be had: .*bitsandbytes.*; install it, or give quantization=null",
    ):
        pretrained_llava(str(folder), quantization=BitsAndBytesConfig(load_in_8bit=True))


def test_what_is_quantised_is_not_taken_for_numbers() -> None:
    known = words()
    llava = random_llava(known)
    llava.is_quantized = True
    model = LanguageModel(llava, known, CONVERSATION)
    with pytest.raises(ValueError, match="weights are quantised and can't be trained: give lora"):
        model.train_parts("all")
    llava.lm_head.weight = torch.nn.Parameter(llava.lm_head.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match="add lm_head to llm_int8_skip_modules"):
        LanguageModel(llava, known, CONVERSATION)


def test_towers_that_want_other_images_are_refused() -> None:
    known = words()
    llava = random_llava(known)
    llava.config.vision_config.model_type = "siglip_vision_model"
    with pytest.raises(ValueError, match="the vision tower is a siglip_vision_model"):
        LanguageModel(llava, known, CONVERSATION)
