"""Tables of compared edits: EditReward-Data, EditReward's training JSON, both EditReward-Benches, GenAI-Bench
and any table whose columns the user names (contest_columns.py).

    python -m src.train_reward_model contests=table contests.source.path=TIGER-Lab/EditReward-Data

A row is a contest: an original, an instruction, edits, and what people said of them. Comparisons that stand
twice count once; those that stand with opposite labels, and rows that contradict themselves, are left out and
named. Pictures stay encoded until a contest is asked for, and lie in the table or in its folder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

from src.data.columns import is_missing
from src.data.contest_columns import LICENCES, contest_columns
from src.data.contest_labels import ContestLabels
from src.data.contests import ContestSource, RatingScale
from src.data.huggingface_table import is_text, open_table, reach_of
from src.data.labelled_rows import Label, RowFindings, digest_of_labels, settled
from src.data.problems import Problem
from src.data.rows import check_index
from src.data.table_picture import TablePicture, with_encoded_pictures
from src.records import ASPECTS, Candidate, Case, Contest, Ranking

RELATIVE = "_rel"
"""Ending of the columns in which EditReward-Data names its pictures."""

OUTSIDE = "say contests.source.outside=true if its rows may name any file"


@final
class ContestTable(ContestSource):
    """The contests of a table, in the order of their ids.

    Args:
        path: see table_files.py: a folder, a file, or a hub id.
        split, name: of the hub's dataset: its split and configuration.
        columns: what the columns hold, see ContestColumns; none: one of the published sets.
        ratings: whether to read ratings, too, or the preferences alone.
        keep_repeats: count every row as it stands, also those that contradict others.
        outside: whether rows may name pictures outside of the table's folder.
        licence: under which its labels may be used; None: as the card of the published set says.
        cache: a folder for what `datasets` converts and downloads; None for its own default.

    Raises:
        FileNotFoundError: nothing at this path or hub id.
        ValueError: columns are missing, an id names two comparisons, ratings are placeholders, or no row can
            be used.
    """

    def __init__(
        self,
        path: str,
        split: str = "train",
        name: str | None = None,
        columns: Mapping[str, Any] | None = None,
        ratings: bool = True,
        keep_repeats: bool = False,
        outside: bool = False,
        licence: str | None = None,
        cache: str | None = None,
    ) -> None:
        table = open_table(path, split, name, cache)
        found, self.columns = contest_columns(table.column_names, columns or {}, path)
        self.path, self.set_name = path, found or Path(path).name
        self.rating_scales = self.columns.rating_scales if ratings else {}
        self.licence_given = licence
        self.keep_repeats = keep_repeats
        self.reach = replace(reach_of(path, outside), remedy=OUTSIDE)
        self.table = with_encoded_pictures(table, self.columns.pictures)
        self.labels = ContestLabels(table, self.columns, ratings, path)
        self.left_out = list(self.labels.problems)
        self.originals: dict[int, str] = {}
        self._settle()

    def _settle(self) -> None:
        """Decide which rows count. Raises ValueError if none does."""
        rows, labels = self._named_rows()
        if not labels:
            first = self.left_out[0].reason if self.left_out else f"{self.path} has none"
            raise ValueError(f"no row can be used; the first: {first}")
        try:
            kept, repeated, contradictory = settled(labels, self.keep_repeats)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}, or say contests.source.columns.ids=[]") from error
        self.kept = [rows[index] for index in kept]
        self.findings = RowFindings(
            len(self.table), digest_of_labels(labels), repeated, contradictory, self.keep_repeats
        )
        if not self.keep_repeats:
            self.left_out += _contradictions(rows, labels, contradictory)
        if not self.kept:
            raise ValueError(f"all rows of {self.path} contradict each other: {self.left_out[0].reason}")

    def _named_rows(self) -> tuple[list[int], list[Label]]:
        """The rows whose pictures can be told apart, with what they say; others become problems."""
        rows, labels = [], []
        for row in self.labels.usable:
            try:
                names = self._names(row)
            except (ValueError, FileNotFoundError) as error:
                self.left_out.append(Problem(row, self.labels.ids[row], "picture", f"{self.path}: {error}"))
                continue
            self.originals[row] = names[0]
            rows.append(row)
            labels.append(self._label(row, names))
        if len(set(self.originals.values())) == len(rows):
            # each row has a copy of its own, as in EditReward's valid_dataset_1.json: what was asked is left
            self.originals = {row: self.labels.instruction(row) for row in rows}
        return rows, labels

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def name(self) -> str:
        return self.set_name

    @property
    def aspects(self) -> Sequence[str]:
        said = {each.aspect for row in self.kept for each in self.labels.rankings[row]}
        return tuple(aspect for aspect in ASPECTS if aspect in said)

    @property
    def scales(self) -> Mapping[str, RatingScale]:
        return self.rating_scales

    @property
    def licence(self) -> str:
        return self.licence_given or LICENCES.get(self.set_name, "unknown")

    @property
    def digest(self) -> str:
        return self.findings.digest

    def __getitem__(self, index: int) -> Contest:
        check_index(index, len(self))
        row = self.kept[index]
        original, *edits = self.pictures_of(row)
        id = self.labels.ids[row]
        case = Case(
            id, original, self.labels.instruction(row), self.labels.edit_type(row), self.originals[row]
        )
        ids, editors, ratings = self.labels.edit_ids[row], self.labels.editors(row), self.labels.ratings[row]
        candidates = tuple(
            Candidate(
                ids[place], picture, editors[place], {name: some[place] for name, some in ratings.items()}
            )
            for place, picture in enumerate(edits)
        )
        return Contest(case, candidates, self.labels.rankings[row], self.name)

    def original_of(self, index: int) -> str:
        check_index(index, len(self))
        return self.originals[self.kept[index]]

    @property
    def problems(self) -> Sequence[Problem]:
        """The rows that can't be used, or contradict themselves or others."""
        return self.left_out

    def counts(self) -> Mapping[str, int]:
        contested = sum(len(ids) for ids in (self.findings.contradictory or {}).values())
        unused = len(self.left_out) - (0 if self.keep_repeats else contested)
        return {
            "rows": len(self.table),
            "said twice, counted once": len(self.findings.repeated),
            "contradict others": contested,
            "can't be used, or contradict themselves": unused,
        }

    def pictures_of(self, row: int) -> list[TablePicture]:
        """The original and the edits of a row of the table."""
        columns = self.columns
        cells: list[tuple[str, int | None]] = [(name, None) for name in columns.edits]
        if len(cells) == 1:
            cells = [(cells[0][0], place) for place in range(len(self.labels.edit_ids[row]))]
        return [
            TablePicture(self.table, row, column, item, self.reach)
            for column, item in [(columns.original, None), *cells]
        ]

    def _label(self, row: int, shown: Sequence[str]) -> Label:
        """What a row says, in terms of its pictures (`shown`) and not of their order."""
        original, *names = shown
        told = len(set(names)) == len(names)
        edits = names if told else [f"{name}#{place}" for place, name in enumerate(names)]
        rankings = self.labels.rankings[row]
        aspects = ",".join(each.aspect for each in rankings) if self.columns.dimension else ""
        subject = "|".join((aspects, original, self.labels.instruction(row), *sorted(edits)))
        said = (f"{each.aspect}: {_order(each, edits)}" for each in rankings)
        return Label(self.labels.ids[row], subject, "; ".join(said), aspects)

    def _names(self, row: int) -> list[str]:
        """What tells the pictures of a row apart: their names where the table has them, else their content.

        Raises:
            ValueError: a picture that isn't there, or lies outside of the table's folder.
        """
        pictures = self.pictures_of(row)
        names = []
        for picture, named in zip(pictures, self._named(len(pictures)), strict=True):
            if named is not None and picture.column in self.paths:
                self.reach.file(self.paths[picture.column][row], f"row {row}, column {picture.column!r}")
            names.append(picture.stored().digest()[:16] if named is None else named[row])
        return names

    def _named(self, count: int) -> list[Sequence[str] | None]:
        columns = self._names_by_column
        if len(self.columns.edits) > 1:
            return [columns[name] for name in self.columns.pictures]
        return [columns[self.columns.original], *[None] * (count - 1)]

    @cached_property
    def paths(self) -> dict[str, list[str]]:
        """The files that rows name, by column."""
        return _named_files(self.table, self.columns.pictures)

    @cached_property
    def _names_by_column(self) -> dict[str, Sequence[str] | None]:
        return {name: _picture_names(self.table, name) for name in self.columns.pictures}


def _named_files(table: Any, columns: Sequence[str]) -> dict[str, list[str]]:
    """The columns that name files, with the names."""
    return {
        name: ["" if is_missing(each) else each for each in table[name]]
        for name in columns
        if is_text(table.features[name])
    }


def _picture_names(table: Any, column: str) -> Sequence[str] | None:
    """The names of a column's pictures, in a column beside it or in itself; None if the table has none."""
    for name in (f"{column}{RELATIVE}", column):
        if name in table.column_names and is_text(table.features[name]):
            names = list(table[name])
            return None if any(map(is_missing, names)) else names
    return None


def _order(ranking: Ranking, names: Sequence[str]) -> str:
    """A ranking in terms of names, equal for equal outcomes."""
    tiers = " > ".join("=".join(sorted(names[index] for index in tier)) for tier in ranking.tiers)
    return f"{tiers} (bad)" if ranking.both_bad else tiers


def _contradictions(
    rows: Sequence[int], labels: Sequence[Label], contradictory: Mapping[str, Sequence[str]]
) -> list[Problem]:
    """A problem per row that says the opposite of another one, with what both say."""
    wanted = {id for ids in contradictory.values() for id in ids}
    by_subject: dict[str, list[tuple[int, Label]]] = {}
    for index, label in enumerate(labels):
        if label.id in wanted:
            by_subject.setdefault(label.subject, []).append((index, label))
    return [
        Problem(
            rows[index], label.id, "label", f"{label.id!r} says {label.label}, {other.id!r} {other.label}"
        )
        for group in by_subject.values()
        for (index, label), (_, other) in zip(group, [*group[1:], group[0]], strict=True)
    ]
