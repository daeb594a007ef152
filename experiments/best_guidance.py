"""Prints the scale of text guidance whose validation report has the best mean of the three perspectives.

    python experiments/best_guidance.py RUN/guidance

Reads RUN/guidance/<scale>/evaluation/synthetic_validation/oracle/report.json.
"""

import json
import sys
from pathlib import Path

PERSPECTIVES = ("following", "preserving", "quality")


def mean_score(report: Path) -> float:
    """The mean score of the first row over the three perspectives, in [0, 5]."""
    row = json.loads(report.read_text())["rows"][0]
    return sum(row[perspective]["score"] for perspective in PERSPECTIVES) / len(PERSPECTIVES)


if __name__ == "__main__":
    reports = {
        path.parents[3].name: mean_score(path)
        for path in Path(sys.argv[1]).glob("*/evaluation/synthetic_validation/oracle/report.json")
    }
    if not reports:
        sys.exit(f"error: no validation reports below {sys.argv[1]}")
    print(max(reports, key=lambda scale: (reports[scale], scale)))
