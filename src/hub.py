"""Pretrained models by name, a local folder or an id of the Hugging Face hub: found, loaded and versioned.

Libraries answer a wrong name, a missing network or a damaged file with pages of text, or with random weights;
here each of them ends in one line that says what to do.
"""

import hashlib
import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError, safe_open
from torch import Tensor

T = TypeVar("T")

WEIGHT_FILES = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
)
"""Names that diffusers and transformers give to weights, in the order of preference."""

TRANSFORMERS_FILES = tuple(name for name in WEIGHT_FILES if not name.startswith("diffusion"))

SAMPLED = 64
"""Numbers of each tensor that tell pretrained weights apart: of a finetuned model's, some differ in any."""

VERSIONED = (".safetensors", ".bin", ".json", ".jinja", ".txt")
"""Suffixes of the files that a model's outputs depend on."""

UNREADABLE = (
    OSError,
    RuntimeError,
    ValueError,
    SafetensorError,
    pickle.UnpicklingError,
    EOFError,
    KeyError,
    AttributeError,
)
"""What libraries raise for files that are truncated, of another kind, or pickles of more than tensors."""


def load_by_name(load: Callable[[], T], name: str) -> T:
    """Whatever `load` reads from a folder or the hub.

    Args:
        load: a `from_pretrained` with its arguments bound.
        name: the folder or hub id that it reads, for the message.

    Raises:
        FileNotFoundError: the folder or hub id doesn't exist, or holds nothing that `load` reads.
    """
    if name.startswith((".", "/", "~")) and not Path(name).is_dir():
        raise FileNotFoundError(
            f"no folder {name}; give a folder with a model or an id of the Hugging Face hub"
        )
    try:
        return load()
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise FileNotFoundError(
            f"{name} could not be read as a folder or from the Hugging Face hub ({error_summary(error)}); "
            "check the name, and the network or HF_TOKEN"
        ) from error
    except ValueError as error:
        if "Can't find" not in str(error):
            raise
        raise FileNotFoundError(f"{name} holds no adapter ({error_summary(error)})") from error


def check_on_hub(name: str, file: str, model: str, short: str, option: str = "pretrained") -> None:
    """Check that a file of a hub id can be downloaded, or is in this machine's cache.

    Args:
        name: the hub id.
        file: its path in the repository.
        model: what a repository without the file is not: "a Stable Diffusion pipeline".
        short: the same in one word: "pipeline".
        option: the command's setting that names it.

    Raises:
        FileNotFoundError: it can't be had; the message says whether the hub, the network or the name is at
            fault.
    """
    if isinstance(try_to_load_from_cache(name, file), str):
        return
    try:
        hf_hub_download(name, file)
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"the hub has no model {name}, or doesn't show it to you, and there is no such folder: "
            f"correct {option}=, or log in (hf auth login)"
        ) from error
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"{name} can't be had: no such folder, nothing in this machine's cache, "
            "and no answer from the hub: "
            f"no network, or no such model; connect, or copy the {short} here and give {option}=FOLDER"
        ) from error
    except EntryNotFoundError as error:
        raise FileNotFoundError(
            f"the model {name} of the hub is not {model}: it has no {file}; give another one"
        ) from error


def check_weights(model: str, revision: str | None = None) -> None:
    """Have a model's weights on this machine, downloaded if need be, without loading them.

    Args:
        model: a folder or a hub id.
        revision: of the hub id; None for the newest.

    Raises:
        FileNotFoundError: a folder without weights, or they can't be downloaded.
        ValueError: a file in a folder that can't be read.
    """
    folder = Path(model)
    if not folder.is_dir():
        download_weights(model, revision)
        return
    found = weights_file(folder)
    if found is None:
        raise FileNotFoundError(
            f"{model} has no weights ({', '.join(WEIGHT_FILES)}); copy or download it again"
        )
    for file in shards_of(found):
        if not file.is_file():
            raise FileNotFoundError(f"{model} lacks {file.name}; copy or download it again")
        damage = describe_damage(file)
        if damage is not None:
            raise ValueError(damage)


def download_weights(model: str, revision: str | None) -> None:
    """Download the weights of a hub id unless they are in this machine's cache. Raises FileNotFoundError."""
    names = [each for name in TRANSFORMERS_FILES for each in (name, f"{name}.index.json")]
    cached = [
        name for name in names if isinstance(try_to_load_from_cache(model, name, revision=revision), str)
    ]
    for name in cached or names:
        try:
            file = Path(hf_hub_download(model, name, revision=revision))
            for shard in shards_of(file):
                hf_hub_download(model, shard.name, revision=revision)
        except LocalEntryNotFoundError as error:
            raise FileNotFoundError(
                f"the weights of {model} can't be had: they are not in this machine's cache, and the hub "
                "doesn't answer; connect, or copy the model here and give its folder"
            ) from error
        except EntryNotFoundError:
            continue
        return
    raise FileNotFoundError(f"the model {model} of the hub has no weights ({', '.join(TRANSFORMERS_FILES)})")


def shards_of(file: Path) -> list[Path]:
    """The files that an index of weights names, or the file itself if it is none."""
    if file.suffix != ".json":
        return [file]
    index = json.loads(file.read_text(encoding="utf-8"))
    return [file.parent / name for name in sorted(set(index["weight_map"].values()))]


def version_of(name: str, revision: str | None, file: str) -> str:
    """The commit of a hub id, or for a folder the sha256 of its files: it changes with the weights, not with
    their name.

    Args:
        name: a folder or a hub id.
        revision: of the hub id; None for the newest.
        file: any file of the model.

    Raises:
        ValueError: the hub doesn't tell the commit.
    """
    from transformers.utils.hub import cached_file, extract_commit_hash

    folder = Path(name)
    if not folder.is_dir():
        commit = extract_commit_hash(cached_file(name, file, revision=revision), None)
        if commit is None:
            raise ValueError(
                f"the hub doesn't say which commit of {name} it gave; download it and give the folder"
            )
        return commit[:16]
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in VERSIONED and path.is_file():
            with path.open("rb") as file_of_model:
                digest.update(
                    path.name.encode() + b"\0" + hashlib.file_digest(file_of_model, "sha256").digest()
                )
    return digest.hexdigest()[:16]


def weights_file(folder: Path) -> Path | None:
    """The file of a model's weights, or the index of several; None if there is none."""
    names = [*WEIGHT_FILES, *(f"{name}.index.json" for name in WEIGHT_FILES)]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def describe_damage(file: Path) -> str | None:
    """Why a file of weights can't be read, or None if it can."""
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt"):
                return None
        if file.suffix == ".bin":
            torch.load(file, map_location="meta", weights_only=True)
    except pickle.UnpicklingError:
        return (
            f"{file} is refused: it is a pickle of more than tensors, or cut off, and nothing of it was run; "
            "take the model as safetensors"
        )
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:100]
        return f"{file} can't be read, it may be truncated ({reason}); copy or download it again"
    return None


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Tells pretrained weights apart, whatever file and precision they were stored in: 16 hexadecimal digits
    over up to SAMPLED numbers of each tensor, as bfloat16.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        flat = tensor.detach().flatten()
        some = flat[:: max(1, len(flat) // SAMPLED)][:SAMPLED]
        some = some.to(torch.bfloat16) if some.is_floating_point() else some
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(some.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def check_adapter_learnt(weights: Mapping[str, Tensor], source: str) -> None:
    """Raise ValueError if a LoRA adapter changes nothing: all of its second factors (`lora_B`) are zero, as
    before any training, or after one whose weights were not saved.
    """
    second = [value for name, value in weights.items() if "lora_B" in name]
    if second and not any(bool(value.any()) for value in second):
        raise ValueError(
            f"all {len(second)} lora_B of {source} are zero: the adapter was not trained, or its weights "
            "were not saved; the model is the same without it, so take another one or none"
        )


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence diffusers and transformers while they load: their bars would tear ours, and whatever is wrong
    with a model is said by our errors.
    """
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    loggers = diffusers.utils.logging, transformers.utils.logging
    before = [logger.get_verbosity() for logger in loggers]
    try:
        for logger in loggers:
            logger.set_verbosity(logger.FATAL)
        yield
    finally:
        for logger, verbosity in zip(loggers, before, strict=True):
            logger.set_verbosity(verbosity)


def error_summary(error: BaseException) -> str:
    """The beginning of an error's message, on one line."""
    line = " ".join(str(error).split())
    return line if len(line) <= 160 else line[:159] + "…"
