"""One component of a published model, loaded strictly from a folder or a hub id: all of its weights and no
others, never executing code.

diffusers and transformers fill missing weights with random numbers and read any pickle; here a broken folder
is refused in one line that names the file.
"""

import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, final

from huggingface_hub import try_to_load_from_cache
from torch import Tensor

from src import files
from src.checkpoint_paths import INDEX
from src.hub import (
    UNREADABLE,
    check_on_hub,
    describe_damage,
    quiet_libraries,
    shards_of,
    weights_file,
)
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
FLUX2 = ModelKind(
    "a FLUX.2-klein pipeline",
    "pipeline",
    "a folder or a hub id such as black-forest-labs/FLUX.2-klein-base-4B",
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
    "flux2_transformer": ModelComponent(
        "transformer", "config.json", "diffusion_pytorch_model.safetensors", FLUX2
    ),
    "flux2_vae": ModelComponent("vae", "config.json", "diffusion_pytorch_model.safetensors", FLUX2),
    "flux2_text_encoder": ModelComponent("text_encoder", "config.json", "model.safetensors", FLUX2),
    "flux2_tokenizer": ModelComponent("tokenizer", "tokenizer_config.json", None, FLUX2),
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
    else:
        kind = PARTS[part]
        found = _from_hub(pretrained, str(Path(kind.folder) / kind.config), kind.whole)
        if found is not None:
            check_names_no_code(read_json(found), found)
    try:
        with quiet_libraries():
            return load(
                str(folder) if folder.is_dir() else pretrained, subfolder=PARTS[part].folder, **options
            )
    except UNREADABLE as error:
        raise ValueError(explain_load_failure(error, pretrained, part)) from error


def _from_hub(pretrained: str, file: str, whole: ModelKind) -> Path | None:
    """A file of a hub id, as it lies in this machine's cache; None if it was had, but not kept there.

    Raises:
        FileNotFoundError: no hub id, or it can't be had.
    """
    folder = Path(pretrained).expanduser()
    if folder.is_absolute() or pretrained.startswith((".", "~")) or len(folder.parts) != 2:
        raise FileNotFoundError(f"no {whole.short} folder {pretrained}; pretrained= takes {whole.source}")
    check_on_hub(pretrained, file, whole.name, whole.short)
    cached = try_to_load_from_cache(pretrained, file)
    return Path(cached) if isinstance(cached, str) else None


def pipeline_index(pretrained: str, whole: ModelKind) -> Mapping[str, Any]:
    """What a diffusers pipeline says of itself in its model_index.json.

    Raises:
        FileNotFoundError: no such folder or hub id, or it has no such file.
        ValueError: the file can't be read.
    """
    folder = Path(pretrained).expanduser()
    file = folder / INDEX if folder.is_dir() else _from_hub(pretrained, INDEX, whole)
    if file is None or not file.is_file():
        raise FileNotFoundError(
            f"{pretrained} is not {whole.name}: it has no {INDEX}; pretrained= takes {whole.source}"
        )
    return _settings_in(file)


def described(pretrained: str, part: str) -> Mapping[str, Any]:
    """The config of a part of a model, by itself. Raises as `loaded`."""
    kind = PARTS[part]
    folder = Path(pretrained).expanduser()
    if folder.is_dir():
        check_component_files(folder, part)
    file = str(Path(kind.folder) / kind.config)
    found = folder / file if folder.is_dir() else _from_hub(pretrained, file, kind.whole)
    if found is None:
        raise FileNotFoundError(f"{file} of {pretrained} is not in this machine's cache; copy the model here")
    return _settings_in(found)


def _settings_in(config: Path) -> dict[str, Any]:
    """The settings in a JSON file. Raises ValueError for anything else, and for what names code."""
    try:
        found = read_json(config)
    except ValueError as error:
        raise ValueError(f"{error}; copy or download it again") from error
    if not isinstance(found, dict):
        raise ValueError(
            f"{config} holds {str(found)[:60]}, an object of settings is needed; copy or download it again"
        )
    check_names_no_code(found, config)
    return found


def part_digests(pretrained: str, part: str) -> dict[str, str | None]:
    """sha256 of a part's config, without what only says who wrote it, and of its weights; None for what is
    not on this machine.
    """
    folder = Path(pretrained).expanduser() / part
    if not folder.is_dir():
        cached = try_to_load_from_cache(pretrained, f"{part}/config.json")
        if not isinstance(cached, str):
            return {"config": None, "weights": None}
        folder = Path(cached).parent
    config = read_json(folder / "config.json")
    config = {
        name: value
        for name, value in config.items()
        if not name.startswith("_") and name != "transformers_version"
    }
    return {
        "config": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
        "weights": _weights_digest(folder),
    }


def _weights_digest(folder: Path) -> str | None:
    """sha256 of the weights in a folder; of several files, that of their digests."""
    found = weights_file(folder)
    if found is None:
        return None
    shards = shards_of(found)
    if not all(shard.exists() for shard in shards):
        return None
    each = [files.digest(shard) for shard in shards]
    return each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()


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
    _settings_in(config)
    _check_shards(here)
    if kind.weights is None and not any((here / name).is_file() for name in VOCABULARIES):
        raise FileNotFoundError(
            f"{folder} is not a whole {kind.whole.short}: {shown or 'it'} has none of "
            f"{', '.join(VOCABULARIES)}; copy or download it again"
        )


def _check_shards(folder: Path) -> None:
    """Raise FileNotFoundError or ValueError if weights in several files are not whole."""
    index = weights_file(folder)
    if index is None or index.suffix != ".json":
        return
    named = _settings_in(index).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise ValueError(f"{index} names no weights (weight_map); copy or download it again")
    for shard in shards_of(index):
        if not shard.is_file():
            raise FileNotFoundError(
                f"{folder} lacks {shard.name}, which {index.name} names; copy or download it again"
            )
        damage = describe_damage(shard)
        if damage is not None:
            raise ValueError(damage)


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
