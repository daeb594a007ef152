"""The whole of src.evaluate on a few cases of the synthetic world, with a small random editor."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree

import pytest
from conftest import SMALL, config, small_editor
from evaluation.tiny_encoders import write_dino
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from src import checkpoint, evaluate, tabulate
from src.images import load_image
from src.reward_file import read_rewards

ROWS = ["5/5/5", "3/3/3", "0/0/0", "0/0/0+text", "copy input", "training triplets", "exact target"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    checkpoint.export(
        folder / "editor",
        OmegaConf.to_yaml(config(*SMALL).model, resolve=True),
        (32, 32),
        small_editor().state_dict(),
    )
    evaluate_with(folder, "targets=table6")
    return folder


def evaluate_with(run: Path, *overrides: str, limit: int = 8) -> None:
    evaluate.main(
        config(
            f"checkpoint={run}/editor",
            f"limit={limit}",
            "sampler.steps=1",
            "benchmark.ideals=null",
            *overrides,
            name="evaluate",
        )
    )


def rows_of(run: Path) -> list[dict]:
    return json.loads((run / "evaluation" / "synthetic_edit" / "oracle" / "report.json").read_text())["rows"]


def written(run: Path, pattern: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in run.glob(f"evaluation/synthetic_edit/{pattern}")}


def mean(values: Sequence[float | None]) -> float:
    return sum(value for value in values if value is not None) / len(values)


def test_files_rows_and_means(run: Path) -> None:
    rows = rows_of(run)
    assert [row["name"] for row in rows] == ROWS
    assert all((row["n"], row["coverage"]) == (8, 1.0) for row in rows)
    for row, folder in zip(
        rows,
        ["5-5-5", "3-3-3", "0-0-0", "0-0-0+text", "copy_input", "training_triplets", "exact_target"],
        strict=True,
    ):
        rewards = read_rewards(run / "evaluation" / "synthetic_edit" / folder / "oracle" / "rewards.jsonl")
        assert len(rewards) == 8
        assert row["following"]["score"] == pytest.approx(
            mean([reward.following.score for reward in rewards]), abs=1e-12
        )
        assert row["quality"]["acc"] == sum(reward.quality.success is True for reward in rewards) / 8
    exact = rows[-1]
    assert all(exact[perspective]["score"] > 4.9 for perspective in ("following", "preserving", "quality"))
    gallery = load_image(run / "evaluation" / "synthetic_edit" / "oracle" / "gallery.png")
    assert gallery.shape[0] > 7 * 128
    assert gallery.shape[1] > 6 * 128


def test_the_second_time_nothing_is_made_or_judged(run: Path) -> None:
    edits, rewards, rows = written(run, "*/edits/*.png"), written(run, "*/oracle/rewards.jsonl"), rows_of(run)
    assert (len(edits), len(rewards)) == (4 * 8, 7)
    evaluate_with(run)
    assert (written(run, "*/edits/*.png"), written(run, "*/oracle/rewards.jsonl"), rows_of(run)) == (
        edits,
        rewards,
        rows,
    )


def test_a_lost_edit_is_made_again_and_is_the_same(run: Path) -> None:
    lost = run / "evaluation/synthetic_edit/5-5-5/edits/w3-benchmark-0-3-32.png"
    before, rewards = lost.read_bytes(), written(run, "*/oracle/rewards.jsonl")
    lost.unlink()
    with pytest.raises(FileNotFoundError, match="edits are missing"):
        evaluate_with(run, "steps=[judge,report]")
    evaluate_with(run, "batch_size=1")
    assert lost.read_bytes() == before
    assert written(run, "*/oracle/rewards.jsonl") == rewards


def test_edits_are_judged_without_a_model(run: Path, tmp_path: Path) -> None:
    source = run / "evaluation/synthetic_edit/3-3-3/edits"
    evaluate.main(config(f"edits={source}", "limit=8", f"output={tmp_path}", "row=theirs", name="evaluate"))
    theirs = rows_of(tmp_path)[0]
    assert theirs["name"] == "theirs"
    assert theirs["following"] == rows_of(run)[1]["following"]
    with pytest.raises(FileNotFoundError, match="lacks the edits of 1 of 9 cases: w3-benchmark-0-8-32"):
        evaluate.main(
            config(f"edits={source}", "limit=9", f"output={tmp_path}", "row=theirs", name="evaluate")
        )


def test_the_dial_is_drawn_from_rewards_on_disk_too(run: Path, tmp_path: Path) -> None:
    turned = (f"output={tmp_path}", "targets=dial", "targets.rows.values=[0,5]")
    evaluate_with(run, *turned, limit=7)
    assert [row["name"] for row in rows_of(tmp_path)][:5] == ["5/5/5", "0/0/0", "0/5/5", "5/0/5", "5/5/0"]
    folder = tmp_path / "evaluation/synthetic_edit/oracle"
    before = {name: (folder / name).read_bytes() for name in ("dial.json", "dial.png", "report.md")}
    assert b"![dial](dial.png)" in before["report.md"]
    assert len(json.loads(before["dial.json"])["responses"]) == 12
    for name in before:
        (folder / name).unlink()
    evaluate_with(run, *turned, "steps=[report]", limit=7)
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_a_page_is_made_of_the_run_folder_alone(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tabulate.main(config(f"runs=['{run}']", f"page={tmp_path}/report.html", name="tabulate"))
    assert "8 cases, 4 rows with edits" in capsys.readouterr().out
    data = json.loads(
        (tmp_path / "report.html").read_text().partition('id="data">')[2].partition("</script>")[0]
    )
    rewards = {
        reward.id: reward
        for reward in read_rewards(run / "evaluation/synthetic_edit/3-3-3/oracle/rewards.jsonl")
    }
    for case in data["cases"]:
        edit = case["edits"][data["columns"].index("3/3/3")]
        assert edit["scores"] == [round(verdict.score or 0.0, 3) for verdict in rewards[case["id"]].verdicts]
        assert edit["feedback"] == [
            verdict.feedback.replace("None", "") for verdict in rewards[case["id"]].verdicts
        ]
        assert case["target"] is not None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=1"], "seed: 0 there, 1 asked for"),
        (["sampler.steps=3"], "sampler.steps: 1 there, 3 asked for"),
        (["weights=raw"], "weights: ema there, raw asked for"),
        (["weights=both"], "choose ema or raw"),
        (["world.size=64"], "trained on images of 32x32 and synthetic_edit has 64x64"),
        (["checkpoint=gone.ckpt"], r"no checkpoint at gone\.ckpt"),
        (["checkpoint=null"], "either checkpoint=PATH"),
        (["steps=[report,publish]"], "choose from generate, measure, judge, report"),
        (["limit=0"], "at least one case"),
    ],
)
def test_requests_that_are_refused(run: Path, overrides: list[str], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        evaluate_with(run, *overrides)
    assert [row["name"] for row in rows_of(run)] == ROWS


def test_weights_that_are_no_numbers_leave_no_folder(run: Path, tmp_path: Path) -> None:
    weights = load_file(run / "editor/model.safetensors")
    weights["backbone.unet.conv_in.weight"][:] = math.nan
    copytree(run / "editor", tmp_path / "editor")
    save_file(weights, tmp_path / "editor/model.safetensors")
    with pytest.raises(ValueError, match=r"the weights in .*editor are not finite"):
        evaluate_with(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["editor"]


def test_what_cannot_be_measured_is_known_before_the_first_edit(run: Path, tmp_path: Path) -> None:
    dino = write_dino(tmp_path / "dino")
    Path(dino, "model.safetensors").unlink()
    measured = ["image_metrics=magicbrush", "image_metrics.clip=null", f"image_metrics.dino.model={dino}"]
    with pytest.raises(FileNotFoundError, match="dino has no weights"):
        evaluate_with(run, *measured, f"output={tmp_path}/out")
    assert not list(tmp_path.glob("out/**/*.png"))
