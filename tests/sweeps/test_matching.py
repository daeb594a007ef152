"""A command's jobs are recognised in a sweep's folder by what their results depend on, and refused where that
changed.
"""

from pathlib import Path

import pytest

from src.sweeps.code import changed_files, code_fingerprints, code_hash
from src.sweeps.matching import Cell, find_same_job, match_cells
from src.sweeps.record import FILE, Job, Sweep, read_sweep
from src.sweeps.settings import changed_settings, common_settings, fingerprint

FILES = {"src/editor.py": "a", "src/train.py": "b"}


def cell(axes: str, files: dict[str, str] = FILES, **settings: object) -> Cell:
    return Cell(("+experiment=x", *axes.split()), tuple(axes.split()), settings, files, code_hash(files))


def sweep_of(*cells: Cell, folder: Path) -> Sweep:
    sweep = Sweep("table5", "src.train", "python -m src.train")
    for job in match_cells(sweep, cells, folder, "same"):
        job.status = "finished"
        (folder / str(job.number) / "checkpoints").mkdir(parents=True)
        (folder / str(job.number) / "checkpoints" / "last.ckpt").touch()
    for each in cells:
        sweep.code[each.code] = {"commit": "c" * 40, "files": dict(each.files)}
    return sweep


def test_settings_are_equal_however_they_are_spelt() -> None:
    assert fingerprint({"a": 5, "b": 0.01}) == fingerprint({"b": 1e-2, "a": 5.0})
    assert fingerprint({"a": 1}) != fingerprint({"a": True}) != fingerprint({"a": "True"})
    assert changed_settings({"steps": 100, "same": 1.0}, {"steps": 200, "same": 1, "new": "x"}) == [
        "new was absent and is x",
        "steps was 100 and is 200",
    ]
    assert common_settings([{"a": 1, "b": 2}, {"a": 1.0, "b": 3}]) == {"a": 1}


def test_the_same_command_finds_its_jobs_and_more_values_get_new_numbers(tmp_path: Path) -> None:
    sweep = sweep_of(cell("seed=0", seed=0), cell("seed=1", seed=1), folder=tmp_path)
    again = match_cells(
        sweep, [cell("seed=2", seed=2), cell("seed=1", seed=1), cell("seed=0", seed=0)], tmp_path, "same"
    )
    assert [(job.number, job.status) for job in again] == [(2, "waiting"), (1, "finished"), (0, "finished")]
    assert [job.number for job in sweep.jobs] == [0, 1, 2]


def test_a_job_is_found_by_its_settings_when_its_axes_are_others(tmp_path: Path) -> None:
    sweep = sweep_of(cell("integration=both", seed=0, model="both"), folder=tmp_path)
    zero, one = match_cells(
        sweep,
        [
            cell("integration=both seed=0", seed=0, model="both"),
            cell("integration=both seed=1", seed=1, model="both"),
        ],
        tmp_path,
        "same",
    )
    assert (zero.number, zero.status, zero.axes) == (0, "finished", ["integration=both", "seed=0"])
    assert (one.number, one.status) == (1, "waiting")


def test_two_cells_that_are_the_same_are_two_jobs(tmp_path: Path) -> None:
    cells = [
        cell("encoder=none integration=both", model=None),
        cell("encoder=none integration=none", model=None),
    ]
    sweep = sweep_of(*cells, folder=tmp_path)
    assert len({job.hash for job in sweep.jobs}) == 1
    assert [job.number for job in match_cells(sweep, cells, tmp_path, "same")] == [0, 1]


def test_changed_settings_are_named_and_refused_unless_nothing_was_begun(tmp_path: Path) -> None:
    sweep = sweep_of(cell("seed=0", seed=0, steps=100), folder=tmp_path)
    with pytest.raises(
        ValueError, match=r"job 0 \(seed=0\) .* was finished with other settings: steps was 100 and is 200"
    ):
        match_cells(sweep, [cell("seed=0", seed=0, steps=200)], tmp_path, "same")
    sweep.jobs[0].status = "interrupted"
    with pytest.raises(ValueError, match="was begun with other settings"):
        match_cells(sweep, [cell("seed=0", seed=0, steps=200)], tmp_path, "same")
    (tmp_path / "0/checkpoints/last.ckpt").unlink()
    sweep.jobs[0].status = "failed"
    (job,) = match_cells(sweep, [cell("seed=0", seed=0, steps=200)], tmp_path, "same")
    assert (job.number, job.settings["steps"]) == (0, 200)


def test_changed_code_is_named_and_refused_or_recorded(tmp_path: Path) -> None:
    sweep = sweep_of(cell("seed=0", seed=0), folder=tmp_path)
    other = cell("seed=0", files={**FILES, "src/editor.py": "c"}, seed=0)
    with pytest.raises(
        ValueError,
        match=r"other code \(commit cccccccccccc\): src/editor.py changed; .*hydra.launcher.code=any",
    ):
        match_cells(sweep, [other], tmp_path, "same")
    (job,) = match_cells(sweep, [other], tmp_path, "any")
    assert job.code == code_hash(FILES), "what is finished keeps the code that made it"
    assert len(sweep.notes) == 1
    assert "src/editor.py had changed" in sweep.notes[0]


def test_a_job_of_another_sweep_is_the_same_only_on_the_same_code(tmp_path: Path) -> None:
    other = sweep_of(cell("seed=0", seed=0), folder=tmp_path / "other")
    job = Job(3, [], [], {"seed": 0}, fingerprint({"seed": 0}), code_hash(FILES))
    found = find_same_job(job, {tmp_path / "other": other}, "same")
    assert found is not None
    assert found[0] == (tmp_path / "other/0").resolve()
    job.code = "another"
    assert find_same_job(job, {tmp_path / "other": other}, "same") is None
    assert find_same_job(job, {tmp_path / "other": other}, "any") is not None


def test_the_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    sweep = sweep_of(cell("seed=0", seed=0, steps=9), cell("seed=1", seed=1, steps=9), folder=tmp_path)
    sweep.jobs[1].seconds = {"train": 1.5}
    sweep.write(tmp_path)
    assert read_sweep(tmp_path) == sweep
    (tmp_path / FILE).write_text("{")
    with pytest.raises(ValueError, match=r"sweep.json can't be read"):
        read_sweep(tmp_path)


def test_code_is_what_is_imported_and_not_its_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "src"
    source.mkdir()
    monkeypatch.setattr("src.sweeps.code.SRC", source)

    def write(name: str, text: str) -> dict[str, str]:
        (source / f"{name}.py").write_text(text)
        return code_fingerprints("src.train", {"target": "src.model.Model"})

    write("seeds", "x = 1\n")
    write("unused", "y = 1\n")
    write("model", "from src.seeds import x\n\n\nclass Model:\n    '''What it is.'''\n    y = x\n")
    first = write("train", "import os\n")
    assert sorted(first) == ["src/model.py", "src/seeds.py", "src/train.py"]
    assert (
        write("model", "from src.seeds import x  # why\nclass Model:\n    '''Said better.'''\n    y = x\n")
        == first
    )
    assert write("unused", "y = 2\n") == first
    assert changed_files(first, write("seeds", "x = 12\n")) == ["src/seeds.py"]
