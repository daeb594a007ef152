"""The page's workbench with the editor that comes with the repository."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conftest import config

from src.app import workbench_of
from src.app_page.workbench import Workbench

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


def shipped_workbench(folder: Path, editor: str = "demo_editor", judge: str | None = "oracle") -> Workbench:
    """With examples in a folder; two steps, as the tests look at the page."""
    given = [f"checkpoint={EXPERIMENTS / editor}", "sampler.steps=2"]
    given += [] if judge is None else [f"judge={judge}"]
    return workbench_of(config(*given, name="app"), folder)


def values_of(workbench: Workbench, number: int = 0, **changed: Any) -> Mapping[str, Any]:
    """The fields of the page as its browser sends them after an example was taken."""
    example = workbench.examples[number]
    names = ("following", "preserving", "quality")
    return {
        "picture": {"path": str(example.file)},
        "instruction": example.instruction,
        **dict(zip(names, example.target.scores, strict=True)),
        **{f"{name}_feedback": text for name, text in zip(names, example.target.feedback, strict=True)},
        "resize": example.resize,
        "seed": 0,
        "steps": 2,
        **{f"{name}_guidance": 1 for name in ("text", "image", "reward")},
        **changed,
    }
