"""Contests out of rated datasets and best-of-N runs."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from data.written import pixels, write_image

from src.data.json_list import JsonList
from src.data.rated_contests import MOST_EDITS, BestOfContests, RatedContests
from src.data.rewards import from_reward_file
from src.records import Image, Reward, StoredImage, Verdict
from src.reward_file import append_rewards

Scores = Sequence[float]


def decoded(picture: Image | StoredImage) -> Image:
    return picture if isinstance(picture, np.ndarray) else picture.decode()


def reward(id: str, scores: Scores, failed: bool = False) -> Reward:
    verdicts = [Verdict(float(score)) for score in scores]
    if failed:
        verdicts[1] = Verdict(None, None, "no answer", "failed")
    return Reward(id, "oracle", f"key of {id}", *verdicts)


def rated_rows(folder: Path, rows: Sequence[tuple[int, str, int, Scores | None]]) -> JsonList:
    """(original, instruction, edit, scores) by the seeds of their pictures."""
    listed, rewards = [], []
    for number, (original, instruction, edit, scores) in enumerate(rows):
        write_image(folder / f"{original}.png", pixels(original))
        write_image(folder / f"{number}-{edit}.png", pixels(edit))
        listed.append({"id": f"r{number}", "input": f"{original}.png", "output": f"{number}-{edit}.png"})
        listed[-1]["instruction"] = instruction
        rewards += [reward(f"r{number}", scores)] if scores is not None else []
    (folder / "rows.json").write_text(json.dumps(listed))
    append_rewards(folder / "rewards.jsonl", rewards)
    return JsonList(folder / "rows.json")


def test_edits_of_one_original_and_instruction_are_compared(tmp_path: Path) -> None:
    rows = rated_rows(
        tmp_path,
        [
            (1, "night", 10, (5, 4, 3)),
            (1, "night", 11, (2, 4, 5)),
            (1, "day", 12, (1, 1, 1)),  # another instruction
            (2, "night", 13, (1, 1, 1)),  # another original
            (1, "night", 14, (2.2, 0, 3)),
            (1, "night", 15, None),  # no reward
            (1, "night", 10, (5, 4, 3)),  # the first one again
        ],
    )
    rewards = from_reward_file(tmp_path / "rewards.jsonl")
    contests = RatedContests(rows, rewards, licence="mine")
    (contest,) = list(contests)
    assert [edit.id for edit in contest.candidates] == ["r0", "r1", "r4"]
    assert {each.aspect: each.tiers for each in contest.rankings} == {
        "following": ((0,), (2,), (1,)),
        "preserving": ((0, 1), (2,)),
        "quality": ((1,), (0, 2)),
    }
    assert contest.candidates[2].ratings == {"following": 2.2, "preserving": 0, "quality": 3}
    assert (decoded(contest.candidates[1].picture) == pixels(11)).all()
    assert contests.original_of(0) == contest.case.photograph
    assert contests.scales["quality"].middle == 2.5
    coarse = RatedContests(rows, rewards, step=1)
    assert coarse[0].rankings[0].tiers == ((0,), (1, 2))
    assert coarse.digest == contests.digest


def test_one_picture_rated_twice_differently_is_named(tmp_path: Path) -> None:
    rows = [(1, "night", 10, (5, 4, 3)), (1, "night", 10, (0, 4, 3)), (1, "night", 11, (1, 1, 1))]
    given = rated_rows(tmp_path, [*rows, (1, "night", 12, (2, 2, 2))])
    contests = RatedContests(given, from_reward_file(tmp_path / "rewards.jsonl"))
    assert [edit.id for edit in contests[0].candidates] == ["r2", "r3"]
    assert [problem.id for problem in contests.problems] == ["r0", "r1"]
    assert "rated differently" in contests.problems[0].reason


def test_many_edits_of_a_case_become_several_contests(tmp_path: Path) -> None:
    rows = [(1, "night", 10 + number, (number % 5, 1, 1)) for number in range(MOST_EDITS + 1)]
    given = rated_rows(tmp_path, rows)
    contests = RatedContests(given, from_reward_file(tmp_path / "rewards.jsonl"))
    assert [len(contest.candidates) for contest in contests] == [MOST_EDITS]  # one edit alone is none


def test_a_dataset_without_comparisons_is_refused(tmp_path: Path) -> None:
    rows = rated_rows(tmp_path, [(1, "night", 10, (1, 1, 1)), (2, "night", 11, (2, 2, 2))])
    with pytest.raises(ValueError, match="no two of 2 rated rows are edits of one original"):
        RatedContests(rows, from_reward_file(tmp_path / "rewards.jsonl"))
    with pytest.raises(ValueError, match="no two of 2 rated rows"):
        RatedContests(rows)  # unrated
    with pytest.raises(ValueError, match="step=6"):
        RatedContests(rows, step=6)


def best_of_run(folder: Path, kept: str = "a.png") -> Path:
    """Two cases with three candidates; the second case's last two failed."""
    row = folder / "bench" / "5-5-5"
    cases = [{"id": "c0", "original": kept}, {"id": "set/c1", "original": "b.png"}]
    shared = {"edit_type": "tone", "photograph": "p", "instruction": "night", "target": None}
    (folder / "bench/cases").mkdir(parents=True)
    lines = [json.dumps(case | shared) for case in cases]
    (folder / "bench/cases/cases.jsonl").write_text("\n".join(lines))
    write_image(folder / "bench/cases/a.png", pixels(1))
    for number in range(3):
        place = row if number == 0 else row / "candidates" / str(number)
        write_image(place / "edits/c0.png", pixels(10 + number))
        found = [reward("c0", (number, 5, 5 - number)), reward("set/c1", (1, 1, 1), failed=number > 0)]
        append_rewards(place / "oracle/rewards.jsonl", found)
    return row


def test_candidates_of_a_best_of_n_run_are_compared(tmp_path: Path) -> None:
    contests = BestOfContests(str(best_of_run(tmp_path)), "oracle")
    (contest,) = list(contests)
    assert [edit.id for edit in contest.candidates] == ["c0#0", "c0#1", "c0#2"]
    assert {each.aspect: each.tiers for each in contest.rankings} == {
        "following": ((2,), (1,), (0,)),
        "preserving": ((0, 1, 2),),
        "quality": ((0,), (1,), (2,)),
    }
    assert (decoded(contest.candidates[2].picture) == pixels(12)).all()
    assert (contest.case.original == pixels(1)).all()
    assert (contest.case.photograph, contest.case.edit_type) == ("p", "tone")
    assert contests.name == contest.source == "best_of_n by oracle"


def test_what_is_no_best_of_n_run_is_refused(tmp_path: Path) -> None:
    row = best_of_run(tmp_path, kept="../../../secret.png")
    with pytest.raises(FileNotFoundError, match="judges there: oracle"):
        BestOfContests(str(row), "gpt4o")
    with pytest.raises(FileNotFoundError, match=r"cases/cases.jsonl"):
        BestOfContests(str(row / "candidates"), "oracle")
    with pytest.raises(ValueError, match="outside of the dataset's folder"):
        BestOfContests(str(row), "oracle")[0]
