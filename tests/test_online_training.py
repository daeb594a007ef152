"""Online trainings by the real command: killed and continued bit for bit; refused without a difference."""

from pathlib import Path

import pytest
from commands import only_error, run
from killing import Command, finished, lines_in
from run_folders import assert_same

STAGE1 = Path(__file__).resolve().parents[1] / "experiments/stage1"

ONLINE = (
    "+experiment=rl_synthetic",
    f"start={STAGE1}",
    "~callbacks.previews",
    "callbacks.holdout.every_n_steps=2",
    "callbacks.holdout.benchmark.originals=1",
    "sampler.steps=2",
    "judge@algorithm.rewards.judge=noisy_oracle",  # stage 1's edits are all good: errors make a difference
    "callbacks.reward_spread.groups=2",
    "callbacks.checkpoint.every_n_train_steps=2",
    "algorithm.rollout.steps=3",
    "algorithm.members=2",
    "data.batch_size=2",
    "data.num_workers=0",
    "trainer.precision=32-true",
    "trainer.max_steps=4",
)


@pytest.mark.parametrize(
    "algorithm",
    [
        "nft",
        pytest.param("flow_grpo", marks=pytest.mark.slow),
        pytest.param("best_of_group", marks=pytest.mark.slow),
        pytest.param("dpo", marks=pytest.mark.slow),
    ],
)
def test_killed_and_continued_it_is_the_same_training(tmp_path: Path, algorithm: str) -> None:
    settings = (*ONLINE, f"algorithm={algorithm}")
    whole, folder = tmp_path / "whole", tmp_path / "run"
    said = finished("src.train", *settings, f"hydra.run.dir={whole}", log=tmp_path / "whole.log")
    assert "reward of 2 cases with 2 edits each" in said
    assert "16 edits drawn and judged in" in said
    assert "holdout/validation" in (whole / "metrics.csv").read_text().splitlines()[0]
    assert (whole / "over_optimisation.png").exists()
    process = Command("src.train", *settings, f"hydra.run.dir={folder}", log=tmp_path / "run.log")
    assert process.killed_when(lines_in(folder / "metrics.csv", 4))
    finished("src.train", *settings, f"hydra.run.dir={folder}", log=tmp_path / "run.log")
    assert_same(whole, folder)


def test_without_a_difference_between_edits_nothing_is_begun(tmp_path: Path) -> None:
    done = run(*ONLINE, "judge@algorithm.rewards.judge=oracle", f"hydra.run.dir={tmp_path}/run")
    said = only_error(done.stderr, done.returncode)
    assert "differ in their reward by 0.00" in said
    assert "callbacks.reward_spread.least=0.02" in said
