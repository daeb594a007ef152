"""Commands start without the libraries that they don't need; importing torch takes two seconds, Lightning
eight.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from data.written import reward, write_list

from src.__main__ import commands
from src.data.columns import FEEDBACK, SCORES
from src.data.json_list import JsonList
from src.launch import CONF
from src.reward_file import append_rewards

HEAVY = ("torch", "pytorch_lightning", "diffusers", "transformers")
LIGHT = (
    "src.data.huggingface_table",
    "src.data.json_list",
    "src.data.pix2pix_tree",
    "src.data.synthetic",
    "src.data.training_rows",
    "src.judges.openai_chat",
    "src.judges.oracle",
    "src.evaluation.report",
    "src.evaluation.judge_benchmarks.asking",
    "src.evaluation.judge_benchmarks.erb_tiger",
    "src.evaluation.judge_benchmarks.imagenhub",
    "src.tabulation.runs",
    "src.inspection.summary",
    "src.studies.preparation",
    "src.studies.server",
    "src.loading",
)
"""Modules of commands that build no network, besides the entry points themselves."""


@pytest.fixture(scope="module")
def imported() -> dict[str, list[str]]:
    """The heavy libraries that each module has brought along, imported one after the other in one
    interpreter.
    """
    modules = [*(f"src.{name}" for name in commands()), *LIGHT]
    program = (
        "import importlib, json, sys\n"
        "found = {}\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        f"    found[name] = [heavy for heavy in {HEAVY!r} if heavy in sys.modules]\n"
        "from src.settings.help_page import help_page\n"
        "help_page('train', ['--help']) + help_page('train', ['--help', 'trainer'])\n"
        f"found['--help'] = [heavy for heavy in {HEAVY!r} if heavy in sys.modules]\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_every_command_checks_its_arguments_before_it_imports_torch(imported: dict[str, list[str]]) -> None:
    assert {name: heavy for name, heavy in imported.items() if heavy} == {}


@pytest.mark.parametrize("command", ["check_data", "inspect_rewards", "curate"])
def test_reading_a_dataset_needs_no_torch(command: str, tmp_path: Path) -> None:
    """Neither for the data module's rows, nor for the page about them, nor to choose among them."""
    rewards = {name: [5, 4, 0] for name in SCORES} | {name: ["None", "blurred", "lost"] for name in FEEDBACK}
    dataset = [
        "data=json_list",
        f"data.dataset.file={write_list(tmp_path, 3, **rewards)}",
        f"output={tmp_path / 'out'}",
    ]
    if command == "curate":
        ids = [JsonList(tmp_path / "rows.json").id_of(row) for row in range(3)]
        append_rewards(tmp_path / "r.jsonl", [reward(id) for id in ids])
        dataset += [f"annotations={tmp_path / 'r.jsonl'}", "curation=top", "curation.count=1"]
    program = (
        "import atexit, sys\n"
        f"sys.argv = ['{command}', *{dataset!r}]\n"
        f"atexit.register(lambda: print([heavy for heavy in {HEAVY!r} if heavy in sys.modules]))\n"
        f"from src import launch, {command}\n"
        f"launch.entry_point({command}.main, '{command}')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_is_listed_with_what_it_does() -> None:
    assert commands().keys() == {path.stem for path in CONF.glob("*.yaml")}
    assert all(text.endswith(".") for text in commands().values())
