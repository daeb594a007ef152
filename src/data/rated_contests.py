"""Contests out of edits that a judge rated one by one: several edits of one original and instruction in a
dataset, or the candidates of a best-of-N run.

    python -m src.train_reward_model contests=rated contests.source.rows.table.path=DIR \
      contests.source.rewards.path=annotations/rewards.jsonl
    python -m src.train_reward_model contests=best_of_n \
      contests.source.folder=runs/a/evaluation/synthetic_edit/5-5-5+None contests.source.judge=oracle

Scores are ratings, and their order is a ranking, in each perspective. An edit without a usable reward is left
out, and a case with fewer than two edits left is no contest.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from src.batching import batches_of
from src.data.contests import ContestSource, RatingScale
from src.data.kept_cases import FOLDER, KeptCase, kept_cases
from src.data.problems import Problem
from src.data.reach import Reach
from src.data.rewards import Rewards, WithRewards, from_reward_file
from src.data.rows import DatasetRow, EncodedImage, RowSource, check_index
from src.data.votes import ranking_of_ratings
from src.records import MAX_SCORE, PERSPECTIVES, Candidate, Case, Contest, Ranking, Reward

MOST_EDITS = 8
"""In a contest; more edits of one case become several contests."""

OWN_FILES = "an evaluation writes its pictures into its own folder: evaluate again"


@final
@dataclass(frozen=True, eq=False)
class ScoredEdit:
    """An edit with its three scores.

    Attributes:
        id: of the edit.
        picture: encoded.
        scores: following, preserving, quality.
    """

    id: str
    picture: EncodedImage
    scores: tuple[float, ...]


@final
class RatedContests(ContestSource):
    """Edits of one original and instruction in a dataset of rated edits, MOST_EDITS at most in a contest.

    Args:
        rows: of a dataset on disk.
        rewards: joined by id; None for the rows' own.
        step: scores are compared as multiples of it, so that nearly equal ones are ties; 0: as they are.
        name, licence: of the source, for the card.

    Raises:
        ValueError: no two rated edits of one original and instruction.
    """

    def __init__(
        self,
        rows: RowSource,
        rewards: Rewards | None = None,
        step: float | int = 0.0,
        name: str = "rated",
        licence: str = "unknown",
    ) -> None:
        self.rated = WithRewards(rows, rewards)
        self.step, self.own_name, self.own_licence = check_step(step), name, licence
        self.left_out: list[Problem] = []
        self.groups = [group for found in self._grouped().values() for group in self._parts(found)]
        if not self.groups:
            raise ValueError(
                f"no two of {len(self.rated)} rated rows are edits of one original with one instruction, so "
                "nothing is compared: give a dataset with several edits of each (contests.source.rows)"
            )

    def _grouped(self) -> dict[str, list[int]]:
        """Indices of rows by original and instruction."""
        found: dict[str, list[int]] = {}
        for index in range(0 if self.rated.is_unrated else len(self.rated)):
            row = self.rated.row(index)
            if row.answer is None:
                found.setdefault(f"{original_name(row)}|{row.instruction}", []).append(index)
        return found

    def _parts(self, indices: Sequence[int]) -> Iterator[list[int]]:
        """Groups of two to MOST_EDITS rows, of an edit that stands several times the first one."""
        if len(indices) > 1:
            for part in batches_of(self._different(indices), MOST_EDITS):
                if len(part) > 1:
                    yield part

    def _different(self, indices: Sequence[int]) -> list[int]:
        by_picture: dict[str, list[int]] = {}
        for index in indices:
            by_picture.setdefault(self.rated.row(index).edited.digest(), []).append(index)
        kept = []
        for same in by_picture.values():
            scores = {scores_of(self.rated.reward_of(index)) for index in same}
            if len(scores) == 1:
                kept.append(same[0])
            else:
                self.left_out += [
                    Problem(index, self.rated.id_of(index), "label", self._said_otherwise(index, same))
                    for index in same
                ]
        return kept

    def _said_otherwise(self, index: int, same: Sequence[int]) -> str:
        said = [f"{self.rated.id_of(each)!r} {scores_of(self.rated.reward_of(each))}" for each in same]
        return f"{self.rated.id_of(index)!r} is one picture that is rated differently: {', '.join(said)}"

    @property
    def name(self) -> str:
        return self.own_name

    @property
    def problems(self) -> Sequence[Problem]:
        """Edits that are rated twice, differently."""
        return self.left_out

    def counts(self) -> Mapping[str, int]:
        compared = sum(map(len, self.groups))
        alone = len(self.rated) - compared
        return {**self.rated.counts(), "compared": compared, "not compared": alone}

    @property
    def aspects(self) -> Sequence[str]:
        return [each.value for each in PERSPECTIVES]

    @property
    def scales(self) -> Mapping[str, RatingScale]:
        return score_scales()

    @property
    def licence(self) -> str:
        return self.own_licence

    @property
    def digest(self) -> str:
        everything = (index for group in self.groups for index in group)
        return digest_of_scores(
            (self.rated.id_of(index), scores_of(self.rated.reward_of(index))) for index in everything
        )

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Contest:
        check_index(index, len(self))
        rows = [self.rated.row(each) for each in self.groups[index]]
        first = rows[0]
        case = Case(first.id, first.original, first.instruction, first.edit_type, original_name(first))
        edits = [ScoredEdit(row.id, row.edited, scores_of(row.reward)) for row in rows]
        return contest_of_scores(case, edits, self.step, self.name)

    def original_of(self, index: int) -> str:
        check_index(index, len(self))
        return original_name(self.rated.row(self.groups[index][0]))


@final
class BestOfContests(ContestSource):
    """The candidates of a best-of-N evaluation with a judge's scores.

    Originals are those that the evaluation kept for its page: at most 256 pixels wide, and lossy.

    Args:
        folder: of the row, `<run>/evaluation/<benchmark>/<generation>`; `candidates` lies in it.
        judge: whose scores, by the name of its folder.
        step: see RatedContests.
        licence: for the card.

    Raises:
        FileNotFoundError: no candidates, or no cases beside the row.
        ValueError: no case of which two candidates are judged.
    """

    def __init__(self, folder: str, judge: str, step: float | int = 0.0, licence: str = "unknown") -> None:
        self.folder, self.judge, self.step = Path(folder), judge, check_step(step)
        self.own_licence = licence
        self.cases = {case.id: case for case in kept_cases(self.folder.parent)}
        self.candidates = candidate_rewards(self.folder, judge)
        self.found = {case: edits for case in sorted(self.cases) if len(edits := self._edits(case)) > 1}
        self.ids = list(self.found)
        if not self.ids:
            raise ValueError(
                f"{folder}: of none of {len(self.cases)} cases are two candidates judged by {judge}; "
                "evaluate with best_of=8 and this judge as selector first"
            )

    def _edits(self, case: str) -> list[tuple[int, Reward]]:
        """The candidates of a case that have a score in each perspective."""
        rewards = [(number, rewards.by_id.get(case)) for number, rewards in self.candidates.items()]
        return [(number, each) for number, each in rewards if each is not None and not each.failed]

    @property
    def name(self) -> str:
        return f"best_of_n by {self.judge}"

    @property
    def problems(self) -> Sequence[Problem]:
        return ()

    def counts(self) -> Mapping[str, int]:
        used = sum(map(len, self.found.values()))
        whole = len(self.cases) * len(self.candidates)
        return {"candidates": whole, "not judged, or failed": whole - used}

    @property
    def aspects(self) -> Sequence[str]:
        return [each.value for each in PERSPECTIVES]

    @property
    def scales(self) -> Mapping[str, RatingScale]:
        return score_scales()

    @property
    def licence(self) -> str:
        return self.own_licence

    @property
    def digest(self) -> str:
        return digest_of_scores(
            (f"{case}#{number}", scores_of(reward))
            for case, edits in self.found.items()
            for number, reward in edits
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Contest:
        check_index(index, len(self))
        id = self.ids[index]
        edits = [
            ScoredEdit(f"{id}#{number}", self._picture(id, number), scores_of(reward))
            for number, reward in self.found[id]
        ]
        return contest_of_scores(self._case(self.cases[id]), edits, self.step, self.name)

    def original_of(self, index: int) -> str:
        check_index(index, len(self))
        return self.cases[self.ids[index]].photograph

    def _case(self, kept: KeptCase) -> Case:
        reach = Reach(self.folder.parent / FOLDER, remedy=OWN_FILES)
        original = EncodedImage(str(reach.file(kept.original, f"case {kept.id!r}")))
        return Case(kept.id, original, kept.instruction, kept.edit_type, kept.photograph)

    def _picture(self, case: str, number: int) -> EncodedImage:
        reach = Reach(candidate_folder(self.folder, number) / "edits", remedy=OWN_FILES)
        return EncodedImage(str(reach.file(f"{case}.png", f"case {case!r}")))


def candidate_folder(folder: Path, number: int) -> Path:
    """Of a candidate; number 0 is the row itself."""
    return folder if number == 0 else folder / "candidates" / str(number)


def candidate_rewards(folder: Path, judge: str) -> dict[int, Rewards]:
    """A judge's rewards by candidate. Raises FileNotFoundError if there are none."""
    numbers = sorted(int(path.name) for path in folder.glob("candidates/*") if path.name.isdecimal())
    files = {number: candidate_folder(folder, number) / judge / "rewards.jsonl" for number in (0, *numbers)}
    there = {number: from_reward_file(file) for number, file in files.items() if file.is_file()}
    if len(there) < 2:
        judges = sorted({path.parent.name for path in folder.glob("candidates/*/*/rewards.jsonl")})
        raise FileNotFoundError(
            f"{folder} holds {len(numbers)} candidates besides the row itself, and rewards by {judge!r} of "
            f"{len(there)}; judges there: {', '.join(judges) or 'none'}. Give the folder of a row that was "
            "evaluated with best_of=N, and one of its judges"
        )
    return there


def contest_of_scores(case: Case, edits: Sequence[ScoredEdit], step: float, source: str) -> Contest:
    """A contest with a ranking per perspective; scores that are equal, in steps, are ties."""
    rankings = []
    for place, perspective in enumerate(PERSPECTIVES):
        levels = [each.scores[place] for each in edits]
        levels = [float(round(level / step)) for level in levels] if step else levels
        rankings.append(Ranking(perspective.value, ranking_of_ratings(levels)))
    names = [each.value for each in PERSPECTIVES]
    candidates = tuple(
        Candidate(each.id, each.picture, "", dict(zip(names, each.scores, strict=True))) for each in edits
    )
    return Contest(case, candidates, tuple(rankings), source)


def scores_of(reward: Reward | None) -> tuple[float, ...]:
    """The three scores of a usable reward."""
    assert reward is not None
    return tuple(float(verdict.score or 0.0) for verdict in reward.verdicts)


def score_scales() -> dict[str, RatingScale]:
    """Of a judge's scores: any number from 0 to 5."""
    return {each.value: RatingScale(0.0, MAX_SCORE, 0.0) for each in PERSPECTIVES}


def original_name(row: DatasetRow) -> str:
    """Names a row's original, by its content where the dataset doesn't."""
    return row.photograph or row.original.digest()[:16]


def digest_of_scores(scored: Iterator[tuple[str, tuple[float, ...]]]) -> str:
    """sha256 over ids and scores."""
    lines = sorted(f"{id}\t{scores!r}" for id, scores in scored)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def check_step(step: float | int) -> float:
    """Raise ValueError for a step that isn't one of a scale of 0 to 5."""
    if not 0.0 <= step <= MAX_SCORE:
        raise ValueError(f"contests.source.step={step}: from 0 to {MAX_SCORE:g}, in points")
    return float(step)
