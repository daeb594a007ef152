"""SmartEdit's release to a folder and back, by the command, on files of the published layout; and what is
wrong with others, in one line.
"""

import importlib.util
import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from backbones.pipelines import WIDTH as TEXT_WIDTH
from backbones.pipelines import write_pipeline
from conftest import config
from data.written import pixels, write_image
from diffusers import StableDiffusionInstructPix2PixPipeline
from formats.smartedit import (
    ADAPTER,
    IMAGE,
    LANGUAGE,
    LLM,
    MODULATE,
    NEW,
    QUERIES,
    QUERY,
    STEM,
    UNET,
    WORDS,
    llava_tensors,
    release_tensors,
    write_elsewhere,
    write_release,
    write_sentencepiece,
    write_tokenizer,
)
from hydra.utils import instantiate
from killing import Command, finished
from malicious import Payload
from PIL import Image
from safetensors.torch import load_file, save_file
from standalone import edits, elsewhere
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from src import checkpoint
from src.backbones.smartedit.interaction import InteractionModule
from src.backbones.smartedit.query_transformer import QueryTransformer
from src.formats.smartedit_checkpoint import UnstatedSizes, read_release
from src.formats.smartedit_companions import CompanionModels
from src.formats.smartedit_folder import folder_from_release, merge_lora_factors, write_smartedit_folder

Tensors = dict[str, torch.Tensor]
FEW = 2
"""Layers of the language model where the published number doesn't matter."""

CONVERSATION = {"before": "an edit with <img> USER:", "answer": "edited:"}
"""A short one, as the small tokenizer writes letters."""

SHORT = [f"+conversation.{name}='{text}'" for name, text in CONVERSATION.items()]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of the published layout, another one with few layers, what else is needed, and both
    converted.
    """
    folder = tmp_path_factory.mktemp("smartedit")
    write_release(folder / "published", release_tensors())
    write_release(folder / "few", release_tensors(layers=FEW))
    write_elsewhere(folder)
    (folder / "said").write_text(
        finished(
            "src.convert",
            *arguments(folder, folder / "published", folder / "kept"),
            "lora=kept",
            log=folder / "log",
        )
    )
    (folder / "said_merged").write_text(
        finished("src.convert", *arguments(folder, folder / "few", folder / "merged"), log=folder / "log")
    )
    return folder


def arguments(world: Path, source: Path, target: Path) -> list[str]:
    elsewhere = [
        f"pipeline={world}/pipeline",
        f"vision={world}/vision",
        f"language_tokenizer={world}/tokenizer",
    ]
    return [
        "format=smartedit_release",
        f"source={source}",
        f"output={target}",
        *elsewhere,
        "query_head_width=8",
        "interaction_heads=2",
        *SHORT,
    ]


def read(file: Path) -> Tensors:
    return torch.load(file, weights_only=True)


def same(one: Tensors, other: Tensors) -> bool:
    return list(one) == list(other) and all(
        value.dtype == other[name].dtype and torch.equal(value, other[name]) for name, value in one.items()
    )


# --- there and back
# ------------------------------------------------------------------------------------------------------------


def test_there_and_back_bit_for_bit(world: Path, tmp_path: Path) -> None:
    finished(
        "src.convert",
        "format=smartedit_release",
        f"source={world / 'kept'}",
        f"output={tmp_path / 'back'}",
        "reverse=true",
        log=tmp_path / "log",
    )
    for file in (LLM, QUERY, MODULATE, UNET):
        assert same(read(world / "published" / file), read(tmp_path / "back" / file)), file
    for place in ("adapter_config.json", "LLM-15000/adapter_config.json"):
        config = json.loads((tmp_path / "back" / place).read_text())
        assert {name: config[name] for name in ("r", "lora_alpha", "target_modules", "peft_type")} == {
            name: ADAPTER[name] for name in ("r", "lora_alpha", "target_modules", "peft_type")
        }
    assert {path.name for path in (tmp_path / "back").iterdir()} == {
        "LLM-15000",
        "adapter_config.json",
        "embeddings_qformer",
        "modulate-15000",
        "unet-15000",
    }


def test_every_tensor_is_accounted_for(world: Path) -> None:
    said = (world / "said").read_text()
    assert (
        f"{LLM}: 450 tensors, 1 split (old tokens and new ones), 417 taken, "
        "32 dropped (constants, which follow from the sizes)" in said
    )
    assert f"{QUERY}: 133 tensors, 75 taken, 1 split (old tokens and new ones), 1 dropped" in said
    assert f"{MODULATE}: 89 tensors, 23 taken, 66 renamed" in said
    assert f"{UNET}: 686 tensors, 686 taken" in said
    assert (
        f"approximated: rows 0 to {WORDS - 1} of embedding and head are those saved with the release" in said
    )
    report = json.loads((world / "kept/conversion.json").read_text())
    assert len(report["tensors"]) == 450 + 133 + 89 + 686
    written = {
        f"{folder}/{name}"
        for folder in ("unet", "reader")
        for file in (world / "kept" / folder).glob("*.safetensors")
        for name in load_file(file)
    }
    reported = {name for tensor in report["tensors"] for name in tensor["to"]}
    assert written == {name for name in reported if not name.startswith("language_model/")}


def test_a_trained_folder_without_a_report_goes_back_as_well(world: Path, tmp_path: Path) -> None:
    """As transformers saves it, and with constants computed anew."""
    trained = tmp_path / "trained"
    shutil.copytree(world / "kept", trained)
    for file in ("conversion.json", "conversion.safetensors"):
        (trained / file).unlink()
    model = LlavaForConditionalGeneration.from_pretrained(trained / "language_model", dtype=torch.float32)
    shutil.rmtree(trained / "language_model")
    model.save_pretrained(trained / "language_model")
    finished(
        "src.convert",
        "format=smartedit_release",
        f"source={trained}",
        f"output={tmp_path / 'back'}",
        "reverse=true",
        log=tmp_path / "log",
    )
    for file in (LLM, QUERY, MODULATE, UNET):
        before, after = (
            read(world / "published" / file),
            read(tmp_path / "back" / file.replace("15000", "last")),
        )
        assert before.keys() == after.keys()
        assert all(torch.equal(value.float(), after[name].float()) for name, value in before.items())


# --- what the folder holds
# ------------------------------------------------------------------------------------------------------------


def test_the_folder_is_a_stock_pipeline(world: Path) -> None:
    pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained(world / "kept")
    for name, value in read(world / "published" / UNET).items():
        assert torch.equal(pipeline.unet.state_dict()[name.removeprefix("unet.")], value)
    assert pipeline.unet.config["in_channels"] == 8


@pytest.mark.parametrize("kind", ["kept", "merged"])
def test_the_folder_edits_elsewhere_as_here(world: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "editor").symlink_to(world / kind)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    here = (edits(checkpoint.load_editor(world / kind), images) + 1) / 2
    torch.testing.assert_close(
        here, elsewhere(tmp_path, images, "EulerDiscreteScheduler", 4), atol=2e-5, rtol=0
    )


def test_the_language_model_is_a_llava_with_a_projector_of_one_layer(world: Path) -> None:
    model, loading = LlavaForConditionalGeneration.from_pretrained(
        world / "kept/language_model", output_loading_info=True, dtype=torch.float32
    )
    assert not any(loading.values()), loading
    theirs = read(world / "published" / LLM)
    assert torch.equal(model.lm_head.weight, read(world / "published" / QUERY)["lm_head.weight"][:WORDS])
    embedding = theirs["model.base_model.model.embed_tokens.weight"]
    assert torch.equal(model.get_input_embeddings().weight, embedding[:WORDS].float())
    layers = model.model.language_model.layers
    assert torch.equal(
        layers[31].mlp.up_proj.weight, theirs["model.base_model.model.layers.31.mlp.up_proj.weight"].float()
    )
    features, projector = torch.randn(5, IMAGE), read(world / "published" / QUERY)
    expected = features @ projector["mm_projector.weight"].T + projector["mm_projector.bias"]
    torch.testing.assert_close(model.model.multi_modal_projector(features), expected)
    assert len(AutoTokenizer.from_pretrained(world / "kept/language_tokenizer")) == WORDS


@pytest.mark.parametrize("kind", ["kept", "merged"])
def test_the_reader_loads_into_its_modules(world: Path, kind: str) -> None:
    tensors = load_file(world / kind / "reader/model.safetensors")
    config = json.loads((world / kind / "reader/config.json").read_text())
    source = world / ("published" if kind == "kept" else "few")
    widths = {
        "query_transformer": {"encoder_width": LANGUAGE, "width": TEXT_WIDTH},
        "interaction": {"text_width": TEXT_WIDTH, "image_width": IMAGE, "stem_width": STEM},
    }
    for name, module in (("query_transformer", QueryTransformer), ("interaction", InteractionModule)):
        own = {n.removeprefix(f"{name}."): v for n, v in tensors.items() if n.startswith(f"{name}.")}
        module(**widths[name], **config[name]).load_state_dict(own)
    rows = read(source / LLM)["model.base_model.model.embed_tokens.weight"][WORDS:]
    assert torch.equal(tensors["language.new_tokens.weight"], rows)
    assert torch.equal(tensors["language.new_head.weight"], read(source / QUERY)["lm_head.weight"][WORDS:])
    assert tensors["query_transformer.queries"].ndim == 2
    assert config["image_tokens"] + 3 == NEW
    others = {
        name
        for name in tensors
        if not name.startswith(("query_transformer.", "interaction.", "language.new_"))
    }
    loras = {
        f"language.llava.model.language_model.layers.{n}.self_attn.{m}.lora_{f}.default.weight"
        for n in range(32)
        for m in ("q_proj", "v_proj")
        for f in "AB"
    }
    assert others == (loras if kind == "kept" else set())
    assert (config["lora"] is None) == (kind == "merged")


def test_merged_weights_are_w_plus_alpha_over_r_times_b_a(world: Path) -> None:
    theirs, ours = read(world / "few" / LLM), load_file(world / "merged/language_model/model.safetensors")
    for layer in range(FEW):
        for module in ("q_proj", "v_proj", "k_proj"):
            name = f"layers.{layer}.self_attn.{module}"
            weight = theirs[f"model.base_model.model.{name}.weight"].float()
            if module != "k_proj":
                a, b = (
                    theirs[f"model.base_model.model.{name}.lora_{factor}.default.weight"].float()
                    for factor in "AB"
                )
                weight = weight + 16 / 2 * b @ a
            assert torch.equal(ours[f"language_model.model.{name}.weight"], weight.bfloat16())
    said = (world / "said_merged").read_text()
    assert (
        f"{LLM}: 30 tensors, 1 split (old tokens and new ones), 12 merged (LoRA), 15 taken, 2 dropped" in said
    )
    assert "approximated: weights with the LoRA in them are rounded to bfloat16; lora=kept keeps both" in said


def test_merging_small_numbers() -> None:
    merged = merge_lora_factors(torch.eye(2), torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [0.0]]), 0.5)
    assert merged.tolist() == [[2.5, 3.0], [0.0, 1.0]]


def test_llava_gives_the_old_words_and_the_release_its_own(world: Path, tmp_path: Path) -> None:
    llava = llava_tensors(read(world / "few" / LLM))
    (tmp_path / "llava").mkdir()
    torch.save(llava, tmp_path / "llava/pytorch_model.bin")
    said = finished(
        "src.convert",
        *arguments(world, world / "few", tmp_path / "ours"),
        f"llava={tmp_path / 'llava'}",
        log=tmp_path / "log",
    )
    assert "rows 0 to" not in said
    ours, reader = (
        load_file(tmp_path / "ours/language_model/model.safetensors"),
        load_file(tmp_path / "ours/reader/model.safetensors"),
    )
    assert torch.equal(
        ours["language_model.model.embed_tokens.weight"],
        llava["model.embed_tokens.weight"][:WORDS].bfloat16(),
    )
    assert torch.equal(ours["language_model.lm_head.weight"], llava["lm_head.weight"][:WORDS].float())
    assert torch.equal(
        reader["language.new_head.weight"], read(world / "few" / QUERY)["lm_head.weight"][WORDS:]
    )


# --- other forms of the release
# ------------------------------------------------------------------------------------------------------------


def test_the_scale_may_lie_beside_the_language_model_and_an_embedding_twice(
    world: Path, tmp_path: Path
) -> None:
    release = copied(world, tmp_path)
    shutil.move(release / "adapter_config.json", release / "LLM-15000/adapter_config.json")
    name = "model.base_model.model.embed_tokens.weight"
    changed(release / QUERY, lambda tensors: tensors.update({name: read(release / LLM)[name]}))
    said = finished("src.convert", *arguments(world, release, tmp_path / "ours"), log=tmp_path / "log")
    assert "1 dropped (the language model's file has it as well" in said
    assert (
        load_file(tmp_path / "ours/reader/model.safetensors").keys()
        == load_file(world / "merged/reader/model.safetensors").keys()
    )


def test_of_several_steps_one_must_be_chosen(world: Path, tmp_path: Path, quickly_refused) -> None:
    release = copied(world, tmp_path)
    for file in (LLM, QUERY, MODULATE, UNET):
        (release / file.replace("15000", "500")).parent.mkdir(exist_ok=True)
        shutil.copy(release / file, release / file.replace("15000", "500"))
    said = quickly_refused(*arguments(world, release, tmp_path / "ours"), module="src.convert")
    assert (
        "several checkpoints (LLM-15000/adapter_model.bin, LLM-500/adapter_model.bin): "
        "say which one with step=500" in said
    )
    assert f"{LLM}: 30" not in finished(
        "src.convert", *arguments(world, release, tmp_path / "ours"), "step=500", log=tmp_path / "log"
    )
    shutil.rmtree(release / "unet-15000")
    assert "are of different steps" not in quickly_refused(
        *arguments(world, release, tmp_path / "more"), "step=15000", module="src.convert"
    )


# --- what is wrong
# ------------------------------------------------------------------------------------------------------------


def copied(world: Path, folder: Path) -> Path:
    shutil.copytree(world / "few", folder / "release")
    return folder / "release"


def changed(file: Path, change: Callable[[Tensors], object]) -> None:
    tensors = read(file)
    change(tensors)
    torch.save(tensors, file)


def adapter(release: Path, **settings: object) -> None:
    (release / "adapter_config.json").write_text(json.dumps(ADAPTER | settings))


def of_13b(release: Path) -> None:
    """The language model of a wider release; its own parts fit each other."""
    torch.save(release_tensors(width=24, layers=FEW)[LLM], release / LLM)


def other_step(release: Path) -> None:
    (release / "unet-15000").rename(release / "unet-10000")


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (lambda r: shutil.rmtree(r), "no folder source="),
    "another folder": (
        lambda r: [shutil.rmtree(r), r.mkdir()],
        "LLM-*/adapter_model.bin is missing: download the release again",
    ),
    "a file gone": (lambda r: (r / MODULATE).unlink(), "modulate-*/adapter_model.bin is missing"),
    "another step": (other_step, "are of different steps"),
    "no scale": (lambda r: (r / "adapter_config.json").unlink(), "adapter_config.json is neither in"),
    "scale cut off": (
        lambda r: (r / "adapter_config.json").write_text('{"r": 2'),
        "adapter_config.json doesn't describe a LoRA",
    ),
    "another rank": (lambda r: adapter(r, r=8), "describes a LoRA of rank 8 on q_proj, v_proj"),
    "another variant": (lambda r: adapter(r, use_dora=True), "sets use_dora"),
    "13B with 7B": (
        of_13b,
        "the language model has width 24 and the Q-Former reads width 16: "
        "take LLM-*/ and embeddings_qformer/ of the same release",
    ),
    "rows": (
        lambda r: changed(r / QUERY, lambda t: t.update({"lm_head.weight": t["lm_head.weight"][:-1]})),
        f"embedding has {WORDS + NEW} rows and its head {WORDS + NEW - 1}",
    ),
    "cut off": (
        lambda r: (r / LLM).write_bytes((r / LLM).read_bytes()[:3000]),
        f"{LLM} can't be read, it may be truncated",
    ),
    "malicious": (
        lambda r: (r / UNET).write_bytes(pickle.dumps(Payload(r / "owned"))),
        f"{UNET} is refused: it is a pickle of more than tensors",
    ),
    "a list": (lambda r: torch.save([1], r / MODULATE), f"{MODULATE} holds no named tensors, but a list"),
    "in another file": (
        lambda r: shutil.copy(r / UNET, r / MODULATE),
        "which belongs into unet-15000/adapter_model.bin",
    ),
    "missing": (
        lambda r: changed(r / UNET, lambda t: t.pop("unet.conv_in.bias")),
        "unet.conv_in.bias is missing",
    ),
    "extra": (
        lambda r: changed(r / QUERY, lambda t: t.update({"sd_qformer.pooler.bias": torch.zeros(2)})),
        "sd_qformer.pooler.bias is not in the release",
    ),
    "misshapen": (
        lambda r: changed(r / MODULATE, lambda t: t.update({"modulate_head.bias": torch.zeros(3)})),
        "modulate_head.bias has shape (3,), the release (16,)",
    ),
    "NaN in the U-Net": (
        lambda r: changed(r / UNET, lambda t: t["unet.conv_in.bias"].fill_(float("nan"))),
        "the weights for unet are not finite, NaN or infinity is in 1 of",
    ),
    "infinity in the Q-Former": (
        lambda r: changed(r / QUERY, lambda t: t["lm_head.weight"].fill_(float("inf"))),
        "are not finite, NaN or infinity is in",
    ),
    "other names": (
        lambda r: changed(r / MODULATE, lambda t: t.update({"surplus": torch.zeros(1)})),
        "is not one of SmartEdit's files",
    ),
}


@pytest.mark.parametrize("damage", WRONG)
def test_a_damaged_release_is_named_in_one_line(
    world: Path, tmp_path: Path, damage: str, quickly_refused
) -> None:
    break_it, message = WRONG[damage]
    release = copied(world, tmp_path)
    break_it(release)
    said = quickly_refused(*arguments(world, release, tmp_path / "ours"), module="src.convert")
    assert message in said, said
    assert not (release / "owned").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name != "release"] == []


def delta(tensors: Tensors) -> Tensors:
    generator = torch.Generator().manual_seed(1)
    return {name: 0.001 * torch.randn(value.shape, generator=generator) for name, value in tensors.items()}


LLAVAS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "delta weights": (delta, "holds delta weights: its normalisation layers are"),
    "another model": (
        lambda t: {name: value + 0.5 for name, value in t.items()},
        "another model than the one that SmartEdit was trained from",
    ),
    "other sizes": (
        lambda t: {name: value[:8] for name, value in t.items()},
        "of other sizes than the release's language model of width 16",
    ),
    "few words": (
        lambda t: t | {"lm_head.weight": t["lm_head.weight"][:30]},
        f"has 30 tokens, SmartEdit's language model {WORDS} without its own",
    ),
    "no words": (
        lambda t: {name: value for name, value in t.items() if "embed_tokens" not in name},
        "holds 0 tensors whose name ends in embed_tokens",
    ),
}


@pytest.mark.parametrize("damage", LLAVAS)
def test_another_llava_is_named_in_one_line(
    world: Path, tmp_path: Path, damage: str, quickly_refused
) -> None:
    change, message = LLAVAS[damage]
    (tmp_path / "llava").mkdir()
    torch.save(change(llava_tensors(read(world / "few" / LLM))), tmp_path / "llava/pytorch_model.bin")
    said = quickly_refused(
        *arguments(world, world / "few", tmp_path / "ours"),
        f"llava={tmp_path / 'llava'}",
        module="src.convert",
    )
    assert message in said, said
    assert not (tmp_path / "ours").exists()


MISSING_PACKAGE = (
    "" if importlib.util.find_spec("sentencepiece") else "its tokenizer.model needs the package sentencepiece"
)

ELSEWHERE: dict[str, tuple[str, str]] = {
    "no llava": ("llava={tmp}/nowhere", "no folder llava="),
    "llava without weights": ("llava={tmp}", "has no weights"),
    "wrong vocabulary": (
        "language_tokenizer={tmp}/tokenizer",
        f"has 43 tokens, the language model {WORDS} besides SmartEdit's 35 (image_tokens=32)",
    ),
    "no tokenizer": ("language_tokenizer={tmp}/nowhere", "no folder"),
    "words of sentencepiece": (
        "language_tokenizer={tmp}/vicuna",
        MISSING_PACKAGE or f"has 262 tokens, the language model {WORDS}",
    ),
    "no vision": ("vision={tmp}/nowhere", "no folder"),
    "no model as vision": (
        "vision={tmp}",
        "{tmp} could not be read as a folder or from the Hugging Face hub",
    ),
    "another U-Net": (
        "pipeline={tmp}/pipeline",
        "the U-Net, by the config of {tmp}/pipeline, is not that of SmartEdit's release",
    ),
    "no pipeline": ("pipeline={tmp}/nowhere", "no pipeline folder"),
    "image tokens": ("image_tokens=31", f"has {WORDS} tokens, the language model {WORDS + 1}"),
    "lora": ("lora=both", "lora is merged or kept, not 'both'"),
}


@pytest.mark.parametrize("wrong", ELSEWHERE)
def test_what_does_not_fit_the_release_is_named_in_one_line(
    world: Path, tmp_path: Path, wrong: str, quickly_refused
) -> None:
    override, message = (text.format(tmp=tmp_path) for text in ELSEWHERE[wrong])
    if wrong == "wrong vocabulary":
        write_tokenizer(tmp_path / "tokenizer", 43)
    if wrong == "words of sentencepiece":
        write_sentencepiece(tmp_path / "vicuna")
    if wrong == "another U-Net":
        write_pipeline(tmp_path / "pipeline")
    given = [
        argument
        for argument in arguments(world, world / "few", tmp_path / "ours")
        if argument.split("=")[0] != override.split("=")[0]
    ]
    said = quickly_refused(*given, override, module="src.convert")
    assert message in said, said
    assert not (tmp_path / "ours").exists()


def test_what_can_not_go_back_is_named(world: Path, tmp_path: Path, quickly_refused) -> None:
    def back(source: Path) -> str:
        return quickly_refused(
            "format=smartedit_release",
            f"source={source}",
            f"output={tmp_path / 'back'}",
            "reverse=true",
            module="src.convert",
        )

    assert (
        "is merged into its language model and can't be taken out: convert the release with lora=kept"
        in back(world / "merged")
    )
    assert "is not a SmartEdit folder: reader/config.json is missing" in back(world / "pipeline")
    shutil.copytree(world / "merged", tmp_path / "ours")
    (tmp_path / "ours/conversion.json").unlink()
    file = tmp_path / "ours/language_model/model.safetensors"
    tensors = load_file(file)
    save_file(
        tensors | {"multi_modal_projector.linear_2.bias": tensors["multi_modal_projector.linear_2.bias"] + 1},
        file,
    )
    assert "has a second layer, which LLaVA-1.1 and SmartEdit's release don't have" in back(tmp_path / "ours")
    file.unlink()
    assert "is not a whole SmartEdit: language_model/ has no weights" in back(tmp_path / "ours")


def test_an_unknown_format_is_named(quickly_refused) -> None:
    assert "unknown format 'zip': multi_reward_release or smartedit_release" in quickly_refused(
        "format=zip", module="src.convert"
    )


@pytest.mark.parametrize("back", [False, True])
def test_a_full_disk_leaves_nothing_behind(world: Path, tmp_path: Path, back: bool) -> None:
    target = tmp_path / "made/ours"
    command = [*arguments(world, world / ("kept" if back else "few"), target), f"reverse={back}".lower()]
    assert Command("src.convert", *command, log=tmp_path / "log", largest_file=60_000).ended() == 1
    errors = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert re.search(rf"{target} could not be written", errors[0]), errors
    assert list(target.parent.iterdir()) == []


def test_the_folder_of_a_killed_conversion_goes_with_the_next_one(world: Path, tmp_path: Path) -> None:
    command = Command(
        "src.convert", *arguments(world, world / "few", tmp_path / "made/ours"), log=tmp_path / "log"
    )
    assert command.killed_when(lambda: any((tmp_path / "made").glob(".ours.*.partial")))
    assert not (tmp_path / "made/ours").exists()
    finished("src.convert", *arguments(world, world / "few", tmp_path / "made/ours"), log=tmp_path / "log")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["ours"]


# --- a SmartEdit from it
# ------------------------------------------------------------------------------------------------------------


def test_a_smartedit_reads_with_it_alike_whether_the_lora_is_merged_or_kept(
    world: Path, tmp_path: Path
) -> None:
    """In fp32, in which nothing is rounded by the merging."""
    tensors = release_tensors(layers=FEW)
    tensors[LLM] = {
        name: 0.1 * value.float() if value.ndim == 2 else value.float()
        for name, value in tensors[LLM].items()
    }
    release = read_release(write_release(tmp_path / "release", tensors), None)
    elsewhere = CompanionModels(f"{world}/pipeline", f"{world}/vision", f"{world}/tokenizer", None)
    images, readings = torch.rand(2, 3, 32, 48) * 2 - 1, []
    for kind in ("kept", "merged"):
        folder = folder_from_release(
            release, UnstatedSizes(query_head_width=8, interaction_heads=2), elsewhere, kind
        )
        assert folder.tensors() == sum(
            len(names) for names in write_smartedit_folder(folder, tmp_path / kind, {})
        )
        file = tmp_path / kind / "reader/config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"conversation": CONVERSATION}))
        overrides = [
            f"model.backbone.base.pretrained={tmp_path / kind}",
            "model.backbone.reader.dtype=float32",
        ]
        model = config("model/backbone=smartedit", "model/process=ddpm", *overrides).model
        editor = instantiate(model).eval()
        readings.append(editor.backbone.read(images, ["make it night", "remove the hat"]))
    kept, merged = readings
    assert kept.instruction.tokens.shape == (2, QUERIES, TEXT_WIDTH)
    assert kept.stem_bias.shape == (2, STEM, 2, 2)
    assert kept.stem_bias.std() > 0.1
    torch.testing.assert_close(kept.instruction.tokens, merged.instruction.tokens, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(kept.stem_bias, merged.stem_bias, atol=1e-4, rtol=1e-4)


def test_a_converted_smartedit_is_an_editor(world: Path, tmp_path: Path) -> None:
    """Without a word about its parts: the folder says what it is."""
    image = write_image(tmp_path / "photo.png", pixels(0, 40, 56))
    asked = [
        f"checkpoint={world / 'merged'}",
        f"image={image}",
        "instruction=make it night",
        f"output={tmp_path / 'edits'}",
    ]
    finished("src.edit", *asked, "sampler.steps=2", "resize=keep", log=tmp_path / "log")
    assert Image.open(tmp_path / "edits/photo.png").size == (56, 40)
