"""What reward models of the synthetic world have learnt, measured on photographs that none has seen.

    RUN="python -m src.train_reward_model hydra.run.dir=runs/reward_model"
    $RUN/both-0 seed=0    # and seeds 1, 2
    $RUN/pairs-0 preference@algorithm.loss=pairs
    $RUN/editreward-0 preference@algorithm.loss=editreward contests.source.aspects=[overall] \
      contests.source.rated=false
    $RUN/permuted-0 contests.source.labels=permuted
    python experiments/reward_model_synthetic.py runs/reward_model runs/contests > FIGURES.md

280 cases of the benchmark split, eight corruptions of each; the truth is the exact oracle's.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import spearmanr

from src.data.synthetic_contests import SyntheticContests
from src.evaluation.statistics import clustered_interval
from src.records import PERSPECTIVES
from src.reward_model_checkpoint import load_reward_model
from src.reward_models.fitting import coverage, estimated
from src.reward_models.reward_model import Estimates
from src.synthetic.world import World

NAMES = ("following", "preserving", "quality")
CASES, EDITS, KEPT = 280, 8, 0.4
Grid = Float[np.ndarray, "cases edits"]


class Seen(NamedTuple):
    """What a model says of all edits, beside the truth."""

    estimates: Estimates | None
    factors: Sequence[float]
    means: Float[np.ndarray, "cases edits 3"]


def main(arguments: Sequence[str]) -> None:
    """Print the tables."""
    import torch

    runs, cache = Path(arguments[0]), Path(arguments[1])
    contests = SyntheticContests(World(32), CASES, EDITS, split="benchmark", cache=cache)
    everything = [contests[index] for index in range(CASES)]
    truth, noisy = contests.measured.scores.astype(float), contests.noisy_scores
    photographs = np.array([case.photograph for case in contests.measured.cases])
    seen = {}
    for folder in sorted(path.parent for path in runs.glob("*/reward_model")):
        model = load_reward_model(folder)
        estimates = estimated(model.network, everything, torch.device("cpu"), 256)
        factors = [model.calibration.factors.get(name, 1.0) for name in NAMES]
        means = estimates.mean.double().numpy().reshape(CASES, EDITS, 3)
        seen[folder.name] = Seen(estimates, factors, means)
    print("\n".join(choices(seen, truth, photographs)), end="\n\n")
    print("\n".join(leakage(seen, truth)), end="\n\n")
    print("\n".join(deviations(seen, noisy)), end="\n\n")
    print("\n".join(costs(runs)))


def choices(
    seen: Mapping[str, Seen], truth: Float[np.ndarray, "c e 3"], photographs: np.ndarray
) -> list[str]:
    """Accuracy of pairs, and what choosing by a model gains."""
    rows = [
        "| model | pairs of one case, any gap | gap above 1 | within cases | pooled | best of 8 "
        "| share of exact gain | top 40 % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    exact = truth.mean(-1)
    for name, each in {**seen, "exact": Seen(None, (), truth)}.items():
        said = each.means.mean(-1)
        best = np.take_along_axis(exact, said.argmax(1)[:, None], 1).mean()
        share = (best - exact.mean()) / (exact.max(1).mean() - exact.mean())
        kept = np.argsort(-said.ravel(), kind="stable")[: round(KEPT * said.size)]
        within = np.mean(
            [correlation(a, b) for a, b in zip(said, exact, strict=True) if np.ptp(b) and np.ptp(a)]
        )
        rows.append(
            f"| {name} | {pairs(said, exact, 0.0, photographs)} | {pairs(said, exact, 1.0, photographs)} "
            f"| {within:.3f} | {spearmanr(said.ravel(), exact.ravel())[0]:.3f} | {best:.3f} | {share:.0%} "
            f"| {exact.ravel()[kept].mean() - exact.mean():+.3f} |"
        )
    return [
        *rows,
        "",
        f"Mean of all edits {exact.mean():.3f}, of the best of each case {exact.max(1).mean():.3f}.",
    ]


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's."""
    return float(np.asarray(spearmanr(one, other))[0])


def pairs(said: Grid, exact: Grid, gap: float, photographs: np.ndarray) -> str:
    """The share of pairs ordered right, whose exact means differ by more than a gap, with its interval."""
    first, second = np.triu_indices(EDITS, 1)
    difference, true = said[:, first] - said[:, second], exact[:, first] - exact[:, second]
    counts = np.abs(true) > max(gap, 1e-9)
    right = (difference * true > 0)[counts].astype(float)
    clusters = np.repeat(photographs[:, None], len(first), 1)[counts]
    interval = clustered_interval(right, list(clusters))
    assert interval is not None
    return f"{right.mean():.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def leakage(seen: Mapping[str, Seen], truth: Float[np.ndarray, "c e 3"]) -> list[str]:
    """Spearman's correlation of each utility with each true score, over all edits."""
    heads = " | ".join(f"{said[0].upper()} with {true[0].upper()}" for said in NAMES for true in NAMES)
    rows = [f"| model | {heads} | largest off the diagonal |", "|---|" + "---|" * 10]
    for name, each in {**seen, "truth": Seen(None, (), truth)}.items():
        found = np.array(
            [
                [spearmanr(each.means[..., a].ravel(), truth[..., b].ravel())[0] for b in range(3)]
                for a in range(3)
            ]
        )
        off = np.abs(found[~np.eye(3, dtype=bool)]).max()
        rows.append(f"| {name} | {' | '.join(f'{value:.2f}' for value in found.ravel())} | {off:.2f} |")
    return rows


def deviations(seen: Mapping[str, Seen], noisy: Float[np.ndarray, "c e 3"]) -> list[str]:
    """What the models say of their uncertainty, against the annotator's scores of the unseen edits."""
    import torch

    rows = [
        "| model | mean deviation F, P, Q (points) | 90 % band holds, before "
        "| with the factor of the validation split | rank correlation with the error |",
        "|---|---|---|---|---|",
    ]
    value = torch.from_numpy(noisy.reshape(-1, 3) - 2.5)
    for name, each in seen.items():
        if each.estimates is None or each.estimates.log_deviation is None:
            continue
        mean, deviation = each.estimates.mean.double(), each.estimates.log_deviation.double().exp()
        columns = [[], [], [], []]
        for index in range(len(PERSPECTIVES)):
            at = mean[:, index], value[:, index], deviation[:, index]
            columns[0].append(f"{float(deviation[:, index].mean()):.3f}")
            columns[1].append(f"{coverage(*at):.3f}")
            columns[2].append(f"{coverage(*at, each.factors[index]):.3f}")
            columns[3].append(f"{spearmanr(at[2].numpy(), (at[1] - at[0]).abs().numpy())[0]:.2f}")
        rows.append(f"| {name} | " + " | ".join(", ".join(column) for column in columns) + " |")
    return rows


def costs(runs: Path) -> list[str]:
    """Steps and seconds of each training."""
    rows = ["| training | steps | wall seconds | hardware |", "|---|---|---|---|"]
    for file in sorted(runs.glob("*/run.json")):
        run = json.loads(file.read_text())
        rows.append(f"| {file.parent.name} | {run['steps']} | {run['seconds']:.0f} | {run['hardware']} |")
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])
