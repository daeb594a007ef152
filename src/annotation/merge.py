"""Joins the shards of an annotation into one reward file and one ledger. Nothing is asked; merging again,
after a shard was continued, starts over.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.annotation.folder import (
    LEDGER,
    RECORD,
    REQUEST,
    REWARDS,
    ledger_of,
    read_annotation_request,
    read_record,
    reward_hash,
    write_annotation_request,
    write_record,
)
from src.differences import unlike_request
from src.files import replacing
from src.judges.ledger import Ledger
from src.reward_file import iter_rewards

SUMMED = ("rows", "scored", "failed", "calls", "input_tokens", "output_tokens", "estimated")


def merge_annotations(folder: Path, sources: Sequence[Path] | None, allow_missing: bool) -> str:
    """Check that the shards are complete and belong together, and write them as one annotation; the counts in
    a sentence.

    Args:
        folder: of the merged annotation.
        sources: folders of annotations; None: the shards in `folder`.
        allow_missing: merge although shards in `folder` are missing or unfinished.

    Raises:
        FileNotFoundError: no shards, or no ledger of one.
        ValueError: shards are missing, unfinished, empty, of other data or judges, or share a triplet.
    """
    shards = list(sources) if sources else find_shards(folder, allow_missing)
    check_same_annotation(shards)
    check_finished(shards, allow_missing)
    ledgers = [ledger for shard in shards if (ledger := ledger_of(shard)) is not None]
    merge_rewards(shards, folder / REWARDS)
    if ledgers:
        merged = Ledger(folder / LEDGER)
        for ledger in ledgers:
            merged.merge(ledger)
        merged.close()
    write_annotation_request(folder, read_annotation_request(shards[0]) | {"shard": "1/1"})
    record = sum_records([read_record(shard) for shard in shards])
    write_record(folder, record)
    return (
        f"{record['rows']} rows of {len(shards)} shards: {record['scored']} scored, {record['failed']} failed"
    )


def find_shards(folder: Path, allow_missing: bool) -> list[Path]:
    """The shards in a folder, in order.

    Raises:
        FileNotFoundError: none.
        ValueError: of several divisions, or some are missing.
    """
    found = {
        path: path.name.removeprefix("shard-").split("-of-")
        for path in folder.glob("shard-*-of-*")
        if path.is_dir()
    }
    if not found:
        raise FileNotFoundError(
            f"no shard-1-of-N folders in {folder}; give the output= of the shards, or merge.sources=[DIR,DIR]"
        )
    counts = sorted({count for _, count in found.values()})
    if len(counts) > 1:
        raise ValueError(
            f"{folder} holds shards of several divisions ({', '.join(counts)} parts): "
            "move away those that don't belong here"
        )
    numbers = {int(number): path for path, (number, _) in found.items()}
    missing = sorted(set(range(1, int(counts[0]) + 1)) - numbers.keys())
    if missing and not allow_missing:
        raise ValueError(
            f"{folder} lacks {len(missing)} of {counts[0]} shards, the first is {missing[0]}: "
            "annotate it, or give merge.allow_missing=true"
        )
    return [numbers[number] for number in sorted(numbers)]


def check_same_annotation(shards: Sequence[Path]) -> None:
    """Raise ValueError unless all shards are finished and of one annotation: the same data and judge."""
    requests: dict[Path, dict[str, Any]] = {}
    for shard in shards:
        for name in (REQUEST, RECORD, REWARDS):
            if not (shard / name).exists():
                raise ValueError(
                    f"{shard} has no {name}: it is no annotation, or an unfinished one; "
                    "finish it by src.annotate"
                )
        requests[shard] = read_annotation_request(shard)
    first = requests[shards[0]]
    for shard, request in requests.items():
        common = {name: value for name, value in request.items() if name != "shard"}
        different = unlike_request({name: value for name, value in first.items() if name != "shard"}, common)
        if different:
            raise ValueError(
                f"{shards[0]} and {shard} are not shards of one annotation ({'; '.join(different)})"
            )


def check_finished(shards: Sequence[Path], allow_unfinished: bool) -> None:
    """Raise ValueError unless the shards hold rewards and each has gone through all of its rows."""
    records = {shard: read_record(shard) for shard in shards}
    unfinished = [shard for shard, record in records.items() if not record.get("finished")]
    if unfinished and not allow_unfinished:
        raise ValueError(
            f"{len(unfinished)} of {len(shards)} shards are not known to be finished, the first is "
            f"{unfinished[0]}: give its src.annotate command once more, which asks nothing that is answered, "
            "or merge.allow_missing=true"
        )
    if not any(record["rows"] for record in records.values()):
        raise ValueError(f"none of {len(shards)} shards holds a reward, the first is {shards[0]}")


def merge_rewards(shards: Sequence[Path], output: Path) -> None:
    """Write all reward lines, shard after shard, without superseded ones.

    Raises:
        ValueError: two shards share a triplet.
    """
    owner: dict[bytes, Path] = {}
    with replacing(output) as partial, partial.open("wb") as file:
        for shard in shards:
            lines: dict[bytes, bytes] = {}
            rewards = iter_rewards(shard / REWARDS)
            with (shard / REWARDS).open("rb") as source:
                for (reward, _), line in zip(
                    rewards, (line for line in source if line.strip()), strict=False
                ):
                    name = reward_hash(reward.id, reward.judge)
                    if owner.setdefault(name, shard) != shard:
                        raise ValueError(
                            f"{owner[name]} and {shard} overlap: both hold a reward of {reward.id!r}; "
                            "merge shards of one division only"
                        )
                    lines[reward_hash(reward.id, reward.key)] = line
            file.writelines(lines.values())


def sum_records(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The counts of all shards together."""
    total: dict[str, Any] = {
        name: sum(record[name] for record in records)
        for name in SUMMED
        if all(name in record for record in records)
    }
    for name in ("verdicts", "outcomes"):
        if all(name in record for record in records):
            total[name] = dict(sum((Counter(record[name]) for record in records), Counter()))
    if all(record.get("dollars") is not None for record in records):
        total["dollars"] = round(sum(record["dollars"] for record in records), 6)
    return total | {
        "judge": records[0]["judge"],
        "fingerprint": records[0]["fingerprint"],
        "shards": len(records),
        "finished": all(record.get("finished") for record in records),
    }
