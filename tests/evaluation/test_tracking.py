"""What a dashboard is told of an evaluation, read back from real files: numbers, histograms, gallery, table
of edits, artifacts.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, config, small_editor
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb_file import WandbFile

from src import checkpoint, evaluate
from src.evaluation.comparison import CaseScores
from src.evaluation.judging import JudgedCase
from src.evaluation.report import Report, read_report, report_row
from src.evaluation.tracking import cases_to_log, edit_table, report_metrics, score_histograms
from src.images import load_image
from src.records import PERSPECTIVES, Case, Reward, Verdict
from src.reward_file import read_rewards

PLACE = "synthetic_edit/oracle"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small editor, evaluated and told to each logger."""
    folder = tmp_path_factory.mktemp("run")
    model = OmegaConf.to_yaml(config(*SMALL).model, resolve=True)
    checkpoint.export(folder / "editor", model, (32, 32), small_editor().state_dict())
    (folder / ".hydra").mkdir()
    (folder / ".hydra/overrides.yaml").write_text("- model/integration=both\n")
    asked = (
        f"checkpoint={folder}/editor",
        "limit=8",
        "sampler.steps=1",
        "logger=[wandb,tensorboard,csv]",
        "logged_cases=3",
        "seed=5",
        "benchmark.ideals=null",
    )
    evaluate.main(config(*asked, name="evaluate"))
    return folder


@pytest.fixture(scope="module")
def told(run: Path) -> WandbFile:
    return WandbFile(run / "evaluation" / PLACE)


def report_in(run: Path) -> Report:
    return read_report(run / "evaluation" / PLACE / "report.json")


def test_every_logger_has_the_numbers_of_the_report(run: Path, told: WandbFile) -> None:
    numbers = report_metrics(report_in(run))
    assert len(numbers) == 4 * (1 + 2 * 3)
    assert numbers[f"{PLACE}/copy_input/preserving/score"] == report_in(run).rows[1].means.preserving.score
    events = EventAccumulator(str(run / "evaluation" / PLACE / "tensorboard"))
    events.Reload()
    with (run / "evaluation" / PLACE / "metrics.csv").open() as file:
        (line,) = csv.DictReader(file)
    for name, value in numbers.items():
        assert told.history[name] == pytest.approx(value)
        assert events.Scalars(name)[0].value == pytest.approx(value)
        assert float(line[name]) == pytest.approx(value)
    assert events.Images(f"{PLACE}/gallery")
    assert events.Histograms(f"{PLACE}/5-5-5/quality/scores")


def test_histograms_hold_every_case(run: Path, told: WandbFile) -> None:
    scores = score_histograms(report_in(run))
    assert len(scores) == 4 * 3
    for name, values in scores.items():
        assert told.history[f"{name}.values"] == np.histogram(values, 20, (0, 5))[0].tolist()
        assert sum(told.history[f"{name}.values"]) == 8


def test_the_table_has_images_scores_and_feedback(run: Path, told: WandbFile) -> None:
    assert told.history[f"{PLACE}/gallery._type"] == "image-file"
    (artifact,) = told.of_type("run_table")
    files = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    table = json.loads(files[f"{PLACE}/edits.table.json"].read_text())
    assert table["columns"] == [
        "id",
        "type",
        "instruction",
        "original",
        *(f"5/5/5 {what}" for what in ("edit", *PERSPECTIVES, "feedback")),
    ]
    assert len(table["data"]) == 3
    rewards = {
        reward.id: reward
        for reward in read_rewards(run / "evaluation/synthetic_edit/5-5-5/oracle/rewards.jsonl")
    }
    for id, _, instruction, original, edit, following, _, quality, feedback in table["data"]:
        assert (original["_type"], edit["_type"]) == ("image-file", "image-file")
        shown, made = load_image(files[original["path"]]), load_image(files[edit["path"]])
        assert shown.shape == (32, 32, 3)
        assert np.array_equal(made, load_image(run / f"evaluation/synthetic_edit/5-5-5/edits/{id}.png"))
        assert instruction
        assert (following, quality) == (
            pytest.approx(rewards[id].following.score),
            pytest.approx(rewards[id].quality.score),
        )
        assert f"following: {rewards[id].following.feedback}" in feedback


def test_lineage_goes_from_the_editor_to_rewards_and_report(run: Path, told: WandbFile) -> None:
    (editor,) = told.of_type("model", used=True)
    assert editor.name == f"editor-{checkpoint.content_hash(run / 'editor')[:12]}"
    assert not told.of_type("model")
    (rewards,) = told.of_type("rewards")
    assert json.loads(rewards.metadata)["row"] == "5/5/5"
    (report,) = told.of_type("report")
    assert {"report.json", "report.md", "gallery.png", "cases.jsonl"} <= {
        entry.path for entry in report.manifest.contents
    }
    assert all(entry.ref for artifact in (editor, rewards, report) for entry in artifact.manifest.contents)
    assert (told.config["seed"], told.config["axes"]) == (5, {"integration": "both"})
    assert "logger" not in told.config


def case(place: int, edit_type: str) -> Case:
    return Case(f"c{place}", np.zeros((2, 2, 3), np.uint8), "edit it", edit_type, "photo")


def test_cases_are_chosen_evenly_over_types_in_their_order() -> None:
    cases = [case(place, edit_type) for place, edit_type in enumerate("aaaabbc")]
    assert [each.id for each in cases_to_log(cases, 5)] == ["c0", "c1", "c4", "c5", "c6"]
    assert cases_to_log(cases, 100) == cases
    assert cases_to_log(cases, 0) == []
    with pytest.raises(ValueError, match="logged_cases=-1"):
        cases_to_log(cases, -1)


def test_what_is_not_known_is_no_number() -> None:
    failed = Reward(
        "c0", "j", "k", Verdict(None, None, "no answer", "failed"), Verdict(4.0), Verdict(3.0, True)
    )
    report = Report("b", "j", "f", (report_row("a row", [JudgedCase("c0", "a", "photo", failed)], {}),))
    told = {
        "b/j/a_row/coverage": 0.0,
        "b/j/a_row/preserving/score": 4.0,
        "b/j/a_row/quality/score": 3.0,
        "b/j/a_row/quality/acc": 1.0,
    }
    assert report_metrics(report) == told
    assert list(score_histograms(report)) == ["b/j/a_row/preserving/scores", "b/j/a_row/quality/scores"]
    assert report.rows[0].cases == (CaseScores("c0", "photo", (None, 4.0, 3.0)),)
    assert edit_table([case(0, "a")], []).titles == ("id", "type", "instruction", "original")
