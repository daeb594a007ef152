"""Read every score of an annotation once more out of the raw replies in its ledger, and compare.

    python -m src.verify_annotations folder=annotations judge=gpt4o

Needs no network, no key and no images. Exits with 1 and names the first difference if a single score, text
or status is another one.
"""

import json
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from src import launch
from src.annotation import REQUEST, REWARDS
from src.differences import unlike_request
from src.judges.asking import VLMJudge
from src.reward_file import read_rewards


def main(cfg: DictConfig) -> None:
    """Derive and compare.

    Raises:
        FileNotFoundError: no annotation there.
        ValueError: another judge, one without a ledger, or rewards that differ from what the replies say.
    """
    folder = Path(cfg.folder)
    if not (folder / REQUEST).exists() or not (folder / REWARDS).exists():
        raise FileNotFoundError(f"no annotation in {folder}: give the output= of src.annotate")
    judge = instantiate(cfg.judge)
    if not isinstance(judge, VLMJudge):
        raise ValueError(f"judge={judge.name} keeps no ledger, so there is nothing to derive from")
    request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    different = unlike_request(
        {"fingerprint": request.get("fingerprint")}, {"fingerprint": judge.fingerprint}
    )
    if different:
        raise ValueError(
            f"{folder} was judged by another judge ({'; '.join(different)}); give the same judge= with the same settings"
        )
    wrong, unreadable, checked = [], 0, 0
    for reward in read_rewards(folder / REWARDS):
        derived = judge.derived(reward.id, reward.key)
        if derived is None and reward.failed:
            unreadable += 1  # a row whose images could not be read: nobody was asked
            continue
        checked += 1
        if derived is None:
            wrong.append(f"{reward.id!r} is not in the ledger")
        elif derived != reward:
            wrong.append(
                f"{reward.id!r}: the file says {scores(reward.verdicts)}, the replies {scores(derived.verdicts)}"
            )
    print(
        f"{checked} rewards derived from {judge.ledger.path}, {len(wrong)} differ; {unreadable} rows were not asked about"
    )
    if wrong:
        raise ValueError(
            f"{len(wrong)} of {checked} rewards in {folder / REWARDS} are not what the replies say, the first: {wrong[0]}"
        )


def scores(verdicts: tuple) -> str:
    """Scores and statuses of three verdicts, short."""
    return ", ".join(f"{verdict.score} ({verdict.status}, {verdict.feedback[:40]!r})" for verdict in verdicts)


if __name__ == "__main__":
    launch.entry_point(main, "verify_annotations")
