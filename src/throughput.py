"""How fast training, editing and loading are here, rung by rung from what the paper's released code does.

    python -m src.throughput +experiment=reward_inspix2pix                                  # random weights of the full size, files of its own
    python -m src.throughput +experiment=reward_inspix2pix ladders=[training] rungs=[as_released,precomputed]
    python -m src.throughput +experiment=reward_inspix2pix model.backbone.pretrained=FOLDER # another size

Measured are the project's own training step, edits and loader, with the switches that users have;
conf/throughput.yaml says what each rung changes. Leaves throughput.json, throughput.md, throughput.png and a
log of every rung in the run folder. A rung that fails is reported with its reason and the ladder goes on
without its change; exit code 1 if the first rung of a ladder failed, as nothing can then be compared.
"""

import importlib
import json
import logging
import shlex
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError
from pytorch_lightning import Trainer

from src import launch, memory
from src.backbones.frozen import FrozenEncoders
from src.benchmarking.clock import Clock, matrix_rate
from src.benchmarking.files import Shapes, photographs, write_conditions, write_tree
from src.benchmarking.ladder import FailedError, Rung, Told, apart, climb
from src.benchmarking.loading import Reader, measure_loading
from src.benchmarking.measurement import Measurement
from src.benchmarking.report import Entry, draw, markdown, verdicts, with_ratios
from src.benchmarking.sampling import Edits, measure_sampling
from src.benchmarking.training import DISTINCT_BATCHES, TimedSteps, batches_of, measure_training
from src.data.datamodule import EditData
from src.data.dataset import to_tensor
from src.data.rewards import WithRewards
from src.environment import commit, hardware, package_versions
from src.files import write_atomically
from src.ranks import device_of
from src.resolvers import fast_dtype

PARTS = (
    "model",
    "data",
    "algorithm",
    "sampler",
    "trainer",
    "execution",
    "released",
    "size",
    "device",
    "seed",
    "tokens",
    "keep_memory",
)
"""Of the config, what the process of a rung needs; and the sides of images and matrices."""

PRECISIONS = {
    "bf16-mixed": torch.bfloat16,
    "bf16-true": torch.bfloat16,
    "16-mixed": torch.float16,
    "32-true": torch.float32,
}


def main(cfg: DictConfig) -> None:
    """Write files, climb the ladders, report.

    Raises:
        ValueError: an experiment that can't be measured, an unknown ladder or rung, or a ladder whose first
            rung failed.
    """
    start, folder = time.monotonic(), Path(HydraConfig.get().runtime.output_dir)
    check_request(cfg)
    # the rungs' processes look this module up by name, which is another in the one that was started
    measure = importlib.import_module("src.throughput").measure
    measured: dict[str, list[Entry]] = {name: [] for name in cfg.rungs_of}
    rates: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="throughput-") as temporary:
        write_files(cfg, Path(temporary))
        # after the files are there, as some changes name them
        ladders = {
            name: [Rung(name, rung, tuple(changes)) for rung, changes in cfg.rungs_of[name].items()]
            for name in cfg.ladders
        }
        chosen = {name: chosen_rungs(cfg, name) for name in ladders}
        told = Told(sum(rung.name in chosen[name] for name, rungs in ladders.items() for rung in rungs))

        def measure_rung(rung: Rung, changes: Sequence[str]) -> Measurement:
            settings = settings_of(cfg, changes)
            try:
                result = apart(
                    measure,
                    rung.ladder,
                    settings,
                    folder / "logs" / f"{rung.ladder}-{rung.name}.txt",
                    cfg.minutes_per_rung,
                )
            except FailedError as error:
                told.rung(rung, f"failed, {error}")
                raise
            told.rung(rung, f"{result.samples_per_s:.3g} samples/s")
            return result

        for name, rungs in ladders.items():
            entries = climb(rungs, chosen[name], measure_rung)
            rate = None
            if name != "loading":
                dtype = str(dtype_of(name, cfg)).removeprefix("torch.")
                if dtype not in rates:
                    settings = settings_of(cfg, []) | {"dtype": dtype}
                    rates[dtype] = apart(
                        measure, "matrices", settings, folder / "logs" / "matrices.txt", cfg.minutes_per_rung
                    )
                rate = rates[dtype]
            measured[name] = with_ratios(entries, None if rate is None else rate / 1e12)

    report = {
        **measured,
        "device": cfg.device,
        "hardware": hardware(),
        "precision": cfg.trainer.precision,
        "matrix_tflop_per_s": {name: rate / 1e12 for name, rate in rates.items()},
        "versions": package_versions(),
        "commit": commit(),
        "command": shlex.join(["python", "-m", "src.throughput", *HydraConfig.get().overrides.task]),
        "seconds": round(time.monotonic() - start, 1),
        "threads": torch.get_num_threads(),
    }
    report["targets"] = [
        {**each._asdict(), "reached": each.reached}
        for each in verdicts(measured, cfg.device, report["hardware"])
    ]
    write_atomically(folder / "throughput.json", json.dumps(report, indent=2) + "\n")
    write_atomically(folder / "throughput.md", markdown(report))
    draw(report, folder / "throughput.png")
    print(markdown(report))
    print(folder / "throughput.png")
    failed = [
        f"{name} ({entries[0]['failed']})"
        for name, entries in measured.items()
        if entries and entries[0]["failed"]
    ]
    if failed:
        raise ValueError(
            f"nothing can be compared with the first rung, which failed: {'; '.join(failed)}; see {folder / 'logs'}"
        )


def check_request(cfg: DictConfig) -> None:
    """Raise ValueError for a ladder or rung that there isn't, or an experiment on other data than a tree of
    images.
    """
    unknown = [name for name in cfg.ladders if name not in cfg.rungs_of]
    if unknown or not cfg.ladders:
        raise ValueError(f"ladders={list(cfg.ladders)}: say some of {', '.join(cfg.rungs_of)}")
    known = dict.fromkeys(rung for name in cfg.ladders for rung in cfg.rungs_of[name])
    unknown = [name for name in cfg.rungs or [] if name not in known]
    if unknown:
        raise ValueError(f"no rung {', '.join(unknown)} in these ladders: they have {', '.join(known)}")
    if not str(cfg.data.dataset.get("_target_", "")).endswith("Pix2PixTree"):
        raise ValueError(
            "this benchmark measures editors with frozen encoders on a tree of pictures: say +experiment=reward_inspix2pix"
        )


def chosen_rungs(cfg: DictConfig, ladder: str) -> list[str]:
    """The rungs asked for; if none are, all of the ladder but those that this kind of device leaves out."""
    if cfg.rungs is not None:
        return list(cfg.rungs)
    return [rung for rung in cfg.rungs_of[ladder] if f"{ladder}.{rung}" not in cfg.left_out[cfg.device]]


def write_files(cfg: DictConfig, folder: Path) -> None:
    """A tree of images with rewards, and conditions precomputed of it, which the config then names."""
    cfg.size = cfg.sizes[cfg.device]
    tree = write_tree(folder / "tree", cfg.files.rows, cfg.files.side)
    OmegaConf.update(cfg, "data.dataset", {"folder": str(tree), "split": "all", "extension": "jpg"})
    rewards = {"_target_": "src.data.rewards.from_reward_file", "path": str(tree / "rewards.jsonl")}
    OmegaConf.update(cfg, "data.rewards", rewards, force_add=True)
    cfg.data.precomputed = None
    data: EditData = instantiate(cfg.data)
    assert isinstance(data.dataset, WithRewards)
    conditions = write_conditions(folder / "conditions", data.dataset, data.transform, shapes_of(cfg, data))
    cfg.conditions = str(conditions)


def shapes_of(cfg: DictConfig, data: EditData) -> Shapes:
    """Of what the backbone's encoders make. Raises ValueError for a backbone that trains its encoders."""
    # without weights, where they would be random
    with torch.device("meta" if cfg.model.backbone.get("pretrained") is None else "cpu"):
        backbone = instantiate(cfg.model.backbone)
    if not isinstance(backbone, FrozenEncoders):
        raise ValueError(
            f"{type(backbone).__name__} trains its text encoder, and can't be compared with the release"
        )
    return Shapes(backbone.latent_shape(*data.image_size), (cfg.files.text_length, backbone.text_width))


def settings_of(cfg: DictConfig, changes: Sequence[str]) -> dict[str, Any]:
    """What the process of a rung is sent: the config with these changes, resolved.

    Raises:
        FailedError: a change of something that this experiment doesn't have.
    """
    changed = cfg.copy()
    for change in changes:
        name, _, value = change.partition("=")
        try:
            OmegaConf.update(changed, name, OmegaConf.create(f"value: {value}").value)
        except ConfigAttributeError as error:
            raise FailedError(f"this experiment has no {name}") from error
    parts = {name: changed[name] for name in (*PARTS, "sampling_side", "matrix_side")} | {
        "ema": changed.callbacks.ema
    }
    return {
        name: OmegaConf.to_container(part, resolve=True) if OmegaConf.is_config(part) else part
        for name, part in parts.items()
    }


def dtype_of(ladder: str, cfg: DictConfig) -> torch.dtype:
    """The number format whose matrix rate a ladder is compared with."""
    if ladder == "sampling":
        return getattr(torch, fast_dtype(cfg.device))
    return PRECISIONS.get(str(cfg.trainer.precision), torch.float32)


def measure(name: str, settings: Mapping[str, Any]) -> Any:
    """What the process of a rung does."""
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.manual_seed(settings["seed"])
    if settings["keep_memory"]:
        memory.keep_freed()
    else:
        memory.refuse_huge_pages()
    return MEASURES[name](OmegaConf.create(dict(settings)))


def matrices(cfg: DictConfig) -> float:
    """Operations per second in products of large matrices."""
    return matrix_rate(device_of(cfg.device), getattr(torch, cfg.dtype), cfg.matrix_side)


def training(cfg: DictConfig) -> Measurement:
    """Steps of the experiment's training."""
    data = instantiate(cfg.data, num_workers=0)
    algorithm = instantiate(cfg.algorithm)(editor=instantiate(cfg.model))
    # the first step counts operations and is never compiled
    untimed = 1 + (max(cfg.size.warm_up, 1) if algorithm.compiled is not None else cfg.size.warm_up)
    steps = TimedSteps(Clock(device_of(cfg.device)), untimed)
    trainer = trainer_of(
        cfg,
        callbacks=[instantiate(cfg.released), instantiate(cfg.ema), steps],
        max_steps=untimed + cfg.size.timed,
    )
    return measure_training(algorithm, trainer, steps, batches_of(data, trainer, DISTINCT_BATCHES))


def sampling(cfg: DictConfig) -> Measurement:
    """Edits by the experiment's sampler."""
    device = device_of(cfg.device)
    editor = instantiate(cfg.model).to(device)
    count, steps = cfg.size.edits, cfg.sampler.steps
    originals = to_tensor(photographs(cfg.sampling_side, count)).to(device)
    edits = Edits(originals, [f"make it night, version {number}" for number in range(count)])
    samplers = {
        number: instantiate(cfg.sampler, steps=number) for number in (1, cfg.size.sampling_steps or steps)
    }
    return measure_sampling(
        editor,
        instantiate(cfg.execution),
        edits,
        instantiate(cfg.released),
        samplers,
        steps,
        cfg.size.warm_up_edits,
        cfg.size.timed_edits,
    )


def loading(cfg: DictConfig) -> Measurement:
    """Batches of the experiment's loader."""
    torch.set_num_threads(1)
    data: EditData = instantiate(cfg.data, num_workers=0)
    samples = min(len(data.dataset), cfg.size.samples if data.precomputed is None else len(data.dataset))
    return measure_loading(Reader(data, trainer_of(cfg), cfg.tokens), samples, cfg.size.loading_seconds)


MEASURES: dict[str, Callable[[DictConfig], Any]] = {
    "training": training,
    "sampling": sampling,
    "loading": loading,
    "matrices": matrices,
}


def trainer_of(cfg: DictConfig, **more: Any) -> Trainer:
    """The experiment's trainer, which writes nothing."""
    return instantiate(cfg.trainer, logger=False, enable_checkpointing=False, **more)


if __name__ == "__main__":
    launch.entry_point(main, "throughput")
