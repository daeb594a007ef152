"""What a sweep will do, printed before it starts: jobs, time, disk, and the smallest difference that its
results can show.
"""

import math
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from src.evaluation.comparison import CaseScores, compare
from src.evaluation.report import read_report
from src.evaluation.statistics import Estimate, smallest_detectable
from src.records import PERSPECTIVES
from src.sweeps.probe import STEPS, Probe, bytes_in
from src.sweeps.record import Job
from src.sweeps.running import duration_text
from src.sweeps.work import Jobs

MAX_STEPS = "trainer.max_steps"
ASSUMED_SPREAD, ASSUMED_PHOTOGRAPHS = 0.15, 8
"""Standard deviation, over photographs, of the difference between two editors of one start, in points of [0,
5], as measured between the rows of experiments/results/smartedit.md; and the photographs of the synthetic
benchmark.
"""


@final
@dataclass(frozen=True)
class SweepPlan:
    """The jobs of a command, by what is left of them.

    Attributes:
        done: finished jobs.
        shared: jobs that equal another one, with that one's folder or number.
        evaluated: trained jobs that lack their evaluation.
        run: jobs to run, from the start or from a checkpoint.
    """

    done: list[Job] = field(default_factory=list)
    shared: list[tuple[Job, str]] = field(default_factory=list)
    evaluated: list[Job] = field(default_factory=list)
    run: list[Job] = field(default_factory=list)


def plan_sweep(mine: Sequence[Job], jobs: Jobs) -> SweepPlan:
    """Sort the jobs of a command by what is left of them."""
    plan, first = SweepPlan(), dict[str, int]()
    for job in mine:
        same = jobs.same(job) if job.status in ("waiting", "failed") else None
        if job.status == "finished":
            plan.done.append(job)
        elif job.status == "trained":
            plan.evaluated.append(job)
        elif same is not None and not (jobs.folder / str(job.number)).exists():
            plan.shared.append((job, str(same[0])))
        elif job.hash in first and jobs.is_trained is not None:
            plan.shared.append((job, f"job {first[job.hash]}"))
        else:
            plan.run.append(job)
        first.setdefault(job.hash, job.number)
    return plan


def plan_text(plan: SweepPlan, mine: Sequence[Job], jobs: Jobs) -> str:
    """The plan as text: a summary line, then one line per job."""
    words = {
        job.number: "done" if job.shared is None else f"done, the same as {job.shared}" for job in plan.done
    }
    words |= {job.number: f"shared with {same}" for job, same in plan.shared}
    words |= {job.number: "trained, to be evaluated" for job in plan.evaluated}
    again = {"interrupted": "to go on with", "failed": "to run again, it failed"}
    words |= {job.number: again.get(job.status, "to run") for job in plan.run}
    counts = {
        "to run": len(plan.run),
        "to evaluate": len(plan.evaluated),
        "done": len(plan.done),
        "shared": len(plan.shared),
    }
    summary = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    lines = [f"  {job.number}  {job.described()}: {words[job.number]}" for job in mine]
    return "\n".join([f"sweep {jobs.sweep.name} in {jobs.folder}: {len(mine)} jobs, {summary}", *lines])


@final
@dataclass(frozen=True)
class CostEstimate:
    """What the remaining jobs will take.

    Attributes:
        seconds: for one job; None if nothing is known.
        words: lines about time, disk and the smallest detectable difference.
    """

    seconds: float | None
    words: tuple[str, ...]


def estimate_cost(
    plan: SweepPlan, jobs: Jobs, at_a_time: int, probe: Callable[[Sequence[str]], Probe] | None
) -> CostEstimate:
    """Estimate time and disk from finished jobs of the sweep, or from a probe of the first job that is left.

    Args:
        plan: what is left.
        jobs: of the sweep.
        at_a_time: number of jobs that run at a time.
        probe: runs a few steps with overrides; None: no probe.

    Raises:
        ValueError: the disk has no room for the remaining jobs.
    """
    lines: list[str] = []
    seconds: float | None = None
    size: float | None = None
    steps = int(plan.run[0].settings.get(MAX_STEPS) or 0) if plan.run else 0
    finished = [
        job for job in jobs.sweep.jobs if job.status == "finished" and job.shared is None and job.seconds
    ]
    alike = [
        job
        for job in finished
        if plan.run and job.settings.get(MAX_STEPS) == plan.run[0].settings.get(MAX_STEPS)
    ]
    if plan.run and alike:
        seconds = sum(sum(job.seconds.values()) for job in alike) / len(alike)
        size = sum(bytes_in(jobs.folder / str(job.number)) for job in alike) / len(alike)
        lines.append(_time(seconds, len(plan.run), at_a_time, f"as the {len(alike)} finished so far"))
    elif plan.run and probe is not None and steps > STEPS:
        print(
            f"trying {STEPS} steps of job {plan.run[0].number} to estimate time and disk; "
            "hydra.launcher.probe=false leaves this out",
            file=sys.stderr,
            flush=True,
        )
        try:
            found = probe(plan.run[0].overrides)
            seconds, size = found.seconds(steps), found.bytes
            source = f"from {STEPS} steps of job {plan.run[0].number}: {found.step:.3g} s each"
            evaluation = (
                "; evaluation, previews and scores on the way come on top"
                if jobs.evaluate is not None
                else ""
            )
            lines.append(_time(seconds, len(plan.run), at_a_time, source + evaluation))
        except ValueError as error:
            lines.append(f"time: not known, a probe of job {plan.run[0].number} failed: {error}")
    if plan.run and size is not None:
        lines.append(_disk(float(size * len(plan.run)), jobs.folder))
    if jobs.evaluate is not None:
        lines.append(_detectable(finished, jobs.folder))
    return CostEstimate(seconds, tuple(lines))


def _time(seconds: float, count: int, at_a_time: int, source: str) -> str:
    whole = math.ceil(count / at_a_time) * seconds
    return f"time: about {duration_text(whole)}, {duration_text(seconds)} for each of {count} ({source})"


def _disk(needed: float, folder: Path) -> str:
    """Needed and free disk space as text.

    Raises:
        ValueError: more is needed than free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"the jobs that are left need about {needed / 1e9:.3g} GB and {free / 1e9:.3g} GB are free in "
            f"{folder}: make room or take fewer jobs"
        )
    return f"disk: about {needed / 1e9:.2g} GB of {free / 1e9:.3g} GB free"


def _detectable(finished: Sequence[Job], folder: Path) -> str:
    """The smallest difference that a comparison of two jobs is likely to detect, as text."""
    measured = [cases for job in finished if (cases := evaluated_cases(folder / str(job.number)))]
    found = [
        each.detectable
        for other in measured[1:]
        for each in compare("one", other, "other", measured[0])
        if each.detectable is not None
    ]
    about = "in points of [0, 5], 5 % level, power 80 %, after Holm's correction"
    if found:
        return (
            f"smallest detectable difference: {min(found):.2f} to {max(found):.2f} {about} (from the "
            f"{len(measured)} jobs evaluated so far)"
        )
    error = ASSUMED_SPREAD / math.sqrt(ASSUMED_PHOTOGRAPHS)
    assumption = Estimate(0.0, error, ASSUMED_PHOTOGRAPHS, ASSUMED_PHOTOGRAPHS - 1)
    guess = smallest_detectable(assumption, family=len(PERSPECTIVES))
    assumed = (
        f"assumed: {ASSUMED_PHOTOGRAPHS} photographs, over which differences vary by {ASSUMED_SPREAD}; "
        "measured once two jobs are evaluated"
    )
    known = "none" if guess is None else f"{guess:.2f}"
    return f"smallest detectable difference: {known} {about} ({assumed})"


def evaluated_cases(run: Path) -> Sequence[CaseScores]:
    """The cases of the first row that a run's editor made; () if it wasn't evaluated."""
    for file in sorted(run.glob("evaluation/*/*/report.json")):
        rows = [row for row in read_report(file).rows if row.made_by and row.cases]
        if rows:
            return rows[0].cases
    return ()
