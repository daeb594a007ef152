"""The content of a dossier (experiments/dossier.py): lines of runs over seeds, their differences, and
decisions by one fixed rule.

The rule, for a claim that one line is above another, in each perspective:

- confirmed: it is above, at the 5 % level (sign flips of whole photographs, each case averaged over seeds,
  and, with several trainings, Student's t on photographs and trainings together; the larger p, after Holm
  over the perspectives), and in every seed;
- contrary: it is below, by the same test;
- not confirmed: neither, and the 95 % interval leaves no room for a difference as large as the paper's, or as
  MARGIN where the paper has none;
- undecided: neither, but the interval does leave that room; or the photographs decide and the seeds disagree.

A claim that a control is *not* above a line is confirmed if the interval leaves no room for MARGIN, contrary
if it is above, undecided otherwise.

No verdict is given in a perspective where a gate fails, or where a row that it needs is missing. There the
word is void, whatever was measured:

- assay sensitivity: training on exact edits beats no reward by the paper's difference (0.62, 0.84, 0.65 in
  following, preserving, quality), the lower end of the interval above 0. Where the ideal rows of the same
  sampler lie closer together than that, half of their difference is enough. Without it, a reward that works
  perfectly could not be told from one that does nothing;
- convergence: no reward is within CONVERGED of the ideal row without reward. Without it, what is compared is
  the speed of learning.

Before 2026-11-30 the second gate asked for no reward within 0.4 of its training triplets, which a sampler of
few steps can't meet however long it is trained, as it averages flaws; the first did not exist.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from src.evaluation.comparison import CaseScores, Comparison, scores_in
from src.evaluation.report import FIRST_ROWS, IDEAL_ROWS, LAST_ROWS
from src.records import PERSPECTIVES
from src.tabulation.cells import (
    averaged_cases,
    compare_lines,
    compare_lines_overall,
    judged_values,
    mean_difference,
    paired_trainings,
)
from src.tabulation.layouts import LAYOUTS, TARGET, Layout, Place, represents_run
from src.tabulation.naming import row_names, signals_of
from src.tabulation.paper_tables import OurLine, check_seeds, our_lines
from src.tabulation.published import published_table
from src.tabulation.runs import (
    RunReport,
    RunRow,
    Settings,
    check_same_cases,
    find_reports,
    run_rows,
    select_reports,
)
from src.tabulation.table import LEVEL

MARGIN = 0.1
"""Smallest difference that matters where the paper gives none, in points of 5."""

CONVERGED = 0.4
"""How far no reward may be from the ideal row without reward, in points of 5."""

MOVED = 0.5
"""Difference in following from which a case counts as followed better or worse, in points of 5."""

NO_REWARD, START, PERMUTED, SCALAR = "no reward", "starting weights", "permuted rewards", "one scalar reward"
ALL_GOOD, BEST_RATED, MENDED, EXACT = (
    "only all-5 triplets",
    "only the best rated",
    "mended triplets",
    "trained on exact edits",
)
CONTROLS = {
    "PermutedRewards": PERMUTED,
    "ScalarReward": SCALAR,
    "AllGood": ALL_GOOD,
    "BestRated": BEST_RATED,
    "PartlyClean": MENDED,
    "MendedTriplets": MENDED,
    "ExactTargets": EXACT,
}
"""Name of a control by the class in a run's config, under data.control (data.dataset in runs before
2026-11-22).
"""

KEPT, DRAWN, KEPT_EXACTLY = "kept by the judge", "drawn at random", "kept by the exact judge"
SELECTIONS = {("Top", False): KEPT, ("Top", True): KEPT_EXACTLY, ("Random", False): DRAWN}
"""Name of the training triplets by the class of the rule and whether the judge was the exact one."""

ORDER = (NO_REWARD, START, *CONTROLS.values(), *LAST_ROWS)
BOTH_SIGNALS, BOTH_PLACES = "score + text", "attention + addition"


@dataclass(frozen=True)
class Claim:
    """That one line is above another in every perspective.

    Attributes:
        line, against: names of lines.
        denied: whether the claim is that it is not above.
        main: whether the dossier's verdict is about this claim.
    """

    line: str
    against: str
    denied: bool = False
    main: bool = False

    @property
    def words(self) -> str:
        """The claim as a phrase."""
        return f"{self.line} {'not ' if self.denied else ''}above {self.against}"


@dataclass(frozen=True)
class Question:
    """What a dossier is about.

    Attributes:
        title: of the dossier.
        claim: one or two sentences.
        layout: how rows are placed.
        published: whether to show the paper's numbers beside ours.
        reference: the line that the others are compared with.
        claims: to be decided.
        plain: the line without reward, on all triplets.
    """

    title: str
    claim: str
    layout: Layout
    published: bool
    reference: str
    claims: tuple[Claim, ...]
    plain: str = "none"


def _controls_of(best: str) -> tuple[Claim, ...]:
    return (
        Claim(PERMUTED, "none", denied=True),
        Claim(best, PERMUTED),
        Claim(best, START),
        Claim(best, ALL_GOOD),
        Claim(EXACT, best),
    )


def by_selection(row: RunRow, own: str) -> Place | None:
    """Which triplets a run learnt from, and whether with rewards.

    Raises:
        FileNotFoundError: its selection is no longer there.
    """
    if row.settings is None or "model" not in row.settings or not represents_run(row, own):
        return None
    only = (row.settings.get("data") or {}).get("only")
    rewarded = bool(signals_of(row.settings))
    name = "all" if only is None else selection_name(Path(str(only)))
    name += ", with rewards" if rewarded else ""
    return Place(name, (name,), (float(only is not None), float(rewarded)))


def selection_name(file: Path) -> str:
    """What chose the rows of a selection.

    Raises:
        FileNotFoundError: no curation.json beside it.
        ValueError: a rule that no question asks about.
    """
    record = json.loads((file.parent / "curation.json").read_text(encoding="utf-8"))
    rule = str(record["request"]["curation"]["_target_"]).rpartition(".")[2]
    found = SELECTIONS.get((rule, record["judge"] == "oracle" and rule == "Top"))
    if found is None:
        raise ValueError(f"{file}: no line for rows chosen by {rule} and the judge {record['judge']}")
    return found


SELECTION_LAYOUT = Layout(
    0,
    "Which triplets to learn from",
    ("Triplets",),
    by_selection,
    ("data.only", "model.reward_encoder", "model.integration"),
    "all",
    False,
    "a row at the target reward in a run folder",
)
"""Of no table in the paper."""

QUESTIONS: dict[str, Question] = {
    "table4_reward_signal": Question(
        "Table 4: which reward signal helps",
        "Conditioning on rewards beats the same training without, by scores, by text, and most by both.",
        LAYOUTS["table4_reward_signal"],
        True,
        "none",
        (
            Claim(BOTH_SIGNALS, "none", main=True),
            Claim("score", "none"),
            Claim("text", "none"),
            Claim(BOTH_SIGNALS, "score"),
            Claim(BOTH_SIGNALS, "text"),
            Claim("score", SCALAR),
            *_controls_of(BOTH_SIGNALS),
        ),
    ),
    "table5_integration": Question(
        "Table 5: where the reward enters",
        "Rewards help wherever they enter the denoiser, most through attention and addition together. The"
        " place of the released code, the time embedding, is not in the paper's table.",
        LAYOUTS["table5_integration"],
        True,
        "none",
        (
            Claim(BOTH_PLACES, "none", main=True),
            Claim("attention", "none"),
            Claim("addition", "none"),
            Claim("time embedding", "none"),
            Claim(BOTH_PLACES, "attention"),
            Claim(BOTH_PLACES, "addition"),
            Claim(BOTH_PLACES, "time embedding"),
            *_controls_of(BOTH_PLACES),
        ),
    ),
    "table6_inference_score": Question(
        "Table 6: the score asked for",
        "One editor edits better the higher the scores that it is asked for.",
        LAYOUTS["table6_inference_score"],
        True,
        "0/0/0",
        (
            Claim("5/5/5", "0/0/0", main=True),
            Claim("3/3/3", "0/0/0"),
            Claim("5/5/5", "3/3/3"),
            Claim("5/5/5", "4/4/4"),
            Claim("5/5/5", NO_REWARD),
            Claim("5/5/5", PERMUTED),
            Claim("5/5/5", START),
        ),
        NO_REWARD,
    ),
    "never_all_good": Question(
        "No triplet good in all three perspectives: does asking for 5/5/5 compose?",
        "Where every training triplet is spoiled in some perspective, a filter finds nothing good, and asking"
        " for 5/5/5 composes what is.",
        LAYOUTS["table4_reward_signal"],
        False,
        "none",
        (
            Claim(BOTH_SIGNALS, "none", main=True),
            Claim(BOTH_SIGNALS, BEST_RATED, main=True),
            Claim(PERMUTED, "none", denied=True),
            Claim(BOTH_SIGNALS, PERMUTED),
            Claim(BOTH_SIGNALS, START),
            Claim(EXACT, BOTH_SIGNALS),
        ),
    ),
    "retraining": Question(
        "EditReward's claim: does the subset that a reward model selects beat the full set?",
        "An editor trained on the triplets that a learned reward model scores best is better than one trained"
        " on all of them, and than one trained on as many drawn at random.",
        SELECTION_LAYOUT,
        False,
        "all",
        (
            Claim(KEPT, "all", main=True),
            Claim(KEPT, DRAWN, main=True),
            Claim(DRAWN, "all", denied=True),
            Claim(KEPT_EXACTLY, "all"),
            Claim(KEPT_EXACTLY, KEPT),
            Claim("all, with rewards", "all"),
            Claim("all, with rewards", KEPT),
            Claim(KEPT, START),
            Claim(EXACT, KEPT),
        ),
        "all",
    ),
}


@dataclass(frozen=True)
class Entry:
    """A line of a dossier.

    Attributes:
        name: "score + text", "permuted rewards", "copy input".
        rows: one per seed.
        control: whether it is a control or a reference, not an answer.
        cases: the scores of every case, averaged over seeds.
    """

    name: str
    rows: tuple[RunRow, ...]
    control: bool
    cases: tuple[CaseScores, ...]

    @property
    def settings(self) -> Settings | None:
        """Settings of its first run."""
        return self.rows[0].settings

    @property
    def seeds(self) -> dict[object, tuple[CaseScores, ...]]:
        """The scores of each training seed."""
        return {row.seeds[0]: row.row.cases for row in self.rows}

    @property
    def one_training(self) -> bool:
        """Whether it was trained for this line, and once."""
        return len(self.rows) == 1 and self.name not in (START, *LAST_ROWS)

    @property
    def runs(self) -> list[Path]:
        """The run folders."""
        return list(dict.fromkeys(row.report.run.resolve() for row in self.rows))


@dataclass(frozen=True)
class Evidence:
    """Everything that a dossier reports.

    Attributes:
        question: what the dossier is about.
        lines: the table's own lines, as tabulated.
        entries: these, followed by controls and references.
        reports: the sources of the lines, one per run.
        missing: run folders without a report.
    """

    question: Question
    lines: tuple[OurLine, ...]
    entries: tuple[Entry, ...]
    reports: tuple[RunReport, ...]
    missing: tuple[Path, ...]

    @cached_property
    def gates(self) -> "tuple[Gate, ...]":
        """What must hold before a verdict is given, per perspective."""
        return gates(self)

    def entry(self, name: str) -> Entry | None:
        """The entry of that name; None if it was not run."""
        return next((entry for entry in self.entries if entry.name == name), None)


@dataclass(frozen=True)
class Decision:
    """The outcome of a claim in one perspective.

    Attributes:
        word: confirmed, not confirmed, contrary, undecided, void.
        comparison: over all seeds.
        by_seed: the difference in each seed.
        why: explanation where the word alone is not enough; "" elsewhere.
        one_training: whether a line has a single training, of which alone the outcome speaks.
    """

    word: str
    comparison: Comparison
    by_seed: tuple[float, ...]
    why: str = ""
    one_training: bool = False


def run_folders(folders: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The runs in sweep folders that have been evaluated, and those that have not. A folder may be a run
    itself; links to runs of other sweeps count.

    Raises:
        FileNotFoundError: an unknown folder, or nothing evaluated.
    """
    done, missing = [], []
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {folder}: give run folders, or sweep folders that hold some")
        inside = (
            [folder]
            if _is_run(folder)
            else sorted((path for path in folder.iterdir() if _is_run(path)), key=_by_number)
        )
        if not inside:
            raise FileNotFoundError(f"{folder} holds no run: none of its folders has .hydra or evaluation/")
        for run in inside:
            (done if any(run.glob("evaluation/*/*/report.json")) else missing).append(run)
    if not done:
        raise FileNotFoundError(
            f"no run of {', '.join(map(str, folders))} has been evaluated; run python -m src.evaluate"
            " checkpoint=RUN/editor first"
        )
    return done, missing


def _is_run(folder: Path) -> bool:
    return folder.is_dir() and ((folder / "evaluation").is_dir() or (folder / "run.json").exists())


def _by_number(folder: Path) -> tuple[int, str]:
    return (int(folder.name), "") if folder.name.isdigit() else (10**9, folder.name)


def control_of(settings: Settings | None) -> str | None:
    """The control that a run belongs to; None for an ordinary run."""
    data = (settings or {}).get("data") or {}
    for node in (data.get("control"), data.get("dataset")):
        if not isinstance(node, Mapping):
            continue
        name = str(node.get("_target_", "")).rpartition(".")[2]
        if name in CONTROLS:
            share = (
                node.get("clean_share", node.get("share", 1.0))
                if CONTROLS[name] in (PERMUTED, MENDED)
                else 1.0
            )
            return CONTROLS[name] if share == 1.0 else f"{100 * share:g} % {CONTROLS[name]}"
    return None


def gather(
    name: str,
    groups: Sequence[Path],
    controls: Sequence[Path] = (),
    start: Path | None = None,
    target: str = "5/5/5",
    benchmark: str = "synthetic_edit",
    judge: str | None = None,
) -> Evidence:
    """Collects the evidence in run folders.

    Args:
        name: a key of QUESTIONS.
        groups: sweep or run folders for the table's lines; controls may be among them.
        controls: further folders, of which only the controls are used.
        start: run folder of the weights that all started from; None for the one that their config names.
        target: name of the row that represents a run, except in Table 6.
        benchmark: name of the reports' benchmark.
        judge: name of the reports' judge; None if there is only one.

    Raises:
        FileNotFoundError: no such folder, or nothing evaluated there.
        ValueError: an unknown question, reports that do not compare, or no line of the table.
    """
    if name not in QUESTIONS:
        raise ValueError(f"no question {name}: one of {', '.join(QUESTIONS)}")
    question = QUESTIONS[name]
    own, missing = reports_below(groups, benchmark, judge)
    others, lacking = reports_below(controls, benchmark, judge) if controls else ([], [])
    known = {each.folder.resolve() for each in own}
    others = [each for each in others if each.folder.resolve() not in known]

    rows = [row for row in run_rows(own) if control_of(row.settings) is None]
    rows, plain = _rows_of_table(question, rows)
    placed = [(row, place) for row in rows if (place := _place(question, row, target)) is not None]
    if not placed:
        raise ValueError(
            f"{name}: none of {', '.join(map(str, groups))} has {question.layout.needs}; the target reward is"
            f" {target}"
        )
    lines = our_lines(question.layout, placed)
    twice = [line.name for line in lines if sum(other.name == line.name for other in lines) > 1]
    if twice:
        runs = "; ".join(f"{line.run}: {line.rows[0].report.run}" for line in lines if line.name == twice[0])
        raise ValueError(
            f"{name}: two lines are called {twice[0]!r} and differ otherwise ({runs}): give runs of one"
            " setting"
        )
    entries = [Entry(line.name, line.rows, False, averaged_cases(line.rows)) for line in lines]

    found: dict[str, list[RunRow]] = {}
    for row in run_rows([*own, *others]):
        control = control_of(row.settings)
        if control is not None and row.row.name == target:
            found.setdefault(control, []).append(row)
    if plain:
        found[NO_REWARD] = plain
    entries += [entry for control, members in found.items() for entry in _control_entries(control, members)]
    entries += _references(lines[0].rows[0].report)
    begun = starting_row(lines, start, target, benchmark, judge)
    entries += [] if begun is None else [make_entry(START, [begun])]
    last = [entry for entry in entries if entry.control]
    last.sort(key=lambda entry: _order(entry.name))
    _check_judge([*own, *others, *([] if begun is None else [begun.report])])
    check_same_cases([row for entry in entries if entry.name not in LAST_ROWS for row in entry.rows])
    used = {run for entry in entries for run in entry.runs}
    reports = [each for each in [*own, *others] if each.run.resolve() in used]
    return Evidence(
        question,
        tuple(lines),
        (*(entry for entry in entries if not entry.control), *last),
        tuple(reports),
        (*missing, *lacking),
    )


def _order(name: str) -> int:
    """The place of a control or reference below the table's own lines; names of controls may go on."""
    if name in LAST_ROWS:
        return ORDER.index(name)
    return next(index for index, known in enumerate(ORDER) if known in name)


def reports_below(
    folders: Sequence[Path], benchmark: str, judge: str | None = None
) -> tuple[list[RunReport], list[Path]]:
    """The reports in run and sweep folders, each once, and the runs that have none. Run by run, because
    `found_reports` does not look behind links.

    Raises:
        FileNotFoundError: an unknown folder, or nothing evaluated.
        ValueError: no report on the benchmark by the judge.
    """
    done, missing = run_folders(folders)
    found = {each.folder.resolve(): each for run in done for each in find_reports([run])}
    return select_reports(list(found.values()), benchmark, judge), missing


def _check_judge(reports: Sequence[RunReport]) -> None:
    """Raise ValueError unless one judge judged them all."""
    for other in reports[1:]:
        if other.report.fingerprint != reports[0].report.fingerprint:
            raise ValueError(
                f"{reports[0].run} and {other.run} were judged by different judges or versions of one, which"
                " do not compare: judge them again with python -m src.evaluate edits=..., or say --judge"
            )


def _rows_of_table(question: Question, rows: Sequence[RunRow]) -> tuple[list[RunRow], list[RunRow]]:
    """The rows that the table is about, and those without reward, a control in Table 6."""
    if question.layout.number != 6:
        return list(rows), []
    plain = [row for row in rows if not signals_of(row.settings or {})]
    asked: dict[Path, int] = {}
    for row in rows:
        asked[row.report.run] = asked.get(row.report.run, 0) + bool(TARGET.fullmatch(row.row.name))
    several = [
        row
        for row in rows
        if asked[row.report.run] > 1 and signals_of(row.settings or {}) and "+text" not in row.row.name
    ]
    return several, [row for row in plain if row.row.name == FIRST_ROWS[0]]


def _place(question: Question, row: RunRow, target: str) -> Place | None:
    if question.layout.number != 6 and row.row.name != target:
        return None
    return question.layout.place(row, target)


def make_entry(name: str, rows: Sequence[RunRow]) -> Entry:
    """An entry for a control or reference."""
    check_seeds(rows)
    return Entry(name, tuple(rows), True, averaged_cases(rows))


def _control_entries(control: str, rows: Sequence[RunRow]) -> list[Entry]:
    """The entries of one control: a single one, unless its runs differ in more than their seeds."""
    by_name: dict[str, list[RunRow]] = {}
    for row, rest in zip(rows, row_names(rows, [control] * len(rows)), strict=True):
        by_name.setdefault(f"{control}, {rest}" if rest else control, []).append(row)
    return [make_entry(name, members) for name, members in by_name.items()]


def _references(found: RunReport) -> list[Entry]:
    """The rows that no model made, without the exact target, which is 5/5/5 by definition."""
    return [
        make_entry(row.name, [RunRow(found, row, None)])
        for row in found.report.rows
        if row.name in LAST_ROWS[:-1]
    ]


def starting_row(
    lines: Sequence[OurLine], given: Path | None, target: str, benchmark: str, judge: str | None
) -> RunRow | None:
    """The row of the weights that all runs started from; None if these were not evaluated or differ between
    runs.
    """
    starts = {str((row.settings or {}).get("start") or "") for line in lines for row in line.rows}
    if given is None:
        if len(starts) != 1 or starts == {""}:
            return None
        path = Path(starts.pop())
        given = path.parent if path.suffix != ".ckpt" else path.parent.parent
        if not any(given.glob("evaluation/*/*/report.json")):
            return None
    reports = select_reports(find_reports([given]), benchmark, judge)
    return next((row for row in run_rows(reports) if row.row.name == target), None)


def compare_entries(line: Entry, other: Entry) -> tuple[Comparison, ...]:
    """The three perspectives of two entries; intervals and p include the spread over trainings."""
    return compare_lines(line.name, line.rows, other.name, other.rows)


def differences_by_seed(line: Entry, other: Entry) -> list[tuple[float | None, ...]]:
    """Per perspective, the difference of two entries in each seed that both have. An entry with a single row,
    such as the starting weights, counts for every seed.
    """
    pairs = [(one.row.cases, two.row.cases) for one, two in paired_trainings(line.rows, other.rows)]
    return [
        tuple(mean_difference(scores_in(one, index), scores_in(two, index)) for one, two in pairs)
        for index in range(len(PERSPECTIVES))
    ]


@dataclass(frozen=True)
class Share:
    """Cases in which one line follows the instruction better than another, as well, or worse.

    Attributes:
        name: which of the three groups.
        share: fraction of all cases and seeds that both lines have, in [0, 1].
        means: mean difference of their scores, line minus other, in the order of PERSPECTIVES; None if the
            group is empty.
        parts: contribution to the difference over all cases, share times mean.
    """

    name: str
    share: float
    means: tuple[float | None, ...]
    parts: tuple[float, ...]


def shares_by_following(line: Entry, other: Entry) -> tuple[Share, ...]:
    """Splits a difference by its outcome in following, case by case and seed by seed; () if the lines share
    no case.

    If quality falls, this shows whether it falls in edits that are now executed (a photograph left alone
    cannot fail) or in all. Descriptive only: cases are grouped by an outcome, so a part is not an effect of
    its own.
    """
    rows = []
    for ours, theirs in paired_trainings(line.rows, other.rows):
        others = {case.id: case.scores for case in theirs.row.cases}
        rows += [
            np.array(case.scores, float) - np.array(others[case.id], float)
            for case in ours.row.cases
            if case.id in others
        ]
    differences = np.array(
        [row for row in rows if not np.isnan(row).any()]
    )  # cases that were not judged are NaN
    if not len(differences):
        return ()
    following = differences[:, 0]
    kinds = {
        f"follows better (by {MOVED:g} or more)": following >= MOVED,
        "follows alike": np.abs(following) < MOVED,
        f"follows worse (by {MOVED:g} or more)": following <= -MOVED,
    }
    found = []
    for name, here in kinds.items():
        share = float(here.mean())
        means = tuple(map(float, differences[here].mean(0))) if here.any() else (None,) * len(PERSPECTIVES)
        found.append(
            Share(name, share, means, tuple(map(float, differences[here].sum(0) / len(differences))))
        )
    return tuple(found)


def published_difference(question: Question, claim: Claim, index: int) -> float | None:
    """The paper's difference between the two lines; None if it lacks one of them."""
    if not question.published:
        return None
    scores = {row.name: row.numbers for row in published_table(question.layout.number).rows}
    key = f"{PERSPECTIVES[index].value}_score"
    if claim.line not in scores or claim.against not in scores:
        return None
    return scores[claim.line][key].value - scores[claim.against][key].value


def decisions(evidence: Evidence, claim: Claim) -> tuple[Decision, ...] | None:
    """Decides a claim in each perspective, where the gates allow it; None if one of its lines was not run."""
    line, other = evidence.entry(claim.line), evidence.entry(claim.against)
    if line is None or other is None:
        return None
    compared = compare_entries(line, other)
    found = []
    for index, (comparison, differences) in enumerate(
        zip(compared, differences_by_seed(line, other), strict=True)
    ):
        known = tuple(difference for difference in differences if difference is not None)
        papers = published_difference(evidence.question, claim, index)
        decision = decide(comparison, known, papers, claim.denied)
        if failed := evidence.gates[index].failed:
            decision = Decision("void", comparison, known, "; ".join(failed))
        found.append(replace(decision, one_training=any(each.one_training for each in (line, other))))
    return tuple(found)


@dataclass(frozen=True)
class Gate:
    """What must hold in one perspective before a verdict is given; numbers are None where a row is missing.

    Attributes:
        assay: training on exact edits against no reward.
        needed: by how much it must be better, in points of 5.
        plain, ideal: mean scores of no reward and of the ideal row without reward.
        failed: what fails, in words with both values; () if a verdict may be given.
        sensitive: whether the assay is: a reward that works could be seen.
    """

    assay: Comparison | None
    needed: float
    plain: float | None
    ideal: float | None
    failed: tuple[str, ...]
    sensitive: bool


def gate(
    assay: Comparison | None,
    plain: float | None,
    ideals: tuple[float | None, float | None],
    papers: float,
) -> Gate:
    """Checks the gates of one perspective, see the top of this file.

    Args:
        assay: training on exact edits against no reward; None if one was not run.
        plain: mean score of no reward; None if it was not run.
        ideals: mean scores of the ideal rows, without reward and asked for 5/5/5; None where there is none.
        papers: the paper's difference between score + text and none.
    """
    ideal, best = ideals
    attainable = papers if ideal is None or best is None else best - ideal
    needed = papers if attainable >= papers else max(0.0, attainable) / 2
    failed = []
    sensitive = False
    if assay is None or assay.difference is None or assay.ci95 is None:
        failed.append(f"assay sensitivity: no row {EXACT!r} beside no reward")
    else:
        sensitive = assay.difference >= needed and assay.ci95.low > 0
        if not sensitive:
            measured = f"{assay.difference:+.2f} [{assay.ci95.low:+.2f}, {assay.ci95.high:+.2f}]"
            failed.append(f"assay sensitivity: exact edits less no reward {measured}, needed {needed:+.2f}")
    if plain is None or ideal is None:
        missing = "no reward" if plain is None else IDEAL_ROWS[0]
        failed.append(f"convergence: no row {missing!r}")
    elif abs(plain - ideal) > CONVERGED:
        failed.append(
            f"convergence: no reward {plain:.2f}, {IDEAL_ROWS[0]} {ideal:.2f}, more than {CONVERGED:g} apart"
        )
    return Gate(assay, needed, plain, ideal, tuple(failed), sensitive)


def papers_differences() -> tuple[float, ...]:
    """The paper's gain by score + text over none in each perspective (Table 4)."""
    rows = {row.name: row.numbers for row in published_table(4).rows}
    keys = [f"{perspective.value}_score" for perspective in PERSPECTIVES]
    return tuple(rows[BOTH_SIGNALS][key].value - rows["none"][key].value for key in keys)


def without_reward(evidence: Evidence) -> Entry | None:
    """The line of no reward; None if it was not run."""
    return evidence.entry(evidence.question.plain)


def gates(evidence: Evidence) -> tuple[Gate, ...]:
    """The gates of each perspective."""
    plain, exact = without_reward(evidence), evidence.entry(EXACT)
    assays = [None] * len(PERSPECTIVES) if plain is None or exact is None else compare_entries(exact, plain)
    ideals = [evidence.entry(name) for name in IDEAL_ROWS]
    return tuple(
        gate(
            assays[index],
            _mean_score(plain, index),
            (_mean_score(ideals[0], index), _mean_score(ideals[1], index)),
            papers,
        )
        for index, papers in enumerate(papers_differences())
    )


def _mean_score(entry: Entry | None, index: int) -> float | None:
    return None if entry is None else judged_values(entry.rows)[2 * index + 1].mean


def share_of_attainable(evidence: Evidence, line: Entry) -> tuple[float | None, ...]:
    """What a line gains over no reward, as a fraction of what training on exact edits gains; None in a
    perspective whose assay is not sensitive, where the fraction would mean nothing.
    """
    plain, exact = without_reward(evidence), evidence.entry(EXACT)
    if plain is None or exact is None:
        return (None,) * len(PERSPECTIVES)
    gained, attainable = compare_entries(line, plain), compare_entries(exact, plain)
    return tuple(
        own.difference / most.difference
        if each.sensitive and own.difference is not None and most.difference
        else None
        for each, own, most in zip(evidence.gates, gained, attainable, strict=True)
    )


def decide(
    comparison: Comparison, seeds: tuple[float, ...], papers: float | None, denied: bool = False
) -> Decision:
    """Applies the rule at the top of this file.

    Args:
        comparison: the line against the one that it is claimed to be above.
        seeds: the difference in each seed.
        papers: the paper's difference, in points; None if it has none.
        denied: whether the claim is that the line is not above.
    """
    difference, p, interval = comparison.difference, comparison.p_holm, comparison.ci95
    if difference is None or p is None or interval is None:
        return Decision("undecided", comparison, seeds, "not testable on fewer than two photographs")
    differs, agree = p < LEVEL, all(each * difference > 0 for each in seeds)
    if denied:
        if differs and difference > 0:
            return Decision("contrary", comparison, seeds)
        if interval.high < MARGIN:
            return Decision("confirmed", comparison, seeds)
        return Decision("undecided", comparison, seeds, f"room for {interval.high:+.2f}")
    if differs and not agree:
        return Decision("undecided", comparison, seeds, "the seeds disagree")
    if differs:
        return Decision("confirmed" if difference > 0 else "contrary", comparison, seeds)
    expected = papers if papers is not None and papers > 0 else MARGIN
    if interval.high < expected:
        return Decision("not confirmed", comparison, seeds, f"no room for {expected:+.2f}")
    detectable = (
        ""
        if comparison.detectable is None
        else f"a difference of {comparison.detectable:.2f} would be found in 8 of 10 tries"
    )
    return Decision("undecided", comparison, seeds, detectable)


def differences(evidence: Evidence) -> list[tuple[Entry, tuple[Comparison, ...], Comparison]]:
    """Compares every entry with the reference line, in the three perspectives and in the overall score."""
    reference = evidence.entry(evidence.question.reference)
    if reference is None:
        return []
    return [
        (
            entry,
            compare_entries(entry, reference),
            compare_lines_overall(entry.name, entry.rows, reference.name, reference.rows),
        )
        for entry in evidence.entries
        if entry.name != reference.name and entry.cases and reference.cases
    ]
