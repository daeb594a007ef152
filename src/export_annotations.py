"""Pass an annotation on: as a `datasets` dataset with a card, as RewardEdit_20K.json, or the raw replies as
JSON lines or parquet.

    python -m src.export_annotations folder=annotations format=dataset data=table data.dataset.table.path=DIR target=my-reward-data
    python -m src.export_annotations folder=annotations format=reward_edit_20k target=RewardEdit_20K.json
    python -m src.export_annotations folder=annotations format=ledger target=replies.parquet

Rows whose verdicts failed are left out and counted. RewardEdit_20K.json is read back with
`+rewards@data.rewards=reward_edit_20k`.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from src import launch
from src.annotation import LEDGER, RECORD, REWARDS
from src.data.all_rows import Shard, all_rows, number_of_rows
from src.data.dataset import RewardedTriplets
from src.data.rewards import from_reward_file
from src.data.rows import DatasetRow, RowStream
from src.data.without_loader import without_loader
from src.formats.reward_edit_20k import write_reward_edit
from src.judges.ledger import Ledger
from src.progress import with_progress
from src.records import Reward

FORMATS = ("dataset", "reward_edit_20k", "ledger")


def main(cfg: DictConfig) -> None:
    """Write `cfg.target`.

    Raises:
        FileNotFoundError: no annotation there.
        ValueError: an unknown format, no target, or rewards that fit no row.
    """
    if cfg.format not in FORMATS:
        raise ValueError(f"format={cfg.format}: one of {', '.join(FORMATS)}")
    if not cfg.target:
        raise ValueError("target=... is missing; see the head of src/export_annotations.py for a command")
    folder, target = Path(cfg.folder), Path(cfg.target)
    if cfg.format == "ledger":
        if not (folder / LEDGER).exists():
            raise FileNotFoundError(f"no ledger in {folder}: give the output= of src.annotate")
        print(f"{Ledger(folder / LEDGER).export(target)} attempts: {target}")
        return
    rewards = from_reward_file(folder / REWARDS, cfg.judge_name).by_id
    if cfg.format == "reward_edit_20k":
        count = write_reward_edit(rewards.values(), target)
    else:
        # what belongs to a dataset at its native size, whatever training makes of it
        dataset = (
            instantiate(without_loader(cfg.data), rewards=None, own_rewards=False).rows
            if "stream" in cfg.data
            else instantiate(cfg.data.dataset)
        )
        usable = sum(not reward.failed for reward in rewards.values())
        from src.formats.reward_dataset import write_reward_dataset  # needs `datasets`

        count = write_reward_dataset(rated(dataset, rewards), target, usable, about(folder))
        if count < usable:
            print(f"{usable - count} rewards belong to no row of the data")
    print(
        f"{count} of {len(rewards)} rewards, {sum(reward.failed for reward in rewards.values())} failed: {target}"
    )


def rated(
    dataset: RewardedTriplets | RowStream, rewards: Mapping[str, Reward]
) -> Iterator[tuple[DatasetRow, Reward]]:
    """The rows that have a reward that didn't fail.

    Raises:
        ValueError: no reward fits any row.
    """
    whole, fitting, first = Shard(), 0, ""
    batches = ([row] for row in all_rows(dataset, whole))
    for batch in with_progress(batches, number_of_rows(dataset, whole, None), "export", "rows"):
        row = batch[0]
        first = first or row.id
        reward = rewards.get(row.id)
        fitting += reward is not None
        if isinstance(row, DatasetRow) and reward is not None and not reward.failed:
            yield row, reward
    if not fitting:
        raise ValueError(
            f"no reward fits any row: the first row's id is {first!r}, the first reward's {next(iter(rewards), 'missing')!r}"
        )


def about(folder: Path) -> dict[str, object]:
    """What an annotation's record says of how it was made."""
    if not (folder / RECORD).exists():
        return {}
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    names = {
        "judge": "judge",
        "fingerprint": "asked with",
        "rows": "rows asked about",
        "failed": "rows left out, no usable answer",
    }
    return {what: record[name] for name, what in names.items() if name in record}


if __name__ == "__main__":
    launch.entry_point(main, "export_annotations")
