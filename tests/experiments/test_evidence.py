"""experiments/evidence.sh in small: stage 1, Tables 4 and 6 with controls, curves, dossiers; the same command
again trains nothing anew.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = "model.backbone.width=16 model.backbone.depth=2 model.backbone.channels=16 model.backbone.hidden=16"


def run(folder: Path, *parts: str) -> str:
    settings = {
        "PYTHON": sys.executable,
        "SEEDS": "0",
        "STAGE1_STEPS": "2",
        "STEPS": "2",
        "EVALUATE": "limit=14,sampler.steps=1",
        "TRAIN_MORE": f"{SMALL} data.batch_size=2 data.dataset.length=120 sampler.steps=1 ~callbacks.scores",
    }
    command = ["bash", "experiments/evidence.sh", str(folder), *parts]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
    return done.stdout


@pytest.mark.slow
def test_tables_with_controls_in_small(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    run(
        folder,
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
    run(folder, "stage1", "table4", "controls")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("last.ckpt")} == weights
