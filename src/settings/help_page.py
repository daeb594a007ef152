"""What `python -m src.NAME --help` prints: what the command does, the groups that it takes, and its settings
with what the yamls say of them.

    python -m src.train --help                                  # all of it
    python -m src.train --help +experiment=reward_inspix2pix    # as that experiment has them
    python -m src.train --help trainer                          # the options of a group
"""

import ast
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from src.missing_settings import CONF
from src.settings.near_names import did_you_mean
from src.settings.refusals import composed_settings, plain_overrides, search_path

WIDTH = 110
HELP = ("--help", "-h")
VERSION = "--version"

GROUPS = {
    "aggregation": "one reward from three scores",
    "algorithm": "what is learnt in a step",
    "algorithm/supervision": "what else the editor is told while it learns",
    "annotator": "who rewards the triplets of the synthetic world",
    "benchmark": "what is edited and judged",
    "callbacks": "what is done during a training",
    "contests": "compared and rated edits that a reward model learns from",
    "control": "the same training without the reward's help, to compare with",
    "curation": "by what rule rows are kept",
    "data": "what is read",
    "execution": "how the network is run",
    "experiment": "a whole run",
    "image_metrics": "what is measured on edits, beside the judge",
    "judge": "who scores edits",
    "judge_benchmark": "what people said, to measure judges by",
    "kernel": "the noise of sampling steps that are learnt from",
    "learning": "the rates of a reward model's network; chosen with it",
    "logger": "where figures go",
    "model": "the editor",
    "model/backbone": "the pretrained model that edits",
    "model/integration": "where the reward enters it",
    "model/lora": "low-rank adapters in place of all its weights",
    "model/photographs": "at what size a small backbone trains on photographs",
    "model/process": "the noise process",
    "model/reader": "what reads instruction and image for SmartEdit",
    "model/reward_encoder": "what of the reward is read",
    "model/tokenizer": "how a small backbone reads words",
    "optimizer": "how weights are changed",
    "preference": "what a reward model's loss is",
    "reward_model": "the network that learns to judge",
    "rewards": "rewards that are joined by id",
    "sampler": "steps and guidance of editing",
    "sweep": "axes of which every combination is run",
    "targets": "the scores that are asked for, a row each",
    "trainer": "device, precision and length of the training",
    "window": "which sampling steps are learnt from",
    "world": "the synthetic world",
}
"""What each group decides."""

TRAININGS = ("train", "precompute", "throughput")
ADDED = {
    "experiment": TRAININGS,
    "sweep": ("train", "evaluate"),
    "control": ("train",),
    "rewards@data.rewards": (*TRAININGS, "check_data"),
    "model/lora@model.backbone.lora": TRAININGS,
    "algorithm/supervision@algorithm.supervision": ("train",),
}
"""Groups without a default, which are given with a plus, and the commands that take them."""


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether a command line wants a page rather than work."""
    return any(argument in (*HELP, VERSION) for argument in arguments)


def help_page(config_name: str, arguments: Sequence[str]) -> str:
    """The page that a command line asks for.

    Raises:
        ValueError: about a group that there isn't.
    """
    if VERSION in arguments:
        return f"multi-reward-editing {version('multi-reward-editing')}"
    given = [argument for argument in arguments if argument not in HELP]
    plain = list(plain_overrides(given))
    about = [argument for argument in plain if "=" not in argument and argument[:1] not in "-~"]
    if about:
        return "\n".join(_options_page(about[0]))
    overrides = [*search_path(given), *(each for each in plain if each not in about)]
    cfg = composed_settings(config_name, overrides, with_hydra=True)
    choices = {
        str(group): option
        for group, option in cfg.hydra.runtime.choices.items()
        if not str(group).startswith("hydra/") and group not in ("experiment", "sweep")
    }
    parts = [_docstring(config_name)]
    if choices:
        first = next(iter(choices))
        head = f"Groups, as in {first}=...; their options: python -m src.{config_name} --help GROUP"
        parts.append("\n".join([head, *_group_lines(config_name, choices)]))
    parts.append("\n".join(["Settings, each given as name=value:", *_setting_lines(cfg, config_name)]))
    return "\n\n".join(parts)


def options_of(group: str) -> list[str]:
    """The options of a group of conf/."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def chosen_files(cfg: DictConfig, config_name: str) -> list[tuple[str, Path]]:
    """The yamls that a config was composed of, each with the package that it fills; general ones first."""
    found = [("", CONF / f"{config_name}.yaml")]
    for group, option in cfg.hydra.runtime.choices.items():
        if isinstance(option, str) and not str(group).startswith("hydra/"):
            folder, _, package = str(group).partition("@")
            file = CONF / folder / f"{option}.yaml"
            if file.is_file():
                is_global = "@package _global_" in file.read_text(encoding="utf-8")
                found += _with_bases("" if is_global else package or folder.replace("/", "."), file)
    return found


def comments(file: Path) -> dict[str, str]:
    """What a yaml says of its settings, by dotted name: after them, or in the lines above; "" for nothing."""
    text = file.read_text(encoding="utf-8")
    node, lines = yaml.compose(text, Loader=yaml.SafeLoader), text.splitlines()
    return dict(_comments(node, lines, "")) if isinstance(node, yaml.MappingNode) else {}


def _docstring(config_name: str) -> str:
    source = (CONF.parent / "src" / f"{config_name}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or ""


def _group_lines(config_name: str, choices: Mapping[str, str | None]) -> Iterator[str]:
    added = [group for group, commands in ADDED.items() if config_name in commands]
    names = {group: f"{group}={option or 'null'}" for group, option in sorted(choices.items())}
    names |= {group: f"+{group}=" for group in added if group not in choices}
    for group, name in names.items():
        folder = group.partition("@")[0]
        text = f"{GROUPS[folder]}: {', '.join(options_of(folder))}" if folder in GROUPS else ""
        yield from _two_columns(name, text)


def _options_page(group: str) -> Iterator[str]:
    folder = group.lstrip("+").partition("@")[0]
    if not options_of(folder):
        raise ValueError(f"--help {group}: there is no group {group}{did_you_mean(folder, GROUPS)}")
    yield f"{folder}: {GROUPS.get(folder, '')}"
    for option in options_of(folder):
        lines = (CONF / folder / f"{option}.yaml").read_text(encoding="utf-8").splitlines()
        head = [line[1:].strip() for line in takewhile(_is_prose, lines) if "@package" not in line]
        said = " ".join(head).partition(". ")[0].rstrip(".:")
        yield from _two_columns(option, said)


def _is_prose(line: str) -> bool:
    """Whether a line is of a file's head, before its commands, which are indented."""
    return line.startswith("#") and not line.startswith("#   ")


def _two_columns(name: str, text: str) -> Iterator[str]:
    indent = 40
    if len(name) > indent - 4 and text:
        yield f"  {name}"
        name = ""
    start = f"  {name}".ljust(indent) if text else f"  {name}"
    yield from textwrap.wrap(start + text, WIDTH, subsequent_indent=" " * indent, break_long_words=False) or [
        ""
    ]


def _setting_lines(cfg: DictConfig, config_name: str) -> Iterator[str]:
    said: dict[str, str] = {}
    for package, file in chosen_files(cfg, config_name):
        for name, text in comments(file).items():
            key = f"{package}.{name}" if package else name
            said[key] = said.get(key) or text
    tree = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(tree, dict)
    own = comments(CONF / f"{config_name}.yaml")
    first = sorted((name for name in tree if name != "hydra"), key=lambda name: name not in own)
    for name, value in _settings({name: tree[name] for name in first}, ""):
        text = said.get(name, "")
        needed = "needed" if value == "???" else ""
        yield from _two_columns(f"{name}={'' if needed else value}", ": ".join(filter(None, (needed, text))))


def _settings(node: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in node.items():
        if isinstance(value, dict) and value:
            yield from _settings(value, f"{prefix}{name}.")
        elif not str(name).startswith("_"):
            yield f"{prefix}{name}", _typed(value)


def _typed(value: object) -> str:
    """A value as one types it, shortened."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    text = str(text).removesuffix("...\n").strip()
    return f"{text[:60]}…" if len(text) > 64 else text


def _with_bases(package: str, file: Path) -> list[tuple[str, Path]]:
    """A yaml and those that it builds upon by name (`base/files@_here_`)."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    found = [(package, file)]
    for entry in content.get("defaults", ()) if isinstance(content, dict) else ():
        if isinstance(entry, str) and entry != "_self_":
            name, _, inner = entry.partition("@")
            base = (CONF / name[1:] if name.startswith("/") else file.parent / name).with_suffix(".yaml")
            below = package if inner in ("", "_here_") else f"{package}.{inner}"
            found += _with_bases(below, base) if base.is_file() else []
    return found


def _comments(node: yaml.MappingNode, lines: Sequence[str], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        end = value.end_mark if value.end_mark.line == key.start_mark.line else key.end_mark
        line: str = lines[int(end.line)]
        _, mark, after = line[int(end.column) :].partition("#")
        above = after.strip() if mark else _above(lines, key.start_mark.line, key.start_mark.column)
        yield name, above
        if isinstance(value, yaml.MappingNode):
            yield from _comments(value, lines, f"{name}.")


def _above(lines: Sequence[str], line: int, column: int) -> str:
    """The comment in the lines above a key; none where it is the head of the file."""
    first = line
    while first and lines[first - 1].startswith(f"{' ' * column}#"):
        first -= 1
    return " ".join(text.strip().lstrip("# ") for text in lines[first:line]) if first else ""
