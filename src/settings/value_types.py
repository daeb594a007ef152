"""What the settings of a config take, asked of the classes that it builds, before any is built.

The config tree is the object tree, so the parameters of a class say what may stand in its node:

    trainer.max_steps=ten takes a whole number
    data.check=al takes headers, all or a whole number; did you mean all?

Our own classes are read as source, without importing what they import; those of a library are asked if it is
imported already, and then only about texts in the place of numbers, as their annotations are not always true.
"""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, final, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf

from src.missing_settings import CONF, MISSING
from src.settings.near_names import did_you_mean

TARGET = "_target_"
ROOT = CONF.parent

WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "list": "a list",
    "dict": "named values",
    "object": "settings of its own",
    "null": "null",
}
PLAIN = {"int": "int", "float": "float", "bool": "bool", "str": "str", "Path": "str", "None": "null"}
LISTS = ("list", "List", "Sequence", "tuple", "Tuple", "Iterable", "Collection", "set", "frozenset")
MAPPINGS = ("dict", "Dict", "Mapping", "MutableMapping")

OPTIONAL = {"limit": "int", "matrix_side": "int", "step": "int", "language_head_width": "int"}
"""Settings of entry points whose default, null, doesn't tell their kind."""


@final
@dataclass(frozen=True)
class Takes:
    """What a parameter takes.

    Attributes:
        kinds: keys of WORDS.
        values: single values, those of a Literal.
        elements: of its lists; None: anything.
        anything: nothing is known of it.
    """

    kinds: frozenset[str] = frozenset()
    values: tuple[object, ...] = ()
    elements: "Takes | None" = None
    anything: bool = False

    def __or__(self, other: "Takes") -> "Takes":
        """Either of two."""
        lists = [each.elements for each in (self, other) if "list" in each.kinds]
        elements = lists[0] if len(lists) == 1 else None
        either = self.anything or other.anything
        return Takes(self.kinds | other.kinds, self.values + other.values, elements, either)

    def fits(self, value: object) -> bool:
        """Whether a value of YAML is one of these."""
        if self.anything or any(value == each and type(value) is type(each) for each in self.values):
            return True
        if isinstance(value, list):
            elements = self.elements or ANYTHING
            return "list" in self.kinds and all(map(elements.fits, value))
        kind = kind_of(value)
        return kind in self.kinds or (kind == "int" and "float" in self.kinds)

    def described(self) -> str:
        """In words."""
        words = [str(value) for value in self.values]
        kinds = self.kinds - {"int"} if "float" in self.kinds else self.kinds
        words += [text for kind, text in WORDS.items() if kind in kinds]
        if self.elements is not None and "a list" in words and not self.elements.anything:
            words[words.index("a list")] = f"a list, each of {self.elements.described()}"
        return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


ANYTHING = Takes(anything=True)


@final
@dataclass(frozen=True)
class Parameters:
    """What a class or function takes.

    Attributes:
        takes: by parameter.
        others: whether it takes more than these.
    """

    takes: Mapping[str, Takes]
    others: bool = False
    of_library: bool = False


def check_types(cfg: DictConfig, config_name: str) -> None:
    """Raise ValueError for the first setting whose value its class doesn't take, or that no class takes.
    Interpolations are checked where they lead; those of resolvers are not.
    """
    tree = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(tree, dict)
    own = OmegaConf.to_container(OmegaConf.load(CONF / f"{config_name}.yaml"), resolve=False)
    assert isinstance(own, dict)
    problems = [*_problems(tree, tree, ""), *_own_problems(own, tree, "")]
    if problems:
        raise ValueError(problems[0])


def kind_of(value: object) -> str:
    """The key of WORDS that a value of YAML belongs to."""
    kinds = {NoneType: "null", bool: "bool", int: "int", float: "float", str: "str", list: "list"}
    return kinds.get(type(value), "dict")


def _own_problems(defaults: Mapping[Any, Any], given: Mapping[Any, Any], prefix: str) -> Iterator[str]:
    """Of the settings in an entry point's own file: a number, list or node stays one."""
    for name, default in defaults.items():
        if name not in given or name in ("defaults", "hydra") or str(name).startswith("_"):
            continue
        value, key = given[name], f"{prefix}{name}"
        if isinstance(default, dict):
            if isinstance(value, dict):
                yield from _own_problems(default, value, f"{key}.") if TARGET not in default else ()
            elif value is not None and not _is_open(value):
                yield _is_node(key, default, value)
            continue
        kind = OPTIONAL.get(str(name), "null") if default is None else kind_of(default)
        takes = _own_takes(kind, default is None)
        if not _is_open(value) and not takes.fits(value):
            yield _wrong(key, value, takes)


def _own_takes(kind: str, is_optional: bool) -> Takes:
    if kind in ("str", "null", "dict"):
        return ANYTHING
    optional = frozenset({"null"} if is_optional else ())
    # whether a number must be whole is for the entry point to say: 40 (megabytes) may be 2.5
    return Takes(frozenset({"float"} if kind == "int" and not is_optional else {kind}) | optional)


def _is_node(key: str, node: Mapping[Any, Any], value: object) -> str:
    below = [f"{key}.{name}=" for name in node if not str(name).startswith("_")]
    return f"{key}={_typed(value)}: {key} holds settings of its own: give {' or '.join(below)}"


def _problems(root: Mapping[Any, Any], node: object, prefix: str) -> Iterator[str]:
    """Of everything below a node."""
    if isinstance(node, list):
        for index, child in enumerate(node):
            yield from _problems(root, child, f"{prefix.rstrip('.')}[{index}].")
    if not isinstance(node, Mapping):
        return
    target = node.get(TARGET)
    parameters = parameters_of(target) if isinstance(target, str) and "${" not in target else None
    for name, child in node.items():
        if parameters is not None and isinstance(name, str) and not name.startswith("_"):
            yield from _parameter_problems(root, parameters, f"{prefix}{name}", name, child, str(target))
        yield from _problems(root, child, f"{prefix}{name}.")


def _parameter_problems(
    root: Mapping[Any, Any], parameters: Parameters, key: str, name: str, value: object, target: str
) -> Iterator[str]:
    if name not in parameters.takes:
        if not parameters.others:
            near = did_you_mean(name, parameters.takes, f"{key.removesuffix(name)}{{}}")
            given = "" if isinstance(value, Mapping) else f"={_typed(value)}"
            yield f"{key}{given}: {target.rpartition('.')[2]} takes no {name}{near}"
        return
    key, value = _followed(root, key, value)
    takes = parameters.takes[name]
    if isinstance(value, Mapping) or _is_open(value) or takes.fits(value):
        return
    if parameters.of_library and not isinstance(value, str):
        return
    yield _wrong(key, value, takes)


def _followed(root: Mapping[Any, Any], key: str, value: object) -> tuple[str, object]:
    """Where a plain interpolation, `${seed}`, leads: the setting that the user has given."""
    for _ in range(8):
        name = value[2:-1] if isinstance(value, str) and value[:2] == "${" and value[-1:] == "}" else ""
        if not name or not all(part.isidentifier() for part in name.split(".")):
            break
        found: object = root
        for part in name.split("."):
            found = found.get(part, "${}") if isinstance(found, Mapping) else "${}"
        key, value = name, found
    return key, value


def _is_open(value: object) -> bool:
    """Whether a value is still to come, in whole or in part."""
    if isinstance(value, list):
        return any(map(_is_open, value))
    return isinstance(value, dict) or (
        isinstance(value, str) and ("${" in value or MISSING.fullmatch(value) is not None)
    )


def _wrong(key: str, value: object, takes: Takes) -> str:
    near = did_you_mean(str(value), [str(each) for each in takes.values if isinstance(each, str)])
    return f"{key}={_typed(value)}: {key} takes {takes.described()}{near}"


def _typed(value: object) -> str:
    """A value as it is typed."""
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)


def parameters_of(target: str) -> Parameters | None:
    """What a class or function takes, by its dotted name; None where that can't be known without importing
    a library.
    """
    if target.startswith("src."):
        return _own_parameters(target)
    return _library_parameters(target) if target.partition(".")[0] in sys.modules else None


@final
@dataclass(frozen=True, eq=False)
class Module:
    """A file of our own, as source.

    Attributes:
        defined: its classes, functions and values by name.
        imported: names that it takes from other files of ours, and where they are defined.
    """

    defined: Mapping[str, ast.stmt] = field(default_factory=dict)
    imported: Mapping[str, str] = field(default_factory=dict)


@cache
def _module(name: str) -> Module | None:
    file = ROOT / Path(*name.split(".")).with_suffix(".py")
    if not file.is_file():
        return None
    defined: dict[str, ast.stmt] = {}
    imported: dict[str, str] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            defined[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            defined[node.targets[0].id] = node
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("src"):
            imported |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return Module(defined, imported)


def _found(target: str) -> tuple[str, ast.stmt] | None:
    """The definition of a dotted name and the module that it stands in."""
    name, _, last = target.rpartition(".")
    module = _module(name) if name else None
    if module is None:
        return None
    if last in module.imported:
        return _found(module.imported[last])
    return (name, module.defined[last]) if last in module.defined else None


@cache
def _own_parameters(target: str) -> Parameters | None:
    found = _found(target)
    if found is None:
        return None
    module, node = found
    if isinstance(node, ast.ClassDef):
        made_by = [
            each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"
        ]
        if not made_by:
            return _fields(node, module)
        node = made_by[0]
    return _arguments(node, module) if isinstance(node, ast.FunctionDef) else None


def _fields(node: ast.ClassDef, module: str) -> Parameters | None:
    """Of a dataclass."""
    if not any("dataclass" in ast.unparse(each) for each in node.decorator_list):
        return None
    return Parameters(
        {
            each.target.id: _takes(each.annotation, module)
            for each in node.body
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        }
    )


def _arguments(node: ast.FunctionDef, module: str) -> Parameters:
    given = node.args
    named = [each for each in (*given.posonlyargs, *given.args, *given.kwonlyargs) if each.arg != "self"]
    return Parameters({each.arg: _takes(each.annotation, module) for each in named}, given.kwarg is not None)


def _takes(annotation: ast.expr | None, module: str) -> Takes:
    """What an annotation, as source, takes."""
    match annotation:
        case ast.Constant(value=None):
            return Takes(frozenset({"null"}))
        case ast.Constant(value=str(text)):
            return _takes(ast.parse(text, mode="eval").body, module)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _takes(left, module) | _takes(right, module)
        case ast.Name(id=name):
            return _named(name, module)
        case ast.Subscript(value=ast.Name(id=name), slice=inner):
            return _generic(name, inner.elts if isinstance(inner, ast.Tuple) else [inner], module)
    return ANYTHING


def _named(name: str, module: str) -> Takes:
    if name in PLAIN:
        return Takes(frozenset({PLAIN[name]}))
    if name in (*LISTS, *MAPPINGS):
        return Takes(frozenset({"list" if name in LISTS else "dict"}))
    found = _found(f"{module}.{name}")
    if found is None:
        return ANYTHING
    where, node = found
    if isinstance(node, ast.ClassDef):
        return Takes(frozenset({"object"}))
    return _takes(node.value, where) if isinstance(node, ast.Assign) else ANYTHING


def _generic(name: str, inner: Sequence[ast.expr], module: str) -> Takes:
    if name == "Literal":
        return Takes(values=tuple(each.value for each in inner if isinstance(each, ast.Constant)))
    if name in LISTS:
        known = [_takes(each, module) for each in inner if ast.unparse(each) != "..."]
        return Takes(frozenset({"list"}), elements=_either(known))
    return Takes(frozenset({"dict"})) if name in MAPPINGS else ANYTHING


def _either(several: Sequence[Takes]) -> Takes:
    first, *others = several
    for each in others:
        first |= each
    return first


@cache
def _library_parameters(target: str) -> Parameters | None:
    """Of a class or function of a library that is imported already."""
    name, _, last = target.rpartition(".")
    made = getattr(sys.modules.get(name), last, None)
    if not callable(made):
        return None
    try:
        parameters = inspect.signature(made).parameters
        hints = get_type_hints(made.__init__ if isinstance(made, type) else made)
    except (TypeError, ValueError, NameError, AttributeError):  # a signature in C, or names it can't resolve
        return None
    others = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    takes = {name: _of_hint(hints.get(name, Any)) for name in parameters}
    return Parameters(takes, others, of_library=True)


def _of_hint(hint: Any) -> Takes:
    """What an annotation, as an object, takes."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _either([_of_hint(each) for each in inner])
    if origin is Literal:
        return Takes(values=inner)
    if hint in (int, float, bool, str, NoneType):
        return Takes(frozenset({PLAIN[hint.__name__.replace("NoneType", "None")]}))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return Takes(frozenset({"dict"}))
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return Takes(frozenset({"list"}))
    is_object = isinstance(hint, type) and hint.__module__.startswith(("torch", "pytorch_lightning"))
    return Takes(frozenset({"object"})) if is_object else ANYTHING
