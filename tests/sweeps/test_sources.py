"""A sweep hands on where further yamls lie, and whose code an editor is made of."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from src.sweeps.code import changed_files, code_fingerprints
from src.sweeps.record import Job, Sweep
from src.sweeps.sources import Sources, sources_of
from src.sweeps.work import Jobs


@pytest.mark.parametrize(
    ("arguments", "of_jobs", "of_evaluations"),
    [
        (["+experiment=x", "seed=0,1"], [], []),
        (["--config-dir", "/mine", "-m", "seed=0,1"], ["--config-dir", "/mine"], ["--config-dir", "/mine"]),
        (
            ["-cd=/mine", "--config-name=own"],
            ["--config-name", "own", "--config-dir", "/mine"],
            ["--config-dir", "/mine"],
        ),
        (
            ["-m", "hydra.searchpath=[file:///a]"],
            ["hydra.searchpath=[file:///a]"],
            ["hydra.searchpath=[file:///a]"],
        ),
    ],
)
def test_jobs_know_the_yamls_of_their_sweep(
    arguments: Sequence[str], of_jobs: Sequence[str], of_evaluations: Sequence[str]
) -> None:
    found = sources_of(arguments)
    assert (list(found.of_jobs), list(found.of_evaluations)) == (of_jobs, of_evaluations)


def test_a_folder_is_found_from_anywhere() -> None:
    assert sources_of(["--config-dir", "mine"]).folder == str(Path("mine").absolute())


def test_commands_of_jobs_and_evaluations_carry_them_and_the_trust(tmp_path: Path) -> None:
    job = Job(0, ["seed=0"], [], {}, "", "", trust=["mine", "more"])
    sources = Sources("/mine", "own", ("hydra.searchpath=[file:///a]",))
    jobs = Jobs(
        Sweep("seed", "src.train", ""), tmp_path, lambda _: False, ["judge=mine"], "same", str, sources
    )
    train, evaluate = (step.command[1:] for step in jobs.steps(job))
    own = ("--config-dir", "/mine", "hydra.searchpath=[file:///a]")
    assert train[:8] == ("-m", "src.train", "--config-name", "own", *own, "seed=0")
    assert evaluate == (
        *("-m", "src.evaluate", *own, f"checkpoint={tmp_path}/0/editor", "trust=[mine,more]", "judge=mine"),
    )


def test_a_change_of_ones_own_code_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "own_package_of_a_test"
    package.mkdir()
    for name, text in {"__init__": "", "parts": "from . import sizes\n", "sizes": "WIDTH = 1\n"}.items():
        (package / f"{name}.py").write_text(text)
    settings = {"model.integration._target_": f"{package.name}.parts.Scale", "note": "json.JSONDecoder"}
    before = code_fingerprints("src.contact_sheet", settings)
    assert {str(package / "parts.py"), str(package / "sizes.py")} <= before.keys()
    assert not any("json" in Path(file).stem for file in before if not file.startswith("src/"))
    (package / "sizes.py").write_text("WIDTH = 22\n")
    assert changed_files(before, code_fingerprints("src.contact_sheet", settings)) == [
        str(package / "sizes.py")
    ]
    assert package.name not in sys.modules
