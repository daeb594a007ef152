"""Exports an annotation: as a `datasets` dataset with a card, as RewardEdit_20K.json, or the raw replies as
JSON lines or parquet. Failed rows are left out and counted.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from src.annotation.folder import RECORD, REWARDS, ledger_of, read_record
from src.data.all_rows import Shard, all_rows, number_of_rows
from src.data.dataset import RewardedTriplets
from src.data.rewards import from_reward_file
from src.data.rows import DatasetRow, RowStream
from src.formats.reward_edit_20k import write_reward_edit
from src.judges.ledger import Ledger
from src.progress import with_progress
from src.records import Reward

FORMATS: Mapping[str, tuple[str, ...]] = {
    "dataset": (),
    "reward_edit_20k": (".json",),
    "ledger": (".jsonl", ".parquet"),
}
"""The formats, and how the names of their files end; a dataset is a folder."""

NOT_WRITTEN = (".csv", ".tsv", ".txt", ".zip", ".tar", ".gz", ".yaml", ".yml", ".arrow", ".xlsx")
"""Endings of files that nothing here writes."""


def export_format(format: str | None, output: Path) -> str:
    """The format that is asked for, or that the output's name stands for.

    Raises:
        ValueError: no such format, or a name that ends as the files of another.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"export.format={format}: choose from {', '.join(FORMATS)}")
    known = {suffix: name for name, suffixes in FORMATS.items() for suffix in suffixes}
    meant = known.get(output.suffix, None if output.suffix in NOT_WRITTEN else "dataset")
    if meant is None or format not in (None, meant):
        asked = "" if format is None else f" with export.format={format}"
        raise ValueError(
            f"export.output={output}{asked}: the name's ending chooses the format, none for a dataset, .json "
            "for reward_edit_20k, .jsonl or .parquet for ledger"
        )
    return meant


def export_annotation(
    folder: Path,
    format: str,
    output: Path,
    judge: str | None,
    dataset: Callable[[], RewardedTriplets | RowStream],
) -> str:
    """Write an annotation elsewhere; the counts in a sentence.

    Args:
        folder: of the annotation.
        format: one of FORMATS.
        output: the file, or for "dataset" the folder, to write.
        judge: name of the judge whose rewards are taken, where the file holds those of several.
        dataset: makes the annotated triplets; called for "dataset".

    Raises:
        FileNotFoundError: no annotation there.
        ValueError: there is no usable reward, or the rewards fit no row.
    """
    if format == "ledger":
        ledger = ledger_of(folder)
        if ledger is None:
            raise FileNotFoundError(f"no ledger in {folder}: give the output= of an annotation")
        return f"{Ledger(ledger).export(output)} attempts: {output}"
    rewards = from_reward_file(folder / REWARDS, judge).by_id
    failed = sum(reward.failed for reward in rewards.values())
    if failed == len(rewards):
        raise ValueError(f"{folder / REWARDS} holds {len(rewards)} rewards, none of which can be used")
    if format == "reward_edit_20k":
        written = write_reward_edit(rewards.values(), output)
        return f"{written} of {len(rewards)} rewards, {failed} failed: {output}"
    from src.formats.reward_dataset import write_reward_dataset  # needs `datasets`

    usable = len(rewards) - failed
    count = write_reward_dataset(rows_with_rewards(dataset(), rewards), output, usable, card_facts(folder))
    unused = f"; {usable - count} belong to no row of the data" if count < usable else ""
    return f"{count} of {len(rewards)} rewards, {failed} failed{unused}: {output}"


def rows_with_rewards(
    dataset: RewardedTriplets | RowStream, rewards: Mapping[str, Reward]
) -> Iterator[tuple[DatasetRow, Reward]]:
    """The rows with a usable reward.

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
            f"no reward fits any row: the first row's id is {first!r}, the first reward's "
            f"{next(iter(rewards), 'missing')!r}"
        )


def card_facts(folder: Path) -> dict[str, object]:
    """The counts of an annotation, as the dataset card names them."""
    if not (folder / RECORD).exists():
        return {}
    record = read_record(folder)
    names = {
        "judge": "judge",
        "fingerprint": "asked with",
        "rows": "rows asked about",
        "failed": "rows left out, no usable answer",
    }
    return {what: record[name] for name, what in names.items() if name in record}
