"""python -m src.train_reward_model as users type it."""

import json
from pathlib import Path

import pytest
from commands import refused, run, run_interpreter
from conftest import config
from reward_models.made import write_contests, write_reward_model

from src import checkpoint
from src.data.contest_data import ContestData
from src.data.contest_table import ContestTable
from src.reward_model_checkpoint import load_reward_model
from src.train_reward_model import check_contests

SMALL = (
    "reward_model.width=8",
    "contests.source.length=12",
    "contests.held_out.length=7",
    "contests.held_out.candidates=2",
    "contests.batch_size=4",
    "trainer.precision=32-true",
    "trainer.log_every_n_steps=1",
)


def small(folder: Path, *more: str) -> tuple[str, ...]:
    return (*SMALL, f"contests.source.cache={folder.parent / 'contests'}", f"hydra.run.dir={folder}", *more)


def test_a_run_goes_on_and_leaves_a_judge(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    for steps in ("trainer.max_steps=2", "trainer.max_steps=4"):
        done = run(*small(whole, steps), module="src.train_reward_model")
        assert done.returncode == 0, done.stderr[-2000:]
    assert "last.ckpt at step 2" in done.stderr
    assert "held-out pairs right: " in done.stderr
    assert "held_out/accuracy_following" in (whole / "metrics.csv").read_text()
    assert f"judge=reward_model judge.model.path={whole}/reward_model" in done.stderr
    assert load_reward_model(whole).calibration.n["pairs"] > 0
    card = (whole / "reward_model/README.md").read_text()
    assert "Its labels identify: following, preserving, quality, semantic, overall." in card
    said = refused(*small(whole, "contests.source.deviation=2.0"), module="src.train_reward_model")
    assert "contests.source.deviation is 0.7 in the checkpoint and 2.0 here" in said
    said = refused(
        "checkpoint=" + str(whole / "checkpoints/last.ckpt"),
        "image=a.png",
        "instruction=b",
        module="src.edit",
    )
    assert "is a checkpoint of a reward model, and an editor is needed" in said


REFUSED = {
    "contests.source.candidates=1": "at least one contest of two edits",
    "contests.source.aspects=[beauty]": "one or more of following, preserving, quality, semantic, overall",
    "preference@algorithm.loss=editrewrd": "did you mean editreward?",
    "reward_model.picture_size=[30,32]": "multiples of 8",
    "trainer.max_steps=0": "trainer.max_steps=0: a whole number, at least 1, is needed",
    "+trainer.max_epochs=0": "trainer.max_epochs=0: a whole number, at least 1, is needed",
    "reward_model.deviation=false": "algorithm.loss.ratings=gaussian need a network that says how sure it is",
    "algorithm.optimizer.lr=-1": "algorithm.optimizer.lr=-1: a finite number, 0 or more, is needed",
    "held_out_most=0": "held_out_most=0: a whole number, at least 1, is needed",
    "callbacks.held_out.most=0": "every_n_steps=500 most=0: at least 1 each is needed",
    "start=nowhere": "no reward model at nowhere",
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where contests are kept once they are rendered."""
    return tmp_path_factory.mktemp("rendered")


@pytest.mark.parametrize("setting", REFUSED)
def test_what_is_refused(setting: str, rendered: Path, tmp_path: Path) -> None:
    given = (setting, f"contests.source.cache={rendered}")
    said = refused(*small(tmp_path / "run", *given), module="src.train_reward_model")
    assert REFUSED[setting] in said


def test_contests_are_looked_at_before_anything_is_built(tmp_path: Path) -> None:
    file = write_contests(tmp_path, 6)
    check_contests(ContestData(ContestTable(str(file)), 2, 0, 0, held_out_share=0.4))
    (tmp_path / "4-bad.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"4-bad\.png"):
        check_contests(ContestData(ContestTable(str(file)), 2, 0, 0, held_out_share=0.4))
    rows = json.loads(file.read_text())
    for row in rows:
        row |= {name: 4 if "overall" in name else 2 for name in row if name.endswith("score")}
    file.write_text(json.dumps([row | {"tie_case": True} for row in rows if "4." not in row["path_src"]]))
    with pytest.raises(ValueError, match="all are ties, so nothing can be learnt or measured"):
        check_contests(ContestData(ContestTable(str(file)), 2, 0, 0, held_out_share=0.4))


JUDGE = ("judge=reward_model", "judge_benchmark=genai_bench")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("judge.model.path=nowhere",), "no reward model at nowhere"),
        (("judge.model.path=FILE", "judge.batch_size=0"), "judge.batch_size=0: at least 1"),
        (("judge.model.path=FILE", "judge.perspectives=mine"), "judge.perspectives takes own or shared"),
        (("judge.model.path=FILE", "judge.device=cuda:9"), "cuda:9"),
        ((), "judge.model.path"),
    ],
)
def test_what_the_judge_refuses(settings: tuple[str, ...], said: str, tmp_path: Path) -> None:
    file = write_reward_model(tmp_path / "reward_model")
    given = [setting.replace("FILE", str(file)) for setting in settings]
    assert said in refused("judge=reward_model", *given, "cases=2", module="src.check_judge")


@pytest.mark.parametrize(
    ("given", "rates"),
    [
        ((), (2e-3, 0.05, 50)),
        (("reward_model=vlm",), (1e-4, 0.0, 100)),
        (("reward_model=vlm", "reward_model.lora=null"), (2e-6, 0.0, 100)),
        (("reward_model=vlm", "algorithm.optimizer.lr=3e-3"), (3e-3, 0.0, 100)),
    ],
)
def test_a_network_comes_with_its_rates(given: tuple[str, ...], rates: tuple[float, ...]) -> None:
    learnt = config(*given, name="train_reward_model").algorithm
    assert (
        learnt.optimizer.lr,
        learnt.optimizer.weight_decay,
        learnt.scheduler.warmup_steps,
    ) == rates


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """Two ranks of two contests, one of four: the same weights but for the order of sums."""
    steps = ("trainer.max_steps=3", "algorithm.optimizer.lr=1e-3")
    one, two = tmp_path / "one", tmp_path / "two"
    for place, more in ((one, ()), (two, ("trainer=ddp_cpu", "contests.batch_size=2"))):
        done = run_interpreter(*small(place, *steps, *more), module="src.train_reward_model")
        assert done.returncode == 0, done.stderr[-2000:]
    first, second = (
        checkpoint.read_training(each / "checkpoints/last.ckpt")["state_dict"] for each in (one, two)
    )
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 1e-5
