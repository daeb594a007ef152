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
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from src import launch, memory
from src.evaluation.arguments import check_options, check_source, run_folder
from src.files import remove_leftovers
from src.missing_settings import check_complete
from src.sweeps.launcher import SweepInterface
from src.sweeps.settings import whole_config
from src.sweeps.titles import overrides_of, sweep_axes
from src.tracking.settings import loggable_settings


def main(cfg: DictConfig) -> None:
    """Generate and measure on all ranks; judge and report on the first."""
    check_request(cfg)
    check_complete(cfg)
    import torch

    from src.evaluation import dial, show, strength
    from src.evaluation.benchmark import Benchmark
    from src.evaluation.image_metrics import ImageMetrics
    from src.evaluation.rows import Judging, Measuring, Rows, judge_strengths
    from src.evaluation.targets import TargetRow
    from src.evaluation.tracking import log_evaluation
    from src.judges.judge import Judge
    from src.ranks import join_ranks, leave_ranks

    if cfg.keep_memory:
        memory.keep_freed()
    run, steps = run_folder(cfg), set(cfg.steps)
    targets: list[TargetRow] = instantiate(cfg.targets.rows, _convert_="all")
    benchmark: Benchmark = instantiate(cfg.benchmark)
    judge: Judge = instantiate(cfg.judge)
    metrics: ImageMetrics | None = instantiate(cfg.image_metrics, _convert_="all")
    best = best_of(cfg, judge)
    strengths = None if cfg.strength is None else [float(each) for each in cfg.strength]
    if strengths is not None:
        strength.check_price(strengths, judge, cfg.strength_paid)
    cases = benchmark.cases()[: cfg.limit]
    folder = run / "evaluation" / benchmark.name
    for part in (folder, folder / judge.name):
        remove_leftovers(part)

    torch.manual_seed(cfg.seed)  # of frozen parts without weights, which an editor doesn't save
    ranks = join_ranks()
    rows = Rows(folder, benchmark, cases, ranks, cfg.device, cfg.batch_size)
    measuring, measured = None, {}
    try:
        if metrics is not None:
            ranks.run_on_first(lambda: metrics.check(benchmark, cases))
        if cfg.checkpoint is None:
            generations = [rows.adopt(Path(cfg.edits), cfg.row, cfg.overwrite)]
        else:
            source = edit_source(cfg)
            generations = rows.generate(targets, source, "generate" in steps)
            rows = rows.with_ideals(source, "generate" in steps)
        if metrics is not None and steps & {"measure", "report"}:
            measuring = Measuring(metrics, "measure" in steps)
            measured = rows.measure(generations, measuring)
    finally:
        leave_ranks()
    if ranks.rank != 0 or not steps & {"judge", "report"}:
        return
    judging = Judging(judge, cfg.batch_size, "judge" in steps, cfg.retry_failed)
    judged, choices = rows.judge(generations, judging, measured, measuring, best)
    arms = [] if strengths is None else judge_strengths(rows, generations, judging, strengths, judged)
    if "report" in steps:
        scores = {row.name: row.cases for row in judged}
        measured_dial = None
        if cfg.checkpoint is not None:
            measured_dial = dial.measure_dial([(target, scores[target.name]) for target in targets])
        report = show.add_to_report(
            folder, benchmark, cases, judged, judge, choices, measured_dial, rows.notes, arms
        )
        show.draw_gallery(folder, report, benchmark, cases, judge, cfg.gallery)
        show.print_results(folder / judge.name, report, choices, measured_dial)
        if cfg.get("logger") is not None:
            logger = instantiate(cfg.logger, save_dir=str(folder / judge.name))
            editor = None if cfg.checkpoint is None else Path(cfg.checkpoint)
            log_evaluation(logger, folder, judge, cases, cfg.logged_cases, editor, logged_settings(cfg))


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
    settings = whole_config(cfg)
    if cfg.checkpoint is not None:
        from src import checkpoint

        settings["checkpoint"] = f"weights {checkpoint.content_hash(Path(cfg.checkpoint))[:16]}"
    return settings


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
