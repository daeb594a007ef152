"""The step "measure" of src.evaluate on 14 cases of the synthetic world, with a small random editor, CLIP and
DINO.
"""

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALL, config, small_editor
from evaluation.tiny_encoders import write_clip, write_dino
from killing import Command, lines_in
from omegaconf import OmegaConf

from src import checkpoint, evaluate

LIMIT, BATCH = 14, 4
DEFINED = [
    "magicbrush/l1",
    "magicbrush/l2",
    "magicbrush/clip_i",
    "magicbrush/dino",
    "multi_reward/clip_i",
    "outside/l1",
    "outside/ssim",
]
ROWS = ["5-5-5", "copy_input", "training_triplets", "exact_target"]


@pytest.fixture(scope="module")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("encoders")
    networks = [
        f"image_metrics.clip.model={write_clip(folder / 'clip')}",
        f"image_metrics.dino.model={write_dino(folder / 'dino')}",
    ]
    return [
        f"limit={LIMIT}",
        "sampler.steps=1",
        "benchmark.ideals=null",
        "image_metrics=magicbrush",
        f"image_metrics.batch_size={BATCH}",
        *networks,
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, overrides: list[str]) -> Path:
    folder = tmp_path_factory.mktemp("run")
    checkpoint.export(
        folder / "editor",
        OmegaConf.to_yaml(config(*SMALL).model, resolve=True),
        (32, 32),
        small_editor().state_dict(),
    )
    evaluate_with(folder, *overrides)
    return folder


def evaluate_with(run: Path, *overrides: str) -> None:
    evaluate.main(config(f"checkpoint={run}/editor", *overrides, name="evaluate"))


def place(run: Path) -> Path:
    return run / "evaluation" / "synthetic_edit"


def rows_of(run: Path) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads((place(run) / "oracle/report.json").read_text())["rows"]}


def lines_of(run: Path) -> dict[str, list[str]]:
    """The lines of all files, which processes write in any order."""
    return {row: sorted((place(run) / row / "metrics.jsonl").read_text().splitlines()) for row in ROWS}


def test_the_report_has_every_metric_that_the_world_defines(run: Path) -> None:
    rows = rows_of(run)
    for row in rows.values():
        assert list(row["image_metrics"]) == DEFINED
        for name in DEFINED:
            measured = row["image_metrics"][name]
            lines = [
                json.loads(line) for line in lines_of(run)[row["name"].replace(" ", "_").replace("/", "-")]
            ]
            values = [line["value"] for line in lines if line["metric"] == name]
            assert measured["n"] == len(values)
            assert measured["mean"] == pytest.approx(sum(values) / len(values), abs=1e-12)
            assert measured["ci95"][0] <= measured["mean"] <= measured["ci95"][1]
    exact, copied = rows["exact target"]["image_metrics"], rows["copy input"]["image_metrics"]
    assert (exact["magicbrush/l1"]["mean"], exact["magicbrush/clip_i"]["mean"]) == (
        0.0,
        pytest.approx(1.0, abs=1e-12),
    )
    assert (exact["outside/l1"]["mean"], copied["outside/l1"]["mean"]) == (0.0, 0.0)
    assert copied["magicbrush/l1"]["mean"] > 0
    # two originals x 7 edits, some of which change the whole image
    assert copied["magicbrush/l1"]["n"] == LIMIT
    assert 2 * 3 <= copied["outside/l1"]["n"] < LIMIT


def test_the_report_in_words(run: Path) -> None:
    text = (place(run) / "oracle/report.md").read_text()
    assert "| row | n | magicbrush/l1 ↓ | magicbrush/l2 ↓ | magicbrush/clip_i ↑ | magicbrush/dino ↑ |" in text
    assert (
        "| exact target | 14 | 0.0000 [0.0000, 0.0000] | 0.0000 [0.0000, 0.0000] | 1.0000 [1.0000, 1.0000] |"
        in text
    )
    assert "clip_t" not in text
    assert "not the protocol's, compare with no published number" in text


def test_the_second_time_nothing_is_embedded(
    run: Path, overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rows = lines_of(run), rows_of(run)
    monkeypatch.setattr("src.evaluation.encoders.load_network", None)  # no weights are read
    evaluate_with(run, *overrides)
    evaluate_with(run, *overrides, "steps=[report]")
    assert (lines_of(run), rows_of(run)) == (before, rows)


def test_judging_without_image_metrics_keeps_them(run: Path) -> None:
    rows = rows_of(run)
    evaluate_with(run, f"limit={LIMIT}", "sampler.steps=1", "benchmark.ideals=null")
    assert rows_of(run) == rows


def copied(run: Path, folder: Path) -> Path:
    """The run with its edits, and nothing measured or judged."""
    shutil.copytree(run / "editor", folder / "editor")
    shutil.copytree(place(run) / "5-5-5/edits", place(folder) / "5-5-5/edits")
    shutil.copy(place(run) / "5-5-5/generation.json", place(folder) / "5-5-5")
    return folder


def assert_same(one: Path, other: Path) -> None:
    assert lines_of(one) == lines_of(other)
    for name in ("report.json", "report.md", "cases.jsonl", "gallery.png"):
        assert (place(one) / "oracle" / name).read_bytes() == (place(other) / "oracle" / name).read_bytes(), (
            name
        )


def two_ranks(run: Path, overrides: list[str]) -> list[Command]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    arguments = (f"checkpoint={run}/editor", *overrides)
    return [
        Command("src.evaluate", *arguments, log=run / "log", environment={**shared, "RANK": str(rank)})
        for rank in range(2)
    ]


def half_way(run: Path) -> Callable[[], bool]:
    return lines_in(place(run) / "training_triplets/metrics.jsonl", 5)


def test_two_ranks_killed_half_way_end_with_the_same_report(
    run: Path, overrides: list[str], tmp_path: Path
) -> None:
    folder = copied(run, tmp_path)
    first, second = two_ranks(folder, overrides)
    killed = second.killed_when(half_way(folder))
    first.killed_when(lambda: True)
    if killed:
        with (place(folder) / "5-5-5/metrics.jsonl").open("ab") as torn:
            torn.write(b'{"id": "w2-bench')
    for process in two_ranks(folder, overrides):
        assert process.ended() == 0, (folder / "log").read_text()
    assert_same(run, folder)


def test_pixels_need_no_network_and_edits_no_model(run: Path, tmp_path: Path) -> None:
    edits = place(run) / "5-5-5/edits"
    evaluate.main(
        config(
            f"edits={edits}",
            f"limit={LIMIT}",
            f"output={tmp_path}",
            "row=theirs",
            "image_metrics=pixels",
            name="evaluate",
        )
    )
    theirs, ours = rows_of(tmp_path)["theirs"], rows_of(run)["5/5/5"]
    assert theirs["image_metrics"] == {
        name: ours["image_metrics"][name] for name in DEFINED if "clip" not in name and "dino" not in name
    }
    assert theirs["measured_by"] == {}
    evaluate.main(
        config(
            f"edits={edits}",
            f"limit={LIMIT}",
            f"output={tmp_path / 'plain'}",
            "image_metrics=none",
            name="evaluate",
        )
    )
    assert "image_metrics" not in rows_of(tmp_path / "plain")["edits"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "image_metrics.metrics=[multi_reward/clip_t]",
            "multi_reward/clip_t can't be taken, as no case of synthetic_edit has a caption of the "
            "kind 'global'",
        ),
        ("image_metrics.clip.model=/nowhere", "no folder /nowhere"),
        ("image_metrics.metrics=[clip_i]", "there is no image metric 'clip_i'"),
    ],
)
def test_requests_that_are_refused(run: Path, overrides: list[str], override: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        evaluate_with(run, *overrides, override)
