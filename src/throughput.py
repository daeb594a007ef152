"""Measure the speed of training, editing and loading, change by change from what the paper's released code
does.

    # random weights of the full size, and files that it writes itself
    python -m src.throughput +experiment=reward_inspix2pix
    python -m src.throughput +experiment=reward_inspix2pix ladders=[training] rungs=[as_released,precomputed]
    # another size
    python -m src.throughput +experiment=reward_inspix2pix model.backbone.pretrained=FOLDER

It measures the project's own training step, edits and loader with the settings that users have;
conf/throughput.yaml lists what each rung changes. Leaves throughput.json, throughput.md, throughput.png and a
log of every rung in the run folder. A rung that fails is reported with its reason, and the ladder continues
without its change; exit code 1 if the first rung of a ladder failed, as nothing can then be compared.
"""

import json
import shlex
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError

from src import launch
from src.benchmarking.ladder import FailedError, Rung, RungProgress, measure_ladder, run_in_process
from src.benchmarking.measurement import RungMeasurement
from src.benchmarking.report import Entry, check_targets, draw_ladders, ladders_markdown, with_ratios
from src.environment import commit, hardware, package_versions
from src.files import write_atomically
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
"""Nodes of the config that the process of a rung needs."""

DTYPES = {"bf16-mixed": "bfloat16", "bf16-true": "bfloat16", "16-mixed": "float16"}
"""Number formats by Lightning's precision; all others are float32."""


def main(cfg: DictConfig) -> None:
    """Write files, measure the ladders, report.

    Raises:
        ValueError: an experiment that can't be measured, an unknown ladder or rung, or a ladder whose first
            rung failed.
    """
    check_request(cfg)
    from src.benchmarking.rungs import measure_part, write_files

    start, folder = time.monotonic(), Path(HydraConfig.get().runtime.output_dir)
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
        progress = RungProgress(
            sum(rung.name in chosen[name] for name, rungs in ladders.items() for rung in rungs)
        )

        def measure_rung(rung: Rung, changes: Sequence[str]) -> RungMeasurement:
            settings = rung_settings(cfg, changes)
            try:
                result = run_in_process(
                    measure_part,
                    rung.ladder,
                    settings,
                    folder / "logs" / f"{rung.ladder}-{rung.name}.txt",
                    cfg.minutes_per_rung,
                )
            except FailedError as error:
                progress.report(rung, f"failed, {error}")
                raise
            progress.report(rung, f"{result.samples_per_s:.3g} samples/s")
            return result

        for name, rungs in ladders.items():
            entries = measure_ladder(rungs, chosen[name], measure_rung)
            rate = None
            if name != "loading":
                dtype = matrix_dtype(name, cfg)
                if dtype not in rates:
                    settings = rung_settings(cfg, []) | {"dtype": dtype}
                    rates[dtype] = run_in_process(
                        measure_part,
                        "matrices",
                        settings,
                        folder / "logs" / "matrices.txt",
                        cfg.minutes_per_rung,
                    )
                rate = rates[dtype]
            measured[name] = with_ratios(entries, None if rate is None else rate / 1e12)

    report = throughput_report(cfg, measured, rates, time.monotonic() - start)
    save_results(report, folder)
    failed = [
        f"{name} ({entries[0]['failed']})"
        for name, entries in measured.items()
        if entries and entries[0]["failed"]
    ]
    if failed:
        raise ValueError(
            f"nothing can be compared with the first rung, which failed: {'; '.join(failed)}; see "
            f"{folder / 'logs'}"
        )


def throughput_report(
    cfg: DictConfig, measured: Mapping[str, list[Entry]], rates: Mapping[str, float], seconds: float
) -> dict[str, Any]:
    """Everything that throughput.json says.

    Args:
        cfg: of the command.
        measured: entries by ladder.
        rates: operations per second of matrix products by number format.
        seconds: that the command took.
    """
    import torch

    report = {
        **measured,
        "device": cfg.device,
        "hardware": hardware(),
        "precision": cfg.trainer.precision,
        "matrix_tflop_per_s": {name: rate / 1e12 for name, rate in rates.items()},
        "versions": package_versions(),
        "commit": commit(),
        "command": shlex.join(["python", "-m", "src.throughput", *HydraConfig.get().overrides.task]),
        "seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
    }
    report["targets"] = [
        {**each._asdict(), "reached": each.reached}
        for each in check_targets(measured, cfg.device, report["hardware"])
    ]
    return report


def save_results(report: Mapping[str, Any], folder: Path) -> None:
    """Write throughput.json, throughput.md and throughput.png, and print the table."""
    write_atomically(folder / "throughput.json", json.dumps(report, indent=2) + "\n")
    write_atomically(folder / "throughput.md", ladders_markdown(report))
    draw_ladders(report, folder / "throughput.png")
    print(ladders_markdown(report))
    print(folder / "throughput.png")


def check_request(cfg: DictConfig) -> None:
    """Raise ValueError for an unknown ladder or rung, or an experiment without a tree of images."""
    unknown = [name for name in cfg.ladders if name not in cfg.rungs_of]
    if unknown or not cfg.ladders:
        raise ValueError(f"ladders={list(cfg.ladders)}: say some of {', '.join(cfg.rungs_of)}")
    known = dict.fromkeys(rung for name in cfg.ladders for rung in cfg.rungs_of[name])
    unknown = [name for name in cfg.rungs or [] if name not in known]
    if unknown:
        raise ValueError(f"no rung {', '.join(unknown)} in these ladders: they have {', '.join(known)}")
    if not str(cfg.data.dataset.get("_target_", "")).endswith("Pix2PixTree"):
        raise ValueError(
            "this benchmark measures editors with frozen encoders on a tree of pictures: say "
            "+experiment=reward_inspix2pix"
        )


def chosen_rungs(cfg: DictConfig, ladder: str) -> list[str]:
    """The requested rungs; by default all of the ladder except those that this kind of device leaves out."""
    if cfg.rungs is not None:
        return list(cfg.rungs)
    return [rung for rung in cfg.rungs_of[ladder] if f"{ladder}.{rung}" not in cfg.left_out[cfg.device]]


def rung_settings(cfg: DictConfig, changes: Sequence[str]) -> dict[str, Any]:
    """The settings sent to a rung's process: the config with these changes, resolved.

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


def matrix_dtype(ladder: str, cfg: DictConfig) -> str:
    """The number format whose matrix rate a ladder is compared with."""
    if ladder == "sampling":
        return fast_dtype(cfg.device)
    return DTYPES.get(str(cfg.trainer.precision), "float32")


if __name__ == "__main__":
    launch.entry_point(main, "throughput")
