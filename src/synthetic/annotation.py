"""Annotators of training triplets: the oracle's scores and the text of what was corrupted, each with errors
of its own.

If both were exact they would carry the same information, and a table that compares scores with texts (Table 4
of the paper) would be empty. So they err independently. A score is measured on the image, then gets noise and
is rounded. A text knows what was corrupted, but is sometimes missing, too general or wrong. A text says what
failed and where, a score how badly. All errors are pure functions of the triplet's id.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Protocol, final, runtime_checkable

from src.records import (
    MAX_SCORE,
    NO_FAILURE,
    PERSPECTIVES,
    Feedback,
    Image,
    Perspective,
    Reward,
    Scores,
    Verdict,
    three,
)
from src.seeds import fold_seed
from src.synthetic import language
from src.synthetic.corruptions import (
    Corruption,
    Flaw,
    following_kinds,
    preserving_kinds,
    sample_following_flaw,
    sample_preserving_flaw,
    sample_quality_flaw,
)
from src.synthetic.degradations import QUALITY_FLAWS
from src.synthetic.edits import Edit
from src.synthetic.ground_truth import render_ground_truth
from src.synthetic.measure import measure
from src.synthetic.scene import Renderer, Scene, pick

FORGIVABLE = 3.0
"""Only failures that the oracle scores at least this high are overlooked."""


@final
@dataclass(frozen=True, eq=False)
class AnnotationTask:
    """A training triplet to annotate, with the truth about it.

    Attributes:
        id: of the triplet; decides every error.
        renderer: of its scene.
        scene: before the edit.
        edit: what the instruction asks for.
        free_place: the place that was free before the edit.
        corruption: what went wrong.
        edited: the edited image.
    """

    id: str
    renderer: Renderer
    scene: Scene
    edit: Edit
    free_place: str
    corruption: Corruption
    edited: Image

    @cached_property
    def oracle_scores(self) -> Scores:
        """The oracle's scores of the edited image, in [0, 5]; measured once for all annotators."""
        return measure(render_ground_truth(self.renderer, self.scene, self.edit), self.edited).scores


@runtime_checkable
class Annotator(Protocol):
    """Rates training triplets.

    Attributes:
        name: becomes `Reward.judge`.
        settings: everything that its rewards depend on.
    """

    name: str
    settings: str

    def annotate(self, task: AnnotationTask) -> Reward:
        """The reward of one triplet; the same at every call."""
        ...


@final
class ExactAnnotator:
    """The oracle's scores, not rounded, and the true text: for tests, and as the ceiling of what a reward can
    say.
    """

    name = "exact annotator"
    settings = name

    def annotate(self, task: AnnotationTask) -> Reward:
        """See Annotator."""
        return reward_of(task.id, self.name, self.settings, task.oracle_scores, task.corruption.feedback)


@final
class NoisyAnnotator:
    """Scores and texts with independent errors, like those of a person or a large model.

    Args:
        score_deviation: standard deviation of a score's error in points, before rounding to whole points.
        missing: share of the failures scored FORGIVABLE or better by the oracle for which the text is "None".
        general: share of the failures whose text is too general ("something else has changed").
        wrong: share of the failures whose text names another failure of the same perspective; the text is too
            general if the scene allows no other.

    Raises:
        ValueError: a negative deviation, or shares that are no probabilities or exceed 1 together.
    """

    def __init__(
        self, score_deviation: float = 0.7, missing: float = 0.15, general: float = 0.2, wrong: float = 0.05
    ) -> None:
        if score_deviation < 0:
            raise ValueError(
                f"score_deviation={score_deviation} is not possible: a standard deviation is 0 or more"
            )
        if min(missing, general, wrong) < 0 or missing + general + wrong > 1:
            raise ValueError(
                f"missing={missing} general={general} wrong={wrong} are no shares of the failures: give 0 or "
                "more, together at most 1"
            )
        self.name = "annotator"
        self.score_deviation = score_deviation
        self.missing = missing
        self.general = general
        self.wrong = wrong
        self.settings = f"{self.name} {score_deviation} {missing} {general} {wrong}"

    def annotate(self, task: AnnotationTask) -> Reward:
        """See Annotator."""
        return self.rate(task, task.oracle_scores)

    def rate(self, task: AnnotationTask, exact: Scores) -> Reward:
        """The reward of a triplet for which the oracle's scores are known. No score and no text becomes worse
        where the oracle's scores are higher.

        Args:
            task: its image is not looked at.
            exact: the oracle's scores.
        """
        # Scores and texts draw from separate generators, so their errors are independent.
        rng = Random(fold_seed("annotated scores", task.id))
        scores = [noisy_score(score, self.score_deviation, rng) for score in exact]
        texts = [
            self._text(task, perspective, score)
            for perspective, score in zip(PERSPECTIVES, exact, strict=True)
        ]
        return reward_of(task.id, self.name, self.settings, three(scores, "scores"), three(texts, "texts"))

    def _text(self, task: AnnotationTask, perspective: Perspective, score: float) -> str:
        """The text for one perspective, given the oracle's score."""
        flaw = task.corruption.flaw(perspective)
        if flaw is None:
            return NO_FAILURE
        rng = Random(fold_seed("annotated text", perspective, task.id))
        draw = rng.random()
        if draw < self.missing:
            return NO_FAILURE if score >= FORGIVABLE else flaw.feedback
        if draw < self.missing + self.general:
            return language.choose_wording(language.GENERAL[perspective], rng)
        if draw < self.missing + self.general + self.wrong:
            return wrong_text(rng, task, perspective, flaw)
        return flaw.feedback


@final
class Unrated:
    """No annotation: triplets carry no reward, so only rendering costs time. Editors with reward conditioning
    can't use them.
    """


def noisy_score(score: float, deviation: float, rng: Random) -> float:
    """The score plus N(0, deviation), rounded to whole points and clipped to [0, 5]."""
    return float(min(MAX_SCORE, max(0, math.floor(score + rng.gauss(0.0, deviation) + 0.5))))


def wrong_text(rng: Random, task: AnnotationTask, perspective: Perspective, flaw: Flaw) -> str:
    """A text that names another failure of the perspective, or a general text where the scene allows no
    other.
    """
    if perspective is Perspective.FOLLOWING:
        kinds = following_kinds(task.scene, task.edit)
    elif perspective is Perspective.PRESERVING:
        kinds = preserving_kinds(task.scene, task.edit)
    else:
        kinds = QUALITY_FLAWS
    others = [kind for kind in kinds if kind != flaw.kind]
    if not others:
        return language.choose_wording(language.GENERAL[perspective], rng)
    kind = pick(rng, others)
    if perspective is Perspective.FOLLOWING:
        return sample_following_flaw(
            rng, task.renderer, task.scene, task.edit, task.free_place, kind
        ).feedback
    if perspective is Perspective.PRESERVING:
        return sample_preserving_flaw(rng, task.renderer, task.scene, task.edit, kind).feedback
    return sample_quality_flaw(rng, kind).feedback


def reward_of(case_id: str, name: str, settings: str, scores: Scores, texts: Feedback) -> Reward:
    """Scores and texts as a Reward; annotation does not judge success."""
    # The id decides images and instruction, so its hash serves as theirs and costs nothing.
    key = hashlib.sha256(f"{settings} {case_id}".encode()).hexdigest()
    return Reward(
        case_id, name, key, *(Verdict(score, None, text) for score, text in zip(scores, texts, strict=True))
    )
