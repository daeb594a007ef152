"""EditScore's protocol as a rubric: two questions and four numbers per pass, several passes; for its own
models or any other.

    python -m src.check_judge judge=editscore
    python -m src.check_judge judge=editscore judge.rubric.repeats=4 judge.client.temperature=0.7

A pass asks about semantic consistency, with both images (is the instruction carried out, is the rest kept),
and about perceptual quality, with the edited image alone (is it natural, is it free of flaws). Scores lie in
0 ... 25, or 0 ... 10 for other models. On a scale of 10, per pass:

    prompt_following = first of semantic consistency
    consistency = second of semantic consistency
    perceptual_quality = min of the two of perceptual quality
    overall = sqrt(min(prompt_following, consistency) * perceptual_quality)

Our perspectives on [0, 5]: following = prompt_following / 2, preserving = consistency / 2, quality =
perceptual_quality / 2, each averaged over the passes. A Reward doesn't hold the overall score: best-of-N
takes `EditScoreRubric.overall` of the answers or `overall_of_reward`.

Departures from the released code, all on purpose: an unreadable answer counts as none (theirs becomes a
random score, or half of the scale); `average_first` keeps consistency (theirs drops it in one of two
functions); scores on another scale are refused, not rescaled; the prompts are our own words, unless `prompts`
names a folder with others. Source: EditScore, 2025, paper and released code.
"""

import hashlib
import math
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from src.judges.encoding import encode_for_judge
from src.judges.parsing import UnusableReply, parse_reply
from src.judges.question import Answer, AnswerSchema, Question, Reply
from src.judges.rubric import PROMPTS, Rubric, check_has_instruction, with_instruction
from src.records import MAX_SCORE, Image, Reward, Triplet, Verdict

SCALE = 10.0
"""Of the combined numbers."""

HIGHEST = "{max_score}"
NAMES = ("semantic_consistency", "perceptual_quality")
NUMBER = re.compile(r"\d+(?:\.\d+)?")

SILENT = "no reasoning given"
"""Feedback where a judge gave scores without words; "None" would mean that nothing failed."""


@final
@dataclass(frozen=True)
class PassScores:
    """The scores of a pass, each in [0, 10]."""

    prompt_following: float
    consistency: float
    perceptual_quality: float

    @property
    def overall(self) -> float:
        """The overall score of this pass, in [0, 10]."""
        return math.sqrt(min(self.prompt_following, self.consistency) * self.perceptual_quality)


def pass_scores(semantic: Answer, quality: Answer, highest: float) -> PassScores:
    """The scores of a pass from its two answers, which lie in [0, highest]."""
    following, consistency = (score * SCALE / highest for score in semantic.scores)
    return PassScores(following, consistency, min(quality.scores) * SCALE / highest)


def overall_score(
    passes: Sequence[PassScores], reduction: Literal["average_last", "average_first"] = "average_last"
) -> float:
    """The overall score of several passes, in [0, 10].

    Args:
        passes: at least one.
        reduction: "average_last", the mean of the passes' overall scores; "average_first", sqrt(mean of
            min(prompt_following, consistency) x mean of perceptual_quality).

    Raises:
        ValueError: no pass, or an unknown reduction.
    """
    if not passes or reduction not in ("average_last", "average_first"):
        raise ValueError(
            f"{len(passes)} passes can't be reduced by {reduction}: give at least one, "
            "and say average_last or average_first"
        )
    if reduction == "average_last":
        return statistics.fmean(each.overall for each in passes)
    semantic = statistics.fmean(min(each.prompt_following, each.consistency) for each in passes)
    return math.sqrt(semantic * statistics.fmean(each.perceptual_quality for each in passes))


def overall_of_reward(reward: Reward) -> float | None:
    """The overall score that a reward's three scores give, in [0, 10]; None if one failed. Equal to
    `overall_score` of a single pass.
    """
    scores = [verdict.score for verdict in reward.verdicts if verdict.score is not None]
    return (
        PassScores(*(score * SCALE / MAX_SCORE for score in scores)).overall
        if len(scores) == len(reward.verdicts)
        else None
    )


@final
class EditScoreRubric(Rubric):
    """Two questions per pass; see the head of this file.

    Args:
        score_range: highest score asked for: 25 for EditScore's models, 10 for others.
        repeats: passes; the client samples each with a seed of its own.
        prompts: a name without a slash is one of our versions; else a folder with semantic_consistency.txt
            and perceptual_quality.txt, in which {quoted_instruction} (or {instruction}, see rubric.py) and
            {max_score} stand for the instruction and the highest score. To use EditScore's own prompts,
            insert these two placeholders into them.
        reduction: of the overall score, see `overall_score`.
        resize_edited: resize the edited image to the original's size first (bicubic), as the protocol does;
            proportions may change.
        max_pixels: of each image sent.
        expected: take the mean scores under the probabilities of all numbers instead of the numbers written;
            the client must return them (LocalVLM: exact_scores=true), and a single pass then has few ties.

    Raises:
        FileNotFoundError: a prompt is missing.
        ValueError: a prompt without its {...}, another range, fewer than 1 pass, an unknown reduction.
    """

    def __init__(
        self,
        score_range: int = 25,
        repeats: int = 1,
        prompts: str = "editscore_v2",
        reduction: Literal["average_last", "average_first"] = "average_last",
        resize_edited: bool = True,
        max_pixels: int = 1_048_576,
        expected: bool = False,
    ) -> None:
        if score_range not in (10, 25):
            raise ValueError(f"score_range={score_range}: EditScore's scores lie in 0 ... 25, or 0 ... 10")
        if repeats < 1:
            raise ValueError(f"repeats={repeats}: at least one pass")
        if reduction not in ("average_last", "average_first"):
            raise ValueError(f"reduction={reduction}: say average_last or average_first")
        self.schema = AnswerSchema(text="reasoning", count=2, max_score=float(score_range), nothing=None)
        self.reduction: Literal["average_last", "average_first"] = reduction
        self.repeats, self.resize_edited = repeats, resize_edited
        self.max_pixels, self.expected = max_pixels, expected
        self.calls = len(NAMES) * repeats
        folder = PROMPTS / prompts if "/" not in prompts else Path(prompts)
        self.prompts = [read_editscore_prompt(folder, name, score_range) for name in NAMES]
        words = hashlib.sha256("\0".join(self.prompts).encode()).hexdigest()[:16]
        self.fingerprint = (
            f"editscore {score_range} prompts={words} repeats={repeats} "
            f"resize_edited={'bicubic' if resize_edited else False} "
            f"max_pixels={max_pixels} expected={expected}"
        )

    def questions(self, triplet: Triplet) -> list[Question]:
        files = triplet.files or (None, None)
        image, file = triplet.edited, files[1]
        if self.resize_edited and image.shape != triplet.case.original.shape:
            image, file = resize_like_original(image, *triplet.case.original.shape[:2]), None
        original = encode_for_judge(triplet.case.original, files[0], self.max_pixels)
        edited = encode_for_judge(image, file, self.max_pixels)
        semantic = with_instruction(self.prompts[0], triplet.case.instruction)
        asked = ((NAMES[0], semantic, (original, edited)), (NAMES[1], self.prompts[1], (edited,)))
        return [
            Question(triplet.case.id, name, prompt, images, self.schema, repeat)
            for name, prompt, images in asked
            for repeat in range(self.repeats)
        ]

    def read(self, question: Question, reply: Reply) -> Answer:
        answer = parse_reply(reply, question.schema)
        if not self.expected:
            return answer
        return Answer(expected_scores(reply, question.schema), answer.text, answer.success, answer.repaired)

    def passes(self, answers: Sequence[Answer | str]) -> list[PassScores]:
        """The scores of the passes whose two answers could both be read."""
        return [
            pass_scores(semantic, quality, self.schema.max_score)
            for semantic, quality in zip(answers[: self.repeats], answers[self.repeats :], strict=True)
            if isinstance(semantic, Answer) and isinstance(quality, Answer)
        ]

    def overall(self, answers: Sequence[Answer | str]) -> float | None:
        """The overall score in [0, 10] from the answers, in the order of `questions`; None unless more than
        half of the passes are complete.
        """
        passes = self.passes(answers)
        return overall_score(passes, self.reduction) if 2 * len(passes) > self.repeats else None

    def verdicts(self, answers: Sequence[Answer | str]) -> tuple[Verdict, Verdict, Verdict]:
        semantic, quality = answers[: self.repeats], answers[self.repeats :]
        scale = MAX_SCORE / self.schema.max_score
        return (
            mean_verdict(semantic, lambda answer: answer.scores[0] * scale),
            mean_verdict(semantic, lambda answer: answer.scores[1] * scale),
            mean_verdict(quality, lambda answer: min(answer.scores) * scale),
        )


def mean_verdict(answers: Sequence[Answer | str], score_of: Callable[[Answer], float]) -> Verdict:
    """One verdict from the passes: mean score, the words of the pass nearest to it; failures as in
    rubric.combine_answers. EditScore doesn't ask for yes or no, so success is None.
    """
    given = [answer for answer in answers if isinstance(answer, Answer)]
    if 2 * len(given) <= len(answers):
        return Verdict(None, None, next(answer for answer in answers if isinstance(answer, str)), "failed")
    mean = statistics.fmean(map(score_of, given))
    nearest = min(given, key=lambda answer: abs(score_of(answer) - mean))
    whole = len(given) == len(answers) and not any(answer.repaired for answer in given)
    return Verdict(min(mean, MAX_SCORE), None, nearest.text or SILENT, "ok" if whole else "repaired")


def expected_scores(reply: Reply, schema: AnswerSchema) -> tuple[float, ...]:
    """The mean scores under the probabilities that the model gave to 0 ... max_score where it wrote its
    scores.

    Each score must be one token of the reply, with the probability of every number in its place, as LocalVLM
    returns them with exact_scores. The few most probable tokens that a server returns are not enough: with
    one-digit tokens, "1" could be the beginning of "18". The minimum of two expected scores is not the
    expected minimum; the protocol's min is taken of the former.

    Raises:
        UnusableReply: the probability of some number is unknown, or a score was written another way ("18.5").
        ValueError: the reply has no probabilities; the client returns none, so no reply will have any.
    """
    if not reply.alternatives:
        raise ValueError(
            "expected=true needs the probabilities of the scores, and the reply has none; "
            "LocalVLM returns them with exact_scores=true"
        )
    tokens = [choices[0][0] for choices in reply.alternatives]
    starts = np.cumsum([0, *map(len, tokens)]).tolist()
    text = "".join(tokens)
    scores = []
    for number in list(NUMBER.finditer(text, max(0, text.rfind(schema.score))))[: schema.count]:
        index = max(index for index, start in enumerate(starts[:-1]) if start <= number.start())
        shares = {
            token: share
            for token, share in reply.alternatives[index]
            if token.isdecimal() and int(token) <= schema.max_score
        }
        if tokens[index] != number[0] or len(shares) != int(schema.max_score) + 1:
            raise UnusableReply(
                f"not known how probable each number was in place of {number[0]}; LocalVLM tells it with "
                "exact_scores=true"
            )
        scores.append(sum(int(token) * share for token, share in shares.items()) / sum(shares.values()))
    if len(scores) != schema.count:
        raise UnusableReply(f"{schema.count} scores were asked for, the reply's tokens hold {len(scores)}")
    return tuple(scores)


def read_editscore_prompt(folder: Path, name: str, score_range: int) -> str:
    """A prompt with its score range filled in.

    Raises:
        FileNotFoundError: it doesn't exist.
        ValueError: it has no place for the instruction or the range.
    """
    path = folder / f"{name}.txt"
    if not path.is_file():
        raise FileNotFoundError(
            f"no prompt {path}; "
            f"a folder of EditScore's prompts holds {' and '.join(f'{each}.txt' for each in NAMES)}"
        )
    text = path.read_text(encoding="utf-8").strip()
    if HIGHEST not in text:
        raise ValueError(f"{path} has no {HIGHEST}, so the judge would not know the range")
    if name == NAMES[0]:
        check_has_instruction(path, text)
    return text.replace(HIGHEST, str(score_range))


def resize_like_original(image: Image, height: int, width: int) -> UInt8[np.ndarray, "height width 3"]:
    """The image resized by the filter that Pillow takes by itself, as in the release."""
    return np.array(PIL.Image.fromarray(image).resize((width, height), PIL.Image.Resampling.BICUBIC))
