"""Best-of-N through the real command: candidate 0 is the ordinary edit, nothing is made or judged twice, a
kill changes nothing.
"""

import json
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, config, small_editor
from evaluation.squares import Ruler, Squares
from hydra.utils import instantiate
from killing import Command, finished, lines_in
from omegaconf import OmegaConf

from src import checkpoint, evaluate
from src.evaluation.benchmark import Benchmark
from src.evaluation.best_of_n import (
    BestOf,
    best_of_n_section,
    candidate,
    choose_best,
    curves_of,
    is_paid,
    read_choices,
    write_choices,
)
from src.evaluation.generation import start_generation
from src.evaluation.generation_folder import Generation
from src.evaluation.judging import JudgedCase, judge_row
from src.evaluation.selection import Selection
from src.images import load_image, save_png
from src.judges.ensemble import EnsembleJudge
from src.judges.judge import Judge
from src.records import Case
from src.reward_file import iter_rewards, read_rewards

CASES, N = 7, 3
ROW = "5/5/5 best of 3 by noisy_oracle"
QUICK = (
    f"limit={CASES}",
    "batch_size=3",
    "sampler.steps=1",
    f"best_of={N}",
    "judge@selector=noisy_oracle",
    "benchmark.ideals=null",
)


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("editor") / "editor"
    checkpoint.export(
        folder, OmegaConf.to_yaml(config(*SMALL).model, resolve=True), (32, 32), small_editor().state_dict()
    )
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, editor: Path) -> Path:
    """An evaluation without a kill."""
    run = tmp_path_factory.mktemp("whole")
    text = finished("src.evaluate", *QUICK, f"checkpoint={editor}", f"output={run}", log=run / "log")
    assert "best_of_n.png" in text
    return run / "evaluation/synthetic_edit"


def evaluate_with(editor: Path, run: Path, *overrides: str) -> None:
    evaluate.main(config(*QUICK, f"checkpoint={editor}", f"output={run}", *overrides, name="evaluate"))


def results(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_and_rows(whole: Path) -> None:
    report = json.loads((whole / "oracle/report.json").read_text())
    assert [row["name"] for row in report["rows"]][:2] == ["5/5/5", ROW]
    assert report["rows"][1]["made_by"]["best_of"]["selector"] == "noisy_oracle"
    assert (whole / "oracle/best_of_n.png").stat().st_size > 10_000
    text = (whole / "oracle/report.md").read_text()
    assert f"| {ROW} | mean |" in text
    assert "made differently" not in text
    folders = [whole / "5-5-5", whole / "5-5-5/candidates/1", whole / "5-5-5/candidates/2"]
    images = [
        {path.name: path.read_bytes() for path in (folder / "edits").glob("*.png")} for folder in folders
    ]
    assert [len(each) for each in images] == [CASES] * N
    assert all(len({each[name] for each in images}) == N for name in images[0])


def test_the_row_holds_the_selectors_choices_as_the_judge_sees_them(whole: Path) -> None:
    folders = [whole / "5-5-5", whole / "5-5-5/candidates/1", whole / "5-5-5/candidates/2"]
    seen = [
        {reward.id: reward for reward in read_rewards(folder / "noisy_oracle/rewards.jsonl")}
        for folder in folders
    ]
    row = whole / "5-5-5_best_of_3_by_noisy_oracle"
    rewards = {reward.id: reward for reward in read_rewards(row / "oracle/rewards.jsonl")}
    assert len(rewards) == CASES
    counts = [0] * N
    for name in seen[0]:
        sums = [sum(verdict.score or 0.0 for verdict in each[name].verdicts) for each in seen]
        number = sums.index(max(sums))
        counts[number] += 1
        assert (row / f"edits/{name}.png").read_bytes() == (
            folders[number] / f"edits/{name}.png"
        ).read_bytes()
        (scored,) = [
            reward for reward in read_rewards(folders[number] / "oracle/rewards.jsonl") if reward.id == name
        ]
        assert rewards[name] == scored
    (choice,) = json.loads((whole / "oracle/best_of_n.json").read_text())["rows"]
    assert (choice["counts"], choice["cases"], choice["failed"], choice["tied"]) == (counts, CASES, 0, 0)
    # without ties, the curve ends at the row's own means
    report = json.loads((whole / "oracle/report.json").read_text())
    for curve in choice["curves"][1:]:
        assert curve["chosen"][-1]["score"] == pytest.approx(report["rows"][1][curve["of"]]["score"])
    assert choice["curves"][0]["ceiling"][-1]["score"] >= choice["curves"][0]["chosen"][-1]["score"]


def test_killed_in_the_making_and_in_the_choosing_then_finished_by_two_ranks(
    tmp_path: Path, editor: Path, whole: Path
) -> None:
    folder = tmp_path / "evaluation/synthetic_edit"

    def start(environment: dict[str, str] | None = None) -> Command:
        return Command(
            "src.evaluate",
            *QUICK,
            f"checkpoint={editor}",
            f"output={tmp_path}",
            log=tmp_path / "log",
            environment=environment,
        )

    assert start().killed_when(lambda: len(list((folder / "5-5-5/candidates/1/edits").glob("w*.png"))) >= 4)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    first, second = (start({**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2))
    assert first.killed_when(lines_in(folder / "5-5-5/candidates/2/noisy_oracle/rewards.jsonl", 3))
    assert second.ended() == 0
    assert start().ended() == 0
    assert results(folder) == results(whole)
    for path in folder.rglob("rewards.jsonl"):
        assert len(list(iter_rewards(path))) == len(read_rewards(path)) == CASES


def test_more_candidates_keep_the_first_ones(tmp_path: Path, editor: Path, whole: Path) -> None:
    folder = tmp_path / "evaluation/synthetic_edit"
    shutil.copytree(whole, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("5-5-5*/**/*.png")}
    evaluate_with(editor, tmp_path, "best_of=4", "selection.weights=[1,0,0]", "steps=[generate,judge,report]")
    after = {path: path.stat().st_mtime_ns for path in folder.glob("5-5-5*/**/*.png")}
    assert {path: after[path] for path in before} == before
    assert len(list((folder / "5-5-5/candidates/3/edits").glob("*.png"))) == CASES
    rows = [row["name"] for row in json.loads((folder / "oracle/report.json").read_text())["rows"]]
    assert rows[:3] == ["5/5/5", ROW, "5/5/5 best of 4 by noisy_oracle for following"]
    kept = [row["row"] for row in json.loads((folder / "oracle/best_of_n.json").read_text())["rows"]]
    assert kept == rows[1:3]
    with pytest.raises(
        ValueError, match="other_noise has not judged 28 of 28 candidates of 5/5/5; add judge to steps"
    ):
        evaluate_with(
            editor, tmp_path, "best_of=4", "selector.name=other_noise", "selector.seed=1", "steps=[report]"
        )


def test_a_changed_selector_brings_the_row_up_to_date(
    tmp_path: Path, editor: Path, whole: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(whole, tmp_path / "evaluation/synthetic_edit")
    evaluate_with(editor, tmp_path, "selector.deviation=4")
    assert f"note: {ROW} was chosen otherwise before" in capsys.readouterr().err
    (choice,) = json.loads((tmp_path / "evaluation/synthetic_edit/oracle/best_of_n.json").read_text())["rows"]
    assert choice != json.loads((whole / "oracle/best_of_n.json").read_text())["rows"][0]


def test_the_chosen_edits_are_measured(tmp_path: Path, editor: Path, whole: Path) -> None:
    folder = tmp_path / "evaluation/synthetic_edit"
    shutil.copytree(whole, folder)
    evaluate_with(editor, tmp_path, "image_metrics=pixels")
    ordinary, chosen = json.loads((folder / "oracle/report.json").read_text())["rows"][:2]
    assert chosen["name"] == ROW
    assert list(chosen["image_metrics"]) == list(ordinary["image_metrics"])
    benchmark: Benchmark = instantiate(config(name="evaluate").benchmark)
    expected = []
    for case in benchmark.cases()[:CASES]:
        edited, target = (
            load_image(folder / f"5-5-5_best_of_3_by_noisy_oracle/edits/{case.id}.png"),
            benchmark.ground_truth(case),
        )
        assert target is not None
        expected.append(np.abs(edited.astype(float) - target).mean() / 255)
    measured = chosen["image_metrics"]["magicbrush/l1"]
    assert (measured["n"], measured["mean"]) == (CASES, pytest.approx(np.mean(expected), abs=1e-6))
    assert measured["mean"] != ordinary["image_metrics"]["magicbrush/l1"]["mean"]
    # a second report measures nothing anew
    line = (folder / "5-5-5_best_of_3_by_noisy_oracle/metrics.jsonl").read_bytes()
    evaluate_with(editor, tmp_path, "image_metrics=pixels", "steps=[report]", "gallery=[5/5/5]")
    assert json.loads((folder / "oracle/report.json").read_text())["rows"][1] == chosen
    assert (folder / "5-5-5_best_of_3_by_noisy_oracle/metrics.jsonl").read_bytes() == line


def test_without_the_curve_only_the_choice_is_judged(tmp_path: Path, editor: Path, whole: Path) -> None:
    folder = tmp_path / "evaluation/synthetic_edit"
    shutil.copytree(whole, folder)
    for path in [
        *folder.glob("5-5-5/**/oracle"),
        folder / "5-5-5_best_of_3_by_noisy_oracle",
        folder / "oracle",
    ]:
        shutil.rmtree(path)
    evaluate_with(editor, tmp_path, "best_of_curve=false")
    (choice,) = json.loads((folder / "oracle/best_of_n.json").read_text())["rows"]
    assert choice["curves"] == []
    assert not (folder / "oracle/best_of_n.png").exists()
    asked = [
        len(read_rewards(path)) for path in sorted(folder.glob("5-5-5/candidates/*/oracle/rewards.jsonl"))
    ]
    assert sum(asked) == sum(choice["counts"][1:])
    rows, old = (json.loads((where / "oracle/report.json").read_text())["rows"] for where in (folder, whole))
    assert rows[1] == old[1]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["~judge@selector"], "best_of=3 needs a judge that chooses: say judge@selector=NAME"),
        (["best_of=0"], "best_of=0: say how many edits"),
        (["best_of=2.5"], "best_of=2.5: say how many edits"),
        (
            ["checkpoint=null", "edits=somewhere"],
            "best_of=3 makes 3 edits of each case and needs checkpoint=PATH",
        ),
        (["selection.weights=[0,0,0]"], r"selection\.weights=\[0.0, 0.0, 0.0\]: weights are 0 or more"),
        (["selector.deviation=-1"], "deviation=-1 is not possible"),
        (["steps=[judge,report]"], "edits are missing below .*5/5/5 candidate 1 7"),
    ],
)
def test_requests_that_are_refused(tmp_path: Path, editor: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(Exception, match=message):
        evaluate_with(editor, tmp_path, *overrides)
    assert not list(tmp_path.rglob("*.png"))


# --- with a judge whose answers are known
# --------------------------------------------------------------------------------------------------


def squares_with(folder: Path, greys: list[list[int]]) -> Generation:
    """Candidates of the squares benchmark, plain grey; `greys` by candidate and case."""
    generation = Generation("5/5/5", folder / "5-5-5", folder / "5-5-5/edits")
    for number, row in enumerate(greys):
        each = candidate(generation, number)
        start_generation(each, {"name": each.name}, overwrite=False)
        for case, grey in zip(Squares().cases(), row, strict=True):
            save_png(np.full((16, 16, 3), grey, np.uint8), each.edit_path(case))
    return generation


class Fussy(Ruler):
    """A ruler that fails on images of certain greys."""

    name = "fussy"

    def __init__(self, *greys: int) -> None:
        super().__init__("fussy-1")
        self.greys = greys

    def _one(self, triplet):
        self.fails = [triplet.case.id] if triplet.edited[0, 0, 0] in self.greys else []
        return super()._one(triplet)


def asked(judge: Judge, generation: Generation, cases: Sequence[Case]) -> list[JudgedCase]:
    """As src.evaluate asks."""
    return judge_row(
        generation.triplets(cases),
        len(cases),
        judge,
        generation.folder / judge.name / "rewards.jsonl",
        generation.name,
        4,
    )


def outcome(folder: Path, greys: list[list[int]], selector: Judge, judge: Judge, curve: bool = True):
    best = BestOf(len(greys), selector, Selection([1, 0, 0]), curve)
    return choose_best(squares_with(folder, greys), Squares().cases(), best, judge, asked)


def test_failed_verdicts_of_the_selector_are_never_chosen_unless_all_failed(tmp_path: Path) -> None:
    cases = len(Squares().cases())
    # the selector can't read 200, which would be perfect; of case 0 it can't read any
    greys = [[190] * cases, [200] * cases, [195] * cases]
    for row in greys:
        row[0] = 7
    row, judged, choice = outcome(tmp_path, greys, Fussy(7, 200), Ruler())
    assert (choice.failed, choice.all_failed, choice.tied, choice.counts) == (
        cases + 2,
        1,
        0,
        (1, 0, cases - 1),
    )
    assert all(one.reward is not None for one in judged)
    assert not choice.optimistic
    write_choices(tmp_path / "ruler", [choice], Ruler())
    assert "14 of 36, all of 1 case(s)" in "".join(best_of_n_section(tmp_path / "ruler", "ruler-1"))
    assert (row.folder / "ruler/rewards.jsonl").exists()


def test_ties_are_counted_and_fall_to_the_lowest_number(tmp_path: Path) -> None:
    cases = len(Squares().cases())
    greys = [[100] * cases, [190] * cases, [210] * cases]
    _, _, choice = outcome(tmp_path, greys, Ruler(), Ruler())
    assert (choice.tied, choice.counts, choice.optimistic) == (cases, (0, cases, 0), True)
    write_choices(tmp_path / "ruler", [choice], Ruler())
    text = "".join(best_of_n_section(tmp_path / "ruler", "ruler-1"))
    assert "100.0 %" in text
    assert "chosen and scored by the same judge" in text


def test_each_candidate_is_judged_once_by_each_judge(tmp_path: Path) -> None:
    cases = len(Squares().cases())
    greys, selector, judge = [[100] * cases, [190] * cases], Fussy(), Ruler()
    for _ in range(2):
        outcome(tmp_path, greys, selector, judge)
        assert (selector.asked, judge.asked) == (2 * cases, 2 * cases)
    both = Ruler("ruler-2")
    outcome(tmp_path, greys, both, both)
    assert both.asked == 2 * cases


def test_failures_of_the_scoring_judge_leave_the_curve_and_stay_in_the_row(tmp_path: Path) -> None:
    cases = len(Squares().cases())
    greys = [[100] * cases, [190] * cases]
    greys[1][3] = 7
    _, judged, choice = outcome(tmp_path, greys, Ruler(), Fussy(7, 100))
    # every case's candidate 0 fails, so no case has an unbiased mean
    assert [curve.n for curve in choice.curves] == [0, 0, 0]
    assert sum(one.reward is not None and one.reward.failed for one in judged) == 1
    write_choices(tmp_path / "fussy", [choice], Fussy())
    assert "| following | - |" in "".join(best_of_n_section(tmp_path / "fussy", "fussy-1"))


def test_curves_of_three_cases_by_hand() -> None:
    scores = np.array([[[4.0] * 3, [2.0] * 3], [[1.0] * 3, [3.0] * 3], [[0.0] * 3, [5.0] * 3]])
    preference = np.array([[1, 0], [1, 0], [0, 1]])  # wrong about the second case
    curve, *others = curves_of(preference, scores, ["a", "b", "b"], Selection())
    assert [each.of for each in (curve, *others)] == ["mean", "following", "preserving", "quality"]
    assert [point.score for point in curve.chosen] == pytest.approx([2.5, 10 / 3])
    assert [point.score for point in curve.ceiling] == pytest.approx([2.5, 4.0])
    assert (curve.n, curve.clusters, curve.gain) == (3, 2, pytest.approx(5 / 6))
    assert curve.gain_ci95 is not None
    assert curve.gain_ci95.low < 5 / 6 < curve.gain_ci95.high


def test_only_judges_with_a_price_are_paid(tmp_path: Path) -> None:
    from hydra.utils import instantiate

    paid, own = (
        instantiate(config(f"judge={name}", f"ledger={tmp_path}/ledger", name="evaluate").judge)
        for name in ("gpt4o", "oracle")
    )
    assert [
        is_paid(paid),
        is_paid(own),
        is_paid(EnsembleJudge({"a": own, "b": paid})),
        is_paid(EnsembleJudge({"a": own, "b": own})),
    ] == [
        True,
        False,
        True,
        False,
    ]


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "best_of_n.json").write_text("[]")
    with pytest.raises(ValueError, match=r"best_of_n\.json is not a record"):
        read_choices(tmp_path, "x")
