"""The polarity of feedback: phrases by kind, and every text of the synthetic world."""

import pytest

from src.data.feedback_sentiment import Polarity, polarity_of
from src.synthetic.language import FEEDBACK, GENERAL, fill_template

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
    ("texts", "expected"),
    [(NOTHING, Polarity.NOTHING), (PRAISE, Polarity.PRAISE), (FAILURES, Polarity.FAILURE)],
)
def test_phrases(texts: list[str], expected: Polarity) -> None:
    assert {text: polarity_of(text) for text in texts} == dict.fromkeys(texts, expected)


def test_every_failure_of_the_synthetic_world_is_one() -> None:
    parts = {
        "subject": "the red circle",
        "other": "the background",
        "done": "added",
        "property": "color",
        "got": "a dotted texture",
    }
    texts = [
        fill_template(template, **parts)
        for wordings in (*FEEDBACK.values(), *GENERAL.values())
        for template in wordings
    ]
    assert {text: polarity_of(text) for text in texts} == dict.fromkeys(texts, Polarity.FAILURE)


@pytest.mark.parametrize("text", ["图像模糊", "الصورة ضبابية", "Изображение размыто"])
def test_other_scripts_are_not_read(text: str) -> None:
    assert polarity_of(text) is Polarity.UNREAD


def test_other_latin_languages_and_emoji_count_as_failures() -> None:
    assert polarity_of("Das Bild ist unscharf") is polarity_of("😀 bad") is Polarity.FAILURE
