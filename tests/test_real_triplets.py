"""The 86 real triplets of AURORA-Bench, where they lie beside the checkout (shared/data/aurora_bench):
checked, precomputed, trained on.

They are no part of the repository: set AURORA_BENCH to another place, or these tests are skipped.
"""

import os
from collections import Counter
from pathlib import Path

import pytest
from backbones.pipelines import write_pipeline
from killing import Command, finished
from run_folders import contents, losses

from src.data.check import check_rows
from src.data.json_list import JsonList

ROOT = Path(__file__).resolve().parents[1]
PLACES = (
    *([Path(os.environ["AURORA_BENCH"])] if "AURORA_BENCH" in os.environ else []),
    *(up / "shared/data/aurora_bench" for up in ROOT.parents),
)
BENCH = next((place for place in PLACES if (place / "test.json").is_file()), PLACES[0])

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BENCH / "test.json").is_file(),
        reason=f"AURORA-Bench is not on this machine, {BENCH / 'test.json'} is missing",
    ),
]


def test_all_of_them_are_whole() -> None:
    rows = JsonList(BENCH / "test.json")
    report = check_rows(rows, "all")
    assert (len(rows), list(report.problems)) == (86, [])
    assert report.counts["pairs of two sizes"] == 8  # 500 pixels before, 1024 after; of one aspect ratio
    assert Counter(rows.row(index).edit_type for index in range(86)) == {
        "kubric": 50,
        "magicbrush": 21,
        "whatsup": 15,
    }


def test_they_precompute_and_train_live_as_from_the_cache(tmp_path: Path) -> None:
    settings = [
        "+experiment=inspix2pix",
        f"model.backbone.pretrained={write_pipeline(tmp_path / 'pipeline')}",
        "data=json_list",
        f"data.dataset.file={BENCH / 'test.json'}",
        "data.transform.size=64",
        "data.batch_size=4",
        "data.num_workers=1",
    ]
    writing = [*settings, "data.augmentations=2", "rows_per_shard=16", "device=cpu", "batch_size=8"]
    log, cache = tmp_path / "log.txt", tmp_path / "cache"
    killed = Command("src.precompute", *writing, f"output={cache}", log=log)
    assert killed.killed_when(lambda: len(list(cache.glob("latents-*"))) >= 2)
    kept = {path: path.stat().st_mtime_ns for path in cache.glob("latents-*")}
    finished("src.precompute", *writing, f"output={cache}", log=log)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    finished("src.precompute", *writing, f"output={tmp_path / 'whole'}", log=log)
    assert contents(cache) == contents(tmp_path / "whole")

    steps = [
        "trainer=cpu",
        "trainer.precision=32-true",
        "trainer.max_steps=12",
        "trainer.accumulate_grad_batches=2",
        "trainer.log_every_n_steps=1",
    ]
    for name, option in {"live": "data.augmentations=2", "cached": f"data.precomputed={cache}"}.items():
        finished(
            "src.train",
            *settings,
            *steps,
            option,
            "sampler.steps=2",
            f"hydra.run.dir={tmp_path / name}",
            log=log,
        )
    assert len(losses(tmp_path / "live")) == 12  # 96 visits, more than one pass
    assert losses(tmp_path / "cached") == pytest.approx(losses(tmp_path / "live"), rel=0, abs=1e-5)
    assert (tmp_path / "cached/previews/step_000012.png").stat().st_size > 1000
