"""Some rows of a dataset, named by their ids: `data.only=selection.jsonl`, as `python -m src.curate` writes
it.

A line is an object with an `id`; one with `"kept": false` is not among them. Pictures are not copied.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final, runtime_checkable

from src.data.dataset import Example, RewardedTriplets
from src.data.examples import KnowsExamples, first_rows
from src.data.rewards import first_ids
from src.data.rows import DatasetRow, RowSource, check_index
from src.data.transforms import Transform
from src.json_files import parse_json
from src.records import Reward, Triplet

REMEDY = "give the selection of these rows, or the dataset that it was made of"


@final
@dataclass(frozen=True)
class SelectedLine:
    """A row as a selection names it.

    Attributes:
        id: of the row.
        kept: whether it is among the selected.
        reason: why it is, or is not, in words; "" where nothing is said.
        utility: by which it was chosen; None where there is none.
    """

    id: str
    kept: bool = True
    reason: str = ""
    utility: float | None = None


def selected_lines(path: str | Path) -> Iterator[SelectedLine]:
    """The lines of a selection, without holding the file in memory.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that names no row, with its number.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no selection {path}; python -m src.curate writes a selection.jsonl")
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _selected(parse_json(line, f"{path}:{number}"), f"{path}:{number}")


def _selected(value: object, where: str) -> SelectedLine:
    fields = value if isinstance(value, dict) else {}
    id, kept, utility = fields.get("id"), fields.get("kept", True), fields.get("utility")
    is_known = utility is None or (isinstance(utility, int | float) and not isinstance(utility, bool))
    if not isinstance(id, str) or not isinstance(kept, bool) or not is_known:
        raise ValueError(
            f"{where} is {str(value)[:60]!r}: an object with the id of a row (a text), and kept (true or "
            "false) if others are listed, is needed"
        )
    return SelectedLine(id, kept, str(fields.get("reason", "")), None if utility is None else float(utility))


def kept_ids(path: str | Path) -> frozenset[str]:
    """The ids that a selection keeps.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that names no row, an id that stands twice, or none is kept.
    """
    found: set[str] = set()
    for line in selected_lines(path):
        if line.kept and line.id in found:
            raise ValueError(f"{path} names {line.id!r} twice: a row is selected once")
        if line.kept:
            found.add(line.id)
    if not found:
        raise ValueError(f"{path} keeps no row: select some, or leave out data.only")
    return frozenset(found)


def check_all_there(path: str | Path, ids: frozenset[str], there: Iterable[str]) -> None:
    """Raise ValueError, with ids of both, for a selected id that the dataset lacks."""
    known: list[str] = []
    left = set(ids)
    for id in there:
        left.discard(id)
        known = [*known, id] if len(known) < len("abc") else known
    if left:
        raise ValueError(
            f"{len(left)} of the {len(ids)} ids that {path} keeps belong to no row of the dataset: "
            f"{first_ids(sorted(left))}; its rows are {first_ids(known)}; {REMEDY}"
        )


@runtime_checkable
class KnowsIds(Protocol):
    """Triplets made on the fly whose ids are known without making them."""

    def id_of(self, index: int) -> str:
        """The id alone."""
        ...


def only(dataset: RewardedTriplets, path: str | Path) -> RewardedTriplets:
    """The selected rows of a dataset, in its order.

    Raises:
        FileNotFoundError: no such selection.
        ValueError: it names a row that isn't there, or what `kept_ids` raises.
    """
    ids, there = kept_ids(path), [_id(dataset, index) for index in range(len(dataset))]
    check_all_there(path, ids, there)
    indices = [index for index, id in enumerate(there) if id in ids]
    return OnlyRows(dataset, indices) if isinstance(dataset, RowSource) else OnlyTriplets(dataset, indices)


def _id(dataset: RewardedTriplets, index: int) -> str:
    """The id of a row; its place if it can't be read, as no selection names it then."""
    if not isinstance(dataset, KnowsIds):
        return dataset[index][0].case.id
    try:
        return dataset.id_of(index)
    except (ValueError, FileNotFoundError):
        return f"row {index}"


@final
class OnlyRows(RowSource):
    """Some rows of a dataset on disk.

    Args:
        rows: all of them.
        indices: of those that are served.
    """

    def __init__(self, rows: RowSource, indices: Sequence[int]) -> None:
        self.rows, self.indices = rows, indices

    def __len__(self) -> int:
        return len(self.indices)

    def row(self, index: int) -> DatasetRow:
        check_index(index, len(self))
        return self.rows.row(self.indices[index])

    def id_of(self, index: int) -> str:
        return self.rows.id_of(self.indices[index])

    def reward_of(self, index: int) -> Reward | None:
        return self.rows.reward_of(self.indices[index])

    def files(self, index: int) -> Sequence[Path]:
        return self.rows.files(self.indices[index])

    def counts(self) -> Mapping[str, int]:
        return {**self.rows.counts(), "rows not selected (data.only)": len(self.rows) - len(self)}

    def examples(self, transform: Transform | None, count: int) -> Sequence[Example]:
        """Those of the whole dataset where it holds some out, else the first selected rows."""
        if isinstance(self.rows, KnowsExamples):
            return self.rows.examples(transform, count)
        return first_rows(self, transform, count)


@final
class OnlyTriplets:
    """Some triplets of a dataset that is made on the fly. Implements `RewardedTriplets`.

    Args:
        dataset: all of them.
        indices: of those that are served.
    """

    def __init__(self, dataset: RewardedTriplets, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Triplet, Reward | None]:
        check_index(index, len(self))
        return self.dataset[self.indices[index]]

    def id_of(self, index: int) -> str:
        """The id alone."""
        return _id(self.dataset, self.indices[index])

    def examples(self, transform: Transform | None, count: int) -> Sequence[Example]:
        """Those of the whole dataset where it holds some out, else the first selected triplets."""
        if isinstance(self.dataset, KnowsExamples):
            return self.dataset.examples(transform, count)
        return first_rows(self, transform, count)
