"""Which reward is asked of the editor, case by case: one Target is one generation and one row of the report."""

from dataclasses import dataclass

from src.evaluation.benchmark import Benchmark
from src.records import NO_FAILURE, Case, TargetReward


@dataclass(frozen=True)
class TargetRow:
    """One generation.

    Attributes:
        reward: the reward asked for; with `failed_edit_feedback` only its scores count.
        failed_edit_feedback: ask with the feedback of a failed edit of each case, the text that belongs to a
            low score in training.
    """

    reward: TargetReward
    failed_edit_feedback: bool = False

    @property
    def name(self) -> str:
        """The row's name: the scores, and "+text" where feedback says that something failed ("5/5/5",
        "0/0/0+text").
        """
        text = self.failed_edit_feedback or any(feedback != NO_FAILURE for feedback in self.reward.feedback)
        return "/".join(f"{score:g}" for score in self.reward.scores) + ("+text" if text else "")

    def settings(self) -> dict[str, object]:
        """What is asked for, as it stands in generation.json."""
        feedback = "of a failed edit of the case" if self.failed_edit_feedback else list(self.reward.feedback)
        return {"scores": [float(score) for score in self.reward.scores], "feedback": feedback}


def requested_reward(target: TargetRow, case: Case, benchmark: Benchmark) -> TargetReward:
    """The reward that a target asks for on one case.

    Raises:
        ValueError: the feedback of a failed edit is wanted and the benchmark does not know it.
    """
    if not target.failed_edit_feedback:
        return target.reward
    feedback = benchmark.failed_feedback(case)
    if feedback is None:
        raise ValueError(
            f"row {target.name!r} asks with the feedback of failed edits, which {benchmark.name} does not know; leave this row out"
        )
    return TargetReward(target.reward.scores, feedback)
