"""Rubrics: what is asked about a triplet, and how the answers become a Reward. The paper's: one question per
perspective, two modes.

In annotation mode a judge gives score and feedback (training data); in evaluation mode yes/no and score (Acc
and Score of the paper's tables). The prompts are text files,
src/judges/prompts/<version>/<mode>_<perspective>.txt, in which {instruction} stands for the instruction.
"""

import hashlib
import statistics
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, final

from src.judges.encoding import encoded
from src.judges.parsing import expected_score, parse
from src.judges.question import Answer, Encoded, Form, Question, Reply
from src.records import PERSPECTIVES, Perspective, Triplet, Verdict

PROMPTS = Path(__file__).resolve().parent / "prompts"
INSTRUCTION = "{instruction}"

FORMS = {
    "annotation": Form(text="feedback"),
    "evaluation": Form(text="reason", success="success", nothing=None),
}


class Rubric(ABC):
    """Triplet -> questions; answers -> three verdicts.

    Attributes:
        fingerprint: everything that the questions and the combination of answers depend on.
        calls: questions per triplet.
    """

    fingerprint: str
    calls: int

    @abstractmethod
    def questions(self, triplet: Triplet) -> list[Question]:
        """What is to be asked, always in the same order."""

    @abstractmethod
    def read(self, question: Question, reply: Reply) -> Answer:
        """The answer in a reply.

        Raises:
            UnusableReply: there is none.
        """

    @abstractmethod
    def verdicts(self, answers: Sequence[Answer | str]) -> tuple[Verdict, Verdict, Verdict]:
        """The verdicts out of the answers, in the order of `questions`; a text instead of an answer says why
        there is none.
        """


@final
class PerspectiveRubric(Rubric):
    """The paper's protocol: each perspective is a question of its own.

    Args:
        mode: "annotation" or "evaluation".
        prompts: folder with the six prompts; a name without a slash is a version of ours ("v1").
        quality_sees: "edited", as released, or "both".
        max_pixels: of each image sent.
        repeats: independent answers per question, whose mean is the score.
        expected: the score is the mean under the probabilities of the score's token, not the token written;
            the respondent has to tell them.

    Raises:
        FileNotFoundError: a prompt is missing.
        ValueError: a prompt without {instruction}, an unknown mode or view, no repeat.
    """

    def __init__(
        self,
        mode: Literal["annotation", "evaluation"] = "annotation",
        prompts: str = "v1",
        quality_sees: Literal["edited", "both"] = "edited",
        max_pixels: int = 1_048_576,
        repeats: int = 1,
        expected: bool = False,
    ) -> None:
        if mode not in FORMS:
            raise ValueError(f"mode={mode}: a judge works in annotation or in evaluation mode")
        if quality_sees not in ("edited", "both"):
            raise ValueError(f"quality_sees={quality_sees}: say edited or both")
        if repeats < 1:
            raise ValueError(f"repeats={repeats}: a question is asked at least once")
        self.form = FORMS[mode]
        self.quality_sees = quality_sees
        self.max_pixels = max_pixels
        self.repeats = repeats
        self.expected = expected
        self.calls = len(PERSPECTIVES) * repeats
        folder = PROMPTS / prompts if "/" not in prompts else Path(prompts)
        suffix = "_beside_original" if quality_sees == "both" else ""
        names = [f"{mode}_{each}{suffix if each is Perspective.QUALITY else ''}.txt" for each in PERSPECTIVES]
        self.prompts = dict(zip(PERSPECTIVES, (read_prompt(folder / name) for name in names), strict=True))
        words = hashlib.sha256("\0".join(self.prompts.values()).encode()).hexdigest()[:16]
        self.fingerprint = f"{mode} prompts={words} quality_sees={quality_sees} max_pixels={max_pixels} repeats={repeats} expected={expected}"

    def questions(self, triplet: Triplet) -> list[Question]:
        original, edited = encoded_pair(triplet, self.max_pixels)
        images: dict[Perspective, tuple[Encoded, ...]] = {each: (original, edited) for each in PERSPECTIVES}
        if self.quality_sees == "edited":
            images[Perspective.QUALITY] = (edited,)
        return [
            Question(
                triplet.case.id,
                each.value,
                self.prompts[each].replace(INSTRUCTION, triplet.case.instruction),
                images[each],
                self.form,
                repeat,
            )
            for each in PERSPECTIVES
            for repeat in range(self.repeats)
        ]

    def read(self, question: Question, reply: Reply) -> Answer:
        answer = parse(reply, question.form)
        if not self.expected:
            return answer
        return with_expected_score(answer, reply, question.form)

    def verdicts(self, answers: Sequence[Answer | str]) -> tuple[Verdict, Verdict, Verdict]:
        each = [
            list(answers[index * self.repeats : (index + 1) * self.repeats])
            for index in range(len(PERSPECTIVES))
        ]
        following, preserving, quality = (combined(one) for one in each)
        return following, preserving, quality


def combined(answers: Sequence[Answer | str]) -> Verdict:
    """One verdict out of repeated answers to one question: mean score, majority of yes, the words of the
    answer nearest to the mean.

    A repeat without an answer is left out, and the verdict marked as repaired, as long as more than half of
    them have one; otherwise it failed.
    """
    given = [answer for answer in answers if isinstance(answer, Answer)]
    if 2 * len(given) <= len(answers):
        reasons = [answer for answer in answers if isinstance(answer, str)]
        return Verdict(None, None, reasons[0], "failed")
    mean = statistics.fmean(answer.scores[0] for answer in given)
    nearest = min(given, key=lambda answer: abs(answer.scores[0] - mean))
    successes = [answer.success for answer in given if answer.success is not None]
    success = 2 * sum(successes) > len(successes) if successes else None
    whole = len(given) == len(answers) and not any(answer.repaired for answer in given)
    return Verdict(mean, success, nearest.text, "ok" if whole else "repaired")


def with_expected_score(answer: Answer, reply: Reply, form: Form) -> Answer:
    """The answer with the expected score in place of the written one.

    Raises:
        ValueError: the reply has no probabilities: the respondent doesn't tell them, so no reply will have
            any.
    """
    score = expected_score(reply, form)
    if score is None:
        raise ValueError(
            "expected=true needs the probabilities of the score's tokens, and the model's reply has none; ask the respondent for them"
        )
    return Answer((score,), answer.text, answer.success, answer.repaired)


def encoded_pair(triplet: Triplet, max_pixels: int) -> tuple[Encoded, Encoded]:
    """Original and edited as they are sent."""
    files = triplet.files or (None, None)
    return encoded(triplet.case.original, files[0], max_pixels), encoded(triplet.edited, files[1], max_pixels)


def read_prompt(path: Path) -> str:
    """A prompt file.

    Raises:
        FileNotFoundError: it isn't there.
        ValueError: it has no place for the instruction.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no prompt {path}; a folder of prompts holds one text file per mode and perspective, see {PROMPTS / 'v1'}"
        )
    text = path.read_text(encoding="utf-8").strip()
    if INSTRUCTION not in text:
        raise ValueError(f"{path} has no {INSTRUCTION}, so the judge would not know what was asked for")
    return text
