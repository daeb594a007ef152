"""experiments/gain_curve.py: the gain by the reward against a setting of the config, on runs that are made
up.
"""

from pathlib import Path

import pytest
from experiments.made_up import BOTH, data, write_job

from experiments.evidence import make_entry, reports_below
from experiments.gain_curve import curve, gain_range, grouped, main, value_of
from src.images import load_image
from src.tabulation.runs import run_rows

DEVIATIONS = {0.0: 2.5, 1.5: 2.0, 3.0: 1.05, 6.0: 1.0}
"""Following at each deviation of the annotator's scores; 1 without reward."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curve")
    number = 0
    for deviation, following in DEVIATIONS.items():
        for seed in range(2):
            annotator = {"_target_": "src.synthetic.annotation.NoisyAnnotator", "score_deviation": deviation}
            rows = {"5/5/5": (following, 4.0, 4.0)}
            write_job(folder / "curve" / str(number), rows, seed, ("score",), annotator=annotator)
            number += 1
    for seed in range(2):
        write_job(folder / "none" / str(seed), {"5/5/5": (1.0, 4.0, 4.0)}, seed, integration=None)
    write_job(folder / "text" / "0", {"5/5/5": (2.0, 4.0, 4.0)}, 0, ("text",))
    return folder


def test_the_curve_says_where_the_gain_vanishes(runs: Path, tmp_path: Path) -> None:
    (runs / "curve/sweep.json").write_text('{"command": "python -m src.train +sweep=judge_error"}')
    target = tmp_path / "judge_error.md"
    main(
        [
            "annotator.score_deviation",
            str(runs / "curve"),
            "--none",
            str(runs / "none"),
            "-x",
            "the deviation of scores",
            "-o",
            str(target),
        ]
    )
    assert "**Reading.**" not in target.read_text()
    (tmp_path / "reading.md").write_text("Errors cost little.\n")
    main(
        [
            "annotator.score_deviation",
            str(runs / "curve"),
            "--none",
            str(runs / "none"),
            "--reading",
            str(tmp_path / "reading.md"),
            "-o",
            str(target),
        ]
    )
    text = target.read_text()
    assert "**Reading.** Errors cost little.\n" in text
    assert (
        "following: a gain up to 1.5, none to be seen from 3 on; preserving: no gain anywhere; "
        "quality: no gain anywhere" in text
    )
    assert "    python -m src.train +sweep=judge_error\n" in text
    head = ["| annotator.score_deviation", "| ---"]
    first_cells = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")]
    assert first_cells == [
        *head,
        "| 0",
        "| 1.5",
        "| 3",
        "| 6",
        *head,
        "| 1.5",
        "| 3",
        "| 6",
        *head,
        "| 0",
        "| 1.5",
        "| 3",
        "| 6",
        "| any",
    ]
    assert load_image(target.with_suffix(".png")).std() > 5


def test_points_are_seeds_of_one_setting(runs: Path) -> None:
    key = "annotator.score_deviation"
    none = make_entry("none", run_rows(reports_below([runs / "none"], "synthetic_edit")[0])[:2])
    rows = run_rows(reports_below([runs / "curve"], "synthetic_edit")[0])
    points = curve(key, grouped(key, rows, None), none)
    assert [(point.x, len(point.entry.rows), len(point.by_seed[0])) for point in points] == [
        (x, 2, 2) for x in DEVIATIONS
    ]
    assert gain_range(points[:2], 0) == "a gain everywhere, up to 1.5"
    assert gain_range([points[2], points[1]], 0) == "a gain at 1.5"
    (text,) = run_rows(reports_below([runs / "text"], "synthetic_edit")[0])
    # a run whose config has no such number is left out, or stands at the default, where it must be of the
    # same setting
    assert len(grouped(key, [*rows, text], None)) == 4
    with pytest.raises(ValueError, match=r"at annotator\.score_deviation=6 differ in more than their seeds"):
        grouped(key, [*rows, text], "6")
    with pytest.raises(ValueError, match="a curve needs two values"):
        curve(key, grouped(key, rows[:2], None), none)
    with pytest.raises(
        ValueError, match=r"no runs without reward at annotator\.score_deviation=1\.5, only at 0"
    ):
        curve(key, grouped(key, rows, None), {"0": none})


def test_runs_without_reward_change_with_the_setting_too(tmp_path: Path) -> None:
    clean = "src.data.partly_clean.PartlyClean"
    following = {(0.0, True): 2.0, (0.0, False): 1.0, (0.5, True): 2.2, (0.5, False): 2.2}
    for (share, rewarded), mean in following.items():
        job = tmp_path / "runs" / f"{share}-{rewarded}"
        settings = {} if share == 0 else {"data": data(clean, clean_share=share)}
        write_job(job, {"5/5/5": (mean, 4.0, 4.0)}, 0, integration=BOTH if rewarded else None, **settings)
    target, runs = tmp_path / "bad.md", str(tmp_path / "runs")
    main(["data.control.clean_share", runs, "--default", "0", "--none", runs, "--each", "-o", str(target)])
    text = target.read_text()
    assert "**following: a gain up to 0, none to be seen from 0.5 on; " in text
    lines = [line for line in text.split("## Mean scores")[1].splitlines() if line.startswith("| 0")]
    assert [line.split(" | ")[:2] for line in lines] == [
        ["| 0", "yes"],
        ["| 0.5", "yes"],
        ["| 0", "no"],
        ["| 0.5", "no"],
    ]
    assert abs(float(lines[2].split(" | ")[3]) - 1.0) < 0.3
    # an ordinary comparison leaves mended runs out, which are no plain ones
    main(["data.control.clean_share", runs, "--default", "0", "--none", runs, "-o", str(target)])
    assert "**following: a gain everywhere, up to 0.5; " in target.read_text()


def test_words_stand_beside_each_other(runs: Path, tmp_path: Path) -> None:
    for number, (windows, following) in enumerate([("joined", 1.0), ("per_perspective", 2.0)]):
        model = {"reward_encoder": {"signals": ["score", "text"], "windows": windows}}
        write_job(tmp_path / "windows" / str(number), {"5/5/5": (following, 4.0, 4.0)}, 0, windows=model)
    target = tmp_path / "windows.md"
    main(
        [
            "windows.reward_encoder.windows",
            str(tmp_path / "windows"),
            "--none",
            str(runs / "none"),
            "-o",
            str(target),
        ]
    )
    text = target.read_text()
    assert "**following: a gain at per_perspective; preserving: " in text
    assert "## Against windows.reward_encoder.windows=joined\n" in text
    assert "| per_perspective | 1 | 48 | +1.0" in text.split("## Against")[1]
    assert load_image(target.with_suffix(".png")).std() > 5


def test_settings_of_the_edits_are_those_of_the_evaluation() -> None:
    settings = {
        "sampler": {"steps": 2},
        "evaluation": {"sampler": {"steps": 4}},
        "data": {"seed": "${seed}", "share": 0.5},
    }
    assert value_of(settings, "sampler.steps") == "4"
    assert value_of(settings, "data.share") == "0.5"
    assert value_of(settings, "data.other") is None
