"""EditScore's protocol: questions, the published combination by hand, passes, failures, expected scores."""

import json
import math
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from src.judges.editscore import (
    SILENT,
    EditScoreRubric,
    PassScores,
    expected_scores,
    overall_of_reward,
    overall_score,
    pass_scores,
    resize_like_original,
)
from src.judges.parsing import UnusableReply
from src.judges.question import Answer, AnswerSchema, Reply
from src.records import Case, Reward, Triplet, Verdict

FORM = AnswerSchema(text="reasoning", count=2, max_score=25.0, nothing=None)


def triplet(size: tuple[int, int] = (20, 30)) -> Triplet:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    return Triplet(
        Case("a", pixels, "paint {max_score} dogs", "add", "p"), np.zeros((*size, 3), dtype=np.uint8)
    )


def answer(*scores: float, text: str = "words") -> Answer:
    return Answer(tuple(map(float, scores)), text)


def test_two_questions_per_pass() -> None:
    rubric = EditScoreRubric(repeats=3)
    asked = rubric.questions(triplet())
    assert len(asked) == rubric.calls == 6
    assert [(each.about, each.repeat, len(each.images)) for each in asked] == [
        *(("semantic_consistency", repeat, 2) for repeat in range(3)),
        *(("perceptual_quality", repeat, 1) for repeat in range(3)),
    ]
    fenced = '<instruction>"paint {max_score} dogs"</instruction>'
    assert asked[0].prompt.endswith(fenced), "an instruction is put in last, as data"
    before = EditScoreRubric(prompts="editscore_v1").questions(triplet())
    assert before[0].prompt.endswith("Instruction: paint {max_score} dogs")
    assert "0 to 25" in asked[0].prompt
    assert "0 to 25" in asked[3].prompt
    assert "0 to 10" in EditScoreRubric(score_range=10).questions(triplet())[1].prompt
    assert "dogs" not in asked[3].prompt, "quality is judged without the instruction"


@pytest.mark.parametrize(("resize", "size"), [(True, (20, 30)), (False, (40, 10))])
def test_the_edited_image_comes_to_the_originals_size(resize: bool, size: tuple[int, int]) -> None:
    asked = EditScoreRubric(resize_edited=resize).questions(triplet((40, 10)))
    assert (asked[0].images[1].height, asked[0].images[1].width) == size
    assert asked[1].images == asked[0].images[1:]


def test_the_edited_image_is_resized_as_in_the_release() -> None:
    """Which calls PIL's resize without a filter."""
    image = np.random.default_rng(1).integers(0, 256, (64, 40, 3), dtype=np.uint8)
    released = np.asarray(PIL.Image.fromarray(image).resize((30, 20)))
    assert np.array_equal(resize_like_original(image, 20, 30), released)


def test_the_combination_by_hand() -> None:
    numbers = pass_scores(answer(20, 10), answer(25, 15), 25.0)
    assert numbers == PassScores(8.0, 4.0, 6.0)
    assert numbers.overall == pytest.approx(math.sqrt(4 * 6))
    assert PassScores(0.0, 10.0, 10.0).overall == 0


def test_reductions() -> None:
    passes = [PassScores(10.0, 10.0, 10.0), PassScores(4.0, 1.0, 4.0)]
    assert overall_score(passes) == pytest.approx((10 + 2) / 2)
    assert overall_score(passes, "average_first") == pytest.approx(math.sqrt(5.5 * 7))
    assert overall_score(passes[:1]) == overall_score(passes[:1], "average_first") == 10
    drops_consistency = math.sqrt(7 * 7)
    assert overall_score(passes, "average_first") < drops_consistency
    with pytest.raises(ValueError, match="0 passes"):
        overall_score([])


def test_verdicts_are_means_on_our_scale() -> None:
    rubric = EditScoreRubric(repeats=2)
    answers = [answer(20, 10, text="far"), answer(25, 5, text="near"), answer(25, 15), answer(5, 25, text="")]
    following, preserving, quality = rubric.verdicts(answers)
    assert (following.score, preserving.score, quality.score) == (
        pytest.approx(4.5),
        pytest.approx(1.5),
        pytest.approx(2.0),
    )
    assert (following.success, following.status, following.feedback) == (None, "ok", "far")
    assert rubric.overall(answers) == pytest.approx((math.sqrt(4 * 6) + math.sqrt(2 * 2)) / 2)
    assert rubric.verdicts([answers[0], answers[1], answers[3], answers[3]])[2].feedback == SILENT
    assert EditScoreRubric(score_range=10).verdicts([answer(10, 10), answer(10, 10)])[0].score == 5


def test_the_overall_score_of_a_reward_is_that_of_its_only_pass() -> None:
    rubric = EditScoreRubric()
    answers = [answer(18, 7), answer(11, 23)]
    reward = Reward("a", "editscore", "key", *rubric.verdicts(answers))
    assert overall_of_reward(reward) == pytest.approx(rubric.overall(answers))
    assert (
        overall_of_reward(Reward("a", "editscore", "key", *rubric.verdicts(["unread", answer(11, 23)])))
        is None
    )


def test_failures_are_failures() -> None:
    rubric = EditScoreRubric(repeats=3)
    good, bad = answer(20, 10), "refused"
    following, _, quality = rubric.verdicts([good, good, bad, bad, bad, good])
    assert (following.score, following.status) == (pytest.approx(4.0), "repaired")
    assert quality == Verdict(None, None, "refused", "failed")
    assert rubric.overall([good, good, bad, bad, bad, good]) is None
    assert rubric.overall([good, good, bad, good, good, good]) is not None
    for text in (
        "",
        "I can't help with that",
        '{"reasoning": "x", "score": [26, 3]}',
        '{"reasoning": "x", "score": [3]}',
        '{"score": [3, "8/10"]}',
    ):
        with pytest.raises(UnusableReply):
            rubric.read(rubric.questions(triplet())[0], Reply(text))
    assert rubric.read(
        rubric.questions(triplet())[0], Reply('{"reasoning": "x", "score": [24, 3]}')
    ).scores == (24, 3)
    assert rubric.read(rubric.questions(triplet())[0], Reply("[24, 3]")).scores == (24, 3)


def told(*tokens: str | list[tuple[str, float]]) -> Reply:
    alternatives = tuple(tuple(each) if isinstance(each, list) else ((each, 1.0),) for each in tokens)
    return Reply("".join(each[0][0] for each in alternatives), alternatives=alternatives)


def shares(written: int, **probabilities: float) -> list[tuple[str, float]]:
    """Every number of 0 ... 25, the written one first."""
    known = {str(number): probabilities.get(f"p{number}", 0.0) for number in range(26)}
    return [(str(written), known.pop(str(written))), *known.items()]


def test_expected_scores() -> None:
    reply = told(
        '{"reasoning": "score 3", "score": [',
        shares(18, p18=0.5, p20=0.25),
        ", ",
        shares(7, p7=0.6, p8=0.2),
        "]}",
    )
    following, kept = expected_scores(reply, FORM)
    assert following == pytest.approx((18 * 0.5 + 20 * 0.25) / 0.75)
    assert kept == pytest.approx((7 * 0.6 + 8 * 0.2) / 0.8)


def test_expected_scores_of_tokens_that_could_go_on_are_refused() -> None:
    with pytest.raises(ValueError, match="exact_scores"):
        expected_scores(Reply('{"score": [18, 7]}'), FORM)
    for first in (["1", "8"], [[("18", 0.5), ("20", 0.5)]], ["18", ".", "5"]):
        with pytest.raises(UnusableReply, match=r"in place of 18"):
            expected_scores(told('"score": [', *first, ", ", shares(7, p7=1.0), "]"), FORM)
    with pytest.raises(UnusableReply, match="hold 1"):
        expected_scores(told('"score": [', shares(7, p7=1.0), "]"), FORM)


def test_a_rubric_that_expects_takes_the_words_as_written() -> None:
    rubric = EditScoreRubric(expected=True)
    question = rubric.questions(triplet())[0]
    reply = told(
        '{"reasoning": "fine", "score": [',
        shares(18, p18=0.5, p20=0.5),
        ", ",
        shares(7, p7=0.5, p10=0.5),
        "]}",
    )
    assert rubric.read(question, reply) == Answer((19.0, 8.5), "fine")


def test_fingerprints_and_bad_settings(tmp_path: Path) -> None:
    prints = {
        EditScoreRubric(**each).fingerprint
        for each in ({}, {"repeats": 2}, {"score_range": 10}, {"resize_edited": False}, {"expected": True})
    }
    assert len(prints) == 5
    with pytest.raises(ValueError, match="score_range=5"):
        EditScoreRubric(score_range=5)
    with pytest.raises(ValueError, match="repeats=0"):
        EditScoreRubric(repeats=0)
    with pytest.raises(FileNotFoundError, match="semantic_consistency"):
        EditScoreRubric(prompts=str(tmp_path))
    for name in ("semantic_consistency", "perceptual_quality"):
        (tmp_path / f"{name}.txt").write_text("from 0 to {max_score}")
    with pytest.raises(ValueError, match=r"\{quoted_instruction\}"):
        EditScoreRubric(prompts=str(tmp_path))
    (tmp_path / "semantic_consistency.txt").write_text("from 0 to {max_score}: {instruction}")
    asked = EditScoreRubric(prompts=str(tmp_path)).questions(triplet())
    assert asked[0].prompt == "from 0 to 25: paint {max_score} dogs"
    assert json.dumps(asked[1].schema.json_schema()).count("25") == 1
