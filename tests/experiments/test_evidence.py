"""experiments/evidence.sh and retraining.sh in small: stage 1, Tables 4 and 6 with controls, curves, what a
reward model chose, dossiers; the same command again trains nothing anew.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from reward_models.made import write_reward_model

ROOT = Path(__file__).resolve().parents[2]
SMALL = "model.backbone.width=16 model.backbone.depth=2 model.backbone.channels=16 model.backbone.hidden=16"


def run(script: str, *arguments: str, **more: str) -> str:
    settings = more | {
        "PYTHON": sys.executable,
        "SEEDS": "0",
        "STAGE1_STEPS": "2",
        "STEPS": "2",
        "EVALUATE": "limit=14,sampler.steps=1",
        "TRAIN_MORE": f"{SMALL} data.batch_size=2 data.dataset.length=120 sampler.steps=1 ~callbacks.scores",
    }
    command = ["bash", f"experiments/{script}.sh", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
    return done.stdout


@pytest.mark.slow
def test_tables_with_controls_in_small(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    run(
        "evidence",
        str(folder),
        "stage1",
        "table4",
        "table6",
        "controls",
        "judge_error",
        "bad_triplets",
        "exploratory",
        "reward_guidance",
        "dossiers",
    )
    table4, table6 = ((folder / f"results/{name}.md").read_text() for name in ("table4", "table6"))
    for name in ("none", "score", "text", "score + text"):
        assert f"| {name} | ours |" in table4
    for name in (
        "starting weights",
        "permuted rewards",
        "one scalar reward",
        "only all-5 triplets",
        "trained on exact edits",
    ):
        assert f"| {name} | control |" in table4
    assert [f"| {score}/{score}/{score} | ours |" in table6 for score in range(6)] == [True] * 6
    for name, points in {
        "initialisation": ["random", "zero"],
        "feedback_windows": ["joined", "per_perspective"],
        "reward_dropout": ["0", "0.05", "0.2"],
        "judge_error": ["0", "0.7", "1.5", "3", "6"],
        "bad_triplets": ["0", "0.5", "0.9"],
        "reward_guidance": ["1", "1.5", "2", "3"],
    }.items():
        curve, _ = (folder / f"results/{name}.md").read_text().split("## Against")
        assert [line.split(" | ")[0] for line in curve.splitlines() if line.startswith("| ")][2:] == [
            f"| {point}" for point in points
        ]
    # the two rows that the sweep of controls has in common with Table 4 are links
    assert sum(path.is_symlink() for path in (folder / "controls").iterdir()) == 2
    weights = {path: path.stat().st_mtime_ns for path in folder.rglob("last.ckpt")}
    run("evidence", str(folder), "stage1", "table4", "controls")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("last.ckpt")} == weights


@pytest.mark.slow
def test_retraining_on_what_a_reward_model_chose_in_small(tmp_path: Path) -> None:
    stage1, model = tmp_path / "stage1", tmp_path / "reward_model"
    train = [sys.executable, "-m", "src.train", "+experiment=synthetic_stage1", "trainer.max_steps=2"]
    train += [*SMALL.split(), "data.batch_size=2", "sampler.steps=1", "~callbacks.scores"]
    subprocess.run([*train, f"hydra.run.dir={stage1}"], cwd=ROOT, check=True, capture_output=True)
    write_reward_model(model)
    more = {"START": f"{stage1}/editor", "LENGTH": "120", "SEEDS": "0,1"}
    folder = tmp_path / "retraining"
    run("retraining", str(model), str(folder), **more)
    page = (folder / "retraining.md").read_text()
    for name in (
        "all",
        "all, with rewards",
        "kept by the judge",
        "drawn at random",
        "kept by the exact judge",
    ):
        assert f"| {name} | ours, 2 seeds |" in page
    assert "| trained on exact edits | control, 2 seeds |" in page
    weights = {path: path.stat().st_mtime_ns for path in folder.rglob("last.ckpt")}
    assert len(weights) == 12
    run("retraining", str(model), str(folder), **more)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("last.ckpt")} == weights
