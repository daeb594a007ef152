"""What Hydra and OmegaConf refuse, said as setting, value and the nearest name there is.

trainer.max_step=10       ->  there is no setting trainer.max_step; did you mean trainer.max_steps?
--max_steps 10            ->  settings are given as name=value: trainer.max_steps=10
+experiment=reward_sinth  ->  did you mean reward_synthetic?
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    OmegaConfBaseException,
)

from src.command_line import pasteable
from src.missing_settings import CONF
from src.settings.near_names import CLOSE, did_you_mean, nearest

FLAGS = {
    *("--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun", "-m"),
    *("--shell-completion", "-sc"),
}
FLAGS_WITH_VALUE = {
    *(
        "--cfg",
        "-c",
        "--package",
        "-p",
        "--config-path",
        "-cp",
        "--config-name",
        "-cn",
        "--config-dir",
        "-cd",
    ),
    *("--experimental-rerun", "--info", "-i"),
}
"""Hydra's own."""


def composed_settings(config_name: str, overrides: Sequence[str], with_hydra: bool = False) -> DictConfig:
    """A composed config; within a command, with what that command searches."""
    if GlobalHydra.instance().is_initialized():
        return compose(config_name, list(overrides), return_hydra_config=with_hydra)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(config_name, list(overrides), return_hydra_config=with_hydra)


def search_path(arguments: Sequence[str]) -> list[str]:
    """The override that stands for `--config-dir DIR` of a command line."""
    folders = [value for flag, value in _flag_values(arguments) if flag in ("--config-dir", "-cd")]
    return [f"hydra.searchpath=['file://{Path(folder).resolve()}']" for folder in folders[-1:]]


def check_form(config_name: str, arguments: Sequence[str]) -> None:
    """Raise ValueError for `--name value`, a bare word, or a group that doesn't exist (`+experimnt=x`, which
    Hydra takes for a new setting that nothing reads); says what to type.
    """
    overrides = list(plain_overrides(arguments))
    for argument, following in zip_longest(overrides, overrides[1:], fillvalue=""):
        if argument.startswith("-") or not re.match(r"[~+\w$@./:-]+=|~", argument):
            name, has_value, value = argument.lstrip("-").partition("=")
            value = (
                value if has_value else "true" if "=" in following or following[:1] in "-~+" else following
            )
            raise ValueError(_form(config_name, argument, name.replace("-", "_"), value, arguments))
        name = argument[1:].partition("=")[0]
        if argument.startswith("+") and re.fullmatch(r"\w+", name) and not _is_group(name, arguments):
            near = difflib.get_close_matches(name, addable_groups(), 1, CLOSE)
            if near:
                raise ValueError(f"{argument}: there is no group {name}; did you mean +{near[0]}=?")


def addable_groups() -> list[str]:
    """All groups of conf/."""
    return [str(path.relative_to(CONF)) for path in CONF.rglob("*") if path.is_dir()]


def explained(error: Exception, config_name: str, arguments: Sequence[str]) -> Exception:
    """An error of Hydra's or OmegaConf's in words of settings; any other as it is."""
    while isinstance(error, InstantiationException) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # what Hydra wraps when it builds a part
    if isinstance(error, MissingConfigException):
        return ValueError(_no_choice(error, arguments))
    text = " ".join(str(error).split())
    if isinstance(error, HydraException):
        for pattern, say in REFUSED.items():
            found = re.search(pattern, text)
            if found is not None:
                return ValueError(say(found, config_name, arguments))
    if isinstance(error, ConfigCompositionException) and not text and error.__cause__ is not None:
        return ValueError(" ".join(str(error.__cause__).split()))
    if isinstance(error, InterpolationKeyError):
        return ValueError(_lost_interpolation(error))
    if isinstance(error, ConfigAttributeError | ConfigKeyError):
        return ValueError(_removed(error, config_name, arguments) or _plain(error))
    return ValueError(_plain(error)) if isinstance(error, OmegaConfBaseException) else error


def with_full_names(error: Exception, config_name: str, arguments: Sequence[str]) -> Exception:
    """An error of a class that names its own parameter, as the setting of this command that it is:
    "choose one with columns.original=NAME" speaks of data.dataset.columns.original.
    """
    message = str(error)
    said = set(re.findall(r"(?<![\w.@/~+=-])[a-z_]+(?:\.[a-z_]+)*(?==)", message))
    own = OmegaConf.load(CONF / f"{config_name}.yaml")
    if type(error) not in (ValueError, FileNotFoundError) or said <= {str(name) for name in own}:
        return error
    names, groups = known_names(config_name, arguments)
    for name in said - {*names, *groups, *map(str, own)}:
        meant = [each for each in names if each.endswith(f".{name}") and not each.startswith("callbacks.")]
        if len(meant) == 1:
            message = re.sub(rf"(?<![\w.@/~+=-]){re.escape(name)}=", f"{meant[0]}=", message)
    return type(error)(message)


def plain_overrides(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments without Hydra's own flags and their values."""
    remaining = iter(arguments)
    for argument in remaining:
        if argument in FLAGS_WITH_VALUE:
            next(remaining, None)
        elif argument not in FLAGS and argument.partition("=")[0] not in FLAGS_WITH_VALUE:
            yield argument


def _flag_values(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        flag, equals, value = argument.partition("=")
        if flag in FLAGS_WITH_VALUE:
            yield flag, value if equals else following


def _form(config_name: str, argument: str, name: str, value: str, arguments: Sequence[str]) -> str:
    names, groups = known_names(config_name, arguments)
    meant = nearest(name, [*names, *groups], 1)
    if argument.startswith("-") or meant:
        said = pasteable(meant[0] if meant else name, value or "VALUE")
        return f"{argument}: settings are given as name=value{': ' * bool(meant)}{said * bool(meant)}"
    return f"{argument}: settings are given as name=value; python -m src.{config_name} --help lists them"


def known_names(config_name: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Dotted names of the settings of a command, with the groups that it was told to take, and the names of
    its groups.
    """
    cfg = _settings_without_values(config_name, arguments)
    groups = [str(group) for group in cfg.hydra.runtime.choices if not str(group).startswith("hydra/")]
    own = OmegaConf.masked_copy(cfg, [str(each) for each in cfg if each != "hydra"])
    chosen = {group.replace("/", ".") for group in groups}
    return [name for name in _names(OmegaConf.to_container(own), "") if name not in chosen], groups


def _settings_without_values(config_name: str, arguments: Sequence[str]) -> DictConfig:
    """The config of a command as far as it composes: with the choices that exist."""
    found = search_path(arguments)
    choices = [argument for argument in plain_overrides(arguments) if _is_choice(argument, arguments)]
    try:
        return composed_settings(config_name, [*found, *choices], with_hydra=True)
    except (HydraException, OmegaConfBaseException):
        return composed_settings(config_name, found, with_hydra=True)


def _is_group(name: str, arguments: Sequence[str]) -> bool:
    """Whether there is a group of this name, in conf/ or in a folder that the command names."""
    own = [Path(folder) for flag, folder in _flag_values(arguments) if flag in ("--config-dir", "-cd")]
    further = re.findall(r"file://([^,\]'\"]+)", " ".join(arguments))
    return any((root / name).is_dir() for root in (CONF, *own, *map(Path, further)))


def _is_choice(argument: str, arguments: Sequence[str]) -> bool:
    parsed = _parsed(argument)
    if parsed is None or parsed.is_sweep_override() or parsed.is_delete():
        return False
    return _is_group(parsed.key_or_group, arguments) and parsed.key_or_group != "sweep"


def _parsed(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def _names(node: object, prefix: str) -> Iterator[str]:
    if isinstance(node, Mapping):
        for name, child in node.items():
            if not str(name).startswith("_"):
                yield f"{prefix}{name}"
                yield from _names(child, f"{prefix}{name}.")


def _no_choice(error: MissingConfigException, arguments: Sequence[str]) -> str:
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    options = [option for option in error.options or () if option != "base"]
    if not group or not options:
        return " ".join(str(error).partition("Config search path")[0].split())
    given = [each for each in arguments if each.lstrip("+").partition("=")[2].strip("'\"") == choice]
    typed = given[0] if given else f"{group}={choice}"
    return f"{typed}: there is no {choice}{did_you_mean(choice, options)} ({group}: {', '.join(options)})"


def _unknown(found: re.Match[str], config_name: str, arguments: Sequence[str]) -> str:
    """There is no such setting or group to override."""
    name = found[1]
    group = name.partition("@")[0]
    if (CONF / group).is_dir():
        _, groups = known_names(config_name, arguments)
        filled = [each for each in groups if each.partition("@")[0] == group]
        typed = next((each for each in arguments if each.partition("=")[0] == name), f"{name}=...")
        if not filled:
            return f"{typed}: {name} has no default to replace: add it with a plus, +{typed}"
        places = " or ".join(f"{each}={typed.partition('=')[2]}" for each in filled)
        return f"{typed}: {group} is chosen under another name here: give {places}"
    names, groups = known_names(config_name, arguments)
    near = did_you_mean(name, [*names, *groups])
    all_of_them = "" if near else f"; python -m src.{config_name} --help lists them"
    return f"there is no setting {name} in {config_name}{near}{all_of_them}"


def _not_merged(found: re.Match[str], config_name: str, arguments: Sequence[str]) -> str:
    """A value in the place of a node."""
    key = found[1].lstrip("+~")
    names, _ = known_names(config_name, arguments)
    below = [name for name in names if name.startswith(f"{key}.") and "." not in name[len(key) + 1 :]]
    if not below:
        return f"{found[1]}={found[2]}: {key} can't take this value"
    settings = " or ".join(f"{name}=" for name in below)
    return f"{found[1]}={found[2]}: {key} holds settings of its own: give {settings}"


def _needs_choice(found: re.Match[str], config_name: str, arguments: Sequence[str]) -> str:
    return f"{found[1]}= is missing: choose one of {', '.join(found[2].split())}"


def _lost_interpolation(error: InterpolationKeyError) -> str:
    key, found = str(error.full_key), re.search(r"Interpolation key '([^']+)'", str(error))
    source = found[1] if found else "another setting"
    part = key.rpartition(".")[0]
    return f"{key} is to be what {source} is, which is not there: give {key}=, or another {part}"


def _removed(error: Exception, config_name: str, arguments: Sequence[str]) -> str | None:
    """A part that the command needs and `~part` took away."""
    gone = {each[1:].partition("=")[0] for each in arguments if each.startswith("~")}
    key = str(getattr(error, "full_key", "") or "")
    if key not in gone:
        return None
    whole = _settings_without_values(config_name, arguments)
    node = OmegaConf.select(whole, key)
    parts = (
        [f"~{key}.{name}" for name in node if OmegaConf.is_dict(node[name])]
        if OmegaConf.is_dict(node)
        else []
    )
    also = f"; parts of it can be left out: {', '.join(parts)}" if parts else ""
    return f"~{key}: {config_name} needs {key}, leave this out{also}"


def _plain(error: Exception) -> str:
    """Of OmegaConf, without the lines about its own objects."""
    first = str(error).partition("\n")[0]
    key = str(getattr(error, "full_key", "") or "")
    return f"{key}: {first}" if key and key not in first else first


Say = Callable[[re.Match[str], str, Sequence[str]], str]

REFUSED: dict[str, Say] = {
    r"Could not override '([^']+)'": _unknown,
    r"Could not delete from config\. '([^']+)' does not exist": _unknown,
    r"Could not delete '([^'=]+)[^']*'\. No match": _unknown,
    r"Error merging override ([^=]+)=(.*)": _not_merged,
    r"You must specify '([^']+)'.*Available options: (.*)": _needs_choice,
    r"Could not append to config\. An item is already at '([^']+)'": lambda found, *_: (
        f"+{found[1]}: there is a setting {found[1]} already: leave out the plus"
    ),
    r"Multiple values for ([^ ]+)\. To override": lambda found, *_: (
        f"+{found[1]}=: {found[1]} has a default already: leave out the plus"
    ),
    r"Ambiguous value for argument '([^=]+)=([^']*)'": lambda found, *_: (
        f"{found[1]}={found[2]}: several values are a sweep, which -m starts; "
        f"a list is {found[1]}=[{found[2]}]"
    ),
}
"""Patterns of Hydra's messages, and what is said in their place."""
