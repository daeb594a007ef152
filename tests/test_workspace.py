"""The layout for Weights & Biases as it is sent, and the errors without an account or network."""

import json
import socket
import time
from pathlib import Path

import pytest
from conftest import config

from src import workspace
from src.records import PERSPECTIVES


@pytest.fixture
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without keys."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_dry_run_writes_the_whole_layout(no_account: Path) -> None:
    evaluations = ["synthetic_edit/oracle", "real_edit/gpt4o"]
    file = no_account / "layout.json"
    workspace.main(
        config(
            "entity=me",
            f"evaluations=[{','.join(evaluations)}]",
            "axes=[integration]",
            "dry_run=true",
            f"output={file}",
            name="workspace",
        )
    )
    layout = json.loads(file.read_text())
    sections = {
        section["name"]: section["panels"]
        for section in layout["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    }
    each = [
        title for evaluation in evaluations for title in (f"Scores: {evaluation}", f"Edits: {evaluation}")
    ]
    assert list(sections) == ["Training", "Previews", *each, "Sweeps"]
    assert [panel["config"]["metrics"][0] for panel in sections["Training"]] == [
        "train/loss",
        "validation/following",
        "train/gradient_norm",
    ]
    bars = [
        panel["config"]["metrics"]
        for panel in sections["Scores: real_edit/gpt4o"]
        if panel["viewType"] == "Bar Chart"
    ]
    assert [metrics[0] for metrics in bars[:3]] == [
        f"real_edit/gpt4o/5-5-5/{perspective}/score" for perspective in PERSPECTIVES
    ]
    assert "real_edit/gpt4o/edits" in json.dumps(sections["Edits: real_edit/gpt4o"])
    (columns, *_) = [
        panel["config"]["columns"] for panel in sections["Sweeps"] if "columns" in panel["config"]
    ]
    assert columns[0] == {"accessor": "config:axes.value.integration", "displayName": "integration"}
    headings = [
        block["children"][0]["text"]
        for block in layout["report"]["spec"]["blocks"]
        if block["type"] == "heading"
    ]
    assert headings == list(sections)


def test_without_an_account_one_line(no_account: Path, quickly_refused) -> None:
    assert "not logged in to Weights & Biases" in quickly_refused("entity=me", module="src.workspace")


def test_without_a_network_one_line_and_soon(
    no_account: Path, quickly_refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.workspace.has_key", lambda address: True)
    with socket.socket() as silent:  # takes connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(
            "src.workspace.server_address", lambda: f"http://127.0.0.1:{silent.getsockname()[1]}"
        )
        start = time.monotonic()
        message = quickly_refused("entity=me", "timeout=1", module="src.workspace")
    assert "can't be reached (timed out)" in message
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "entity=NAME is missing"),
        (["entity=me", "evaluations=[synthetic_edit]"], "not of the form benchmark/judge"),
        (["entity=me", "rows=[]"], "shows nothing"),
    ],
)
def test_requests_that_are_refused(no_account: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        workspace.main(config(*overrides, name="workspace"))
