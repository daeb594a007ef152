"""Writes a dossier from result files: claim, verdict, command, hours, table with intervals and controls,
figure. No number is copied by hand.

    python -m experiments.dossier table4_reward_signal runs/table4 --controls runs/controls -o table4.md
    python -m experiments.dossier table5_integration runs/table5 --controls runs/controls -o table5.md
    python -m experiments.dossier table6_inference_score runs/table4 -o table6.md
    python -m experiments.dossier never_all_good runs/never_all_good -o never_all_good.md
    python -m experiments.dossier retraining runs/re/curated runs/re/references -o retraining.md

A folder is a run or holds runs, including links to runs of other sweeps. Beside the .md are written NAME.png
(the table as a figure), NAME_curves.png (validation scores against steps) and NAME.rewards.jsonl.gz (the raw
rewards, from which experiments/raw_rewards.py makes the page's figures again: commit it with the page). The
rule of the verdicts is in experiments/evidence.py.
"""

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import evidence_figures
from experiments.evidence import (
    CONVERGED,
    MARGIN,
    QUESTIONS,
    START,
    Claim,
    Decision,
    Entry,
    Evidence,
    decisions,
    differences,
    gather,
    papers_differences,
    share_of_attainable,
    shares_by_following,
    without_reward,
)
from experiments.raw_rewards import ENDING, write_rewards
from src.evaluation.comparison import Comparison
from src.evaluation.report import IDEAL_ROWS, LAST_ROWS, markdown_table
from src.evaluation.strength import (
    COMMON,
    MATCHED_HEADER,
    Arm,
    averaged,
    matched,
    matched_cells,
    read_arms,
)
from src.files import write_atomically
from src.launch import script
from src.records import PERSPECTIVES
from src.tabulation.cells import judged_columns, judged_values, paired_trainings, with_best
from src.tabulation.markdown import markdown_tables
from src.tabulation.paper_tables import interleave_published, notes_on, published_lines, published_note
from src.tabulation.runs import RunRow
from src.tabulation.table import LEVEL, Line, Table, Value

PERSPECTIVE_NAMES = tuple(perspective.value for perspective in PERSPECTIVES)


def table_of(evidence: Evidence) -> Table:
    """All entries with means, intervals and spreads over seeds; the paper's lines beside those of the same
    name.
    """
    question, columns = evidence.question, judged_columns()
    own = [entry for entry in evidence.entries if not entry.control]
    values = with_best([judged_values(entry.rows) for entry in own], columns)
    lines = [_line(entry, each) for entry, each in zip(own, values, strict=True)]
    report = evidence.lines[0].rows[0].report
    notes = notes_on(question.layout, evidence.lines, report)
    if question.published:
        theirs = [
            Line(line.name, (line.name,), line.values, line.source, published=True)
            for line in published_lines(question.layout, columns)
        ]
        lines = interleave_published(lines, theirs)
        notes.append(published_note(question.layout, report))
    lines += [_line(entry, judged_values(entry.rows)) for entry in evidence.entries if entry.control]
    if any(entry.name == LAST_ROWS[1] for entry in evidence.entries):
        notes.append(
            "Training triplets: other cases, of the photographs that training sees, with the flaws they are"
            " trained with."
        )
    return Table("dossier", "Numbers", ("Row",), columns, tuple(lines), tuple(notes))


def _line(entry: Entry, values: Sequence[Value]) -> Line:
    seeds = len(entry.rows)
    kind = "reference" if entry.name in LAST_ROWS else "control" if entry.control else "ours"
    return Line(entry.name, (entry.name,), tuple(values), kind if seeds == 1 else f"{kind}, {seeds} seeds")


def differences_part(evidence: Evidence) -> list[str]:
    """The section that compares every entry with the reference line."""
    found = differences(evidence)
    if not found:
        return []
    photographs = evidence.lines[0].rows[0].row.means.clusters
    least = min(1.0, len(PERSPECTIVES) * 2 / 2**photographs)
    header = [
        "row",
        "n",
        *(
            f"{name[0].upper()} {what}"
            for name in PERSPECTIVE_NAMES
            for what in ("difference", "p", "detectable")
        ),
        "overall difference",
    ]
    lines = []
    for entry, compared, overall in found:
        sizes = str(compared[0].n) if compared[0].paired else f"{compared[0].n} / {compared[0].n_against}"
        cells = [entry.name if compared[0].paired else f"{entry.name} (unpaired)", sizes]
        for each in compared:
            cells += [
                spread_cell(each),
                p_cell(each.p_holm),
                "-" if each.detectable is None else f"{each.detectable:.2f}",
            ]
        lines.append([*cells, spread_cell(overall)])
    once = [entry.name for entry in evidence.entries if entry.one_training]
    return [
        f"## Against {evidence.question.reference}\n",
        markdown_table(header, lines),
        (
            "Difference of the mean scores on the same cases, each averaged over seeds first, with its 95 %"
            " interval over photographs and, where there are several, seeds (errors combined after Welch and"
            " Satterthwaite); after ± the standard deviation of the difference over seeds. p: sign flips of"
            " whole photographs and, with several seeds, Student's t on the combined error; the larger of the"
            f" two, after Holm over the three perspectives; of {photographs} photographs none is below"
            f" {least:.4f}. Detectable: the smallest true difference that this test finds in 8 of 10 tries at"
            " the 5 % level after Holm (simulated). Overall: of sqrt(min(F, P) Q), not tested.\n"
        ),
        *(
            [f"For this one training, as its spread over seeds is not known: {', '.join(once)}.\n"]
            if once
            else []
        ),
    ]


def shares_part(evidence: Evidence) -> list[str]:
    """The section that splits the differences of the main claims by their outcome in following."""
    parts = []
    for claim in evidence.question.claims:
        line, other = evidence.entry(claim.line), evidence.entry(claim.against)
        shares = (
            shares_by_following(line, other) if claim.main and line is not None and other is not None else ()
        )
        if not shares:
            continue
        header = [
            claim.words,
            "share",
            *(f"{name[0].upper()} {what}" for name in PERSPECTIVE_NAMES for what in ("mean", "part")),
        ]
        lines = []
        for each in shares:
            cells = [
                signed(number)
                for mean_and_part in zip(each.means, each.parts, strict=True)
                for number in mean_and_part
            ]
            lines.append([each.name, f"{100 * each.share:.0f} %", *cells])
        parts.append(markdown_table(header, lines))
    if not parts:
        return []
    note = (
        "Mean: difference of the scores in these cases; part: what they add to the whole difference, share"
        " times mean. An edit that is executed can fail to be clean, a photograph left as it is cannot. Cases"
        " are sorted by an outcome, so this says where a difference lies, not why.\n"
    )
    return ["## Where the difference lies\n", *parts, note]


def signed(number: float | None) -> str:
    """For example +0.67."""
    return "-" if number is None else f"{number:+.2f}"


def difference_cell(comparison: Comparison) -> str:
    """For example +0.67 [+0.55, +0.78]."""
    if comparison.difference is None:
        return "-"
    interval = (
        "" if comparison.ci95 is None else f" [{comparison.ci95.low:+.2f}, {comparison.ci95.high:+.2f}]"
    )
    return f"{comparison.difference:+.2f}{interval}"


def spread_cell(comparison: Comparison) -> str:
    """For example +0.67 [+0.55, +0.78] ± 0.02."""
    spread = "" if comparison.deviation is None else f" ± {comparison.deviation:.2f}"
    return f"{difference_cell(comparison)}{spread}"


def p_cell(p: float | None) -> str:
    """For example 0.0234."""
    return "-" if p is None else "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def decision_cell(verdict: Decision) -> str:
    """For example confirmed: +0.67 [+0.55, +0.78], p 0.0234."""
    p = "" if verdict.comparison.p_holm is None else f", p {p_cell(verdict.comparison.p_holm)}"
    why = f" ({verdict.why})" if verdict.why else ""
    once = ", for this one training" if verdict.one_training else ""
    return f"**{verdict.word}**: {difference_cell(verdict.comparison)}{p}{once}{why}"


def headline(evidence: Evidence) -> list[str]:
    """One sentence per main claim, perspective by perspective."""
    said = []
    for claim in evidence.question.claims:
        if not claim.main:
            continue
        found = decisions(evidence, claim)
        if found is None:
            said.append(f"{claim.words}: not run.")
            continue
        each = "; ".join(
            f"{name} {decision_cell(verdict)}" for name, verdict in zip(PERSPECTIVE_NAMES, found, strict=True)
        )
        said.append(f"{claim.words}: {each}.")
    return said


def claims_part(evidence: Evidence) -> list[str]:
    """The section of all claims: decided where the lines were run, else listed."""
    lines, left = [], []
    for claim in evidence.question.claims:
        found = decisions(evidence, claim)
        if found is None:
            left.append(claim)
        else:
            lines.append([claim.words, *(decision_cell(verdict) for verdict in found)])
    rule = (
        f"Confirmed or contrary: p below {LEVEL:g}, over photographs and (where there are several) seeds, and"
        " the same sign in every seed. Not confirmed: neither,"
        f" and the interval leaves no room for the paper's difference (for {MARGIN:g} where the paper has"
        " none). Undecided: neither, but there is room for it. That a control is *not* above is confirmed"
        f" where there is no room for {MARGIN:g}. Void: a gate fails, and nothing is decided.\n"
    )
    return [
        "## Claim by claim\n",
        markdown_table(("claim", *PERSPECTIVE_NAMES), lines),
        rule,
        *_not_run(left),
    ]


def gates_part(evidence: Evidence) -> list[str]:
    """The section of what must hold before a verdict is given, and of the share of what could be attained."""
    header = (
        "perspective",
        "exact edits less no reward",
        "needed",
        "no reward",
        IDEAL_ROWS[0],
        "verdict",
    )
    lines = []
    for name, each in zip(PERSPECTIVE_NAMES, evidence.gates, strict=True):
        assay = "-" if each.assay is None else difference_cell(each.assay)
        means = ["-" if mean is None else f"{mean:.2f}" for mean in (each.plain, each.ideal)]
        lines.append([name, assay, f"{each.needed:+.2f}", *means, "void" if each.failed else "given"])
    papers = "/".join(f"{each:.2f}" for each in papers_differences())
    note = (
        "A verdict is given only where a reward that works could be seen and the reference has converged."
        f" Assay sensitivity: training on exact edits beats no reward by the paper's difference ({papers}),"
        " or by half of the ideal rows' difference where these lie closer together; the lower end of the"
        f" interval is above 0. Convergence: no reward is within {CONVERGED:g} of {IDEAL_ROWS[0]}, the row"
        " that an editor without limits would reach with the same sampler.\n"
    )
    return ["## Gates\n", markdown_table(header, lines), note, *_shares_of_attainable(evidence)]


def _shares_of_attainable(evidence: Evidence) -> list[str]:
    plain = without_reward(evidence)
    lines = []
    for entry in evidence.entries:
        shares = () if entry.control or entry is plain else share_of_attainable(evidence, entry)
        if any(share is not None for share in shares):
            lines.append(
                [entry.name, *("-" if share is None else f"{100 * share:.0f} %" for share in shares)]
            )
    if not lines:
        return []
    note = (
        "Share of the attainable: gain over no reward as a fraction of what training on exact edits gains,"
        " where the assay is sensitive.\n"
    )
    return [markdown_table(("share of the attainable", *PERSPECTIVE_NAMES), lines), note]


def _not_run(claims: Sequence[Claim]) -> list[str]:
    return (
        [f"Not decided, as one of the lines was not run: {'; '.join(claim.words for claim in claims)}.\n"]
        if claims
        else []
    )


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object; {} if there is no file.

    Raises:
        ValueError: not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise ValueError(
            f"{path} is not valid JSON ({error}); remove it and run its command again"
        ) from error


def seconds_of(run: Path) -> tuple[float, float]:
    """Seconds of training and of evaluation, as noted by the sweep; without one, of the training alone."""
    jobs = read_json(run.parent / "sweep.json").get("jobs", [])
    noted = next((job.get("seconds", {}) for job in jobs if str(job.get("number")) == run.name), {})
    return float(read_json(run / "run.json").get("seconds", noted.get("train", 0.0))), float(
        noted.get("evaluate", 0.0)
    )


def facts_part(evidence: Evidence, groups: Sequence[Path], arguments: Sequence[str]) -> list[str]:
    """The section of commands, commits, machine and hours."""
    runs = list(
        dict.fromkeys(
            run for entry in evidence.entries if entry.name not in (START, *LAST_ROWS) for run in entry.runs
        )
    )
    records = [read_json(run / "run.json") for run in runs]
    commands = [command for group in groups if (command := read_json(group / "sweep.json").get("command"))]
    commands.append(f"python -m experiments.dossier {shlex.join(arguments)}")
    trained, evaluated = (sum(each) / 3600 for each in zip(*(seconds_of(run) for run in runs), strict=True))
    seeds = {len(entry.rows) for entry in evidence.entries if entry.name not in (START, *LAST_ROWS)}
    judged = f", {evaluated:.1f} h of evaluating" if evaluated else ""
    facts = {
        "Runs": (
            f"{len(runs)}, {' or '.join(map(str, sorted(seeds)))} seed{'s' if seeds != {1} else ''} per row"
        ),
        "Steps": _distinct(record.get("steps") for record in records),
        "Time": f"{trained:.1f} h of training{judged}, all runs together",
        "Hardware": _distinct(record.get("hardware") for record in records),
        "Commit": _distinct(
            str(record["commit"])[:7] if record.get("commit") else None for record in records
        ),
        "Start": _distinct(
            (entry.settings or {}).get("start") for entry in evidence.entries if not entry.control
        ),
    }
    lines = [f"- {name}: {said}" for name, said in facts.items() if said]
    lines += (
        [f"- Not evaluated yet, and in no number: {', '.join(map(str, evidence.missing))}"]
        if evidence.missing
        else []
    )
    return ["".join(f"    {command}\n" for command in commands), "\n".join(lines) + "\n"]


def _distinct(values: Any) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None))


def dossier(
    evidence: Evidence,
    groups: Sequence[Path],
    figures: Sequence[Path],
    arguments: Sequence[str],
    reading: str = "",
) -> str:
    """The whole page. `reading` is a person's interpretation; everything else comes from result files."""
    parts = [
        f"# {evidence.question.title}\n",
        f"**Claim.** {evidence.question.claim}\n",
        "**Verdict.**\n\n" + "".join(f"- {said}\n" for said in headline(evidence)),
        *([f"**Reading.** {reading.strip()}\n"] if reading else []),
        *facts_part(evidence, groups, arguments),
        *(f"![{figure.stem}]({figure.name})\n" for figure in figures),
        *figures_of(evidence),
        *equal_following_part(evidence),
    ]
    return "\n".join(parts)


def figures_of(evidence: Evidence) -> list[str]:
    """The sections that follow from the scores of every case alone."""
    return [
        *claims_part(evidence),
        *gates_part(evidence),
        markdown_tables([table_of(evidence)]),
        *shares_part(evidence),
        *differences_part(evidence),
    ]


def equal_following_part(evidence: Evidence) -> list[str]:
    """The section that compares the lines of the main claims where both follow equally well; [] unless their
    edits were judged at other strengths.
    """
    lines = []
    for claim in evidence.question.claims:
        line, other = evidence.entry(claim.line), evidence.entry(claim.against)
        if not claim.main or line is None or other is None:
            continue
        known = {id(row): arm for entry in (line, other) for row in entry.rows if (arm := _arm_of(row))}
        if len(known) < len(line.rows) + len(other.rows):
            continue
        one, two = (averaged(each.name, [known[id(row)] for row in each.rows]) for each in (line, other))
        pairs = [(known[id(own)], known[id(its)]) for own, its in paired_trainings(line.rows, other.rows)]
        found = matched(one, two, pairs)
        if found is not None:
            lines.append(matched_cells(found))
    if not lines:
        return []
    note = (
        "Edits drawn weaker and stronger, original + strength (edit - original), so that both lines follow"
        f" equally well ({COMMON:g} times the score of the one that follows less); 95 % intervals over"
        " photographs (jackknife) and, where there are several, seeds.\n"
    )
    return ["## At equal following\n", markdown_table(MATCHED_HEADER, lines), note]


def _arm_of(row: RunRow) -> Arm | None:
    arms = read_arms(row.report.folder, row.report.report.fingerprint)
    return next((arm for arm in arms if arm.name == row.row.name), None)


def draw_figures(evidence: Evidence, target: Path) -> list[Path]:
    """Draws the figures beside a dossier."""
    means = evidence.entries[0].rows[0].row.means
    seeds = max(len(entry.rows) for entry in evidence.entries)
    many = f", mean of {seeds} seeds (small dots: single seeds)" if seeds > 1 else ", one seed"
    over = "photographs and seeds" if seeds > 1 else "photographs"
    note = f"{means.n} cases on {means.clusters} photographs{many}; bars: 95 % interval over {over}"
    if evidence.question.layout.number == 6:
        figures = [evidence_figures.score_lines(evidence, evidence.question.title, note)]
    else:
        dashes = f"; dashed line: {evidence.question.reference}; grey: controls and references"
        figures = [evidence_figures.forest(evidence, evidence.question.title, note + dashes)]
        curves = evidence_figures.validation_curves(evidence, f"{evidence.question.title}: validation scores")
        figures += [] if curves is None else [curves]
    names = (target.with_suffix(".png"), target.with_name(f"{target.stem}_curves.png"))
    return [evidence_figures.save_figure(figure, name) for figure, name in zip(figures, names, strict=False)]


def main(arguments: Sequence[str]) -> None:
    """Reads the runs, writes the dossier and prints its verdict."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.dossier", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("question", choices=list(QUESTIONS))
    parser.add_argument("folders", nargs="+", type=Path, help="sweep or run folders")
    parser.add_argument(
        "--controls",
        nargs="*",
        type=Path,
        default=[],
        help="further folders, of which only the controls are used",
    )
    parser.add_argument(
        "--start",
        type=Path,
        help="run folder of the weights that all runs started from; default: the one in their config",
    )
    parser.add_argument("--benchmark", default="synthetic_edit", help="reports on this benchmark")
    parser.add_argument("--judge", help="reports by this judge, if there are several")
    parser.add_argument("--target", default="5/5/5", help="the row that represents a run")
    parser.add_argument(
        "--reading",
        type=Path,
        help="a Markdown file with your interpretation, shown below the verdict",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the dossier, NAME.md")
    given = parser.parse_args(arguments)
    if given.output.suffix != ".md":
        raise ValueError(f"--output {given.output}: a dossier is Markdown; give a name that ends in .md")
    evidence = gather(
        given.question, given.folders, given.controls, given.start, given.target, given.benchmark, given.judge
    )
    reading = "" if given.reading is None else given.reading.read_text(encoding="utf-8")
    figures = draw_figures(evidence, given.output)
    write_rewards(given.output.with_suffix(ENDING), given.question, evidence)
    write_atomically(
        given.output, dossier(evidence, [*given.folders, *given.controls], figures, arguments, reading)
    )
    print("\n".join(headline(evidence)).replace("**", ""))
    print(given.output)


if __name__ == "__main__":
    script(main)
