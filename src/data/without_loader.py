"""The config node of a data module without its loader: rows and their check, but neither torch nor Lightning.

For commands that read rows and train nothing (check_data, inspect_rewards, annotate).
"""

from copy import copy

from omegaconf import DictConfig, open_dict

WITHOUT_LOADER = {
    "src.data.datamodule.EditData": (
        "src.data.training_rows.TrainingRows",
        ("batch_size", "num_workers", "seed"),
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
            del node[name]
        node._target_ = target
    return node
