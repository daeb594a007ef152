"""The paper's tables: which rows belong in them, what lines are called, what is refused."""

from pathlib import Path

import pytest
from tabulation.hand_made import ADDITION, ATTENTION, BOTH, TIME_EMBEDDING, config, judged, write_run

from src.evaluation.metrics import METRICS
from src.tabulation.cells import image_columns
from src.tabulation.paper_tables import paper_table
from src.tabulation.runs import find_reports, select_reports
from src.tabulation.table import Line, Table

THREE = judged([3.0] * 4, [4.0] * 4, [5.0] * 4)
FOUR = judged([4.0] * 4, [4.0] * 4, [5.0] * 4)


def table(folder: Path, name: str, target: str = "5/5/5", published: bool = False) -> Table:
    return paper_table(find_reports([folder]), name, target, None, published)


def labels(table: Table) -> list[tuple[str, ...]]:
    return [line.labels for line in table.lines]


def means(line: Line) -> list[float | None]:
    return [None if value is None else value.mean for value in line.values]


def test_table_5_names_every_place_of_integration(tmp_path: Path) -> None:
    places = [
        ("both", BOTH),
        ("time", TIME_EMBEDDING),
        ("addition", ADDITION),
        ("attention", ATTENTION),
        ("none", None),
    ]
    for name, integration in places:
        write_run(tmp_path / name, {"5/5/5": THREE}, config(integration=integration))
    made = table(tmp_path, "table5_integration")
    expected = [("", ""), ("✓", ""), ("", "✓"), ("", "into the time embedding"), ("✓", "✓")]
    assert [line.labels[:2] for line in made.lines] == expected
    assert [line.name for line in made.lines] == [
        "none",
        "attention",
        "addition",
        "time embedding",
        "attention + addition",
    ]
    assert not any("runs differ" in note for note in made.notes)


def test_table_6_is_about_rows(tmp_path: Path) -> None:
    rows = {
        "5/5/5": FOUR,
        "3/3/3": THREE,
        "0/0/0": THREE,
        "0/0/0+text": THREE,
        "copy input": FOUR,
        "best": FOUR,
    }
    write_run(tmp_path / "a", rows, config())
    made = table(tmp_path, "table6_inference_score", published=True)
    ours = [line for line in made.lines if not line.published]
    assert [line.name for line in ours] == ["0/0/0", "0/0/0+text", "3/3/3", "5/5/5"]
    assert ours[1].labels == ("0", "0", "0", "of a failed edit", "")
    # the paper's line stands below ours of the same name
    assert [line.published for line in made.lines] == [False, True, False, False, True, False, True]
    assert any("differs from that of 5/5/5" in note for note in made.notes)


def test_table_6_of_two_runs_compares_each_with_its_own(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"5/5/5": FOUR, "0/0/0": THREE}, config(integration=BOTH))
    write_run(tmp_path / "b", {"5/5/5": THREE, "0/0/0": THREE}, config(integration=ADDITION))
    made = table(tmp_path, "table6_inference_score")
    found = [
        (line.labels[0], line.labels[4], line.values[1].p)
        for line in made.lines
        if line.values[1] is not None
    ]
    # two photographs, both 1 lower: 2 of 4 flips; nothing differs in b; six comparisons: all 1 after Holm
    assert found == [
        ("0", "through attention and addition", 1.0),
        ("0", "through addition", 1.0),
        ("5", "through attention and addition", None),
        ("5", "through addition", None),
    ]


def test_table_1_names_runs_by_what_differs_and_edits_by_their_name(tmp_path: Path) -> None:
    write_run(
        tmp_path / "a",
        {"5/5/5": THREE, "5/5/5 best of 8 by clip": FOUR, "0/0/0": THREE},
        config(integration=None),
    )
    write_run(tmp_path / "b", {"5/5/5": FOUR}, config())
    write_run(tmp_path / "c", {"InsPix2Pix": THREE}, None)
    made = table(tmp_path, "table1", published=True)
    ours = [line for line in made.lines if not line.published]
    assert [line.labels[0] for line in ours] == [
        "no reward",
        "no reward, best of 8 by clip",
        "reward by score and text",
        "InsPix2Pix",
    ]
    assert made.lines[4].labels[:2] == ("InsPix2Pix", "0.3M")
    assert [line.name for line in made.lines[5:]][:2] == ["KOSMOS-G", "MagicBrush"]
    assert len(made.lines) == 4 + 10


def test_a_single_run_is_called_by_its_experiment_and_meets_the_papers_line(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"5/5/5": THREE}, config() | {"name": "reward_inspix2pix"})
    made = table(tmp_path, "table1", published=True)
    assert [line.labels[0] for line in made.lines[:2]] == ["reward_inspix2pix", "Reward-InsPix2Pix"]


def test_table_2_has_the_metrics_that_are_there(tmp_path: Path) -> None:
    numbers = {
        "5/5/5": {
            "multi_reward/clip_i": {"mean": 0.885, "ci95": [0.86, 0.91], "n": 4},
            "multi_reward/clip_t": {"mean": 0.3, "ci95": None, "n": 4},
            "magicbrush/l1": {"mean": 0.0625, "ci95": [0.06, 0.07], "n": 4},
        }
    }
    better = {
        "5/5/5": {key: {**value, "mean": value["mean"] - 0.01} for key, value in numbers["5/5/5"].items()}
    }
    write_run(tmp_path / "a", {"5/5/5": THREE}, config(), images=numbers)
    write_run(tmp_path / "b", {"5/5/5": THREE}, config(integration=None), images=better)
    made = table(tmp_path, "table2", published=True)
    assert [column.short for column in made.columns] == [
        "multi_reward CLIP-I (%)",
        "multi_reward CLIP-T (%)",
        "magicbrush L1",
    ]
    assert means(made.lines[0]) == [0.885, 0.3, 0.0625]
    # similarities are better when higher, distances when lower
    assert [value.best for value in made.lines[0].values if value] == [True, True, False]
    assert [value.best for value in made.lines[1].values if value] == [False, False, True]
    assert made.lines[2].name == "MagicBrush"
    assert [None if value is None else value.words for value in made.lines[2].values] == [
        "90.7",
        "30.6",
        None,
    ]
    write_run(tmp_path / "c", {"5/5/5": THREE}, config())
    with pytest.raises(
        ValueError, match="none of the runs has a row at the target reward with image metrics"
    ):
        table(tmp_path / "c", "table2")


def test_titles_of_columns_follow_the_metrics() -> None:
    for name, column in zip(METRICS, image_columns(list(METRICS)), strict=True):
        metric = METRICS[name]
        assert (column.key, column.group) == (name, name.partition("/")[0])
        assert (column.title, column.scale, column.digits) == (metric.title, metric.scale, metric.digits)
        assert column.higher_is_better == (metric.better == "higher")
        # what is no more than 1 in size is not shown as more than 100, and no difference is rounded away
        assert abs(column.scale * metric.bounds.low) <= 100
        assert ("(%)" in column.short) == (column.scale == 100)
    assert len({column.short for column in image_columns(list(METRICS))}) == len(METRICS)
    (unknown,) = image_columns(["their/fid"])
    assert (unknown.group, unknown.title, unknown.scale, unknown.higher_is_better) == (
        "their",
        "fid",
        1.0,
        None,
    )


def test_image_metrics_that_are_not_comparable_are_refused(tmp_path: Path) -> None:
    def numbers(n: int) -> dict[str, dict[str, dict[str, object]]]:
        return {"5/5/5": {"multi_reward/clip_t": {"mean": 0.3, "ci95": None, "n": n}}}

    clip = {"clip": "openai/clip-vit-base-patch32"}
    write_run(tmp_path / "a", {"5/5/5": THREE}, config(), images=numbers(3), networks=clip)
    notes = " ".join(table(tmp_path / "a", "table2").notes)
    assert (
        "Measured by clip: openai/clip-vit-base-patch32. Numbers of cases, "
        "where not all have what a metric needs: multi_reward/clip_t 3." in notes
    )
    write_run(
        tmp_path / "b",
        {"5/5/5": THREE},
        config(seed=1),
        images=numbers(3),
        networks={"clip": "clip-vit-large"},
    )
    write_run(tmp_path / "c", {"5/5/5": THREE}, config(seed=2), images=numbers(4), networks=clip)
    for other, message in [
        (
            "b",
            "were measured by clip: openai/clip-vit-base-patch32 and those of .*b by clip: clip-vit-large, "
            "which are not comparable",
        ),
        ("c", "multi_reward/clip_t is over 3 cases in .*a and 4 in .*c, which are not comparable"),
    ]:
        with pytest.raises(ValueError, match=message):
            paper_table(find_reports([tmp_path / "a", tmp_path / other]), "table2", "5/5/5", None, False)


def test_repeated_seeds_are_one_line_and_the_same_seed_twice_is_refused(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(
            tmp_path / f"{seed}",
            {"5/5/5": judged([float(seed + 1)] * 4, [4.0] * 4, [5.0] * 4)},
            config(seed=seed),
        )
    made = table(tmp_path, "table4_reward_signal")
    assert [line.source for line in made.lines] == ["ours, 3 seeds"]
    following = made.lines[0].values[1]
    assert following is not None
    # 1, 2, 3: mean 2, deviation 1
    assert (following.mean, following.spread) == (2.0, 1.0)
    write_run(tmp_path / "again", {"5/5/5": THREE}, config(seed=1))
    with pytest.raises(ValueError, match="have the same settings and seeds and would count twice"):
        table(tmp_path, "table4_reward_signal")


def test_runs_that_differ_elsewhere_are_not_averaged_and_said_so(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"5/5/5": THREE}, config(seed=0, trainer={"max_steps": 100, "devices": 1}))
    write_run(tmp_path / "b", {"5/5/5": FOUR}, config(seed=1, trainer={"max_steps": 200, "devices": 2}))
    write_run(
        tmp_path / "c", {"5/5/5": THREE}, config(integration=None, trainer={"max_steps": 100, "devices": 1})
    )
    made = table(tmp_path, "table4_reward_signal")
    assert [(line.name, line.labels[2]) for line in made.lines] == [
        ("none", "trainer.max_steps=100"),
        ("score + text", "trainer.max_steps=100"),
        ("score + text", "trainer.max_steps=200"),
    ]
    assert not any("the runs differ" in note for note in made.notes), "the lines say it"


def test_differences_that_an_ablation_does_not_express_are_noted(tmp_path: Path) -> None:
    data = {"dataset": {"_target_": "src.data.synthetic.SyntheticTriplets", "length": 8000}}
    permuted = {"dataset": {"_target_": "src.data.permuted.PermutedRewards", "dataset": {"length": 8000}}}
    write_run(tmp_path / "a", {"5/5/5": THREE}, config(integration=None, data=data))
    write_run(tmp_path / "b", {"5/5/5": FOUR}, config(data=permuted))
    (note,) = [note for note in table(tmp_path, "table4_reward_signal").notes if "the runs differ" in note]
    assert (
        note == "Beside what the lines say, the runs differ in data.dataset (none: SyntheticTriplets; "
        "score + text: PermutedRewards)."
    )


def test_a_checkpoints_own_config_is_enough(tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    write_run(tmp_path / "a", {"5/5/5": THREE}, None)
    (tmp_path / "a" / "editor").mkdir()
    carried = {"editor_config": OmegaConf.to_yaml(config(["text"])["model"]), "picture_size": [32, 32]}
    (tmp_path / "a" / "editor" / "config.yaml").write_text(OmegaConf.to_yaml(carried))
    assert [line.name for line in table(tmp_path, "table4_reward_signal").lines] == ["text"]


def test_edits_judged_elsewhere_belong_to_the_run_that_made_them(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", {"5/5/5": THREE}, config(["text"]))
    made = run / "evaluation" / "six" / "5-5-5"
    made.mkdir()
    (made / "generation.json").write_text('{"name": "5/5/5", "seed": 0}')
    folder = write_run(tmp_path / "b", {"text only": THREE}, None) / "evaluation" / "six" / "hand"
    path = folder / "report.json"
    path.write_text(
        path.read_text().replace(f'"checkpoint": "{tmp_path / "b"}"', f'"edits": "{made / "edits"}"')
    )
    assert [line.name for line in table(tmp_path / "b", "table4_reward_signal").lines] == ["text"]


def test_failures_are_noted_with_their_bounds(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"5/5/5": judged([3, 3, None, 3], [4.0] * 4, [5.0] * 4)}, config())
    notes = " ".join(table(tmp_path, "table4_reward_signal").notes)
    # 3 of 4 scored 3: 9 / 4 to (9 + 5) / 4
    assert (
        "score + text (a): 25.0 % of the cases have no complete reward; F, P, Q with all of them: "
        "2.25 to 3.50, 4.00 to 4.00" in notes
    )


def test_reports_that_are_not_comparable_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"5/5/5": THREE}, config())
    write_run(tmp_path / "b", {"5/5/5": THREE}, config(seed=1), benchmark="seven")
    write_run(tmp_path / "c", {"5/5/5": THREE}, config(seed=2), judge="foot")
    write_run(tmp_path / "d", {"5/5/5": THREE}, config(seed=3), fingerprint="hand-2")
    write_run(tmp_path / "e", {"5/5/5": THREE[:2]}, config(seed=4))
    for other, message in [
        (
            "b",
            "is about six and .*b about seven, which are not comparable: choose one with benchmark_name=NAME",
        ),
        (
            "c",
            "was judged by hand and .*c by foot, which are not comparable: choose one with judge_name=NAME",
        ),
        ("d", r"different versions of hand \(hand-1 and hand-2\)"),
        ("e", "is over 4 cases and row '5/5/5' of .*e over 2, which are not comparable"),
    ]:
        with pytest.raises(ValueError, match=message):
            paper_table(
                find_reports([tmp_path / "a", tmp_path / other]), "table4_reward_signal", "5/5/5", None, True
            )
    everything = find_reports([tmp_path / name for name in "abc"])
    assert len(select_reports(everything, "seven", None)) == 1
    with pytest.raises(
        ValueError,
        match="no report on benchmark_name=eight by judge_name=None; there are seven by hand, "
        "six by foot, six by hand",
    ):
        select_reports(everything, "eight", None)


def test_unknown_tables_and_rows_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"5/5/5": THREE}, None)
    with pytest.raises(ValueError, match="table=table3: choose from table1, table2, table4_reward_signal"):
        table(tmp_path, "table3")
    with pytest.raises(
        ValueError,
        match=r"none of the runs has a row at the target reward in a run folder with \.hydra/config\.yaml",
    ):
        table(tmp_path, "table4_reward_signal")
    with pytest.raises(ValueError, match="row=1/1/1"):
        table(tmp_path, "table1", target="1/1/1")
