"""Step 2 of an evaluation: a judge's rewards for the edits of one row, in a reward file. The editor is not
needed.

Rewards are found by a key of the images, the instruction and the judge's fingerprint, so that nothing is
judged twice and an edit that changed is judged again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from src.batching import batches_of
from src.judges.judge import Judge, reward_key
from src.progress import with_progress
from src.records import Reward, Triplet
from src.reward_file import append_rewards, read_rewards


@final
@dataclass(frozen=True)
class JudgedCase:
    """A case of one row without its images, as the report needs it.

    Attributes:
        id: the case's id.
        edit_type: row of the per-type table.
        photograph: its cluster.
        reward: None if it has not been judged.
    """

    id: str
    edit_type: str
    photograph: str
    reward: Reward | None


def judge_row(
    triplets: Iterable[Triplet],
    total: int,
    judge: Judge,
    path: Path,
    what: str,
    batch_size: int,
    ask: bool = True,
    retry_failed: bool = False,
) -> list[JudgedCase]:
    """The rewards of a row; those missing in the reward file are asked of the judge and appended batch by
    batch.

    Args:
        triplets: the row, read lazily.
        total: their number, for the progress bar.
        judge: gives the rewards.
        path: the reward file.
        what: the row's name.
        batch_size: triplets per question.
        ask: False only looks up existing rewards.
        retry_failed: ask again where the judge failed before.

    Raises:
        ValueError: the judge returns another number of rewards than triplets, or rewards of other triplets.
    """
    known = {(reward.id, reward.key): reward for reward in read_rewards(path) if reward.judge == judge.name}
    judged = []
    for batch in with_progress(batches_of(triplets, batch_size), total, f"judge {what}", "edits"):
        names = [(triplet.case.id, reward_key(triplet, judge.fingerprint)) for triplet in batch]
        if ask:
            open_questions = [
                index
                for index, name in enumerate(names)
                if name not in known or (retry_failed and known[name].failed)
            ]
            rewards = _ask(
                judge, [batch[index] for index in open_questions], [names[index] for index in open_questions]
            )
            append_rewards(path, rewards)
            known.update({(reward.id, reward.key): reward for reward in rewards})
        for triplet, name in zip(batch, names, strict=True):
            judged.append(
                JudgedCase(triplet.case.id, triplet.case.edit_type, triplet.case.photograph, known.get(name))
            )
    return judged


def _ask(judge: Judge, triplets: Sequence[Triplet], names: Sequence[tuple[str, str]]) -> list[Reward]:
    if not triplets:
        return []
    rewards = judge.judge(triplets)
    if [(reward.id, reward.key) for reward in rewards] != list(names):
        raise ValueError(
            f"judge {judge.name!r} was asked about {len(triplets)} triplets and answered {len(rewards)} "
            "rewards with other ids or keys"
        )
    return rewards
