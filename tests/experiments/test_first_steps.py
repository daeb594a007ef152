"""The notebook runs from its first cell to its last, and shows what it does now."""

import re
from copy import deepcopy

import nbformat
from nbclient import NotebookClient

from src.missing_settings import CONF

EXPERIMENTS = CONF.parent / "experiments"
LARGEST = 300_000
"""Bytes of a notebook whose pictures are small."""


def seen(notebook: nbformat.NotebookNode) -> list[list[object]]:
    """What a reader sees under each cell: texts but for their numbers, which differ in the last digit between
    machines, and kinds of pictures.
    """
    return [
        [
            re.sub(r"\d+\.\d", "1.0", output["text"]) if "text" in output else max(output["data"])
            for output in cell.get("outputs", [])
        ]
        for cell in notebook.cells
    ]


def test_the_notebook_runs_and_shows_what_it_does(monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(CONF.parent))  # the code beside this test, whatever is installed
    file = EXPERIMENTS / "first_steps.ipynb"
    saved = nbformat.read(file, as_version=4)
    fresh = deepcopy(saved)
    NotebookClient(fresh, timeout=300, resources={"metadata": {"path": str(EXPERIMENTS)}}).execute()
    for cell in fresh.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output["data"] = {"image/png": ""}
    assert seen(fresh) == seen(saved)
    assert sum(outputs == ["image/png"] for outputs in seen(saved)) == 2
    assert file.stat().st_size < LARGEST
