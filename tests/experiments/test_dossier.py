"""experiments/dossier.py on sweeps that are made up: which runs become which line, the rule of the decisions,
the page and its figures.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from experiments.made_up import controls, data, table4, table5, write_job
from tabulation.hand_made import config, judged, write_run

from experiments.dossier import (
    decision_cell,
    differences_part,
    equal_following_part,
    figures_of,
    main,
    table_of,
)
from experiments.evidence import (
    MARGIN,
    MOVED,
    Claim,
    Entry,
    control_of,
    decide,
    decisions,
    differences_by_seed,
    gate,
    gather,
    papers_differences,
    published_difference,
    share_of_attainable,
    shares_by_following,
)
from experiments.raw_rewards import ENDING, read_evidence
from src.evaluation.comparison import Comparison, compare
from src.evaluation.statistics import Interval
from src.evaluation.strength import Arm, write_arms
from src.images import load_image

RESULTS = Path(__file__).resolve().parents[2] / "experiments/results"


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_job(folder / "stage1", {"5/5/5": (1.35, 4.04, 4.38)}, 0, integration=None, start="")
    table5(folder / "table5", table4(folder / "table4", seeds=2), seeds=2)
    controls(folder / "controls", seeds=2)
    return folder


def names(folder: Path, question: str, *groups: str, **more) -> list[str]:
    return [entry.name for entry in gather(question, [folder / group for group in groups], **more).entries]


def test_every_run_has_its_line(sweeps: Path) -> None:
    below = [
        "permuted rewards",
        "one scalar reward",
        "only all-5 triplets",
        "trained on exact edits",
        "copy input",
        "ideal (no reward)",
        "ideal (5/5/5)",
    ]
    more = {"controls": [sweeps / "controls"], "start": sweeps / "stage1"}
    assert names(sweeps, "table4_reward_signal", "table4", **more) == [
        "none",
        "score",
        "text",
        "score + text",
        "starting weights",
        *below,
    ]
    places = ["none", "attention", "addition", "time embedding", "attention + addition"]
    # its first and last cell are links to runs of table4
    assert names(sweeps, "table5_integration", "table5", **more) == [*places, "starting weights", *below]
    asked = [f"{score}/{score}/{score}" for score in range(6)]
    assert names(sweeps, "table6_inference_score", "table4") == [*asked, "no reward", *below[-3:]]
    # controls in the same folder as the lines, one folder per run
    together = [
        path for name in ("table4", "controls") for path in (sweeps / name).iterdir() if path.is_dir()
    ]
    assert len(gather("table4_reward_signal", together).entries) == 4 + len(below)


def test_the_start_is_found_where_the_runs_say(tmp_path: Path) -> None:
    start = write_job(tmp_path / "stage1", {"5/5/5": (1.0, 4.0, 4.0)}, 0, integration=None, start="")
    write_job(
        tmp_path / "sweep/0", {"5/5/5": (1.0, 4.0, 4.0)}, 0, integration=None, start=str(start / "editor")
    )
    write_job(
        tmp_path / "sweep/1",
        {"5/5/5": (2.0, 4.0, 4.0)},
        0,
        start=str(start / "checkpoints/last.ckpt").replace("checkpoints/last.ckpt", "editor"),
    )
    assert "starting weights" in names(tmp_path, "table4_reward_signal", "sweep")
    write_job(tmp_path / "sweep/2", {"5/5/5": (2.0, 4.0, 4.0)}, 1, start="elsewhere/editor")
    with pytest.raises(
        ValueError, match=r"two lines are called 'score \+ text' and differ otherwise .*start="
    ):
        gather("table4_reward_signal", [tmp_path / "sweep"])


def test_seeds_are_averaged_case_by_case_and_compared_one_by_one(sweeps: Path) -> None:
    evidence = gather("table4_reward_signal", [sweeps / "table4"])
    both, none = evidence.entry("score + text"), evidence.entry("none")
    assert both is not None
    assert none is not None
    rows = [[case.scores[0] for case in row.row.cases] for row in both.rows]
    np.testing.assert_allclose([case.scores[0] for case in both.cases], np.mean(rows, axis=0))
    each = differences_by_seed(both, none)
    expected = [
        np.mean([case.scores[0] for case in both.seeds[seed]])
        - np.mean([case.scores[0] for case in none.seeds[seed]])
        for seed in (0, 1)
    ]
    np.testing.assert_allclose(each[0], expected)
    found = decisions(evidence, Claim("score + text", "none"))
    assert found is not None
    assert found[0].comparison.difference == pytest.approx(np.mean(expected))
    assert decisions(evidence, Claim("score + text", "permuted rewards")) is None
    copy = evidence.entry("copy input")
    assert copy is not None
    assert len(differences_by_seed(both, copy)[0]) == 2  # one row stands beside every seed
    assert published_difference(evidence.question, Claim("score + text", "none"), 0) == pytest.approx(0.62)
    assert published_difference(evidence.question, Claim("score", "one scalar reward"), 0) is None


def test_seeds_that_differ_leave_undecided_what_photographs_alone_would_decide(tmp_path: Path) -> None:
    for seed, following in enumerate((3.0, 1.6, 2.3)):
        write_job(tmp_path / f"{seed}", {"5/5/5": (following, 4.0, 4.0)}, seed)
        write_job(tmp_path / f"{seed + 3}", {"5/5/5": (1.0, 4.0, 4.0)}, seed, integration=None)
        exact = tmp_path / f"{seed + 6}"
        control = "src.data.exact_targets.ExactTargets"
        write_job(exact, {"5/5/5": (4.0, 4.0, 4.0)}, seed, integration=None, control=control)
    evidence = gather("table4_reward_signal", [tmp_path])
    both, none = evidence.entry("score + text"), evidence.entry("none")
    assert both is not None
    assert none is not None
    found = decisions(evidence, Claim("score + text", "none"))
    assert found is not None
    following, alone = found[0], compare("a", both.cases, "b", none.cases)[0]
    assert alone.p_holm is not None
    assert alone.p_holm < 0.05
    assert min(following.by_seed) > 0
    assert following.word == "undecided"
    assert following.comparison.ci95 is not None
    assert alone.ci95 is not None
    assert following.comparison.ci95.low < 0 < alone.ci95.low
    assert following.comparison.deviation == pytest.approx(np.std(following.by_seed, ddof=1))
    assert not following.one_training


def test_a_line_of_one_training_says_so(tmp_path: Path) -> None:
    for seed in range(2):
        write_job(tmp_path / f"{seed}", {"5/5/5": (2.0, 4.0, 4.0)}, seed)
    write_job(tmp_path / "2", {"5/5/5": (1.0, 4.0, 4.0)}, 0, integration=None)
    evidence = gather("table4_reward_signal", [tmp_path])
    both, none = evidence.entry("score + text"), evidence.entry("none")
    assert both is not None
    assert none is not None
    assert len(differences_by_seed(both, none)[0]) == 2  # the single training stands beside every other
    found = decisions(evidence, Claim("score + text", "none"))
    assert found is not None
    assert found[0].one_training
    assert ", for this one training" in decision_cell(found[0])
    assert "as its spread over seeds is not known: none." in "".join(differences_part(evidence))


def test_controls_are_known_by_their_config() -> None:
    for node, name in [
        ({"_target_": "src.data.permuted.PermutedRewards"}, "permuted rewards"),
        ({"_target_": "src.data.permuted.PermutedRewards", "share": 0.25}, "25 % permuted rewards"),
        ({"_target_": "src.data.best_rated.BestRated", "share": 0.0375}, "only the best rated"),
    ]:
        assert control_of({"data": {"control": node}}) == name
        assert control_of({"data": {"dataset": node}}) == name  # as runs once had it
    assert control_of({"data": {"dataset": {"_target_": "src.data.synthetic.SyntheticTriplets"}}}) is None
    assert control_of(None) is None


CLEAR = Comparison("a", "b", "following", True, 48, 8, 48, 8, 0.5, Interval(0.3, 0.7), 0.0078, 0.0234, 0.2)
SMALL = replace(CLEAR, difference=0.05, ci95=Interval(-0.05, 0.15), p_holm=0.3)


@pytest.mark.parametrize(
    ("comparison", "seeds", "papers", "denied", "word"),
    [
        (CLEAR, (0.4, 0.6), 0.6, False, "confirmed"),
        (CLEAR, (1.1, -0.1), 0.6, False, "undecided"),  # the photographs decide, the seeds disagree
        (replace(CLEAR, difference=-0.5, ci95=Interval(-0.7, -0.3)), (-0.4, -0.6), 0.6, False, "contrary"),
        (SMALL, (0.1, 0.0), 0.6, False, "not confirmed"),  # 0.6 lies above the interval
        (SMALL, (0.1, 0.0), 0.12, False, "undecided"),
        (SMALL, (0.1, 0.0), None, False, "undecided"),  # MARGIN lies within
        (replace(SMALL, ci95=Interval(-0.05, MARGIN - 0.01)), (0.1,), -0.3, False, "not confirmed"),
        (CLEAR, (0.4, 0.6), None, True, "contrary"),
        (SMALL, (0.1, 0.0), None, True, "undecided"),
        (replace(SMALL, ci95=Interval(-0.05, MARGIN - 0.01)), (0.1,), None, True, "confirmed"),
        (replace(CLEAR, difference=-0.5, ci95=Interval(-0.7, -0.3)), (-0.5,), None, True, "confirmed"),
        (replace(CLEAR, p=None, p_holm=None, ci95=None), (0.5,), None, False, "undecided"),
    ],
)
def test_the_rule(
    comparison: Comparison, seeds: tuple[float, ...], papers: float | None, denied: bool, word: str
) -> None:
    assert decide(comparison, seeds, papers, denied).word == word


def assay(difference: float, low: float) -> Comparison:
    """Training on exact edits against no reward."""
    return replace(CLEAR, difference=difference, ci95=Interval(low, difference + 0.3))


@pytest.mark.parametrize(
    ("exact", "plain", "ideals", "needed", "failing"),
    [
        (assay(0.62, 0.01), 2.2, (2.5, 5.0), 0.62, []),
        (assay(0.61, 0.01), 2.2, (2.5, 5.0), 0.62, ["assay"]),
        (assay(0.62, 0.0), 2.2, (2.5, 5.0), 0.62, ["assay"]),  # the interval must lie above 0
        (assay(-0.9, -1.2), 2.2, (2.5, 5.0), 0.62, ["assay"]),
        # ideal rows 0.62 apart leave the paper's difference, 0.6 apart half of theirs
        (assay(0.61, 0.5), 2.2, (2.5, 3.12), 0.62, ["assay"]),
        (assay(0.31, 0.2), 2.2, (2.5, 3.1), 0.30, []),
        (assay(0.29, 0.2), 2.2, (2.5, 3.1), 0.30, ["assay"]),
        (assay(0.1, 0.05), 2.2, (2.5, 2.4), 0.0, []),
        # no reward within 0.4 of its ideal, on both sides
        (assay(0.9, 0.5), 2.1, (2.5, 5.0), 0.62, []),
        (assay(0.9, 0.5), 2.09, (2.5, 5.0), 0.62, ["convergence"]),
        (assay(0.9, 0.5), 2.91, (2.5, 5.0), 0.62, ["convergence"]),
        (assay(0.1, 0.05), 1.0, (2.5, 5.0), 0.62, ["assay", "convergence"]),
        # a row that is needed is missing
        (None, 2.2, (2.5, 5.0), 0.62, ["assay"]),
        (replace(CLEAR, ci95=None), 2.2, (2.5, 5.0), 0.62, ["assay"]),
        (assay(0.9, 0.5), None, (2.5, 5.0), 0.62, ["convergence"]),
        (assay(0.9, 0.5), 2.2, (None, 5.0), 0.62, ["convergence"]),
        (assay(0.9, 0.5), 2.2, (2.5, None), 0.62, []),
        (assay(0.5, 0.4), 2.2, (2.5, None), 0.62, ["assay"]),
    ],
)
def test_the_gates(
    exact: Comparison | None,
    plain: float | None,
    ideals: tuple[float | None, float | None],
    needed: float,
    failing: list[str],
) -> None:
    found = gate(exact, plain, ideals, 0.62)
    assert found.needed == pytest.approx(needed)
    assert [each.partition(":")[0].split()[0] for each in found.failed] == failing
    assert found.sensitive == ("assay" not in failing)


def test_a_failed_gate_names_both_values() -> None:
    both = gate(assay(0.14, 0.09), 1.06, (2.62, 5.0), 0.84).failed
    assert both == (
        "assay sensitivity: exact edits less no reward +0.14 [+0.09, +0.44], needed +0.84",
        "convergence: no reward 1.06, ideal (no reward) 2.62, more than 0.4 apart",
    )
    assert gate(None, 1.0, (None, None), 0.84).failed == (
        "assay sensitivity: no row 'trained on exact edits' beside no reward",
        "convergence: no row 'ideal (no reward)'",
    )


def test_gates_ask_for_the_paper_s_differences() -> None:
    assert papers_differences() == pytest.approx((0.62, 0.84, 0.65))


def test_where_a_gate_fails_nothing_is_decided_and_no_share_is_given(sweeps: Path) -> None:
    evidence = gather("table4_reward_signal", [sweeps / "table4"], [sweeps / "controls"])
    both, none, exact = (evidence.entry(name) for name in ("score + text", "none", "trained on exact edits"))
    assert both is not None
    assert none is not None
    assert exact is not None
    for claim in evidence.question.claims:
        found = decisions(evidence, claim)
        assert found is None or [each.word for each in found[1:]] == ["void", "void"]
        assert found is None or found[0].word != "void"
    following, *rest = share_of_attainable(evidence, both)
    gained, attainable = (compare("a", each.cases, "b", none.cases)[0].difference for each in (both, exact))
    assert gained is not None
    assert following == pytest.approx(gained / attainable)
    assert rest == [None, None]
    # without the row of exact edits nothing is decided at all
    without = gather("table4_reward_signal", [sweeps / "table4"])
    found = decisions(without, Claim("score + text", "none"))
    assert found is not None
    assert [each.word for each in found] == ["void"] * 3
    assert share_of_attainable(without, both) == (None, None, None)


def test_a_dossier_says_everything(sweeps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "table4.md"
    main(
        [
            "table4_reward_signal",
            str(sweeps / "table4"),
            "--controls",
            str(sweeps / "controls"),
            "-o",
            str(target),
        ]
    )
    text = target.read_text()
    assert "score + text above none: following confirmed: +0." in capsys.readouterr().out
    assert (
        "    python -m src.train +experiment=reward_synthetic +sweep=table4_reward_signal seed=0,1,2\n"
        in text
    )
    # 8 + 8 runs of a quarter of an hour; 8 of them are in a sweep that noted 90 s of evaluation each
    assert "- Time: 4.0 h of training, 0.2 h of evaluating, all runs together" in text
    assert "- Runs: 16, 2 seeds per row" in text
    assert "- Commit: 0123456\n" in text
    assert "| permuted rewards not above none |" in text
    assert "Not decided, as one of the lines was not run: score + text above starting weights." in text
    assert "| *none* | *paper, Table 4* | *49 %* | *2.77* |" in text
    assert "| permuted rewards | control, 2 seeds |" in text
    assert "of 8 photographs none is below 0.0234" in text
    assert "| score + text above none | share | F mean | F part |" in text
    assert "| follows alike | " in text
    assert "## Gates" in text
    assert "| share of the attainable | following |" in text
    assert "preserving **void**: -0." in text
    assert "(assay sensitivity: exact edits less no reward +0." in text
    assert "Holm's correction over the" not in text  # one correction, that of the dossier
    for name in ("table4.png", "table4_curves.png"):
        assert f"]({name})" in text
        assert load_image(target.with_name(name)).std() > 5


def tables_in(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def test_a_page_follows_from_its_raw_rewards(sweeps: Path, tmp_path: Path) -> None:
    folders = [str(sweeps / "table4"), "--controls", str(sweeps / "controls")]
    main(["table4_reward_signal", *folders, "-o", str(tmp_path / "page.md")])
    rewards = tmp_path / "page.rewards.jsonl.gz"
    again = tables_in("\n".join(figures_of(read_evidence(rewards))))
    assert len(again) > 40
    assert again == tables_in((tmp_path / "page.md").read_text())
    before = rewards.read_bytes()
    main(["table4_reward_signal", *folders, "-o", str(tmp_path / "page.md")])
    assert rewards.read_bytes() == before
    rewards.write_bytes(before[:200])
    with pytest.raises(ValueError, match=r"does not hold the raw rewards of a page"):
        read_evidence(rewards)


@pytest.mark.parametrize("rewards", sorted(RESULTS.glob(f"*{ENDING}")), ids=lambda path: path.name)
def test_published_pages_follow_from_their_raw_rewards(rewards: Path) -> None:
    page = rewards.with_name(rewards.name.removesuffix(ENDING) + ".md").read_text()
    missing = [line for line in tables_in("\n".join(figures_of(read_evidence(rewards)))) if line not in page]
    assert not missing


def test_lines_are_compared_at_equal_following(sweeps: Path, tmp_path: Path) -> None:
    for seed in range(2):
        write_job(tmp_path / f"{seed}", {"5/5/5": (2.0, 4.0, 4.0)}, seed)
        write_job(tmp_path / f"{seed + 2}", {"5/5/5": (1.0, 4.0, 4.0)}, seed, integration=None)
    evidence = gather("table4_reward_signal", [tmp_path])
    assert equal_following_part(evidence) == []
    for entry in evidence.entries[:2]:
        for row in entry.rows:
            weaker = tuple(
                replace(case, scores=(0.5 * (case.scores[0] or 0.0), 5.0, 5.0)) for case in row.row.cases
            )
            nothing = tuple(replace(case, scores=(0.0, 5.0, 5.0)) for case in row.row.cases)
            arm = Arm("5/5/5", (0.0, 0.5, 1.0), (nothing, weaker, row.row.cases))
            write_arms(row.report.folder, [arm], "oracle", "oracle 2")
    _, table, note = equal_following_part(evidence)
    assert "| score + text | none | " in table
    assert "seeds" in note


def test_a_difference_is_taken_apart_by_what_became_of_following(sweeps: Path) -> None:
    evidence = gather("table4_reward_signal", [sweeps / "table4"])
    both, none = evidence.entry("score + text"), evidence.entry("none")
    assert both is not None
    assert none is not None
    shares = shares_by_following(both, none)
    assert sum(each.share for each in shares) == pytest.approx(1.0)
    for index, whole in enumerate(compare("a", both.cases, "b", none.cases)):
        assert sum(each.parts[index] for each in shares) == pytest.approx(whole.difference)
    better, alike, worse = shares
    assert better.means[0] is not None
    assert better.means[0] >= MOVED
    assert better.parts[0] == pytest.approx(better.share * better.means[0])
    assert worse.parts[0] <= -MOVED * worse.share
    assert [each.share for each in shares_by_following(none, both)] == pytest.approx(
        [worse.share, alike.share, better.share]
    )


def test_cases_that_were_not_judged_are_in_no_part(sweeps: Path) -> None:
    evidence = gather("table4_reward_signal", [sweeps / "table4"])
    both, none = evidence.entry("score + text"), evidence.entry("none")
    assert both is not None
    assert none is not None

    def cut(entry: Entry, *scores: tuple[float | None, float, float]) -> Entry:
        row = entry.rows[0]
        cases = tuple(replace(case, scores=each) for case, each in zip(row.row.cases, scores, strict=False))
        return replace(entry, rows=(replace(row, row=replace(row.row, cases=cases)),))

    better, alike, worse = shares_by_following(
        cut(both, (3.0, 4.0, 2.0), (2.0, 4.0, 4.0), (None, 1.0, 1.0)),
        cut(none, (1.0, 4.0, 5.0), (2.0, 5.0, 4.0), (0.0, 5.0, 5.0)),
    )
    assert (better.share, better.means, better.parts) == (0.5, (2.0, 0.0, -3.0), (1.0, 0.0, -1.5))
    assert (alike.share, alike.means, alike.parts) == (0.5, (0.0, -1.0, 0.0), (0.0, -0.5, 0.0))
    assert (worse.share, worse.means, worse.parts) == (0.0, (None, None, None), (0.0, 0.0, 0.0))


def test_a_single_validation_makes_no_curve(tmp_path: Path) -> None:
    table4(tmp_path / "short", seeds=1)
    for job in range(4):
        metrics = tmp_path / f"short/{job}/metrics.csv"
        metrics.write_text(
            "\n".join([*metrics.read_text().splitlines()[:2], metrics.read_text().splitlines()[-1]]) + "\n"
        )
    main(["table4_reward_signal", str(tmp_path / "short"), "-o", str(tmp_path / "table4.md")])
    assert [path.name for path in tmp_path.glob("*.png")] == ["table4.png"]
    assert "curves" not in (tmp_path / "table4.md").read_text()


def test_other_figures(sweeps: Path, tmp_path: Path) -> None:
    (tmp_path / "reading.txt").write_text("Low scores spoil what should stay.\n")
    main(
        [
            "table6_inference_score",
            str(sweeps / "table4"),
            "--reading",
            str(tmp_path / "reading.txt"),
            "-o",
            str(tmp_path / "table6.md"),
        ]
    )
    text = (tmp_path / "table6.md").read_text()
    assert "5/5/5 above 0/0/0" in text
    assert "\n**Reading.** Low scores spoil what should stay.\n\n" in text
    assert [path.name for path in tmp_path.glob("*.png")] == ["table6.png"]


def test_a_world_without_good_triplets_has_no_paper_beside_it(sweeps: Path, tmp_path: Path) -> None:
    for number, (control, means) in enumerate(
        [(None, 1.0), ("src.data.best_rated.BestRated", 1.4), ("src.data.exact_targets.ExactTargets", 3.0)]
    ):
        write_job(tmp_path / str(number), {"5/5/5": (means, 4.0, 4.0)}, 0, integration=None, control=control)
    write_job(tmp_path / "3", {"5/5/5": (2.5, 4.0, 4.0)}, 0)
    (tmp_path / "4").mkdir()
    (tmp_path / "4/run.json").write_text('{"status": "running"}')
    evidence = gather("never_all_good", [tmp_path])
    assert [entry.name for entry in evidence.entries] == [
        "none",
        "score + text",
        "only the best rated",
        "trained on exact edits",
        "copy input",
        "ideal (no reward)",
        "ideal (5/5/5)",
    ]
    assert not any(line.published for line in table_of(evidence).lines)
    assert evidence.missing == (tmp_path / "4",)
    found = decisions(evidence, Claim("score + text", "only the best rated"))
    assert found is not None
    # exact edits are no better in preserving and quality
    assert [each.word for each in found] == ["confirmed", "void", "void"]


def test_lines_of_chosen_triplets_are_named_by_what_chose_them(tmp_path: Path) -> None:
    chosen = {"kept by the judge": ("Top", "reward_model", 2.0), "drawn at random": ("Random", "oracle", 1.4)}
    chosen |= {"kept by the exact judge": ("Top", "oracle", 2.5)}
    for number, (rule, judge, means) in enumerate(chosen.values()):
        folder = tmp_path / f"choice{number}"
        folder.mkdir()
        record = {"request": {"curation": {"_target_": f"src.curation.rules.{rule}"}}, "judge": judge}
        (folder / "curation.json").write_text(json.dumps(record))
        node = data(None) | {"only": str(folder / "selection.jsonl")}
        write_job(tmp_path / f"runs/{number}", {"5/5/5": (means, 4.0, 4.0)}, 0, integration=None, data=node)
    write_job(tmp_path / "runs/3", {"5/5/5": (1.5, 4.0, 4.0)}, 0, integration=None)
    write_job(tmp_path / "runs/4", {"5/5/5": (2.2, 4.0, 4.0)}, 0)
    evidence = gather("retraining", [tmp_path / "runs"])
    assert [entry.name for entry in evidence.entries if not entry.control] == [
        "all",
        "all, with rewards",
        *chosen,
    ]
    every = evidence.entry("all")
    assert every is not None
    assert evidence.gates[0].plain == every.rows[0].row.means.summaries[0].score  # no reward, of the gates
    record = {"request": {"curation": {"_target_": "src.curation.rules.Pareto"}}, "judge": "gpt4o"}
    (tmp_path / "choice0/curation.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="no line for rows chosen by Pareto and the judge gpt4o"):
        gather("retraining", [tmp_path / "runs"])


def test_what_is_refused(sweeps: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        gather("table4_reward_signal", [tmp_path / "nothing"])
    with pytest.raises(FileNotFoundError, match="holds no run"):
        gather("table4_reward_signal", [tmp_path])
    (tmp_path / "0").mkdir()
    (tmp_path / "0/run.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"has been evaluated; run python -m src\.evaluate"):
        gather("table4_reward_signal", [tmp_path])
    write_run(
        tmp_path / "other",
        {"5/5/5": judged([1.0] * 4, [4.0] * 4, [5.0] * 4)},
        config(),
        "oracle",
        "oracle 2",
        "synthetic_edit",
    )
    with pytest.raises(
        ValueError, match=r"is over 48 cases and row '5/5/5' of .*other over 4, which are not comparable"
    ):
        gather("table4_reward_signal", [sweeps / "table4"], start=tmp_path / "other")
    write_run(
        tmp_path / "another",
        {"5/5/5": judged([1.0] * 4, [4.0] * 4, [5.0] * 4)},
        config(),
        "oracle",
        "oracle 2n",
        "synthetic_edit",
    )
    with pytest.raises(ValueError, match="another were judged by different judges or versions of one"):
        gather("table4_reward_signal", [sweeps / "table4"], start=tmp_path / "another")
    with pytest.raises(ValueError, match=r"none of .* has a row like 3/3/3"):
        gather("table6_inference_score", [sweeps / "controls"])
    with pytest.raises(ValueError, match="no question table9"):
        gather("table9", [sweeps / "table4"])
    with pytest.raises(ValueError, match="a dossier is Markdown"):
        main(["table4_reward_signal", str(sweeps / "table4"), "-o", "table4.txt"])
