"""What a feedback text claims: phrases by kind, and every text of the synthetic world is read as what it is."""

import pytest

from src.data.stances import Stance, stance
from src.synthetic.language import FEEDBACK, GENERAL, fill

NOTHING = [
    "None",
    "none.",
    "'None'",
    "",
    "N/A",
    "No issues found.",
    "nothing failed",
    "-",
    "No visible problems",
    "null",
    "None needed",
]
PRAISE = [
    "Perfectly executed.",
    "The edit follows the instruction exactly as asked",
    "Excellent, no artifacts at all",
    "Well done!",
    "no noise or distortion, sharp and clear",
    "All details are perfectly preserved without any unintended changes",
]
FAILURES = [
    "The hat was not added",
    "well done, but the hat is missing",
    "not perfectly executed",
    "good, although the sky is slightly blurred",
    "The instruction isn't followed correctly",
    "nothing was changed",
    "No hat was added.",
    "the colours are wrong",
    "far from perfect",
    "The edit was successful only in part",
    "no details were kept",
]


@pytest.mark.parametrize(
    ("texts", "expected"), [(NOTHING, Stance.NOTHING), (PRAISE, Stance.PRAISE), (FAILURES, Stance.FAILURE)]
)
def test_phrases(texts: list[str], expected: Stance) -> None:
    assert {text: stance(text) for text in texts} == dict.fromkeys(texts, expected)


def test_every_failure_of_the_synthetic_world_is_one() -> None:
    parts = {
        "subject": "the red circle",
        "other": "the background",
        "done": "added",
        "property": "color",
        "got": "a dotted texture",
    }
    texts = [
        fill(template, **parts)
        for wordings in (*FEEDBACK.values(), *GENERAL.values())
        for template in wordings
    ]
    assert {text: stance(text) for text in texts} == dict.fromkeys(texts, Stance.FAILURE)


@pytest.mark.parametrize("text", ["图像模糊", "الصورة ضبابية", "Изображение размыто"])
def test_other_scripts_are_not_read(text: str) -> None:
    assert stance(text) is Stance.UNREAD


def test_other_latin_languages_and_emoji_count_as_said() -> None:
    assert stance("Das Bild ist unscharf") is stance("😀 bad") is Stance.FAILURE
