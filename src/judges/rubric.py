"""Rubrics: the questions about a triplet, and how their answers become a Reward. The paper's rubric asks one
question per perspective and has two modes.

In annotation mode a judge gives score and feedback (training data), in evaluation mode yes/no and score (Acc
and Score of the paper's tables). The prompts are text files,
src/judges/prompts/<version>/<mode>_<perspective>.txt, in which {quoted_instruction} stands for the
instruction as data: a text in quotes on one line, which can't end its quotes or the tags around it. Before
version v2 {instruction} stood for it as it is, so an instruction could pass for a part of the prompt.
"""

import hashlib
import json
import statistics
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, final

import yaml

from src.json_files import read_json
from src.judges.encoding import encode_for_judge
from src.judges.parsing import expected_score, parse_reply
from src.judges.question import Answer, AnswerSchema, ImagePart, Question, Reply
from src.records import PERSPECTIVES, Perspective, Triplet, Verdict

PROMPTS = Path(__file__).resolve().parent / "prompts"
INSTRUCTION, QUOTED_INSTRUCTION = "{instruction}", "{quoted_instruction}"

BREAKING = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>\x7f\x85\u2028\u2029"}
"""Escapes of what could close a tag or begin a line within a JSON string."""

SCHEMAS = {
    "annotation": AnswerSchema(text="feedback"),
    "evaluation": AnswerSchema(text="reason", success="success", nothing=None),
}


class Rubric(ABC):
    """Turns a triplet into questions, and their answers into three verdicts.

    Attributes:
        fingerprint: everything that the questions and the combination of answers depend on.
        calls: questions per triplet.
    """

    fingerprint: str
    calls: int

    @abstractmethod
    def questions(self, triplet: Triplet) -> list[Question]:
        """The questions, always in the same order."""

    @abstractmethod
    def read(self, question: Question, reply: Reply) -> Answer:
        """The answer in a reply.

        Raises:
            UnusableReply: the reply holds none.
        """

    @abstractmethod
    def verdicts(self, answers: Sequence[Answer | str]) -> tuple[Verdict, Verdict, Verdict]:
        """The verdicts from the answers, which stand in the order of `questions`; a text in place of an
        answer is the reason why there is none.
        """


@final
class PerspectiveRubric(Rubric):
    """The paper's protocol: one question per perspective.

    Args:
        mode: "annotation" or "evaluation".
        prompts: folder with the six prompts; a name without a slash is one of our versions ("v2").
        quality_sees: images shown for quality: "edited", as released, or "both".
        max_pixels: of each image sent.
        repeats: independent answers per question, whose mean is the score.
        expected: take the mean score under the probabilities of the score's token instead of the token
            written; the client must return them.

    Raises:
        FileNotFoundError: a prompt is missing.
        ValueError: a prompt without the instruction, an unknown mode or view, fewer than 1 repeat.
    """

    def __init__(
        self,
        mode: Literal["annotation", "evaluation"] = "annotation",
        prompts: str = "v2",
        quality_sees: Literal["edited", "both"] = "edited",
        max_pixels: int = 1_048_576,
        repeats: int = 1,
        expected: bool = False,
    ) -> None:
        if mode not in SCHEMAS:
            raise ValueError(f"mode={mode}: a judge works in annotation or in evaluation mode")
        if quality_sees not in ("edited", "both"):
            raise ValueError(f"quality_sees={quality_sees}: say edited or both")
        if repeats < 1:
            raise ValueError(f"repeats={repeats}: a question is asked at least once")
        self.schema = SCHEMAS[mode]
        self.quality_sees = quality_sees
        self.max_pixels = max_pixels
        self.repeats = repeats
        self.expected = expected
        self.calls = len(PERSPECTIVES) * repeats
        folder = PROMPTS / prompts if "/" not in prompts else Path(prompts)
        suffix = "_beside_original" if quality_sees == "both" else ""
        names = [
            f"{mode}_{perspective}{suffix if perspective is Perspective.QUALITY else ''}.txt"
            for perspective in PERSPECTIVES
        ]
        self.prompts = dict(zip(PERSPECTIVES, (read_prompt(folder / name) for name in names), strict=True))
        words = hashlib.sha256("\0".join(self.prompts.values()).encode()).hexdigest()[:16]
        self.fingerprint = (
            f"{mode} prompts={words} quality_sees={quality_sees} max_pixels={max_pixels} repeats={repeats} "
            f"expected={expected}"
        )

    def questions(self, triplet: Triplet) -> list[Question]:
        original, edited = encode_pair(triplet, self.max_pixels)
        images: dict[Perspective, tuple[ImagePart, ...]] = dict.fromkeys(PERSPECTIVES, (original, edited))
        if self.quality_sees == "edited":
            images[Perspective.QUALITY] = (edited,)
        return [
            Question(
                triplet.case.id,
                perspective.value,
                with_instruction(self.prompts[perspective], triplet.case.instruction),
                images[perspective],
                self.schema,
                repeat,
            )
            for perspective in PERSPECTIVES
            for repeat in range(self.repeats)
        ]

    def read(self, question: Question, reply: Reply) -> Answer:
        answer = parse_reply(reply, question.schema)
        if not self.expected:
            return answer
        return with_expected_score(answer, reply, question.schema)

    def verdicts(self, answers: Sequence[Answer | str]) -> tuple[Verdict, Verdict, Verdict]:
        repeated = [
            list(answers[index * self.repeats : (index + 1) * self.repeats])
            for index in range(len(PERSPECTIVES))
        ]
        following, preserving, quality = (combine_answers(one) for one in repeated)
        return following, preserving, quality


def combine_answers(answers: Sequence[Answer | str]) -> Verdict:
    """One verdict from repeated answers to one question: mean score, majority of yes, the words of the answer
    nearest to the mean.

    Repeats without an answer are left out, and the verdict is marked as repaired, as long as more than half
    are answered; otherwise the verdict fails.
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


def with_expected_score(answer: Answer, reply: Reply, schema: AnswerSchema) -> Answer:
    """The answer with the expected score in place of the written one.

    Raises:
        ValueError: the reply has no probabilities; the client returns none, so no reply will have any.
    """
    score = expected_score(reply, schema)
    if score is None:
        raise ValueError(
            "expected=true needs the probabilities of the score's tokens, and the model's reply has none; "
            "turn them on in judge.client"
        )
    return Answer((score,), answer.text, answer.success, answer.repaired)


def encode_pair(triplet: Triplet, max_pixels: int) -> tuple[ImagePart, ImagePart]:
    """Original and edited image, encoded for sending."""
    files = triplet.files or (None, None)
    return (
        encode_for_judge(triplet.case.original, files[0], max_pixels),
        encode_for_judge(triplet.edited, files[1], max_pixels),
    )


def read_prompt(path: Path) -> str:
    """A prompt file.

    Raises:
        FileNotFoundError: it doesn't exist.
        ValueError: it has no place for the instruction.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no prompt {path}; a folder of prompts holds one text file per mode and perspective, "
            f"see {PROMPTS / 'v2'}"
        )
    text = path.read_text(encoding="utf-8").strip()
    check_has_instruction(path, text)
    return text


def read_prompts(prompts: str, released: str, without: Sequence[str] = ()) -> dict[str, str]:
    """The texts of a prompts.json by name.

    Args:
        prompts: a name without a slash is one of our versions; else the file, or its folder.
        released: what stands for the instruction in the release's texts, beside our own marks.
        without: texts that don't tell the instruction.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not texts by name, or one without a place for the instruction.
    """
    path = PROMPTS / prompts / "prompts.yaml" if "/" not in prompts else Path(prompts)
    path = path / "prompts.json" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; benchmark.rubric.prompts is a prompts.json or its folder")
    content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.suffix == ".yaml" else read_json(path)
    if not isinstance(content, dict) or not all(isinstance(text, str) for text in content.values()):
        raise ValueError(f'{path} is not of the form {{"<name>": "<text>", ...}}')
    texts = {name: text.replace(released, QUOTED_INSTRUCTION) for name, text in content.items()}
    for name in texts.keys() - set(without):
        check_has_instruction(Path(f"{path}, {name},"), texts[name])
    return texts


def prompt_digest(texts: Mapping[str, str]) -> str:
    """Tells prompts apart, for fingerprints."""
    return hashlib.sha256("\0".join(f"{name}\0{text}" for name, text in texts.items()).encode()).hexdigest()[
        :16
    ]


def check_has_instruction(path: Path, text: str) -> None:
    """Raise ValueError unless a prompt has a place for the instruction."""
    if INSTRUCTION not in text and QUOTED_INSTRUCTION not in text:
        raise ValueError(
            f"{path} has neither {QUOTED_INSTRUCTION} nor {INSTRUCTION}, so the judge would not know the "
            "instruction"
        )


def with_instruction(prompt: str, instruction: str) -> str:
    """A prompt with the instruction in its place, as data or, in prompts of before v2, as it is."""
    place, text = INSTRUCTION, instruction
    if QUOTED_INSTRUCTION in prompt:
        place, text = QUOTED_INSTRUCTION, json.dumps(instruction, ensure_ascii=False).translate(BREAKING)
    return prompt.replace(place, text)
