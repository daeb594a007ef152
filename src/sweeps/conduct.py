"""Takes a sweep from its command to its table: match it with its folder, plan, run, tabulate."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, final

from src.files import alone_in
from src.sweeps.cluster import submission_starter
from src.sweeps.matching import ANY, Cell, match_cells
from src.sweeps.plan import estimate_cost, plan_sweep, plan_text
from src.sweeps.probe import probe
from src.sweeps.processes import Share, available_cores, divide_machine
from src.sweeps.record import FILE, Sweep, read_sweep
from src.sweeps.results import write_table
from src.sweeps.running import JobsFailed, Runner, StartJob, start_locally
from src.sweeps.sources import Sources
from src.sweeps.work import Jobs


@final
@dataclass(frozen=True)
class SweepRequest:
    """A sweep as its command requests it.

    Attributes:
        name: of its config in conf/sweep, or of its axes.
        entry_point: module that the jobs run.
        command: as typed into a shell.
        folder: of the sweep.
        cells: the jobs.
        is_trained: whether a run folder holds a finished training; None for entry points that don't train.
        evaluate: overrides of src.evaluate for each job; None: no evaluation.
        code: "same" or "any".
        jobs: number that run at a time.
        gpus_per_job: of the visible ones, with several jobs at a time.
        gpus: visible, as CUDA_VISIBLE_DEVICES names them.
        probe: run a few steps of a training for the plan.
        dry_run: print the plan and stop.
        cluster: a scheduler that runs the jobs; None: they run here.
        submission: settings for the scheduler.
        sources: of further yamls, for the jobs.
    """

    name: str
    entry_point: str
    command: str
    folder: Path
    cells: Sequence[Cell]
    is_trained: Callable[[Path], bool] | None
    evaluate: Sequence[str] | None
    code: str
    jobs: int
    gpus_per_job: int
    gpus: Sequence[str]
    probe: bool
    dry_run: bool
    cluster: str | None = None
    submission: Mapping[str, Any] = field(default_factory=dict)
    sources: Sources = Sources()  # noqa: RUF009  # frozen


def run_sweep(request: SweepRequest, commit: Callable[[], str]) -> None:
    """Run the jobs of a sweep that are left.

    Raises:
        ValueError: the folder belongs to another sweep, or to this one with other settings or code; or
            another process runs it.
        JobsFailed: some jobs failed, the others are done.
    """
    if request.code not in ("same", ANY):
        raise ValueError(f"hydra.launcher.code={request.code}: choose same or any")
    if request.cluster is None:
        parts = divide_machine(request.jobs, available_cores(), request.gpus, request.gpus_per_job)
        start: StartJob = start_locally
    else:
        parts = [Share()] * request.jobs
        start = submission_starter(request.folder, request.cluster, request.submission, request.name)
    with alone_in(request.folder, "running the sweep"):
        sweep = load_or_create_sweep(request)
        jobs = Jobs(
            sweep,
            request.folder,
            request.is_trained,
            request.evaluate,
            request.code,
            commit,
            request.sources,
        )
        jobs.prepare()
        jobs.refresh()
        mine = match_cells(sweep, request.cells, request.folder, request.code)
        for cell in request.cells:
            jobs.remember(cell.code, dict(cell.files))
        jobs.refresh()
        plan = plan_sweep(mine, jobs)
        print(plan_text(plan, mine, jobs), flush=True)
        probed = (
            partial(probe, (request.entry_point, *request.sources.of_jobs), request.folder, parts[0])
            if request.probe and jobs.is_trained is not None
            else None
        )
        expected = estimate_cost(plan, jobs, len(parts), probed)
        print("".join(f"{line}\n" for line in expected.words), end="", flush=True)
        if request.dry_run:
            return
        sweep.command = request.command
        sweep.write(request.folder)
        failed: JobsFailed | None = None
        try:
            Runner(sweep, request.folder, parts, start, jobs, expected.seconds).run(mine)
        except JobsFailed as error:
            failed = error
        elsewhere = list(dict.fromkeys(cell.results for cell in request.cells if cell.results is not None))
        if request.evaluate is not None or elsewhere:
            print(write_table(sweep, request.folder, elsewhere or [request.folder]), flush=True)
            sweep.write(request.folder)
        if failed is not None:
            raise failed


def load_or_create_sweep(request: SweepRequest) -> Sweep:
    """The sweep that the folder holds, or a new one.

    Raises:
        ValueError: the folder belongs to another sweep.
    """
    sweep = read_sweep(request.folder)
    if sweep is None:
        if any(path.name.isdigit() for path in request.folder.iterdir()):
            raise ValueError(
                f"{request.folder} holds runs and no {FILE}: take another folder with hydra.sweep.dir="
            )
        return Sweep(request.name, request.entry_point, request.command)
    if (sweep.name, sweep.entry_point) != (request.name, request.entry_point):
        raise ValueError(
            f"{request.folder} belongs to the sweep {sweep.name} of {sweep.entry_point} ({len(sweep.jobs)} "
            f"jobs, {sweep.status}) and this is "
            f"{request.name} of {request.entry_point}: take another folder with hydra.sweep.dir="
        )
    return sweep
