"""The rating guide: what each perspective is about and what each score means, in the words that judges are
asked with (src/judges/prompts), so that people and models answer the same questions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from src.judges.rubric import PROMPTS, read_prompt
from src.records import MAX_SCORE, PERSPECTIVES, Perspective

PROMPT_FILES: Mapping[Perspective, str] = {
    Perspective.FOLLOWING: "evaluation_following.txt",
    Perspective.PRESERVING: "evaluation_preserving.txt",
    Perspective.QUALITY: "evaluation_quality_beside_original.txt",
}
"""A rater sees the original, as the last prompt has it."""

POINTS = tuple(range(int(MAX_SCORE), -1, -1))
"""The scale as people read it, the best first."""


@final
@dataclass(frozen=True)
class Scale:
    """One perspective of the guide.

    Attributes:
        perspective: its name.
        about: what to look at, and what not.
        words: what each of POINTS means.
    """

    perspective: str
    about: str
    words: tuple[str, ...]


FOR_PEOPLE = (("the second picture", "the edit"), ("The first picture, the original,", "The original"))
"""What judges are told by number stands under its name on the page."""


def rating_guide(prompts: str = "v2") -> tuple[Scale, ...]:
    """The guide in the words of a version of our prompts.

    Raises:
        ValueError: a prompt without a paragraph that begins with "Judge only", or without a scale.
    """
    return tuple(
        _scale(perspective, read_prompt(PROMPTS / prompts / PROMPT_FILES[perspective]))
        for perspective in PERSPECTIVES
    )


def _scale(perspective: Perspective, prompt: str) -> Scale:
    for numbered, named in FOR_PEOPLE:
        prompt = prompt.replace(numbered, named)
    words = dict(re.findall(r"^(\d)  (.+)$", prompt, re.MULTILINE))
    paragraphs = [part for part in prompt.split("\n\n") if part.startswith(("Judge only", "The original is"))]
    if set(words) != {str(point) for point in POINTS} or not paragraphs:
        raise ValueError(
            f"{PROMPT_FILES[perspective]} has no paragraph 'Judge only ...' or no words for each of "
            f"{', '.join(map(str, POINTS))}: take prompts that have"
        )
    return Scale(perspective.value, " ".join(paragraphs), tuple(words[str(point)] for point in POINTS))
