"""GenAI-Bench, image editing: 919 votes on pairs of edits by nine editors, in four classes.

    python -m src.evaluate_judge judge_benchmark=genai_bench judge_benchmark.path=DIR verdicts=FILE
    python -m src.evaluate_judge judge_benchmark=genai_bench judge=editscore

The path is the hub's dataset (with pictures); a folder or file of `votes.jsonl` ({idx, instruct_prompt,
human_vote}), or of the release's `pairwise.json`, whose rows hold the votes as well; a saved table; or
EditReward's JSON of pairs ({prompt, path_src, path1, path2, model1_dim1_score}), in which ties are of one
kind.

Published: the share of votes whose class is named exactly, an unreadable reply being wrong ("four_classes").
45 % of the votes are ties, so a judge of scores gets 45 % for saying nothing once a tie width is fitted
("three_classes/with_ties", which EditReward's table has in the same column as four classes); only "decided"
votes compare with it. Ids are the rows' `idx`, else their numbers from 0. Votes on one photograph and
instruction form a cluster. Source: Jiang et al., "GenAI Arena", NeurIPS 2024
(github.com/TIGER-AI-Lab/GenAI-Bench).
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

from src.data.labelled_rows import LabelledRow, RowFindings, settle, text_of
from src.data.table_picture import TablePicture
from src.evaluation.judge_benchmarks.answers import Answers, Protocol
from src.evaluation.judge_benchmarks.benchmark import JudgeBenchmark, edits_in
from src.evaluation.judge_benchmarks.metric import Fact, JudgeMetric, MeasureOptions
from src.evaluation.judge_benchmarks.pairs import MetricSource
from src.evaluation.judge_benchmarks.sources import as_mapping, is_table, local_place, open_rows, read_rows
from src.evaluation.judge_benchmarks.stored_pictures import picture_in
from src.evaluation.judge_benchmarks.voted import VOTES, VotedPair, converted_vote, vote_metrics
from src.records import Candidate, Case, Contest

FILES = ("votes.jsonl", "pairwise.jsonl", "pairwise.json", "valid_set2_full.json", "valid_dataset_1.json")
PICTURES = ("source_image", "left_output_image", "right_output_image")
REMEDY = "give judge_benchmark.path=TIGER-Lab/GenAI-Bench, or judge_benchmark.pictures=DIR"


@final
class GenAIBench(JudgeBenchmark):
    """Votes in the order of their ids.

    Args:
        path: see the module.
        split: of the hub's dataset.
        config: of the hub's dataset.
        pictures: a folder in which pictures lie under the names that the rows give.
        keep_repeats: count every row as it stands.
    """

    def __init__(
        self,
        path: str,
        split: str = "test_v1",
        config: str | None = "image_edition",
        pictures: str | None = None,
        keep_repeats: bool = False,
    ) -> None:
        self.path, self.split, self.config = path, split, config
        self.pictures = None if pictures is None else Path(pictures)
        self.keep_repeats = keep_repeats

    @property
    def name(self) -> str:
        """See JudgeBenchmark."""
        return "genai_bench"

    @property
    def protocols(self) -> Sequence[Protocol]:
        """Both."""
        return ("verdicts", "scores")

    def contests(self) -> Sequence[Contest]:
        """Votes as contests of `<id>/A` and `<id>/B`."""
        return self._read[0]

    def edits(self) -> Sequence[tuple[Case, Candidate]]:
        """Those of the contests."""
        return edits_in(self.contests())

    def findings(self) -> RowFindings:
        """See JudgeBenchmark."""
        return self._read[1]

    def pairs(self) -> Sequence[str]:
        """The votes."""
        return [contest.case.id for contest in self.contests()]

    def answer_id(self, row: Mapping[str, Any], where: str) -> str | None:
        """Its idx or id."""
        return text_of(row, "idx" if "idx" in row else "id", where)

    def metrics(self, answers: Answers, options: MeasureOptions) -> list[JudgeMetric]:
        """Exact classes or tie widths, then the decided votes."""
        asked = MetricSource(self.name, answers.protocol, options)
        contested = self.findings().contested()
        return vote_metrics(asked, self.contests(), contested, answers, self._read[2])

    def unasked(self, answers: Answers) -> Sequence[str]:
        """None: what is missing is a failure."""
        return ()

    def facts(self) -> Sequence[Fact]:
        """None beyond those of judges."""
        return ()

    @cached_property
    def _read(self) -> tuple[list[Contest], RowFindings, bool]:
        file = None if is_table(self.path) else votes_file(self.path)
        if file is None:
            rows, told = table_rows(self.path, self.split, self.config), True
        else:
            rows, told = file_rows(file, self.pictures)
        labelled = [labelled_vote(pair, subject, self.name) for pair, subject in rows]
        return *settle(labelled, self.keep_repeats), told


def votes_file(path: str) -> Path:
    """The file of votes at a path. Raises FileNotFoundError."""
    place = local_place(path, FILES, f"a folder with {FILES[0]} or {FILES[2]}")
    if place.is_file():
        return place
    names = [f"{name}{packed}" for name in FILES for packed in ("", ".gz")]
    found = next((place / name for name in names if (place / name).is_file()), None)
    if found is None:
        raise FileNotFoundError(f"{place} holds none of {', '.join(FILES)}; give judge_benchmark.path=FILE")
    return found


def file_rows(file: Path, pictures: Path | None) -> tuple[list[tuple[VotedPair, str]], bool]:
    """The votes of a file with what they compare, and whether they tell two kinds of ties apart."""
    rows = [(where, as_mapping(row, where)) for where, row in read_rows(file)]
    converted = bool(rows) and "path1" in rows[0][1]
    read = converted_row if converted else vote_row
    return [read(row, where, number, pictures) for number, (where, row) in enumerate(rows)], not converted


def vote_row(row: Mapping[str, Any], where: str, number: int, pictures: Path | None) -> tuple[VotedPair, str]:
    """A row of votes.jsonl or pairwise.json. Raises ValueError."""
    vote = row.get("human_vote", row.get("vote_type"))
    if vote not in VOTES:
        raise ValueError(
            f"{where}: human_vote is {str(vote)[:60]!r}, and one of {', '.join(VOTES)} is needed"
        )
    id = text_of(row, "idx", where) if "idx" in row else str(number)
    names = [str(row.get(name) or "") for name in ("source_image", "left_image", "right_image")]
    instruction = text_of(row, "instruct_prompt", where)
    photograph = str(row.get("source_prompt") or names[0] or instruction)
    pair = VotedPair(
        id,
        instruction,
        f"{photograph}|{instruction}",
        VOTES[vote],
        tuple(picture_in(pictures, name, REMEDY) for name in names),  # pyright: ignore[reportArgumentType]
        (str(row.get("left_model") or ""), str(row.get("right_model") or "")),
    )
    return pair, content_of(instruction, names) if all(names) else f"row {id}"


def converted_row(
    row: Mapping[str, Any], where: str, number: int, pictures: Path | None
) -> tuple[VotedPair, str]:
    """A row of EditReward's JSON of pairs. Raises ValueError."""
    names = [text_of(row, name, where) for name in ("path_src", "path1", "path2")]
    instruction = text_of(row, "prompt", where)
    pair = VotedPair(
        str(number),
        instruction,
        f"{instruction}|{instruction}",
        converted_vote(row, where),
        tuple(picture_in(pictures, name, REMEDY) for name in names),  # pyright: ignore[reportArgumentType]
        (str(row.get("model1") or ""), str(row.get("model2") or "")),
    )
    return pair, content_of(instruction, names)


def table_rows(path: str, split: str, config: str | None) -> list[tuple[VotedPair, str]]:
    """The votes of a table with pictures. Raises ValueError."""
    table = open_rows(path, split, config, PICTURES, ("instruct_prompt", "vote_type"))
    rows = []
    for number, row in enumerate(table.remove_columns(list(PICTURES))):
        where = f"row {number} of {path}"
        source, left, right = (TablePicture(table, number, column) for column in PICTURES)
        pictures = (source, left, right)
        names = [hashlib.sha256(picture.stored().read()).hexdigest() for picture in pictures]
        # the prompts name the case in every copy of the set
        labels = {**row, "source_image": names[0], "left_image": names[1], "right_image": names[2]}
        pair, subject = vote_row(labels, where, number, None)
        rows.append(
            (
                VotedPair(pair.id, pair.instruction, pair.photograph, pair.vote, pictures, pair.editors),
                subject,
            )
        )
    return rows


def content_of(instruction: str, names: Sequence[str]) -> str:
    """What is compared, whichever edit comes first."""
    return "|".join((instruction, names[0], *sorted(names[1:])))


def labelled_vote(pair: VotedPair, subject: str, source: str) -> LabelledRow:
    """A vote in terms of what is compared: of one content, the same edit is better whatever the order."""
    contest = pair.contest(source)
    label: str = pair.vote
    if "|" in subject and label in ("first", "second"):
        edits = [content_name(picture) for picture in pair.pictures[1:]]
        label = f"better: {edits[0 if label == 'first' else 1]}"
    return LabelledRow(contest, subject, label)


def content_name(picture: Any) -> str:
    """What names a picture in `subject`."""
    if isinstance(picture, TablePicture):
        return hashlib.sha256(picture.stored().read()).hexdigest()
    return str(getattr(picture, "name", None) or Path(picture.where).name)
