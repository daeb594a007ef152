"""An editor as a function of pictures, in Python; `src.load_editor` loads one.

edit = load_editor("runs/.../editor")
edit(picture, "make it night", reward=(5, 5, 5), seed=0)
"""

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, final, overload

import PIL.Image
import torch

from src.batching import same_size_batches
from src.diffusion.guidance import Guidance
from src.diffusion.samplers import Sampler
from src.editing.edit_batch import edit_batch, noise_seed, size_to_edit
from src.editing.requests import edit_name
from src.editor import Editor
from src.images import Framing, centre_crop, framing_for, resize_to
from src.pictures import Picture, arguments_of_each, is_file, is_list, picture_size, read_picture
from src.records import PERSPECTIVES, Feedback, Image, Scores, TargetReward

Asked = TargetReward | Sequence[float]
"""A reward asked for: three scores of following, preserving and quality, 0 to 5 each; or scores and texts."""

Texts = Sequence[str] | Mapping[str, str]
"""Feedback: three texts, or those of some perspectives by name: {"preserving": "the dog is gone"}."""

UNNAMED = "picture"
"""The name by which the noise of pictures without a file is drawn."""


@final
@dataclass(frozen=True)
class _Request:
    """One edit to make; `size` is that of the upright picture, `edited` that of the edit."""

    picture: Picture
    instruction: str
    target: TargetReward
    noise_seed: int
    what: str
    size: tuple[int, int]
    edited: tuple[int, int]


@final
class PhotoEditor:
    """An editor that takes and returns pictures.

    Args:
        editor: on its device, prepared for editing.
        sampler: how it samples unless a call says otherwise; its `resize` is the size of edits.
        trained_side: the short side of the images that it was trained on, in pixels.
        device: where it is.
        most_pixels: larger edits are refused.

    Attributes:
        takes_rewards: whether the reward asked for makes a difference; an editor without reward conditioning
            ignores it.
    """

    def __init__(
        self,
        editor: Editor,
        sampler: Sampler,
        trained_side: int,
        device: torch.device,
        most_pixels: int = 4_194_304,
    ) -> None:
        self.editor = editor
        self.sampler = sampler
        self.trained_side = trained_side
        self.device = device
        self.most_pixels = most_pixels
        self.takes_rewards = editor.reward_encoder is not None

    @overload
    def __call__(
        self,
        picture: Picture,
        instruction: str,
        reward: TargetReward | Scores | None = None,
        *,
        feedback: Feedback | Mapping[str, str] | None = None,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | int | Mapping[str, Any] | None = None,
        resize: str | int | None = None,
        original_size: bool = True,
        name: str | None = None,
        batch_size: int = 4,
    ) -> PIL.Image.Image: ...

    @overload
    def __call__(
        self,
        picture: Picture | Sequence[Picture],
        instruction: str | Sequence[str],
        reward: Asked | Sequence[Asked] | None = None,
        *,
        feedback: Texts | Sequence[Texts] | None = None,
        seed: int | Sequence[int] = 0,
        steps: int | None = None,
        guidance: float | int | Mapping[str, Any] | None = None,
        resize: str | int | None = None,
        original_size: bool = True,
        name: str | Sequence[str] | None = None,
        batch_size: int = 4,
    ) -> list[PIL.Image.Image]: ...

    def __call__(
        self,
        picture: Any,
        instruction: Any,
        reward: Any = None,
        *,
        feedback: Any = None,
        seed: Any = 0,
        steps: Any = None,
        guidance: Any = None,
        resize: Any = None,
        original_size: bool = True,
        name: Any = None,
        batch_size: int = 4,
    ) -> Any:
        """Edit a picture, or several: picture, instruction, reward, feedback, seed and name are each one for
        all, or a list. Lists have the same length and make a list of edits.

        An edit is a function of picture, instruction, reward, seed and name, whatever else is in its batch,
        up to rounding; it is that of `python -m src.edit` for the same file.

        Args:
            picture: a path, a Pillow image of any mode, or a uint8 array of (h, w, 3); turned upright and
                made RGB as the commands do.
            instruction: what to do, in words.
            reward: the scores asked for, of following, preserving and quality, 0 to 5 each; None: 5/5/5.
            feedback: what the edit may fail at, in words: three texts, or those of some perspectives by name;
                None: nothing fails.
            seed: of the noise.
            steps: of the sampler; None: those of the editor's sampler.
            guidance: how strongly the instruction is followed, or scales by name (text, image, reward); None:
                those of the editor's sampler.
            resize: the size at which it is edited: "trained", "keep", the short side in pixels,
                "long_side_64:512", "square:256" or "area:1048576"; None: that of the editor's sampler.
            original_size: scale the edit to the size of the picture; otherwise it has the size at which it
                was edited, as the files of `src.edit`.
            name: the name by which the noise is drawn; None: that of the file, and "picture" without one.
            batch_size: the most pictures at once; those of a batch have one size.

        Returns:
            An RGB image of the picture's size, or a list of them.

        Raises:
            FileNotFoundError: no such picture.
            ValueError: an argument that can't be used, a picture that can't be read or edited at this size,
                or an edit that is not finite.
        """
        given = {
            "picture": (picture, not is_list(picture)),
            "instruction": (instruction, not is_list(instruction)),
            "reward": (reward, _is_one_reward(reward)),
            "feedback": (feedback, _is_one_feedback(feedback)),
            "seed": (seed, not is_list(seed)),
            "name": (name, not is_list(name)),
        }
        sampler = self._sampler(steps, guidance)
        framing = framing_for(self.sampler.resize if resize is None else resize, self.trained_side)
        requests = [self._request(row, framing) for row in arguments_of_each(given, "picture")]
        edits = self._edits(requests, framing, sampler, batch_size)
        shown = [
            PIL.Image.fromarray(resize_to(edit, *request.size) if original_size else edit)
            for request, edit in zip(requests, edits, strict=True)
        ]
        return shown[0] if all(is_one for _, is_one in given.values()) else shown

    def _sampler(self, steps: object, guidance: object) -> Sampler:
        own = self.sampler
        count = own.steps if steps is None else steps
        if isinstance(count, bool) or not isinstance(count, int):
            raise ValueError(f"steps={steps!r}: a whole number is needed")
        return Sampler(
            count,
            own.guidance if guidance is None else _guidance(own.guidance, guidance),
            own.eta,
            own.clip,
            own.resize,
            own.shift,
        )

    def _request(self, row: Mapping[str, Any], framing: Framing) -> _Request:
        what, picture, instruction, seed = (row[key] for key in ("what", "picture", "instruction", "seed"))
        if not isinstance(instruction, str) or not instruction.strip():
            raise ValueError(f"the instruction for {what} is {instruction!r}: a text is needed")
        if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
            raise ValueError(f"seed={seed!r}: a whole number is needed")
        size = picture_size(picture, what)
        height, width = framing(*size).size
        if height * width > self.most_pixels:
            raise ValueError(
                f"{what} would be edited at {width}x{height} pixels, more than most_pixels="
                f"{self.most_pixels}; say resize=... or raise that limit"
            )
        return _Request(
            picture,
            instruction,
            _target(row["reward"], row["feedback"]),
            noise_seed(edit_name(_noise_name(picture, row["name"]), 1), int(seed)),
            what,
            size,
            size_to_edit(self.editor, height, width),
        )

    def _edits(
        self, requests: Sequence[_Request], framing: Framing, sampler: Sampler, batch_size: int
    ) -> list[Image]:
        """The edits in order, made in batches of one size."""
        edits: dict[int, Image] = {}
        for places in same_size_batches(
            range(len(requests)), lambda place: requests[place].edited, batch_size
        ):
            batch = [requests[place] for place in places]
            made = edit_batch(
                self.editor,
                [centre_crop(read_picture(each.picture, each.what, framing), *each.edited) for each in batch],
                [each.instruction for each in batch],
                [each.target for each in batch],
                [each.noise_seed for each in batch],
                sampler,
                self.device,
            )
            for place, each, edit in zip(places, batch, made, strict=True):
                if edit is None:
                    raise ValueError(
                        f"the edit of {each.what} is not finite (NaN), so there is none: the weights of the "
                        "editor are broken, or numbers overflow in bfloat16"
                    )
                edits[place] = edit
        return [edits[place] for place in range(len(requests))]


def _is_one_reward(reward: object) -> bool:
    if reward is None or isinstance(reward, TargetReward):
        return True
    if not is_list(reward):
        raise ValueError(f"reward={reward!r}: three scores from 0 to 5 are needed, or a list of such")
    return all(isinstance(score, numbers.Real) for score in reward)


def _is_one_feedback(feedback: object) -> bool:
    if feedback is None or isinstance(feedback, Mapping):
        return True
    if not is_list(feedback):
        raise ValueError(
            f"feedback={feedback!r}: three texts are needed, or some by name: {{'preserving': '...'}}"
        )
    return all(isinstance(text, str) for text in feedback)


def _target(reward: Any, feedback: Any) -> TargetReward:
    target = TargetReward() if reward is None else reward
    target = target if isinstance(target, TargetReward) else TargetReward(target)
    return target if feedback is None else replace(target, feedback=_texts(target, feedback))


def _texts(target: TargetReward, feedback: Texts) -> Sequence[str]:
    if not isinstance(feedback, Mapping):
        return feedback
    texts = dict(zip(PERSPECTIVES, target.feedback, strict=True))
    unknown = [name for name in feedback if name not in texts]
    if unknown:
        raise ValueError(f"feedback on {unknown[0]!r}: choose from {', '.join(texts)}")
    return list((texts | dict(feedback)).values())


def _guidance(own: Guidance, scales: object) -> Guidance:
    """The scales of a call in place of the editor's own."""
    given = dict(scales) if isinstance(scales, Mapping) else {"text": scales}
    names = [field.name for field in fields(Guidance)]
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(f"guidance of {unknown[0]!r}: choose from {', '.join(names)}")
    for name, scale in given.items():
        if name != "reference" and (isinstance(scale, bool) or not isinstance(scale, numbers.Real)):
            raise ValueError(f"guidance of {name} is {scale!r}: a number is needed")
    return replace(own, **given)


def _noise_name(picture: Picture, name: str | None) -> Path:
    if name is not None:
        return Path(name)
    return Path(picture) if is_file(picture) else Path(UNNAMED)
