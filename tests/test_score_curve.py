"""The score curve: what a judge says of the averaged editor's edits, in the metrics, the checkpoint and a
image.
"""

import csv
import json
from pathlib import Path

import pytest
from commands import LEAN, run

from src import checkpoint

SCORED = [override for override in LEAN if override != "~callbacks.scores"]
SETTINGS = (
    "callbacks.scores.every_n_steps=2",
    "callbacks.scores.benchmark.originals=1",
    "sampler.steps=1",
    "data.batch_size=2",
)


def test_a_training_leaves_its_score_curve(tmp_path: Path) -> None:
    done = run(*SCORED, *SETTINGS, "trainer.max_steps=5", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr[-2000:]
    with (tmp_path / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["validation/following"]]
    assert [int(row["step"]) + 1 for row in rows] == [2, 4, 5]
    assert all(
        0 <= float(row[f"validation/{name}"]) <= 5
        for row in rows
        for name in ("following", "preserving", "quality")
    )
    assert all(float(row["validation/failed"]) == 0 for row in rows)
    assert (tmp_path / "score_curve.png").stat().st_size > 1000

    # the last point is what src.evaluate says of the exported editor
    judged = run(
        f"checkpoint={tmp_path / 'editor'}",
        "benchmark=synthetic_validation",
        "benchmark.originals=1",
        "sampler.steps=1",
        "benchmark.ideals=null",
        module="src.evaluate",
    )
    assert judged.returncode == 0, judged.stderr[-2000:]
    report = json.loads((tmp_path / "evaluation/synthetic_validation/oracle/report.json").read_text())
    for name in ("following", "preserving", "quality"):
        assert report["rows"][0][name]["score"] == pytest.approx(
            float(rows[-1][f"validation/{name}"]), abs=0.05
        )
    saved = checkpoint.read(tmp_path / "checkpoints/last.ckpt")
    curves = [state["curve"] for state in saved["callbacks"].values() if "curve" in state]
    assert len(curves) == 1
    assert sorted(int(step) for step in curves[0])[:2] == [2, 4]
