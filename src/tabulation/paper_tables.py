"""The paper's tables made of our runs: rows are placed, named, grouped by settings and compared, and the
paper's numbers stand beside them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from src.evaluation.report import few_photographs
from src.evaluation.statistics import MAX_ENUMERATED
from src.records import PERSPECTIVES
from src.tabulation.cells import (
    holm_corrected,
    image_columns,
    image_values,
    judged_columns,
    judged_values,
    p_values,
    with_best,
)
from src.tabulation.layouts import Layout, Place, layout_named
from src.tabulation.naming import REWARD_PARTS, differing_settings, row_names, setting_name, setting_text
from src.tabulation.published import PublishedRow, published_table
from src.tabulation.runs import (
    RunReport,
    RunRow,
    check_comparable,
    check_same_cases,
    check_same_networks,
    run_rows,
    shorten_fingerprint,
)
from src.tabulation.table import LEVEL, MARK, Column, Line, Table, Value


@final
@dataclass(frozen=True)
class OurLine:
    """A line before its numbers are compared.

    Attributes:
        place: in the table.
        name: of its place, or in Tables 1 and 2 of the method.
        run: distinguishes it from lines of the same place; "" if nothing does.
        rows: one per seed.
    """

    place: Place
    name: str
    run: str
    rows: tuple[RunRow, ...]


def paper_table(
    reports: Sequence[RunReport], name: str, own: str, against: str | None, with_published: bool
) -> Table:
    """Build one of the paper's tables.

    Args:
        reports: on one benchmark, by one judge.
        name: a key of LAYOUTS.
        own: name of the row that represents a run ("5/5/5").
        against: name of the line that the others are compared with; None for the table's own.
        with_published: whether to add the paper's numbers.

    Raises:
        ValueError: an unknown table, reports that are not comparable, no row for it, or no line `against`.
    """
    layout = layout_named(name)
    check_comparable(reports)
    rows = [
        (row, place)
        for row in run_rows(reports)
        if (place := layout.place(row, own)) and (row.images or not layout.images)
    ]
    if not rows:
        raise ValueError(
            f"table={name}: none of the runs has {layout.needs}; the row that represents a run is row={own}"
        )
    check_same_cases([row for row, _ in rows])
    if layout.images:
        check_same_networks([row for row, _ in rows])
    ours = our_lines(layout, rows)
    columns = (
        image_columns(list(dict.fromkeys(key for row, _ in rows for key in row.images)))
        if layout.images
        else judged_columns()
    )
    values = [
        image_values(line.rows, columns) if layout.images else judged_values(line.rows) for line in ours
    ]
    values = with_best(values, columns)
    notes = notes_on(layout, ours, reports[0])
    if not layout.images:
        reference = reference_name(ours, layout, against)
        tested = p_values_of_lines(ours, reference)
        values = [_with_p(line, ps) for line, ps in zip(values, tested, strict=True)]
        seeds = max(len(line.rows) for line in ours)
        notes += _mark_notes(reference, tested, ours[0].rows[0].row.means.clusters, seeds)
    lines = [
        Line(own_line.name, _labels(layout, own_line), tuple(numbers), _source(own_line))
        for own_line, numbers in zip(ours, values, strict=True)
    ]
    if with_published:
        lines = interleave_published(lines, published_lines(layout, columns))
        notes.append(published_note(layout, reports[0]))
    facts = {"benchmark": reports[0].report.benchmark, "judge": reports[0].report.judge}
    title = f"{layout.title} (Table {layout.number} of the paper)"
    return Table(name, title, (*layout.label_columns, "Run"), columns, tuple(lines), tuple(notes), facts)


def our_lines(layout: Layout, rows: Sequence[tuple[RunRow, Place]]) -> list[OurLine]:
    """Group rows into lines, in the table's order.

    Raises:
        ValueError: two rows have the same settings and seed and would count twice.
    """
    names = row_names([row for row, _ in rows], [place.labels for _, place in rows])
    groups: dict[tuple[tuple[str, ...], str], list[tuple[RunRow, Place]]] = {}
    for (row, place), run in zip(rows, names, strict=True):
        groups.setdefault((place.labels, run), []).append((row, place))
    lines = []
    for (_, run), members in groups.items():
        own, place = tuple(row for row, _ in members), members[0][1]
        check_seeds(own)
        lines.append(
            OurLine(place, place.name or _method(place, run, own[0]), "" if not place.name else run, own)
        )
    return sorted(lines, key=lambda line: line.place.order)


def check_seeds(rows: Sequence[RunRow]) -> None:
    """Raise ValueError if two rows of a line have the same seeds."""
    by_seeds: dict[tuple[object, object], RunRow] = {}
    for row in rows:
        if row.seeds in by_seeds:
            other = by_seeds[row.seeds]
            raise ValueError(
                f"{other.row.name!r} of {other.report.run} and {row.row.name!r} of {row.report.run} have the "
                "same "
                "settings and seeds and would count twice: leave one of them out, "
                "or repeat it with another seed="
            )
        by_seeds[row.seeds] = row


def _method(place: Place, run: str, row: RunRow) -> str:
    """Name a row of Tables 1 and 2: its own name, what differs, or else the name of the experiment."""
    own = place.labels[0]
    if row.report.name is not None:
        return ", ".join(part for part in (run, own) if part)
    if own and not own.startswith("best of"):
        return ", ".join(part for part in (own, run) if part)
    name = run or str((row.settings or {}).get("name", row.report.run.name))
    return f"{name}, {own}" if own else name


def _labels(layout: Layout, line: OurLine) -> tuple[str, ...]:
    return (*line.place.labels, line.run) if line.place.name else (line.name, "", "")


def _source(line: OurLine) -> str:
    seeds = len(line.rows)
    return "ours" if seeds == 1 else f"ours, {seeds} seeds"


def reference_name(lines: Sequence[OurLine], layout: Layout, against: str | None) -> str:
    """Name the line that the others are compared with.

    Raises:
        ValueError: there is no such line.
    """
    names = list(dict.fromkeys(line.name for line in lines))
    if against is not None and against not in names:
        raise ValueError(f"against={against}: the table has no such line; there are {'; '.join(names)}")
    return against or (layout.reference if layout.reference in names else names[0])


def p_values_of_lines(lines: Sequence[OurLine], reference: str) -> list[list[float | None]]:
    """Test each perspective's score against the reference line of the same run, or else the first one of that
    name; corrected over the whole table.
    """
    references = [line for line in lines if line.name == reference]
    found: list[list[float | None]] = []
    for line in lines:
        if line.name == reference:
            found.append([None] * len(PERSPECTIVES))
            continue
        other = next((same for same in references if same.run == line.run), references[0])
        found.append(p_values(line.rows, other.rows, line.name, reference))
    return holm_corrected(found)


def _with_p(line: Sequence[Value], ps: Sequence[float | None]) -> list[Value]:
    """Add the p of each Score to the values of a line, in which Acc and Score alternate."""
    return [replace(value, p=ps[index // 2]) if index % 2 else value for index, value in enumerate(line)]


def published_lines(layout: Layout, columns: Sequence[Column]) -> list[Line]:
    """Fit the paper's rows into our columns."""
    table = published_table(layout.number)
    source = f"paper, Table {layout.number}"
    return [
        Line(
            row.name, _published_labels(layout, row), _published_values(row, columns), source, published=True
        )
        for row in table.rows
    ]


def _published_labels(layout: Layout, row: PublishedRow) -> tuple[str, ...]:
    if layout.label_columns[0] == "Method":
        return row.name, row.edit_data, ""
    if layout.number == 6:
        return (*row.name.split("/"), "", "")
    parts = row.name.split(" + ")
    return (*("✓" if title.lower() in parts else "" for title in layout.label_columns), "")


def _published_values(row: PublishedRow, columns: Sequence[Column]) -> tuple[Value | None, ...]:
    numbers = [row.numbers.get(column.key) for column in columns]
    return tuple(None if number is None else Value(number.value, words=number.text) for number in numbers)


def interleave_published(ours: Sequence[Line], published: Sequence[Line]) -> list[Line]:
    """Insert the paper's lines after our lines of the same name; those without a counterpart come last."""
    left: dict[str, Line] = {_plain(line.name): line for line in published}
    found: list[Line] = []
    for index, line in enumerate(ours):
        found.append(line)
        name = _plain(line.name)
        if name in left and not any(_plain(later.name) == name for later in ours[index + 1 :]):
            found.append(left.pop(name))
    return [*found, *left.values()]


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def notes_on(layout: Layout, lines: Sequence[OurLine], run_report: RunReport) -> list[str]:
    """Write the notes on our lines: cases, judge, intervals, failures, and other differences between the
    runs.
    """
    report, means = run_report.report, lines[0].rows[0].row.means
    seeds = any(len(line.rows) > 1 for line in lines)
    judged = (
        "" if layout.images else f", judged by {report.judge} ({shorten_fingerprint(report.fingerprint)})"
    )
    notes = [f"Ours: {report.benchmark}{judged}, {means.n} cases on {means.clusters} photographs."]
    if layout.images:
        first = lines[0].rows[0]
        fewer = [f"{key} {mean.n}" for key, mean in first.images.items() if mean.n != means.n]
        notes += (
            [f"Measured by {'; '.join(f'{name}: {what}' for name, what in first.networks.items())}."]
            if first.networks
            else []
        )
        notes += (
            [f"Numbers of cases, where not all have what a metric needs: {', '.join(fewer)}."]
            if fewer
            else []
        )
        notes.append(
            "In brackets the 95 % interval over cases" + (", where there is one seed" if seeds else "") + "."
        )
    else:
        notes.append(
            "Acc: share of cases in which the judge saw success. Score: mean in [0, 5], in brackets its 95 % "
            "interval over cases (Student's t on errors clustered by photograph"
            + (", each case averaged over seeds first, and on the spread over seeds" if seeds else "")
            + "). Overall: sqrt(min(F, P) Q) of each case"
            + (" and seed." if seeds else ".")
        )
    if seeds:
        notes.append("After ± the standard deviation over seeds.")
    notes.append("Bold: the best of our numbers in a column.")
    notes += _failure_notes(lines)
    few = few_photographs([row.row for line in lines for row in line.rows])
    notes += [] if few is None else [few]
    confounded = _confounded(layout, lines)
    return [*notes, confounded] if confounded else notes


def _failure_notes(lines: Sequence[OurLine]) -> list[str]:
    found = []
    for line in lines:
        for row in line.rows:
            if row.row.means.coverage < 1.0:
                allowed = ", ".join(
                    f"{summary.bounds.low:.2f} to {summary.bounds.high:.2f}"
                    for summary in row.row.means.summaries
                )
                share = 100 * (1 - row.row.means.coverage)
                missing = (
                    f"{line.name} ({row.report.run.name}): {share:.1f} % of the cases have no complete reward"
                )
                found.append(f"{missing}; F, P, Q with all of them: {allowed}.")
    return found


def _confounded(layout: Layout, lines: Sequence[OurLine], most: int = 4) -> str:
    """Name differences between the runs that the table does not express; "" if there are none."""
    known = [(line, row.settings) for line in lines for row in line.rows if row.settings is not None]
    found = differing_settings([settings for _, settings in known], layout.explained or REWARD_PARTS)
    named = " ".join(f"{line.name} {line.run}" for line in lines)
    other = {name: values for name, values in found.items() if f"{setting_name(name)}=" not in named}
    if not other:
        return ""
    listed = []
    for name, values in list(other.items())[:most]:
        texts: Mapping[str, None] = dict.fromkeys(
            f"{line.name}: {setting_text(value)}" for (line, _), value in zip(known, values, strict=True)
        )
        listed.append(f"{setting_name(name)} ({'; '.join(texts)})")
    more = f" and {len(other) - most} more" if len(other) > most else ""
    return f"Beside what the lines say, the runs differ in {', '.join(listed)}{more}."


def _mark_notes(
    reference: str, tested: Sequence[Sequence[float | None]], clusters: int, seeds: int
) -> list[str]:
    family = sum(p is not None for line in tested for p in line)
    if not family:
        return [f"No score was compared with those of {reference}."]
    exact = 2**clusters <= MAX_ENUMERATED
    test = f"sign flips of whole photographs on the same cases, {'exact' if exact else '10,000 drawn'}"
    test += "" if seeds < 2 else ", and Student's t with the spread over seeds, of which the larger p counts"
    comparisons = f"{family} comparison{'s' if family > 1 else ''}"
    notes = [
        f"{MARK}: the score differs from that of {reference} at the {100 * LEVEL:g} % level (two-sided, "
        f"{test}; "
        f"{clusters} photographs; Holm's correction over the {comparisons} of this table)."
    ]
    least = min(1.0, family * 2 / 2**clusters)
    if exact and least >= LEVEL:
        notes.append(
            f"With {clusters} photographs the smallest p of {comparisons} is {least:.2g}: no difference, "
            "however "
            "clear, can be marked."
        )
    return notes


def published_note(layout: Layout, run_report: RunReport) -> str:
    """Write the note on benchmark and judge of the paper's lines."""
    table = published_table(layout.number)
    theirs = f"on {table.benchmark}" + (f", judged by {table.judge}" if table.judge else "")
    ours = run_report.report.benchmark + ("" if layout.images else f", judged by {run_report.report.judge}")
    return (
        f"Lines of the paper ({table.source}, Table {layout.number}) are as published, {theirs}; ours are on "
        f"{ours}. They compare only as far as benchmark and judge are the same."
    )
