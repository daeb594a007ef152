"""Reward models saved and loaded together with their config and calibration.

A training's .ckpt is Lightning's with `reward_model_config` (the resolved config as a YAML string) and `ema`.
An export, `reward_model/`, is a folder: `model.safetensors` with the averaged weights, which carries config
and calibration as well and takes precedence, `config.yaml`, `calibration.json`, and a card, `README.md`.
Nothing is ever unpickled, and no class outside of src/trust.py's list is built.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from src.checkpoint import load_weights, read_weights, write_weights
from src.files import write_atomically
from src.records import ASPECTS
from src.reward_models.calibration import Calibration, calibration_of
from src.reward_models.reward_model import RewardModel, TrainedRewardModel
from src.trust import check_reward_model, plain_tree

CONFIG = "reward_model_config"
"""Key of the config in checkpoints, and of what the weights file of an export carries."""

CALIBRATION = "calibration"
IDENTIFIED = "identified"
BASE = "base"
"""What tells the frozen weights apart that the others were trained on; lacking where there are none."""

CARRIED = "reward_model"
"""Key under which an export's weights file carries these, as JSON: one entry, as the order of several is not
fixed.
"""

WEIGHTS, SETTINGS, FIGURES, CARD = "model.safetensors", "config.yaml", "calibration.json", "README.md"


def build_reward_model(config: str, source: str, trust: Sequence[str] = ()) -> RewardModel:
    """A reward model with fresh weights from its YAML config.

    Args:
        config: of a saved reward model.
        source: where it was found, for messages.
        trust: packages or classes of the user's own that it may name.

    Raises:
        ValueError: the config names more than src/trust.py allows; nothing was built.
    """
    tree = plain_tree(config, source)
    check_reward_model(tree, source, trust)
    model = instantiate(OmegaConf.create(tree))
    if not isinstance(model, RewardModel):
        raise ValueError(f"the config of {source} builds a {type(model).__name__}, which is no RewardModel")
    return model


def load_reward_model(path: str | Path, trust: Sequence[str] = ()) -> TrainedRewardModel:
    """The reward model in an exported folder, in evaluation mode, on the CPU.

    Args:
        path: `reward_model/` of a run, or the run.
        trust: packages or classes of the user's own that its config may name.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: truncated, not of this project, a config that names more than src/trust.py allows, or
            weights that don't fit its config or are not finite.
    """
    weights = weights_file(Path(path))
    metadata, tensors = read_weights(weights)
    carried = carried_by(metadata, weights)
    lacking = [name for name in (CONFIG, CALIBRATION, IDENTIFIED) if name not in carried]
    if lacking:
        raise ValueError(
            f"{weights} is no reward model of this project: it lacks {', '.join(lacking)}; give the "
            "reward_model/ of a run of src.train_reward_model"
        )
    config = str(carried[CONFIG])
    model = build_reward_model(config, str(weights), trust)
    load_weights(model, tensors, str(weights), "reward model")
    check_base(carried.get(BASE), model, str(weights), config)
    calibration = calibration_of(carried[CALIBRATION], str(weights))
    identified = tuple(aspect for aspect in ASPECTS if aspect in carried[IDENTIFIED])
    digest = digest_of(config, tensors, calibration, identified, carried.get(BASE))
    return TrainedRewardModel(model.eval(), calibration, identified, digest)


def check_base(recorded: str | None, model: RewardModel, source: str, config: str) -> None:
    """Raise ValueError if weights were trained on other frozen ones than a model has, of the same shapes as
    they may be.

    Args:
        recorded: `RewardModel.base` of the training; None where it had no frozen weights, or kept no record.
        model: as it was built here.
        source: of the weights, for the message.
        config: of the model, as YAML.
    """
    here = model.base() if recorded is not None else None
    if recorded != here:
        tree = plain_tree(config, source)
        named = {name: tree.get(name) for name in ("model", "revision")}
        said = " ".join(f"{name}={value}" for name, value in named.items() if value is not None)
        raise ValueError(
            f"{source} was trained on a base whose weights are {recorded}, and those of {said or 'this one'} "
            f"are {here}: have the base there that it was trained on (the same revision), or train again"
        )


def weights_file(path: Path) -> Path:
    """The weights of an export at a path, or of the run there. Raises FileNotFoundError or ValueError."""
    if path.suffix == ".ckpt":
        raise ValueError(
            f"{path} is a checkpoint of a training, which isn't calibrated: give the reward_model/ that the "
            "training writes at its end"
        )
    found = [folder / WEIGHTS for folder in (path, path / "reward_model") if (folder / WEIGHTS).is_file()]
    if not found:
        raise FileNotFoundError(
            f"no reward model at {path}: give the reward_model/ of a run of src.train_reward_model"
        )
    return found[0]


def carried_by(metadata: Mapping[str, str], source: Path) -> Mapping[str, Any]:
    """What an export's weights file carries besides weights; nothing of another file.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        values = json.loads(metadata.get(CARRIED, "{}"))
    except json.JSONDecodeError as error:
        raise ValueError(f"what {source} carries is no JSON ({error}): copy it again") from error
    if not isinstance(values, dict):
        raise ValueError(f"what {source} carries is {str(values)[:40]!r}: copy it again")
    return values


def export_reward_model(
    folder: Path,
    config: str,
    tensors: Mapping[str, Tensor],
    calibration: Calibration,
    identified: Sequence[str],
    card: str,
    base: str | None = None,
) -> None:
    """Write an export; the weights file, which carries all that judging needs, is replaced at once.

    Args:
        folder: for the files.
        config: of the model, as YAML.
        tensors: the averaged weights.
        calibration, identified: see `TrainedRewardModel`.
        card: for README.md.
        base: see `RewardModel.base`.

    Raises:
        NotWrittenError: the disk is full.
        NotFiniteError: NaN or infinity among the weights.
    """
    figures = json.dumps(calibration.as_json(), indent=2) + "\n"
    carried = {CONFIG: config, CALIBRATION: calibration.as_json(), IDENTIFIED: list(identified)}
    carried |= {} if base is None else {BASE: base}
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / WEIGHTS, tensors, {CARRIED: json.dumps(carried)})
    write_atomically(folder / SETTINGS, config)
    write_atomically(folder / FIGURES, figures)
    write_atomically(folder / CARD, card)


def digest_of(
    config: str,
    tensors: Mapping[str, Tensor],
    calibration: Calibration,
    identified: Sequence[str],
    base: str | None = None,
) -> str:
    """sha256 of everything that scores depend on."""
    said = [config, json.dumps(calibration.as_json(), sort_keys=True), ",".join(identified)]
    said += [] if base is None else [base]
    digest = hashlib.sha256("\n".join(said).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
