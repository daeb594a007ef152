"""Find the columns of a table by the names that datasets of edits use, or as given.

| what | names, the clearer ones first |
|---|---|
| original | original_image (instructpix2pix-clip-filtered), input_image (HQ-Edit), source_img (MagicBrush), |
| | source_image, src_img, control_image (diffusers), ...; original, input, source, before, control; image |
| edited | edited_image, target_img (MagicBrush), target_image, output_image, edited_img, ...; edited, |
| | output, target, after; image |
| instruction | edit_prompt, instruction, edit (HQ-Edit), edit_instruction; prompt, caption, text |
| id, edit type | id; edit_type, task |
| answer | answer: of a chat sample, a row with a question as instruction and without an edited image |
| reward | reward_following, reward_preserving, reward_quality, and feedback_... of the same; all six |

Capitals, blanks and hyphens don't matter, nor does an ending that says that a file is named ("Input image
path"). `image` is whichever of the two has no other column. Two names that are equally clear are asked about.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence

from src.records import PERSPECTIVES, Reward, Verdict

SPELLINGS: Mapping[str, Sequence[Sequence[str]]] = {
    "original": (
        (
            *("original_image", "input_image", "source_image", "before_image", "image_before"),
            *("original_img", "input_img", "source_img", "before_img", "src_img"),
            *("control_image", "conditioning_image"),
        ),
        ("original", "input", "source", "before", "control", "conditioning"),
    ),
    "instruction": (
        ("edit_prompt", "instruction", "edit", "edit_instruction", "editing_instruction"),
        ("prompt", "caption", "text"),
    ),
    "edited": (
        (
            *("edited_image", "output_image", "target_image", "after_image", "image_after"),
            *("edited_img", "output_img", "target_img", "after_img", "tgt_img"),
        ),
        ("edited", "output", "target", "after"),
    ),
    "id": (("id",),),
    "edit_type": (("edit_type", "task"),),
    "answer": (("answer",),),
}
"""Names by role, in tiers: the first tier of which a table has a name decides."""

EITHER = "image"
"""The name of the image that an imagefolder's `file_name` gives: original or edited."""

FILE_ENDING = re.compile(r"_(?:file_?name|file_?path|path|file)$")
REQUIRED = ("original", "instruction", "edited")
SCORES = tuple(f"reward_{perspective}" for perspective in PERSPECTIVES)
FEEDBACK = tuple(f"feedback_{perspective}" for perspective in PERSPECTIVES)
JUDGE = "columns of the dataset"
"""The judge of rewards in a dataset's own columns, which don't name it."""


def find_columns(
    names: Sequence[str],
    given: Mapping[str, str | bool | None],
    where: str,
    setting: str = "data.dataset.columns",
) -> dict[str, str]:
    """Map roles to columns; optional roles without a column are left out.

    Args:
        names: the existing columns.
        given: role -> column where its name can't be guessed; null: search; false: there is none. With a
            column for the answer, the one for the edited image is optional.
        where: the dataset, for errors.
        setting: that holds `given`, for errors.

    Raises:
        ValueError: a required column is missing, several candidates for one, or an unknown entry in `given`.
    """
    unknown = sorted(set(given) - set(SPELLINGS))
    if unknown:
        raise ValueError(f"{where}: {setting} has no entry {unknown[0]!r}: {', '.join(SPELLINGS)}")
    answer = [] if given.get("answer") is False else _candidates(names, given.get("answer"), "answer")
    needed = [what for what in REQUIRED if what != "edited" or not answer]
    roles = [what for what in SPELLINGS if given.get(what) is not False or what in needed]
    present = {what: _candidates(names, given.get(what), what) for what in roles}
    _place_either(names, present, [what for what in needed if not isinstance(given.get(what), str)])
    for what, found in present.items():
        if len(found) > 1:
            raise ValueError(
                f"{where} has {' and '.join(found)}: choose the {what} with {setting}.{what}=NAME"
            )
        if not found and (what in needed or isinstance(given.get(what), str)):
            raise ValueError(
                f"{where} has no column for the {what} ({_expected(what, given.get(what))}), but "
                f"{', '.join(names)}: choose one with {setting}.{what}=NAME"
            )
    return {what: found[0] for what, found in present.items() if found}


def _candidates(names: Sequence[str], given: str | bool | None, what: str) -> list[str]:
    """The columns that may play a role: the given one, or those of the first tier that has any."""
    if isinstance(given, str):
        return [name for name in names if name == given]
    found = ([name for name in names if plain_name(name) in tier] for tier in SPELLINGS[what])
    return next((some for some in found if some), [])


def _place_either(names: Sequence[str], present: dict[str, list[str]], guessed: Sequence[str]) -> None:
    """Let `image` be the one of the two images that no other column can be."""
    used = {name for found in present.values() for name in found}
    either = [name for name in names if plain_name(name) == EITHER and name not in used]
    lacking = [what for what in ("original", "edited") if what in guessed and not present[what]]
    if len(lacking) == 1:
        present[lacking[0]] = either


def _expected(what: str, given: str | bool | None) -> str:
    """The column that was looked for, or the clearest names."""
    return given if isinstance(given, str) else ", ".join([*SPELLINGS[what][0][:4], SPELLINGS[what][-1][0]])


def plain_name(name: str) -> str:
    """A column's name as SPELLINGS has it: "Input Image Path" is input_image."""
    return FILE_ENDING.sub("", re.sub(r"[\s-]+", "_", name.strip().lower()))


def has_rewards(names: Sequence[str], where: str) -> bool:
    """Whether the six columns of a reward are there.

    Raises:
        ValueError: some are there and some are not.
    """
    missing = [name for name in (*SCORES, *FEEDBACK) if name not in names]
    if 0 < len(missing) < len(SCORES + FEEDBACK):
        raise ValueError(
            f"{where} has columns of a reward but not {', '.join(missing)}: "
            "add them, or ignore all with data.dataset.rewards=false"
        )
    return not missing


def is_missing(value: object) -> bool:
    """Whether a row leaves a field open: null, or the NaN that tables write for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def same_columns(first: Callable[[str], object], second: Callable[[str], object]) -> bool:
    """Whether two rows have the same reward; one without a score says nothing."""
    one, other = ([value(name) for name in (*SCORES, *FEEDBACK)] for value in (first, second))
    is_rated = all(not all(map(is_missing, row[: len(SCORES)])) for row in (one, other))
    return not is_rated or one == other


def reward_of_columns(value: Callable[[str], object], id: str) -> Reward | None:
    """Read the reward in a row's columns; None if its scores are missing.

    Raises:
        ValueError: some scores are missing, not numbers, or outside [0, 5]; or feedback is not a text.
    """
    scores, texts = [value(name) for name in SCORES], [value(name) for name in FEEDBACK]
    if all(map(is_missing, scores)):
        return None
    verdicts = [
        parse_verdict(score, text, f"row {id!r}, {name}")
        for score, text, name in zip(scores, texts, SCORES, strict=True)
    ]
    return Reward(id, JUDGE, id, *verdicts)


def parse_verdict(score: object, feedback: object, where: str) -> Verdict:
    """Build the verdict of one perspective from a number and a text of a file.

    Raises:
        ValueError: not a number in [0, 5], or not a text.
    """
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise ValueError(f"{where}: the score is {score!r}, a number is needed")
    if not isinstance(feedback, str):
        raise ValueError(f"{where}: the feedback is {feedback!r}, a text is needed")
    try:
        return Verdict(float(score), feedback=feedback)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
