"""Memory and time of src.curate over generated rewards of a thousand, a hundred thousand and a million rows.

    python -m experiments.curation DIR

writes experiments/results/curation.md. Scores have three decimals, so that hardly any two rows are equal, the
hardest case for fronts; texts are as long as a judge's. DIR takes 700 MB.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from src.environment import commit, hardware
from src.files import write_atomically
from src.launch import script
from src.records import PERSPECTIVES

RESULT = Path(__file__).parent / "results" / "curation.md"
COUNTS = (1_000, 100_000, 1_000_000)
TYPES, PER_PHOTOGRAPH, FAILED = 7, 3, 0.02
TEXT = "the hat is missing, and the edge of the wall behind it is blurred"
RULES = {
    "threshold": ["curation=threshold", "curation.utility=3"],
    "top, per type and photograph": [
        *("curation=top", "curation.share=0.4", "curation.per_type=true", "curation.per_photograph=2"),
    ],
    "pareto": ["curation=pareto", "curation.share=0.4"],
    "random": ["curation=random", "curation.share=0.4"],
}


class Cost(NamedTuple):
    """Of one process: highest resident memory in MB, CPU seconds, and seconds."""

    memory: float
    cpu: float
    seconds: float


def write_rows(folder: Path, count: int) -> None:
    """A reward file and the list of its rows, unless they are there."""
    if (folder / "rows.jsonl").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(count)
    with (folder / "rewards.jsonl").open("w") as rewards, (folder / "rows.unfinished").open("w") as rows:
        for row in range(count):
            id = f"row-{row:07d}"
            rewards.write(json.dumps(reward_of(id, draw)) + "\n")
            about = {"edit_type": f"type {row % TYPES}", "photograph": f"photo {row // PER_PHOTOGRAPH}"}
            rows.write(json.dumps({"id": id, **about, "bytes": 100_000 + row % 999}) + "\n")
    (folder / "rows.unfinished").rename(folder / "rows.jsonl")


def reward_of(id: str, draw: random.Random) -> dict[str, object]:
    """A line of a reward file."""
    failed = draw.random() < FAILED
    status = "failed" if failed else "ok"
    verdicts = {
        perspective.value: {
            "score": None if failed else round(5 * draw.random(), 3),
            "success": None,
            "feedback": TEXT,
            "status": status,
        }
        for perspective in PERSPECTIVES
    }
    return {"id": id, "judge": "generated", "key": f"{draw.getrandbits(256):064x}", **verdicts, "usage": {}}


def curate(folder: Path, name: str) -> Cost:
    """The cost of one command. Raises CalledProcessError."""
    output = folder / name.replace(", ", "_").replace(" ", "_")
    arguments = [
        f"annotations={folder / 'rewards.jsonl'}",
        f"rows_file={folder / 'rows.jsonl'}",
        f"output={output}",
    ]
    start = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "src.curate", *RULES[name], *arguments], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise ValueError(f"src.curate ended with {status} for {name} in {folder}")
    return Cost(usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime, time.monotonic() - start)


def page(costs: dict[tuple[str, int], Cost], sizes: dict[int, float]) -> str:
    """The result as Markdown."""
    titles = " | ".join(f"{count:,} rows" for count in COUNTS)
    lines = [f"| memory in MB, CPU seconds | {titles} | bytes a row |", f"|---|{'---:|' * (len(COUNTS) + 1)}"]
    for name in RULES:
        cells = " | ".join(f"{costs[name, n].memory:.0f}, {costs[name, n].cpu:.0f}" for n in COUNTS)
        grown = (costs[name, COUNTS[-1]].memory - costs[name, COUNTS[0]].memory) * 2**20
        lines.append(f"| {name} | {cells} | {grown / (COUNTS[-1] - COUNTS[0]):.0f} |")
    files = ", ".join(f"{sizes[count]:.0f} MB" for count in COUNTS)
    return (
        f"# Curation of a million rows\n\n`python -m experiments.curation DIR` at {commit()[:12]}, "
        f"{hardware()}, one process. Reward files of {files}; highest resident "
        "memory and CPU seconds of the whole command, start included. What grows are the numbers of a row "
        "(scores, ids as hashes, ranks), never its texts.\n\n" + "\n".join(lines) + "\n"
    )


def main(arguments: Sequence[str]) -> None:
    """Generate, measure, write. Raises ValueError for a command that failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    costs: dict[tuple[str, int], Cost] = {}
    sizes = {}
    for count in COUNTS:
        write_rows(folder / str(count), count)
        sizes[count] = (folder / str(count) / "rewards.jsonl").stat().st_size / 2**20
        for name in RULES:
            costs[name, count] = curate(folder / str(count), name)
            print(name, count, costs[name, count], flush=True)
    write_atomically(RESULT, page(costs, sizes))
    print(RESULT)


if __name__ == "__main__":
    script(main)
