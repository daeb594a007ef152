"""Arguments as a shell gives them: paths, names and instructions mean what they say.

Hydra reads values in a grammar of its own, in which `= ' " ( ) [ ] { } , :` and most letters beyond ASCII
mean something or nothing. Values of keys that are plain texts are therefore quoted before Hydra sees them;
what is already in its grammar stays: 'in quotes', null, ${an.interpolation}, and in a multirun the choices
a,b.

    image="photos/me (1).png"  ->  image='photos/me (1).png'
"""

import re
import shlex
from collections.abc import Sequence
from functools import cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf

from src.missing_settings import CONF

TEXTS = frozenset(
    (
        *(
            "checkpoint",
            "start",
            "resume",
            "image",
            "list",
            "instruction",
            "output",
            "edits",
            "row",
            "folder",
        ),
        *("file", "path", "dir", "dirpath", "save_dir", "source", "ledger", "cache", "photos", "precomputed"),
        *("shard_folder", "rewards_file", "page", "title", "note", "name", "benchmark_name", "judge_name"),
        *(
            "instructions",
            "local_captions",
            "global_captions",
            "question",
            "font",
            "base_url",
            "key_variable",
        ),
        *("pretrained", "pipeline", "adapter", "vision", "clip", "llava", "llm", "language_tokenizer"),
        *("tokenizer", "revision", "project", "entity", "against", "prompts", "export"),
    )
)
"""Last parts of the keys whose values are plain texts in conf/."""

BELOW = frozenset(("model", "weights", "judge", "split", "before", "after", "answer", "only"))
"""The same of keys below others; by themselves they are groups, or choices."""

NUMBERED = ("shares", "cpu", "gpu")
OTHERS = ("guidance.image", "training.precomputed", "selection.weights", "columns.answer")
"""Parts of conf/, and keys in them, that have such names and are numbers or lists."""

NAMED_BY_USERS = "rungs_of."
"""Where keys are names that users choose, and their values are lists."""

ANSWERS = ("verdicts", "scores")
TEXTS_OF = {
    "evaluate_judge": (*ANSWERS, "pictures"),
    "curate": ("annotations", "like", "dataset", "rows_file"),
    "train_judge": ("labels", "labels_by"),
    "inspect_rewards": ("selection",),
}
"""Further ones of a command; elsewhere `scores` are numbers."""

LISTS = {"tabulate": ("output",), "study": ("export",), "evaluate_judge": ANSWERS, "curate": ("annotations",)}
"""Plain texts of a command that may also be lists: output=[a.md,b.tex]."""

TEXT_LISTS = ("feedback", "runs", "leakage", "sources", "trust", "unmirrored")
"""Last parts of the keys whose values are lists of plain texts: feedback=[the man's shirt is blue, None]."""

ELEMENT = re.compile(r"""\s*('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^,]+?)\s*(?:,|$)""")

CONTENT = ("instruction", "question")
"""Texts that are shown as they are: ${x} is no interpolation in them."""

KEY = re.compile(r"(?P<key>\+{0,2}[\w$][\w$./@:-]*)=(?P<value>.*)", re.DOTALL)
MULTIRUN = re.compile(r"-m|--multirun|\+?sweep=.*|hydra\.mode=MULTIRUN")


def quoted_arguments(command: str, arguments: Sequence[str]) -> list[str]:
    """The arguments of a command with plain texts quoted for Hydra.

    Raises:
        ValueError: a value that is neither a plain text nor in Hydra's grammar; says how to quote it.
    """
    multirun = any(map(MULTIRUN.fullmatch, arguments))
    return [_quoted(command, argument, multirun) for argument in arguments]


def is_text(command: str, key: str) -> bool:
    """Whether the values of a key are plain texts."""
    *_, before, last = ["", *re.split(r"[./@]", key)]
    is_other = before in NUMBERED or f"{before}.{last}" in OTHERS or key in other_values(command)
    is_other = is_other or key.startswith(NAMED_BY_USERS)
    texts = TEXTS.union(TEXTS_OF.get(command, ()))
    return (last in texts or (last in BELOW and "." in key)) and not is_other


@cache
def other_values(command: str) -> frozenset[str]:
    """The keys of a command whose values are numbers, lists or parts: `start` of src.write_dataset is one."""
    file = CONF / f"{command}.yaml"
    content = OmegaConf.load(file) if file.is_file() else OmegaConf.create({})
    tree = OmegaConf.to_container(content, resolve=False)
    assert isinstance(tree, dict)
    return frozenset(str(name) for name, value in tree.items() if not isinstance(value, str | None))


def pasteable(key: str, value: object) -> str:
    """`key=value` as it can be pasted into a shell, for hints that say what to type."""
    plain, text = f"{key}={value}", str(value)
    quoted = _quoted("", plain, multirun=False)
    if not is_text("", key):
        return shlex.quote(quoted)
    read = _parsed(quoted)
    if read is not None and read.value() == text:
        return shlex.quote(plain)  # what is typed is quoted again
    return shlex.quote(_in_quotes(key, text) if quoted == plain else quoted)


def unquoted(value: str) -> str:
    """A value of an override without Hydra's quotes, if it is one in quotes."""
    parsed = _parsed(f"value={value}") if value[:1] in ("'", '"') else None
    return parsed._value.text if parsed is not None and isinstance(parsed._value, QuotedString) else value


def _quoted(command: str, argument: str, multirun: bool) -> str:
    found = KEY.fullmatch(argument)
    if found is None or not found["value"]:
        return argument
    key, value = found["key"], found["value"]
    last = re.split(r"[./@]", key.lstrip("+"))[-1]
    parsed = _parsed(argument)
    if not is_text(command, key.lstrip("+")):
        if last in TEXT_LISTS and value[0] + value[-1] == "[]" and not _is_list_of_texts(parsed):
            return f"{key}=[{','.join(map(_element, ELEMENT.findall(value[1:-1])))}]"
        if parsed is None:
            raise ValueError(_how_to_quote(key, value))
        return argument
    if _is_meant(parsed, value, multirun, last in LISTS.get(command, ())):
        literal = last in CONTENT and "${" in value and not _is_quoted(parsed)
        return _in_quotes(key, value.replace("${", "\\${")) if literal else argument
    if parsed is None and multirun and "," in value:
        raise ValueError(f"{_how_to_quote(key, value)}; or each of several values, with commas between them")
    return _in_quotes(key, value.replace("${", "\\${") if last in CONTENT else value)


def _parsed(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def _is_meant(parsed: Override | None, value: str, multirun: bool, takes_lists: bool) -> bool:
    """Whether Hydra's reading of a plain text is the one that is meant."""
    if parsed is None:
        return False
    if parsed.is_sweep_override():
        return multirun
    read = parsed.value()
    is_escaped = isinstance(read, str) and "\\" in value
    return (
        read is None
        or read == value
        or _is_quoted(parsed)
        or is_escaped
        or (takes_lists and isinstance(read, list))
    )


def _is_list_of_texts(parsed: Override | None) -> bool:
    if parsed is None or parsed.is_sweep_override():
        return parsed is not None
    read = parsed.value()
    return isinstance(read, list) and all(isinstance(each, str | None) for each in read)


def _element(text: str) -> str:
    """A text of a list, in quotes if it isn't yet."""
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text if is_quoted or text == "null" else QuotedString(text, Quote.single).with_quotes()


def _is_quoted(parsed: Override | None) -> bool:
    return parsed is not None and isinstance(parsed._value, QuotedString)


def _in_quotes(key: str, value: str) -> str:
    return f"{key}={QuotedString(value, Quote.single).with_quotes()}"


def _how_to_quote(key: str, value: str) -> str:
    given = shlex.quote(f"{key}={value}")
    return (
        f"{given} can't be read as a value of {key}; a text is quoted for the shell and for Hydra: "
        + shlex.quote(_in_quotes(key, value))
    )
