"""What the README says is there: commands compose, paths exist, make targets are real."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import config

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = sorted(set(re.findall(r"^python -m src\.(\w+)(.*?)(?:#.*)?$", README, re.MULTILINE)))


@pytest.mark.parametrize(("module", "arguments"), COMMANDS)
def test_commands_compose(module: str, arguments: str) -> None:
    assert (ROOT / f"src/{module}.py").exists()
    overrides = [word for word in shlex.split(arguments) if "=" in word]
    # several values of an axis are a sweep; composing takes one of them
    single = [
        re.sub(r"^([\w/.+]+=[\w/]+),.*", r"\1", word) for word in overrides if not word.startswith("+sweep=")
    ]
    config(*single, name=module)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:src|conf|experiments)/[\w/.]*)`", README))))
def test_paths_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE))))
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links_and_images_exist(link: str) -> None:
    assert (ROOT / link).exists()
