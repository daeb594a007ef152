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
from src.judges.ledger import Ledger

REQUEST, REWARDS, RECORD, LEDGER = "request.json", "rewards.jsonl", "annotation.json", "ledger.sqlite"


def claim_rows(folder: Path, request: dict[str, Any]) -> None:
    """Record the rows asked for in a new folder, or check that an existing annotation is of the same rows.

    Raises:
        ValueError: it is of others; the message names the differences.
    """
    if not has_answers(folder):
        (folder / REQUEST).unlink(missing_ok=True)  # of a command that got nothing
    recorded = files.claim(folder / REQUEST, request, in_new_folder=False)
    different = unlike_request({name: recorded.get(name) for name in request}, request)
    if different:
        raise ValueError(
            f"{folder} holds the annotation of other rows ({'; '.join(different)}); give another output=, or "
            "the same command"
        )
    remove_leftovers(folder)


def has_answers(folder: Path) -> bool:
    """Whether anything in an annotation's folder would be lost by beginning anew: a reward, or a reply."""
    rewards, ledger = folder / REWARDS, folder / LEDGER
    if rewards.exists() and rewards.stat().st_size:
        return True
    return ledger.exists() and Ledger(ledger).outcomes().get("reply", 0) > 0


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
                "give another output=, or the same judge; one begun with older prompts goes on with "
                "judge.rubric.prompts=v1, one of EditScore must begin anew (it now resizes as the release)"
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


def ledger_of(folder: Path) -> Path | None:
    """The ledger of an annotation; None if it made no call.

    Raises:
        FileNotFoundError: it made some, and its ledger isn't there.
    """
    record = read_record(folder) if (folder / RECORD).exists() else {}
    path = Path(record.get("ledger", folder / LEDGER))
    if path.exists():
        return path
    if record.get("calls"):
        raise FileNotFoundError(
            f"no ledger {path} although {folder} counts {record['calls']} calls; restore it, or move the "
            "folder away and annotate anew"
        )
    return None


def reward_hash(id: str, key: str) -> bytes:
    """Sixteen bytes that stand for a reward's (id, key)."""
    return hashlib.blake2b(f"{id}\0{key}".encode(), digest_size=16).digest()
