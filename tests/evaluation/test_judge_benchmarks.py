"""Published figures of judges come out of real answers; rows and answers that contradict are found.

The answers are excerpts under their own licences (reward_benchmarks/LICENSES). Where all of the data lie
beside the checkout (shared/data/reward_benchmarks, or REWARD_BENCHMARKS), MMRB2's are measured, too.
"""

import gzip
import io
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL.Image
import pytest
from conftest import config
from reward_models.made import write_reward_model

from src import evaluate_judge
from src.data.synthetic_contests import SyntheticContests
from src.evaluate_judge import board, known_ids
from src.evaluation.judge_benchmarks.answer_files import read_answers
from src.evaluation.judge_benchmarks.answers import Answers
from src.evaluation.judge_benchmarks.asking import ask
from src.evaluation.judge_benchmarks.aurora import Aurora
from src.evaluation.judge_benchmarks.benchmark import JudgeBenchmark
from src.evaluation.judge_benchmarks.erb_editscore import TASKS, ERBEditScore
from src.evaluation.judge_benchmarks.erb_tiger import ERBTiger
from src.evaluation.judge_benchmarks.genai_bench import GenAIBench
from src.evaluation.judge_benchmarks.imagenhub import ImagenHub
from src.evaluation.judge_benchmarks.metric import JudgeMetric, MeasureOptions
from src.evaluation.judge_benchmarks.mmrb2 import MMRB2
from src.evaluation.judge_benchmarks.own_contests import OwnContests, ranked_pairs
from src.evaluation.judge_benchmarks.published import published_figures
from src.evaluation.judge_benchmarks.replies import released_verdict, spoken_verdict
from src.evaluation.judge_benchmarks.report import (
    JudgeReport,
    make_report,
    read_judge_report,
    write_judge_report,
)
from src.judges.judge import reward_key
from src.records import ASPECTS, Reward, Triplet, Verdict
from src.synthetic.world import World
from src.tabulation.judge_tables import as_printed, published_tables

EXCERPT = Path(__file__).parent / "reward_benchmarks"
PLACES = (
    *([Path(os.environ["REWARD_BENCHMARKS"])] if "REWARD_BENCHMARKS" in os.environ else []),
    *(up / "shared/data/reward_benchmarks" for up in Path(__file__).resolve().parents),
)
WHOLE = next((place for place in PLACES if (place / "mmrb2_edit").is_dir()), None)
FEW = MeasureOptions(draws=100, chance_draws=5)


def answers_in(benchmark: JudgeBenchmark, path: Path, protocol: Any, **settings: Any) -> list[Answers]:
    reread = settings.pop("reread", False)
    return read_answers(path, protocol, known_ids(benchmark), benchmark.answer_id, reread, **settings)


def figures(metrics: Sequence[JudgeMetric]) -> dict[str, float | None]:
    return {f"{metric.key.labels}/{metric.key.rule}": metric.value for metric in metrics}


def lines(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def votes() -> list[JudgeReport]:
    benchmark = GenAIBench(str(EXCERPT / "votes.jsonl.gz"))
    found = answers_in(benchmark, EXCERPT / "votes.jsonl.gz", "verdicts")
    return [make_report(benchmark, answers, FEW) for answers in found]


@pytest.fixture(scope="module")
def rated() -> dict[tuple[str, str], JudgeReport]:
    found = {}
    for task, judges in {
        "Text-Guided_IE": ("gpt4o", "gemini", "llava"),
        "Mask-Guided_IE": ("gpt4o",),
    }.items():
        benchmark = ImagenHub(str(EXCERPT), task)
        for judge in judges:
            (answers,) = answers_in(benchmark, EXCERPT / f"{judge}_0shot.jsonl.gz", "scores")
            found[task, judge] = make_report(benchmark, answers, FEW)
    return found


def printed_figures(report: JudgeReport) -> list[tuple[str, str]]:
    """What was published of this judge, and what we print."""
    return [
        (figure.printed, as_printed(figure, metric.value))
        for figure in published_figures()
        if figure.is_of(report.judge)
        and (metric := report.metric(figure.figure)) is not None
        and metric.value is not None
    ]


def test_genai_benchs_accuracies_are_what_its_release_prints(votes: list[JudgeReport]) -> None:
    printed = [pair for report in votes for pair in printed_figures(report)]
    assert len(printed) == 12
    assert all(one == other for one, other in printed)


def test_the_same_votes_under_other_rules(votes: list[JudgeReport]) -> None:
    gpt4o = next(report for report in votes if report.judge == "gpt4o")
    expected = {
        "three_classes/exact": 0.5397,
        "decided/strict": 0.7217,
        "decided/half": 0.7903,
        "decided/excluded": 0.8364,
    }
    found = figures(gpt4o.metrics)
    assert {name: round(found[name] or 0, 4) for name in expected} == expected
    keys = [str(metric.key) for metric in gpt4o.metrics]
    assert keys[0] == "genai_bench/verdicts/four_classes/exact/n=919"
    assert len(set(keys)) == len(keys)
    assert gpt4o.metrics[0].clusters == 179
    assert gpt4o.metrics[1].chance["always tie"] == 416 / 919


def test_imagenhubs_means_and_raters_are_what_was_printed(rated: dict[tuple[str, str], JudgeReport]) -> None:
    facts = [*rated["Text-Guided_IE", "gpt4o"].facts, *rated["Mask-Guided_IE", "gpt4o"].facts]
    printed = [fact for fact in facts if fact.printed]
    assert len(printed) == 40
    for fact in printed:
        digits = len(fact.printed.partition(".")[2])
        assert f"{fact.scale * fact.computed:.{digits}f}" == fact.printed, fact.what
    assert printed[27].corrected == pytest.approx(0.5446, abs=5e-5)


def test_viescores_correlations_are_what_was_printed_and_what_they_claim_to_be(
    rated: dict[tuple[str, str], JudgeReport],
) -> None:
    gpt4o, gemini = (rated["Text-Guided_IE", judge] for judge in ("gpt4o", "gemini"))
    assert printed_figures(gpt4o) == [("38.21", "38.21")]
    assert printed_figures(gemini) == [(value, value) for value in ("0.2836", "0.4291", "0.2728")]
    (table,) = published_tables(gpt4o)
    assert [value and value.words for value in table.lines[0].values] == ["38.21", "38.21", "41.85"]
    for report, fisher, pooled in ((gpt4o, 0.419, 0.589), (gemini, 0.287, 0.430)):
        found = figures(report.metrics)
        assert (found["overall/fisher"], found["overall/pooled"]) == pytest.approx((fisher, pooled), abs=4e-3)


@pytest.mark.parametrize(
    ("task", "judge", "n", "expected"),
    [
        ("Text-Guided_IE", "gpt4o", 2182, (0.6542, 0.6474, 0.7864, 0.8208, 0.8445)),
        ("Text-Guided_IE", "gemini", 2182, (0.6315, 0.6245, 0.5990, 0.7181, 0.7864)),
        ("Mask-Guided_IE", "gpt4o", 620, (0.5717, 0.5577, 0.7613, 0.7935, 0.8138)),
    ],
)
def test_ties_on_real_scores(
    rated: dict[tuple[str, str], JudgeReport], task: str, judge: str, n: int, expected: tuple[float, ...]
) -> None:
    metrics = {
        metric.key.rule: metric
        for metric in rated[task, judge].metrics
        if metric.key.labels == "overall_pairs"
    }
    rules = ("with_ties", "with_ties_cross", "strict", "half", "excluded")
    assert tuple(round(metrics[rule].value or 0, 4) for rule in rules) == expected
    constant = 0.5646 if task == "Text-Guided_IE" else 0.4227
    assert metrics["with_ties"].chance["constant"] == pytest.approx(constant, abs=5e-5)
    assert (metrics["strict"].key.n, metrics["strict"].chance["constant"]) == (n, 0.0)
    if (task, judge) == ("Text-Guided_IE", "gpt4o"):
        assert metrics["with_ties"].details["width"] == pytest.approx(3.167, abs=5e-4)


def test_the_tie_rule_alone_decides_between_a_judge_and_a_person(
    rated: dict[tuple[str, str], JudgeReport],
) -> None:
    expected = {
        "Text-Guided_IE": ((0.801, 0.832, 0.855, 0.677), (0.654, 0.812, 0.958, 0.817)),
        "Mask-Guided_IE": ((0.788, 0.815, 0.834, 0.611), (0.604, 0.785, 0.948, 0.724)),
    }
    for task, (judge, person) in expected.items():
        metrics = [metric for metric in rated[task, "gpt4o"].metrics if metric.key.labels == "other_raters"]
        assert [metric.value for metric in metrics] == pytest.approx(judge, abs=6e-4)
        assert [metric.human for metric in metrics] == pytest.approx(person, abs=6e-4)


def test_failures_are_counted_and_bounded(rated: dict[tuple[str, str], JudgeReport]) -> None:
    """LLaVA left questions out; scalars in place of lists are answers."""
    report = rated["Text-Guided_IE", "llava"]
    with gzip.open(EXCERPT / "llava_0shot.jsonl.gz", "rt") as file:
        missing = sum("SC" not in (row := json.loads(line)) or "PQ" not in row for line in file)
    fisher, strict = (
        next(metric for metric in report.metrics if metric.key.rule == rule) for rule in ("fisher", "strict")
    )
    assert 0 < missing == report.answers["failed"] == fisher.failed
    for metric in (fisher, strict):
        assert metric.bounds is not None
        assert metric.value is not None
        assert metric.bounds.low <= metric.value <= metric.bounds.high
        assert metric.bounds.low < metric.bounds.high
    assert report.answers["unasked"] == ["Imagic"]


@pytest.mark.skipif(WHOLE is None, reason=f"reward benchmarks are not on this machine: {PLACES[0]}")
def test_mmrb2s_figures_are_what_its_readme_prints() -> None:
    assert WHOLE is not None
    benchmark = MMRB2(str(WHOLE / "mmrb2_edit"))
    (answers,) = answers_in(benchmark, WHOLE / "mmrb2_edit/sample_task2_edit.json", "verdicts")
    report = make_report(benchmark, answers, FEW)
    assert printed_figures(report) == [("55.50", "55.50")]
    facts = {fact.what.partition(" (")[0]: round(fact.computed, 3) for fact in report.facts}
    assert list(facts.values()) == [0.555, 0.589, 0.54, 1.0, 0.869, 0.804, 0.935]


def test_a_report_is_read_as_it_was_written(votes: list[JudgeReport], tmp_path: Path) -> None:
    write_judge_report(votes[2], tmp_path)
    again = read_judge_report(tmp_path)
    assert figures(again.metrics) == figures(votes[2].metrics)
    assert again.metrics[0].units is not None
    assert votes[2].metrics[0].units is not None
    assert again.metrics[0].units.by_id() == votes[2].metrics[0].units.by_id()


def test_a_leaderboard_compares_on_the_same_pairs_and_keeps_other_rows_apart(
    votes: list[JudgeReport],
) -> None:
    other = replace(votes[0], judge="of other rows", data={**votes[0].data, "digest": "another"})
    chosen = [report for report in votes if report.judge in ("gpt4o", "llava", "random")]
    ranking, against = board([*chosen, other], votes[0].data["digest"], None)
    assert [line.name for line in ranking.lines][:3] == ["gpt4o", "llava", "random"]
    assert any("of other rows" in note for note in ranking.notes)
    cell = against.lines[0].values[0]
    assert cell is not None
    assert cell.mean == pytest.approx((240 - 492) / 919)
    assert cell.differs


REPLIES = [
    ("... so **[[A>B]]** it is.", "first"),
    ("[[ B > A ]]", "second"),
    ("[['A'='B'= 'Good']]", "good"),
    ("[[A==B==Bad]]", "bad"),
    ('[["A" "> " "B"]]', "first"),
    ("Both are good.", "good"),
    ("[[A>B]] [[B>A]] [[A=B=Good]] [[A=B=Bad]]", None),
    ("[[A>B]] [[B>A]] [[A=B=Good]] [[A=B=Bad]] My answer: [[B>A]]", "second"),
    ("[[A>B]], no: [[B>A]]", None),
    ("[[D>]]", None),
    ("", None),
]


@pytest.mark.parametrize(("reply", "verdict"), REPLIES)
def test_replies_say_one_thing_or_nothing(reply: str, verdict: str | None) -> None:
    assert spoken_verdict(reply) == verdict
    assert released_verdict(reply) is None or reply == "[[A>B]]"


def test_replies_can_be_read_as_released_or_again(tmp_path: Path) -> None:
    benchmark = GenAIBench(str(EXCERPT / "votes.jsonl.gz"))
    found = {}
    for reread in (False, True):
        (answers,) = answers_in(benchmark, EXCERPT / "replies_otterimage.jsonl.gz", "verdicts", reread=reread)
        assert answers.judge == "otterimage"
        found[reread] = sum(verdict is not None for verdict in answers.verdicts.values())
        assert "120 replies carry no verdict in the release's form" in answers.notes[0]
    assert found[False] == 0 < found[True]


def vote(idx: int, human: str, left: str, right: str) -> dict[str, object]:
    names = {"source_image": "s.jpg", "left_image": left, "right_image": right}
    return {
        "idx": idx,
        "instruct_prompt": "add a hat",
        "source_prompt": "a man",
        "human_vote": human,
        **names,
    }


def test_repeated_and_contradictory_rows_are_found_and_bounded(tmp_path: Path) -> None:
    """1 is 0 again, in the other order; 3 says the opposite of 2, in the other order."""
    rows = [
        vote(0, "leftvote", "a.jpg", "b.jpg"),
        vote(1, "rightvote", "b.jpg", "a.jpg"),
        vote(2, "leftvote", "a.jpg", "c.jpg"),
        vote(3, "leftvote", "c.jpg", "a.jpg"),
        vote(4, "rightvote", "b.jpg", "c.jpg"),
    ]
    said = [{"idx": row["idx"], "verdict": "A"} for row in rows]
    reports = {}
    for name, order in (("once", rows), ("mixed", rows[::-1])):
        benchmark = GenAIBench(str(lines(tmp_path / f"{name}.jsonl", order)))
        (answers,) = answers_in(benchmark, lines(tmp_path / f"{name}_said.jsonl", said), "verdicts")
        reports[name] = make_report(benchmark, answers, FEW)
    one, other = reports["once"], reports["mixed"]
    assert one.data["digest"] == other.data["digest"]
    assert (one.data["repeated"], one.data["contradictory"]) == (["1"], {"": ["2", "3"]})
    assert figures(one.metrics) == figures(other.metrics)
    strict = next(metric for metric in one.metrics if metric.key.rule == "strict")
    assert (strict.key.n, strict.value, strict.bounds) == (2, 0.5, (1 / 3, 2 / 3))
    kept = GenAIBench(str(tmp_path / "once.jsonl"), keep_repeats=True)
    assert len(kept.contests()) == 5


def editscore_rows() -> list[dict[str, object]]:
    return [
        {"key": [f"{task}-w", f"{task}-l"], "instruction": task, "task_type": task, "dimension": dimension}
        for task in TASKS
        for dimension in ("prompt_following", "consistency", "overall")
    ]


def test_erb_editscore_is_a_mean_over_tasks_of_each_rows_own_dimension(tmp_path: Path) -> None:
    rows = editscore_rows()
    rows += [
        {**rows[2], "key": ["x", "y"]}
    ]  # a second overall row of the first task, which the judge has wrong
    contradiction = {**rows[5], "key": list(reversed(rows[5]["key"]))}  # pyright: ignore
    path = lines(tmp_path / "bench.jsonl", [*rows, rows[0], contradiction])
    benchmark = ERBEditScore(str(path))
    scores = [
        {
            "id": f"{task}-{side}",
            "following": 5 * (side == "w"),
            "preserving": 5 * (side == "l"),
            "quality": 3,
            "overall": 5 * (side == "w"),
        }
        for task in TASKS
        for side in "wl"
    ]
    scores += [{"id": "x", "score": 1}, {"id": "y", "score": 2}]
    (answers,) = answers_in(benchmark, lines(tmp_path / "scores.jsonl", scores), "scores")
    report = make_report(benchmark, answers, FEW)
    found = figures(report.metrics)
    # of 13 tasks the first is half right, and the second's only row contradicts another, so doesn't count
    assert found["overall/strict"] == pytest.approx(11.5 / 12)
    assert (found["prompt_following/strict"], found["consistency/strict"]) == (1.0, 0.0)
    assert found["overall/subject/strict"] == pytest.approx(0.75)
    assert (len(report.data["repeated"]), list(report.data["contradictory"])) == (1, ["overall"])
    overall = report.metrics[0]
    assert overall.bounds is not None
    assert overall.bounds.low < (overall.value or 0) < overall.bounds.high
    assert overall.chance["constant"] == 0.0


def tiger_rows(size: int, id: str, ranking: str) -> list[dict[str, object]]:
    letters = "ABCD"[:size]
    return [
        {"id": id, "instruction": id, "ranking": ranking, "comparison_type": f"{one}vs{other}"}
        for index, one in enumerate(letters)
        for other in letters[index + 1 :]
    ]


def test_erb_tiger_counts_whole_groups(tmp_path: Path) -> None:
    rows = [
        *tiger_rows(2, "p", "A>B"),
        *tiger_rows(2, "q", "A=B=Bad"),
        *tiger_rows(2, "v", "A=B"),
        *tiger_rows(2, "r", "A<B"),
        *tiger_rows(3, "s", "C > A > B"),
        *tiger_rows(3, "t", "A>B>C"),
        *tiger_rows(4, "u", "D>C>B>A"),
    ]
    benchmark = ERBTiger(str(lines(tmp_path / "groups.jsonl", rows)))
    scores = [
        *(
            {"id": f"2/{id}", "scores": pair}
            for id, pair in {"p": [3, 1], "q": [2, 2.5], "v": [1, 1.2], "r": [1, 1.1]}.items()
        ),
        *({"id": f"3/{id}", "scores": three} for id, three in {"s": [2, 1, 3], "t": [2, 2, 1]}.items()),
        {"id": "4/u", "scores": [1, 2, 3, 4]},
    ]
    (answers,) = answers_in(benchmark, lines(tmp_path / "scores.jsonl", scores), "scores")
    report = make_report(benchmark, answers, FEW)
    found = figures(report.metrics)
    # width .5 finds the ties of q and v and would lose r, which the published rule spares
    assert (found["K=2/ties_beside"], found["K=3/whole_order"], found["K=4/whole_order"]) == (1.0, 0.5, 1.0)
    assert found["all/whole_order"] == pytest.approx(6 / 7)
    assert found["K=2/with_ties"] == 0.75
    assert report.metrics[2].chance["random"] == 1 / 6
    said = [
        {"id": pair, "verdict": "B" if pair.startswith("4/") or pair == "2/r/AvsB" else "A"}
        for pair in benchmark.pairs()
    ]
    (answers,) = answers_in(benchmark, lines(tmp_path / "said.jsonl", said), "verdicts")
    found = make_report(benchmark, answers, FEW)
    assert figures(found.metrics) == {
        "all/whole_order": pytest.approx(4 / 7),
        "K=2/whole_order": 0.5,
        "K=3/whole_order": 0.5,
        "K=4/whole_order": 1.0,
    }
    assert [metric.chance["random"] for metric in found.metrics[1:]] == [1 / 3, 1 / 8, 1 / 64]


def test_published_cells_of_other_denominators_and_totals_that_do_not_add_up_are_found() -> None:
    tiger = {
        (figure.judge, figure.figure.split("/", 2)[2]): figure
        for figure in published_figures()
        if "erb_tiger" in figure.figure
    }
    assert "57/148" in tiger["GPT-5", "K=3/whole_order"].note
    assert "97/185" in tiger["Gemini-2.0-Flash", "K=2/whole_order"].note
    assert tiger["Qwen2.5-VL-7B", "K=2/whole_order"].note == ""
    corrected = {
        judge: round(figure.corrected or 0, 2)
        for (judge, what), figure in tiger.items()
        if what == "all/whole_order"
    }
    assert (corrected["EditReward-Qwen2.5-VL-7B"], corrected["EditReward-MiMo-VL-7B"]) == (36.36, 38.43)
    assert (corrected["random"], corrected["Qwen2.5-VL-7B"]) == (13.84, 28.93)


def test_aurora_is_the_plain_mean_of_correlations_and_pairs_by_the_larger_score(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {
            "prompt": "up",
            "input": f"{case}.png",
            "gen": f"{model}/{case}.png",
            "model": model,
            "score": int(rng.integers(1, 5)),
        }
        for case in range(12)
        for model in ("m", "n")
    ]
    rows += [rows[0], {**rows[1], "score": 9}]
    benchmark = Aurora(str(lines(tmp_path / "ratings.jsonl", rows)))
    scores = [{"gen": row["gen"], "score": row["score"]} for row in rows[:24]]
    (answers,) = answers_in(benchmark, lines(tmp_path / "scores.jsonl", scores), "scores")
    report = make_report(benchmark, answers, FEW)
    found = figures(report.metrics)
    assert found["overall/plain"] == pytest.approx(1.0)
    assert found["overall_pairs/strict"] == 1.0
    assert "overall/as_published" not in found
    assert (report.data["repeated"], report.data["contradictory"]) == (["m/0.png"], {"": ["n/0.png"]})


class Lighter:
    """Prefers lighter edits, and counts what it is asked about."""

    name, fingerprint = "lighter", "1"

    def __init__(self) -> None:
        self.asked = 0

    def judge(self, triplets: Sequence[Triplet]) -> list[Reward]:
        self.asked += len(triplets)
        verdicts = [Verdict(float(triplet.edited.mean()) / 51) for triplet in triplets]
        return [
            Reward(
                triplet.case.id, self.name, reward_key(triplet, self.fingerprint), verdict, verdict, verdict
            )
            for triplet, verdict in zip(triplets, verdicts, strict=True)
        ]


def square(value: int) -> PIL.Image.Image:
    return PIL.Image.new("RGB", (8, 8), (value, value, value))


def encoded(picture: Any) -> Any:
    """As a table stores it."""
    if isinstance(picture, list):
        return [encoded(each) for each in picture]
    content = io.BytesIO()
    picture.save(content, "PNG")
    return {"bytes": content.getvalue(), "path": None}


def written_table(folder: Path, rows: Sequence[dict[str, object]], pictures: Sequence[str]) -> Path:
    features = datasets.Dataset.from_list(
        [{name: row[name] for name in row if name not in pictures} for row in rows]
    )
    for column in pictures:
        several = isinstance(rows[0][column], list)
        kind = datasets.List(datasets.Image()) if several else datasets.Image()
        features = features.add_column(column, [encoded(row[column]) for row in rows], feature=kind)
    features.save_to_disk(str(folder))
    return folder


def test_a_judge_is_asked_once_about_the_pictures_of_a_table(tmp_path: Path) -> None:
    """Each set in the columns of the hub; the judge prefers the lighter edit."""
    genai = {
        "source_prompt": "a",
        "instruct_prompt": "lighter",
        "vote_type": "rightvote",
        "left_model": "m",
        "right_model": "n",
    }
    genai |= {"source_image": square(9), "left_output_image": square(50), "right_output_image": square(200)}
    editscore = {"key": ["w", "l"], "instruction": "lighter", "task_type": "compose", "dimension": "overall"}
    editscore |= {"input_image": square(9), "output_images": [square(200), square(50)]}
    tiger = {"id": "t", "instruction": "lighter", "ranking": "B>A", "comparison_type": "AvsB"}
    tiger |= {"source_image": square(9), "candidate_1": square(50), "candidate_2": square(200)}
    written_table(tmp_path / "tiger/2pair", [tiger], ("source_image", "candidate_1", "candidate_2"))
    made = [
        GenAIBench(
            str(
                written_table(
                    tmp_path / "genai", [genai], ("source_image", "left_output_image", "right_output_image")
                )
            )
        ),
        ERBEditScore(
            str(written_table(tmp_path / "editscore", [editscore], ("input_image", "output_images")))
        ),
        ERBTiger(str(tmp_path / "tiger")),
    ]
    for benchmark in made:
        judge = Lighter()
        folder = tmp_path / benchmark.name
        for _ in range(2):
            answers = ask(judge, benchmark.edits(), folder, 8)
            report = make_report(benchmark, answers, FEW)
        assert judge.asked == 2
        assert (report.data["edits"], report.answers["failed"]) == (2, 0)
        assert (
            next(metric.value for metric in report.metrics if metric.key.rule in ("strict", "ties_beside"))
            == 1.0
        )


def test_answers_without_pictures_need_none_and_a_judge_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"a judge needs pictures, and .* is not here: give judge_benchmark"
    ):
        ask(Lighter(), GenAIBench(str(EXCERPT / "votes.jsonl.gz")).edits(), tmp_path, 8)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> OwnContests:
    """The synthetic world's contests, in the exact order of the oracle."""
    cache = tmp_path_factory.mktemp("contests")
    source = SyntheticContests(World(32), 5, 4, "benchmark", deviation=0.0, aspects=ASPECTS, cache=cache)
    return OwnContests(source, "synthetic_contests")


def test_contests_of_ones_own_are_a_benchmark(own: OwnContests) -> None:
    """Exact scores are right in every decided pair, their negatives in none, a constant in none."""
    source = own.source
    assert isinstance(source, SyntheticContests)
    ids = [edit.id for index in range(5) for edit in source[index].candidates]
    exact = dict(zip(ids, source.measured.scores.reshape(-1, 3).tolist(), strict=True))
    for sign, share in ((1.0, 1.0), (-1.0, 0.0), (0.0, 0.0)):
        names = ("following", "preserving", "quality")
        scores = {
            id: {name: sign * each for name, each in zip(names, row, strict=True)}
            for id, row in exact.items()
        }
        found = figures(own.metrics(Answers("j", "scores", scores), FEW))
        assert [found[f"{name}/strict"] for name in names] == [share] * 3
        assert found["quality/half"] == (share if sign else 0.5)
        assert found["overall/strict"] == 0.0, "a judge that doesn't say overall fails there"
    pairs = ranked_pairs(own.contests(), "quality")
    by_hand = [
        (int(np.sign(one - other)), f"{a.id} {b.id}")
        for contest in own.contests()
        for place, a in enumerate(contest.candidates)
        for b in contest.candidates[place + 1 :]
        for one, other in [(a.ratings["quality"], b.ratings["quality"])]
    ]
    assert sorted(zip(pairs.human.tolist(), pairs.ids, strict=True)) == sorted(by_hand)
    assert {-1, 1} <= set(pairs.human.tolist()), "no side is always the better one"


def test_a_reward_model_is_measured_on_contests_of_ones_own(own: OwnContests, tmp_path: Path) -> None:
    source = own.source
    assert isinstance(source, SyntheticContests)
    model = write_reward_model(tmp_path / "model")
    given = [
        "judge=reward_model",
        f"judge.model.path={model}",
        "judge.device=cpu",
        "draws=100",
        "chance_draws=3",
    ]
    place = ["judge_benchmark=synthetic_contests", "world.size=32", f"output={tmp_path}"]
    size = ["judge_benchmark.source.length=5", f"judge_benchmark.source.cache={source.cache}"]
    evaluate_judge.main(config(*given, *place, *size, name="evaluate_judge"))
    report = json.loads((tmp_path / "synthetic_contests/reward_model/report.json").read_text())
    assert report["data"]["contests"] == 5
    assert report["data"]["digest"] == own.findings().digest
    assert report["metrics"][0]["key"].startswith("synthetic_contests/scores/overall/")
