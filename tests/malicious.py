"""Pickles that run code when they are read."""

import pickle
from pathlib import Path

import torch


class Payload:
    """What a malicious pickle holds: being unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple:
        return open, (self.path, "w")


def write_malicious(file: Path, owned: Path, bare: bool) -> None:
    if bare:
        file.write_bytes(pickle.dumps(Payload(owned)))
    else:
        torch.save(
            {
                "conv_in.weight": Payload(owned),
                "editor_config": "",
                "picture_size": [1, 1],
                "ema": {},
                "state_dict": {},
            },
            file,
        )
