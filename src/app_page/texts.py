"""What the page says, as HTML in which every text from outside is escaped."""

from collections.abc import Sequence
from html import escape

from src.app_page.workbench import StripImage, Workbench
from src.pages import webp_data_uri
from src.records import PERSPECTIVES, Reward, Verdict

NO_REWARD = (
    "It was trained without rewards, so scores and feedback change nothing and are switched off: "
    "experiments/demo_editor is an editor that knows them."
)


def header(workbench: Workbench) -> str:
    """Which editor it is, and what it can do."""
    editor = workbench.editor
    size = f"trained on images of {editor.trained_side} pixels"
    reward = "" if workbench.signals else f" {NO_REWARD}"
    return f"<h1>Multi-reward editing</h1><p>{escape(workbench.name)}, {size}.{escape(reward)}</p>"


def paragraph(text: str) -> str:
    """A text as it is."""
    return f"<p>{escape(text)}</p>"


def message(text: str) -> str:
    """One line that says what went wrong; nothing for an empty one."""
    return f'<p role="alert">{escape(text)}</p>' if text else ""


def strip_figures(strip: Sequence[StripImage]) -> str:
    """The edits of a strip, each over the scores that were asked for."""
    figures = "".join(
        f'<figure><img src="{webp_data_uri(each.image)}" alt="the edit for {each.scores}">'
        f"<figcaption>{each.scores}</figcaption></figure>"
        for each in strip
    )
    return f'<div class="strip">{figures}</div>'


def verdict_table(reward: Reward) -> str:
    """A judge's three verdicts."""
    rows = "".join(
        f"<tr><th>{perspective}</th>{_cells(verdict)}</tr>"
        for perspective, verdict in zip(PERSPECTIVES, reward.verdicts, strict=True)
    )
    return f"<table><caption>judged by {escape(reward.judge)}</caption>{rows}</table>"


def _cells(verdict: Verdict) -> str:
    score = "no verdict" if verdict.score is None else f"{verdict.score:.1f}"
    success = "" if verdict.success is None else (", success" if verdict.success else ", no success")
    return f"<td>{score}{success}</td><td>{escape(verdict.feedback)}</td>"
