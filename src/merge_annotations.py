"""Join the shards of an annotation: one reward file, one ledger.

    python -m src.merge_annotations folder=annotations            # annotations/shard-1-of-8 ... into annotations/
    python -m src.merge_annotations folder=all sources=[mine,yours]

Nothing is asked. Doing it again, after a shard went on, makes it anew.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from src import launch
from src.annotation import LEDGER, RECORD, REQUEST, REWARDS, short
from src.differences import unlike_request
from src.files import replacing, write_atomically
from src.judges.ledger import Ledger
from src.reward_file import each_reward

SUMMED = ("rows", "scored", "failed", "calls", "input_tokens", "output_tokens")


def main(cfg: DictConfig) -> None:
    """Check that the shards belong together and are all there, then write them as one.

    Raises:
        FileNotFoundError: no shards.
        ValueError: shards missing, of other data or judges, unfinished, or with a triplet in two of them.
    """
    folder = Path(cfg.folder)
    shards = [Path(source) for source in cfg.sources] if cfg.sources else shards_of(folder, cfg.allow_missing)
    check_kinship(shards)
    merge_rewards(shards, folder / REWARDS)
    ledgers = [shard / LEDGER for shard in shards if (shard / LEDGER).exists()]
    if ledgers:
        whole = Ledger(folder / LEDGER)
        for ledger in ledgers:
            whole.merge(ledger)
        whole.close()
    request = json.loads((shards[0] / REQUEST).read_text(encoding="utf-8"))
    write_atomically(folder / REQUEST, json.dumps(request | {"shard": "1/1"}, indent=2) + "\n")
    record = summed([json.loads((shard / RECORD).read_text(encoding="utf-8")) for shard in shards])
    write_atomically(folder / RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    print(
        f"{record['rows']} rows of {len(shards)} shards: {record['scored']} scored, {record['failed']} failed"
    )
    print(folder / REWARDS)


def shards_of(folder: Path, allow_missing: bool) -> list[Path]:
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
            f"no shard-1-of-N folders in {folder}; give the output= of src.annotate, or sources=[DIR,DIR]"
        )
    counts = sorted({count for _, count in found.values()})
    if len(counts) > 1:
        raise ValueError(
            f"{folder} holds shards of several divisions ({', '.join(counts)} parts): move those that don't belong here away"
        )
    numbers = {int(number): path for path, (number, _) in found.items()}
    missing = sorted(set(range(1, int(counts[0]) + 1)) - numbers.keys())
    if missing and not allow_missing:
        raise ValueError(
            f"{folder} lacks {len(missing)} of {counts[0]} shards, the first is {missing[0]}: annotate it, or say allow_missing=true"
        )
    return [numbers[number] for number in sorted(numbers)]


def check_kinship(shards: Sequence[Path]) -> None:
    """Raise ValueError unless all shards are finished and are parts of one annotation: of the same data, by
    the same judge, different parts.
    """
    requests: dict[Path, dict[str, Any]] = {}
    for shard in shards:
        for name in (REQUEST, RECORD, REWARDS):
            if not (shard / name).exists():
                raise ValueError(
                    f"{shard} has no {name}: it is no annotation, or an unfinished one; let src.annotate finish it"
                )
        requests[shard] = json.loads((shard / REQUEST).read_text(encoding="utf-8"))
    first = requests[shards[0]]
    for shard, request in requests.items():
        common = {name: value for name, value in request.items() if name != "shard"}
        different = unlike_request({name: value for name, value in first.items() if name != "shard"}, common)
        if different:
            raise ValueError(
                f"{shards[0]} and {shard} are no shards of one annotation ({'; '.join(different)})"
            )


def merge_rewards(shards: Sequence[Path], target: Path) -> None:
    """All reward lines, shard after shard, replaced ones left out.

    Raises:
        ValueError: a triplet stands in two shards.
    """
    owner: dict[bytes, Path] = {}
    with replacing(target) as partial, partial.open("wb") as file:
        for shard in shards:
            lines: dict[bytes, bytes] = {}
            rewards = each_reward(shard / REWARDS)
            with (shard / REWARDS).open("rb") as source:
                for (reward, _), line in zip(
                    rewards, (line for line in source if line.strip()), strict=False
                ):
                    name = short(reward.id, reward.judge)
                    if owner.setdefault(name, shard) != shard:
                        raise ValueError(
                            f"{owner[name]} and {shard} overlap: both hold a reward of {reward.id!r}; merge shards of one division only"
                        )
                    lines[short(reward.id, reward.key)] = line
            file.writelines(lines.values())


def summed(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The record of all shards together."""
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
    }


if __name__ == "__main__":
    launch.entry_point(main, "merge_annotations")
