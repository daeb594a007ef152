"""A judge as a function of pictures, in Python; `src.load_judge` loads one.

judge = load_judge("gpt4o")
judge(original, "make it night", edited).following.score
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, final, overload

from src.judges.judge import Judge
from src.pictures import Picture, arguments_of_each, is_file, is_list, read_picture
from src.records import Case, Reward, Triplet


@final
class PhotoJudge:
    """A judge that takes pictures.

    Args:
        judge: any judge, also one of your own.
    """

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    @overload
    def __call__(
        self, original: Picture, instruction: str, edited: Picture, *, id: str | None = None
    ) -> Reward: ...

    @overload
    def __call__(
        self,
        original: Picture | Sequence[Picture],
        instruction: str | Sequence[str],
        edited: Picture | Sequence[Picture],
        *,
        id: str | Sequence[str] | None = None,
    ) -> list[Reward]: ...

    def __call__(self, original, instruction, edited, *, id=None):
        """Judge an edit, or several at once: each argument is one for all, or a list; lists have one length
        and make a list of rewards.

        Args:
            original, edited: pictures as a path, a Pillow image of any mode, or a uint8 array of (h, w, 3).
            instruction: what was to be done, in words.
            id: names the edit in the reward and in messages; None: its place in the list. The oracle of the
                synthetic world knows an edit by its id alone.

        Returns:
            A Reward: score (0 to 5), success and feedback of following, preserving and quality. Where the
            judge gave no usable answer, the verdict's status is "failed", its score None, and its feedback
            says why.

        Raises:
            FileNotFoundError: no such picture.
            ValueError: an argument that can't be used, a picture that can't be read, or a judge that can't
                answer at all: no key, no server, no budget left.
        """
        given = {
            "original": (original, not is_list(original)),
            "instruction": (instruction, not is_list(instruction)),
            "edited": (edited, not is_list(edited)),
            "id": (id, not is_list(id)),
        }
        rows = arguments_of_each(given, "edited")
        rewards = self._rewards([_triplet(row, place) for place, row in enumerate(rows)])
        return rewards[0] if all(is_one for _, is_one in given.values()) else rewards

    def _rewards(self, triplets: Sequence[Triplet]) -> list[Reward]:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self.judge.judge(triplets)
        # a notebook or a server runs a loop, beside which judges that ask over the network can't run theirs
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self.judge.judge, triplets).result()


def _triplet(row: Mapping[str, Any], place: int) -> Triplet:
    original, edited, instruction = row["original"], row["edited"], row["instruction"]
    if not isinstance(instruction, str) or not instruction.strip():
        raise ValueError(f"the instruction for {row['what']} is {instruction!r}: a text is needed")
    id = f"edit-{place}" if row["id"] is None else row["id"]
    case = Case(id, read_picture(original, "the original"), instruction, "", id)
    files = (
        (Path(original).read_bytes(), Path(edited).read_bytes())
        if is_file(original) and is_file(edited)
        else None
    )
    return Triplet(case, read_picture(edited, row["what"]), files)
