"""Which columns of a table of compared edits hold what: of the published sets, found by their names, or as
the user says.

| set | label | becomes |
|---|---|---|
| TIGER-Lab/EditReward-Data | vote_type, overall score 2..8 | overall |
| | instruction_following_score 1..4: carried out, and nothing else touched | semantic |
| | quality_aesthetic_score 1..4 | quality |
| EditReward's training JSON (path1 is the better one, or tie_case) | the same, `model1_dim1_score` ... | |
| EditScore/EditReward-Bench (the first of output_images is the better one) | prompt_following | following |
| | consistency | preserving |
| | overall | overall |
| TIGER-Lab/EditReward-Bench | ranking of two to four edits, by pairs | overall |
| TIGER-Lab/GenAI-Bench | vote_type | overall |

"Semantic" is following and preserving in one number: it can't say which of the two failed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, final

from src.data.contests import RatingScale
from src.records import ASPECTS


@final
@dataclass(frozen=True)
class ContestColumns:
    """The columns of a table of compared edits.

    Attributes:
        original, instruction: of the case.
        edits: a column per edit, or one that holds lists of edits.
        editors: names of the models, a column per edit; none where unknown.
        ratings: aspect -> a column per edit.
        scales: aspect -> its ratings' least and most, and the step between levels (1 unless given).
        vote: a word or an order, see votes.py; "" where there is none.
        first_is_better: the edits of each row stand in their order, the best first.
        tied: in that case, a column that is true for rows in which all are equal.
        aspect: what was voted by, one of ASPECTS.
        dimension: a column that says what was voted by instead, in words of DIMENSIONS.
        compared: where each row shows two edits of a larger ranking, the column that says which ("AvsB").
        edit_ids: a column of lists of the edits' ids.
        ids: columns of the row's id, of which the first that exists is taken.
        edit_type: "" for none.
    """

    original: str
    instruction: str
    edits: tuple[str, ...]
    editors: tuple[str, ...] = ()
    ratings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scales: Mapping[str, tuple[float | int, ...]] = field(default_factory=dict)
    vote: str = ""
    first_is_better: bool = False
    tied: str = ""
    aspect: str = "overall"
    dimension: str = ""
    compared: str = ""
    edit_ids: str = ""
    ids: tuple[str, ...] = ()
    edit_type: str = ""

    @property
    def pictures(self) -> tuple[str, ...]:
        """The columns of pictures."""
        return self.original, *self.edits

    @property
    def rating_scales(self) -> dict[str, RatingScale]:
        """The scales of the ratings that are there. Raises ValueError for numbers that make none."""
        return {aspect: RatingScale(*map(float, self.scales[aspect])) for aspect in self.ratings}

    @property
    def aspects(self) -> tuple[str, ...]:
        """What its labels are of, without looking at the rows."""
        voted = (self.aspect,) if self.vote or self.first_is_better else ()
        return tuple(aspect for aspect in ASPECTS if aspect in (*voted, *self.ratings))

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns without which a table isn't of this kind."""
        marks = (self.vote, self.dimension, self.compared, self.edit_ids)
        return (*self.pictures, self.instruction, *filter(None, marks))

    def there(self, names: Sequence[str]) -> "ContestColumns":
        """These columns as far as a table has them."""
        return replace(
            self,
            editors=self.editors if set(self.editors) <= set(names) else (),
            ratings={aspect: some for aspect, some in self.ratings.items() if set(some) <= set(names)},
            tied=self.tied if self.tied in names else "",
            ids=next(((name,) for name in self.ids if name in names), ()),
            edit_type=self.edit_type if self.edit_type in names else "",
        )

    def texts(self) -> tuple[str, ...]:
        """The columns that are read at once: all but pictures."""
        rated = [name for some in self.ratings.values() for name in some]
        marks = (self.instruction, self.vote, self.tied, self.dimension, self.compared, self.edit_ids)
        return tuple(dict.fromkeys(filter(None, (*marks, *self.editors, *rated, *self.ids, self.edit_type))))


DIMENSIONS = {
    "prompt_following": "following",
    "consistency": "preserving",
    "perceptual_quality": "quality",
    "overall": "overall",
} | {aspect: aspect for aspect in ASPECTS}
"""What sets call aspects."""

EDITREWARD_SCALES: Mapping[str, tuple[float | int, ...]] = {
    "semantic": (1, 4, 0),
    "quality": (1, 4, 0),
    "overall": (2, 8, 0),
}
"""Step 0: several people's ratings may have been averaged."""

LICENCES: Mapping[str, str] = {
    "TIGER-Lab/EditReward-Data": "CC-BY-NC-4.0",
    "EditReward's training JSON": "CC-BY-NC-4.0",
    "EditScore/EditReward-Bench": "Apache-2.0",
    "TIGER-Lab/EditReward-Bench": "Apache-2.0",
    "TIGER-Lab/GenAI-Bench": "MIT",
}
"""As the sets' cards say; of a table of the user's own, the user says."""


PUBLISHED: Mapping[str, ContestColumns] = {
    "TIGER-Lab/EditReward-Data": ContestColumns(
        "source_img",
        "instruction",
        ("left_output_image", "right_output_image"),
        ("left_model", "right_model"),
        {
            "semantic": ("left_instruction_following_score", "right_instruction_following_score"),
            "quality": ("left_quality_aesthetic_score", "right_quality_aesthetic_score"),
            "overall": ("left_overall_score", "right_overall_score"),
        },
        EDITREWARD_SCALES,
        vote="vote_type",
        ids=("unique_key", "key"),
        edit_type="category",
    ),
    "EditReward's training JSON": ContestColumns(
        "path_src",
        "prompt",
        ("path1", "path2"),
        ("model1", "model2"),
        {
            "semantic": ("model1_dim1_score", "model2_dim1_score"),
            "quality": ("model1_dim2_score", "model2_dim2_score"),
            "overall": ("model1_overall_score", "model2_overall_score"),
        },
        EDITREWARD_SCALES,
        first_is_better=True,
        tied="tie_case",
    ),
    "EditScore/EditReward-Bench": ContestColumns(
        "input_image",
        "instruction",
        ("output_images",),
        first_is_better=True,
        dimension="dimension",
        edit_ids="key",
        edit_type="task_type",
    ),
    "TIGER-Lab/EditReward-Bench": ContestColumns(
        "source_image",
        "instruction",
        ("candidate_1", "candidate_2"),
        ("model_1", "model_2"),
        vote="ranking",
        compared="comparison_type",
    ),
    "TIGER-Lab/GenAI-Bench": ContestColumns(
        "source_image",
        "instruct_prompt",
        ("left_output_image", "right_output_image"),
        ("left_model", "right_model"),
        vote="vote_type",
        ids=("idx",),
    ),
}
"""By name of the set."""

SETTING = "contests.source.columns"

REQUIRED = ("original", "instruction", "edits")
ENTRIES = tuple(each.name for each in fields(ContestColumns))


def contest_columns(names: Sequence[str], given: Mapping[str, Any], where: str) -> tuple[str, ContestColumns]:
    """The name of the set, "" for one of the user's own, and its columns as far as the table has them.

    Args:
        names: the table's columns.
        given: what the user says of them, see ContestColumns; nothing: one of PUBLISHED.
        where: the table, for messages.

    Raises:
        ValueError: none of the published sets, or columns that aren't there.
    """
    if not given:
        found = [name for name, known in PUBLISHED.items() if set(known.needed) <= set(names)]
        if not found:
            raise ValueError(
                f"{where} has the columns {', '.join(names)}, and those of none of {', '.join(PUBLISHED)}: "
                "say which are meant with contests.source.columns.original=NAME, .instruction=NAME, "
                ".edits=[NAME,NAME], and .vote=NAME or .ratings"
            )
        return found[0], PUBLISHED[found[0]].there(names)
    columns = _columns_given(given, where)
    rated = [name for some in columns.ratings.values() for name in some]
    wanted = (*columns.needed, *columns.editors, *rated, *columns.ids, columns.tied, columns.edit_type)
    missing = [name for name in dict.fromkeys(filter(None, wanted)) if name not in names]
    if missing:
        raise ValueError(
            f"{where} has no column {', '.join(missing)}, but {', '.join(names)}: correct {SETTING}"
        )
    return "", columns


def _columns_given(given: Mapping[str, Any], where: str) -> ContestColumns:
    """The user's columns. Raises ValueError for what isn't a description of any."""
    unknown = sorted(set(given) - set(ENTRIES))
    lacking = [name for name in REQUIRED if not given.get(name)]
    if unknown or lacking:
        wrong = f"no entry {unknown[0]!r}" if unknown else f"none for the {lacking[0]}"
        raise ValueError(f"{where}: {SETTING} has {wrong}; its entries are {', '.join(ENTRIES)}")
    values = {name: _plain(value) for name, value in given.items() if value is not None}
    columns = ContestColumns(**values)
    count = None if len(columns.edits) == 1 else len(columns.edits)
    uneven = [some for some in (columns.editors, *columns.ratings.values()) if some and len(some) != count]
    if uneven and count is not None:
        raise ValueError(
            f"{where}: contests.source.columns has {len(uneven[0])} columns {', '.join(uneven[0])} for "
            f"{count} edits; give one per edit, in their order"
        )
    _check_aspects(columns, where)
    return columns


def _check_aspects(columns: ContestColumns, where: str) -> None:
    """Raise ValueError unless the labels are of known aspects, and ratings have a scale."""
    unknown = [each for each in (columns.aspect, *columns.ratings) if each not in ASPECTS]
    unscaled = [aspect for aspect in columns.ratings if aspect not in columns.scales]
    if unknown:
        raise ValueError(f"{where}: the aspect {unknown[0]!r} is none of {', '.join(ASPECTS)}")
    if unscaled:
        raise ValueError(
            f"{where}: {SETTING}.ratings has {unscaled[0]}, and scales doesn't: give its least and "
            f"most rating, {SETTING}.scales.{unscaled[0]}=[1,4]"
        )
    if not (columns.vote or columns.first_is_better or columns.ratings):
        raise ValueError(
            f"{where}: {SETTING} has no vote, no ratings and not first_is_better, so nothing says "
            "which edit is better: give one of them"
        )


def _plain(value: Any) -> Any:
    """Lists, as yaml gives them, become tuples, also in a mapping."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
