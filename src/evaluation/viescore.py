"""VIEScore's two numbers of an edit, as GEdit-Bench and OmniContext count them: how their published code
reads a reply, and what it does with one that it can't read.

A reply is the JSON between its first "{" and its last "}", or a list of numbers, or one number. Of several
scores the lowest counts. What can't be read is asked once more and then becomes one whole number from 0 to 10
drawn at random; here it is drawn by the case's id, so that a report can be repeated. Source: VIEScore (Ku et
al. 2024), the code of stepfun-ai/Step1X-Edit and VectorSpaceLab/OmniGen2, read on 2026-12-01.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from src.evaluation.case_images import abbreviate
from src.judges.question import Heard
from src.seeds import fold_seed

HIGHEST = 10
LIST = re.compile(r"\[\d+, ?\d+\]")


def released_scores(text: str) -> list[float] | None:
    """The scores of a reply as the released code reads them; None where it can't."""
    start, end = text.find("{"), text.rfind("}") + 1
    if start < 0 or end == 0:
        start, end = text.find("["), text.rfind("]") + 1
        if LIST.fullmatch(text[start:end]):
            return [float(each) for each in json.loads(text[start:end])]
        return _numbers(text.strip()) if text.strip().isdecimal() and int(text) <= HIGHEST else None
    try:
        fields: Any = json.loads(text[start:end].replace("\n", ""))
    except ValueError:
        return None
    given = fields.get("score") if isinstance(fields, dict) else None
    return _numbers(given)


def _numbers(given: Any) -> list[float] | None:
    values = given if isinstance(given, list) else [given]
    try:
        return [float(value) for value in values] or None
    except (TypeError, ValueError):
        return None


def released_score(heard: Heard, id: str) -> tuple[float, bool]:
    """The lowest score of the first reply that can be read, and whether it was drawn at random."""
    for reply in heard.replies:
        scores = released_scores(reply.text)
        if scores is not None:
            return min(scores), False
    return float(fold_seed("guess", id, heard.about) % (HIGHEST + 1)), True


def root_of(semantic: float, other: float) -> float:
    """The geometric mean of two scores."""
    return math.sqrt(semantic * other)


ScoredRow = tuple[tuple[str, ...], str, Mapping[str, float]]
"""The parts that an edit belongs to, its task and its scores."""


def released_means(rows: Sequence[ScoredRow]) -> dict[str, float]:
    """Means per part, measure and task, and of these means; tasks without a row are left out."""
    found = {}
    for part in dict.fromkeys(part for parts, *_ in rows for part in parts):
        own = [(task, scores) for parts, task, scores in rows if part in parts]
        for measure in dict.fromkeys(name for _, scores in own for name in scores):
            tasks = {
                task: float(np.mean([scores[measure] for each, scores in own if each == task]))
                for task in dict.fromkeys(task for task, _ in own)
            }
            found[f"{part}/{measure}"] = float(np.mean(list(tasks.values())))
            found |= {f"{part}/{measure}/{task}": mean for task, mean in tasks.items()}
    return found


def released_notes(guessed: int, dropped: Sequence[str]) -> tuple[str, ...]:
    """What the released code did with replies that it could not read, and with edits without any."""
    notes = []
    if guessed:
        notes.append(f"{guessed} replies could not be read and count as numbers drawn at random (official)")
    if dropped:
        notes.append(f"{len(dropped)} edits without a reply were left out ({abbreviate(dropped)}; official)")
    return tuple(notes)
