"""Print the run folders of a sweep's trained jobs that have an override, in the order of the jobs.

python -m experiments.sweep_runs runs/evidence/table4 model/reward_encoder=score_text
"""

from collections.abc import Sequence
from pathlib import Path

from src.launch import script
from src.sweeps.record import read_sweep


def runs_with(sweep: Path, override: str) -> list[Path]:
    """The folders of the trained jobs with this override, as `sweep.json` lists them.

    Raises:
        FileNotFoundError: no sweep there.
        ValueError: no trained job has the override.
    """
    record = read_sweep(sweep)
    if record is None:
        raise FileNotFoundError(f"no sweep.json in {sweep}: run the sweep first")
    trained = [job for job in record.jobs if job.status in ("trained", "finished")]
    runs = [sweep / str(job.number) for job in trained if override in job.overrides]
    if not runs:
        raise ValueError(f"no trained job of {sweep} has the override {override}; run the sweep first")
    return runs


def main(arguments: Sequence[str]) -> None:
    """Print one folder a line."""
    if len(arguments) != 2:
        raise ValueError(
            "give a sweep folder and an override: python -m experiments.sweep_runs SWEEP OVERRIDE"
        )
    sweep, override = arguments
    print(*runs_with(Path(sweep), override), sep="\n")


if __name__ == "__main__":
    script(main)
