"""Answers made elsewhere: any program's scores and verdicts, and the files that benchmarks' authors publish.

scores=FILE, one row per edit or per contest (.jsonl, .json, .csv, .tsv, also .gz):

    {"id": "EDIT", "score": 3.2}                                    one number
    {"id": "EDIT", "following": 4, "preserving": 3, "quality": 5}   by aspect; semantic, overall as well
    {"id": "CONTEST", "scores": [3.2, 1.5]}                         of all edits of a contest, in its order
    our own reward files                                            from src.annotate or src.evaluate
    {"task", "model", "uid", "SC": {"score": [2, 3]}, "PQ": ...}    VIEScore's answers

verdicts=FILE, one row per pair:

    {"id": "PAIR", "verdict": "A"}         A, B, tie, good, bad, or [[A>B]]; null: no usable answer
    {"id": ..., "order": "reverse", ...}   the second edit was shown first, and is called A
    {"idx", "response", "model_vote"}      GenAI-Bench's replies
    {"idx", "model_votes": {JUDGE: ...}}   several judges at once
    {ID: {"forward": [{"judgement"}], "reverse": [...]}}   MMRB2's judgements

null, an empty cell and NaN are failures, which are counted; a row that says something else than a number or a
verdict is an error, and so is a second row that contradicts the first one.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from src.evaluation.judge_benchmarks.answers import (
    FORWARD,
    REVERSE,
    Answers,
    AspectScores,
    Protocol,
    completed,
)
from src.evaluation.judge_benchmarks.replies import (
    FAILED,
    VerdictName,
    flipped,
    released_verdict,
    spoken_verdict,
    verdict_of_word,
)
from src.evaluation.judge_benchmarks.sources import as_mapping, read_rows
from src.files import digest
from src.records import ASPECTS

Place = Callable[[Mapping[str, Any], str], str | None]
"""(row, where) -> the id that it is about; None for another part of the source. Raises ValueError."""


@final
@dataclass(frozen=True)
class Known:
    """The ids that a benchmark has.

    Attributes:
        edits: of all candidates.
        contests: contest -> its candidates, in order.
        pairs: what verdicts are about.
        aside: rows and edits that don't count.
    """

    edits: frozenset[str]
    contests: Mapping[str, Sequence[str]]
    pairs: frozenset[str]
    aside: frozenset[str] = frozenset()

    def is_aside(self, id: str) -> bool:
        """Whether an id is of a row that doesn't count, or of a pair in one."""
        return id in self.aside or id.rpartition("/")[0] in self.aside


@final
@dataclass
class Gathered:
    """Answers of one judge while a file is read: where each one stands, for messages."""

    said: dict[Any, tuple[Any, str]] = field(default_factory=dict)
    repeated: int = 0

    def add(self, key: Any, value: Any, where: str) -> None:
        """Keep an answer. Raises ValueError for one that contradicts an earlier one."""
        before = self.said.setdefault(key, (value, where))
        if before[1] != where:
            if not same(before[0], value):
                raise ValueError(
                    f"{where} contradicts {before[1]}: two different answers about {shown(key)}; keep one"
                )
            self.repeated += 1


def read_answers(
    path: Path, protocol: Protocol, known: Known, place: Place, reread: bool, name: str | None = None
) -> list[Answers]:
    """The answers of every judge in a file.

    Args:
        path: the file.
        protocol: what it holds.
        known: the benchmark's ids.
        place: where a row belongs.
        reread: read raw replies with our parser, whatever the file says they mean.
        name: of the judge; None: as the file or its rows say.

    Raises:
        FileNotFoundError: no file.
        ValueError: a row that can't be used, or none that can.
    """
    judges: dict[str, Gathered] = {}
    skipped, rows, unread = 0, 0, [0, 0]
    for where, row in read_rows(path):
        rows += 1
        for judge, key, value in _said(as_mapping(row, where), where, protocol, place, reread, known, unread):
            gathered = judges.setdefault(judge, Gathered()) if key is not None else Gathered()
            if key is None:
                skipped += 1
            elif is_reward(row):
                gathered.said[key] = (value, where)  # a retry is appended, and the last line counts
            else:
                gathered.add(key, value, where)
    if not judges:
        detail = f"all {skipped} are about other parts of its source" if skipped else "it holds none"
        raise ValueError(f"{path} has no {protocol} for this benchmark: of {rows} rows, {detail}")
    if name is not None and len(judges) > 1:
        raise ValueError(f"judge_name={name}: {path} holds {len(judges)} judges, {', '.join(judges)}")
    notes = reading_notes(unread, reread)
    return [
        answers_of(name or judge or judge_of(path), protocol, gathered, skipped, path, notes)
        for judge, gathered in judges.items()
    ]


def answers_of(
    judge: str, protocol: Protocol, gathered: Gathered, skipped: int, path: Path, notes: Sequence[str]
) -> Answers:
    """What was gathered, as a record."""
    said = {key: value for key, (value, _) in gathered.said.items()}
    scores, verdicts = (said, {}) if protocol == "scores" else ({}, said)
    return Answers(
        judge, protocol, scores, verdicts, gathered.repeated, skipped, str(path), digest(path), notes
    )


def is_reward(row: Mapping[str, Any]) -> bool:
    """Whether a row is one of our reward files."""
    return "key" in row and isinstance(row.get("following"), dict)


def reading_notes(unread: Sequence[int], reread: bool) -> list[str]:
    """What two ways of reading replies make of them."""
    lost, found = unread
    if not lost:
        return []
    what = f"{lost} replies carry no verdict in the release's form"
    if reread:
        return [f"{what}: {found} of them are read here, the others count as failed"]
    return [f"{what} and count as failed, as there; reread=true reads {found} of them"]


def judge_of(path: Path) -> str:
    """A name out of a file's: gpt4o of replies_gpt4o.jsonl.gz and of gpt4o/pairwise.json."""
    stem = path.name.partition(".")[0]
    stem = path.resolve().parent.name if stem in ("pairwise", "rewards", "scores", "verdicts") else stem
    return stem.removeprefix("replies_").removeprefix("scores_").removeprefix("verdicts_")


def same(one: Any, other: Any) -> bool:
    """Whether two answers say the same; a failure is equal to a failure."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    both_failed = (
        isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    )
    return both_failed or one == other


def shown(key: Any) -> str:
    """An id for a message."""
    return repr(key if isinstance(key, str) else key[0])


def _said(
    row: Mapping[str, Any],
    where: str,
    protocol: Protocol,
    place: Place,
    reread: bool,
    known: Known,
    unread: list[int],
) -> Iterator[tuple[str, Any, Any]]:
    """(judge, key, answer) of a row; the key is None for a row about something else."""
    judge = str(row.get("judge", ""))
    if protocol == "scores":
        id = place(row, where)
        if id is None or known.is_aside(id):
            yield judge, None, None
            return
        for edit, scores in _scores(row, id, where, known):
            yield judge, edit, scores
    elif _is_judgements(row):
        for id, orders in row.items():
            for order, verdict in _judgements(orders, f"{where}, {id}"):
                key = None if known.is_aside(id) else (_known(id, known.pairs, where), order)
                yield judge, key, verdict
    else:
        id = place(row, where)
        order = str(row.get("order", FORWARD))
        if order not in (FORWARD, REVERSE):
            raise ValueError(f"{where}: order is {order!r}, and {FORWARD} or {REVERSE} is needed")
        for name, verdict in _verdicts(row, where, reread, unread):
            counts = id is not None and not known.is_aside(id)
            key = (_known(id, known.pairs, where), order) if id is not None and counts else None
            yield name or judge, key, flipped(verdict) if order == REVERSE else verdict


def _known(id: str, ids: frozenset[str], where: str) -> str:
    if id not in ids:
        some = ", ".join(sorted(ids)[:2])
        raise ValueError(
            f"{where} is about {id!r}, which the benchmark doesn't have; its ids are like {some}"
        )
    return id


def _scores(row: Mapping[str, Any], id: str, where: str, known: Known) -> Iterator[tuple[str, AspectScores]]:
    """The edits that a row scores."""
    several = row.get("scores")
    if isinstance(several, list):
        edits = known.contests.get(id)
        if edits is None or len(edits) != len(several):
            there = "no such contest" if edits is None else f"{len(edits)} edits"
            raise ValueError(f"{where}: {len(several)} scores for {id!r}, and the benchmark has {there}")
        for edit, score in zip(edits, several, strict=True):
            yield edit, {"overall": number(score, where)}
        return
    try:
        scores = completed(_by_aspect(row, where))
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(where) else f"{where}: {error}") from error
    yield _known(id, known.edits, where), scores


def _by_aspect(row: Mapping[str, Any], where: str) -> dict[str, float]:
    if "SC" in row or "PQ" in row:
        return _viescore(row, where)
    named = row["scores"] if isinstance(row.get("scores"), dict) else row
    found = {aspect: number(_plain(named[aspect]), where) for aspect in ASPECTS if aspect in named}
    if "score" in row:
        found.setdefault("overall", number(row["score"], where))
    if not found:
        raise ValueError(f"{where} has no score: give score, or some of {', '.join(ASPECTS)}")
    return found


def _plain(value: Any) -> Any:
    """The number of our own verdicts, or what it is."""
    return value.get("score") if isinstance(value, dict) else value


def _viescore(row: Mapping[str, Any], where: str) -> dict[str, float]:
    """Two questions, each answered with one or two numbers of which the lower counts; a missing answer makes
    the whole edit a failure, as a reward with a failed perspective is one.
    """
    answers = [row.get(name) for name in ("SC", "PQ")]
    numbers = [
        [number(each, where) for each in (score if isinstance(score, list) else [score])]
        for score in map(_plain, answers)
    ]
    if not all(numbers) or any(math.isnan(each) for group in numbers for each in group):
        return dict.fromkeys(ASPECTS, math.nan)
    semantic, quality = numbers
    parts = dict(zip(("following", "preserving"), semantic, strict=True)) if len(semantic) == 2 else {}
    return {**parts, "semantic": min(semantic), "quality": min(quality)}


def number(value: Any, where: str) -> float:
    """A score; NaN for none. Raises ValueError for what is no finite number."""
    if value is None or (isinstance(value, str) and value.strip().lower() in FAILED):
        return math.nan
    try:
        score = math.inf if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        score = math.inf
    if math.isinf(score):
        raise ValueError(
            f"{where}: {str(value)[:60]!r} is no score; give a finite number, or null for a failure"
        )
    return score


def _verdicts(
    row: Mapping[str, Any], where: str, reread: bool, unread: list[int]
) -> Iterator[tuple[str, VerdictName | None]]:
    """(judge or "", verdict) of a row."""
    votes = row.get("model_votes")
    if isinstance(votes, dict):
        for name, vote in votes.items():
            yield str(name), _released(vote, where)
    elif "model_vote" in row or "response" in row:
        yield "", _reply(row, where, reread, unread)
    elif "verdict" in row or "judgement" in row:
        yield "", _worded(row.get("verdict", row.get("judgement")), where)
    else:
        raise ValueError(f"{where} has no verdict, model_vote, model_votes, response or judgement")


def _released(vote: Any, where: str) -> VerdictName | None:
    if vote is not None and not isinstance(vote, str):
        raise ValueError(f"{where}: {str(vote)[:60]!r} is no verdict; give a text or null")
    return released_verdict(vote)


def _reply(row: Mapping[str, Any], where: str, reread: bool, unread: list[int]) -> VerdictName | None:
    reply = row.get("response")
    spoken = spoken_verdict(reply) if isinstance(reply, str) else None
    if "model_vote" not in row:
        return spoken
    released = _released(row["model_vote"], where)
    if released is None and reply is not None:
        unread[0] += 1
        unread[1] += spoken is not None
    return spoken if reread and reply is not None else released


def _worded(value: Any, where: str) -> VerdictName | None:
    if value is None or (isinstance(value, str) and value.strip().lower() in FAILED):
        return None
    verdict = verdict_of_word(value) if isinstance(value, str) else None
    if verdict is None:
        raise ValueError(
            f"{where}: {str(value)[:60]!r} is no verdict; give A, B, tie, good, bad, or null for a failure"
        )
    return verdict


def _is_judgements(row: Mapping[str, Any]) -> bool:
    return bool(row) and all(
        isinstance(value, dict) and {FORWARD, REVERSE} & value.keys() for value in row.values()
    )


def _judgements(orders: Mapping[str, Any], where: str) -> Iterator[tuple[str, VerdictName | None]]:
    """MMRB2's: of each order a list of one judgement, in which A is what was shown first."""
    for order in (FORWARD, REVERSE):
        if order not in orders:
            continue
        found = orders[order]
        if not isinstance(found, list) or len(found) > 1 or not all(isinstance(each, dict) for each in found):
            raise ValueError(
                f"{where}: {order} holds {str(found)[:60]!r}, and a list of one judgement is needed"
            )
        verdict = _worded(found[0].get("judgement"), where) if found else None
        yield order, flipped(verdict) if order == REVERSE else verdict
