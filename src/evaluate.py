"""Evaluate a checkpoint on a benchmark: generate edits, have them judged, report.

    python -m src.evaluate checkpoint=runs/.../last.ckpt benchmark=synthetic_edit judge=oracle targets=table6
    python -m src.evaluate edits=runs/.../5-5-5/edits judge=oracle               # re-judge: no model is loaded
    torchrun --nproc-per-node 4 -m src.evaluate checkpoint=...                   # four processes share the generation

Each step goes on where it was stopped and can be run alone (`steps=[generate]`, `[judge,report]`, `[report]`). Results lie in
`<run>/evaluation/<benchmark>/`; the model's config comes from the checkpoint, so no model group is composed.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console

from src import checkpoint, launch, memory
from src.diffusion.samplers import Sampler
from src.evaluation import generation as edits
from src.evaluation.benchmark import Benchmark
from src.evaluation.gallery import column_of, write_gallery
from src.evaluation.generation import Generation
from src.evaluation.judging import judge_row
from src.evaluation.ranks import Ranks, device_of, join_ranks, leave_ranks
from src.evaluation.report import Report, Row, merged, read_report, row_of, row_order, terminal_comparisons, terminal_table, write_report
from src.evaluation.targets import Target
from src.evaluation.tracking import track
from src.files import remove_leftovers
from src.judges.judge import Judge
from src.records import Case
from src.tracking.settings import settings_told

STEPS = ("generate", "judge", "report")
ORIGIN = ("checkpoint", "weights", "seed", "sampler", "edits")
"""What of a generation's settings the report repeats with its row."""


def main(cfg: DictConfig) -> None:
    """Generate on all ranks; judge and report on the first."""
    check_request(cfg)
    if cfg.keep_memory:
        memory.keep_freed()
    run = run_folder(cfg)
    targets: list[Target] = instantiate(cfg.targets.rows, _convert_="all")
    benchmark: Benchmark = instantiate(cfg.benchmark)
    judge: Judge = instantiate(cfg.judge)
    cases = benchmark.cases()[: cfg.limit]
    folder = run / "evaluation" / benchmark.name
    for part in (folder, folder / judge.name):
        remove_leftovers(part)

    ranks = join_ranks()
    try:
        if cfg.checkpoint is None:
            generations = [foreign_generation(cfg, folder, benchmark, cases, ranks)]
        else:
            generations = generate(cfg, folder, benchmark, cases, targets, ranks)
    finally:
        leave_ranks()
    if ranks.rank == 0 and set(cfg.steps) & {"judge", "report"}:
        rows = judge_rows(cfg, folder, benchmark, cases, generations, judge)
        if "report" in cfg.steps:
            report(folder, benchmark, cases, rows, judge, cfg.gallery)
            log(cfg, folder, cases, judge)


def check_request(cfg: DictConfig) -> None:
    """Raise an error where the command contradicts itself or names no checkpoint, before anything is built."""
    if (cfg.checkpoint is None) == (cfg.edits is None):
        raise ValueError("give either checkpoint=PATH (a .ckpt or an exported editor/ folder) or edits=DIR (edits to judge without a model)")
    if cfg.checkpoint is not None and not Path(cfg.checkpoint).exists():
        raise FileNotFoundError(f"no checkpoint at {cfg.checkpoint}; give a .ckpt file or an exported editor/ folder")
    unknown = [step for step in cfg.steps if step not in STEPS]
    if unknown or not cfg.steps:
        raise ValueError(f"steps={list(cfg.steps)}: choose from {', '.join(STEPS)}")
    if cfg.weights not in ("ema", "raw"):
        raise ValueError(f"weights={cfg.weights}: choose ema or raw")
    if cfg.limit is not None and cfg.limit < 1:
        raise ValueError(f"limit={cfg.limit}: evaluate at least one case, or limit=null for all")


def run_folder(cfg: DictConfig) -> Path:
    """The run folder that the results belong to: `output` if given, else that of the checkpoint or of the edits.

    Raises:
        ValueError: edits made elsewhere, and no output given.
    """
    if cfg.output is not None:
        return Path(cfg.output)
    if cfg.checkpoint is not None:
        # runs/x/y/checkpoints/last.ckpt and runs/x/y/editor belong to runs/x/y; a loose file belongs to its folder
        folder = Path(cfg.checkpoint).resolve().parent
        return folder.parent if folder.name == "checkpoints" else folder
    pictures = Path(cfg.edits).resolve()
    if not (pictures.parent / "generation.json").exists():
        raise ValueError(f"{cfg.edits} does not lie in a run folder; say output=DIR to choose where its report goes")
    return pictures.parents[3]


def foreign_generation(cfg: DictConfig, folder: Path, benchmark: Benchmark, cases: Sequence[Case], ranks: Ranks) -> Generation:
    """The row of an `edits=DIR` folder; edits of this project keep their row's name, others are called by `row` or their folder."""
    pictures = Path(cfg.edits).resolve()
    record = pictures.parent / "generation.json"
    ours = record.exists() and pictures.parent.parent == folder.resolve()
    name = str(edits.read_settings(record)["name"]) if ours else cfg.row or pictures.name
    generation = Generation(name, pictures.parent if ours else folder / edits.folder_name(name), pictures)
    extra = edits.check_foreign_edits(generation, cases, {case.id for case in benchmark.cases()})
    if ranks.rank == 0:
        if extra:
            print(f"warning: {pictures} holds {len(extra)} files that belong to no case: {', '.join(extra[:3])}", file=sys.stderr)
        if not ours:
            edits.start_generation(generation, {"name": name, "edits": str(pictures)}, cfg.overwrite)
    return generation


def generate(cfg: DictConfig, folder: Path, benchmark: Benchmark, cases: Sequence[Case], targets: Sequence[Target], ranks: Ranks) -> list[Generation]:
    """Make the edits that are missing; the model is loaded only if there are any."""
    path = Path(cfg.checkpoint)
    check_picture_size(path, benchmark, cfg.any_size)
    sampler: Sampler = instantiate(cfg.sampler)
    made_by = {"checkpoint": checkpoint.content_hash(path), "weights": cfg.weights, "sampler": sampler.settings(), "seed": cfg.seed}
    generations = []
    for target in targets:
        row = folder / edits.folder_name(target.name)
        generation = Generation(target.name, row, row / "edits")
        if ranks.rank == 0:
            asked = {"name": target.name, **made_by, "target_reward": target.settings(), "size": sizes_of(benchmark.cases())}
            edits.start_generation(generation, asked, cfg.overwrite)
        generations.append(generation)
    ranks.wait()

    rows = zip(targets, generations, strict=True)
    open_rows = [(target, generation, edits.open_batches(generation, cases, cfg.batch_size)) for target, generation in rows]
    # nobody may look for what is missing while another already adds to it
    ranks.wait()
    if "generate" not in cfg.steps:
        lacking = [f"{generation.name} {len(edits.missing_edits(generation, cases))}" for _, generation, batches in open_rows if batches]
        if lacking:
            raise FileNotFoundError(f"edits are missing below {folder} ({', '.join(lacking)}); add generate to steps")
    elif any(batches for _, _, batches in open_rows):
        device = device_of(cfg.device)
        editor = checkpoint.load_editor(path, cfg.weights).to(device)
        edits.check_resolutions(editor, cases)
        for target, generation, batches in open_rows:
            edits.make_edits(generation, batches[ranks.rank :: ranks.world], target, benchmark, editor, sampler, cfg.seed, device)
    ranks.wait()
    return generations


def check_picture_size(path: Path, benchmark: Benchmark, any_size: bool) -> None:
    """Raise ValueError if the benchmark's pictures are of another size than those that the editor was trained on."""
    trained = tuple(checkpoint.read(path)["picture_size"])
    others = sorted({case.original.shape[:2] for case in benchmark.cases()} - {trained})
    if others and not any_size:
        height, width = others[0]
        raise ValueError(
            f"{path} was trained on pictures of {trained[1]}x{trained[0]} and {benchmark.name} has {width}x{height}; "
            f"say world.size={trained[0]} for the synthetic world, or any_size=true to go on"
        )


def sizes_of(cases: Sequence[Case]) -> list[list[int]]:
    """The sizes (height, width) that occur."""
    return [list(size) for size in sorted({case.original.shape[:2] for case in cases})]


def judge_rows(
    cfg: DictConfig, folder: Path, benchmark: Benchmark, cases: Sequence[Case], generations: Sequence[Generation], judge: Judge
) -> list[Row]:
    """The report's rows: the generations, then the references."""
    asking = {"batch_size": cfg.batch_size, "ask": "judge" in cfg.steps, "retry_failed": cfg.retry_failed}
    rows = []
    for generation in generations:
        rewards = generation.folder / judge.name / "rewards.jsonl"
        judged = judge_row(generation.triplets(cases), len(cases), judge, rewards, generation.name, **asking)
        settings = edits.read_settings(generation.folder / "generation.json")
        rows.append(row_of(generation.name, judged, {name: settings[name] for name in ORIGIN if name in settings}))
    for reference in benchmark.references():
        rewards = folder / edits.folder_name(reference.name) / judge.name / "rewards.jsonl"
        judged = judge_row(reference.triplets(cases), len(cases), judge, rewards, reference.name, **asking)
        rows.append(row_of(reference.name, judged, {}))
    return rows


def report(folder: Path, benchmark: Benchmark, cases: Sequence[Case], rows: Sequence[Row], judge: Judge, columns: Sequence[str] | None) -> None:
    """Write and print the report with the rows of earlier invocations; the path of the gallery comes last.

    Args:
        columns: names of the rows that the gallery shows, from the left; None for all that have edits.

    Raises:
        ValueError: a column that is no row with edits.
    """
    where = folder / judge.name
    old = read_report(where / "report.json") if (where / "report.json").exists() else None
    whole = merged(old, Report(benchmark.name, judge.name, judge.fingerprint, tuple(rows)))
    write_report(where, whole)
    known = {row.name for row in whole.rows}
    edited = {found.name: found for found in edits.generations_in(folder) if found.name in known}
    unknown = [name for name in columns or () if name not in edited]
    if unknown:
        raise ValueError(f"gallery={list(columns or ())}: no row {unknown[0]!r} with edits; there are {', '.join(edited)}")
    shown = [edited[name] for name in columns or sorted(edited, key=row_order)]
    write_gallery(where / "gallery.png", cases, [column_of(found, judge) for found in shown], benchmark, judge)
    # in a log file the table is as wide as it needs to be
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(terminal_table(whole))
    compared = terminal_comparisons(whole)
    if compared is not None:
        console.print(compared)
    print(where / "report.md")
    print(where / "gallery.png")


def log(cfg: DictConfig, folder: Path, cases: Sequence[Case], judge: Judge) -> None:
    """The report, with its edits and files, to a logger if there is one."""
    if cfg.get("logger") is None:
        return
    editor = None if cfg.checkpoint is None else Path(cfg.checkpoint)
    # what the training was told, so that evaluations compare over the axes of its sweep
    trained_in = cfg.copy()
    trained_in.output = None
    trained = {} if editor is None else launch.overrides_of(run_folder(trained_in))
    settings = settings_told(cfg, os.environ, {"axes": trained | launch.sweep_axes()})
    track(instantiate(cfg.logger, save_dir=str(folder / judge.name)), folder, judge, cases, cfg.logged_cases, editor, settings)


if __name__ == "__main__":
    launch.entry_point(main, "evaluate")
