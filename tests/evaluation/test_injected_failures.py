"""A judge fails on a tenth of the cases, at random or where it hurts most: the mean it would have given lies
within the printed bounds.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from evaluation.squares import Ruler, Squares

from src.evaluation.judging import judge_row
from src.evaluation.report import Report, report_row, write_report
from src.records import PERSPECTIVES, Case, Triplet

CASES = 60


def triplets(rng: np.random.Generator) -> list[Triplet]:
    """Edits of every quality, five cases an original."""
    cases = [
        Case(
            f"c{index}",
            np.full((4, 4, 3), 7 * index % 256, np.uint8),
            "make it night",
            "style",
            f"p{index // 5}",
        )
        for index in range(CASES)
    ]
    return [Triplet(case, np.full((4, 4, 3), rng.integers(256), np.uint8)) for case in cases]


def printed(folder: Path, found: list[Triplet], fails: list[str]) -> dict:
    """The row of report.json."""
    judge = Ruler(fails=fails)
    judged = judge_row(found, len(found), judge, folder / "rewards.jsonl", "5/5/5", batch_size=16)
    write_report(
        folder, Report(Squares().name, judge.name, judge.fingerprint, (report_row("5/5/5", judged, {}),))
    )
    return json.loads((folder / "report.json").read_text())["rows"][0]


@pytest.mark.parametrize("which", ["random", "best", "worst"])
def test_the_true_mean_lies_within_the_bounds(tmp_path: Path, which: str) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        found = triplets(rng)
        truth = [[verdict.score or 0.0 for verdict in reward.verdicts] for reward in Ruler().judge(found)]
        order = (
            rng.permutation(CASES)
            if which == "random"
            else np.argsort([row[0] for row in truth])[:: -1 if which == "best" else 1]
        )
        row = printed(tmp_path / str(seed), found, [found[index].case.id for index in order[: CASES // 10]])
        assert row["coverage"] == 0.9
        for perspective, mean in zip(PERSPECTIVES, np.mean(truth, axis=0), strict=True):
            low, high = row[perspective.value]["bounds"]
            assert low <= mean <= high
            # a tenth of the cases can move a mean by half a point
            assert high - low == pytest.approx(0.5)
        if which != "random":
            # the mean that is printed alone would have been off
            assert abs(row["following"]["score"] - np.mean(truth, axis=0)[0]) > 0.05
