"""What the page does, without the page: an edit beside its original, a strip over scores, a verdict.

asked = asked_of(values)   # as the browser sends them
pair = workbench.edit(asked)
reward = workbench.verdict(asked, pair)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from src.app_page.examples import PageExample
from src.editing.photo_editor import PhotoEditor
from src.images import NewImage, centre_crop, framing_for
from src.judges.oracle import OracleJudge
from src.judges.photo_judge import PhotoJudge
from src.pictures import read_picture
from src.records import MAX_SCORE, NO_FAILURE, PERSPECTIVES, Image, Reward, TargetReward

STRIP = tuple(float(score) for score in range(int(MAX_SCORE) + 1))
"""The scores of a strip."""

ALL = "all three"
"""What a strip varies, besides one perspective."""

NOT_KNOWN = (
    "The oracle judges the scenes among the examples alone, at the size of the training and with their own "
    "instructions: it knows what stands in them."
)

MOST_STEPS = 100
"""Of a sampler, on the page."""

LEAST_SHOWN = 384
"""Smaller images are enlarged by whole numbers for the page, to about this short side, so that each pixel
that the editor made is seen.
"""


@final
@dataclass(frozen=True)
class PageRequest:
    """What the page asks for.

    Attributes:
        picture: an uploaded file.
        instruction: what to do.
        target: the reward asked for.
        seed: of the noise.
        steps: of the sampler.
        guidance: scales of text, image and reward.
        resize: the size at which it is edited, as `resize=` of `src.edit`.
    """

    picture: Path
    instruction: str
    target: TargetReward
    seed: int
    steps: int
    guidance: Mapping[str, float]
    resize: str


@final
class Pair(NamedTuple):
    """An edit, and the original as the editor saw it: cropped and scaled to the size of the edit."""

    original: Image
    edited: Image


@final
class StripImage(NamedTuple):
    """One edit of a strip; `scores` were asked for, as 5/0/5."""

    image: Image
    scores: str


def asked_of(values: Mapping[str, Any]) -> PageRequest:
    """The request in the values of the page's fields, as its browser sends them.

    Raises:
        ValueError: a field that is empty or holds what it can't.
    """
    if not values["picture"]:
        raise ValueError("there is no picture: drop one into the field above, or take an example")
    instruction = str(values["instruction"] or "").strip()
    if not instruction:
        raise ValueError("there is no instruction: write in a sentence what to change")
    scores = [_number(values, perspective) for perspective in PERSPECTIVES]
    texts = [str(values[f"{perspective}_feedback"] or "").strip() for perspective in PERSPECTIVES]
    steps = _whole(values, "steps")
    if not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"steps: {steps} is not between 1 and {MOST_STEPS}")
    return PageRequest(
        Path(values["picture"]["path"]),
        instruction,
        TargetReward(scores, [text or NO_FAILURE for text in texts]),
        _whole(values, "seed"),
        steps,
        {name: _number(values, f"{name}_guidance") for name in ("text", "image", "reward")},
        str(values["resize"] or "").strip(),
    )


@final
class Workbench:
    """An editor, a judge if there is one, and examples.

    Args:
        editor: of pictures.
        judge: shows its verdict beside each edit; None: there is none.
        examples: what to begin with.
        seed: what the page asks for at first.
        name: of the editor, for people.
        batch_size: images of a strip that are edited at a time.
    """

    def __init__(
        self,
        editor: PhotoEditor,
        judge: PhotoJudge | None,
        examples: Sequence[PageExample],
        seed: int = 0,
        name: str = "editor",
        batch_size: int = len(STRIP),
    ) -> None:
        self.editor = editor
        self.judge = judge
        self.examples = examples
        self.seed = seed
        self.name = name
        self.batch_size = batch_size

    @property
    def signals(self) -> tuple[str, ...]:
        """What the editor reads of a reward: "score", "text", both, or neither."""
        encoder = self.editor.editor.reward_encoder
        return () if encoder is None else tuple(encoder.signals)

    def edit(self, asked: PageRequest) -> Pair:
        """One edit. Raises ValueError or FileNotFoundError for a picture or a request that can't be used."""
        (edited,) = self._edits(asked, [asked.target])
        return self._pair(asked, edited)

    def strip(self, asked: PageRequest, varied: str) -> list[StripImage]:
        """An edit for each score of STRIP, of the same noise.

        Args:
            asked: what else to ask for.
            varied: the perspective whose score varies, or ALL.

        Raises:
            ValueError, FileNotFoundError: as `edit`.
        """
        targets = [_with_score(asked.target, varied, score) for score in STRIP]
        names = ["/".join(f"{score:g}" for score in target.scores) for target in targets]
        edits = self._edits(asked, targets)
        return [StripImage(edit, name) for edit, name in zip(edits, names, strict=True)]

    def verdict(self, asked: PageRequest, pair: Pair) -> Reward | str | None:
        """The judge's verdict on an edit, or why it has none; None without a judge. Raises ValueError if it
        can't answer.
        """
        if self.judge is None:
            return None
        if isinstance(self.judge.judge, OracleJudge) and not self._is_known(asked):
            return NOT_KNOWN
        return self.judge(pair.original, asked.instruction, pair.edited, id=asked.picture.stem)

    def _is_known(self, asked: PageRequest) -> bool:
        """Whether it is an example as the synthetic world knows it."""
        known = {(each.file.name, each.instruction, each.resize) for each in self.examples}
        return (asked.picture.name, asked.instruction, asked.resize) in known and asked.resize == "trained"

    def _edits(self, asked: PageRequest, targets: Sequence[TargetReward]) -> list[Image]:
        made = self.editor(
            asked.picture,
            asked.instruction,
            list(targets),
            seed=asked.seed,
            steps=asked.steps,
            guidance=asked.guidance,
            resize=asked.resize,
            original_size=False,
            batch_size=self.batch_size,
        )
        return [np.array(each) for each in made]

    def _pair(self, asked: PageRequest, edited: Image) -> Pair:
        framing = framing_for(asked.resize, self.editor.trained_side)
        original = read_picture(asked.picture, framing=framing)
        return Pair(centre_crop(original, *edited.shape[:2]), edited)


def enlarged(image: Image) -> NewImage:
    """A small image with each pixel as a square of pixels; a larger one as it is."""
    times = max(1, LEAST_SHOWN // min(image.shape[:2]))
    return image.repeat(times, axis=0).repeat(times, axis=1)


def _with_score(target: TargetReward, varied: str, score: float) -> TargetReward:
    scores = [
        score if varied in (ALL, perspective) else given
        for perspective, given in zip(PERSPECTIVES, target.scores, strict=True)
    ]
    return replace(target, scores=scores)


def _number(values: Mapping[str, Any], name: str) -> float:
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(f"{name.replace('_', ' ')}: {value!r} is no number")
    return float(value)


def _whole(values: Mapping[str, Any], name: str) -> int:
    value = _number(values, name)
    if value != int(value):
        raise ValueError(f"{name}: {value:g} is no whole number")
    return int(value)
