"""The strength of edits: laws of the picture and of the comparison, files, and the real command."""

from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, config, small_editor
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jaxtyping import TypeCheckError
from omegaconf import OmegaConf

from src import checkpoint, evaluate
from src.evaluation.comparison import CaseScores
from src.evaluation.strength import (
    COMMON,
    Arm,
    at_following,
    averaged,
    check_price,
    matched,
    read_arms,
    strength_section,
    with_strength,
    write_arms,
)
from src.images import load_image
from src.judges.judge import Judge

PICTURE = arrays(np.uint8, (3, 4, 3))
STRENGTHS = (0.0, 0.5, 1.0, 1.5)


@given(PICTURE, PICTURE, st.floats(0.0, 4.0), st.floats(0.0, 4.0))
def test_laws_of_the_picture(original: np.ndarray, edited: np.ndarray, one: float, other: float) -> None:
    assert np.array_equal(with_strength(original, edited, 1.0), edited)
    assert np.array_equal(with_strength(original, edited, 0.0), original)
    assert np.array_equal(with_strength(original, original, one), original)
    low, high = (with_strength(original, edited, each).astype(int) for each in sorted((one, other)))
    # stronger is farther from the original, pixel by pixel
    assert (np.abs(low - original) <= np.abs(high - original)).all()


def test_by_hand_and_refused() -> None:
    original, edited = np.full((1, 1, 3), 100, np.uint8), np.array([[[0, 101, 250]]], np.uint8)
    assert with_strength(original, edited, 0.5).tolist() == [[[50, 100, 175]]]
    assert with_strength(original, edited, 1.5).tolist() == [[[0, 102, 255]]]
    with pytest.raises((ValueError, TypeCheckError)):
        with_strength(np.zeros((2, 1, 3), np.uint8), edited, 0.5)


def arm(name: str, preserving: float = 4.0, faster: float = 1.0, noise: int = 0) -> Arm:
    """Follows by 2 x `faster` at full strength; preserving falls by 1 and quality by 0.5 for each point of
    following.
    """
    of_case = np.random.default_rng(noise).normal(0, 0.05, (24, 3)) if noise else np.zeros((24, 3))
    cases = []
    for strength in STRENGTHS:
        following = 2.0 * faster * strength
        means = np.array([following, preserving - following, 5.0 - 0.5 * following])
        cases.append(
            tuple(
                CaseScores(str(n), f"p{n // 3}", (float(each[0]), float(each[1]), float(each[2])))
                for n, each in enumerate(means + of_case)
            )
        )
    return Arm(name, STRENGTHS, tuple(cases))


def test_equal_rows_differ_by_nothing_where_they_follow_alike() -> None:
    found = matched(arm("a", noise=1), arm("b", noise=1))
    assert found is not None
    assert found.differences == (0.0, 0.0)
    assert found.strengths[0] == found.strengths[1]
    assert found.ci95 == ((0.0, 0.0), (0.0, 0.0))
    assert (found.n, found.clusters) == (24, 8)


def test_an_editor_that_only_changes_more_is_no_better_or_worse() -> None:
    """Twice the change along one line: at full strength preserving falls by 2, at equal following by 0."""
    found = matched(arm("a", faster=2.0), arm("b"))
    assert found is not None
    assert found.following == pytest.approx(COMMON * 2.0)
    assert found.strengths == (pytest.approx(0.4), pytest.approx(0.8))
    assert found.differences == pytest.approx((0.0, 0.0))


def test_a_difference_is_found_with_its_sign_and_interval() -> None:
    found = matched(arm("a", preserving=4.3, noise=1), arm("b", noise=2))
    back = matched(arm("b", noise=2), arm("a", preserving=4.3, noise=1))
    assert found is not None
    assert back is not None
    assert found.differences[0] == pytest.approx(0.3, abs=0.05)
    assert back.differences == pytest.approx(tuple(-each for each in found.differences))
    interval = found.ci95[0]
    assert interval is not None
    assert 0.0 < interval.low < found.differences[0] < interval.high
    apart = [(arm("a", 4.3 + shift, noise=1), arm("b", noise=2)) for shift in (-0.5, 0.0, 0.5)]
    wider = matched(arm("a", 4.3, noise=1), arm("b", noise=2), apart)
    assert wider is not None
    assert wider.ci95[0] is not None
    assert wider.ci95[0].low < 0.0 < interval.low  # three trainings that differ


def test_what_can_t_be_matched() -> None:
    means = np.array([[0.5, 5.0, 5.0], [1.5, 4.0, 4.0]])
    assert at_following((0.5, 1.0), means, 0.4) is None
    assert at_following((0.5, 1.0), means, 1.6) is None
    assert at_following((0.5, 1.0), means, 0.75) == (0.625, 4.75, 4.75)
    other = arm("b")
    renamed = tuple(
        tuple(CaseScores(f"x{c.id}", c.photograph, c.scores) for c in each) for each in other.cases
    )
    assert matched(arm("a"), Arm("b", STRENGTHS, renamed)) is None
    assert matched(arm("a"), other, following=9.0) is None


def test_trainings_are_averaged_case_by_case() -> None:
    mean = averaged("a", [arm("a", 3.0), arm("a", 4.0)])
    assert mean.cases[2][0].scores == pytest.approx((2.0, 1.5, 4.0))
    with pytest.raises(
        ValueError, match=r"a was dialled to \(0\.0, .* and to \(0\.0, 1\.0\): judge them alike"
    ):
        averaged("a", [arm("a"), Arm("a", (0.0, 1.0), arm("a").cases[:2])])


def test_files(tmp_path: Path) -> None:
    write_arms(tmp_path, [arm("0/0/0")], "oracle", "1")
    write_arms(tmp_path, [arm("5/5/5", 4.5)], "oracle", "1")
    assert read_arms(tmp_path, "1") == [arm("5/5/5", 4.5), arm("0/0/0")]
    assert read_arms(tmp_path, "2") == []
    assert load_image(tmp_path / "strength.png").std() > 5
    text = "\n".join(strength_section(tmp_path, "1"))
    assert "| 5/5/5 | 0.5 | 1.00 | 3.50 | 4.50 |" in text
    assert "| 5/5/5 | 0/0/0 | 1.60 | 0.80 / 0.80 | +0.50 [+0.50, +0.50] | +0.00 [+0.00, +0.00] |" in text
    (tmp_path / "strength.json").write_text("{}")
    with pytest.raises(ValueError, match="not a record of strengths"):
        read_arms(tmp_path, "1")


class Priced(Judge):
    name, fingerprint, is_paid = "gpt", "1", True

    def judge(self, triplets):
        raise AssertionError


def test_a_judge_with_a_price_is_asked_only_if_told_so() -> None:
    with pytest.raises(ValueError, match="asks gpt, which has a price, 2 more times about every edit"):
        check_price([0.5, 1.5], Priced(), allowed=False)
    check_price([0.5, 1.5], Priced(), allowed=True)


@pytest.mark.parametrize("wrong", ["[1]", "[0.5]", "[0.5,1]", "[0.5,0.5,2]", "[-1,0.5]", "[0.5,5]"])
def test_strengths_that_make_no_curve_are_refused(wrong: str) -> None:
    cfg = config(f"strength={wrong}", "edits=somewhere", "output=x", name="evaluate")
    with pytest.raises(ValueError, match="give two or more numbers from 0 to 4 beside 1"):
        evaluate.check_request(cfg)


def test_the_command_judges_existing_edits_weaker_and_stronger(tmp_path: Path) -> None:
    editor, run = tmp_path / "editor", tmp_path / "run"
    model = OmegaConf.to_yaml(config(*SMALL).model, resolve=True)
    checkpoint.export(editor, model, (32, 32), small_editor().state_dict())
    common = ("limit=7", "batch_size=7", "sampler.steps=1", f"output={run}")

    def call(*more: str) -> None:
        evaluate.main(config(*common, *more, name="evaluate"))

    call(f"checkpoint={editor}")
    edits = run / "evaluation/synthetic_edit/5-5-5/edits"
    call(f"edits={edits}", "strength=[0,0.5,1.5]", "steps=[judge,report]")
    where = run / "evaluation/synthetic_edit/oracle"
    text = (where / "report.md").read_text()
    assert "## Strength of the edits" in text
    assert "| 5/5/5 | 0 | 0.00 | 5.00 |" in text  # the copy
    rewards = run / "evaluation/synthetic_edit/5-5-5/strength_0.5/oracle/rewards.jsonl"
    before = rewards.read_bytes()
    assert len(before.splitlines()) == 7
    call(f"edits={edits}", "strength=[0,0.5,1.5]", "steps=[judge,report]")
    assert rewards.read_bytes() == before  # nothing is judged twice
