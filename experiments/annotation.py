"""Measures annotation against a fake server on this machine: call rates, 20,000 rows end to end, memory.

    python -m experiments.annotation   # 20 minutes on two cores; writes results/annotation.md, .json

The server is src/judges/fake_server.py in its own process. It speaks the OpenAI protocol, decodes every
image and invents its answers. The scores mean nothing; only the asking is measured.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import PIL.Image

from src.judges.fake_server import RunningServer, running_server
from src.synthetic.world import World

RESULTS = Path(__file__).resolve().parent / "results"
KEY = {"OPENAI_API_KEY": "test-key"}


def command(server: RunningServer, output: Path, *more: str) -> list[str]:
    """The annotation command that asks this server."""
    address = f"judge.client.base_url={server.base_url}"
    return [
        sys.executable,
        "-m",
        "src.annotate",
        "data=synthetic",
        "judge=gpt4o",
        address,
        f"output={output}",
        "annotator=unrated",
        *more,
    ]


def memory(process: subprocess.Popen) -> float:
    """Resident memory in MB."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def watched(arguments: list[str], file: Path, every: int) -> Iterator[tuple[int, float, float]]:
    """Runs a command; yields (rows written, seconds, MB) every `every` rows."""
    start, following, seen, position = time.monotonic(), every, 0, 0
    process = subprocess.Popen(
        arguments, env={**os.environ, **KEY}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    while process.poll() is None:
        time.sleep(0.05)
        if file.exists():
            with file.open("rb") as source:
                source.seek(position)
                new = source.read()
            position += len(new)
            seen += new.count(b"\n")
        if seen >= following and process.poll() is None:
            yield seen, round(time.monotonic() - start, 1), round(memory(process), 1)
            following += every
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}")


def write_files(folder: Path, rows: int, repeats: int = 1) -> Path:
    """Writes triplets of 256 px as JPEG files, as edit datasets have them, and a list that holds each
    `repeats` times.
    """
    world, listed = World(size=256), []
    folder.mkdir()
    for index in range(rows):
        triplet = world.triplet("train", 0, index)
        for name, image in (("original", triplet.case.original), ("edited", triplet.edited)):
            PIL.Image.fromarray(image).save(folder / f"{index}-{name}.jpg", quality=95)
        listed.append(
            {
                "input": f"{index}-original.jpg",
                "output": f"{index}-edited.jpg",
                "instruction": triplet.case.instruction,
            }
        )
    several = [
        {"id": f"{turn}-{index}", **row} for turn in range(repeats) for index, row in enumerate(listed)
    ]
    (folder / "rows.json").write_text(json.dumps(several))
    return folder / "rows.json"


def rate(server: RunningServer, folder: Path, files: Path, concurrency: int, rows: int) -> float:
    """Calls per second, from the server's log, so without the start of the process."""
    before = len(server.requests())
    options = (
        "data=json_list",
        f"data.dataset.file={files}",
        f"limit={rows}",
        f"judge.limits.concurrency={concurrency}",
    )
    for _ in watched(command(server, folder / f"rate-{concurrency}", *options), folder / "nothing", 1):
        pass
    times = [request["time"] for request in server.requests()[before:]]
    return (len(times) - 1) / (max(times) - min(times))


def rates(folder: Path) -> dict[str, object]:
    """The rates of one call at a time and of 32 concurrent calls."""
    with running_server(folder / "slow.jsonl", "--latency=0.2") as server:
        files = write_files(folder / "files", 800)
        found = {count: rate(server, folder, files, count, rows) for count, rows in ((1, 20), (32, 800))}
    return {f"calls per second at concurrency {count}": round(calls, 2) for count, calls in found.items()}


def end_to_end(folder: Path, rows: int) -> dict[str, object]:
    """Annotates a synthetic dataset of distinct rows, then runs the same command again."""
    with running_server(folder / "long.jsonl", "--latency=0.05") as server:
        options = ("world.size=64", f"data.dataset.length={rows}")
        points = list(
            watched(command(server, folder / "long", *options), folder / "long/rewards.jsonl", rows // 20)
        )
        record = json.loads((folder / "long/annotation.json").read_text())
        before, start = len(server.requests()), time.monotonic()
        for _ in watched(command(server, folder / "long", *options), folder / "nothing", 1):
            pass
        return {
            "rows": record["rows"],
            "failed rows": record["failed"],
            "calls": record["calls"],
            "seconds": record["seconds"],
            "seconds of a second run": round(time.monotonic() - start, 1),
            "calls of a second run": len(server.requests()) - before,
            "MB of the ledger": round((folder / "long/ledger.sqlite").stat().st_size / 1e6, 1),
            "rows, seconds, MB": points,
        }


def repeated(folder: Path, rows: int) -> dict[str, object]:
    """Annotates 500 triplets repeatedly under other ids: most answers come from the ledger, which shows the
    memory of many rows.
    """
    with running_server(folder / "many.jsonl", "--latency=0.05") as server:
        options = ("data=json_list", f"data.dataset.file={write_files(folder / 'few', 500, rows // 500)}")
        points = list(
            watched(command(server, folder / "many", *options), folder / "many/rewards.jsonl", rows // 10)
        )
    return {"repeated rows, seconds, MB": points}


def main() -> None:
    """Measures, prints and writes; skipped parts keep the figures in the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--rows", type=int, default=20_000, help="rows measured end to end; 0 skips that part"
    )
    parser.add_argument(
        "--memory-rows",
        type=int,
        default=100_000,
        help="rows of 500 repeated triplets; 0 skips that part",
    )
    parser.add_argument("--no-rates", action="store_true")
    arguments = parser.parse_args()
    file = RESULTS / "annotation.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    found |= {
        "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
        "python": platform.python_version(),
    }
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        found |= {} if arguments.no_rates else rates(folder)
        found |= end_to_end(folder, arguments.rows) if arguments.rows else {}
        found |= repeated(folder, arguments.memory_rows) if arguments.memory_rows else {}
    RESULTS.mkdir(exist_ok=True)
    file.write_text(json.dumps(found, indent=2) + "\n")
    (RESULTS / "annotation.md").write_text(report(found))
    print(report(found))


def report(found: dict) -> str:
    """The page: figures against targets."""
    one, many = found["calls per second at concurrency 1"], found["calls per second at concurrency 32"]
    points = found["rows, seconds, MB"]
    middle, last = points[len(points) // 2 - 1], points[-1]
    growth = (last[2] - middle[2]) / (last[0] - middle[0]) * 90_000
    repeated = found["repeated rows, seconds, MB"]
    lines = [
        "# Annotation over HTTP",
        "",
        (
            f"`python -m experiments.annotation`, {found['machine']}, Python {found['python']}; server and"
            " client share the machine."
        ),
        "",
        (
            f"- JPEG files of 256 px, 200 ms latency: {one} calls/s one at a time, {many} calls/s at"
            f" concurrency 32: {many / one:.1f} times (target 25)"
        ),
        (
            f"- {found['rows']:,} rows of 64 px, 50 ms latency, concurrency 32: {found['calls']:,} calls in"
            f" {found['seconds']:.0f} s, {found['calls'] / found['seconds']:.0f} calls/s;"
            f" {found['failed rows']} failed; ledger {found['MB of the ledger']} MB"
        ),
        f"- the same again: {found['calls of a second run']} calls, {found['seconds of a second run']} s",
        (
            f"- memory at {middle[0]:,} rows {middle[2]} MB, at {last[0]:,} rows {last[2]} MB: {growth:.0f}"
            " MB from 10,000 to 100,000 rows at this slope (target below 50; extrapolated)"
        ),
        (
            f"- memory of {repeated[-1][0]:,} rows, 500 triplets of 256 px again and again, so that most"
            f" answers come from the ledger: {repeated[-1][2] - repeated[0][2]:.1f} MB from"
            f" {repeated[0][0]:,} to {repeated[-1][0]:,} rows (measured; target below 50)"
        ),
        *table("", points),
        *table(" of 500 triplets again and again", repeated),
        "",
    ]
    return "\n".join(lines)


def table(which: str, points: list[tuple[int, float, float]]) -> list[str]:
    """A table of time and memory of a run."""
    rows = [f"| {count:,} | {seconds} | {megabytes} |" for count, seconds, megabytes in points]
    return ["", f"| rows{which} | seconds | MB |", "|---:|---:|---:|", *rows]


if __name__ == "__main__":
    main()
