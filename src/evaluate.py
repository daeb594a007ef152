"""Evaluate a checkpoint on a benchmark: generate edits, measure them, have them judged, report.

    python -m src.evaluate checkpoint=runs/.../last.ckpt benchmark=synthetic_edit judge=oracle targets=table6
    python -m src.evaluate checkpoint=... benchmark=real_edit benchmark.folder=DIR sampler=released judge=gpt4o      # photographs
    python -m src.evaluate edits=runs/.../5-5-5/edits judge=oracle               # re-judge: no model is loaded
    python -m src.evaluate ... image_metrics=magicbrush                          # CLIP-I, CLIP-T, DINO, L1, L2 as well; pixels: no network needed
    python -m src.evaluate checkpoint=... best_of=8 judge@selector=noisy_oracle   # the best of 8, chosen by one judge, scored by another
    python -m src.evaluate checkpoint=... targets=dial                            # does each score asked for move what it should?
    torchrun --nproc-per-node 4 -m src.evaluate checkpoint=...                   # four processes share generating and measuring

Each step goes on where it was stopped and can be run alone (`steps=[generate]`, `[judge,report]`,
`[report]`). Results lie in `<run>/evaluation/<benchmark>/`; the model's config comes from the checkpoint, so
no model group is composed.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console

from src import checkpoint, launch, memory
from src.batching import batches_of
from src.data.transforms import Size
from src.diffusion.samplers import Sampler
from src.evaluation import best_of_n, dial
from src.evaluation import generation as edits
from src.evaluation.benchmark import Benchmark
from src.evaluation.best_of_n import BestOf, Choice
from src.evaluation.case_list import keep_cases
from src.evaluation.dial import Dial
from src.evaluation.gallery import column_of, write_gallery
from src.evaluation.generation import Generation
from src.evaluation.image_metrics import ImageMetrics
from src.evaluation.judging import Judged, judge_row
from src.evaluation.measuring import FILE, in_order, measure_row
from src.evaluation.metrics import CaseMetrics
from src.evaluation.photographs import framed, reference_triplets, turns_of
from src.evaluation.report import (
    Report,
    Row,
    merged,
    read_report,
    row_of,
    row_order,
    terminal_comparisons,
    terminal_metrics,
    terminal_table,
    write_report,
)
from src.evaluation.targets import Target, reward_asked
from src.evaluation.tracking import track
from src.files import one_at_a_time, remove_leftovers
from src.images import Framing, framing_for
from src.judges.judge import Judge
from src.ranks import Ranks, device_of, join_ranks, leave_ranks
from src.records import Case, Triplet
from src.reward_file import repair_torn_line
from src.tracking.settings import settings_told

STEPS = ("generate", "measure", "judge", "report")
ORIGIN = ("checkpoint", "weights", "seed", "sampler", "resize", "edits", "best_of")
"""What of a generation's settings the report repeats with its row."""


def main(cfg: DictConfig) -> None:
    """Generate and measure on all ranks; judge and report on the first."""
    check_request(cfg)
    if cfg.keep_memory:
        memory.keep_freed()
    run = run_folder(cfg)
    targets: list[Target] = instantiate(cfg.targets.rows, _convert_="all")
    benchmark: Benchmark = instantiate(cfg.benchmark)
    judge: Judge = instantiate(cfg.judge)
    metrics: ImageMetrics | None = instantiate(cfg.image_metrics, _convert_="all")
    best = best_of(cfg, judge)
    cases = benchmark.cases()[: cfg.limit]
    folder = run / "evaluation" / benchmark.name
    for part in (folder, folder / judge.name):
        remove_leftovers(part)

    ranks = join_ranks()
    try:
        if metrics is not None:
            ranks.from_first(lambda: metrics.check(benchmark, cases))
        if cfg.checkpoint is None:
            generations = [foreign_generation(cfg, folder, benchmark, cases, ranks)]
        else:
            generations = generate(cfg, folder, benchmark, cases, targets, ranks)
        measured: Mapping[str, Sequence[CaseMetrics]] = {}
        if metrics is not None and set(cfg.steps) & {"measure", "report"}:
            measured = measure_rows(cfg, folder, benchmark, cases, generations, metrics, ranks)
    finally:
        leave_ranks()
    if ranks.rank == 0 and set(cfg.steps) & {"judge", "report"}:
        rows, choices = judge_rows(cfg, folder, benchmark, cases, generations, judge, best, measured, metrics)
        if "report" in cfg.steps:
            turned = None
            if cfg.checkpoint is not None:
                scores = {row.name: row.cases for row in rows}
                turned = dial.dial_of([(target, scores[target.name]) for target in targets])
            report(folder, benchmark, cases, rows, judge, cfg.gallery, choices, turned)
            log(cfg, folder, cases, judge)


def check_request(cfg: DictConfig) -> None:
    """Raise an error where the command contradicts itself or names no checkpoint, before anything is built."""
    if (cfg.checkpoint is None) == (cfg.edits is None):
        raise ValueError(
            "give either checkpoint=PATH (a .ckpt or an exported editor/ folder) or edits=DIR (edits to judge without a model)"
        )
    if cfg.checkpoint is not None and not Path(cfg.checkpoint).exists():
        raise FileNotFoundError(
            f"no checkpoint at {cfg.checkpoint}; give a .ckpt file or an exported editor/ folder"
        )
    unknown = [step for step in cfg.steps if step not in STEPS]
    if unknown or not cfg.steps:
        raise ValueError(f"steps={list(cfg.steps)}: choose from {', '.join(STEPS)}")
    if cfg.weights not in ("ema", "raw"):
        raise ValueError(f"weights={cfg.weights}: choose ema or raw")
    if cfg.limit is not None and cfg.limit < 1:
        raise ValueError(f"limit={cfg.limit}: evaluate at least one case, or limit=null for all")
    if not isinstance(cfg.best_of, int) or cfg.best_of < 1:
        raise ValueError(f"best_of={cfg.best_of}: say how many edits are made of each case, 1 or more")
    if cfg.best_of > 1 and cfg.checkpoint is None:
        raise ValueError(
            f"best_of={cfg.best_of} makes {cfg.best_of} edits of each case and needs checkpoint=PATH; edits=DIR has one of each"
        )
    if cfg.best_of > 1 and cfg.get("selector") is None:
        raise ValueError(
            f"best_of={cfg.best_of} needs a judge that chooses: say judge@selector=NAME, best another one than judge, which scores"
        )


def depends_on(cfg: DictConfig) -> dict[str, Any]:
    """What an evaluation's result depends on, for sweeps: the weights, not where they lie, and nothing of how
    it runs.

    Raises:
        FileNotFoundError: no checkpoint or edits.
        ValueError: a command that contradicts itself.
    """
    check_request(cfg)
    if cfg.edits is not None and not Path(cfg.edits).is_dir():
        raise FileNotFoundError(f"no edits at edits={cfg.edits}; give a folder of <case id>.png")
    settings = launch.whole_config(cfg)
    if cfg.checkpoint is not None:
        settings["checkpoint"] = f"weights {checkpoint.content_hash(Path(cfg.checkpoint))[:16]}"
    return settings


def best_of(cfg: DictConfig, judge: Judge) -> BestOf | None:
    """The request for best-of-N; None for one edit per case."""
    if cfg.best_of == 1:
        return None
    curve = not best_of_n.is_paid(judge) if cfg.best_of_curve is None else bool(cfg.best_of_curve)
    return BestOf(cfg.best_of, instantiate(cfg.selector), instantiate(cfg.selection), curve)


def run_folder(cfg: DictConfig) -> Path:
    """The run folder that the results belong to: `output` if given, else that of the checkpoint or of the
    edits.

    Raises:
        ValueError: edits made elsewhere, and no output given.
    """
    if cfg.output is not None:
        return Path(cfg.output)
    if cfg.checkpoint is not None:
        # runs/x/y/checkpoints/last.ckpt and runs/x/y/editor belong to runs/x/y; a loose file belongs to its
        # folder
        folder = Path(cfg.checkpoint).resolve().parent
        return folder.parent if folder.name == "checkpoints" else folder
    images = Path(cfg.edits).resolve()
    if not (images.parent / "generation.json").exists():
        raise ValueError(
            f"{cfg.edits} does not lie in a run folder; say output=DIR to choose where its report goes"
        )
    return images.parents[3]


def foreign_generation(
    cfg: DictConfig, folder: Path, benchmark: Benchmark, cases: Sequence[Case], ranks: Ranks
) -> Generation:
    """The row of an `edits=DIR` folder; edits of this project keep their row's name, others are called by
    `row` or their folder.
    """
    images = Path(cfg.edits).resolve()
    record = images.parent / "generation.json"
    ours = record.exists() and images.parent.parent == folder.resolve()
    name = str(edits.read_settings(record)["name"]) if ours else cfg.row or images.name
    generation = Generation(name, images.parent if ours else folder / edits.folder_name(name), images)
    extra = edits.check_foreign_edits(
        generation, cases, {turn.id for case in benchmark.cases() for turn in turns_of(case)}
    )
    if ranks.rank == 0:
        if extra:
            print(
                f"warning: {images} holds {len(extra)} files that belong to no case: {', '.join(extra[:3])}",
                file=sys.stderr,
            )
        # edits of another run of this project: what was cut off the photographs is known
        resize = edits.read_settings(record).get("resize") if record.exists() else None
        other = edits.of_other_shape(generation, cases) if resize is None else []
        if other:
            print(
                f"warning: {len(other)} of {len(cases)} edits in {images} have another shape than their originals ({other[0]}): "
                "they are judged and measured as if they showed all of it, squeezed; what was cut off would be out of place",
                file=sys.stderr,
            )
        if not ours:
            told = {"name": name, "edits": str(images), **({} if resize is None else {"resize": resize})}
            edits.start_generation(generation, told, cfg.overwrite)
    return generation


def generate(
    cfg: DictConfig,
    folder: Path,
    benchmark: Benchmark,
    cases: Sequence[Case],
    targets: Sequence[Target],
    ranks: Ranks,
) -> list[Generation]:
    """Make the edits that are missing, all candidates of them for best-of-N; the model is loaded only if
    there are any.
    """
    path = Path(cfg.checkpoint)
    height, width = checkpoint.read(path)["picture_size"]
    check_image_size(path, (height, width), benchmark, cfg.any_size)
    for target in targets:
        reward_asked(
            target, cases[0], benchmark
        )  # a row that can't be asked for is found out before the others are made
    sampler: Sampler = instantiate(cfg.sampler)
    made_by = {
        "checkpoint": checkpoint.content_hash(path),
        "weights": cfg.weights,
        "sampler": sampler.settings(),
        "seed": cfg.seed,
    }
    framing, size = edited_at(min(height, width), sampler, benchmark.cases())
    generations, rows = [], []
    for target in targets:
        row = folder / edits.folder_name(target.name)
        generations.append(Generation(target.name, row, row / "edits"))
        for number in range(cfg.best_of):
            generation = best_of_n.candidate(generations[-1], number)
            if ranks.rank == 0:
                asked = {"name": generation.name, **made_by, "target_reward": target.settings(), **size}
                edits.start_generation(
                    generation, asked | ({"candidate": number} if number else {}), cfg.overwrite
                )
            rows.append((target, generation, number))
    ranks.wait()

    open_rows = [(*row, edits.open_batches(row[1], cases, cfg.batch_size, framing)) for row in rows]
    # nobody may look for what is missing while another already adds to it
    ranks.wait()
    if "generate" not in cfg.steps:
        lacking = [
            f"{generation.name} {len(edits.missing_edits(generation, cases))}"
            for _, generation, _, batches in open_rows
            if batches
        ]
        if lacking:
            raise FileNotFoundError(
                f"edits are missing below {folder} ({', '.join(lacking)}); add generate to steps"
            )
    elif any(batches for *_, batches in open_rows):
        device = device_of(cfg.device)
        editor = checkpoint.load_editor(path, cfg.weights).to(device)
        edits.check_resolutions(editor, cases, framing)
        for target, generation, number, batches in open_rows:
            mine = batches[ranks.rank :: ranks.world]
            edits.make_edits(
                generation, mine, target, benchmark, editor, sampler, cfg.seed, device, framing, number
            )
    ranks.wait()
    return generations


def check_image_size(path: Path, trained: Size, benchmark: Benchmark, any_size: bool) -> None:
    """Raise ValueError if images that were made for an editor are of another size than those that it was
    trained on.

    Photographs may be of any size: the sampler's `resize` says at which they are edited.
    """
    others = sorted(
        {case.size for case in benchmark.cases() if isinstance(case.image, np.ndarray)} - {trained}
    )
    if others and not any_size:
        height, width = others[0]
        raise ValueError(
            f"{path} was trained on pictures of {trained[1]}x{trained[0]} and {benchmark.name} has {width}x{height}; "
            f"say world.size={trained[0]} for the synthetic world, or any_size=true to go on"
        )


def edited_at(trained: int, sampler: Sampler, cases: Sequence[Case]) -> tuple[Framing, dict[str, object]]:
    """How photographs are brought to the size at which they are edited, and what generation.json says of the
    sizes.

    Args:
        trained: short side of the images that the editor was trained on.
        sampler: its `resize` decides.
        cases: of the whole benchmark.

    Raises:
        ValueError, FileNotFoundError: a photograph whose size can't be told.
    """
    framing = framing_for(sampler.resize, trained)
    sizes = [list(size) for size in sorted({framed(case, framing).size for case in cases})]
    if all(isinstance(case.image, np.ndarray) for case in cases):
        return framing, {"size": sizes}
    return framing, {"size": sizes, "resize": trained if sampler.resize == "trained" else sampler.resize}


def measure_rows(
    cfg: DictConfig,
    folder: Path,
    benchmark: Benchmark,
    cases: Sequence[Case],
    generations: Sequence[Generation],
    metrics: ImageMetrics,
    ranks: Ranks,
) -> dict[str, list[CaseMetrics]]:
    """The image metrics of generations and references, by the row's name; every process takes its share of
    the batches.
    """
    mine = list(batches_of(cases, metrics.batch_size))[ranks.rank :: ranks.world]
    rows: list[tuple[str, Path, Iterator[list[Triplet]], Generation | None]] = []
    for generation in generations:
        rows.append(
            (generation.name, generation.folder, map(list, map(generation.triplets, mine)), generation)
        )
    for reference in benchmark.references():
        batches = batches_of(reference.triplets(cases), metrics.batch_size)
        rows.append(
            (
                reference.name,
                folder / edits.folder_name(reference.name),
                islice(batches, ranks.rank, None, ranks.world),
                None,
            )
        )
    if ranks.rank == 0:
        for _, place, *_ in rows:
            repair_torn_line(place / FILE)
    ranks.wait()
    total, device, measure = sum(len(batch) for batch in mine), device_of(cfg.device), "measure" in cfg.steps
    shares = {}
    for name, place, batches, generation in rows:
        framing = None if generation is None else generation.framing()
        shares[name] = measure_row(
            metrics, benchmark, batches, total, place / FILE, name, device, measure, framing
        )
    together = ranks.gathered(shares)
    return {name: in_order([share[name] for share in together]) for name in shares}


def measured_choice(
    cfg: DictConfig,
    benchmark: Benchmark,
    cases: Sequence[Case],
    generation: Generation,
    metrics: ImageMetrics | None,
) -> list[CaseMetrics]:
    """The image metrics of a row that was chosen out of others, in the batches of these, by this process
    alone.
    """
    if metrics is None or not set(cfg.steps) & {"measure", "report"}:
        return []
    file, device, measure = generation.folder / FILE, device_of(cfg.device), "measure" in cfg.steps
    repair_torn_line(file)
    batches = map(list, map(generation.triplets, batches_of(cases, metrics.batch_size)))
    return in_order(
        [
            measure_row(
                metrics,
                benchmark,
                batches,
                len(cases),
                file,
                generation.name,
                device,
                measure,
                generation.framing(),
            )
        ]
    )


def judge_rows(
    cfg: DictConfig,
    folder: Path,
    benchmark: Benchmark,
    cases: Sequence[Case],
    generations: Sequence[Generation],
    judge: Judge,
    best: BestOf | None,
    measured: Mapping[str, Sequence[CaseMetrics]],
    metrics: ImageMetrics | None,
) -> tuple[list[Row], list[Choice]]:
    """The report's rows with what was measured of them: generations, each with its best of N if asked for,
    then references; and how the best were chosen.
    """
    height, measured_by = benchmark.judged_height, {} if metrics is None else metrics.measured_by
    asking = {"batch_size": cfg.batch_size, "ask": "judge" in cfg.steps, "retry_failed": cfg.retry_failed}

    def judged(asked: Judge, triplets: Iterable[Triplet], count: int, where: Path, name: str) -> list[Judged]:
        found = judge_row(triplets, count, asked, where / asked.name / "rewards.jsonl", name, **asking)
        failed = [
            case.reward.following.feedback for case in found if case.reward is not None and case.reward.failed
        ]
        if found and len(failed) == len(found):
            print(f"warning: {asked.name} failed on every edit of {name}: {failed[0]}", file=sys.stderr)
        return found

    def judged_generation(asked: Judge, generation: Generation, some: Sequence[Case]) -> list[Judged]:
        name = generation.name if asked is judge else f"{generation.name} by {asked.name}"
        return judged(asked, generation.judged_triplets(some, height), len(some), generation.folder, name)

    rows, choices = [], []
    for generation in generations:
        found = judged_generation(judge, generation, cases)
        rows.append(
            row_of(
                generation.name, found, origin_of(generation), measured.get(generation.name, ()), measured_by
            )
        )
        if best is not None:
            chosen, found, choice = best_of_n.choose(generation, cases, best, judge, judged_generation)
            rows.append(
                row_of(
                    chosen.name,
                    found,
                    origin_of(chosen),
                    measured_choice(cfg, benchmark, cases, chosen, metrics),
                    measured_by,
                )
            )
            choices.append(choice)
    for reference in benchmark.references():
        where = folder / edits.folder_name(reference.name)
        found = judged(judge, reference_triplets(reference, cases, height), len(cases), where, reference.name)
        rows.append(row_of(reference.name, found, {}, measured.get(reference.name, ()), measured_by))
    return rows, choices


def origin_of(generation: Generation) -> dict[str, object]:
    """What a row's edits come from."""
    settings = edits.read_settings(generation.folder / edits.SETTINGS)
    return {name: settings[name] for name in ORIGIN if name in settings}


def report(
    folder: Path,
    benchmark: Benchmark,
    cases: Sequence[Case],
    rows: Sequence[Row],
    judge: Judge,
    columns: Sequence[str] | None,
    choices: Sequence[Choice] = (),
    turned: Dial | None = None,
) -> None:
    """Write and print the report with the rows of earlier invocations; the path of the gallery comes last.

    Args:
        columns: names of the rows that the gallery shows, from the left; None for all that have edits.
        choices: how the best of N were chosen.
        turned: the reward dial, if the rows make one.

    Raises:
        ValueError: a column that is no row with edits.
    """
    where = folder / judge.name
    with one_at_a_time(where):  # jobs of a sweep add rows to the same report
        old = read_report(where / "report.json") if (where / "report.json").exists() else None
        whole = merged(old, Report(benchmark.name, judge.name, judge.fingerprint, tuple(rows)))
        if choices:
            best_of_n.write_choices(where, choices, judge)
        if turned is not None:
            dial.write_dial(where, turned, judge.name, judge.fingerprint)
        write_report(
            where,
            whole,
            [*best_of_n.section(where, judge.fingerprint), *dial.section(where, judge.fingerprint)],
        )
        keep_cases(folder, benchmark, cases)
    known = {row.name for row in whole.rows}
    edited = {found.name: found for found in edits.generations_in(folder) if found.name in known}
    unknown = [name for name in columns or () if name not in edited]
    if unknown:
        raise ValueError(
            f"gallery={list(columns or ())}: no row {unknown[0]!r} with edits; there are {', '.join(edited)}"
        )
    shown = [edited[name] for name in columns or sorted(edited, key=row_order)]
    cell = 128 if benchmark.judged_height is None else 256  # photographs show less at a glance
    write_gallery(
        where / "gallery.png", cases, [column_of(found, judge) for found in shown], benchmark, judge, cell
    )
    # in a log file the table is as wide as it needs to be
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in (terminal_table(whole), terminal_metrics(whole), terminal_comparisons(whole)):
        if table is not None:
            console.print(table)
    if choices:
        console.print(best_of_n.terminal_choices(choices))
    if turned is not None:
        console.print(dial.terminal_dial(turned))
    for image in [
        *([best_of_n.IMAGE] if any(choice.curves for choice in choices) else []),
        *([dial.IMAGE] if turned else []),
    ]:
        print(where / image)
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
    track(
        instantiate(cfg.logger, save_dir=str(folder / judge.name)),
        folder,
        judge,
        cases,
        cfg.logged_cases,
        editor,
        settings,
    )


SWEPT = launch.Swept(depends_on, results=run_folder)
"""What sweeps need to know."""

if __name__ == "__main__":
    launch.entry_point(main, "evaluate", SWEPT)
