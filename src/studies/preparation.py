"""Makes a study: chooses cases, copies what raters will see into the study folder, and lists the items.

Pictures are re-encoded without metadata under the digest of their pixels, at the size at which judges see
them, so that neither a name nor a file tells where one comes from.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, final

from src.batching import batches_of
from src.data.rows import EncodedImage
from src.data.transforms import resize_to
from src.evaluation.benchmark import Benchmark
from src.evaluation.case_images import frame_of_height, prepare_for_judge
from src.files import remove_leftovers, replacing
from src.images import encode_png, load_image, native
from src.progress import with_progress
from src.records import Case, Image, Triplet
from src.seeds import fold_seed
from src.studies.gold import Gold, gold_of_file, known_gold
from src.studies.study import IMAGES, Item, Question, Study
from src.studies.systems import System, check_complete_edits


@final
@dataclass(frozen=True)
class Design:
    """What a study asks.

    Attributes:
        title: on the page.
        questions: pairs, scores or both.
        compared: in what pairs are compared.
        cases: number of cases, balanced over edit types and photographs; None for all.
        per_rater, repeats, seed: see Study.
        gold: number of gold items of each question, where the benchmark knows right answers.
        gold_file: takes their place.
    """

    title: str
    questions: tuple[Question, ...]
    compared: tuple[str, ...]
    cases: int | None
    per_rater: int | None
    repeats: int
    seed: int
    gold: int
    gold_file: Path | None


@final
@dataclass(frozen=True)
class PictureFolder:
    """The pictures of a study, each written once.

    Attributes:
        folder: of the files.
        height: that of judged pictures; None keeps their size.
    """

    folder: Path
    height: int | None

    def add(self, image: Image) -> str:
        """Write a picture unless it is there; return its file name."""
        pixels = hashlib.sha256(repr(image.shape).encode() + image.tobytes())
        name = pixels.hexdigest()[:24] + ".png"
        if not (self.folder / name).exists():
            with replacing(self.folder / name, durable=False) as partial_file:
                partial_file.write_bytes(encode_png(image))
        return name

    def add_whole(self, picture: Image | EncodedImage, of: Case) -> str:
        """Write a picture that shows the whole photograph of a case, at the size of judged pictures."""
        image = picture.decode() if isinstance(picture, EncodedImage) else picture
        if self.height is None or not isinstance(of.image, EncodedImage):
            return self.add(image)
        return self.add(resize_to(image, frame_of_height(*of.size, self.height).size))

    def add_original(self, case: Case) -> str:
        """Write the whole photograph of a case."""
        if not isinstance(case.image, EncodedImage):
            return self.add(case.original)
        framing = partial(frame_of_height, pixels=self.height) if self.height is not None else native
        return self.add(case.image.decode(framing))


@final
@dataclass(frozen=True)
class Plan:
    """What a study shows, before anything is written.

    Attributes:
        cases: of the benchmark.
        gold: items whose right answer is known.
        notes: what it lacks.
    """

    cases: Sequence[Case]
    gold: Sequence[Gold]
    notes: Sequence[str]


def plan_study(benchmark: Benchmark, pool: Sequence[Case], systems: Sequence[System], design: Design) -> Plan:
    """Choose what is shown and check that it is there.

    Args:
        benchmark: of the cases.
        pool: the cases to choose from.
        systems: what is compared.
        design: what is asked.

    Raises:
        FileNotFoundError: a case without an edit, no such gold file.
        ValueError: more cases than there are, gold that can't be used.
    """
    cases = choose_cases(pool, design.cases, design.seed)
    check_complete_edits(systems, cases)
    chosen = {case.id for case in cases}
    others = sorted(pool, key=lambda case: (case.id in chosen, fold_seed("gold", design.seed, case.id)))
    return Plan(cases, *find_gold(benchmark, others, design))


def prepare_study(
    folder: Path, benchmark: Benchmark, plan: Plan, systems: Sequence[System], design: Design
) -> Study:
    """Write the pictures of a study and list its items; pictures that are there already stay.

    Raises:
        ValueError: a picture that can't be read.
        NotWrittenError: the disk is full.
    """
    remove_leftovers(folder / IMAGES)
    pictures = PictureFolder(folder / IMAGES, benchmark.judged_height)
    items: list[Item] = []
    for batch in with_progress(batches_of(plan.cases, 8), len(plan.cases), "prepare", "cases"):
        for case in batch:
            items += _items(case, systems, design, pictures, len(items))
    items += [_gold_item(each, pictures, len(items) + index) for index, each in enumerate(plan.gold)]
    return Study(
        title=design.title,
        benchmark=benchmark.name,
        systems=tuple(system.name for system in systems),
        questions=design.questions,
        compared=design.compared,
        seed=design.seed,
        repeats=design.repeats,
        per_rater=design.per_rater,
        items=tuple(items),
    )


def choose_cases(pool: Sequence[Case], number: int | None, seed: int) -> list[Case]:
    """So many cases, edit types in turn, of each type one whose photograph has been taken least often.

    Raises:
        ValueError: more than there are.
    """
    if number is None:
        return list(pool)
    if not 1 <= number <= len(pool):
        raise ValueError(
            f"cases={number}: there are {len(pool)}; give 1 to {len(pool)}, or cases=null for all"
        )
    left: dict[str, list[Case]] = {}
    for case in sorted(pool, key=lambda case: fold_seed("cases", seed, case.id)):
        left.setdefault(case.edit_type, []).append(case)
    taken, photographs = [], Counter[str]()
    while len(taken) < number:
        for cases in [cases for cases in left.values() if cases][: number - len(taken)]:
            best = min(range(len(cases)), key=lambda index: photographs[cases[index].photograph])
            taken.append(cases.pop(best))
            photographs[taken[-1].photograph] += 1
    places = {case.id: place for place, case in enumerate(pool)}
    return sorted(taken, key=lambda case: places[case.id])


def find_gold(benchmark: Benchmark, cases: Sequence[Case], design: Design) -> tuple[list[Gold], list[str]]:
    """The gold items of all questions, and notes on those that there are not. Raises as `gold_of_file`."""
    if design.gold_file is not None:
        found = gold_of_file(design.gold_file, cases, design.compared)
        return [each for each in found if each.question in design.questions], []
    found, notes = [], []
    for question in design.questions:
        known = known_gold(benchmark, cases, design.gold, question, design.compared)
        found += known
        if len(known) < design.gold:
            notes.append(
                f"gold.number={design.gold}: {len(known)} gold items of {question}, as {benchmark.name} "
                "knows too few right edits; give your own with gold.file=FILE (src/studies/gold.py says how)"
            )
    return found, notes


def _items(
    case: Case, systems: Sequence[System], design: Design, pictures: PictureFolder, start: int
) -> list[Item]:
    shown = [_shown(case, system, pictures) for system in systems]
    common = _common(case)
    found: list[Item] = []
    if "pairs" in design.questions:
        whole = pictures.add_original(case)
        for first, second in combinations(range(len(systems)), 2):
            edits, names = (shown[first][1], shown[second][1]), (systems[first].name, systems[second].name)
            found.append(
                Item(f"i{start + len(found)}", "pairs", **common, original=whole, edits=edits, systems=names)
            )
    if "scores" in design.questions:
        for system, (original, edited) in zip(systems, shown, strict=True):
            found.append(
                Item(
                    f"i{start + len(found)}",
                    "scores",
                    **common,
                    original=original,
                    edits=(edited,),
                    systems=(system.name,),
                )
            )
    return found


def _shown(case: Case, system: System, pictures: PictureFolder) -> tuple[str, str]:
    """Original and edit as a judge sees them."""
    triplet = Triplet(case, load_image(system.made.edit_path(case)))
    seen = prepare_for_judge(triplet, pictures.height, system.framing())
    return pictures.add(seen.case.original), pictures.add(seen.edited)


def _gold_item(gold: Gold, pictures: PictureFolder, number: int) -> Item:
    return Item(
        f"i{number}",
        gold.question,
        **_common(gold.case),
        original=pictures.add_original(gold.case),
        edits=tuple(pictures.add_whole(picture, gold.case) for picture in gold.pictures),
        expected=gold.expected,
    )


def _common(case: Case) -> Mapping[str, Any]:
    return {
        "case": case.id,
        "photograph": case.photograph,
        "edit_type": case.edit_type,
        "instruction": case.instruction,
    }
