"""experiments/laptop.sh in small: every cell, the choice of guidance, one report with all rows; the same
command again makes nothing anew.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = "model.backbone.width=16 model.backbone.depth=2 model.backbone.channels=16 model.backbone.hidden=16"
ROWS = [
    "5/5/5",
    "3/3/3",
    "0/0/0",
    "0/0/0+text",
    "no reward",
    "one scalar reward",
    "only all-5 triplets",
    "permuted rewards",
    "stage 1",
    "trained on exact edits",
]


def run(folder: Path) -> str:
    settings = {
        "PYTHON": sys.executable,
        "STAGE1_STEPS": "2",
        "STEPS": "2",
        "SCALES": "1.0 2.0",
        "TRAIN_MORE": f"{SMALL} data.batch_size=2 data.dataset.length=120 sampler.steps=1 "
        "callbacks.scores.benchmark.originals=1",
        "SWEEP_MORE": "hydra.launcher.probe=false",
        "EVALUATE": "sampler.steps=1,limit=14",
        "EVALUATE_MORE": "sampler.steps=1 limit=14",
    }
    done = subprocess.run(
        ["bash", "experiments/laptop.sh", str(folder)],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
    return done.stdout


@pytest.mark.slow
def test_the_laptop_experiment_in_small(tmp_path: Path) -> None:
    output = run(tmp_path)
    assert output.count("training and evaluation started") == 6
    report = json.loads((tmp_path / "report/evaluation/synthetic_edit/oracle/report.json").read_text())
    assert [row["name"] for row in report["rows"]][: len(ROWS)] == ROWS
    assert {row["n"] for row in report["rows"]} == {14}
    assert {(each["row"], each["against"]) for each in report["comparisons"]} >= {
        ("5/5/5", name) for name in ROWS[1:]
    }
    for name in (
        "synthetic_edit/oracle/gallery.png",
        "synthetic_wordings/oracle/report.md",
        "synthetic_pairs/oracle/report.md",
    ):
        assert (tmp_path / "report/evaluation" / name).stat().st_size > 500
    assert (tmp_path / "report/curves.png").stat().st_size > 1000
    weights = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("last.ckpt")}
    assert len(weights) == 7
    run(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("last.ckpt")} == weights
