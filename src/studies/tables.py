"""The tables of a study: the paper's Table 3 of it, preferences, agreement and raters.

python -m src.tabulate runs/study                 # all of them
python -m src.tabulate runs/study table=table3    # the first, with the paper's numbers beside it
"""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from src.evaluation.raters import (
    Level,
    agreement_alpha,
    has_alpha,
    mean_apart,
    rating_matrix,
    share_equal,
)
from src.evaluation.report import within_scale
from src.evaluation.statistics import Estimate, Interval, interval_of, student_p, two_way_mean
from src.studies.ratings import Rating, Ratings
from src.studies.study import SCORED, Question
from src.tabulation.cells import holm_corrected, with_best
from src.tabulation.paper_tables import interleave_published
from src.tabulation.published import published_table
from src.tabulation.table import LEVEL, MARK, Column, Line, Table, Value

NUMBER = 3
TABLE_3 = "table3"
INTERVALS = (
    "In brackets 95 % intervals that hold for other photographs and for other raters (Student's t on errors "
    "clustered by both)."
)
FEW = "With one rater the intervals hold for other photographs, and say nothing about other raters."
NO_LIBRARY = "Krippendorff's alpha is computed after: pip install -e '.[study]'."


def study_tables(ratings: Ratings) -> list[Table]:
    """All tables of a study, as far as there are answers.

    Raises:
        ValueError: there are none.
    """
    if not ratings.all:
        raise ValueError(f"{ratings.folder} has no answers yet: its raters answer with python -m src.study")
    tables = [table_3(ratings, with_published=False)] if ratings.of("scores", SCORED[0]) else []
    if "pairs" in ratings.study.questions:
        tables.append(preference_table(ratings))
    return [*tables, agreement_table(ratings), rater_table(ratings)]


def table_3(ratings: Ratings, with_published: bool) -> Table:
    """The paper's Table 3: mean scores by people.

    Raises:
        ValueError: the study asked for no scores, or nobody has given any.
    """
    study = ratings.study
    columns = tuple(
        Column(f"{name}_score", "", name.capitalize(), name.capitalize(), higher_is_better=True)
        for name in SCORED
    )
    given = {name: ratings.of("scores", name) for name in SCORED}
    if not given[SCORED[0]]:
        raise ValueError(
            f"{ratings.folder} has no scores yet: a study asks for them with questions=[scores], and its "
            "raters answer with python -m src.study"
        )
    values = with_best(
        [[_mean_of(given[name], system) for name in SCORED] for system in study.systems], columns
    )
    tested = holm_corrected(
        [
            [_difference_p(given[name], system, study.systems[0]) for name in SCORED]
            for system in study.systems
        ]
    )
    lines = [
        Line(system, (system,), tuple(_marked(value, p) for value, p in zip(row, ps, strict=True)), "ours")
        for system, row, ps in zip(study.systems, values, tested, strict=True)
    ]
    notes = [*_notes(ratings, given[SCORED[0]]), _mark_note(study.systems, tested)]
    if with_published:
        lines = interleave_published(lines, _published(columns))
        notes.append(
            "The paper's numbers: 10 annotators, 560 edits of Real-Edit; not comparable with other cases."
        )
    title = f"Human ratings (Table {NUMBER} of the paper)"
    return Table(
        TABLE_3, title, ("Method",), columns, tuple(lines), tuple(notes), {"benchmark": study.benchmark}
    )


def preference_table(ratings: Ratings) -> Table:
    """How often raters prefer one system to another."""
    study = ratings.study
    columns = (
        Column("answers", "", "answers", "answers", digits=0),
        *(
            Column(key, "Share", title, title, scale=100.0, digits=1, unit="%")
            for key, title in (("better", "better"), ("alike", "alike"), ("worse", "worse"))
        ),
        Column("preference", "", "better + alike / 2", "better + alike / 2", scale=100.0, digits=1, unit="%"),
    )
    lines, tested = [], []
    for aspect in study.compared:
        given = ratings.of("pairs", aspect)
        for first, second in combinations(study.systems, 2):
            own = [rating for rating in given if rating.item.systems == (first, second)]
            values, p = _preference(own)
            tested.append([p])
            lines.append(Line(first, (first, second, aspect), tuple(values)))
    corrected = [p for (p,) in holm_corrected(tested)]
    marked = [
        Line(line.name, line.labels, (*line.values[:-1], _marked(line.values[-1] or Value(), p)))
        for line, p in zip(lines, corrected, strict=True)
    ]
    asked = ratings.of("pairs", study.compared[0])
    note = (
        f"{MARK} differs from 50 % (Student's t on the same errors, p < {LEVEL:g} after Holm's correction)."
    )
    return Table(
        "preferences",
        "Preferences",
        ("Edits of", "against", "In"),
        columns,
        tuple(marked),
        (*_notes(ratings, asked), note),
    )


def agreement_table(ratings: Ratings) -> Table:
    """How far raters agree with each other, with themselves, and with gold."""
    columns = (
        Column("units", "", "rated twice or more", "rated twice or more", digits=0),
        *(
            Column(f"alpha_{level}", "Krippendorff's alpha", level, f"alpha, {level}")
            for level in ("nominal", "ordinal", "interval")
        ),
        Column("repeats", "Asked again", "n", "asked again", digits=0),
        Column("repeats_equal", "Asked again", "equal", "equal again", scale=100.0, digits=1, unit="%"),
        Column("repeats_apart", "Asked again", "apart", "apart", digits=2),
        Column("gold", "Gold", "n", "gold", digits=0),
        Column("gold_right", "Gold", "right", "gold right", scale=100.0, digits=1, unit="%"),
    )
    lines = [
        Line(f"{question} {aspect}", (question, aspect), tuple(_agreement(ratings, question, aspect)))
        for question in ratings.study.questions
        for aspect in ratings.study.aspects(question)
    ]
    notes = [
        "Alpha is over what two raters or more have rated: 1 without disagreement, 0 as by chance. Scores "
        "have an order and distances; preferences are categories. Apart: mean difference of the two answers, "
        "in points, for pairs 1 for opposite ones.",
        *([] if has_alpha() else [NO_LIBRARY]),
    ]
    return Table(
        "agreement", "Agreement of the raters", ("Question", "In"), columns, tuple(lines), tuple(notes)
    )


def rater_table(ratings: Ratings) -> Table:
    """Each rater: how many answers, how careful, how fast, and whether one side is preferred."""
    columns = (
        Column("answers", "", "answers", "answers", digits=0),
        Column("asked", "", "of", "of", digits=0),
        Column("gold_right", "", "gold right", "gold right", scale=100.0, digits=1, unit="%"),
        Column("repeats_equal", "", "equal again", "equal again", scale=100.0, digits=1, unit="%"),
        Column("left", "", "left of decided pairs", "left of decided pairs", scale=100.0, digits=1, unit="%"),
        Column("seconds", "", "median seconds", "median seconds", digits=1),
    )
    lines = [Line(rater, (rater,), tuple(_rater(ratings, rater))) for rater in ratings.raters()]
    return Table("raters", "Raters", ("Rater",), columns, tuple(lines))


def _mean_of(given: Sequence[Rating], system: str) -> Value:
    own = [rating for rating in given if rating.item.systems == (system,)]
    if not own:
        return Value()
    return Value(_mean(own), within_scale(_interval(_estimate(own))))


def _difference_p(given: Sequence[Rating], system: str, reference: str) -> float | None:
    """The p of no difference from the reference over what the same rater gave both in the same case."""
    if system == reference:
        return None
    by_place = {(rating.answer.rater, rating.item.case, rating.item.systems[0]): rating for rating in given}
    pairs = [
        (rating, by_place[rater, case, reference])
        for (rater, case, name), rating in by_place.items()
        if name == system and (rater, case, reference) in by_place
    ]
    estimate = _estimate([one for one, _ in pairs], [one.value - other.value for one, other in pairs])
    return None if estimate is None else student_p(estimate)


def _preference(own: Sequence[Rating]) -> tuple[list[Value], float | None]:
    """The numbers of `preference_table`, and p of 50 %."""
    if not own:
        return [Value(0.0), Value(), Value(), Value(), Value()], None
    values = np.array([rating.value for rating in own])
    shares = [float(np.mean(values == value)) for value in (1.0, 0.5, 0.0)]
    interval = _interval(_estimate(own))
    within = None if interval is None else Interval(max(0.0, interval.low), min(1.0, interval.high))
    against_half = _estimate(own, values - 0.5)
    p = None if against_half is None else student_p(against_half)
    return [Value(float(len(own))), *map(Value, shares), Value(float(values.mean()), within)], p


def _agreement(ratings: Ratings, question: Question, aspect: str) -> list[Value]:
    given = ratings.of(question, aspect)
    levels: tuple[Level, ...] = ("nominal",) if question == "pairs" else ("ordinal", "interval")
    matrix = rating_matrix(
        [rating.answer.rater for rating in given],
        [rating.item.id for rating in given],
        [rating.value for rating in given],
    )
    alphas = {level: agreement_alpha(matrix, level) if has_alpha() else math.nan for level in levels}
    twice = [
        (one, other)
        for one, other in ratings.twice()
        if (one.item.question, one.aspect) == (question, aspect)
    ]
    gold = [
        rating for rating in ratings.gold() if (rating.item.question, rating.aspect) == (question, aspect)
    ]
    first, second = (np.array([pair[index].value for pair in twice]) for index in (0, 1))
    return [
        Value(float((np.isfinite(matrix).sum(axis=0) >= 2).sum())),
        *(_defined(alphas.get(level, math.nan)) for level in ("nominal", "ordinal", "interval")),
        Value(float(len(twice))),
        _defined(share_equal(first, second)),
        _defined(mean_apart(first, second)),
        Value(float(len(gold))),
        _defined(_share_right(gold)),
    ]


def _rater(ratings: Ratings, rater: str) -> list[Value]:
    own = [rating for rating in ratings.all if rating.answer.rater == rater]
    answers = {rating.answer.position: rating.answer for rating in own}
    twice = [(one, other) for one, other in ratings.twice() if one.answer.rater == rater]
    first, second = (np.array([pair[index].value for pair in twice]) for index in (0, 1))
    sides = [
        value for answer in answers.values() for value in answer.answer.values() if value in ("left", "right")
    ]
    return [
        Value(float(len(answers))),
        Value(float(ratings.asked[rater])),
        _defined(_share_right([rating for rating in ratings.gold() if rating.answer.rater == rater])),
        _defined(share_equal(first, second)),
        Value(sides.count("left") / len(sides)) if sides else Value(),
        Value(float(np.median([answer.seconds for answer in answers.values()]))),
    ]


def _share_right(gold: Sequence[Rating]) -> float:
    return sum(bool(rating.is_right) for rating in gold) / len(gold) if gold else math.nan


def _estimate(own: Sequence[Rating], values: Sequence[float] | np.ndarray | None = None) -> Estimate | None:
    """The mean of ratings, or of values beside them, over photographs and raters."""
    given = np.array([rating.value for rating in own] if values is None else values, dtype=float)
    if len(given) == 0:
        return None
    photographs, raters = (
        [rating.item.photograph for rating in own],
        [rating.answer.rater for rating in own],
    )
    return two_way_mean(given, photographs, raters)


def _interval(estimate: Estimate | None) -> Interval | None:
    return None if estimate is None else interval_of(estimate.mean, estimate.error, estimate.freedom)


def _mean(own: Sequence[Rating]) -> float:
    return float(np.mean([rating.value for rating in own]))


def _defined(value: float) -> Value:
    return Value() if math.isnan(value) else Value(value)


def _marked(value: Value, p: float | None) -> Value:
    return Value(value.mean, value.ci95, p=p, best=value.best)


def _notes(ratings: Ratings, given: Sequence[Rating]) -> list[str]:
    """Who rated what."""
    raters = {rating.answer.rater for rating in given}
    cases = {rating.item.case for rating in given}
    photographs = {rating.item.photograph for rating in given}
    said = (
        f"{ratings.study.benchmark}, {len(raters)} {'rater' if len(raters) == 1 else 'raters'}, {len(given)} "
        f"answers on {len(cases)} cases of {len(photographs)} photographs; of what was asked twice the "
        "first answer counts."
    )
    return [said, INTERVALS if len(raters) != 1 else FEW]


def _mark_note(systems: Sequence[str], tested: Sequence[Sequence[float | None]]) -> str:
    family = sum(p is not None for row in tested for p in row)
    if not family:
        return f"No score was compared with those of {systems[0]}."
    return (
        f"{MARK} differs from {systems[0]} where the same rater scored both in the same case (Student's t on "
        f"errors clustered by photograph and rater, p < {LEVEL:g} after Holm's correction over {family} "
        "tests)."
    )


def _published(columns: Sequence[Column]) -> list[Line]:
    return [
        Line(
            row.name,
            (row.name,),
            tuple(
                Value(row.numbers[column.key].value, words=row.numbers[column.key].text) for column in columns
            ),
            f"paper, Table {NUMBER}",
            published=True,
        )
        for row in published_table(NUMBER).rows
    ]
