"""+experiment=rl_inspix2pix with a small pipeline, photographs in a tree, a served judge and a hold-out judge
on photographs of its own; what was answered is not asked again.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from backbones.pipelines import write_pipeline
from commands import run
from data.written import write_image, write_tree

from src.judges.fake_server import MODELS, RunningServer, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("server") / "requests.jsonl", "--key=") as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline, a tree to learn from, and two photographs to watch over it."""
    folder = tmp_path_factory.mktemp("inspix2pix")
    write_pipeline(folder / "pipeline")
    write_tree(folder / "tree", prompts=6)
    for number, size in enumerate(((40, 60), (64, 40))):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3)).astype(np.uint8)
        write_image(folder / f"{number}.png", pixels)
    (folder / "cases.csv").write_text("image,instruction\n0.png,make it night\n1.png,add a boat\n")
    return folder


def learnt(folder: Path, server: RunningServer, target: Path, *overrides: str) -> str:
    judges = [
        setting
        for place in ("algorithm.rewards.judge", "callbacks.holdout.judge")
        for setting in (
            f"judge@{place}=openai_compatible",
            f"{place}.client.model={MODELS[0]}",
            f"{place}.client.base_url={server.base_url}",
        )
    ]
    done = run(
        "+experiment=rl_inspix2pix",
        f"model.backbone.pretrained={folder / 'pipeline'}",
        f"data.dataset.folder={folder / 'tree'}",
        f"callbacks.holdout.benchmark.source={folder / 'cases.csv'}",
        *judges,
        "callbacks.holdout.every_n_steps=1",
        "callbacks.reward_spread.least=0",
        "callbacks.reward_spread.groups=2",
        "data.dataset.extension=png",
        "data.transform.size=16",
        "data.num_workers=0",
        "algorithm.members=2",
        "algorithm.rollout.steps=2",
        "trainer=cpu",
        "trainer.precision=32-true",
        "trainer.max_steps=2",
        "trainer.accumulate_grad_batches=1",
        "sampler.steps=2",
        "sampler.resize=trained",
        f"hydra.run.dir={target}",
        *overrides,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def test_photographs_are_learnt_from_and_watched_and_no_question_is_asked_twice(
    folder: Path, server: RunningServer, tmp_path: Path
) -> None:
    said = learnt(folder, server, tmp_path / "run")
    assert "8 edits drawn and judged" in said
    asked = len(server.requests())
    # the spread before, the edits of two steps, and the hold-out judge's at 0, 1 and 2; three questions each
    assert asked >= 3 * (4 + 8)
    assert (tmp_path / "run/over_optimisation.png").exists()
    rows = (tmp_path / "run/metrics.csv").read_text()
    assert "holdout/validation" in rows.splitlines()[0]
    assert (tmp_path / "run/best/config.yaml").exists()
    learnt(folder, server, tmp_path / "again", f"ledger={tmp_path}/run/ledger.sqlite")
    assert len(server.requests()) == asked
    first, second = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("run", "again"))
    assert first["status"] == second["status"] == "finished"
    one, two = ((tmp_path / name / "editor/model.safetensors").read_bytes() for name in ("run", "again"))
    assert one == two
