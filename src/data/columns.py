"""Find the columns of a table by the names that datasets of edits use, or as given.

| what | names, as in |
|---|---|
| original | original_image (instructpix2pix-clip-filtered), input_image (HQ-Edit), source_img (MagicBrush), |
| | source_image, src_img, input |
| instruction | edit_prompt, instruction, edit (HQ-Edit), edit_instruction |
| edited | edited_image, target_img (MagicBrush), target_image, output_image, edited_img, output |
| id, edit type | id; edit_type, task |
| answer | answer: of a chat sample, a row with a question as instruction and without an edited image |
| reward | reward_following, reward_preserving, reward_quality, and feedback_... of the same; all six |
"""

import math
from collections.abc import Callable, Mapping, Sequence

from src.records import PERSPECTIVES, Reward, Verdict

SPELLINGS = {
    "original": ("original_image", "input_image", "source_img", "source_image", "src_img", "input"),
    "instruction": ("edit_prompt", "instruction", "edit", "edit_instruction"),
    "edited": ("edited_image", "target_img", "target_image", "output_image", "edited_img", "output"),
    "id": ("id",),
    "edit_type": ("edit_type", "task"),
    "answer": ("answer",),
}
REQUIRED = ("original", "instruction", "edited")
SCORES = tuple(f"reward_{perspective}" for perspective in PERSPECTIVES)
FEEDBACK = tuple(f"feedback_{perspective}" for perspective in PERSPECTIVES)
JUDGE = "columns of the dataset"
"""The judge of rewards in a dataset's own columns, which don't name it."""


def find_columns(names: Sequence[str], given: Mapping[str, str | bool | None], where: str) -> dict[str, str]:
    """Map roles to columns; optional roles without a column are left out.

    Args:
        names: the existing columns.
        given: role -> column where its name can't be guessed; null: search; false: there is none. With a
            column for the answer, the one for the edited image is optional.
        where: the dataset, for errors.

    Raises:
        ValueError: a required column is missing, several candidates for one, or an unknown entry in `given`.
    """
    unknown = sorted(set(given) - set(SPELLINGS))
    if unknown:
        raise ValueError(f"{where}: columns has no entry {unknown[0]!r}: {', '.join(SPELLINGS)}")
    found = {}
    answers = [given.get("answer") or SPELLINGS["answer"][0]] if given.get("answer") is not False else []
    needed = [what for what in REQUIRED if what != "edited" or not any(name in names for name in answers)]
    for what, spellings in SPELLINGS.items():
        wanted = given.get(what)
        if wanted is False and what not in needed:
            continue
        candidates = [wanted] if isinstance(wanted, str) else list(spellings)
        present = [name for name in candidates if name in names]
        if len(present) > 1:
            raise ValueError(
                f"{where} has {' and '.join(present)}: choose the {what} with columns.{what}=NAME"
            )
        if present:
            found[what] = present[0]
        elif what in needed or isinstance(wanted, str):
            raise ValueError(
                f"{where} has no column for the {what} ({', '.join(candidates)}), but {', '.join(names)}: "
                f"choose one with columns.{what}=NAME"
            )
    return found


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
