"""Two run folders with 560 cases and their edits on disk, for the report page: run a with rows 5/5/5 and
0/0/0, run b with 5/5/5.

Following of case i is (i % 11) / 2 in row 5/5/5 of a, 5 less that in b, and 1 in row 0/0/0; preserving is 4;
quality 5, in case 7 a failure.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tabulation.hand_made import config, write_run

from src.evaluation.benchmark import Benchmark, Reference
from src.evaluation.case_list import keep_cases
from src.evaluation.judging import JudgedCase
from src.records import Case, Feedback, Reward, Verdict
from src.records import Image as RGBImage
from src.reward_file import append_rewards

TYPES = ("local", "remove", "add", "texture", "background", "global", "style")
HOSTILE = (
    '<script>document.title = "taken"</script><img src="http://127.0.0.1:9/picture">'
    '<b onmouseover=alert(1)>&amp; "quoted"</b>'
)


class Greys(Benchmark):
    """Grey photographs with a coloured corner; a right answer is known for every second case."""

    def __init__(self, number: int = 560, size: int = 16) -> None:
        self.number, self.size = number, size

    @property
    def name(self) -> str:
        return "greys"

    def cases(self) -> Sequence[Case]:
        instructions = [
            HOSTILE,
            "把天空变成夜晚",
            "اجعل السماء ليلا",
            *(f"make it night {index}" for index in range(3, self.number)),
        ]
        return [
            Case(
                f"g{index}",
                self._grey(index // 7),
                instructions[index],
                TYPES[index % 7],
                f"photo{index // 7}",
            )
            for index in range(self.number)
        ]

    def _grey(self, index: int) -> RGBImage:
        image = np.full((self.size, self.size, 3), 60 + index, np.uint8)
        image[:4, :4] = (200, index % 200, 40)
        return image

    def ground_truth(self, case: Case) -> RGBImage | None:
        return np.full_like(case.original, 250) if int(case.id[1:]) % 2 == 0 else None

    def failed_feedback(self, case: Case) -> Feedback | None:
        return None

    def captions(self, case: Case) -> Mapping[str, str]:
        return {}

    def edit_region(self, case: Case) -> np.ndarray | None:
        return None

    def mask(self, case: Case) -> None:
        return None

    def references(self) -> Sequence[Reference]:
        return ()


def following(run: str, row: str, index: int) -> float:
    rising = index % 11 / 2
    return 1.0 if row == "0/0/0" else rising if run == "a" else 5.0 - rising


def reward(run: str, row: str, index: int) -> Reward:
    score = following(run, row, index)
    text = "None" if score == 5 else HOSTILE if index == 0 else f"only {score:g} of the sky is dark"
    quality = (
        Verdict(None, feedback="the reply was not JSON", status="failed")
        if index == 7
        else Verdict(5.0, True)
    )
    return Reward(
        f"g{index}",
        "hand",
        f"k{index}",
        Verdict(score, score >= 4, text),
        Verdict(4.0, True, "one tree is gone"),
        quality,
    )


def write_page_runs(folder: Path, number: int = 560, size: int = 16) -> tuple[Path, Path]:
    """Both run folders."""
    benchmark = Greys(number, size)
    cases = benchmark.cases()
    for run, rows in (("a", ("5/5/5", "0/0/0")), ("b", ("5/5/5",))):
        judged = {
            row: [
                JudgedCase(c.id, c.edit_type, c.photograph, reward(run, row, i)) for i, c in enumerate(cases)
            ]
            for row in rows
        }
        write_run(folder / run, judged, config(seed=ord(run)), benchmark="greys")
        where = folder / run / "evaluation" / "greys"
        keep_cases(where, benchmark, cases)
        for row in rows:
            write_generation(
                where / row.replace("/", "-"),
                row,
                [reward(run, row, index) for index in range(number)],
                cases,
            )
    return folder / "a", folder / "b"


def write_generation(folder: Path, row: str, rewards: Sequence[Reward], cases: Sequence[Case]) -> None:
    """Edits that are the original turned pink, their record and their rewards."""
    (folder / "edits").mkdir(parents=True)
    (folder / "generation.json").write_text(json.dumps({"name": row, "seed": 0}))
    append_rewards(folder / "hand" / "rewards.jsonl", rewards)
    for index, case in enumerate(cases):
        edited = case.original.copy()
        edited[..., 0] = 255 - index % 200
        Image.fromarray(edited).save(folder / "edits" / f"{case.id}.png")
