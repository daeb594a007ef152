"""The reward that the editor is conditioned on, case by case; a TargetRow is one generation and one row of
the report.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from src.evaluation.benchmark import Benchmark
from src.records import NO_FAILURE, Case, TargetReward


@final
@dataclass(frozen=True)
class TargetRow:
    """The target reward of one generation.

    Attributes:
        reward: the target reward; with `failed_edit_feedback` only its scores are used.
        failed_edit_feedback: use the feedback on a failed edit of each case, the kind of text that comes with
            a low score in training.
    """

    reward: TargetReward
    failed_edit_feedback: bool = False

    @property
    def name(self) -> str:
        """The scores, and "+text" if the feedback reports a failure: "5/5/5", "0/0/0+text"."""
        text = self.failed_edit_feedback or any(feedback != NO_FAILURE for feedback in self.reward.feedback)
        return "/".join(f"{score:g}" for score in self.reward.scores) + ("+text" if text else "")

    def settings(self) -> dict[str, object]:
        """The target as generation.json records it."""
        feedback = "of a failed edit of the case" if self.failed_edit_feedback else list(self.reward.feedback)
        return {"scores": [float(score) for score in self.reward.scores], "feedback": feedback}


def requested_reward(target: TargetRow, case: Case, benchmark: Benchmark) -> TargetReward:
    """The target reward for one case.

    Raises:
        ValueError: the feedback on a failed edit is needed and the benchmark does not know it.
    """
    if not target.failed_edit_feedback:
        return target.reward
    feedback = benchmark.failed_feedback(case)
    if feedback is None:
        raise ValueError(
            f"row {target.name!r} asks with the feedback of failed edits, which {benchmark.name} does not "
            "know; leave this row out"
        )
    return TargetReward(target.reward.scores, feedback)


def askable(
    targets: Sequence[TargetRow], case: Case, benchmark: Benchmark
) -> tuple[list[TargetRow], list[TargetRow]]:
    """The rows that can be asked for of a benchmark, by one of its cases, and those that can't; if none can,
    all are taken for rows that can, so that the first says why.
    """
    unknown = [
        target
        for target in targets
        if target.failed_edit_feedback and benchmark.failed_feedback(case) is None
    ]
    known = [target for target in targets if target not in unknown]
    return (known, unknown) if known else (list(targets), [])
