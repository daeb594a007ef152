"""The raw rewards of a results page, NAME.rewards.jsonl.gz beside NAME.md, and the page's figures from them.

    python -m experiments.raw_rewards experiments/results/table4.rewards.jsonl.gz

prints claims, gates, numbers and differences as the page has them. experiments/dossier.py writes the file; it
is committed with its page, and a test compares the two. One line of JSON says which page it is, then follows
one line per row and training: ids, photographs and the three scores of every case (null where the judge
failed), and the shares of success, which are not kept case by case.
"""

import argparse
import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments.evidence import QUESTIONS, Entry, Evidence
from src.evaluation.judging import JudgedCase
from src.evaluation.report import Report, ReportRow, report_row
from src.files import replacing
from src.launch import script
from src.records import Reward, Verdict
from src.tabulation.cells import averaged_cases
from src.tabulation.layouts import Place
from src.tabulation.paper_tables import OurLine
from src.tabulation.runs import RunReport, RunRow

ENDING = ".rewards.jsonl.gz"


def write_rewards(path: Path, question: str, evidence: Evidence) -> None:
    """Writes the raw rewards of a page, atomically and the same bytes each time.

    Args:
        path: ends in ENDING.
        question: its key in QUESTIONS.
        evidence: of the page.
    """
    report = evidence.lines[0].rows[0].report.report
    lines: list[dict[str, object]] = [
        {
            "question": question,
            "benchmark": report.benchmark,
            "judge": report.judge,
            "fingerprint": report.fingerprint,
        }
    ]
    for entry in evidence.entries:
        for row in entry.rows:
            lines.append(
                {
                    "row": entry.name,
                    "control": entry.control,
                    "seed": row.seeds[0],
                    "acc": [summary.acc for summary in row.row.means.summaries],
                    "ids": [case.id for case in row.row.cases],
                    "photographs": [case.photograph for case in row.row.cases],
                    "scores": [case.scores for case in row.row.cases],
                }
            )
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    with replacing(path) as partial:
        partial.write_bytes(gzip.compress(content, mtime=0))


def read_evidence(path: Path) -> Evidence:
    """The evidence of a page from its raw rewards; settings of runs are not in it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is malformed.
    """
    try:
        first, *lines = map(json.loads, gzip.decompress(path.read_bytes()).decode().splitlines())
        question = QUESTIONS[first["question"]]
        entries: dict[str, list[RunRow]] = {}
        controls = {line["row"]: bool(line["control"]) for line in lines}
        for line in lines:
            row = _row(line)
            report = Report(first["benchmark"], first["judge"], first["fingerprint"], (row,))
            found = RunReport(path.parent, path.parent, report, {}, {})
            entries.setdefault(line["row"], []).append(RunRow(found, row, {"seed": line["seed"]}))
    except (ValueError, KeyError, TypeError, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(
            f"{path} does not hold the raw rewards of a page ({type(error).__name__}: {error}); write the "
            "page again with experiments.dossier"
        ) from error
    own = [
        OurLine(Place(name, ()), name, "", tuple(rows))
        for name, rows in entries.items()
        if not controls[name]
    ]
    made = tuple(
        Entry(name, tuple(rows), controls[name], averaged_cases(rows)) for name, rows in entries.items()
    )
    return Evidence(question, tuple(own), made, (), ())


def _row(line: dict) -> ReportRow:
    judged = []
    for id, photograph, scores in zip(line["ids"], line["photographs"], line["scores"], strict=True):
        verdicts = [Verdict(None, status="failed") if score is None else Verdict(score) for score in scores]
        judged.append(JudgedCase(id, "", photograph, Reward(id, "", "", *verdicts)))
    row = report_row(line["row"], judged, {})
    following, preserving, quality = (
        replace(summary, acc=acc) for summary, acc in zip(row.means.summaries, line["acc"], strict=True)
    )
    return replace(row, means=replace(row.means, following=following, preserving=preserving, quality=quality))


def main(arguments: Sequence[str]) -> None:
    """Prints the figures of a page."""
    from experiments.dossier import figures_of

    parser = argparse.ArgumentParser(
        prog="python -m experiments.raw_rewards", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("rewards", type=Path, help=f"NAME{ENDING}")
    print("\n".join(figures_of(read_evidence(parser.parse_args(arguments).rewards))))


if __name__ == "__main__":
    script(main)
