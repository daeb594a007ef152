"""The config nodes of a data module's parts: its rows and their check without a loader, which needs neither
torch nor Lightning, or its rows alone.

For commands that read rows and train nothing (check_data, inspect_rewards, annotate, curate).
"""

from copy import copy
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from src.data.reach import rows_settings

WITHOUT_LOADER = {
    "src.data.datamodule.EditData": (
        "src.data.training_rows.TrainingRows",
        ("batch_size", "num_workers", "seed", "words"),
    ),
    "src.data.stream_datamodule.StreamedEditData": (
        "src.data.stream.TrainingStream",
        ("batch_size", "readers"),
    ),
}
"""Data module -> what holds its rows, and the settings of the loader."""


def without_loader(data: DictConfig) -> DictConfig:
    """Return the node of the object that holds a data module's rows and checks them; an unknown module's node
    as it is.
    """
    if data.get("_target_") not in WITHOUT_LOADER:
        return data
    target, of_loader = WITHOUT_LOADER[data._target_]
    node = copy(data)  # keeps the parent, for interpolations such as ${seed}
    with open_dict(node):
        for name in of_loader:
            node.pop(name, None)
        node._target_ = target
    return node


ROWS_OF_STREAM = ("stream", "columns", "source", "outside", "only")


def rows_alone(data: DictConfig) -> DictConfig:
    """The node of a data config's rows at native size, without the transforms and rewards of training."""
    node = copy(data)
    with open_dict(node):
        if "stream" in data:
            for name in set(node) - set(ROWS_OF_STREAM):
                node.pop(name)
            node._target_, node.own_rewards = "src.data.stream.StreamedRows", False
            return node
        if data.get("only") is None:
            return data.dataset
        for name in set(node) - {"dataset", "only"}:
            node.pop(name)
        node._target_, node.path = "src.data.only.only", node.pop("only")
        return node


def rows_request(data: DictConfig) -> Any:
    """The part of a data config that determines the rows."""
    found = rows_settings(
        OmegaConf.to_container(data.stream if "stream" in data else data.dataset, resolve=True)
    )
    return found if data.get("only") is None else found | {"only": str(data.only)}


def dataset_location(data: DictConfig) -> str:
    """Where a dataset on disk lies, as its config says; else what it is."""
    names = ("stream.path", "dataset.file", "dataset.folder", "dataset.table.path")
    places = [OmegaConf.select(data, name) for name in names]
    return next(
        (str(place) for place in places if place is not None), str(data.dataset._target_).split(".")[-1]
    )
