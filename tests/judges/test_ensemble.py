"""Judges united: means, majorities, failures; and agreement by hand and against published figures."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from rich.console import Console

from src.judges.agreement import (
    agreement_table,
    cohen_kappa,
    krippendorff_alpha,
    measure_agreement,
    rank_correlation,
)
from src.judges.ensemble import EnsembleJudge, combine_verdicts
from src.judges.judge import Judge, reward_key
from src.records import Case, Reward, Triplet, Verdict

NAN = math.nan


class Fixed:
    """Says the same of everything."""

    def __init__(self, name: str, *verdicts: Verdict) -> None:
        self.name, self.fingerprint, self.verdicts = name, f"fixed {name}", verdicts

    def judge(self, triplets: Sequence[Triplet]) -> list[Reward]:
        return [
            Reward(each.case.id, self.name, reward_key(each, self.fingerprint), *self.verdicts)
            for each in triplets
        ]


def triplet(name: str = "a") -> Triplet:
    return Triplet(
        Case(name, np.zeros((4, 4, 3), dtype=np.uint8), "x", "add", "p"), np.ones((4, 4, 3), dtype=np.uint8)
    )


FAILED = Verdict(None, None, "no answer", "failed")


def test_mean_median_majority_and_the_nearest_words() -> None:
    verdicts = [Verdict(5.0, True, "None"), Verdict(4.0, True, "nearly"), Verdict(0.0, False, "nothing done")]
    assert combine_verdicts(verdicts, "abc") == Verdict(3.0, True, "nearly")
    assert combine_verdicts(verdicts, "abc", "median") == Verdict(4.0, True, "nearly")
    assert combine_verdicts(verdicts[::2], "ac").success is False, "a tie is a no"
    assert combine_verdicts([Verdict(1.0), Verdict(2.0)], "ab").success is None


def test_failures_as_with_the_passes_of_one_judge() -> None:
    good = Verdict(4.0, True, "fine")
    assert combine_verdicts([good, good, FAILED], "abc") == Verdict(4.0, True, "fine", "repaired")
    failed = combine_verdicts([good, FAILED], "ab")
    assert (failed.score, failed.status, failed.feedback) == (None, "failed", "b: no answer")
    assert combine_verdicts([good, Verdict(4.0, True, "fine", "repaired")], "ab").status == "repaired"


def test_an_ensemble_is_a_judge() -> None:
    best, worst = Verdict(5.0, True), Verdict(1.0, False, "bad")
    judge = EnsembleJudge(
        {"kind": Fixed("kind", best, best, best), "harsh": Fixed("harsh", worst, worst, FAILED)}
    )
    assert isinstance(judge, Judge)
    rewards = judge.judge([triplet("a"), triplet("b")])
    assert [reward.id for reward in rewards] == ["a", "b"]
    assert rewards[0].key == reward_key(triplet("a"), judge.fingerprint)
    assert (rewards[0].following.score, rewards[0].quality.status) == (3.0, "failed")
    assert [len(said) for said in judge.last_rewards.values()] == [2, 2]
    assert judge.judge([]) == []
    with pytest.raises(ValueError, match="at least two"):
        EnsembleJudge({"kind": Fixed("kind", best, best, best)})
    other = EnsembleJudge(judge.members, "median")
    assert other.fingerprint != judge.fingerprint


def test_alpha_is_the_published_one() -> None:
    """The example of Krippendorff's paper of 2011: 4 observers, 12 units; 0.849 for intervals."""
    data = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
            [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
        ]
    )
    assert krippendorff_alpha(data) == pytest.approx(0.849, abs=5e-4)


def test_alpha_at_its_limits() -> None:
    scores = np.array([[0.0, 1.0, 5.0, 2.0], [0.0, 1.0, 5.0, 2.0]])
    assert krippendorff_alpha(scores) == pytest.approx(1)
    assert krippendorff_alpha(np.stack([scores[0], 5 - scores[0]])) < 0
    assert math.isnan(krippendorff_alpha(np.full((2, 4), 5.0)))
    random = np.random.default_rng(0).integers(0, 6, (3, 4000)).astype(float)
    assert krippendorff_alpha(random) == pytest.approx(0, abs=0.03)
    # a constant shift is invisible to ranks, and not to alpha
    shifted = np.array([[0.0, 1.0, 2.0, 3.0], [2.0, 3.0, 4.0, 5.0]])
    assert measure_agreement(shifted).spearman == pytest.approx(1)
    assert krippendorff_alpha(shifted) < 0.5


def test_agreement_by_hand() -> None:
    found = measure_agreement(np.array([[1.0, 2.0, NAN, 4.0], [1.0, 4.0, 3.0, 5.0]]))
    assert (found.items, found.exact, found.difference) == (3, pytest.approx(1 / 3), pytest.approx(1.0))
    assert found.spearman == pytest.approx(1.0)
    assert rank_correlation(np.full(4, 3.0), np.arange(4.0)) == 0
    assert math.isnan(rank_correlation(np.array([1.0, NAN]), np.array([NAN, 1.0])))


def test_kappa() -> None:
    yes, no = np.ones(10, dtype=bool), np.arange(10) < 5
    assert cohen_kappa(yes, no) == 0
    assert cohen_kappa(no, no) == pytest.approx(1)
    assert cohen_kappa(no, ~no) == pytest.approx(-1)
    first = np.repeat([True, True, False, False], [20, 5, 10, 15])
    second = np.repeat([True, False, True, False], [20, 5, 10, 15])
    assert cohen_kappa(first, second) == pytest.approx(0.4)


def test_the_table_has_a_row_per_pair_and_one_for_all() -> None:
    scores = {name: np.random.default_rng(seed).uniform(0, 5, (20, 3)) for seed, name in enumerate("abc")}
    console = Console(width=120, record=True, quiet=True)
    table = agreement_table(scores)
    console.print(table)
    assert table.row_count == 3 * 4
    assert agreement_table({name: scores[name] for name in "ab"}).row_count == 3
