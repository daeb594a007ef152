"""What a judge of one's own learns from: questions about edits and the answers that another judge gave, out
of its ledger, as far as human or exact labels agree with them.

A ledger keeps what was asked by digests alone, so each question is built again from its row by the rubric
that judges with it, and looked up by its key: the words and pictures learnt from are those judged by.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import final

from src.data.all_rows import Shard, all_rows, decode_with_files
from src.data.dataset import RewardedTriplets
from src.data.rows import DatasetRow
from src.judges.ledger import Ledger
from src.judges.parsing import UnusableReply
from src.judges.question import Answer, AnswerSchema, Question
from src.judges.rubric import Rubric
from src.progress import with_progress
from src.records import MAX_SCORE, PERSPECTIVES, Reward

ASPECTS_OF = {"semantic_consistency": (0, 1), "perceptual_quality": (2,)} | {
    perspective.value: (index,) for index, perspective in enumerate(PERSPECTIVES)
}
"""Which perspectives a question's scores are about, by what it is about."""

UNANSWERED, REPAIRED, UNLABELLED = "no readable answer", "answer needed repair", "no label"
APART, UNORDERED, MANY = "answer far from the label", "answers order a pair otherwise", "enough of its score"


@final
@dataclass(frozen=True)
class Lesson:
    """One question with the answer to learn.

    Attributes:
        row: index in the dataset.
        place: of the question among those of the rubric.
        about: what is asked.
        answer: as the judge shall write it.
        points: scores in [0, 5].
        label: of the same perspectives; None where there is no label.
        case: rows that share it are edits of one original by one instruction.
    """

    row: int
    place: int
    about: str
    answer: str
    points: tuple[float, ...]
    label: tuple[float, ...] | None = None
    case: tuple[str, str] = ("", "")


@final
@dataclass(frozen=True)
class LessonFilter:
    """Which answers are good enough to be learnt.

    Attributes:
        within: most points between answer and label; None for any.
        ordered: leave out answers to two edits of one case that order them otherwise than their labels (a tie
            of the answers is otherwise), as RationalRewards does with explanations.
        relabelled: write the label, rounded to the answer's scale, in place of the answer's own score.
        most_per_score: at most so many lessons of one question with one score, the first ones.

    Raises:
        ValueError: a number that is not possible.
    """

    within: float | int | None = None
    ordered: bool = False
    relabelled: bool = False
    most_per_score: int | None = None

    def __post_init__(self) -> None:
        if self.within is not None and not 0 <= self.within <= MAX_SCORE:
            raise ValueError(f"keep.within={self.within}: points between 0 and {MAX_SCORE:g}")
        if self.most_per_score is not None and self.most_per_score < 1:
            raise ValueError(f"keep.most_per_score={self.most_per_score}: at least 1")

    @property
    def needs_labels(self) -> bool:
        """Whether it compares answers with labels."""
        return self.within is not None or self.ordered or self.relabelled


@final
@dataclass(frozen=True)
class Lessons:
    """All of them.

    Attributes:
        lessons: in the order of the dataset.
        asked: questions of the rows.
        left_out: why others are none, with numbers.
    """

    lessons: Sequence[Lesson]
    asked: int
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """In a line."""
        out = ", ".join(f"{number} {reason}" for reason, number in self.left_out.items()) or "none left out"
        return f"{len(self.lessons)} answers of {self.asked} questions; {out}"


def answer_text(answer: Answer, schema: AnswerSchema) -> str:
    """An answer as a judge writes it: JSON in the order of the schema, scores without needless digits."""
    scores = [_shortest(score) for score in answer.scores]
    fields: dict[str, object] = {schema.text: answer.text}
    if schema.success is not None:
        fields[schema.success] = "yes" if answer.success else "no"
    fields[schema.score] = scores[0] if schema.count == 1 else scores
    return json.dumps(fields, ensure_ascii=False)


def _shortest(score: float) -> float | int:
    return int(score) if float(score).is_integer() else score


def find_lessons(
    dataset: RewardedTriplets,
    rubric: Rubric,
    ledger: Ledger,
    labels: Mapping[str, Reward] | None,
    keep: LessonFilter,
) -> Lessons:
    """The answers in a ledger to the rubric's questions about a dataset's rows, as far as they are kept.

    Raises:
        ValueError: the ledger answers none of the questions, or no answer is kept.
    """
    clients = sorted({str(attempt["respondent"]) for attempt in ledger.attempts()})
    found: list[Lesson] = []
    left_out: Counter[str] = Counter()
    asked = known = 0
    rows = with_progress(([row] for row in _usable(dataset)), len(dataset), "answers of the ledger", "rows")
    for ((index, row),) in rows:
        questions = rubric.questions(decode_with_files(row))
        asked += len(questions)
        label = None if labels is None else _scores(labels.get(row.id))
        for place, question in enumerate(questions):
            answer = _answer(question, rubric, ledger, clients)
            known += answer is not None
            lesson = _lesson(index, row, place, question, answer, label, keep)
            if isinstance(lesson, str):
                left_out[lesson] += 1
            else:
                found.append(lesson)
    if not known:
        raise ValueError(
            f"{ledger.path} answers none of the {asked} questions about {len(dataset)} rows: it was asked "
            "about other rows, or with another judge.rubric (prompts, judge_mode, max_pixels); its answers "
            f"are by {', '.join(clients)[:200] or 'nobody'}"
        )
    kept = list(_at_most(_ordered(found, left_out) if keep.ordered else found, keep, left_out))
    lessons = Lessons(kept, asked, dict(left_out))
    if not kept:
        raise ValueError(f"no answer is left to learn from: {lessons}; keep more (keep.within, keep.ordered)")
    return lessons


def _usable(dataset: RewardedTriplets) -> Iterator[tuple[int, DatasetRow]]:
    for index, row in enumerate(all_rows(dataset, Shard())):
        if isinstance(row, DatasetRow):
            yield index, row


def _answer(
    question: Question, rubric: Rubric, ledger: Ledger, clients: Sequence[str]
) -> Answer | str | None:
    """The first readable answer of a client; why there is none, or None for a question never asked."""
    reason = None
    for client in clients:
        for again in (0, 1):
            reply = ledger.reply(replace(question, again=again).key(client))
            if reply is None:
                continue
            try:
                return rubric.read(question, reply)
            except UnusableReply:
                reason = UNANSWERED
    return reason


def _scores(reward: Reward | None) -> tuple[float, ...] | None:
    if reward is None or reward.failed:
        return None
    return tuple(verdict.score or 0.0 for verdict in reward.verdicts)


def _lesson(
    index: int,
    row: DatasetRow,
    place: int,
    question: Question,
    answer: Answer | str | None,
    label: tuple[float, ...] | None,
    keep: LessonFilter,
) -> Lesson | str:
    """A lesson, or why it is none."""
    if not isinstance(answer, Answer):
        return answer or UNANSWERED
    if answer.repaired:
        return REPAIRED
    schema, aspects = question.schema, ASPECTS_OF[question.about]
    known = None if label is None else tuple(label[aspect] for aspect in aspects)
    points = _points(answer, schema, len(aspects))
    if keep.needs_labels and known is None:
        return UNLABELLED
    if known is not None and keep.within is not None and _distance(points, known) > keep.within:
        return APART
    if known is not None and keep.relabelled:
        answer, points = _relabelled(answer, schema, known), known
    case = (row.photograph or row.id, row.instruction)
    return Lesson(index, place, question.about, answer_text(answer, schema), points, known, case)


def _distance(points: tuple[float, ...], label: tuple[float, ...]) -> float:
    return max(abs(one - other) for one, other in zip(points, label, strict=True))


def _points(answer: Answer, schema: AnswerSchema, aspects: int) -> tuple[float, ...]:
    """Scores in points, one per perspective: the worst of several scores of one perspective."""
    scale = MAX_SCORE / schema.max_score
    scores = tuple(score * scale for score in answer.scores)
    return scores if aspects == len(scores) else (min(scores),)


def _relabelled(answer: Answer, schema: AnswerSchema, label: tuple[float, ...]) -> Answer:
    """The answer with the label's scores. Raises ValueError where one label stands for several scores."""
    if len(label) != schema.count:
        raise ValueError(
            f"keep.relabelled=true: the rubric asks for {schema.count} scores where there is one label; "
            "leave it out, or use judge=local_vlm"
        )
    return replace(answer, scores=tuple(float(round(each * schema.max_score / MAX_SCORE)) for each in label))


def _ordered(lessons: Sequence[Lesson], left_out: Counter[str]) -> list[Lesson]:
    """The lessons without those of pairs that are ordered otherwise than their labels."""
    groups: dict[tuple[str, tuple[str, str]], list[int]] = {}
    for number, lesson in enumerate(lessons):
        groups.setdefault((lesson.about, lesson.case), []).append(number)
    wrong: set[int] = set()
    for group in groups.values():
        for one, other in combinations(group, 2):
            if _is_contrary(lessons[one], lessons[other]):
                wrong |= {one, other}
    left_out[UNORDERED] += len(wrong)
    return [lesson for number, lesson in enumerate(lessons) if number not in wrong]


def _is_contrary(one: Lesson, other: Lesson) -> bool:
    assert one.label is not None
    assert other.label is not None
    pairs = zip(one.points, other.points, one.label, other.label, strict=True)
    return any((a - b) * (c - d) <= 0 for a, b, c, d in pairs if c != d)


def _at_most(lessons: Sequence[Lesson], keep: LessonFilter, left_out: Counter[str]) -> Iterator[Lesson]:
    counted: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for lesson in lessons:
        key = (lesson.about, tuple(round(each) for each in lesson.points))
        counted[key] += 1
        if keep.most_per_score is not None and counted[key] > keep.most_per_score:
            left_out[MANY] += 1
        else:
            yield lesson


def open_ledger(path: Path) -> Ledger:
    """A ledger that exists. Raises FileNotFoundError, ValueError for a file that is none."""
    if not path.is_file():
        raise FileNotFoundError(f"no ledger {path}: give the ledger.sqlite of an annotation (ledger=)")
    return Ledger(path)
