"""Step 2 of an evaluation: a judge's rewards for the edits of one row, in a reward file. The editor is not
needed.

Rewards are found by a key of the images, the instruction and the judge's fingerprint, so that nothing is
judged twice and an edit that changed is judged again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from src.judges.judge import Judge, reward_key
from src.judges.streaming import stream_judgements
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
    what: str | None,
    batch_size: int,
    ask: bool = True,
    retry_failed: bool = False,
) -> list[JudgedCase]:
    """The rewards of a row; those missing in the reward file are asked of the judge and appended as they
    come, `batch_size` at a time, as each append waits for the disk.

    Args:
        triplets: the row, read lazily; a judge that takes a stream reads them in a thread of its own.
        total: their number, for the progress bar.
        judge: gives the rewards.
        path: the reward file.
        what: the row's name; None shows no progress.
        batch_size: triplets per question, for a judge that takes no stream, and rewards per append.
        ask: False only looks up existing rewards.
        retry_failed: ask again where the judge failed before.

    Raises:
        ValueError: the judge returns another number of rewards than triplets, or rewards of other triplets.
    """
    known = {(reward.id, reward.key): reward for reward in read_rewards(path) if reward.judge == judge.name}
    row: list[tuple[JudgedCase, str]] = []  # with the reward's key
    asked = set[tuple[str, str]]()

    def unanswered() -> Iterator[Triplet]:
        for triplet in triplets:
            case, key = triplet.case, reward_key(triplet, judge.fingerprint)
            row.append((JudgedCase(case.id, case.edit_type, case.photograph, None), key))
            name = (case.id, key)
            if ask and name not in asked and (name not in known or (retry_failed and known[name].failed)):
                asked.add(name)
                yield triplet

    def done() -> Iterator[range]:
        """How many more triplets are done, as rewards are written."""
        unwritten, answered, shown = list[Reward](), 0, 0
        try:
            for judgement in stream_judgements(judge, unanswered(), batch_size):
                reward = judgement.reward
                if (reward.id, reward.key) not in asked:
                    raise ValueError(f"judge {judge.name!r} answered about {reward.id!r}, not as asked")
                unwritten.append(reward)
                known[reward.id, reward.key] = reward
                answered += 1
                if len(unwritten) == batch_size:
                    append_rewards(path, unwritten)
                    unwritten = []
                before, shown = shown, max(shown, len(row) - len(asked) + answered)
                yield range(before, shown)
        finally:
            if unwritten:
                append_rewards(path, unwritten)
        if shown < len(row):  # rewards that were there already
            yield range(shown, len(row))

    steps = done() if what is None else with_progress(done(), total, f"judge {what}", "edits")
    for _ in steps:
        pass
    return [replace(case, reward=known.get((case.id, key))) for case, key in row]
