"""Ideal editors: their scores against those of another computation, and their rows in an evaluation."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SMALL, config, small_editor
from omegaconf import OmegaConf

from src import checkpoint, evaluate, tabulate
from src.data.collate import to_images, to_tensor
from src.diffusion.guidance import Guidance
from src.diffusion.rectified_flow import RectifiedFlow
from src.diffusion.samplers import Sampler, seeded_noise
from src.editing.edit_batch import noise_seed
from src.evaluation import ideal
from src.evaluation.ideal import ALL_GOOD, NO_REWARD, IdealEdits, IdealSetting, ideal_edit, ideal_scores
from src.images import load_image
from src.records import Case
from src.synthetic.draws import Draws
from src.synthetic.world import NOISY, World

WORLD = World(32)
PROCESS = RectifiedFlow("preconditioned", shift=16.0, data_deviation=0.45)
TWO_STEPS = Sampler(2, Guidance())
CASES = 4


def some_cases(count: int, world: World = WORLD) -> Sequence[Case]:
    return world.benchmark_cases(originals=-(-count // 7))[:count]


def by_hand(draws: np.ndarray, original: np.ndarray, steps: int, shift: float, seed: int) -> np.ndarray:
    """The ideal edit by DDIM in numpy, from the same noise."""
    changes = (draws.astype(np.float64) - original) / 127.5
    flat = changes.transpose(0, 3, 1, 2).reshape(len(draws), -1)
    x = seeded_noise([seed], (3, 32, 32), 0).double().numpy().ravel()
    uniform = np.linspace(1, 0, steps + 1)[:-1]
    times = [*np.maximum(shift * uniform / (1 + (shift - 1) * uniform), 0.01), 0.0]
    for t, after in pairwise(times):
        exponents = -((x - (1 - t) * flat) ** 2).sum(1) / (2 * t**2)
        weights = np.exp(exponents - exponents.max())
        mean = weights @ flat / weights.sum()
        x = (1 - after) * mean + after * (x - (1 - t) * mean) / t
    return np.clip(np.rint(original + 127.5 * x.reshape(3, 32, 32).transpose(1, 2, 0)), 0, 255)


@pytest.mark.parametrize(("steps", "shift"), [(1, 16.0), (2, 16.0), (10, 3.0), (30, 3.0)])
def test_an_ideal_edit_is_what_numpy_makes_of_the_same_draws(steps: int, shift: float) -> None:
    process = RectifiedFlow("preconditioned", shift=shift, data_deviation=0.45)
    for case in some_cases(3):
        draws = Draws(WORLD, case.id, NOISY, 40).images
        made = ideal_edit(draws, case.original, process, Sampler(steps, Guidance()), seed=5)
        difference = made - by_hand(draws, case.original, steps, shift, seed=5)
        assert np.abs(difference).max() <= 1  # rounding
        assert (difference != 0).mean() < 0.02


def test_eta_and_clip_of_the_sampler_are_heeded() -> None:
    (case,) = some_cases(1)
    draws = Draws(WORLD, case.id, NOISY, 40).images
    plain, ancestral, clipped = (
        ideal_edit(draws, case.original, PROCESS, sampler, seed=0)
        for sampler in (
            Sampler(10, Guidance()),
            Sampler(10, Guidance(), eta=1.0),
            Sampler(10, Guidance(), clip=0.05),
        )
    )
    assert not np.array_equal(plain, ancestral)
    assert np.abs(clipped.astype(int) - case.original).max() <= 0.05 * 127.5 + 1
    assert np.abs(plain.astype(int) - case.original).max() > 20


def test_one_draw_is_returned() -> None:
    (case,) = some_cases(1)
    draws = Draws(WORLD, case.id, NOISY, 1).images
    np.testing.assert_array_equal(ideal_edit(draws, case.original, PROCESS, TWO_STEPS, 0), draws[0])
    assert to_images(to_tensor(list(draws)))[0].tolist() == draws[0].tolist()


def test_the_reward_is_worth_what_it_is_in_few_cases() -> None:
    scores = ideal_scores(WORLD, PROCESS, TWO_STEPS, some_cases(14), draws=80)
    for row in (NO_REWARD, ALL_GOOD):
        assert scores[row].shape == (14, 3)
    assert scores[ALL_GOOD].mean(0) == pytest.approx([5.0, 5.0, 5.0], abs=0.35)
    assert scores[NO_REWARD].mean(0) == pytest.approx([2.62, 4.39, 4.53], abs=0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "no_reward", "error"),
    [(1, (2.50, 4.43, 4.59), 0.1), (2, (2.62, 4.39, 4.53), 0.45), (8, (2.68, 3.96, 3.77), 0.8)],
)
def test_scores_of_an_independent_computation(
    steps: int, no_reward: tuple[float, float, float], error: float
) -> None:
    """Another implementation with other draws and other noise, on 112 cases. One step gives the mean of the
    draws, whatever the noise; with more, other noise moves a case's following by 1.1 (2 steps) to 2 points (8
    to 10), so that both means err by 0.1 to 0.2.
    """
    scores = ideal_scores(WORLD, PROCESS, Sampler(steps, Guidance()), some_cases(112))
    assert scores[NO_REWARD].mean(0) == pytest.approx(no_reward, abs=error)
    assert scores[ALL_GOOD].mean(0) == pytest.approx((5.0, 5.0, 5.0), abs=0.1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    text = OmegaConf.to_yaml(config(*SMALL).model, resolve=True)
    checkpoint.export(folder / "editor", text, (32, 32), small_editor().state_dict())
    evaluate_with(folder, folder)
    return folder


def evaluate_with(run: Path, output: Path, *overrides: str) -> None:
    asked = (
        f"checkpoint={run}/editor",
        f"output={output}",
        f"limit={CASES}",
        f"benchmark.ideals.cache={run}/ideal",
        "benchmark.ideals.draws=40",
    )
    evaluate.main(config(*asked, *overrides, name="evaluate"))


def report_of(output: Path) -> dict[str, Any]:
    return json.loads((output / "evaluation/synthetic_edit/oracle/report.json").read_text())


def names_of(output: Path) -> list[str]:
    return [row["name"] for row in report_of(output)["rows"]]


def test_a_report_has_the_ideal_rows_of_its_sampler(run: Path) -> None:
    rows = {row["name"]: row for row in report_of(run)["rows"]}
    assert list(rows) == ["5/5/5", "copy input", "training triplets", NO_REWARD, ALL_GOOD, "exact target"]
    saved = checkpoint.lossless_process(run / "editor")
    assert saved is not None
    expected = ideal_scores(WORLD, saved.process, TWO_STEPS, some_cases(CASES), draws=40)
    for name in (NO_REWARD, ALL_GOOD):
        assert (rows[name]["n"], rows[name]["coverage"], rows[name]["made_by"]) == (CASES, 1.0, {})
        means = [rows[name][perspective]["score"] for perspective in ("following", "preserving", "quality")]
        assert means == pytest.approx(expected[name].mean(0))
    text = (run / "evaluation/synthetic_edit/oracle/report.md").read_text()
    assert "the exact mean over 40 edits of a case" in text
    assert "(2 steps, eta 0, no guidance)" in text


def test_the_kept_edits_are_those_of_the_ideal_editor(run: Path) -> None:
    saved = checkpoint.lossless_process(run / "editor")
    assert saved is not None
    (folder,) = (run / "ideal").iterdir()
    for case in some_cases(CASES):
        drawn = Draws(WORLD, case.id, NOISY, 40)
        for row, name in ((NO_REWARD, "no_reward"), (ALL_GOOD, "5-5-5")):
            known = ideal.known_draws(drawn, row)
            expected = ideal_edit(known, case.original, saved.process, TWO_STEPS, noise_seed(case.id, 0))
            np.testing.assert_array_equal(load_image(folder / name / f"{case.id}.png"), expected)


def test_the_second_evaluation_draws_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the same folder nor in that of another run."""

    def refuse(*_: object) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr(ideal, "Draws", refuse)
    before = report_of(run)
    evaluate_with(run, run)
    assert report_of(run) == before
    evaluate_with(run, tmp_path)
    assert report_of(tmp_path) == before
    with pytest.raises(AssertionError, match="drawn again"):
        evaluate_with(run, tmp_path / "other", "sampler.steps=3")


def test_another_sampler_process_or_seed_has_edits_of_its_own(run: Path) -> None:
    saved = checkpoint.lossless_process(run / "editor")
    assert saved is not None
    edits = IdealEdits(WORLD, NOISY, 40, run / "ideal")
    settings = [
        IdealSetting(saved.process, saved.settings, TWO_STEPS, 0),
        IdealSetting(saved.process, saved.settings, TWO_STEPS, 1),
        IdealSetting(saved.process, saved.settings, Sampler(2, Guidance(), eta=1.0), 0),
        IdealSetting(saved.process, saved.settings, Sampler(2, Guidance(), clip=1.0), 0),
        IdealSetting(saved.process, {**saved.settings, "shift": 3.0}, TWO_STEPS, 0),
    ]
    assert len({edits.folder(setting) for setting in settings}) == len(settings)
    guided = IdealSetting(saved.process, saved.settings, Sampler(2, Guidance(text=2.0)), 0)
    assert edits.folder(guided) == edits.folder(settings[0])
    assert edits.folder(settings[0]).exists()


def test_processes_share_the_work(run: Path, tmp_path: Path) -> None:
    saved = checkpoint.lossless_process(run / "editor")
    assert saved is not None
    setting = IdealSetting(saved.process, saved.settings, TWO_STEPS, 0)
    together, alone = (IdealEdits(WORLD, NOISY, 40, folder / "ideal") for folder in (tmp_path, run))
    cases = some_cases(CASES)
    together.make(cases[::2], setting)
    with pytest.raises(FileNotFoundError, match="2 of 4 edits are missing"):
        together.paths(NO_REWARD, cases, setting)
    together.make(cases[1::2], setting)
    for row in (NO_REWARD, ALL_GOOD):
        pairs = zip(together.paths(row, cases, setting), alone.paths(row, cases, setting), strict=True)
        assert all(one.read_bytes() == other.read_bytes() for one, other in pairs)


def test_ideal_rows_can_be_turned_off(run: Path, tmp_path: Path) -> None:
    evaluate.main(
        config(
            f"checkpoint={run}/editor",
            f"output={tmp_path}",
            "limit=2",
            "benchmark.ideals=null",
            name="evaluate",
        )
    )
    assert names_of(tmp_path) == ["5/5/5", "copy input", "training triplets", "exact target"]
    with pytest.raises(ValueError, match=r"draws=0: an ideal editor knows at least one draw"):
        IdealEdits(WORLD, NOISY, 0, tmp_path)


def test_without_a_checkpoint_there_are_none(run: Path, tmp_path: Path) -> None:
    edits = run / "evaluation/synthetic_edit/5-5-5/edits"
    evaluate.main(
        config(f"edits={edits}", "row=theirs", f"output={tmp_path}", f"limit={CASES}", name="evaluate")
    )
    assert names_of(tmp_path) == ["theirs", "copy input", "training triplets", "exact target"]


def test_rows_that_were_not_made_are_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate_with(run, tmp_path, "benchmark.ideals=null", "steps=[generate]")
    evaluate_with(run, tmp_path, f"benchmark.ideals.cache={tmp_path}/ideal", "steps=[judge,report]")
    assert names_of(tmp_path) == ["5/5/5", "copy input", "training triplets", "exact target"]
    said = capsys.readouterr().err
    assert f"{NO_REWARD} is left out: 4 of 4 edits are missing" in said
    assert "add generate to steps" in said


def test_an_editor_with_an_autoencoder_has_none(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.backbones.tiny.TinyBackbone.is_lossless", False)
    evaluate_with(run, tmp_path)
    assert names_of(tmp_path) == ["5/5/5", "copy input", "training triplets", "exact target"]
    assert "The ideal rows are left out: the editor's latents come from an autoencoder" in (
        capsys.readouterr().err
    )


def test_where_a_case_has_no_draw_rated_5_5_5_that_row_is_left_out(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    never = ("world=never_all_good", "benchmark.ideals.draws=5")
    evaluate_with(run, tmp_path, *never)
    assert names_of(tmp_path) == ["5/5/5", "copy input", "training triplets", NO_REWARD, "exact target"]
    said = capsys.readouterr().err
    assert f"{ALL_GOOD} is left out: among 100 draws of w3n-benchmark-0-0-32 the annotator rates none" in said
    assert (
        "is left out: among 100 draws"
        in (tmp_path / "evaluation/synthetic_edit/oracle/report.md").read_text()
    )
    monkeypatch.setattr(ideal, "Draws", None)  # nor is it searched for again
    evaluate_with(run, tmp_path, *never)


def test_scores_where_a_case_has_no_draw_are_unknown() -> None:
    never = World(32, never_all_good=True)
    scores = ideal_scores(never, PROCESS, TWO_STEPS, some_cases(2, never), draws=2)
    assert np.isfinite(scores[NO_REWARD]).all()
    assert np.isnan(scores[ALL_GOOD][0]).all()


def test_a_page_of_two_samplers_shows_the_ideals_of_both(run: Path, tmp_path: Path) -> None:
    evaluate_with(run, tmp_path / "ten", "sampler.steps=10")
    tabulate.main(config(f"runs=['{run}','{tmp_path}/ten']", f"page={tmp_path}/report.html", name="tabulate"))
    text = (tmp_path / "report.html").read_text()
    assert f"ten · {NO_REWARD}" in text
    assert "ten · copy input" not in text
