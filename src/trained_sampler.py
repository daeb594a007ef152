"""The sampler that an editor was trained with, which `sampler=trained` stands for: single settings can be
given beside it (sampler.steps=10), and any other sampler in its place (sampler=paper).
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, final

from omegaconf import DictConfig, OmegaConf

from src import checkpoint
from src.checkpoint_paths import is_stock
from src.diffusion.samplers import in_words, sampler_of
from src.missing_settings import CONF

RESOLVER = "of_editor"
"""How conf/sampler/trained.yaml asks for a setting."""

USUAL = {"src.diffusion.ddpm.DDPM": "paper"}
"""Options of conf/sampler for editors that don't say theirs, by process; for others it is `tiny`."""


@final
class TrainedWith(NamedTuple):
    """What an editor says of its training, or what is usual where it doesn't.

    Attributes:
        sampler: as `Sampler.saved`.
        size: height and width of its images.
        source: whose sampler it is, for people.
    """

    sampler: Mapping[str, Any]
    size: tuple[int, int]
    source: str


def trained_with(path: Path) -> TrainedWith:
    """The sampler and size of a checkpoint, an export or a stock pipeline. Raises as `checkpoint.read`."""
    return _trained_with(path, tuple(_changes(path)))


def of_editor(path: str | None, name: str) -> Any:
    """A setting of the sampler of `checkpoint=`, by its dotted name; None without a checkpoint."""
    if path is None:
        return None
    value: Any = trained_with(Path(str(path))).sampler
    for part in name.split("."):
        value = value[part]
    return value


def told(node: DictConfig, path: Path) -> str | None:
    """Which sampler is used, in one sentence; None where all of it was given in the command.

    Args:
        node: `sampler` of a command's config.
        path: the checkpoint.
    """
    flat = OmegaConf.to_container(node, resolve=False)
    assert isinstance(flat, dict)
    own = [name for name, value in _settings(flat).items() if RESOLVER in str(value)]
    given = [name for name, value in _settings(flat).items() if name not in own]
    if not own:
        return None
    source = trained_with(path).source
    used = sampler_of(sampler_settings(OmegaConf.to_container(node, resolve=True)))
    mixed = f"{', '.join(given)} as asked for, else " if given else ""
    return f"sampler: {in_words(used)} ({mixed}{source})"


def sampler_settings(tree: Any) -> dict[str, Any]:
    """A node of conf/sampler as `Sampler.saved` gives it."""
    guidance = {name: value for name, value in tree["guidance"].items() if name != "_target_"}
    return {"shift": None, **{name: tree[name] for name in tree if name != "_target_"}, "guidance": guidance}


def _settings(tree: Mapping[Any, Any]) -> dict[str, Any]:
    """The settings of a node of conf/sampler by dotted names."""
    own = {name: value for name, value in tree.items() if name not in ("guidance", "_target_")}
    return own | {f"guidance.{name}": value for name, value in tree["guidance"].items() if name != "_target_"}


def _changes(path: Path) -> list[int]:
    """When the files that describe an editor were written: their content is kept until then."""
    files = (path, *(path / name for name in ("config.yaml", "model.safetensors", "editor.yaml")))
    return [file.stat().st_mtime_ns for file in files if file.exists()]


@lru_cache(maxsize=32)
def _trained_with(path: Path, changed: tuple[int, ...]) -> TrainedWith:
    saved = checkpoint.describe(path)
    height, width = saved["picture_size"]
    if saved["sampler"] is not None:
        return TrainedWith(saved["sampler"], (height, width), "the editor's own, of its training")
    process = checkpoint.plain_config(saved["editor_config"], path).get("process") or {}
    name = USUAL.get(str(process.get("_target_")), "tiny")
    reason = (
        "a stock pipeline says none" if is_stock(path) else "the editor was saved before editors said theirs"
    )
    return TrainedWith(_option(name), (height, width), f"sampler={name}, as {reason}")


def _option(name: str) -> dict[str, Any]:
    """An option of conf/sampler that inherits from no other."""
    return sampler_settings(OmegaConf.to_container(OmegaConf.load(CONF / f"sampler/{name}.yaml")))
