"""Several judges as one: the mean or median of their scores, the majority of their yes and no, the words of
the judge nearest to the score.

python -m src.check_judge judge=ensemble          # with a table of how far its members agree
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Literal, final

from src.judges.judge import Judge, KnowingJudge, PaidJudge, ReadyJudge, RemoteJudge, reward_key
from src.records import PERSPECTIVES, Reward, Triplet, Verdict


@final
class EnsembleJudge:
    """Asks all its members about all triplets. Implements `Judge` and `PaidJudge`.

    Args:
        members: at least two judges by name.
        reduction: "mean", or "median", which ignores a single outlier.
        name: see Judge.

    Attributes:
        last_rewards: each member's rewards of the triplets judged last, for reports of their agreement.

    Raises:
        ValueError: fewer than two members, or an unknown reduction.
    """

    def __init__(
        self,
        members: Mapping[str, Judge],
        reduction: Literal["mean", "median"] = "mean",
        name: str = "ensemble",
    ) -> None:
        if len(members) < 2:
            raise ValueError(f"an ensemble of {len(members)} judge(s): give at least two members")
        if reduction not in ("mean", "median"):
            raise ValueError(f"reduction={reduction}: say mean or median")
        self.members = dict(members)
        self.reduction: Literal["mean", "median"] = reduction
        self.name = name
        self.fingerprint = f"ensemble {reduction} of " + ", ".join(
            f"[{judge.fingerprint}]" for judge in self.members.values()
        )
        self.last_rewards: dict[str, list[Reward]] = {}

    @property
    def is_paid(self) -> bool:
        """Whether any member is."""
        return any(isinstance(member, PaidJudge) and member.is_paid for member in self.members.values())

    @property
    def is_remote(self) -> bool:
        """Whether all members are."""
        return all(isinstance(member, RemoteJudge) and member.is_remote for member in self.members.values())

    def check_ready(self) -> None:
        """Raise ValueError if a member lacks something."""
        for member in self.members.values():
            if isinstance(member, ReadyJudge):
                member.check_ready()

    def knows(self, id: str) -> bool:
        """Whether all members do that judge only what they know."""
        return all(member.knows(id) for member in self.members.values() if isinstance(member, KnowingJudge))

    def judge(self, triplets: Sequence[Triplet]) -> list[Reward]:
        """One Reward per triplet, in order; an error of one member is raised at once."""
        self.last_rewards = {name: member.judge(triplets) for name, member in self.members.items()}
        return [
            Reward(
                triplet.case.id,
                self.name,
                reward_key(triplet, self.fingerprint),
                *combine_rewards(rewards, self.reduction),
            )
            for triplet, *rewards in zip(triplets, *self.last_rewards.values(), strict=True)
        ]


def combine_rewards(
    rewards: Sequence[Reward], reduction: Literal["mean", "median"] = "mean"
) -> tuple[Verdict, Verdict, Verdict]:
    """Three verdicts from several rewards of one triplet."""
    following, preserving, quality = (
        combine_verdicts(
            [reward.verdicts[index] for reward in rewards], [reward.judge for reward in rewards], reduction
        )
        for index in range(len(PERSPECTIVES))
    )
    return following, preserving, quality


def combine_verdicts(
    verdicts: Sequence[Verdict], names: Sequence[str], reduction: Literal["mean", "median"] = "mean"
) -> Verdict:
    """One verdict from several judges' verdicts on one perspective.

    Failed verdicts are left out, and the result is marked as repaired, as long as more than half of the
    judges answered; otherwise it fails, as with the repeats of one judge (rubric.combine_answers). A tie of
    yes and no is a no: nothing counts as a success that half of the judges deny.
    """
    given = [(verdict.score, verdict) for verdict in verdicts if verdict.score is not None]
    if 2 * len(given) <= len(verdicts):
        reasons = [
            f"{name}: {verdict.feedback}"
            for name, verdict in zip(names, verdicts, strict=True)
            if verdict.status == "failed"
        ]
        return Verdict(None, None, "; ".join(reasons), "failed")
    scores = [score for score, _ in given]
    score = statistics.fmean(scores) if reduction == "mean" else statistics.median(scores)
    nearest = min(given, key=lambda pair: abs(pair[0] - score))[1]
    successes = [verdict.success for _, verdict in given if verdict.success is not None]
    success = 2 * sum(successes) > len(successes) if successes else None
    whole = len(given) == len(verdicts) and all(verdict.status == "ok" for verdict in verdicts)
    return Verdict(score, success, nearest.feedback, "ok" if whole else "repaired")
