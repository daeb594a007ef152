"""The judge check: the oracle passes, and no judge that is constant, random, blind to the instruction or
mixes up the perspectives does.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import run
from conftest import config
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from src import check_judge
from src.check_judge import blinded_for
from src.evaluation.judge_battery import (
    EVERYDAY,
    EXACT,
    GROWING,
    SHUFFLED,
    SWAPPED,
    UNEDITED,
    anonymized,
    everyday_probes,
    targeted_probes,
)
from src.evaluation.judge_card import (
    JudgeCard,
    JudgeCheck,
    ProbeResult,
    all_checks,
    card_details,
    clustered_correlation,
    write_card,
)
from src.judges.fake_server import image_key, running_server
from src.judges.oracle import OracleJudge
from src.records import PERSPECTIVES, Reward, Verdict
from src.reward_file import read_rewards
from src.synthetic.world import World

THRESHOLDS = dict(config(name="check_judge").thresholds)


@pytest.fixture(scope="module")
def world() -> World:
    return World(32)


@pytest.fixture(scope="module")
def truth(world: World) -> list[ProbeResult]:
    """The oracle's answers to a battery."""
    oracle = OracleJudge(world)
    return [
        ProbeResult(probe, reward, reward)
        for probe in [*everyday_probes(world, 28), *targeted_probes(world, 14)]
        for reward in oracle.judge([probe.triplet])
    ]


def answered(
    truth: list[ProbeResult], change: Callable[[ProbeResult], list[float | None]]
) -> dict[str, JudgeCheck]:
    """The checks of a judge who gives these three scores; success from 2.5 points on."""

    def said(each: ProbeResult) -> Reward:
        verdicts = [
            Verdict(None, None, "?", "failed") if score is None else Verdict(float(score), score >= 2.5)
            for score in change(each)
        ]
        return Reward("x", "fake", "key", *verdicts)

    asked = [ProbeResult(each.probe, said(each), each.truth) for each in truth]
    pairs = [(each.judged, said(each)) for each in asked if each.probe.kind == EVERYDAY]
    return {check.name: check for check in all_checks(asked, pairs, THRESHOLDS)}


def true_scores(each: ProbeResult) -> list[float]:
    return [float(verdict.score or 0.0) for verdict in each.truth.verdicts]


def missed(checks: dict[str, JudgeCheck]) -> set[str]:
    return {name for name, check in checks.items() if not check.passed}


def test_probes_are_what_they_are_called(truth: list[ProbeResult]) -> None:
    scores = {
        kind: np.array([true_scores(each) for each in truth if each.probe.kind == kind])
        for kind in (EXACT, UNEDITED, SHUFFLED, SWAPPED)
    }
    assert (scores[EXACT] > 4.5).all()
    for kind in (UNEDITED, SWAPPED):
        assert (scores[kind][:, 0] < 1).all()
        assert (scores[kind][:, 1:] > 4).all()
    assert (scores[SHUFFLED][:, 0] < 3).mean() > 0.9
    for flaw in GROWING:
        steps = {
            each.probe.severity: true_scores(each)[2]
            for each in truth
            if each.probe.kind == flaw and each.probe.case == 3
        }
        assert list(steps.values()) == sorted(steps.values(), reverse=True)
    swapped = next(
        each for each in truth if each.probe.kind == SWAPPED and each.probe.case == 3
    ).probe.triplet
    exact = next(each for each in truth if each.probe.kind == EXACT and each.probe.case == 3).probe.triplet
    assert np.array_equal(swapped.case.original, exact.edited)
    assert np.array_equal(swapped.edited, exact.case.original)


def test_the_truth_passes_with_full_marks(truth: list[ProbeResult]) -> None:
    checks = answered(truth, true_scores)
    assert not missed(checks)
    kappas = [check for name, check in checks.items() if "kappa" in name]
    rest = [check for check in checks.values() if check.at_least and check not in kappas]
    low = {
        check.name: check.value for check in rest if check.value < (0.9 if "falls" in check.name else 0.999)
    }
    assert not low


def test_a_rough_but_honest_judge_passes(truth: list[ProbeResult]) -> None:
    """Whole points, and one point off at random."""
    rng = np.random.default_rng(0)
    checks = answered(
        truth,
        lambda each: [
            float(np.clip(round(score) + rng.choice([-1, 0, 0, 0, 1]), 0, 5)) for score in true_scores(each)
        ],
    )
    assert not missed(checks) - {"asked twice: points apart"}


def test_a_constant_judge_fails(truth: list[ProbeResult]) -> None:
    checks = answered(truth, lambda each: [5.0, 5.0, 5.0])
    assert len(missed(checks)) >= 12
    assert checks["following: exact edit above unedited"].value == 0.5
    assert checks["quality falls with blur"].value == 0


@pytest.mark.parametrize("score", [0.0, 3.0, 5.0])
@pytest.mark.parametrize("places", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_judge_with_one_score_for_all_does_not_pass(
    truth: list[ProbeResult], places: tuple[int, ...], score: float
) -> None:
    """Not even if it is right about the other perspectives."""

    def constant(each: ProbeResult) -> list[float]:
        return [score if index in places else true for index, true in enumerate(true_scores(each))]

    lost = missed(answered(truth, constant))
    assert {f"{list(PERSPECTIVES)[index].value} ranks as the truth does" for index in places} <= lost


def test_a_random_judge_fails(truth: list[ProbeResult]) -> None:
    rng = np.random.default_rng(1)
    checks = answered(truth, lambda each: rng.uniform(0, 5, 3).tolist())
    assert len(missed(checks)) >= 12
    assert checks["asked twice: points apart"].value == pytest.approx(5 / 3, abs=0.3)


@pytest.mark.parametrize("order", [(0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_a_judge_who_mixes_up_the_perspectives_fails(
    truth: list[ProbeResult], order: tuple[int, int, int]
) -> None:
    checks = answered(truth, lambda each: [true_scores(each)[index] for index in order])
    assert any("ranks as the truth" in name for name in missed(checks))
    assert len(missed(checks)) >= 3


def test_a_judge_with_one_opinion_for_all_three_fails(truth: list[ProbeResult]) -> None:
    assert missed(answered(truth, lambda each: [sum(true_scores(each)) / 3] * 3))


def test_a_judge_blind_to_the_instruction_fails(truth: list[ProbeResult]) -> None:
    """Who takes any change for the right one."""

    def looks_at_images_only(each: ProbeResult) -> list[float]:
        changed = not np.array_equal(each.probe.triplet.case.original, each.probe.triplet.edited)
        return [5.0 if changed else 0.0, *true_scores(each)[1:]]

    assert f"following: exact edit above {SHUFFLED}" in missed(answered(truth, looks_at_images_only))


def test_failures_are_counted_and_never_scored(truth: list[ProbeResult]) -> None:
    checks = answered(truth, lambda each: [None, None, None] if each.probe.case % 2 else true_scores(each))
    assert missed(checks) == {"rewards that failed"}
    assert checks["rewards that failed"].value == pytest.approx(0.5)
    silent = answered(truth, lambda each: [None, None, None])
    assert missed(silent) == set(silent), "of a judge without an answer nothing is known to be good"
    assert {check.value for name, check in silent.items() if name != "rewards that failed"} == {None}


def test_a_judge_who_is_not_asked_for_yes_or_no_is_not_blamed(truth: list[ProbeResult]) -> None:
    asked = [
        ProbeResult(
            each.probe, Reward("x", "f", "k", *(Verdict(score) for score in true_scores(each))), each.truth
        )
        for each in truth
        if each.probe.kind != EVERYDAY or each.probe.case < 20
    ]
    checks = all_checks(asked, [(each.judged, each.judged) for each in asked[:5]], THRESHOLDS)
    assert all(check.passed for check in checks)
    assert sum(not check.asked for check in checks) == len(PERSPECTIVES)


def test_a_judge_under_trial_sees_nothing_but_the_triplet(world: World) -> None:
    triplet = world.triplet("benchmark", 0, 3)
    seen = anonymized(triplet)
    assert seen.case.id.isalnum()
    assert not set("-w") & set(seen.case.id)
    assert (seen.case.edit_type, seen.case.photograph) == ("", "")
    assert (seen.case.instruction, seen.edited is triplet.edited) == (triplet.case.instruction, True)
    assert anonymized(world.triplet("benchmark", 0, 4)).case.id != seen.case.id
    assert OracleJudge(world).judge([seen])[0].failed, "nobody can measure what he can't name"
    assert blinded_for(OracleJudge(world), triplet) is triplet


def test_intervals_of_correlations_hold_the_value() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 5, 80)
    value, interval, n = clustered_correlation(
        scores + rng.normal(0, 1, 80), scores, [str(index % 8) for index in range(80)]
    )
    assert n == 80
    assert interval is not None
    assert interval.low < value < interval.high
    assert clustered_correlation(np.full(3, math.nan), np.arange(3.0), list("abc"))[0] is None


def test_a_card_is_written_whole(truth: list[ProbeResult], tmp_path: Path) -> None:
    checks = all_checks(truth, [(each.judged, each.truth) for each in truth[:9]], THRESHOLDS)
    described = {"version": "2", "size": 32, "everyday": 28, "cases": 14}
    write_card(
        JudgeCard(
            "oracle", "print", described, checks, {"seconds_per_triplet": 0.1}, card_details(truth), "a note"
        ),
        tmp_path,
    )
    card = json.loads((tmp_path / "card.json").read_text())
    assert {
        "judge",
        "passed",
        "note",
        "checks",
        "cost",
        "world",
        "fingerprint",
        "mean_scores",
        "everyday",
        "verdicts",
    } <= set(card)
    assert card["passed"] is True
    assert len(card["checks"]) == 15
    assert card["verdicts"] == {"ok": 3 * len(truth), "repaired": 0, "failed": 0}
    with Image.open(tmp_path / "card.png") as image:
        assert min(image.size) > 600


@pytest.mark.parametrize(
    ("chosen", "overrides", "name"),
    [("mine", ["judge=oracle"], "mine"), ("gpt4o", ["judge=gpt4o"], "gpt4o"), (None, [], "oracle")],
)
def test_a_judge_without_a_name_in_its_yaml_has_a_folder_of_its_own(
    chosen: str | None, overrides: list[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = OmegaConf.create({"runtime": {"choices": {"judge": chosen}}})
    monkeypatch.setattr(HydraConfig, "initialized", lambda: chosen is not None)
    monkeypatch.setattr(HydraConfig, "get", lambda: choices)
    assert config(*overrides, name="check_judge").output == f"runs/judges/{name}"


def test_the_command_tries_the_oracle(tmp_path: Path) -> None:
    few = ["world.size=32", "count=8", "cases=7", "retest=4"]
    done = run("judge=oracle", *few, f"output={tmp_path}", module="src.check_judge")
    assert done.returncode == 0, done.stderr
    assert "oracle passed" in done.stdout
    assert done.stdout.strip().endswith(str(tmp_path / "card.png"))
    assert "edits/s" in done.stderr
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["passed"]
    assert card["world"] == {"version": "3", "size": 32, "everyday": 8, "cases": 7, "asked_twice": 4}
    asked = len(read_rewards(tmp_path / "rewards.jsonl"))
    assert 8 + 7 * 12 < asked <= 8 + 7 * 13, (
        "an everyday triplet without a flaw is the exact edit, and isn't asked about twice"
    )


def http_judge(url: str, folder: Path, *more: str) -> list[str]:
    small = ["world.size=32", "count=14", "cases=7", "retest=4", f"output={folder}", "note=a fake for tests"]
    judge = [
        "judge=openai_compatible",
        "judge.client.model=Qwen/Qwen3-VL-8B-Instruct",
        "judge.rubric.mode=evaluation",
    ]
    judge += ["judge.client.key_variable=OPENAI_API_KEY"]
    return [*judge, f"judge.client.base_url={url}", *small, *more]


def test_a_judge_over_http_that_knows_images_but_not_instructions(
    truth: list[ProbeResult],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The test server gives the truth by the edited image alone, so it can't tell the edit asked for from
    another instruction's.
    """
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    rows = {}
    for each in sorted(truth, key=lambda each: each.probe.kind == EXACT):
        verdicts = {
            name: {"score": verdict.score, "feedback": verdict.feedback, "success": verdict.success}
            for name, verdict in zip(PERSPECTIVES, each.truth.verdicts, strict=True)
        }
        rows[image_key(each.probe.triplet.edited)] = {
            "edited": image_key(each.probe.triplet.edited),
            **verdicts,
        }
    known = tmp_path / "truth.jsonl"
    known.write_text("".join(json.dumps(row) + "\n" for row in rows.values()))
    with running_server(tmp_path / "requests.jsonl", f"--truth={known}") as server:
        arguments = http_judge(server.base_url, tmp_path / "card")
        check_judge.main(config(*arguments, name="check_judge"))
        assert "has not passed" in capsys.readouterr().out
        card = json.loads((tmp_path / "card" / "card.json").read_text())
        lost = {check["name"] for check in card["checks"] if not check["passed"]}
        assert lost == {f"following: exact edit above {SHUFFLED}"}
        assert card["note"] == "a fake for tests"
        asked = len((tmp_path / "requests.jsonl").read_text().splitlines())
        assert card["cost"]["calls"] + 3 * 4 == asked, (
            "those that are asked twice are asked of the server once more"
        )
        check_judge.main(config(*arguments, name="check_judge"))
        assert len((tmp_path / "requests.jsonl").read_text().splitlines()) == asked, (
            "a second run asks nothing"
        )
        judge = instantiate(config(*arguments, "dry_run=true", name="check_judge").judge)
        assert judge.name == "openai_compatible"
        capsys.readouterr()
        check_judge.main(config(*arguments, "dry_run=true", name="check_judge"))
        assert f"{14 + 7 * 13} triplets, {3 * (14 + 7 * 13)} calls" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["count=3", "cases=1", "count=561"])
def test_too_few_or_too_many_are_refused(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=wrong):
        check_judge.main(config("world.size=32", wrong, f"output={tmp_path}", name="check_judge"))
