"""One component of a published model, loaded strictly from a folder or a hub id: all of its weights and no
others, never executing code.

diffusers and transformers fill missing weights with random numbers and read any pickle; here a broken folder
is refused in one line that names the file.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, final

from huggingface_hub import try_to_load_from_cache
from torch import Tensor

from src.hub import UNREADABLE, check_on_hub, describe_damage, quiet_libraries, weights_file
from src.json_files import read_json

T = TypeVar("T")


@final
@dataclass(frozen=True)
class ModelKind:
    """A kind of model that components belong to.

    Attributes:
        name, short: what messages call it, with and without detail.
        source: what `pretrained=` takes.
    """

    name: str
    short: str
    source: str


@final
@dataclass(frozen=True)
class ModelComponent:
    """A component's files.

    Attributes:
        folder: its folder in the model; empty if it is the model itself.
        config: its config file, which must be there.
        weights: the file to which its library saves weights; None for a tokenizer.
        whole: the kind of model that it belongs to.
    """

    folder: str
    config: str
    weights: str | None
    whole: ModelKind


STABLE_DIFFUSION = ModelKind(
    "a Stable Diffusion pipeline", "pipeline", "a folder or a hub id such as timbrooks/instruct-pix2pix"
)
SMARTEDIT = ModelKind(
    "a SmartEdit model", "model", "a folder that src.convert or src.export wrote, or the hub id of one"
)
LLAVA = ModelKind("a LLaVA", "model", "a folder or a hub id such as llava-hf/llava-1.5-7b-hf")

PARTS: Mapping[str, ModelComponent] = {
    "unet": ModelComponent("unet", "config.json", "diffusion_pytorch_model.safetensors", STABLE_DIFFUSION),
    "vae": ModelComponent("vae", "config.json", "diffusion_pytorch_model.safetensors", STABLE_DIFFUSION),
    "text_encoder": ModelComponent("text_encoder", "config.json", "model.safetensors", STABLE_DIFFUSION),
    "tokenizer": ModelComponent("tokenizer", "tokenizer_config.json", None, STABLE_DIFFUSION),
    "language_model": ModelComponent("language_model", "config.json", "model.safetensors", SMARTEDIT),
    "language_tokenizer": ModelComponent("language_tokenizer", "tokenizer_config.json", None, SMARTEDIT),
    "reader": ModelComponent("reader", "config.json", "model.safetensors", SMARTEDIT),
    "llava": ModelComponent("", "config.json", "model.safetensors", LLAVA),
    "llava_tokenizer": ModelComponent("", "tokenizer_config.json", None, LLAVA),
}

VOCABULARIES = ("tokenizer.json", "vocab.json")
"""Either file holds a tokenizer's vocabulary."""

PASSED_BY = ("position_ids",)
"""Constants that older files store among the weights."""


def loaded(load: Callable[..., T], pretrained: str, part: str, **options: Any) -> T:
    """One part of a model, by a `from_pretrained` of diffusers or transformers.

    Args:
        load: called with the model and the part's folder in it.
        pretrained: the model, a folder or a hub id.
        part: a key of PARTS.
        options: for `load`.

    Raises:
        FileNotFoundError: a folder that is not there or lacks this part or its files; a hub id that can't be
            found.
        ValueError: files that can't be read, or that don't fit each other.
    """
    folder = Path(pretrained).expanduser()
    if folder.is_dir():
        check_component_files(folder, part)
    elif folder.is_absolute() or pretrained.startswith((".", "~")) or len(folder.parts) != 2:
        whole = PARTS[part].whole
        raise FileNotFoundError(f"no {whole.short} folder {pretrained}; pretrained= takes {whole.source}")
    else:
        kind = PARTS[part]
        config = str(Path(kind.folder) / kind.config)
        check_on_hub(pretrained, config, kind.whole.name, kind.whole.short)
        cached = try_to_load_from_cache(pretrained, config)
        if isinstance(cached, str):
            check_names_no_code(read_json(Path(cached)), Path(cached))
    try:
        with quiet_libraries():
            return load(
                str(folder) if folder.is_dir() else pretrained, subfolder=PARTS[part].folder, **options
            )
    except UNREADABLE as error:
        raise ValueError(explain_load_failure(error, pretrained, part)) from error


def component_folder(pretrained: str, part: str) -> Path:
    """A part's folder in a model; of a hub id, its name there."""
    return Path(pretrained).expanduser() / PARTS[part].folder


def weights(kind: Any, pretrained: str, part: str, **options: Any) -> Any:
    """A network with all of its weights.

    Args:
        kind: a model class of diffusers or transformers.
        pretrained: the model, a folder or a hub id.
        part: a key of PARTS.
        options: for its `from_pretrained`.

    Raises:
        FileNotFoundError: as `loaded`.
        ValueError: as `loaded`, or weights that are missing or of another shape than the config says.
    """
    network, found = loaded(kind.from_pretrained, pretrained, part, output_loading_info=True, **options)
    wrong = [f"{name} is missing" for name in sorted(found["missing_keys"])]
    wrong += [
        f"{name} has shape {tuple(old)}, by config.json it is {tuple(new)}"
        for name, old, new in sorted(found["mismatched_keys"])
    ]
    if wrong:
        raise ValueError(
            f"config and weights of {component_folder(pretrained, part)} disagree in {len(wrong)} tensors: "
            f"{'; '.join(wrong[:3])}; take both from the same model"
        )
    surplus = [name for name in sorted(found["unexpected_keys"]) if not name.endswith(PASSED_BY)]
    if surplus:
        print(
            f"warning: {component_folder(pretrained, part)} holds {len(surplus)} tensors that a stock "
            f"{kind.__name__} has no place for, such as {surplus[0]}: "
            "they take no part; weights of the multi-reward release become an editor by src.convert",
            file=sys.stderr,
        )
    return network


def tensor_differences(
    found: Mapping[str, Tensor], wanted: Mapping[str, Sequence[int]], whose: str
) -> list[str]:
    """Every tensor that is missing, extra or misshapen, in words.

    Args:
        found: by name.
        wanted: the shapes that belong there, by name.
        whose: what they belong to: "this editor".
    """
    wrong = [f"{name} is missing" for name in wanted if name not in found]
    wrong += [f"{name} is not in {whose}" for name in found if name not in wanted]
    shapes = {
        name: (tuple(found[name].shape), tuple(shape)) for name, shape in wanted.items() if name in found
    }  # in the network's order
    return wrong + [
        f"{name} has shape {own}, {whose} {right}" for name, (own, right) in shapes.items() if own != right
    ]


def check_component_files(folder: Path, part: str) -> None:
    """Raise FileNotFoundError or ValueError unless a part of a model's folder has a readable config and a
    file for everything else.
    """
    kind = PARTS[part]
    here, shown = folder / kind.folder, f"{kind.folder}/" if kind.folder else ""
    if not here.is_dir():
        raise FileNotFoundError(f"{folder} is not {kind.whole.name}: it has no folder {shown}")
    config = here / kind.config
    if not config.is_file():
        raise FileNotFoundError(
            f"{folder} is not a whole {kind.whole.short}: {shown}{config.name} is missing; copy or download "
            "it again"
        )
    try:
        described = read_json(config)
    except ValueError as error:
        raise ValueError(f"{error}; copy or download it again") from error
    if not isinstance(described, dict):
        raise ValueError(
            f"{config} holds {str(described)[:60]}, an object of settings is needed; copy or download it "
            "again"
        )
    check_names_no_code(described, config)
    if kind.weights is None and not any((here / name).is_file() for name in VOCABULARIES):
        raise FileNotFoundError(
            f"{folder} is not a whole {kind.whole.short}: {shown or 'it'} has none of "
            f"{', '.join(VOCABULARIES)}; copy or download it again"
        )


def check_names_no_code(described: object, config: Path) -> None:
    """Raise ValueError if a config.json names a kernel of the hub (`attn_implementation: owner/name`), which
    transformers would fetch and run.
    """
    children = described if isinstance(described, list) else []
    if isinstance(described, dict):
        for name, value in described.items():
            if str(name).endswith("_implementation") and isinstance(value, str) and "/" in value:
                raise ValueError(
                    f"{config} names code to run, {name}={value[:80]}: models are read as weights; take "
                    "one without"
                )
        children = described.values()
    for child in children:
        check_names_no_code(child, config)


def explain_load_failure(error: BaseException, pretrained: str, part: str) -> str:
    """What is wrong with a part that a library could not load, in one sentence."""
    folder, kind = component_folder(pretrained, part), PARTS[part]
    shapes = re.search(
        r"because (\S+) expected shape torch.Size\(\[(.*?)\]\), but got torch.Size\(\[(.*?)\]\)", str(error)
    )
    if shapes:
        name, wanted, found = shapes.groups()
        return (
            f"config and weights of {folder} disagree: {name} has shape ({found}), "
            f"by config.json it is ({wanted}); take both from the same model"
        )
    file = weights_file(folder)
    if folder.is_dir() and file is None and kind.weights is not None:
        return f"{folder} has no weights: {kind.weights} is missing; copy or download it again"
    broken = None if file is None else describe_damage(file)
    return (
        broken
        or f"{kind.folder or 'the model'} of {pretrained} can't be loaded: "
        f"{' '.join(str(error).split())[:300]}; copy or download it again"
    )
