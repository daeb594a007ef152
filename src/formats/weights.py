"""Reads published weights: safetensors, several files with an index, or pickles, of which only tensors are
read and no code is run.

Pickles are memory-mapped: of 13 GB only the tensors that are used come from the disk.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from src.hub import UNREADABLE, describe_damage, weights_file
from src.json_files import read_json


def read_folder_tensors(folder: Path) -> dict[str, Tensor] | None:
    """All tensors in a folder as diffusers and transformers write it, in one file or several; None if no file
    there holds weights.

    Raises:
        FileNotFoundError: a file that the index names is missing.
        ValueError: a file that can't be read.
    """
    file = weights_file(folder)
    if file is None:
        return None
    if file.suffix != ".json":
        return read_tensors(file)
    try:
        files = sorted(set(read_json(file)["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} doesn't say which file holds which tensor ({error}): download it again"
        ) from error
    elsewhere = [part for part in files if not isinstance(part, str) or Path(part).name != part]
    if elsewhere:
        raise ValueError(f"{file} names {elsewhere[0]!r}, a file beside it is needed: download it again")
    return {name: value for part in files for name, value in read_tensors(folder / part).items()}


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors in a file. Raises FileNotFoundError, or ValueError if it is truncated or a pickle of
    anything else, which is never run.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: download the release again")
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise ValueError(
                describe_damage(file) or f"{file} can't be read ({error}); download it again"
            ) from error
    tensors = _unpickled(file)
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ValueError(
            f"{file} holds no named tensors, but a {type(tensors).__name__}: give the weights of a model"
        )
    return tensors


def _unpickled(file: Path) -> object:
    """The content of a pickle of tensors. Raises ValueError as `read_tensors`."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except UNREADABLE as error:
        broken = describe_damage(file)
        if broken is not None:
            raise ValueError(broken) from error
        return torch.load(
            file, map_location="cpu", weights_only=True
        )  # written when pickles could not be memory-mapped
