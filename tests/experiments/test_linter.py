"""experiments/linter.py in small: every kind of fault is planted and found, with few false alarms."""

import importlib.util
import sys
from pathlib import Path

from src.data.lint import KINDS
from src.synthetic.world import World

PATH = Path(__file__).resolve().parents[2] / "experiments/linter.py"


def test_planted_faults_are_found(monkeypatch) -> None:
    spec = importlib.util.spec_from_file_location("linter_experiment", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    data = module.sample_triplets(World(128), 160)
    single, habits = module.row_fault_lines(data), module.habit_lines(data)
    claimed = [line for line in [*single, *habits] if "cropped" not in line.kind]
    assert sum(line.found for line in claimed) >= 0.95 * sum(line.planted for line in claimed)
    planted = {line.kind.split(",")[0] for line in claimed if line.planted}
    assert planted == set(KINDS) - {"unreadable", "mild_at_5"}, "each kind has its plant"
    assert sum(
        line.false or 0 for line in single if KINDS[line.kind.split(",")[0]].level == "fault"
    ) <= 0.02 * len(data.entries)
