"""`multi-reward NAME` is `python -m src.NAME` from anywhere, with completion; what is installed is whole."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from commands import only_error

from src import __main__ as program
from src import environment
from src.checkpoint_paths import check_there
from src.launch import ending_unread, entry_point
from src.missing_settings import CONF

ROOT = CONF.parent


def answered(capfd, monkeypatch, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["bin/multi-reward", *arguments])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as stopped:
        program.main()
    return only_error(capfd.readouterr().err, stopped.value.code)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")  # of this process
def test_a_command_gets_its_arguments(capfd, monkeypatch) -> None:
    assert "give checkpoint=EDITOR" in answered(capfd, monkeypatch, "edit", "image=a.png")


def test_an_unknown_command_is_told_with_its_neighbours(capfd, monkeypatch) -> None:
    assert "no command 'evalute'; did you mean evaluate?" in answered(capfd, monkeypatch, "evalute")
    assert "no command 'x'; multi-reward lists them" in answered(capfd, monkeypatch, "x")


def test_alone_it_lists_all_commands(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bin/multi-reward"])
    program.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("multi-reward ")] == [*program.commands()]


def test_tab_completes_commands_settings_and_files(capsys, monkeypatch, tmp_path: Path) -> None:
    """By bash itself; the command that it asks is one of the test, which says what it was told."""
    monkeypatch.setattr(sys, "argv", ["bin/multi-reward", "completion"])
    program.main()
    asked = tmp_path / "multi-reward"
    asked.write_text('#!/bin/sh\necho "$*|$COMP_LINE" >> asked\necho sampler=paper sampler=tiny seed=\n')
    asked.chmod(0o755)
    script = capsys.readouterr().out + "".join(
        f"COMP_LINE='{line}'; COMP_WORDS=({line} {last}); COMP_CWORD={count}; _multi_reward; "
        'printf "%s," "${COMPREPLY[@]}"; echo\n'
        for line, last, count in (
            ("multi-reward ed", "", 1),
            ("multi-reward edit sampler=p", "", 2),
            ("multi-reward edit seed=3 image=as", "", 3),
        )
    )
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        check=True,
    )
    assert done.stdout.splitlines() == ["edit ,", "sampler=paper,", "image=asked,"]
    assert (tmp_path / "asked").read_text().splitlines()[0] == "edit -sc query=bash|edit sampler=p"


def test_an_installed_copy_holds_every_file_that_is_read() -> None:
    """Settings lie beside the code, in the repository and in site-packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"multi-reward": "src.__main__:main"}
    assert project["tool"]["setuptools"]["packages"]["find"]["include"] == ["src*", f"{CONF.name}*"]
    packed = {pattern.removeprefix("*") for pattern in project["tool"]["setuptools"]["package-data"]["*"]}
    files = [path for folder in ("src", CONF.name) for path in (ROOT / folder).rglob("*") if path.is_file()]
    kinds = {path.suffix for path in files if "__pycache__" not in path.parts}
    assert kinds - packed <= {
        ".py",
        ".md",
        ".svg",
        ".png",
    }  # pages about the code and their pictures are not read


def test_the_shipped_editor_is_named_where_a_command_runs_elsewhere(monkeypatch, tmp_path: Path) -> None:
    shipped = ROOT / "experiments/stage1"
    check_there(shipped)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"no checkpoint at experiments/stage1 in .*is {shipped}$"):
        check_there(Path("experiments/stage1"))
    (tmp_path / "experiments/stage1").mkdir(parents=True)
    check_there(Path("experiments/stage1"))


def test_the_commit_is_that_of_the_code_wherever_it_runs(monkeypatch, tmp_path: Path) -> None:
    here = environment.commit()
    monkeypatch.chdir(tmp_path)
    assert environment.commit() == here
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "environment.py"))
    assert environment.commit() == "unknown"


def test_output_that_nobody_reads_ends_a_command_and_another_broken_pipe_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m src.edit --help | head`"""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as output, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", output)
        with pytest.raises(BrokenPipeError, match="a server"), ending_unread():
            raise BrokenPipeError("a server")
        os.close(reading)
        patch.setattr(sys, "argv", ["src.edit", "--help"])
        with pytest.raises(SystemExit) as ended:
            entry_point(print, "edit")
    assert ended.value.code == 141
    assert capsys.readouterr().err == ""
