"""Reward models on vision-language networks as users train, keep and ask them."""

import shutil
from pathlib import Path

import pytest
import torch
from commands import refused, run, run_interpreter
from judges.tiny_vlm import write_vlm
from omegaconf import OmegaConf
from reward_models.made import write_contests

from src import checkpoint
from src.data.contest_data import collate_contests, triplets_of
from src.data.contest_table import ContestTable
from src.launch import CONF
from src.records import ASPECTS
from src.reward_file import read_rewards
from src.reward_model_checkpoint import build_reward_model, export_reward_model, load_reward_model
from src.reward_models.calibration import MOST_SLOPE, Calibration, ScoreMap
from src.reward_models.judge import RewardModelJudge
from src.reward_models.vlm import VLMScorer
from src.train_reward_model import start_from

LORA = {"r": 2, "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}


def settings(model: Path) -> str:
    """A config as src.train_reward_model keeps it."""
    tree = OmegaConf.load(CONF / "reward_model/vlm.yaml")
    tree.update({"model": str(model), "dtype": "float32", "max_pixels": 2500})
    tree.lora.update(LORA)
    return OmegaConf.to_yaml(tree)


@torch.inference_mode()
def test_training_batches_judge_and_export_say_the_same(tmp_path: Path) -> None:
    config = settings(write_vlm(tmp_path / "vlm", "qwen3_vl"))
    source = ContestTable(str(write_contests(tmp_path / "data", 4)))
    torch.manual_seed(0)
    model = build_reward_model(config, "here").eval()
    assert isinstance(model, VLMScorer)
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            weights.normal_(std=0.3)
    batch = collate_contests([source[0], source[1]], model.prepare, [source])
    assert {ASPECTS[int(each)] for each in batch.compared.aspect} == {"quality", "semantic", "overall"}
    seen = model(batch.inputs).mean
    calibration = Calibration({aspect: ScoreMap(0.5) for aspect in ASPECTS})
    export_reward_model(tmp_path / "kept", config, model.trained_state(), calibration, ASPECTS, "card")
    kept = load_reward_model(tmp_path / "kept")
    assert (tmp_path / "kept/model.safetensors").stat().st_size < 200_000  # what was trained, and no base
    triplets = [triplet for index in (0, 1) for triplet in triplets_of(source[index])]
    for size in (1, 4):
        judge = RewardModelJudge(kept, batch_size=size, device="cpu")
        scores = [[verdict.score for verdict in each.verdicts] for each in judge.judge(triplets)]
        expected = 5 * (0.5 * seen).double().sigmoid()
        torch.testing.assert_close(torch.tensor(scores).double(), expected, atol=1e-5, rtol=1e-5)


def test_other_weights_of_the_same_shapes_are_refused(tmp_path: Path) -> None:
    """A base that was finetuned since, or another one at the same place."""
    base = write_vlm(tmp_path / "vlm", "qwen3_vl")
    model = build_reward_model(settings(base), "here")
    calibration = Calibration({aspect: ScoreMap() for aspect in ASPECTS})
    recorded = model.base()
    given = settings(base), model.trained_state(), calibration, ASPECTS, "card", recorded
    export_reward_model(tmp_path / "kept", *given)
    assert load_reward_model(tmp_path / "kept").network.base() == recorded
    shutil.rmtree(base)
    write_vlm(base, "qwen3_vl", seed=1)
    other = build_reward_model(settings(base), "here").base()
    assert other != recorded
    with pytest.raises(ValueError, match=rf"base whose weights are {recorded}, and .*vlm are {other}"):
        load_reward_model(tmp_path / "kept")
    with pytest.raises(ValueError, match=f"{recorded}.* are {other}"):
        start_from(build_reward_model(settings(base), "here"), tmp_path / "kept", settings(base))


SMALL = (
    "reward_model=vlm",
    "reward_model.dtype=float32",
    "reward_model.max_pixels=1000",
    "reward_model.lora.r=2",
    "algorithm.scheduler=null",
    "algorithm.optimizer.lr=3e-3",
    "contests=table",
    "contests.batch_size=2",
    "contests.num_workers=0",
    "contests.held_out_share=0.3",
    "trainer.precision=32-true",
    "trainer.log_every_n_steps=1",
)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_a_stopped_training_goes_on_bit_by_bit_and_a_benchmark_asks_its_judge(
    tmp_path: Path, family: str
) -> None:
    model, data = write_vlm(tmp_path / "vlm", family), write_contests(tmp_path / "data")
    given = (*SMALL, f"reward_model.model={model}", f"contests.source.path={data}")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder, lengths in ((whole, (4,)), (stopped, (2, 4))):
        for steps in lengths:
            more = (f"trainer.max_steps={steps}", f"hydra.run.dir={folder}")
            done = run(*given, *more, module="src.train_reward_model")
            assert done.returncode == 0, done.stderr[-2000:]
    first, second = (
        checkpoint.read_training(each / "checkpoints/last.ckpt")["state_dict"] for each in (whole, stopped)
    )
    assert all("lora_" in name or "tokens" in name or "heads." in name or "loss." in name for name in first)
    assert all(torch.equal(first[name], second[name]) for name in first)
    card = (whole / "reward_model/README.md").read_text()
    assert "CC-BY-NC-4.0" in card
    assert "Not told apart: following, preserving" in card
    judge = ("judge=reward_model", f"judge.model.path={whole}/reward_model")
    said = refused(*judge, "cases=2", module="src.check_judge")
    assert "perspectives=shared lets the nearest aspect stand for each" in said
    asked = (*judge, "judge.perspectives=shared", "judge_benchmark=genai_bench")
    place = (f"judge_benchmark.path={data}", f"judge_benchmark.pictures={data.parent}")
    done = run(*asked, *place, f"output={tmp_path / 'asked'}", module="src.evaluate_judge")
    assert done.returncode == 0, done.stderr[-2000:]
    (file,) = (tmp_path / "asked").rglob("rewards.jsonl")
    found = {reward.id: reward for reward in read_rewards(file)}
    own = RewardModelJudge(load_reward_model(whole), "shared", 1, "cpu")
    source = ContestTable(str(data))
    # utilities within 1e-6 of each other; four steps calibrate by slopes of up to 10
    within = 1e-6 * 1.25 * MOST_SLOPE + 1e-6
    for row in (0, 7):
        contest = next(each for each in source if each.case.id == f"row {row}")
        for letter, alone in zip("AB", own.judge(triplets_of(contest)), strict=True):
            verdicts = zip(found[f"{row}/{letter}"].verdicts, alone.verdicts, strict=True)
            assert all(abs(one.score - other.score) < within for one, other in verdicts)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """Two ranks of two contests, one of four: the same weights but for the order of sums. Dropout differs by
    rank, so there is none.
    """
    model, data = write_vlm(tmp_path / "vlm", "qwen3_vl"), write_contests(tmp_path / "data")
    given = (*SMALL, f"reward_model.model={model}", f"contests.source.path={data}", "trainer.max_steps=3")
    steps = ("algorithm.optimizer.lr=1e-4", "reward_model.lora.lora_dropout=0")
    one, two = tmp_path / "one", tmp_path / "two"
    for place, more in ((one, ("contests.batch_size=4",)), (two, ("trainer=ddp_cpu",))):
        asked = (*given, *steps, *more, f"hydra.run.dir={place}")
        done = run_interpreter(*asked, module="src.train_reward_model")
        assert done.returncode == 0, done.stderr[-2000:]
    first, second = (
        checkpoint.read_training(each / "checkpoints/last.ckpt")["state_dict"] for each in (one, two)
    )
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 1e-6


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("contests.source.path=nowhere.json", "no file nowhere.json"),
        ("reward_model.prompt=v0", "one of v1"),
    ],
)
def test_what_is_refused(tmp_path: Path, setting: str, said: str) -> None:
    data = write_contests(tmp_path / "data", 2)
    given = (*SMALL, f"contests.source.path={data}", "contests.held_out_share=0.5", setting)
    assert said in refused(*given, f"hydra.run.dir={tmp_path / 'run'}", module="src.train_reward_model")
