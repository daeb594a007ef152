"""Write rewards as RewardEdit_20K.json of the multi-reward release; data/rewards.py reads it.

key -> three of {"Score": number, "Negative Prompt": text}, in the order following, preserving, quality; the
key is the triplet's id.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from src.files import write_atomically
from src.records import Reward


def write_reward_edit(rewards: Iterable[Reward], path: Path) -> int:
    """Write all rewards that didn't fail; return their number.

    Raises:
        ValueError: two rewards of one triplet, as the layout holds one.
        NotWrittenError: no disk space.
    """
    entries: dict[str, list[dict[str, float | int | str]]] = {}
    for reward in rewards:
        if reward.failed:
            continue
        if reward.id in entries:
            raise ValueError(
                f"{reward.id!r} has two rewards, and the layout holds one per triplet: "
                "choose a judge with judge_name=NAME"
            )
        entries[reward.id] = [
            {"Score": whole(verdict.score), "Negative Prompt": verdict.feedback}
            for verdict in reward.verdicts
        ]
    write_atomically(path, json.dumps(entries, ensure_ascii=False, indent=1) + "\n")
    return len(entries)


def whole(score: float | None) -> float | int:
    """Turn 4.0 into 4, as the release writes it. Raises ValueError for None."""
    if score is None:
        raise ValueError("a failed verdict has no score")
    return int(score) if score == int(score) else score
