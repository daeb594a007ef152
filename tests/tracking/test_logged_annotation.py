"""An annotation tells a logger what it cost, and Weights & Biases which reward file came of it."""

import json
from pathlib import Path

from conftest import config
from wandb_file import WandbFile

from src import annotate
from src.tracking.wandb_run import rewards_artifact


def test_counts_and_the_reward_file(tmp_path: Path) -> None:
    annotate.main(
        config(
            "judge=oracle",
            "data=synthetic",
            "data.dataset.length=3",
            f"output={tmp_path}",
            "logger=wandb",
            name="annotate",
        )
    )
    told = WandbFile(tmp_path)
    assert (told.history["annotation/rows"], told.history["annotation/failed"]) == (3, 0)
    (rewards,) = told.artifacts
    assert (rewards.type, rewards.name) == ("rewards", rewards_artifact(tmp_path / "rewards.jsonl").name)
    about = json.loads(rewards.metadata)
    assert (about["judge"], about["rows"], about["failed"]) == ("oracle", 3, 0)
