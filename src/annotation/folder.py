"""An annotation's folder: the rewards of a dataset's rows by one judge, which can be continued at any moment.

`request.json` holds the request (rows and judge), `rewards.jsonl` the rewards, `ledger.sqlite` every raw
reply, `annotation.json` the counts.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src import files
from src.differences import unlike_request
from src.files import remove_leftovers, write_atomically
from src.judges.judge import Judge

REQUEST, REWARDS, RECORD, LEDGER = "request.json", "rewards.jsonl", "annotation.json", "ledger.sqlite"


def claim_rows(folder: Path, request: dict[str, Any]) -> None:
    """Record the rows asked for in a new folder, or check that an existing annotation is of the same rows.

    Raises:
        ValueError: it is of others; the message names the differences.
    """
    recorded = files.claim(folder / REQUEST, request, in_new_folder=False)
    different = unlike_request({name: recorded.get(name) for name in request}, request)
    if different:
        raise ValueError(
            f"{folder} holds the annotation of other rows ({'; '.join(different)}); give another output=, or "
            "the same command"
        )
    remove_leftovers(folder)


def claim_judge(folder: Path, judge: Judge) -> None:
    """Record the judge in a new folder, or check that an existing annotation is by the same judge with the
    same settings.

    Raises:
        ValueError: it is by another one; the message names the differences.
    """
    request = read_annotation_request(folder)
    requested = {"judge": judge.name, "fingerprint": judge.fingerprint}
    if "judge" in request:
        different = unlike_request({name: request[name] for name in requested}, requested)
        if different:
            raise ValueError(
                f"{folder} holds the answers of another judge ({'; '.join(different)}); "
                "give another output=, or the same judge"
            )
    write_annotation_request(folder, request | requested)


def read_annotation_request(folder: Path) -> dict[str, Any]:
    """The request of an annotation."""
    return json.loads((folder / REQUEST).read_text(encoding="utf-8"))


def write_annotation_request(folder: Path, request: Mapping[str, Any]) -> None:
    """Write the request of an annotation."""
    write_atomically(folder / REQUEST, json.dumps(request, indent=2) + "\n")


def read_record(folder: Path) -> dict[str, Any]:
    """The counts of an annotation."""
    return json.loads((folder / RECORD).read_text(encoding="utf-8"))


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the counts of an annotation."""
    write_atomically(folder / RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def reward_hash(id: str, key: str) -> bytes:
    """Sixteen bytes that stand for a reward's (id, key)."""
    return hashlib.blake2b(f"{id}\0{key}".encode(), digest_size=16).digest()
