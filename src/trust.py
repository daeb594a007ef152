"""What the config of a saved editor may say. An editor from elsewhere is data: its config is checked before
anything is built, and whatever `conf/model` does not name is not called.

Allowed are the classes that `conf/model` names, each with its own arguments (of a library's class: those that
`conf/model` gives) and numbers of about their size. Classes of the user's own are opened by name:

    python -m src.edit checkpoint=EDITOR trust=[my_package] ...
"""

import inspect
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, final

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.missing_settings import CONF

TARGET, PARTIAL, CONVERT = "_target_", "_partial_", "_convert_"

ROOT = "src.editor.Editor"
"""What the config of an editor builds."""

GROUPS = ("model", "reward_model")
"""Groups of conf whose yamls say what saved configs may name."""

LIBRARIES = (
    *("src", "torch", "diffusers", "transformers", "peft", "safetensors", "tokenizers", "accelerate"),
    *("huggingface_hub", "datasets", "pytorch_lightning", "lightning_fabric", "lightning", "torchmetrics"),
    *("hydra", "omegaconf", "yaml", "numpy", "scipy", "matplotlib", "PIL", "httpx", "submitit", "wandb"),
    *("pip", "setuptools", "pkg_resources", "_pytest", "pytest", "conf", "tests", "experiments"),
)
"""Packages that are nobody's own code: they hold loaders and runners, so `trust` does not open them."""

COMMENTED = {"transformers.BitsAndBytesConfig": {"load_in_4bit": (True,), "load_in_8bit": (True,)}}
"""Classes that `conf/model` names in a comment only, as a value for `quantization`."""

TIMES = 64
"""A size may be this many times the largest that `conf/model` or the class's own default gives."""

MOST_NUMBER, MOST_TEXT, MOST_ENTRIES, MOST_DEPTH, MOST_CONFIG = 1_000_000, 20_000, 100_000, 32, 8_000_000


@final
@dataclass(frozen=True)
class AllowedClass:
    """A class that a saved config may name.

    Attributes:
        target: its dotted name.
        given: argument -> values that `conf/model` gives, None and interpolations left out.
        marks: `_partial_` and `_convert_` as they stand in `conf/model`.
    """

    target: str
    given: Mapping[str, Sequence[object]]
    marks: Mapping[str, object]

    @property
    def of_library(self) -> bool:
        """Whether the kinds of values, too, are those of `conf/model`."""
        return not self.target.startswith("src.")

    def arguments(self) -> Mapping[str, Sequence[object]]:
        """Arguments and known values of them: of a class of ours, also those of its signature."""
        return self.given if self.of_library else _own_arguments(self.target, self.given)


@final
@dataclass(frozen=True)
class Refusal:
    """Something that a config may not say.

    Attributes:
        text: what and where.
        opt_in: an entry of `trust` that allows it; None if nothing does.
    """

    text: str
    opt_in: str | None = None


def plain_tree(text: str, source: str) -> dict[str, Any]:
    """The mapping that a YAML text holds, without aliases, tags and interpolations.

    Args:
        text: from outside.
        source: where it was found, for messages.

    Raises:
        ValueError: not YAML, not a mapping, or more than plain values.
    """
    if len(text) > MOST_CONFIG:
        raise ValueError(
            f"{source} is {len(text)} letters long, and a config has {MOST_CONFIG} at most: it is not an "
            "editor's"
        )
    try:
        _check_events(text, source)
        tree = OmegaConf.to_container(OmegaConf.create(text))
    except (yaml.YAMLError, OmegaConfBaseException, NotImplementedError) as error:
        raise ValueError(
            f"{source} is not YAML ({' '.join(str(error).split())[:120]}): copy it again, or export the "
            "editor again"
        ) from error
    if not isinstance(tree, dict):
        raise ValueError(f"{source} holds no settings: export the editor again")
    for place, value in _leaves(tree, ""):
        if isinstance(value, str) and "${" in value:
            raise ValueError(
                f"{source} refers to something outside of it, {place}={value[:80]!r}: only plain values are "
                "read; nothing was looked up"
            )
    return {str(name): value for name, value in tree.items()}


def _check_events(text: str, source: str) -> None:
    """Raise ValueError for what makes a small YAML text a large or deep tree, or an object."""
    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        tag = getattr(event, "tag", None)
        odd = "an alias (*name)" if isinstance(event, yaml.AliasEvent) else f"the tag {tag}" if tag else None
        odd = f"nesting deeper than {MOST_DEPTH}" if depth > MOST_DEPTH else odd
        if odd is not None:
            line = event.start_mark.line + 1
            raise ValueError(f"line {line} of {source} has {odd}, and no config of an editor has: not read")


def check_model(tree: Mapping[str, Any], source: str, trust: Sequence[str] = ()) -> None:
    """Check the config of a saved editor, before anything is built.

    Args:
        tree: from `plain_tree`.
        source: where it was found, for messages.
        trust: packages, modules or classes of the user's own that it may name; or an allowed class, whose
            arguments are then free.

    Raises:
        ValueError: it names anything but an editor of classes and arguments that are allowed.
    """
    check_trust(trust)
    if tree.get(TARGET) != ROOT:
        raise ValueError(
            f"the config of {source} builds {tree.get(TARGET)!r}, and an editor is a {ROOT}; nothing of it "
            "was run"
        )
    _check_problems(tree, source, trust)


def check_reward_model(tree: Mapping[str, Any], source: str, trust: Sequence[str] = ()) -> None:
    """Check the config of a saved reward model, before anything is built; arguments as of `check_model`.

    Raises:
        ValueError: it names anything but a reward model of classes and arguments that are allowed.
    """
    check_trust(trust)
    target = tree.get(TARGET)
    if target not in reward_models() and not is_opened(target, trust):
        raise ValueError(
            f"the config of {source} builds {target!r}, and a reward model is one of "
            f"{', '.join(reward_models())}; nothing of it was run. If that is code of your own, say trust="
            f"[{own_package(target) or 'my_package'}]"
        )
    _check_problems(tree, source, trust)


def _check_problems(tree: Mapping[str, Any], source: str, trust: Sequence[str]) -> None:
    for problem in problems(tree, trust):
        said = f"the config of {source} {problem.text}; nothing of it was run"
        if problem.opt_in is None:
            raise ValueError(f"{said}. No saved editor of this project says so: take one that you trust")
        raise ValueError(
            f"{said}. If that is code of your own, or you know what it does, say trust=[{problem.opt_in}]"
        )


def check_arguments(target: str, arguments: object, source: str) -> None:
    """Raise ValueError unless these arguments from a file may be given to an allowed class."""
    for problem in _argument_problems(target, arguments, ""):
        raise ValueError(f"{source} {problem.text}; nothing of it was used")


def check_trust(trust: Sequence[str]) -> None:
    """Raise ValueError for an entry that opens a library or is no name."""
    if isinstance(trust, str):
        raise ValueError(f"trust={trust}: give a list, trust=[{trust}]")
    for entry in trust:
        root = str(entry).partition(".")[0]
        if not all(part.isidentifier() for part in str(entry).split(".")):
            raise ValueError(f"trust={entry!r}: give names of packages or classes, as in trust=[my_package]")
        is_library = root in LIBRARIES or root in sys.stdlib_module_names
        if is_library and entry not in allowed_classes():
            raise ValueError(
                f"trust={entry}: {root} is a library and no code of your own, it can do anything to this "
                "machine; name your own package, or a class that conf/model names"
            )


def needed_trust(tree: Mapping[str, Any], trust: Sequence[str] = ()) -> list[str]:
    """What `trust` must hold besides, for an editor of this config to be loaded again.

    Raises:
        ValueError: it could not be loaded at all.
    """
    found = list(problems(tree, trust))
    never = [problem.text for problem in found if problem.opt_in is None]
    if never:
        raise ValueError(f"an editor of this config could not be loaded again: it {never[0]}")
    return sorted({problem.opt_in for problem in found if problem.opt_in is not None})


def problems(tree: Mapping[str, Any], trust: Sequence[str]) -> Iterator[Refusal]:
    """Everything that a config may not say."""
    return _problems(tree, "", trust)


def _problems(node: object, place: str, trust: Sequence[str]) -> Iterator[Refusal]:
    if isinstance(node, list):
        for index, child in enumerate(node):
            yield from _problems(child, f"{place}[{index}]", trust)
    if not isinstance(node, Mapping):
        return
    target = node.get(TARGET)
    if target is None:
        yield from _stray_marks(node, place)
    elif not is_opened(target, trust):
        yield from _node_problems(node, place)
    for name, child in node.items():
        yield from _problems(child, f"{place}.{name}".lstrip("."), trust)


def _stray_marks(node: Mapping[Any, Any], place: str) -> Iterator[Refusal]:
    for name in node:
        if not isinstance(name, str) or name.startswith("_"):
            yield Refusal(f"has {name!r} at {place or 'its top'}, beside no class")


def is_opened(name: object, trust: Sequence[str]) -> bool:
    """Whether `trust` opens a class or package, by its dotted name."""
    return isinstance(name, str) and any(
        name == entry or (name.startswith(f"{entry}.") and entry not in allowed_classes()) for entry in trust
    )


def _node_problems(node: Mapping[Any, Any], place: str) -> Iterator[Refusal]:
    target, where = node[TARGET], place or "its top"
    known = allowed_classes().get(target) if isinstance(target, str) else None
    if known is None:
        yield Refusal(f"builds {target!r} at {where}, which conf/model does not name", own_package(target))
        return
    marks = {name: value for name, value in node.items() if str(name).startswith("_") and name != TARGET}
    if marks != known.marks:
        yield Refusal(
            f"has {marks or 'no mark'} at {where} where conf/model has {dict(known.marks) or 'none'} for "
            f"{target}"
        )
    arguments = {name: value for name, value in node.items() if name not in (TARGET, *marks)}
    yield from _argument_problems(target, arguments, place)


def own_package(target: object) -> str | None:
    """The package of a class that may be the user's own; None for this project's, a library's or Python's."""
    root = target.partition(".")[0] if isinstance(target, str) else ""
    is_own = root.isidentifier() and root not in LIBRARIES and root not in sys.stdlib_module_names
    return root if is_own else None


def _argument_problems(target: str, arguments: object, place: str) -> Iterator[Refusal]:
    if not isinstance(arguments, Mapping):
        yield Refusal(f"gives {target} {_short(arguments)} in place of arguments")
        return
    known = allowed_classes()[target]
    values = known.arguments()
    for name, value in arguments.items():
        here = f"{place}.{name}".lstrip(".")
        if name not in values:
            yield Refusal(f"gives {target} the argument {here}, which conf/model does not", target)
            continue
        wrong = _value_problem(value, values[name], known.of_library)
        if wrong is not None:
            yield Refusal(f"has {here}={_short(value)}, {wrong}", target)


def _value_problem(value: object, given: Sequence[object], of_library: bool) -> str | None:
    """What is wrong with an argument's value, or None. Nodes below are looked at by themselves."""
    if of_library and given and value is not None and _kind(value) not in map(_kind, given):
        return f"where conf/model gives {_short(given[0])}"
    leaves = [value] if not isinstance(value, list | Mapping) else [leaf for _, leaf in _flat(value)]
    if len(leaves) > MOST_ENTRIES:
        return f"which has more than {MOST_ENTRIES} entries"
    most = _bound(_numbers(given))
    for leaf in leaves:
        if isinstance(leaf, str) and (len(leaf) > MOST_TEXT or "\0" in leaf):
            return f"a text of more than {MOST_TEXT} letters, or with a NUL"
        if isinstance(leaf, int | float) and not (math.isfinite(leaf) and abs(leaf) <= most):
            return f"and {most:g} is the most"
    return None


def _bound(given: Sequence[float | int]) -> float | int:
    """The largest number that may stand where these do. Whole numbers are sizes, others are not."""
    if not given or any(isinstance(number, float) for number in given):
        return MOST_NUMBER
    return TIMES * max(1, *map(abs, given))


def _kind(value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if number else "list" if isinstance(value, list | tuple) else type(value).__name__


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _numbers(values: object) -> list[float | int]:
    """All numbers in nested sequences; true and false are none."""
    if isinstance(values, list | tuple):
        return [number for value in values for number in _numbers(value)]
    return [values] if isinstance(values, int | float) and not isinstance(values, bool) else []


def _leaves(node: object, place: str) -> Iterator[tuple[str, object]]:
    """All values and keys of a tree, with their places."""
    if isinstance(node, Mapping):
        for name, child in node.items():
            yield place, name
            yield from _leaves(child, f"{place}.{name}".lstrip("."))
    elif isinstance(node, list | tuple):
        for index, child in enumerate(node):
            yield from _leaves(child, f"{place}[{index}]")
    else:
        yield place, node


def _flat(node: object) -> Iterator[tuple[str, object]]:
    """The values of a tree down to the nodes that build something."""
    if isinstance(node, Mapping):
        for name, child in node.items() if TARGET not in node else ():
            yield from _flat(child) if isinstance(child, Mapping | list) else [(str(name), child)]
    elif isinstance(node, list):
        for child in node:
            yield from _flat(child) if isinstance(child, Mapping | list) else [("", child)]


@cache
def allowed_classes() -> Mapping[str, AllowedClass]:
    """The classes that the yaml files of conf/model name, by their `_target_`."""
    given: dict[str, dict[str, list[object]]] = {
        target: {name: list(values) for name, values in arguments.items()}
        for target, arguments in COMMENTED.items()
    }
    marks: dict[str, dict[str, object]] = {target: {} for target in COMMENTED}
    for node in _config_nodes():
        target = node[TARGET]
        marks[target] = {name: value for name, value in node.items() if name in (PARTIAL, CONVERT)}
        arguments = given.setdefault(target, {})
        for name, value in node.items():
            if not name.startswith("_"):
                found = arguments.setdefault(name, [])
                found += [] if value is None or (isinstance(value, str) and "${" in value) else [value]
    return {target: AllowedClass(target, arguments, marks[target]) for target, arguments in given.items()}


@cache
def reward_models() -> tuple[str, ...]:
    """The classes that the yamls of conf/reward_model build."""
    trees: Any = [OmegaConf.load(file) for file in sorted((CONF / "reward_model").glob("*.yaml"))]
    return tuple(dict.fromkeys(str(tree[TARGET]) for tree in trees if TARGET in tree))


def _config_nodes() -> Iterator[dict[str, Any]]:
    for file in sorted(file for group in GROUPS for file in (CONF / group).rglob("*.yaml")):
        yield from _nodes(OmegaConf.to_container(OmegaConf.load(file)))


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    """All nodes of a tree that build something."""
    if isinstance(tree, dict):
        if TARGET in tree:
            yield tree
        for child in tree.values():
            yield from _nodes(child)
    elif isinstance(tree, list):
        for child in tree:
            yield from _nodes(child)


def _own_arguments(target: str, given: Mapping[str, Sequence[object]]) -> Mapping[str, Sequence[object]]:
    """The arguments of a class of this project: those of its signature, and what it hands on."""
    module, _, name = target.rpartition(".")
    parameters = inspect.signature(getattr(import_module(module), name)).parameters.values()
    defaults = {
        each.name: [] if each.default in (None, inspect.Parameter.empty) else [each.default]
        for each in parameters
        if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    }
    return defaults | {argument: [*defaults.get(argument, []), *values] for argument, values in given.items()}
