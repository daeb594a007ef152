"""Sweeps as they come out of the runner, made up: 8 photographs, a few cases each, scores around given means,
several seeds.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tabulation.hand_made import ADDITION, ATTENTION, BOTH, TIME_EMBEDDING, config, write_run

from src.evaluation.judging import JudgedCase
from src.records import Reward, Verdict

Means = tuple[float, float, float]
PHOTOGRAPHS, EACH = 8, 6
IDEAL: Means = (1.3, 3.9, 4.3)


def cases(means: Means, seed: int, noise: float = 0.5, split: str = "benchmark") -> list[JudgedCase]:
    """Scores around the means; how hard a case is belongs to the case, so rows of one benchmark differ by
    less than cases do.
    """
    of_photograph = np.random.default_rng(1).normal(0.0, 0.15, (PHOTOGRAPHS, 3)).repeat(EACH, 0)
    hardness = np.random.default_rng(0).normal(0.0, 0.7, (PHOTOGRAPHS * EACH, 3)) + of_photograph
    draw = np.random.default_rng([seed, *(int(1000 * abs(mean)) for mean in means)])
    own = draw.normal(0.0, noise, hardness.shape) + draw.normal(0.0, 0.06, 3)
    found = []
    for index, scores in enumerate(np.clip(np.asarray(means) + hardness + own, 0.0, 5.0)):
        verdicts = [Verdict(float(score), bool(score >= 4)) for score in scores]
        id = f"w2-{split}-0-{index}-32"
        found.append(
            JudgedCase(
                id,
                ("local", "style")[index % 2],
                f"{split}{index // EACH}",
                Reward(id, "oracle", "key", *verdicts),
            )
        )
    return found


def data(control: str | None, **more: object) -> dict[str, object]:
    """The data node of a run's config; `more` stands in its control."""
    node = {
        "_target_": "src.data.datamodule.EditData",
        "dataset": {"_target_": "src.data.synthetic.SyntheticTriplets", "length": 20000},
    }
    return node if control is None else node | {"control": {"_target_": control, "_partial_": True} | more}


def write_job(
    job: Path,
    rows: Mapping[str, Means],
    seed: int,
    signals: Sequence[str] = ("score", "text"),
    integration: Mapping[str, object] | None = BOTH,
    control: str | None = None,
    start: str = "runs/none/editor",
    noise: float = 0.5,
    **more: object,
) -> Path:
    """One job's folder: config, record, metrics and report; `more` stands in the config as it is."""
    judged = {name: cases(means, seed, noise) for name, means in rows.items()}
    judged |= {"copy input": cases((-9.0, 9.0, 9.0), 0)}
    judged |= {"ideal (no reward)": cases(IDEAL, 0), "ideal (5/5/5)": cases((9.0, 9.0, 9.0), 0)}
    settings = config(signals, integration, seed, data=data(control)) | {"start": start} | more
    write_run(job, judged, settings, judge="oracle", fingerprint="oracle 2", benchmark="synthetic_edit")
    facts = {
        "status": "finished",
        "seconds": 900.0,
        "commit": "0123456789abcdef",
        "hardware": "x86_64, 1 threads",
        "steps": 1500,
    }
    (job / "run.json").write_text(json.dumps(facts))
    means = next(iter(rows.values()))
    lines = ["step,train/loss,validation/following,validation/preserving,validation/quality", "9,0.5,,,"]
    for step in (500, 1000, 1500):
        lines.append(
            f"{step - 1},0.4,"
            + ",".join(f"{mean * (0.6 + 0.4 * step / 1500) + 0.02 * seed:.3f}" for mean in means)
        )
    (job / "metrics.csv").write_text("\n".join(lines) + "\n")
    return job


NONE, SCORE, TEXT, BOTH_SIGNALS = (
    (1.10, 4.18, 4.54),
    (1.55, 4.15, 4.40),
    (1.45, 4.20, 4.45),
    (1.76, 4.15, 4.34),
)


def table4(folder: Path, seeds: int = 3) -> Path:
    """A sweep of Table 4 with seeds, numbered as the runner does, and its record."""
    cells = [
        ((), None, NONE),
        (("score",), BOTH, SCORE),
        (("text",), BOTH, TEXT),
        (("score", "text"), BOTH, BOTH_SIGNALS),
    ]
    jobs = [
        (signals, integration, means, seed) for signals, integration, means in cells for seed in range(seeds)
    ]
    for number, (signals, integration, means, seed) in enumerate(jobs):
        rows = {"5/5/5": means}
        if signals == ("score", "text"):
            low = {
                f"{asked}/{asked}/{asked}": (
                    means[0] - 0.2 * (5 - asked),
                    means[1] - 0.5 * (5 - asked),
                    means[2],
                )
                for asked in range(5)
            }
            rows |= low
        write_job(folder / str(number), rows, seed, signals or ("score",), integration)
    record = {
        "command": "python -m src.train +experiment=reward_synthetic +sweep=table4_reward_signal seed=0,1,2"
    }
    record |= {
        "jobs": [
            {"number": number, "seconds": {"train": 900.0, "evaluate": 90.0}} for number in range(len(jobs))
        ]
    }
    (folder / "sweep.json").write_text(json.dumps(record))
    return folder


def table5(folder: Path, shared: Path, seeds: int = 3) -> Path:
    """A sweep of Table 5; its first and last cell are links to those of a sweep of Table 4."""
    number = 0
    places = [(ATTENTION, (1.5, 4.1, 4.4)), (ADDITION, (1.6, 4.2, 4.4)), (TIME_EMBEDDING, (1.7, 4.15, 4.35))]
    for integration, means in places:
        for seed in range(seeds):
            write_job(folder / str(number), {"5/5/5": means}, seed, integration=integration)
            number += 1
    for cell in (0, 3):
        for seed in range(seeds):
            (folder / str(number)).symlink_to(f"../{shared.name}/{cell * seeds + seed}")
            number += 1
    return folder


def controls(folder: Path, seeds: int = 3) -> Path:
    """The control runs."""
    number = 0
    kinds = [
        ("src.data.permuted.PermutedRewards", ("score", "text"), BOTH, (1.10, 4.17, 4.55)),
        ("src.data.scalar_reward.ScalarReward", ("score",), BOTH, (1.40, 4.05, 4.40)),
        ("src.data.all_good.AllGood", ("score", "text"), None, (1.86, 4.20, 4.40)),
        ("src.data.exact_targets.ExactTargets", ("score", "text"), None, (2.10, 4.42, 4.49)),
    ]
    for control, signals, integration, means in kinds:
        for seed in range(seeds):
            write_job(folder / str(number), {"5/5/5": means}, seed, signals, integration, control)
            number += 1
    return folder
