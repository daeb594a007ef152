"""CPU seconds (user + system) that every command takes before it works.

    python experiments/startup.py                       # a table of all commands, 4 CPU minutes
    python experiments/startup.py tabulate edit         # of some

Columns: `--help`; an unknown key, refused; all imports of a run with the default config; importing only the
libraries that these modules use, the lower bound; their ratio. Commands that build no network and every
refused argument should stay below 2 s, the others below 1.2 times their lower bound.
"""

import ast
import importlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAVY = (
    "torch",
    "pytorch_lightning",
    "diffusers",
    "transformers",
    "datasets",
    "matplotlib",
    "scipy",
    "wandb",
)
"""Libraries that the last column names."""


def cpu_seconds(arguments: Sequence[str]) -> tuple[float, str]:
    """What a Python process takes, children included, and what it prints to stdout."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def statements(file: Path, in_functions: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports of a file, those in functions or not."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if in_functions else iter(tree.body)
    return (node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))


def import_everything(command: str) -> None:
    """Import what a run of a command with its default config needs, and print its library imports as JSON."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    importlib.import_module(f"src.{command}")
    for node in statements(ROOT / "src" / f"{command}.py", in_functions=True):
        exec(ast.unparse(node), {})
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        tree = OmegaConf.to_container(compose(command), resolve=False)
    for target in targets(tree):
        importlib.import_module(target.rpartition(".")[0])
    files = {
        name: module.__file__
        for name, module in sys.modules.items()
        if name.startswith("src.") and module.__file__ is not None
    }
    lines = {
        ast.unparse(node)
        for name, file in files.items()
        for node in statements(Path(file), name == f"src.{command}")
        if not ast.unparse(node).startswith(("from src", "import src"))
    }
    print(json.dumps(sorted(lines)))


def targets(tree: object) -> Iterator[str]:
    """Every `_target_` of a config that lies in src."""
    if isinstance(tree, dict):
        found = tree.get("_target_")
        if isinstance(found, str) and found.startswith("src."):
            yield found
        for child in tree.values():
            yield from targets(child)
    elif isinstance(tree, list):
        for child in tree:
            yield from targets(child)


def main(names: Sequence[str]) -> None:
    """Print the table."""
    from src.__main__ import commands

    print(
        "| command | --help | refused | imports | libraries | ratio | which |\n|---|---|---|---|---|---|---|"
    )
    for command in names or commands():
        help_seconds, _ = cpu_seconds(["-m", f"src.{command}", "--help"])
        refused, _ = cpu_seconds(["-m", f"src.{command}", "nonsense=1"])
        everything, printed = cpu_seconds([__file__, "--imports", command])
        libraries = json.loads(printed.splitlines()[-1])
        alone, _ = cpu_seconds(["-c", "\n".join(libraries)])
        heavy = [name for name in HEAVY if any(line.split()[1].startswith(name) for line in libraries)]
        numbers = (
            f"{help_seconds:.1f} | {refused:.1f} | {everything:.1f} | {alone:.1f} | {everything / alone:.2f}"
        )
        print(f"| {command} | {numbers} | {' '.join(heavy) or '-'} |", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if sys.argv[1:2] == ["--imports"]:
        import_everything(sys.argv[2])
    else:
        main(sys.argv[1:])
