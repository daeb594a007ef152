"""Evaluate a checkpoint on a benchmark: generate edits, measure them, have them judged, report.

    python -m src.evaluate checkpoint=runs/.../last.ckpt benchmark=synthetic_edit judge=oracle targets=table6
    python -m src.evaluate checkpoint=... benchmark=real_edit benchmark.folder=DIR judge=gpt4o
    # judge edits that exist already
    python -m src.evaluate edits=runs/.../5-5-5/edits judge=oracle
    # with CLIP-I, CLIP-T, DINO, L1 and L2 (image_metrics=pixels needs no network)
    python -m src.evaluate checkpoint=... image_metrics=magicbrush
    # the best of 8 edits, chosen by one judge and scored by another
    python -m src.evaluate checkpoint=... best_of=8 judge@selector=noisy_oracle
    # the same edits drawn weaker and stronger, so that rows compare at equal following
    python -m src.evaluate edits=runs/.../5-5-5/edits strength=[0.25,0.5,0.75,1.25,1.5]
    # how the edits follow the scores asked for
    python -m src.evaluate checkpoint=... targets=dial
    # four processes share generating and measuring
    torchrun --nproc-per-node 4 -m src.evaluate checkpoint=...

Each step resumes where it was stopped and can be run alone (`steps=[generate]`, `[judge,report]`,
`[report]`). Results go to `<run>/evaluation/<benchmark>/`. The model's config comes from the checkpoint, so
no model group is composed.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from hydra.utils import instantiate
from omegaconf import DictConfig

from src import launch, memory
from src.evaluation.arguments import check_options, check_source, run_folder
from src.files import remove_leftovers
from src.missing_settings import check_complete
from src.sweeps.launcher import SweepInterface
from src.sweeps.settings import whole_config
from src.sweeps.titles import overrides_of, sweep_axes
from src.tracking.settings import loggable_settings, logger_nodes

if TYPE_CHECKING:
    from src.evaluation.benchmark import Benchmark
    from src.evaluation.best_of_n import BestOf
    from src.evaluation.generation_folder import Generation
    from src.evaluation.image_metrics import ImageMetrics
    from src.evaluation.judging_ahead import JudgingAhead
    from src.evaluation.metrics import CaseMetrics
    from src.evaluation.rows import Measuring, Rows
    from src.evaluation.targets import TargetRow
    from src.judges.judge import Judge
    from src.records import Case


@final
@dataclass(frozen=True)
class Parts:
    """What a command names, built and checked against each other.

    Attributes:
        folder: of the benchmark's results.
        steps: of what is to be done.
        benchmark, cases: and those of its cases that are evaluated.
        targets, notes: the rewards to ask for, and what is said of those that can't be.
        judge: scores the edits.
        metrics: of images, or None.
        best: how one of several edits is chosen, or None.
        strengths: at which edits are drawn once more, or None.
    """

    folder: Path
    steps: frozenset[str]
    benchmark: "Benchmark"
    cases: "Sequence[Case]"
    targets: "Sequence[TargetRow]"
    notes: tuple[str, ...]
    judge: "Judge"
    metrics: "ImageMetrics | None"
    best: "BestOf | None"
    strengths: Sequence[float] | None


def main(cfg: DictConfig) -> None:
    """Generate and measure on all ranks; judge and report on the first."""
    check_request(cfg)
    check_complete(cfg)
    import torch

    from src.evaluation.rows import Rows
    from src.ranks import join_ranks, leave_ranks

    if cfg.keep_memory:
        memory.keep_freed()
    tell_sampler(cfg)
    parts = build_parts(cfg)
    torch.manual_seed(cfg.seed)  # of frozen parts without weights, which an editor doesn't save
    ranks = join_ranks()
    rows = Rows(
        parts.folder, parts.benchmark, parts.cases, ranks, cfg.device, cfg.batch_size, notes=parts.notes
    )
    if ranks.rank == 0:
        print("".join(parts.notes), end="", file=sys.stderr)
    ahead = judging_ahead(parts, cfg.batch_size)
    try:
        made = make_edits(cfg, parts, rows, ahead)
    except BaseException:
        if ahead is not None:
            ahead.give_up()
        raise
    finally:
        leave_ranks()
    if ahead is not None:
        ahead.finish()
    if ranks.rank == 0 and parts.steps & {"judge", "report"}:
        judge_and_report(cfg, parts, made)


def build_parts(cfg: DictConfig) -> Parts:
    """Build what the command names; leftovers of killed evaluations go."""
    from src.evaluation import strength
    from src.evaluation.field_protocol import asked_by
    from src.evaluation.targets import askable

    benchmark: Benchmark = instantiate(cfg.benchmark)
    cases = benchmark.cases()[: cfg.limit]  # before the judge, as its questions may be about them
    judge: Judge = asked_by(instantiate(cfg.judge), benchmark.protocol, benchmark.name)
    metrics: ImageMetrics | None = instantiate(cfg.image_metrics, _convert_="all")
    best = best_of(cfg, judge)
    strengths = None if cfg.strength is None else [float(each) for each in cfg.strength]
    if strengths is not None:
        strength.check_price(strengths, judge, cfg.strength_paid)
    targets, unknown = askable(instantiate(cfg.targets.rows, _convert_="all"), cases[0], benchmark)
    notes = tuple(
        f"The row {target.name} is left out: {benchmark.name} does not know how an edit of a case may "
        "fail, which the editor would be told.\n"
        for target in unknown
    )
    folder = run_folder(cfg) / "evaluation" / benchmark.name
    for part in (folder, folder / judge.name):
        remove_leftovers(part)
    steps = frozenset(cfg.steps)
    return Parts(folder, steps, benchmark, cases, targets, notes, judge, metrics, best, strengths)


def check_ready(parts: Parts, measurable: Sequence[str]) -> None:
    """Check those that are to judge and measure the edits, before the first is made.

    Raises:
        ValueError: a judge that can't judge them.
        FileNotFoundError: a judge or metric lacks weights.
    """
    from src.judges.judge import KnowingJudge, check_can_judge

    asked = [parts.judge] if "judge" in parts.steps else []
    for each in asked if parts.best is None else [*asked, parts.best.selector]:
        try:
            check_can_judge(each, [case.id for case in parts.cases])
        except ValueError as error:
            if parts.metrics is None or not isinstance(each, KnowingJudge):
                raise
            print(f"warning: image metrics only: {error}", file=sys.stderr)
    if parts.metrics is not None and "measure" in parts.steps:
        parts.metrics.check_ready(measurable)


@final
@dataclass(frozen=True)
class Made:
    """The edits and what was measured of them.

    Attributes:
        rows: with the ideals of the editor.
        generations: the edits of each target.
        measuring, measured: by image metrics; None and nothing without.
    """

    rows: "Rows"
    generations: "Sequence[Generation]"
    measuring: "Measuring | None"
    measured: "Mapping[str, Sequence[CaseMetrics]]"


def judging_ahead(parts: Parts, batch_size: int) -> "JudgingAhead | None":
    """What asks the judge while edits are made; None for a judge that needs this machine itself."""
    from src.evaluation.judging_ahead import JudgingAhead
    from src.judges.judge import RemoteJudge

    judge = parts.judge
    if "judge" not in parts.steps or not isinstance(judge, RemoteJudge) or not judge.is_remote:
        return None
    return JudgingAhead(judge, parts.cases, parts.benchmark.judged_height, batch_size)


def make_edits(cfg: DictConfig, parts: Parts, rows: "Rows", ahead: "JudgingAhead | None") -> Made:
    """Make or adopt the edits and measure them, shared among the ranks."""
    from src.evaluation.rows import Measuring

    metrics, make = parts.metrics, "generate" in parts.steps
    measurable = []
    if metrics is not None:
        measurable = rows.ranks.run_on_first(lambda: metrics.check(parts.benchmark, parts.cases))
    if cfg.checkpoint is None:
        generations = [rows.adopt(Path(cfg.edits), cfg.row, cfg.overwrite)]
    else:
        source = edit_source(cfg)
        generations = rows.generate(
            parts.targets, source, make, lambda: check_ready(parts, measurable), ahead
        )
        rows = rows.with_ideals(source, make)
    if metrics is None or not parts.steps & {"measure", "report"}:
        return Made(rows, generations, None, {})
    measuring = Measuring(metrics, "measure" in parts.steps)
    return Made(rows, generations, measuring, rows.measure(generations, measuring))


def judge_and_report(cfg: DictConfig, parts: Parts, made: Made) -> None:
    """Have the edits judged; write, draw, print and log the report."""
    from src.evaluation import dial, show
    from src.evaluation.rows import Judging, judge_strengths
    from src.evaluation.tracking import log_evaluation

    judge, rows, folder = parts.judge, made.rows, parts.folder
    judging = Judging(judge, cfg.batch_size, "judge" in parts.steps, cfg.retry_failed)
    judged, choices = rows.judge(made.generations, judging, made.measured, made.measuring, parts.best)
    arms = []
    if parts.strengths is not None:
        arms = judge_strengths(rows, made.generations, judging, parts.strengths, judged)
    if "report" not in parts.steps:
        return
    scores = {row.name: row.cases for row in judged}
    measured_dial = None
    if cfg.checkpoint is not None:
        measured_dial = dial.measure_dial([(target, scores[target.name]) for target in parts.targets])
    report, field = show.add_to_report(
        folder, parts.benchmark, parts.cases, judged, judge, choices, measured_dial, rows.notes, arms
    )
    show.draw_gallery(folder, report, parts.benchmark, parts.cases, judge, cfg.gallery)
    show.print_results(folder / judge.name, report, choices, measured_dial, field)
    for node in logger_nodes(cfg):
        logger = instantiate(node, save_dir=str(folder / judge.name))
        editor = None if cfg.checkpoint is None else Path(cfg.checkpoint)
        log_evaluation(logger, folder, judge, parts.cases, cfg.logged_cases, editor, logged_settings(cfg))


def check_request(cfg: DictConfig) -> None:
    """Raise an error if the command contradicts itself or names no checkpoint, before anything is built."""
    check_source(cfg)
    launch.check_whole_numbers(cfg, {"seed": None, "batch_size": 1})
    check_options(cfg)


def depends_on(cfg: DictConfig) -> dict[str, Any]:
    """What the result depends on, for sweeps: the weights rather than their path, and nothing about how the
    evaluation runs.

    Raises:
        FileNotFoundError: no checkpoint or edits.
        ValueError: a command that contradicts itself.
    """
    check_request(cfg)
    if cfg.edits is not None and not Path(cfg.edits).is_dir():
        raise FileNotFoundError(f"no edits at edits={cfg.edits}; give a folder of <case id>.png")
    if cfg.checkpoint is None:
        return whole_config(cfg)
    from src import checkpoint

    weights = checkpoint.content_hash(Path(cfg.checkpoint))[:16]  # first, as the config asks the checkpoint
    return whole_config(cfg) | {"checkpoint": f"weights {weights}"}


def tell_sampler(cfg: DictConfig) -> None:
    """Say which sampler is used where the command does not. Raises as `checkpoint.read`."""
    if cfg.checkpoint is None:
        return
    from src.trained_sampler import told, trained_with

    path = Path(str(cfg.checkpoint))
    height, width = trained_with(path).size
    words = told(cfg.sampler, path)
    is_first = os.environ.get("RANK", "0") == "0"  # of several processes
    if words is not None and "generate" in cfg.steps and is_first:
        print(f"{words}; trained on images of {width}x{height}", file=sys.stderr, flush=True)


def best_of(cfg: DictConfig, judge: Any) -> Any:
    """A `BestOf`, the request for best-of-N; None for one edit per case."""
    if cfg.best_of == 1:
        return None
    from src.evaluation import best_of_n

    curve = not best_of_n.is_paid(judge) if cfg.best_of_curve is None else bool(cfg.best_of_curve)
    return best_of_n.BestOf(cfg.best_of, instantiate(cfg.selector), instantiate(cfg.selection), curve)


def edit_source(cfg: DictConfig) -> Any:
    """An `EditSource`: what makes the edits of a checkpoint's rows."""
    from src.evaluation.rows import EditSource

    return EditSource(
        Path(cfg.checkpoint),
        cfg.weights,
        instantiate(cfg.sampler),
        cfg.seed,
        cfg.best_of,
        cfg.any_size,
        cfg.overwrite,
        tuple(cfg.trust),
    )


def logged_settings(cfg: DictConfig) -> dict[str, Any]:
    """The settings that a logger shows, with those of the training, so that evaluations compare over the axes
    of its sweep.
    """
    trained_in = cfg.copy()
    trained_in.output = None
    trained = {} if cfg.checkpoint is None else overrides_of(run_folder(trained_in))
    return loggable_settings(cfg, os.environ, {"axes": trained | sweep_axes()})


SWEEPS = SweepInterface(depends_on, results=run_folder)
"""What sweeps need to know."""

if __name__ == "__main__":
    launch.entry_point(main, "evaluate", SWEEPS)
