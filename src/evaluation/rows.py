"""The rows of an evaluation: the edits of each, their image metrics and their rewards.

A row holds the edits for one target reward, edits made elsewhere, the best of N candidates, or the images of
a reference that needs no model. Each step resumes where it was stopped.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, final

import numpy as np

from src import checkpoint
from src.batching import batches_of
from src.data.transforms import Size
from src.diffusion.samplers import Sampler
from src.evaluation import best_of_n
from src.evaluation.benchmark import Benchmark, Reference
from src.evaluation.best_of_n import BestOf, Choice
from src.evaluation.case_images import frame_case, reference_triplets, turns_of
from src.evaluation.generation import (
    check_external_edits,
    check_generation,
    check_resolutions,
    edits_of_other_shape,
    generate_edits,
    missing_edits,
    start_generation,
    unfinished_batches,
)
from src.evaluation.generation_folder import SETTINGS, Generation, Settings, folder_name, read_settings
from src.evaluation.ideal import IdealSetting
from src.evaluation.image_metrics import ImageMetrics
from src.evaluation.judging import JudgedCase, judge_row
from src.evaluation.judging_ahead import JudgingAhead
from src.evaluation.measuring import METRICS_FILE, interleave, measure_row
from src.evaluation.metrics import CaseMetrics
from src.evaluation.references import stored_edits
from src.evaluation.report import IDEAL_ROWS, ReportRow, report_row, scores_by_case
from src.evaluation.strength import WHOLE, Arm, dialled
from src.evaluation.targets import TargetRow, requested_reward
from src.images import Framing, framing_for
from src.judges.judge import Judge
from src.ranks import Ranks, device_of
from src.records import Case, Triplet
from src.reward_file import repair_torn_line

ORIGIN = ("checkpoint", "weights", "seed", "sampler", "resize", "edits", "best_of")
"""The settings of a generation that the report repeats with its row."""


@final
@dataclass(frozen=True)
class EditSource:
    """What makes the edits.

    Attributes:
        checkpoint: a .ckpt file or an exported editor/ folder.
        weights: averaged ("ema") or as the optimiser left them ("raw").
        sampler: steps, guidance and the size at which photographs are edited.
        seed: of the noise.
        candidates: edits per case; more than one for best-of-N.
        any_size: accept images in memory of another size than the editor was trained on.
        overwrite: throw away edits that were made with other settings.
        trust: packages or classes of the user's own that the editor may be built of.
    """

    checkpoint: Path
    weights: Literal["ema", "raw"]
    sampler: Sampler
    seed: int
    candidates: int = 1
    any_size: bool = False
    overwrite: bool = False
    trust: Sequence[str] = ()

    def settings(self) -> dict[str, object]:
        """What the edits of all rows depend on, for generation.json."""
        return {
            "checkpoint": checkpoint.content_hash(self.checkpoint),
            "weights": self.weights,
            "sampler": self.sampler.settings(),
            "seed": self.seed,
        }


@final
@dataclass(frozen=True)
class Measuring:
    """How rows are measured.

    Attributes:
        metrics: the image metrics.
        measure: False only looks up values that are on disk.
    """

    metrics: ImageMetrics
    measure: bool


@final
@dataclass(frozen=True)
class Judging:
    """How rows are judged.

    Attributes:
        judge: its scores go into the report.
        batch_size: triplets per question.
        ask: False only looks up rewards that are on disk.
        retry_failed: ask again where the judge failed before.
    """

    judge: Judge
    batch_size: int
    ask: bool
    retry_failed: bool

    def rewards(
        self, judge: Judge, triplets: Iterable[Triplet], count: int, folder: Path, name: str
    ) -> list[JudgedCase]:
        """Rewards of a row, by this judge or by a selector; warns on stderr if all of them failed."""
        path = folder / judge.name / "rewards.jsonl"
        judged = judge_row(triplets, count, judge, path, name, self.batch_size, self.ask, self.retry_failed)
        failed = [
            case.reward.following.feedback
            for case in judged
            if case.reward is not None and case.reward.failed
        ]
        if judged and len(failed) == len(judged):
            print(f"warning: {judge.name} failed on every edit of {name}: {failed[0]}", file=sys.stderr)
        return judged


@final
@dataclass(frozen=True)
class Rows:
    """The rows of one benchmark in a run folder.

    Attributes:
        folder: `<run>/evaluation/<benchmark>`.
        benchmark: knows the right answers.
        cases: those to evaluate.
        ranks: the processes that share generating and measuring.
        device: a name as in `device_of`; looked up when a network has to run.
        batch_size: cases that are edited together.
        ideals: reference rows of editors without limits; see `with_ideals`.
        notes: paragraphs of the report about them.
    """

    folder: Path
    benchmark: Benchmark
    cases: Sequence[Case]
    ranks: Ranks
    device: str
    batch_size: int
    ideals: Sequence[Reference] = ()
    notes: Sequence[str] = ()

    def references(self) -> Sequence[Reference]:
        """The rows that need no model."""
        return (*self.benchmark.references(), *self.ideals)

    def with_ideals(self, source: EditSource, make: bool) -> "Rows":
        """These rows with what editors without limits would make of the cases under the same process and
        sampler, if the benchmark knows how its edits are distributed. Rows left out are named on stderr and
        in the notes.

        Args:
            source: its checkpoint names the process; the weights are not used.
            make: False only looks up edits that are on disk.

        Raises:
            FileNotFoundError, ValueError: a checkpoint that can't be read.
        """
        ideals = self.benchmark.ideals
        if ideals is None:
            return self
        saved = checkpoint.lossless_process(source.checkpoint, source.trust)
        if saved is None:
            left_out = [
                "The ideal rows are left out: the editor's latents come from an autoencoder, and ideal "
                "editors are computed in pixels."
            ]
            return self._with_ideals([], left_out, [])
        setting = IdealSetting(saved.process, saved.settings, source.sampler, source.seed)
        if make:
            ideals.make(self.cases[self.ranks.rank :: self.ranks.world], setting)
        self.ranks.wait()
        found, left_out = [], []
        for name in IDEAL_ROWS:
            try:
                paths = ideals.paths(name, self.cases, setting)
            except FileNotFoundError as error:
                left_out.append(f"{error}.")
            else:
                found.append(Reference(name, partial(stored_edits, paths)))
        return self._with_ideals(found, left_out, [ideals.description(setting)] if found else [])

    def _with_ideals(
        self, found: Sequence[Reference], left_out: Sequence[str], described: Sequence[str]
    ) -> "Rows":
        if self.ranks.rank == 0:
            for sentence in left_out:
                print(sentence, file=sys.stderr)
        notes = (*self.notes, *(f"{note}\n" for note in (*described, *left_out)))
        return replace(self, ideals=tuple(found), notes=notes)

    def adopt(self, images: Path, name: str | None, overwrite: bool) -> Generation:
        """The row of a folder of edits that exist already.

        Args:
            images: holds `<case id>.png`.
            name: of the row, for edits made elsewhere; None names it after the folder. Edits of this
                benchmark's folder keep the name of their row.
            overwrite: replace a row of the same name.

        Raises:
            FileNotFoundError: no such folder, or cases without an edit.
            ValueError: another row has this name, or an image can't be read.
        """
        images = images.resolve()
        record = images.parent / SETTINGS
        is_own = record.exists() and images.parent.parent == self.folder.resolve()
        row = str(read_settings(record)["name"]) if is_own else name or images.name
        folder = images.parent if is_own else self.folder / folder_name(row)
        adopted = Generation(row, folder, images)
        all_ids = {turn.id for case in self.benchmark.cases() for turn in turns_of(case)}
        extra = check_external_edits(adopted, self.cases, all_ids)
        if self.ranks.rank == 0:
            if extra:
                print(
                    f"warning: {images} holds {len(extra)} files that belong to no case: "
                    f"{', '.join(extra[:3])}",
                    file=sys.stderr,
                )
            # another run of this project recorded what was cut off its photographs
            resize = read_settings(record).get("resize") if record.exists() else None
            if resize is None:
                self._warn_of_other_shapes(adopted)
            if not is_own:
                settings = {
                    "name": row,
                    "edits": str(images),
                    **({} if resize is None else {"resize": resize}),
                }
                start_generation(adopted, settings, overwrite)
        return adopted

    def _warn_of_other_shapes(self, adopted: Generation) -> None:
        other = edits_of_other_shape(adopted, self.cases)
        if other:
            print(
                f"warning: {len(other)} of {len(self.cases)} edits in {adopted.edits} have another shape "
                "than "
                f"their originals ({other[0]}): they are judged and measured as if they showed all of it, "
                "squeezed; what was cut off would be out of place",
                file=sys.stderr,
            )

    def generate(
        self,
        targets: Sequence[TargetRow],
        source: EditSource,
        make: bool,
        before: Callable[[], None] = lambda: None,
        ahead: JudgingAhead | None = None,
    ) -> list[Generation]:
        """Make the missing edits, including all candidates for best-of-N; the model is loaded only if needed.

        Args:
            targets: one row each.
            source: makes the edits.
            make: False raises an error if any are missing.
            before: called before anything is written, if edits are to be made; its errors end it.
            ahead: started by the first process, if edits are to be made.

        Returns:
            A generation per target, without the further candidates.

        Raises:
            FileNotFoundError: edits are missing and none may be made; a photograph is gone.
            ValueError: a reward that can't be asked for, a size that doesn't fit, edits made with other
                settings, or a batch for which the GPU has no room.
        """
        trained = checkpoint.describe(source.checkpoint)["picture_size"]
        check_image_size(source.checkpoint, (trained[0], trained[1]), self.benchmark, source.any_size)
        for target in targets:  # all are checked before the first is generated
            requested_reward(target, self.cases[0], self.benchmark)
        if make and any(missing_edits(generation, self.cases) for generation in self._generations(targets)):
            before()
        framing, sizes = editing_sizes(min(trained), source.sampler, self.benchmark.cases())
        generations = self._generations(targets)
        candidates = self._candidates(targets, source, {**source.settings(), **sizes})
        device, editor = device_of(self.device), None
        # before anything is written: weights that can't be used leave no folder
        if make and (source.overwrite or any(missing_edits(each, self.cases) for _, each, *_ in candidates)):
            editor = checkpoint.load_editor(source.checkpoint, source.weights, source.trust).to(device)
            check_resolutions(editor, self.cases, framing)
        self.ranks.wait()  # until every rank has looked, as what it looks at changes from here on
        if self.ranks.rank == 0:
            for _, candidate, _, settings in candidates:
                start_generation(candidate, settings, source.overwrite)
            if ahead is not None and editor is not None:
                ahead.start(generations)
        self.ranks.wait()

        unfinished = [
            (target, each, number, unfinished_batches(each, self.cases, self.batch_size, framing))
            for target, each, number, _ in candidates
        ]
        self.ranks.wait()  # as before, as the first edit changes what is missing
        if editor is None:
            self._require_complete(each for _, each, _, batches in unfinished if batches)
        else:
            for target, candidate, number, batches in unfinished:
                generate_edits(
                    candidate,
                    batches[self.ranks.rank :: self.ranks.world],
                    target,
                    self.benchmark,
                    editor,
                    source.sampler,
                    source.seed,
                    device,
                    framing,
                    number,
                )
        self.ranks.wait()
        return generations

    def _candidates(
        self, targets: Sequence[TargetRow], source: EditSource, common: Settings
    ) -> list[tuple[TargetRow, Generation, int, Settings]]:
        """All candidates of all targets, with number and settings; none may have been made otherwise."""
        found = []
        for target, generation in zip(targets, self._generations(targets), strict=True):
            for number in range(source.candidates):
                candidate = best_of_n.candidate(generation, number)
                settings = {"name": candidate.name, **common, "target_reward": target.settings()}
                settings |= {"candidate": number} if number else {}
                if not source.overwrite:
                    check_generation(candidate, settings)
                found.append((target, candidate, number, settings))
        return found

    def _generations(self, targets: Sequence[TargetRow]) -> list[Generation]:
        folders = {target.name: self.folder / folder_name(target.name) for target in targets}
        return [Generation(name, folder, folder / "edits") for name, folder in folders.items()]

    def _require_complete(self, incomplete: Iterable[Generation]) -> None:
        missing = [f"{each.name} {len(missing_edits(each, self.cases))}" for each in incomplete]
        if missing:
            raise FileNotFoundError(
                f"edits are missing below {self.folder} ({', '.join(missing)}); add generate to steps"
            )

    def measure(self, generations: Sequence[Generation], by: Measuring) -> dict[str, list[CaseMetrics]]:
        """Image metrics of generations and references, by the row's name; every process measures its share of
        the batches.
        """
        ranks, metrics = self.ranks, by.metrics
        mine = list(batches_of(self.cases, metrics.batch_size))[ranks.rank :: ranks.world]
        rows: list[tuple[str, Path, Iterator[list[Triplet]], Framing | None]] = []
        for generation in generations:
            batches = map(list, map(generation.triplets, mine))
            rows.append((generation.name, generation.folder, batches, generation.framing()))
        for reference in self.references():
            of_all = batches_of(reference.triplets(self.cases), metrics.batch_size)
            batches = islice(of_all, ranks.rank, None, ranks.world)
            rows.append((reference.name, self.folder / folder_name(reference.name), batches, None))
        if ranks.rank == 0:
            for _, folder, *_ in rows:
                repair_torn_line(folder / METRICS_FILE)
        ranks.wait()
        total, device = sum(len(batch) for batch in mine), device_of(self.device)
        shares = {}
        for name, folder, batches, framing in rows:
            path = folder / METRICS_FILE
            shares[name] = measure_row(
                metrics, self.benchmark, batches, total, path, name, device, by.measure, framing
            )
        together = ranks.gather(shares)
        return {name: interleave([share[name] for share in together]) for name in shares}

    def _measure_alone(self, generation: Generation, by: Measuring) -> list[CaseMetrics]:
        """Image metrics of a row chosen out of others, by this process alone, in the same batches as they."""
        path = generation.folder / METRICS_FILE
        repair_torn_line(path)
        batches = map(list, map(generation.triplets, batches_of(self.cases, by.metrics.batch_size)))
        measured = measure_row(
            by.metrics,
            self.benchmark,
            batches,
            len(self.cases),
            path,
            generation.name,
            device_of(self.device),
            by.measure,
            generation.framing(),
        )
        return interleave([measured])

    def judge(
        self,
        generations: Sequence[Generation],
        judging: Judging,
        measured: Mapping[str, Sequence[CaseMetrics]],
        measuring: Measuring | None = None,
        best: BestOf | None = None,
    ) -> tuple[list[ReportRow], list[Choice]]:
        """Judge every row: generations, each with its best of N if asked for, then references.

        Args:
            generations: with all of their edits.
            judging: by whom and how.
            measured: image metrics by the row's name.
            measuring: how they were measured; None if they were not.
            best: the request for best-of-N.

        Returns:
            The report's rows, and how the best of N were chosen.
        """
        height = self.benchmark.judged_height
        measured_by = {} if measuring is None else measuring.metrics.measured_by

        def judge_generation(judge: Judge, generation: Generation, cases: Sequence[Case]) -> list[JudgedCase]:
            name = generation.name if judge is judging.judge else f"{generation.name} by {judge.name}"
            triplets = generation.judged_triplets(cases, height)
            return judging.rewards(judge, triplets, len(cases), generation.folder, name)

        rows, choices = [], []
        for generation in generations:
            judged = judge_generation(judging.judge, generation, self.cases)
            values = measured.get(generation.name, ())
            rows.append(report_row(generation.name, judged, origin_of(generation), values, measured_by))
            if best is not None:
                chosen, judged, choice = best_of_n.choose_best(
                    generation, self.cases, best, judging.judge, judge_generation
                )
                values = () if measuring is None else self._measure_alone(chosen, measuring)
                rows.append(report_row(chosen.name, judged, origin_of(chosen), values, measured_by))
                choices.append(choice)
        for reference in self.references():
            folder = self.folder / folder_name(reference.name)
            triplets = reference_triplets(reference, self.cases, height)
            judged = judging.rewards(judging.judge, triplets, len(self.cases), folder, reference.name)
            rows.append(report_row(reference.name, judged, {}, measured.get(reference.name, ()), measured_by))
        return rows, choices


def judge_strengths(
    rows: Rows,
    generations: Sequence[Generation],
    judging: Judging,
    strengths: Sequence[float],
    judged: Sequence[ReportRow],
) -> list[Arm]:
    """Judge the edits of generations at other strengths; rewards are kept and looked up as those of rows are.

    Args:
        rows: of the benchmark.
        generations: with all of their edits.
        judging: by whom and how.
        strengths: beside 1, which is the row itself.
        judged: the report's rows, by which the edits themselves have been judged.
    """
    whole, found = {row.name: row.cases for row in judged}, []
    for generation in generations:
        cases = {WHOLE: whole[generation.name]}
        for strength in strengths:
            if strength != WHOLE:
                triplets = generation.judged_triplets(rows.cases, rows.benchmark.judged_height)
                again = judging.rewards(
                    judging.judge,
                    (dialled(triplet, strength) for triplet in triplets),
                    len(rows.cases),
                    generation.folder / f"strength_{strength:g}",
                    f"{generation.name} at strength {strength:g}",
                )
                cases[strength] = scores_by_case(again)
        rising = tuple(sorted(cases))
        found.append(Arm(generation.name, rising, tuple(cases[strength] for strength in rising)))
    return found


def check_image_size(path: Path, trained: Size, benchmark: Benchmark, any_size: bool) -> None:
    """Raise ValueError if images in memory, which were made for an editor, have another size than the editor
    was trained on.

    Photographs may have any size: the sampler's `resize` decides at which they are edited.
    """
    others = sorted(
        {case.size for case in benchmark.cases() if isinstance(case.image, np.ndarray)} - {trained}
    )
    if others and not any_size:
        height, width = others[0]
        raise ValueError(
            f"{path} was trained on images of {trained[1]}x{trained[0]} and {benchmark.name} has "
            f"{width}x{height}; say world.size={trained[0]} for the synthetic world, or any_size=true to go "
            "on"
        )


def editing_sizes(trained: int, sampler: Sampler, cases: Sequence[Case]) -> tuple[Framing, dict[str, object]]:
    """How photographs are brought to the size at which they are edited, and what generation.json records of
    the sizes.

    Args:
        trained: short side of the images that the editor was trained on.
        sampler: its `resize` decides.
        cases: of the whole benchmark.

    Raises:
        ValueError, FileNotFoundError: a photograph whose size can't be read.
    """
    framing = framing_for(sampler.resize, trained)
    sizes = [list(size) for size in sorted({frame_case(case, framing).size for case in cases})]
    if all(isinstance(case.image, np.ndarray) for case in cases):
        return framing, {"size": sizes}
    return framing, {"size": sizes, "resize": trained if sampler.resize == "trained" else sampler.resize}


def origin_of(generation: Generation) -> dict[str, object]:
    """What a row's edits come from, for the report."""
    settings = read_settings(generation.folder / SETTINGS)
    return {name: settings[name] for name in ORIGIN if name in settings}
