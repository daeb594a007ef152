"""The field's benchmarks through the public command: what the official code makes of the same replies comes
out to the digit, a failure is a third state in ours, and rows that can't be used are refused.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SMALL, config, small_editor
from data.written import pixels, write_image
from evaluation.field_folders import (
    GEDIT_ROW,
    IMGEDIT,
    RISE,
    RISE_ROW,
    fixture_of,
    gedit_rows,
    rise_rows,
    write_edits,
    write_gedit,
    write_imgedit,
    write_rise,
)
from omegaconf import OmegaConf

from src import checkpoint, evaluate, tabulate
from src.evaluation.field_protocol import FieldCase, HeardCase, MeasureScale
from src.evaluation.field_statistics import (
    Scored,
    differences_of,
    field_figure,
    figures_of,
    influences,
)
from src.evaluation.gedit import GEdit, GEditProtocol
from src.evaluation.imgedit import ImgEdit, ImgEditRubric, released_mean
from src.evaluation.rise import (
    Marks,
    Rise,
    RiseRubric,
    is_right,
    read_score,
    released_numbers,
    rise_score,
)
from src.evaluation.statistics import jackknife_interval
from src.evaluation.viescore import released_scores
from src.images import encode_png
from src.judges.editscore import NAMES, EditScoreRubric
from src.judges.fake_server import RunningServer, running_server
from src.judges.parsing import UnusableReply
from src.judges.question import Answer, Heard, Reply
from src.records import Triplet
from src.tabulation.field_published import published_on

FREE = "judge.client.structured=null"


@pytest.fixture(scope="module")
def replies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("replies") / "replies.jsonl"


@pytest.fixture(scope="module")
def server(replies: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    log = tmp_path_factory.mktemp("server") / "requests.jsonl"
    with running_server(log, "--key=", f"--replies={replies}") as running:
        yield running


def evaluated(
    server: RunningServer, benchmark: str, folder: Path, edits: Path, output: Path, *more: str
) -> dict[str, Any]:
    """field.json of edits made elsewhere."""
    arguments = [
        f"benchmark={benchmark}",
        f"benchmark.folder={folder}",
        f"edits={edits}",
        f"output={output}",
        f"ledger={output}/ledger.sqlite",
        "judge=openai_compatible",
        "judge.client.model=Qwen/Qwen3-VL-8B-Instruct",
        f"judge.client.base_url={server.base_url}",
        *more,
    ]
    evaluate.main(config(*arguments, name="evaluate"))
    place = output / f"evaluation/{benchmark}/openai_compatible@{benchmark}"
    return json.loads((place / "field.json").read_text())


def means(row: Mapping[str, Any], prefix: str) -> dict[str, float | None]:
    return {
        key.removeprefix(prefix): value if value is None or isinstance(value, float) else value["mean"]
        for counted in ("official", "ours")
        for key, value in row[counted].items()
        if key.startswith(prefix)
    }


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on images of 32 x 32."""
    folder = tmp_path_factory.mktemp("editor") / "editor"
    text = OmegaConf.to_yaml(config(*SMALL).model, resolve=True)
    checkpoint.export(folder, text, (32, 32), small_editor().state_dict())
    return folder


@pytest.fixture(scope="module")
def gedit_run(server: RunningServer, replies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixture's replies through the command."""
    place = tmp_path_factory.mktemp("gedit")
    rows, texts = gedit_rows()
    folder = write_gedit(place / "data", rows)
    edits = write_edits(place / "edits", texts, replies)
    evaluated(server, "gedit", folder, edits, place / "run")
    return place / "run"


@pytest.fixture(scope="module")
def gedit(gedit_run: Path) -> dict[str, Any]:
    (path,) = gedit_run.rglob("field.json")
    return json.loads(path.read_text())


def test_gedit_counts_as_its_release_to_the_digit(gedit: dict[str, Any]) -> None:
    (row,) = gedit["rows"]
    official = means(row, "gedit/official_failures_guessed/")
    checked = 0
    for language, parts in fixture_of("gedit_bench")["expected"].items():
        for part, measures in parts.items():
            for measure, tasks in measures.items():
                for task, mean in tasks.items():
                    key = f"{language}/{part}/{measure}"
                    key = key if task.startswith("avg_") else f"{key}/{task}"
                    assert official[key] == pytest.approx(mean, abs=1e-9), key
                    checked += 1
    assert checked == 2 * 2 * 3 * 12
    ours = means(row, "gedit/ours/")
    assert ours == pytest.approx(official, abs=1e-9)  # no reply failed
    figure = row["ours"]["gedit/ours/en/full/O"]
    assert (figure["bounds"], figure["failed"]) == ([figure["mean"]] * 2, 0)
    assert figure["ci95"][0] < figure["mean"] < figure["ci95"][1]


BAD_GEDIT = {
    "two unknown tasks": (
        [{"task_type": "colour"}, {"task_type": "colour", "key": "b"}],
        {},
        "2 rows are of none of",
    ),
    "a language of the flags": (
        [{"instruction_language": "zh"}],
        {},
        "1 rows are in none of the languages en, cn",
    ),
    "no instruction": ([{"instruction": " "}], {}, "1 rows have no instruction"),
    "an id twice": ([{}, {}], {}, "1 ids occur twice"),
    "a key that leads out": ([{"key": "../a"}], {}, "1 keys name no file"),
    "no word on the intersection": ([{"Intersection_exist": None}, {"key": "b"}], {}, "1 rows don't say"),
    "a language without rows": ([{}], {"language": "cn"}, "its languages are en"),
    "an intersection without rows": (
        [{"Intersection_exist": False}],
        {"part": "intersection"},
        "has no case of",
    ),
    "an unknown language": ([{}], {"language": "zh"}, "benchmark.language=zh: choose from en, cn, both"),
    "an unknown part": ([{}], {"part": "half"}, "benchmark.part=half: choose from full, intersection"),
}


@pytest.mark.parametrize("name", BAD_GEDIT)
def test_rows_of_gedit_that_cannot_be_used_are_refused(name: str, tmp_path: Path) -> None:
    changes, settings, error = BAD_GEDIT[name]
    folder = write_gedit(tmp_path, [{**GEDIT_ROW, **change} for change in changes])
    with pytest.raises(ValueError, match=re.escape(error)):
        GEdit(str(folder), **settings).cases()


def test_a_table_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_gedit(tmp_path / "empty", [GEDIT_ROW], picture=None)
    with pytest.raises(ValueError, match="1 rows hold no picture in input_image"):
        GEdit(str(tmp_path / "empty")).cases()
    write_gedit(tmp_path / "other", [{"task": "add", "key": "a"}])
    with pytest.raises(
        ValueError, match=r"has no column task_type, instruction.*benchmark\.folder is another"
    ):
        GEdit(str(tmp_path / "other")).cases()
    with pytest.raises(FileNotFoundError, match=r"no rows at .*benchmark\.folder is a folder of parquet"):
        GEdit(str(tmp_path / "nowhere")).cases()


def heard(texts: Mapping[str, str | None], answers: Mapping[str, Answer | str]) -> tuple[Heard, ...]:
    return tuple(
        Heard(name, 0, () if text is None else (Reply(text),), answers[name]) for name, text in texts.items()
    )


def test_a_failure_is_guessed_by_the_release_and_bounded_by_us() -> None:
    protocol = GEditProtocol(EditScoreRubric(10), {f"add/en/{key}": True for key in "abc"})
    read, refused = Answer((8.0, 6.0), ""), "refused"
    fine = '{"score": [8, 6]}'
    first, second = NAMES
    cases = [
        HeardCase("add/en/a", "add", "p", heard({first: fine, second: fine}, {first: read, second: read})),
        HeardCase(
            "add/en/b", "add", "q", heard({first: "no.", second: fine}, {first: refused, second: read})
        ),
        HeardCase("add/en/c", "add", "r", heard({first: None, second: fine}, {first: "busy", second: read})),
    ]
    official = protocol.official(cases)
    assert "1 replies could not be read" in official.notes[0]
    assert "1 edits without a reply were left out (add/en/c" in official.notes[1]
    assert official == protocol.official(cases)  # guesses are repeated
    ours = figures_of([protocol.ours(case) for case in cases], protocol.measures)["en/full/O"]
    assert (ours.mean, ours.n, ours.failed, ours.bounds) == (
        6.0,
        3,
        2,
        (2.0, pytest.approx(26 / 3)),
    )


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ('{"reasoning": "x", "score": [7, 3]}', [7, 3]),
        ('Sure! {"score": 4.5} Bye.', [4.5]),
        ("[7, 3]", [7, 3]),
        ("8", [8]),
        ("11", None),
        ("I can't help with that.", None),
        ('{"score": "good"}', None),
        ('{"reasoning": "x"}', None),
    ],
)
def test_replies_are_read_as_viescore_reads_them(text: str, scores: list[float] | None) -> None:
    assert released_scores(text) == scores


def test_the_mean_of_tasks_is_a_mean_of_influences() -> None:
    rng = np.random.default_rng(0)
    tasks = [*("a" * 20), *("b" * 5), *("c" * 5)]
    values = rng.normal(size=30) + 3.0 * np.array([task == "a" for task in tasks])
    photographs = [f"{number % 12}" for number in range(30)]
    linear = influences(values, tasks, "tasks")
    macro = np.mean([values[[each == task for each in tasks]].mean() for task in "abc"])
    assert linear.mean() == pytest.approx(macro)
    alike = influences(values, ["a", "b", "c"] * 10, "tasks")
    assert np.abs(alike.mean() - values.mean()) < 1e-12
    figure = field_figure(
        [Scored(str(n), photographs[n], tasks[n], float(values[n])) for n in range(30)],
        MeasureScale(-9.0, 9.0),
    )
    jackknife = jackknife_interval(
        lambda kept: float(
            np.mean([values[kept & np.array([each == task for each in tasks])].mean() for task in "abc"])
        ),
        photographs,
    )
    assert figure.ci95 is not None
    assert jackknife is not None
    assert figure.ci95 == pytest.approx(jackknife, abs=0.35)


def test_a_tiny_editor_goes_through_gedit(server: RunningServer, tmp_path: Path, editor: Path) -> None:
    rows = [
        {**GEDIT_ROW, "task_type": task, "key": key}
        for task in ("style_change", "color_alter")
        for key in "ab"
    ]
    folder = write_gedit(tmp_path / "data", rows)
    made = ("edits=null", f"checkpoint={editor}", "sampler.steps=1", "batch_size=2", "device=cpu")
    more = (*made, "benchmark.copy_input=true")
    found = evaluated(server, "gedit", folder, tmp_path, tmp_path / "run", *more)
    assert [row["name"] for row in found["rows"]] == ["5/5/5", "copy input"]
    edits = tmp_path / "run/evaluation/gedit/5-5-5/edits"
    ids = sorted(f"{row['task_type']}/en/{row['key']}" for row in rows)
    assert sorted(path.relative_to(edits).with_suffix("").as_posix() for path in edits.rglob("*.png")) == ids
    (edits / f"{ids[0]}.png").unlink()  # as if it had been stopped
    (edits.parent / "openai_compatible@gedit/rewards.jsonl").unlink()
    asked = len(server.requests())
    assert evaluated(server, "gedit", folder, tmp_path, tmp_path / "run", *more) == found
    assert len(server.requests()) == asked
    (tested,) = [each for each in found["differences"] if each["key"] == "en/full/O"]
    assert (tested["row"], tested["against"], tested["clusters"]) == ("5/5/5", "copy input", 4)


def test_rows_are_compared_over_photographs() -> None:
    def cases(shift: float) -> list[FieldCase]:
        return [
            FieldCase(str(n), str(n), "ab"[n % 2], ("all",), {"O": None if n == 3 else 0.1 * n + shift})
            for n in range(16)
        ]

    (found,) = differences_of("ours", cases(1.0), "theirs", cases(0.0), "O", MeasureScale(0.0, 10.0))
    assert (found.n, found.clusters, found.difference) == (15, 15, pytest.approx(1.0))
    assert found.p_holm == found.p == pytest.approx(2 / 2**15)


@pytest.fixture(scope="module")
def imgedit(server: RunningServer, replies: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The fixture's benchmark through the command, and apart from it the forms of replies."""
    place = tmp_path_factory.mktemp("imgedit")
    fixture = fixture_of("imgedit_bench")
    rows = fixture["bench"]["meta"] | {
        f"form_{name}": {"id": "b.jpg", "prompt": "x", "edit_type": "style"} for name in fixture["replies"]
    }
    texts = fixture["bench"]["replies"] | {f"form_{name}": text for name, text in fixture["replies"].items()}
    edits = write_edits(
        place / "edits", {key: {IMGEDIT: text} for key, text in texts.items()}, replies, (16, 12)
    )
    found = {}
    for part in ("bench", "form"):
        chosen = {key: row for key, row in rows.items() if key.startswith("form_") == (part == "form")}
        folder = write_imgedit(place / part, chosen)
        found[part] = evaluated(server, "imgedit", folder, edits, place / f"run_{part}")["rows"][0]
    return found


def test_imgedit_counts_as_its_release_to_its_rounding(imgedit: dict[str, Any]) -> None:
    bench = fixture_of("imgedit_bench")["bench"]
    official = means(imgedit["bench"], "imgedit/official_failures_dropped/basic/score")
    assert official == {
        "": pytest.approx(bench["overall_macro_of_types"], abs=1e-9),
        **{f"/{kind}": mean for kind, mean in bench["per_type"].items()},
    }
    ours = means(imgedit["bench"], "imgedit/ours/basic/score")
    assert ours[""] == pytest.approx(official[""], abs=0.01)  # but for the rounding
    assert ours[""] != official[""]


def test_forms_of_replies_that_imgedits_release_misreads(imgedit: dict[str, Any]) -> None:
    fixture, row = fixture_of("imgedit_bench"), imgedit["form"]
    read = {name: released_mean(text) for name, text in fixture["replies"].items()}
    assert read == fixture["expected_per_reply"]
    counted = [mean for mean in read.values() if mean is not None]
    assert row["official"]["imgedit/official_failures_dropped/basic/score"] == round(np.mean(counted), 2)
    assert row["notes"][0].startswith("3 edits without a number that the release reads were left out")
    ours = {case["id"].removeprefix("form_"): case["scores"]["score"] for case in row["cases"]}
    assert ours == {
        "plain": pytest.approx(10 / 3),
        "half": pytest.approx(12.5 / 3),  # dropped: 4.5
        "outof": pytest.approx(13 / 3),  # dropped: all
        "bold": pytest.approx(13 / 3),  # dropped: "**Visual Naturalness:** 4"
        "dot": pytest.approx(13 / 3),  # dropped: all
        "higher": pytest.approx(4.0),
        "number_in_reasoning": pytest.approx(5.0),  # counted as a score: 3
        "one_missing": None,  # counted: a mean of two
        "refusal": None,  # dropped
        "six": None,  # counted: beyond the scale
    }
    figure = row["ours"]["imgedit/ours/basic/score"]
    assert (figure["n"], figure["failed"]) == (10, 3)
    assert figure["bounds"][0] < figure["mean"] < figure["bounds"][1]


BASIC_ROW = {"id": "a.png", "prompt": "make it red", "edit_type": "adjust"}
BAD_IMGEDIT = {
    "an unknown type": ({"0": {**BASIC_ROW, "edit_type": "recolour"}}, {}, "1 rows are of none of the types"),
    "no instruction": (
        {"0": {**BASIC_ROW, "prompt": ""}, "1": {"id": "a.png"}},
        {},
        "2 rows have no instruction",
    ),
    "a picture elsewhere": ({"0": {**BASIC_ROW, "id": "../a.png"}}, {}, "1 rows name no picture below"),
    "a key that leads out": ({"../0": BASIC_ROW}, {}, "1 keys name no file"),
    "an empty list": ({}, {}, "lists no cases"),
    "a list of rows": ([BASIC_ROW], {}, "is not of the form"),
    "an unknown part": ({"0": BASIC_ROW}, {"part": "hard"}, "benchmark.part=hard: choose from basic, uge"),
}


@pytest.mark.parametrize("name", BAD_IMGEDIT)
def test_rows_of_imgedit_that_cannot_be_used_are_refused(name: str, tmp_path: Path) -> None:
    rows, settings, error = BAD_IMGEDIT[name]
    write_image(tmp_path / "a.png", pixels(0))
    (tmp_path / "basic_edit.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=re.escape(error)):
        ImgEdit(str(tmp_path), **settings).cases()


def test_files_of_imgedit_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no basic_edit\.json or singleturn\.json"):
        ImgEdit(str(tmp_path)).cases()
    (tmp_path / "Benchmark.tar").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"unpack .*Benchmark\.tar \(tar -xf\)"):
        ImgEdit(str(tmp_path), "uge").cases()
    write_imgedit(tmp_path, {"0": BASIC_ROW, "1": {**BASIC_ROW, "id": "b/c.png"}}, pictures=False)
    with pytest.raises(FileNotFoundError, match=r"names 2 files that are missing \(.*a\.png, .*c\.png\)"):
        ImgEdit(str(tmp_path)).cases()
    with pytest.raises(FileNotFoundError, match=r"benchmark\.folder is the unpacked release"):
        ImgEdit(str(tmp_path / "nowhere")).cases()
    with pytest.raises(FileNotFoundError, match=r"no .*prompts\.json; benchmark\.rubric\.prompts"):
        ImgEditRubric(f"{tmp_path}/")


def test_parts_of_imgedit(tmp_path: Path) -> None:
    write_imgedit(tmp_path / "uge", {"1": {"id": "a.png", "prompt": "do this and that"}}, "UGE_edit.json")
    (hard,) = ImgEdit(str(tmp_path), "uge", rubric=ImgEditRubric()).cases()
    (question,) = ImgEditRubric().questions(Triplet(hard, hard.original))
    assert "do this and that" in question.prompt
    write_imgedit(tmp_path / "m", {"1": {"id": "a.png", "turn1": "add", "turn2": "undo"}}, "memory.json")
    (session,) = ImgEdit(str(tmp_path), "multi_turn").cases()
    assert (session.id, session.edit_type, session.instruction) == ("1", "memory", "add Then: undo")
    assert [(turn.id, turn.instruction) for turn in session.turns] == [("1_turn1", "add"), ("1", "undo")]
    write_imgedit(tmp_path / "n", {"1": {"id": "a.png", "turn1": "add"}}, "understanding.json")
    with pytest.raises(ValueError, match="1 keys stand in two lists"):
        ImgEdit(str(tmp_path), "multi_turn").cases()


def test_tables_of_the_field_hold_one_source(gedit_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tabulate.main(config(f"runs=[{gedit_run}]", "names=[Mine]", "table=gedit", name="tabulate"))
    ours, firered, longcat = re.split(r"(?m)^#+ ", capsys.readouterr().out)[1:]
    assert ours.startswith("gedit, judged by openai_compatible@gedit")
    assert "| Mine | edits | official, failures guessed | ours | 3.786" in ours
    assert "7.943" not in ours + longcat
    assert "README of FireRedTeam/FireRed-Image-Edit@2aa84aad" in firered
    assert "| *FireRed-Image-Edit-1.0* |  |  | *firered* | *7.943* | *7.887* |" in firered
    assert "| *LongCat-Image-Edit* |  |  | *longcat* | *8.18* | *8.0* | *7.64* |" in longcat
    assert "| Mine | edits | ours | ours | " in firered
    for arguments, error in (
        (["table=imgedit"], "none of the runs has figures of imgedit"),
        (
            ["table=gedit", "against=edits"],
            "against=edits: rows of table=gedit are compared in",
        ),
    ):
        with pytest.raises(ValueError, match=re.escape(error)):
            tabulate.main(config(f"runs=[{gedit_run}]", *arguments, name="tabulate"))


def test_judges_of_the_field_are_not_mixed_in_a_table(gedit_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(gedit_run / "evaluation", other / "evaluation")
    for path in other.rglob("*.json"):
        path.write_text(path.read_text().replace("temperature=0.0", "temperature=0.5"))
    with pytest.raises(ValueError, match="don't compare; choose one with judge_name="):
        tabulate.main(config(f"runs=[{gedit_run},{other}]", "table=gedit", name="tabulate"))


@pytest.mark.parametrize("benchmark", ["gedit", "imgedit", "rise"])
def test_published_figures_are_of_keys_that_there_are(benchmark: str) -> None:
    for source in published_on(benchmark):
        assert all(len(printed) == len(source.columns) for printed in source.rows.values()), source.name
        assert all(
            0 < float(text) <= 100 or text == "0.0" for row in source.rows.values() for text in row if text
        )


def test_rise_counts_as_its_release(server: RunningServer, replies: Path, tmp_path: Path) -> None:
    rows, said, made = rise_rows()
    edits = write_edits(tmp_path / "edits", said, replies, (12, 20))
    (row,) = evaluated(server, "rise", write_rise(tmp_path, rows), edits, tmp_path / "run")["rows"]
    failures = "rise/official_failures_wrong_in_accuracy_dropped_from_score/all/"
    for category in (None, *dict.fromkeys(each["category"] for each in made)):
        own = [each for each in made if category in (None, each["category"])]
        end = "" if category is None else f"/{category}"
        expected = {
            "accuracy": np.mean([each["complete"] for each in own]),
            "score": np.mean([each["score"] for each in own]),
        }
        for measure, mean in expected.items():
            assert row["official"][f"{failures}{measure}{end}"] == pytest.approx(mean, abs=1e-9)
            assert row["ours"][f"rise/ours/all/{measure}{end}"]["mean"] == pytest.approx(mean, abs=1e-9)


def test_rises_arithmetic_is_that_of_its_release() -> None:
    fixture = fixture_of("risebench")
    assert [released_numbers(text) for text in fixture["answers"]] == fixture["extracted"]
    for row in fixture["rows"]:
        first, second, third = (float(row[name]) for name in RISE)
        free = bool(row.get("consistency_free")) and row["category"] != "logical_reasoning"
        edit = Marks(row["category"], first, second, third, free)
        assert rise_score(edit) == pytest.approx(row["score"], abs=1e-9), row
        assert is_right(edit) == bool(row["complete"]), row
    assert not is_right(Marks("causal_reasoning", 5.0, 5.0, 5.0, True), free_can_be_right=False)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Final Score: 4.5", 4.5),
        ("**Final Score:** 5", 5.0),
        ("Final Score: 4/5", 4.0),
        ("**Final Score**: **5, 4**", None),
        ("Score: 4", None),
        ("Final Score: 7", None),
        ("Final Score: 3. No: Final Score: 4", None),
    ],
)
def test_final_scores_are_read_without_guessing(text: str, score: float | None) -> None:
    if score is None:
        with pytest.raises(UnusableReply):
            read_score(text, 1, 5)
    else:
        assert read_score(text, 1, 5) == score


@pytest.mark.parametrize(
    ("marks", "score", "right"),
    [
        ((5.0, None, 5.0), None, None),
        ((4.0, None, 5.0), None, False),  # it has lost marks already
        ((None, 5.0, 5.0), None, None),
    ],
)
def test_an_unread_answer_is_a_third_state_of_rise(marks: tuple, score: None, right: bool | None) -> None:
    edit = Marks("spatial_reasoning", *marks)
    assert (rise_score(edit), is_right(edit)) == (score, right)


BAD_RISE = {
    "an unknown category": ([{"category": "moral_reasoning"}], "1 rows are of none of the categories"),
    "no instruction": ([{"instruction": None}], "1 rows have no instruction"),
    "no reference at all": ([{"reference": None}], "1 rows have no reference"),
    "a picture elsewhere": ([{"image": "/etc/a.png"}], "1 rows name a picture elsewhere"),
    "an id twice": ([{}, {}], "1 ids occur twice"),
    "an index that leads out": ([{"index": "../t1"}], "1 rows have an index that names no file"),
    "no rows": ([], "is not of the form"),
}


@pytest.mark.parametrize("name", BAD_RISE)
def test_rows_of_rise_that_cannot_be_used_are_refused(name: str, tmp_path: Path) -> None:
    changes, error = BAD_RISE[name]
    write_rise(tmp_path, [{**RISE_ROW, **change} for change in changes])
    with pytest.raises(ValueError, match=re.escape(error)):
        Rise(str(tmp_path)).cases()


def test_references_of_rise_are_shown_and_missing_ones_named(tmp_path: Path) -> None:
    row = {**RISE_ROW, "category": "spatial_reasoning", "reference": None, "reference_img": "ref.png"}
    write_rise(tmp_path, [row])
    with pytest.raises(FileNotFoundError, match=r"names 1 files that are missing \(.*ref\.png\)"):
        Rise(str(tmp_path)).cases()
    write_rise(tmp_path, [row], ("a.png", "ref.png"))
    rubric = RiseRubric()
    before = rubric.fingerprint
    (case,) = Rise(str(tmp_path), rubric=rubric).cases()
    asked = {each.about: each for each in rubric.questions(Triplet(case, case.original))}
    reference = encode_png(pixels(1, 12, 20))
    assert [asked[about].images[0].content == reference for about in asked] == [True, True, False]
    assert rubric.fingerprint != before
    with pytest.raises(ValueError, match=r"benchmark\.free_if=maybe: choose from given, true"):
        Rise(str(tmp_path), free_if="maybe")
    with pytest.raises(FileNotFoundError, match=r"no other\.json in .*benchmark\.list=NAME"):
        Rise(str(tmp_path), "other.json").cases()
