"""Derives every reward of an annotation again from the raw replies in its ledger, and compares. Needs no
network, no key and no images.
"""

from collections.abc import Sequence
from pathlib import Path

from src.annotation.folder import REQUEST, REWARDS, read_annotation_request
from src.differences import unlike_request
from src.judges.judge import Judge
from src.judges.vlm_judge import VLMJudge
from src.records import Verdict
from src.reward_file import read_rewards


def verify_annotation(folder: Path, judge: Judge) -> str:
    """Derive and compare; the result in a sentence.

    Args:
        folder: of the annotation.
        judge: the judge that made it, with that folder's ledger.

    Raises:
        FileNotFoundError: no annotation there.
        ValueError: another judge, one without a ledger, no reward, or rewards that differ from the replies.
    """
    if not (folder / REQUEST).exists() or not (folder / REWARDS).exists():
        raise FileNotFoundError(f"no annotation in {folder}: give the output= of an annotation")
    if not isinstance(judge, VLMJudge):
        raise ValueError(f"judge={judge.name} keeps no ledger, so there is nothing to derive from")
    different = unlike_request(
        {"fingerprint": read_annotation_request(folder).get("fingerprint")},
        {"fingerprint": judge.fingerprint},
    )
    if different:
        raise ValueError(
            f"{folder} was judged by another judge ({'; '.join(different)}); "
            "give the same judge= with the same settings"
        )
    wrong, unreadable, checked, readable = [], 0, 0, 0
    for reward in read_rewards(folder / REWARDS):
        derived = judge.derive(reward.id, reward.key)
        if derived is None and reward.failed:
            unreadable += 1  # a row whose images could not be read, so it was never asked about
            continue
        checked += 1
        if derived is None:
            wrong.append(f"{reward.id!r} is not in the ledger")
        elif derived != reward:
            pairs = zip(reward.verdicts, derived.verdicts, strict=True)
            readable += any(one.status == "failed" != other.status for one, other in pairs)
            wrong.append(
                f"{reward.id!r}: the file says {describe_verdicts(reward.verdicts)}, "
                f"the replies {describe_verdicts(derived.verdicts)}"
            )
    if wrong:
        raise ValueError(
            f"{len(wrong)} of {checked} rewards in {folder / REWARDS} differ from the replies, the first: "
            f"{wrong[0]}"
            + (f"; {readable} failed and can be read now, retry_failed=true takes them" if readable else "")
        )
    if not checked:
        raise ValueError(
            f"{folder / REWARDS} holds no reward that was asked for ({unreadable} rows could not be read): "
            "there is nothing to compare"
        )
    return f"{checked} rewards derived from {judge.ledger.path}; {unreadable} rows were not asked about"


def describe_verdicts(verdicts: Sequence[Verdict]) -> str:
    """Scores, statuses and the beginning of the texts."""
    return ", ".join(f"{verdict.score} ({verdict.status}, {verdict.feedback[:40]!r})" for verdict in verdicts)
