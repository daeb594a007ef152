"""The card of a trained reward model: what it learnt from, what it tells apart, and how well on held-out
contests.
"""

from collections.abc import Iterator, Sequence

from src.data.contest_data import ContestData
from src.evaluation.statistics import clustered_interval
from src.records import PERSPECTIVES
from src.reward_models.calibration import Calibration
from src.reward_models.fitting import HeldOut, accuracies, coverage, probabilities, ratings_of


def card_of(
    seen: HeldOut,
    calibration: Calibration,
    identified: Sequence[str],
    data: ContestData,
    steps: int,
    note: str = "",
) -> str:
    """The card as Markdown; `note` says how the model was chosen, if it was."""
    lines = [
        "# Reward model",
        "",
        f"Trained for {steps} steps on {len(data.dataset)} contests by `python -m src.train_reward_model`.",
        "",
        "```bash",
        "python -m src.annotate data=... judge=reward_model judge.model.path=THIS_FOLDER",
        "```",
        "",
        "| source | contests' labels | licence | digest |",
        "|---|---|---|---|",
        *(
            f"| {source.name} | {', '.join(source.aspects)} | {source.licence} | {source.digest[:16]} |"
            for source in data.sources
        ),
        "",
        _told_apart(identified),
        "",
        "## Held-out contests",
        "",
        f"{len(set(seen.originals.tolist()))} originals, digest {seen.digest[:16]}. Intervals are of 95 % "
        "over originals; ties of people are left out, a tie of the model is an error.",
        *([note] if note else []),
        "",
        "| pairs compared by | right | interval | pairs |",
        "|---|---|---|---|",
        *_accuracy_lines(seen),
        "",
        *_probability_lines(seen, calibration),
        "",
        *_coverage_lines(seen, calibration),
        "",
        *bound_lines(calibration),
    ]
    return "\n".join(lines).rstrip() + "\n"


def bound_lines(calibration: Calibration) -> list[str]:
    """A line per aspect whose scores say little."""
    reasons = {aspect: each.at_bound for aspect, each in calibration.scores.items()}
    return [f"Scores of {aspect}: {reason}." for aspect, reason in reasons.items() if reason is not None]


def _told_apart(identified: Sequence[str]) -> str:
    lacking = [each.value for each in PERSPECTIVES if each.value not in identified]
    said = f"Its labels identify: {', '.join(identified)}."
    return f"{said} Not told apart: {', '.join(lacking)}." if lacking else said


def _accuracy_lines(seen: HeldOut) -> Iterator[str]:
    for aspect, right, clusters in accuracies(seen):
        found = clustered_interval(right.astype(float), clusters)
        interval = "-" if found is None else f"{max(0.0, found.low):.3f} to {min(1.0, found.high):.3f}"
        yield f"| {aspect} | {right.mean():.3f} | {interval} | {len(right)} |"


def _probability_lines(seen: HeldOut, calibration: Calibration) -> Iterator[str]:
    differences = seen.differences()[~seen.compared.tie]
    if not len(differences):
        return
    yield f"| temperature | -log P | Brier | calibration error | pairs ({len(differences)}) |"
    yield "|---|---|---|---|---|"
    for name, temperature in (("before", 1.0), ("fitted", calibration.temperature)):
        each = probabilities(differences, temperature)
        figures = f"{each.log_loss:.3f} | {each.brier:.3f} | {each.calibration_error:.3f}"
        yield f"| {temperature:.3f} | {figures} | {name} |"


def _coverage_lines(seen: HeldOut, calibration: Calibration) -> Iterator[str]:
    rows = []
    for perspective in (each.value for each in PERSPECTIVES):
        utility, value, deviation = ratings_of(seen, perspective)
        if deviation is None or not len(value):
            continue
        factor = calibration.factors.get(perspective, 1.0)
        before, after = (coverage(utility, value, deviation, each) for each in (1.0, factor))
        rows.append(f"| {perspective} | {before:.3f} | {after:.3f} | {factor:.3f} | {len(value)} |")
    if rows:
        yield "| 90 % band holds | before | with factor | factor | ratings |"
        yield "|---|---|---|---|---|"
        yield from rows
