"""What README and pages say is there: commands compose, paths and links exist, the map is complete."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import config

from src.command_line import quoted_arguments

ROOT = Path(__file__).resolve().parent.parent
FOLDER_PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("src/**/README.md"))]
EXPERIMENTS = [
    path
    for folder in ("", "results/", "stage1/", "demo_editor/")
    for path in sorted(ROOT.glob(f"experiments/{folder}*.md"))
]
TEXTS = {str(path.relative_to(ROOT)): path.read_text() for path in [*FOLDER_PAGES, *EXPERIMENTS]}
LOG = "experiments/LOG.md"
"""Dated notes: its commands and files are those of the day."""

MODEL_CARDS = ("experiments/stage1/README.md", "experiments/demo_editor/README.md")

README = TEXTS["README.md"]
MAP = re.search(r"^## Map\n+```text\n(.*?)```", README, re.MULTILINE | re.DOTALL)


def code_lines(text: str) -> list[str]:
    """Commands in code blocks, indented lines and code spans, with lines joined and variables filled in."""
    variables = dict(re.findall(r"^([A-Z]\w*)=\"(.*)\"$", text, re.MULTILINE))
    joined = re.sub(r"\\\n\s*", " ", text)
    spans = [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", joined)]
    lines = [line.partition("  #")[0].strip() for line in joined.splitlines()]
    for name, value in reversed(variables.items()):
        lines, spans = ([line.replace(f"${name}", value) for line in each] for each in (lines, spans))
    return [*lines, *spans]


def commands(pattern: str) -> list[tuple[str, ...]]:
    """The distinct commands of all pages that a pattern matches, with their page."""
    found = {
        match.groups(): page
        for page, text in TEXTS.items()
        if page != LOG
        for line in code_lines(text)
        if (match := re.match(pattern, line))
    }
    return [(page, *groups) for groups, page in found.items()]


@pytest.mark.parametrize(("page", "module", "arguments"), commands(r"python -m src\.(\w+)((?: .*)?)$"))
def test_commands_compose(page: str, module: str, arguments: str) -> None:
    assert (ROOT / f"src/{module}.py").exists()
    words = [word for word in shlex.split(arguments) if "=" in word or word.startswith("~")]
    overrides = [word for word in words if not word.endswith("=NAME")]
    # several values of an axis are a sweep; composing takes one of them
    single = [
        re.sub(r"^([\w/.+]+=[\w/.-]+),.*", r"\1", word)
        for word in overrides
        if not word.startswith("+sweep=")
    ]
    config(*quoted_arguments(module, single), name=module)


@pytest.mark.parametrize(
    ("page", "path"),
    [
        *commands(r"(?:bash|python) (experiments/[\w.]+)"),
        *(
            (page, f"{name.replace('.', '/')}.py")
            for page, name in commands(r"python -m ((?:tests|experiments|src\.judges)\.[\w.]+)")
        ),
    ],
)
def test_scripts_exist(page: str, path: str) -> None:
    assert (ROOT / path).exists()


def mentioned(pattern: str) -> list[tuple[str, str]]:
    return [
        (page, name)
        for page, text in TEXTS.items()
        if page != LOG
        for name in sorted(set(re.findall(pattern, text, re.MULTILINE)))
    ]


@pytest.mark.parametrize(("page", "path"), mentioned(r"`((?:src|conf|experiments|tests)/[a-z0-9_/.]*)`"))
def test_paths_exist(page: str, path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(("page", "target"), mentioned(r"(?:`|^)make ([a-z-]+)"))
def test_make_targets_exist(page: str, target: str) -> None:
    assert re.search(rf"^{target}:.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(("page", "link"), mentioned(r"\]\(([^)\s]+)\)"))
def test_links_and_images_exist(page: str, link: str) -> None:
    if link.startswith("https://"):
        return
    path, _, anchor = link.partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    assert target.exists()
    if anchor:
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_read_in_a_minute() -> None:
    lines = README.splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("page", [page for page in TEXTS if "results/" not in page])
def test_lines_of_pages_are_short(page: str) -> None:
    assert max(map(len, TEXTS[page].splitlines())) <= 110


def test_the_map_is_complete() -> None:
    assert MAP is not None
    named = re.findall(r"(?<![\w/])([\w/]+(?:\.py|/))", MAP[1])
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "src" / name).exists(), name
    places = {name.removeprefix("src/").strip("/") for name in named}
    entries = {path.name for path in (ROOT / "src").iterdir() if not path.name.startswith("__")}
    assert entries <= places
    assert {"conf", "experiments", "tests"} <= places


OPTIONS = re.findall(r"^\| `([\w/]+)` \| ([\w, ]+) \|", README, re.MULTILINE)


@pytest.mark.parametrize(("group", "options"), OPTIONS)
def test_the_options_that_are_offered_exist(group: str, options: str) -> None:
    for option in options.split(", "):
        assert (ROOT / f"conf/{group}/{option}.yaml").exists(), option


def test_every_page_of_a_folder_has_the_same_shape() -> None:
    """What for, commands in the order of use, what is written where, how to add one's own."""
    for page, text in TEXTS.items():
        if page.endswith("/README.md") and "conditioning" not in page and page not in MODEL_CARDS:
            headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
            assert any("ommands, in the order of use" in heading for heading in headings), page
            assert "What is written where" in headings, page
            assert headings[-1].startswith("Add your own"), page
