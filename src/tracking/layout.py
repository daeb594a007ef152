"""How the runs of this project are laid out on Weights & Biases: a workspace, and a report that can be sent
to others, from the same sections.

Needs wandb-workspaces (the extra `dashboards`). Building a layout asks no server.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from src.records import MAX_SCORE, PERSPECTIVES

STEP = "trainer/global_step"
"""What Lightning's logger calls the optimiser step."""

WIDTH, HEIGHT = 24, 8
"""Of a panel over the whole width of a report, in units of its grid; two panels share a row otherwise."""


@final
@dataclass(frozen=True)
class LayoutContents:
    """What the layout is of.

    Attributes:
        evaluations: "benchmark/judge", as src.evaluate names its numbers.
        rows: of their reports, by the names of their folders ("5-5-5").
        axes: what sweeps vary, by short names ("integration").
    """

    evaluations: Sequence[str]
    rows: Sequence[str]
    axes: Sequence[str]

    def score(self, evaluation: str, row: str, perspective: str) -> str:
        """The name under which src.evaluate logs a mean score."""
        return f"{evaluation}/{row}/{perspective}/score"


@final
@dataclass(frozen=True)
class LayoutSection:
    """A section of the workspace, and a chapter of the report.

    Attributes:
        title: its heading.
        text: what a reader sees there.
        panels: the first is at the top left.
        wide: one panel to a line.
    """

    title: str
    text: str
    panels: tuple[Any, ...]
    wide: bool = False


def layout_sections(shown: LayoutContents) -> list[LayoutSection]:
    """Training, previews, then scores and edits of each evaluation, and the comparison of sweeps."""
    validation = [f"validation/{perspective}" for perspective in PERSPECTIVES]
    training = (
        wr.LinePlot(
            title="Loss",
            x=STEP,
            y=["train/loss"],
            smoothing_type="exponentialTimeWeighted",
            smoothing_factor=0.9,
            smoothing_show_original=True,
        ),
        wr.LinePlot(title="Scores of validation cases", x=STEP, y=list(validation), range_y=(0, MAX_SCORE)),
        wr.LinePlot(title="Gradient norm", x=STEP, y=["train/gradient_norm"], log_y=True),
    )
    previews = wr.MediaBrowser(
        title="Original, edits at 0/0/0, 3/3/3 and 5/5/5, exact target",
        media_keys=["previews"],
        gallery_axis="step",
        num_columns=1,
    )
    parts = [
        LayoutSection(
            "Training",
            "Loss and gradient norm of each step; the scores are a judge's, of edits that the averaged "
            "weights make.",
            training,
        ),
        LayoutSection("Previews", "The same cases, edited as the training goes on.", (previews,), wide=True),
    ]
    for evaluation in shown.evaluations:
        parts += [_scores(shown, evaluation), _edits(evaluation)]
    return [*parts, _sweeps(shown)]


def _scores(shown: LayoutContents, evaluation: str) -> LayoutSection:
    panels = [
        wr.BarPlot(
            title=f"{perspective}: mean score by row",
            metrics=[shown.score(evaluation, row, perspective) for row in shown.rows],
            orientation="v",
            range_x=(0, MAX_SCORE),
        )
        for perspective in PERSPECTIVES
    ]
    panels += [
        wr.BarPlot(
            title=f"{perspective}: share of success by row",
            metrics=[f"{evaluation}/{row}/{perspective}/acc" for row in shown.rows],
            orientation="v",
            range_x=(0, 1),
        )
        for perspective in PERSPECTIVES
    ]
    coverage = wr.BarPlot(
        title="Coverage: share of cases that were judged",
        metrics=[f"{evaluation}/{row}/coverage" for row in shown.rows],
        range_x=(0, 1),
    )
    gallery = wr.MediaBrowser(title="Gallery", media_keys=[f"{evaluation}/gallery"], num_columns=1)
    text = (
        "Rows are target rewards asked for, and references that need no model. Intervals and tests are in "
        "the report artifact (report.md)."
    )
    return LayoutSection(f"Scores: {evaluation}", text, (*panels, coverage, gallery))


def _edits(evaluation: str) -> LayoutSection:
    text = (
        "A line per case: the original, and for each row its edit, three scores and what the judge said. "
        "Filter and sort as in any table."
    )
    return LayoutSection(
        f"Edits: {evaluation}",
        text,
        (wr.WeavePanelSummaryTable(table_name=f"{evaluation}/edits"),),
        wide=True,
    )


def _sweeps(shown: LayoutContents) -> LayoutSection:
    outcomes = {"validation": [f"validation/{perspective}" for perspective in PERSPECTIVES]}
    for evaluation in shown.evaluations:
        outcomes[f"{evaluation} at {shown.rows[0]}"] = [
            shown.score(evaluation, shown.rows[0], perspective) for perspective in PERSPECTIVES
        ]
    panels: list[Any] = [
        _parallel(f"Sweep axes and scores: {what}", shown.axes, scores) for what, scores in outcomes.items()
    ]
    text = (
        "A line per run, from the values of what its sweep varies to what came out; jobs of one sweep "
        "share a group."
    )
    return LayoutSection("Sweeps", text, (*panels, wr.RunComparer(diff_only="split")), wide=True)


def _parallel(title: str, axes: Sequence[str], scores: Sequence[str]) -> wr.ParallelCoordinatesPlot:
    """Axes from the runs' configs, then the three scores in the order of PERSPECTIVES."""
    columns = [
        wr.ParallelCoordinatesPlotColumn(metric=wr.Config(f"axes.{axis}"), display_name=axis) for axis in axes
    ]
    for perspective, score in zip(PERSPECTIVES, scores, strict=True):
        columns.append(
            wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(score), display_name=str(perspective))
        )
    return wr.ParallelCoordinatesPlot(title=title, columns=columns)


def build_workspace(entity: str, project: str, name: str, shown: LayoutContents) -> ws.Workspace:
    """A view of the project; what no section names (histograms of scores) follows in sections of its own."""
    sections = [
        ws.Section(
            name=part.title,
            panels=list(part.panels),
            is_open=True,
            layout_settings=ws.SectionLayoutSettings(columns=1 if part.wide else 3, rows=2),
        )
        for part in layout_sections(shown)
    ]
    columns = [
        "run:displayName",
        "run:group",
        "run:jobType",
        *(f"config:axes.value.{axis}" for axis in shown.axes),
    ]
    columns += [
        f"summary:{shown.score(evaluation, shown.rows[0], perspective)}"
        for evaluation in shown.evaluations
        for perspective in PERSPECTIVES
    ]
    runs = ws.RunsetSettings(pinned_columns=columns)
    settings = ws.WorkspaceSettings(max_runs=20)
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=sections,
        settings=settings,
        runset_settings=runs,
        auto_generate_panels=True,
    )


def build_report(entity: str, project: str, name: str, shown: LayoutContents) -> wr.Report:
    """The same as a page to be read from top to bottom; its panels are live."""
    blocks: list[Any] = [wr.TableOfContents()]
    for part in layout_sections(shown):
        width = WIDTH if part.wide else WIDTH // 3
        for place, panel in enumerate(part.panels):
            per_line = WIDTH // width
            panel.layout = wr.Layout(
                x=place % per_line * width, y=place // per_line * HEIGHT, w=width, h=HEIGHT
            )
        # a run set without a project is one of the report's own
        blocks += [
            wr.H1(part.title),
            wr.P(part.text),
            wr.PanelGrid(runsets=[wr.Runset(name="runs")], panels=list(part.panels)),
        ]
    return wr.Report(
        entity=entity,
        project=project,
        title=name,
        description="Written by python -m src.workspace.",
        blocks=blocks,
        width="fluid",
    )


def layout_json(workspace: ws.Workspace, report: wr.Report) -> dict[str, Any]:
    """What would be sent to the server."""
    # the library has no public way to see it; this is what `save` begins with
    return {
        "workspace": workspace._to_model().model_dump(mode="json", by_alias=True, exclude_none=True),
        "report": report._to_model().model_dump(mode="json", by_alias=True, exclude_none=True),
    }
