"""What rows of a table say of their edits: votes and ratings as rankings, and what is wrong with a row."""

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, final

from src.data.columns import is_missing
from src.data.contest_columns import DIMENSIONS, ContestColumns
from src.data.problems import Problem
from src.data.votes import LETTERS, Tiers, ranking_of_ratings, ranking_of_vote, verdict_of_word
from src.records import Ranking

PLACEHOLDER_ROWS = 20
"""Decided rows from which on two values alone, one for the better edit and one for the worse, are no ratings
but placeholders, as in EditReward's valid_dataset_1.json.
"""


@final
class ContestLabels:
    """The labels of a table, read at once: all but its pictures.

    Attributes:
        usable: rows without a problem.
        ids, edit_ids, rankings, ratings: by row; of rows with a problem they are of no use.
    """

    def __init__(self, table: Any, columns: ContestColumns, rated: bool, where: str) -> None:
        self.columns, self.where, self.rated = columns, where, rated
        small = table.select_columns(list(columns.texts()))
        self.values = {name: list(small[name]) for name in columns.texts()}
        lists = len(columns.edits) == 1
        self.sizes = _numbers_of_pictures(table, columns.edits[0]) if lists else None
        self.ids: list[str] = []
        self.edit_ids: list[tuple[str, ...]] = []
        self.rankings: list[tuple[Ranking, ...]] = []
        self.ratings: list[Mapping[str, tuple[float, ...]]] = []
        self.problems: list[Problem] = []
        self.usable: list[int] = []
        for row in range(len(table)):
            self._read(row)
        if rated:
            check_placeholders(self, where)

    def instruction(self, row: int) -> str:
        """What to do."""
        return str(self.values[self.columns.instruction][row])

    def edit_type(self, row: int) -> str:
        """As the table has it."""
        value = self._value(self.columns.edit_type, row)
        return "" if is_missing(value) else str(value)

    def editors(self, row: int) -> list[str]:
        """The models' names; "" where unknown."""
        names = [self._value(name, row) for name in self.columns.editors]
        return ["" if is_missing(name) else str(name) for name in names] or [""] * len(self.edit_ids[row])

    def _value(self, name: str, row: int) -> Any:
        return self.values[name][row] if name else None

    def _read(self, row: int) -> None:
        """Read a row, or keep why it can't be used."""
        id = f"row {row}"
        rankings: tuple[Ranking, ...] = ()
        edits: tuple[str, ...] = ()
        ratings: Mapping[str, tuple[float, ...]] = {}
        try:
            id, edits = self._identify(row)
            where = f"{self.where}: row {row}" + (f" ({id})" if id != f"row {row}" else "")
            instruction = self._value(self.columns.instruction, row)
            if not isinstance(instruction, str) or not instruction.strip():
                raise ValueError(f"{where} has the instruction {str(instruction)[:40]!r}: a text is needed")
            ratings = self._ratings(row, len(edits), where) if self.rated else {}
            rankings = self._rankings(row, len(edits), ratings, where)
            self.usable.append(row)
        except ValueError as error:
            self.problems.append(Problem(row, id, "label", str(error)))
        self.ids.append(id)
        self.edit_ids.append(edits)
        self.rankings.append(rankings)
        self.ratings.append(ratings)

    def _identify(self, row: int) -> tuple[str, tuple[str, ...]]:
        """The ids of a row and of its edits. Raises ValueError."""
        columns = self.columns
        named = self._value(columns.edit_ids, row)
        if columns.edit_ids:
            where = f"{self.where}: row {row}, column {columns.edit_ids!r}"
            if not isinstance(named, list) or len(named) < 2 or len(set(map(str, named))) < len(named):
                raise ValueError(f"{where} holds {str(named)[:60]!r}: a list of different ids is needed")
            edits = tuple(map(str, named))
            if self.sizes is not None and self.sizes[row] != len(edits):
                raise ValueError(f"{where} names {len(edits)} edits, and the row has {self.sizes[row]}")
            about = self._value(columns.dimension, row) if columns.dimension else ""
            return "/".join(filter(None, (str(about), *sorted(edits)))), edits
        given = self._value(columns.ids[0], row) if columns.ids else None
        id = f"row {row}" if is_missing(given) else str(given)
        count = len(columns.edits) if self.sizes is None else self.sizes[row]
        if not 2 <= count <= len(LETTERS):
            raise ValueError(f"{self.where}: row {row} has {count} edits; 2 to {len(LETTERS)} are compared")
        return id, tuple(f"{id}/{letter}" for letter in LETTERS[:count])

    def _ratings(self, row: int, count: int, where: str) -> dict[str, tuple[float, ...]]:
        """By aspect, of each edit. An aspect whose cells are all empty is left out. Raises ValueError."""
        found = {}
        for aspect, names in self.columns.ratings.items():
            cells = [cell for name in names for cell in _as_list(self._value(name, row))]
            if all(map(is_missing, cells)):
                continue
            least, most = self.columns.scales[aspect][:2]
            for cell in cells:
                if isinstance(cell, bool) or not isinstance(cell, int | float) or not least <= cell <= most:
                    raise ValueError(
                        f"{where}: a rating of {aspect} is {str(cell)[:40]!r}, and its scale is {least:g} to "
                        f"{most:g}; say contests.source.ratings=false to read preferences alone"
                    )
            if len(cells) != count:
                raise ValueError(f"{where} has {len(cells)} ratings of {aspect} for {count} edits")
            found[aspect] = tuple(map(float, cells))
        return found

    def _rankings(
        self, row: int, count: int, ratings: Mapping[str, Sequence[float]], where: str
    ) -> tuple[Ranking, ...]:
        """What a row says of its edits. Raises ValueError for nothing, or for contradicting itself."""
        voted = self._voted(row, count, where)
        found = {aspect: Ranking(aspect, ranking_of_ratings(some)) for aspect, some in ratings.items()}
        if voted is not None:
            rated = found.get(voted.aspect)
            if rated is not None and not _agree(voted.tiers, rated.tiers):
                raise ValueError(
                    f"{where} contradicts itself: the vote is {_letters(voted.tiers)}, and the ratings of "
                    f"{voted.aspect} are {', '.join(f'{each:g}' for each in ratings[voted.aspect])}; say "
                    "contests.source.ratings=false to read the votes alone"
                )
            found[voted.aspect] = voted
        if not found:
            raise ValueError(f"{where} has neither a vote nor ratings")
        return tuple(found.values())

    def _voted(self, row: int, count: int, where: str) -> Ranking | None:
        """The ranking that was voted. Raises ValueError."""
        columns = self.columns
        aspect = columns.aspect
        if columns.dimension:
            said = self._value(columns.dimension, row)
            if said not in DIMENSIONS:
                raise ValueError(
                    f"{where}: {columns.dimension} is {str(said)[:40]!r}, and one of {', '.join(DIMENSIONS)} "
                    "is needed"
                )
            aspect = DIMENSIONS[said]
        if not columns.vote:
            return self._as_they_stand(row, count, aspect, where)
        cell = self._value(columns.vote, row)
        if is_missing(cell):
            return None
        if columns.compared:
            tiers, bad = _of_pair(str(cell), str(self._value(columns.compared, row)), where)
        else:
            tiers, bad = ranking_of_vote(cell, count, f"{where}: {columns.vote}")
        return Ranking(aspect, tiers, bad)

    def _as_they_stand(self, row: int, count: int, aspect: str, where: str) -> Ranking | None:
        """The best first, or all equal."""
        if not self.columns.first_is_better:
            return None
        tie = self._value(self.columns.tied, row)
        if not isinstance(tie, bool) and not is_missing(tie):
            raise ValueError(f"{where}: {self.columns.tied} is {tie!r}, and true or false is needed")
        everything = tuple(range(count))
        return Ranking(aspect, (everything,) if tie else tuple((index,) for index in everything))


def _numbers_of_pictures(table: Any, column: str) -> list[int]:
    """How many pictures each cell of a column of lists holds, without decoding them."""
    chunks: Any = table.with_format("arrow")[:][column].combine_chunks()
    return [count or 0 for count in chunks.value_lengths().to_pylist()]


def _as_list(cell: Any) -> Sequence[Any]:
    """What a cell holds: the ratings of all edits, or that of one."""
    return cell if isinstance(cell, list) else [cell]


def _of_pair(order: str, pair: str, where: str) -> tuple[Tiers, bool]:
    """What a ranking of up to four edits says of the two in a row ("AvsB"). Raises ValueError."""
    letters = re.fullmatch(f"([{LETTERS}])vs([{LETTERS}])", pair)
    if letters is None:
        raise ValueError(f"{where}: the pair is {pair[:40]!r}, and AvsB to CvsD are needed")
    is_word = verdict_of_word(order) is not None
    size = 2 if is_word else max(2, len(set(re.findall(f"[{LETTERS}]", order.upper()))))
    tiers, bad = ranking_of_vote(order, size, where)
    places = _places(tiers)
    two = [LETTERS.index(letter) for letter in letters.groups()]
    if two[0] == two[1] or not set(two) <= set(places):
        raise ValueError(f"{where}: the pair is {pair!r}, and the ranking {order[:40]!r}")
    return ranking_of_ratings([-float(places[index]) for index in two]), bad


def _agree(voted: Tiers, rated: Tiers) -> bool:
    """Whether a vote and ratings can both be meant: a tie of one side contradicts nothing."""
    by_vote, by_rating = _places(voted), _places(rated)
    return all(
        (by_vote[one] - by_vote[other]) * (by_rating[one] - by_rating[other]) >= 0
        for one, other in combinations(by_vote, 2)
    )


def _places(tiers: Tiers) -> dict[int, int]:
    """The place of each edit, from 0."""
    return {index: place for place, tier in enumerate(tiers) for index in tier}


def _letters(tiers: Tiers) -> str:
    """An order for a message: "A > B=C"."""
    return " > ".join("=".join(LETTERS[index] for index in tier) for tier in tiers)


def check_placeholders(labels: ContestLabels, where: str) -> None:
    """Raise ValueError for ratings that are one number for the better edit and another one for the worse."""
    for aspect in labels.columns.ratings:
        seen: dict[bool, set[float]] = {True: set(), False: set()}
        decided = 0
        for row in labels.usable:
            ratings, ranking = labels.ratings[row].get(aspect), labels.rankings[row][-1]
            if ratings is not None and len(ranking.tiers) == len(ratings) == 2:
                decided += 1
                for index, rating in enumerate(ratings):
                    seen[index in ranking.tiers[0]].add(rating)
        if decided >= PLACEHOLDER_ROWS and len(seen[True]) == len(seen[False]) == 1:
            better, worse = seen[True].pop(), seen[False].pop()
            raise ValueError(
                f"{where}: all {decided} decided rows rate {aspect} {better:g} for one edit and {worse:g} "
                "for the other: these are placeholders and no ratings; say contests.source.ratings=false to "
                "read the preferences alone"
            )
