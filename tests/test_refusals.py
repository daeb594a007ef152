"""What is typed wrongly is refused in one line: what it is, what it takes, and the nearest name there is."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import config

from src.launch import CONF
from src.settings.help_page import ADDED, GROUPS, help_page
from src.settings.near_names import nearest
from src.settings.refusals import check_form, with_full_names
from src.settings.value_types import check_types

NAMES = ["seed", "trainer.max_steps", "trainer.max_epochs", "data.batch_size", "data.dataset.cache", "model"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("trainer.max_step", ["trainer.max_steps"]),
        ("max_steps", ["trainer.max_steps"]),
        ("max-step", ["trainer.max_steps"]),
        ("trainr.max_steps", ["trainer.max_steps"]),
        ("batchsize", ["data.batch_size"]),
        ("sed", ["seed"]),
        ("data.zebra", []),
        ("outptu", []),
    ],
)
def test_the_nearest_name(typed: str, meant: list[str]) -> None:
    assert nearest(typed, NAMES) == meant


REFUSED = {
    ("edit", "sampler.step=10"): "no setting sampler.step in edit; did you mean sampler.steps?",
    ("edit", "steps=10"): "did you mean sampler.steps?",
    ("edit", "~sampler.guidence"): "did you mean sampler.guidance?",
    ("edit", "zebra=x"): "python -m src.edit --help lists them",
    ("edit", "sampler=papper"): "did you mean paper? (sampler: ",
    ("edit", "samper=paper"): "did you mean sampler?",
    ("edit", "+sampler=paper"): "leave out the plus",
    ("edit", "+seed=3"): "leave out the plus",
    ("edit", "seed=1,2"): "several values are a sweep, which -m starts; a list is seed=[1,2]",
    ("edit", "target_reward=[5,5,5]"): "give target_reward.scores= or target_reward.feedback=",
    ("edit", "target_reward=5"): "give target_reward.scores= or target_reward.feedback=",
    ("edit", "target_reward.scores=5"): "target_reward.scores takes a list, each of a number",
    ("edit", "sampler.steps=many"): "sampler.steps=many: sampler.steps takes a whole number",
    ("edit", "overwrite=ja"): "overwrite=ja: overwrite takes true or false",
    ("edit", "+sampler.etas=3"): "Sampler takes no etas; did you mean sampler.eta?",
    ("edit", "--sampler.steps", "10"): "--sampler.steps: settings are given as name=value: sampler.steps=10",
    ("edit", "--image=p.png"): "name=value: image=p.png",
    ("edit", "image", "it's me.png"): "name=value: 'image=it'\"'\"'s me.png'",
    ("edit", "--overwrite", "checkpoint=x"): "name=value: overwrite=true",
    ("train", "trainer.max_step=10"): "did you mean trainer.max_steps?",
    ("train", "+experiment=reward_sinthetic"): "did you mean reward_synthetic?",
    ("train", "+experimnt=reward_synthetic"): "did you mean +experiment=?",
    ("train", "experiment=reward_synthetic"): "add it with a plus, +experiment=reward_synthetic",
    ("train", "optimizer=muon"): "give optimizer@algorithm.optimizer=muon",
    ("train", "trainer.max_steps=0"): "trainer.max_steps=0: a whole number, at least 1, is needed",
    ("train", "+trainer.max_epochs=-2"): "trainer.max_epochs=-2: a whole number, at least 1",
    ("train", "-m", "trainer.max_steps=0,-5"): "trainer.max_steps=0: a whole number, at least 1",
    ("evaluate", "limit=few", "checkpoint=x"): "limit takes a whole number or null",
    ("evaluate", "judge=gpt4o", "budget_usd=ten", "checkpoint=x"): "budget_usd takes a number or null",
    ("check_data", "data=stream", "data.check=all", "data.stream.path=x"): "data.check takes a whole number",
}


@pytest.mark.parametrize("command", REFUSED, ids=" ".join)
def test_what_is_said_of_a_misspelt_command(quickly_refused, command: tuple[str, ...]) -> None:
    name, *arguments = command
    message = quickly_refused(*arguments, module=f"src.{name}")
    assert REFUSED[command] in message
    assert "search path" not in message


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.max_steps=ten", "trainer.max_steps takes a whole number"),
        ("algorithm.optimizer.lr=1e-4abc", "algorithm.optimizer.lr takes a number"),
        ("+trainer.max_step=10", "Trainer takes no max_step; did you mean trainer.max_steps"),
        ("trainer.precision=bf16-mixd", "did you mean bf16-mixed"),
    ],
)
def test_classes_of_libraries_are_asked_once_they_are_imported(override: str, said: str) -> None:
    import pytorch_lightning  # noqa: F401

    with pytest.raises(ValueError, match=override.lstrip("+").partition("=")[0]) as refused:
        check_types(config(override), "train")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "override", ["trainer.devices=auto", "trainer.devices=[0,1]", "trainer.precision=16-mixed"]
)
def test_what_a_library_takes_in_several_forms(override: str) -> None:
    check_types(config(override), "train")


@pytest.mark.parametrize("name", ["train", "edit", "evaluate", "tabulate", "write_dataset"])
def test_help_has_examples_and_settings(name: str) -> None:
    page = help_page(name, ["--help"])
    examples, _, settings = page.partition("Settings, each given as name=value:")
    assert f"python -m src.{name} " in examples
    assert settings.count("=") > 2
    assert "hydra." not in settings
    assert max(map(len, page.splitlines())) <= 110


def test_help_of_one_command_and_of_a_group(quickly_refused) -> None:
    page = help_page("train", ["-h", "+experiment=reward_inspix2pix"])
    assert "  trainer=gpu " in page
    assert "  data.dataset.folder=                  needed: holds seeds.json" in page
    assert "  judge=" not in page.partition("Settings")[0]
    assert help_page("edit", ["--config-dir", str(CONF), "--help"]) == help_page("edit", ["-h"])
    options = help_page("train", ["--help", "trainer"])
    assert "  gpu                                   One GPU, bf16" in options
    assert "did you mean trainer?" in quickly_refused("--help", "trainr")
    assert help_page("edit", ["--version"]).startswith("multi-reward-editing ")


def test_every_group_is_explained() -> None:
    folders = {str(file.parent.relative_to(CONF)) for file in CONF.rglob("*/*.yaml")}
    assert {
        folder for folder in folders if not folder.startswith("hydra") and "/base" not in folder
    } == GROUPS.keys()
    assert {group.partition("@")[0] for group in ADDED} <= GROUPS.keys()


def test_a_refused_command_leaves_no_folder_and_changes_none(
    quickly_refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    quickly_refused("seed=abc", "hydra.run.dir=a/b/c")
    quickly_refused("-m", "trainer.max_step=1,2", "hydra.sweep.dir=a/b/c")
    assert list(tmp_path.iterdir()) == []
    records = tmp_path / "a/.hydra/overrides.yaml"
    records.parent.mkdir(parents=True)
    records.write_text("- seed=1\n")
    (tmp_path / "a/run.json").write_text("{}")
    quickly_refused("seed=abc", "hydra.run.dir=a")
    assert records.read_text() == "- seed=1\n"
    assert [path.name for path in records.parent.iterdir()] == ["overrides.yaml"]


def test_a_group_of_ones_own_is_one(tmp_path: Path) -> None:
    (tmp_path / "judges").mkdir()
    with pytest.raises(ValueError, match="there is no group judges; did you mean"):
        check_form("edit", ["+judges=mine"])
    check_form("edit", ["--config-dir", str(tmp_path), "+judges=mine"])
    check_form("edit", [f"hydra.searchpath=['file://{tmp_path}']", "+judges=mine"])


def test_hints_of_classes_are_settings_of_the_command() -> None:
    arguments = ["data=table"]
    error = with_full_names(
        ValueError("choose it with columns.original=NAME, seed=3"), "check_data", arguments
    )
    assert str(error) == "choose it with data.dataset.columns.original=NAME, seed=3"
    other = ValueError("x=3 and limit=4")
    assert str(with_full_names(other, "check_data", arguments)) == str(other)
