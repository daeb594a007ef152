"""An editor knows its sampler and size; a stock InstructPix2Pix is one, too."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from backbones.pipelines import write_pipeline
from conftest import SMALL, config, small_editor
from diffusers import StableDiffusionInstructPix2PixPipeline
from hydra.utils import instantiate
from omegaconf import OmegaConf
from pytorch_lightning import LightningModule, Trainer

from src import checkpoint, edit, evaluate
from src.callbacks.editor_checkpoint import EditorCheckpoint
from src.callbacks.ema import EMA
from src.checkpoint_paths import run_folder_of
from src.evaluation.arguments import run_folder
from src.images import read_png_text
from src.trained_sampler import trained_with

NO_IDEALS = ("benchmark.ideals=null",)
MODEL = OmegaConf.to_yaml(config(*SMALL).model, resolve=True)


def saved_by_training(folder: Path, *overrides: str) -> Path:
    """An export as the end of a training writes it."""
    ema = EMA()
    ema.average = small_editor().state_dict()
    callback = EditorCheckpoint(folder, MODEL, (32, 32), ema, instantiate(config(*overrides).sampler))
    trainer, module = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), LightningModule()
    callback.on_fit_end(trainer, module)
    carried: dict = {"ema": ema.average, "state_dict": {}}
    callback.on_save_checkpoint(trainer, module, carried)
    checkpoint.write(folder / "checkpoints/last.ckpt", carried)
    return folder / "editor"


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = ("sampler=paper", "sampler.steps=3", "sampler.resize=48")
    return saved_by_training(tmp_path_factory.mktemp("run"), *given)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("models") / "stock")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("photos") / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    PIL.Image.fromarray(pixels).save(file)
    return file


def edited(editor: Path, photo: Path, output: Path, *overrides: str) -> dict[str, str]:
    """What an edit's PNG says of it."""
    asked = (f"checkpoint={editor}", f"image={photo}", "instruction=make it foggy", f"output={output}")
    edit.main(config(*asked, *overrides, name="edit"))
    return read_png_text(output / "photo.png")


@pytest.mark.parametrize("place", ["editor", "checkpoints/last.ckpt"])
def test_an_edit_takes_the_sampler_of_the_training(
    editor: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    told = edited(editor.parent / place, photo, tmp_path)
    assert (told["sampler.steps"], told["sampler.eta"], told["resize"]) == ("3", "1.0", "48")
    assert (told["sampler.guidance.text"], told["sampler.guidance.image"]) == ("7.5", "1.5")
    said = capsys.readouterr().err.splitlines()
    words = "3 steps, eta 1, guidance 7.5 text, 1.5 image (the editor's own, of its training)"
    assert said[0] == f"sampler: {words}"


@pytest.mark.parametrize(
    ("given", "steps", "text", "said"),
    [
        (["sampler=tiny"], "2", "1.0", None),
        (["sampler.steps=4"], "4", "7.5", "(steps as asked for, else the editor's own, of its training)"),
        (
            ["sampler.guidance.text=2.0"],
            "3",
            "2.0",
            "guidance 2 text, 1.5 image (guidance.text as asked for, else",
        ),
    ],
)
def test_what_the_command_says_of_the_sampler_counts(
    editor: Path,
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    given: Sequence[str],
    steps: str,
    text: str,
    said: str | None,
) -> None:
    told = edited(editor, photo, tmp_path, *given)
    assert (told["sampler.steps"], told["sampler.guidance.text"]) == (steps, text)
    shown = capsys.readouterr().err
    assert ("sampler:" in shown) == (said is not None)
    assert (said or "") in shown


def test_small_edits_are_explained(
    editor: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edited(editor, photo, tmp_path, "sampler=tiny")
    assert "trained on images of 32x32 pixels, and edits at a short side of 32: resize=keep" in (
        capsys.readouterr().err
    )
    edited(editor, photo, tmp_path / "as_it_is", "sampler=tiny", "resize=keep")
    assert "32x32" not in capsys.readouterr().err


@pytest.mark.parametrize(("process", "usual"), [("rectified_flow", "tiny"), ("ddpm", "paper")])
def test_an_older_editor_takes_the_usual_sampler_and_says_so(
    tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str], process: str, usual: str
) -> None:
    model = OmegaConf.to_yaml(config(*SMALL, f"model/process={process}").model, resolve=True)
    checkpoint.export(tmp_path / "editor", model, (32, 32), small_editor().state_dict())
    told = edited(tmp_path / "editor", photo, tmp_path, "sampler.steps=1", "resize=trained")
    wanted = OmegaConf.load(f"conf/sampler/{usual}.yaml").guidance.text
    assert told["sampler.guidance.text"] == str(wanted)
    reason = f"sampler={usual}, as the editor was saved before editors said theirs"
    assert reason in capsys.readouterr().err


WRONG = [
    ({"steps": 2}, "says sampler={'steps': 2}: steps, guidance, ... are needed"),
    ({"steps": True}, "says sampler.steps=True, which is no setting of a sampler"),
    ({"eta": "1"}, "says sampler.eta=1, which"),
    ({"guidance": {"text": float("nan")}}, "says sampler.guidance.text=nan"),
    ({"extra": 1}, "says sampler.extra=1"),
    ({"guidance": {"reference": [[0]]}}, "says sampler.guidance.reference="),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_what_a_file_says_of_a_sampler_is_checked(
    editor: Path, tmp_path: Path, change: dict, message: str
) -> None:
    right = dict(trained_with(editor).sampler)
    guidance = {"guidance": {**right["guidance"], **change.get("guidance", {})}}
    sampler = change if change == {"steps": 2} else {**right, **change, **guidance}
    checkpoint.export(tmp_path / "editor", MODEL, (32, 32), small_editor().state_dict(), sampler)
    with pytest.raises(ValueError, match=re.escape(message)):
        checkpoint.describe(tmp_path / "editor")


def test_an_evaluation_takes_sampler_and_size(
    editor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = OmegaConf.to_yaml(config(*SMALL).model, resolve=True)
    sampler = {**trained_with(editor).sampler, "steps": 1}
    checkpoint.export(tmp_path / "editor", model, (48, 48), small_editor().state_dict(), sampler)
    cfg = config(f"checkpoint={tmp_path}/editor", "limit=1", "steps=[generate]", *NO_IDEALS, name="evaluate")
    evaluate.main(cfg)
    assert (cfg.world.size, cfg.sampler.steps) == (48, 1)
    assert "guidance 7.5 text, 1.5 image (the editor's own" in capsys.readouterr().err
    assert evaluate.depends_on(cfg)["sampler"]["guidance"]["text"] == 7.5


def test_exports_and_conversions_keep_the_sampler(editor: Path, tmp_path: Path) -> None:
    from src import export

    export.main(config(f"checkpoint={editor}", f"output={tmp_path}/again", name="export"))
    assert trained_with(tmp_path / "again") == trained_with(editor)


def test_a_stock_pipeline_edits_as_diffusers_does_without_reward(
    stock: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = edited(stock, photo, tmp_path, "sampler.steps=2", "resize=keep")
    assert (told["sampler.guidance.text"], told["sampler.eta"]) == ("7.5", "1.0")
    assert "sampler=paper, as a stock pipeline says none" in capsys.readouterr().err
    networks = StableDiffusionInstructPix2PixPipeline.from_pretrained(stock)
    built = checkpoint.load_editor(stock)
    own = networks.unet.state_dict()
    assert all(torch.equal(built.state_dict()[f"backbone.unet.{name}"], own[name]) for name in own)
    assert built.reward_encoder is None
    assert {path.name for path in stock.parent.iterdir()} == {"stock"}


def test_a_stock_pipeline_is_evaluated_in_a_folder_of_its_own(
    stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = (f"checkpoint={stock}", "limit=1", "sampler.steps=1", "steps=[generate]", "any_size=true")
    evaluate.main(config(*asked, *NO_IDEALS, name="evaluate"))
    (record,) = tmp_path.rglob("generation.json")
    assert record.parent == tmp_path / "runs/stock/evaluation/synthetic_edit/5-5-5"


def test_the_same_pipeline_elsewhere_is_the_same_editor(stock: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(stock, target_is_directory=True)
    assert checkpoint.content_hash(stock) == checkpoint.content_hash(tmp_path / "link")


def test_a_hub_id_has_a_folder_of_its_own_and_a_mistyped_run_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    cfg = config("checkpoint=timbrooks/instruct-pix2pix", name="evaluate")
    evaluate.check_request(cfg)
    assert run_folder(cfg) == Path("runs/timbrooks-instruct-pix2pix")
    for typo in ("runs/gone", "nowhere/editor", "a/b/c", "gone.ckpt", "a/b.ckpt"):
        with pytest.raises(FileNotFoundError, match=f"no checkpoint at {typo}; give a .ckpt file"):
            evaluate.check_request(config(f"checkpoint={typo}", name="evaluate"))


@pytest.mark.parametrize(
    ("editor", "results"),
    [
        ("a/run/editor", "a/run"),
        ("a/run/best", "a/run"),
        ("a/run/checkpoints/last.ckpt", "a/run"),
        ("recorded/mine", "recorded"),
        ("experiments/demo_editor", "runs/demo_editor"),
        ("released", "runs/released"),
    ],
)
def test_results_lie_with_the_run_or_by_name(
    editor: str, results: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / editor).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / editor).touch() if editor.endswith(".ckpt") else (tmp_path / editor).mkdir()
    if editor.startswith("recorded"):
        (tmp_path / "recorded/run.json").touch()
    assert run_folder_of(Path(editor)).resolve() == tmp_path / results


def broken_pipeline(folder: Path, file: str, old: str, new: str) -> Path:
    write_pipeline(folder)
    (folder / file).write_text((folder / file).read_text().replace(old, new))
    return folder


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("model_index.json", "InstructPix2Pix", "", "is a StableDiffusionPipeline, and of stock"),
        ("unet/config.json", '"in_channels": 8', '"in_channels": 4', "has 4 input channels, and one that"),
        ("scheduler/scheduler_config.json", "scaled_linear", "linear", "says beta_schedule=linear"),
    ],
)
def test_other_pipelines_are_refused_in_one_line(
    tmp_path: Path, file: str, old: str, new: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        checkpoint.describe(broken_pipeline(tmp_path / "model", file, old, new))
