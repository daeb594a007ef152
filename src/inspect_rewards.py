"""What a source of rewards says of training triplets, and how far it can be believed: a table and a histogram, before anything is trained.

    python -m src.inspect_rewards count=2000 target=rewards.png
    python -m src.inspect_rewards world=never_all_good annotator=exact

A triplet is clean if the oracle gives it at least `clean` points in each perspective. An editor asked for 5/5/5, or for "None" three times, learns
from the triplets annotated so; the share of clean ones among them says what each signal can teach, and so in which order Table 4 of the paper
(score, text, both) should come out. The histogram is that of the paper's Figure 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from hydra.utils import instantiate
from jaxtyping import Bool, Float
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track
from rich.table import Table

from src import launch
from src.records import MAX_SCORE, NO_FAILURE, PERSPECTIVES, Reward
from src.synthetic.annotation import Annotator, ExactAnnotator, Unrated
from src.synthetic.world import World


@dataclass(frozen=True)
class Belief:
    """How many triplets are said to be good, and how many of them are.

    Attributes:
        said: number of triplets of which it is said.
        clean: how many of them are clean.
    """

    said: int
    clean: int

    def __str__(self) -> str:
        """As in "0.85 (61 of 72)"."""
        return f"{self.clean / self.said:.2f} ({self.clean} of {self.said})" if self.said else "- (0 of 0)"


def main(cfg: DictConfig) -> None:
    """Print the table and write the picture `cfg.target`.

    Raises:
        ValueError: no triplet asked for, or an annotator that rates nothing.
    """
    if cfg.count < 1:
        raise ValueError(f"count={cfg.count}: inspect at least one triplet")
    world: World = instantiate(cfg.world)
    annotator: Annotator | Unrated = instantiate(cfg.annotator)
    if isinstance(annotator, Unrated):
        raise ValueError("annotator=unrated gives no rewards to inspect: say annotator=noisy or annotator=exact")
    pairs = [rewards_of(world, annotator, cfg.split, cfg.seed, index) for index in track(range(cfg.count), "rewarding", transient=True)]
    given, truth = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    scores, clean = scores_of(given), scores_of(truth) >= cfg.clean
    nothing = silent(given)
    console = Console(width=120)
    console.print(counts_table(scores, scores_of(truth), nothing))
    console.print(beliefs_table(scores == MAX_SCORE, nothing, clean, cfg.clean))
    target = Path(cfg.target)
    target.parent.mkdir(parents=True, exist_ok=True)
    draw_histogram(scores, f"{cfg.count} training triplets of world {world.version}, {annotator.name}", target)
    print(target)


def rewards_of(world: World, annotator: Annotator, split: str, seed: int, index: int) -> tuple[Reward, Reward]:
    """What is said of a triplet, and what is true of it."""
    return world.rewarded_triplet(split, seed, index, annotator)[1], world.rewarded_triplet(split, seed, index, ExactAnnotator())[1]


def scores_of(rewards: Sequence[Reward]) -> Float[np.ndarray, "n 3"]:
    """Scores by perspective; NaN where a verdict failed."""
    return np.array([[verdict.score for verdict in reward.verdicts] for reward in rewards], dtype=float)


def silent(rewards: Sequence[Reward]) -> Bool[np.ndarray, "n 3"]:
    """Where a text says that nothing failed."""
    return np.array([[verdict.feedback == NO_FAILURE for verdict in reward.verdicts] for reward in rewards])


def histogram(scores: Float[np.ndarray, " n"]) -> list[int]:
    """How many scores are nearest to 0, 1, ..., 5."""
    rounded = np.floor(scores[np.isfinite(scores)] + 0.5).astype(int)
    return np.bincount(rounded, minlength=int(MAX_SCORE) + 1).tolist()


def beliefs(
    best: Bool[np.ndarray, "n 3"], nothing: Bool[np.ndarray, "n 3"], clean: Bool[np.ndarray, "n 3"]
) -> dict[str, tuple[Belief, Belief, Belief]]:
    """P(clean | score 5), P(clean | text "None"), P(clean | both), for each perspective alone and for all three at once.

    Args:
        best: where the score is 5.
        nothing: where the text is "None".
        clean: where the oracle's score is high enough.
    """

    def three_of(score: Bool[np.ndarray, " n"], text: Bool[np.ndarray, " n"], true: Bool[np.ndarray, " n"]) -> tuple[Belief, Belief, Belief]:
        first, second, third = (Belief(int(said.sum()), int((said & true).sum())) for said in (score, text, score & text))
        return first, second, third

    found = {perspective.value: three_of(best[:, index], nothing[:, index], clean[:, index]) for index, perspective in enumerate(PERSPECTIVES)}
    return {**found, "all three": three_of(*(np.asarray(each.all(1)) for each in (best, nothing, clean)))}


def counts_table(scores: Float[np.ndarray, "n 3"], exact: Float[np.ndarray, "n 3"], nothing: Bool[np.ndarray, "n 3"]) -> Table:
    """Per perspective: how often each score was given, the mean, the oracle's mean, how many are below 5 and how many texts say "None"."""
    table = Table(title=f"Rewards of {len(scores)} triplets")
    for title in (
        "perspective",
        *(str(score) for score in range(int(MAX_SCORE) + 1)),
        "mean",
        "oracle's mean",
        "below 5",
        "oracle's below 5",
        '"None"',
    ):
        table.add_column(title, justify="left" if title == "perspective" else "right")
    for index, perspective in enumerate(PERSPECTIVES):
        column, true = scores[:, index], exact[:, index]
        shares = (np.mean(column < MAX_SCORE), np.mean(true < MAX_SCORE), np.mean(nothing[:, index]))
        means = (f"{np.nanmean(column):.2f}", f"{true.mean():.2f}")
        table.add_row(perspective.value, *map(str, histogram(column)), *means, *(f"{100 * share:.1f} %" for share in shares))
    return table


def beliefs_table(best: Bool[np.ndarray, "n 3"], nothing: Bool[np.ndarray, "n 3"], clean: Bool[np.ndarray, "n 3"], least: float) -> Table:
    """The beliefs, beside how many triplets are clean at all."""
    table = Table(title=f"How many are clean (oracle at least {least:g}) of those said to be good")
    for title in ("perspective", "clean at all", "P(clean | score 5)", 'P(clean | text "None")', "P(clean | both)"):
        table.add_column(title, justify="left" if title == "perspective" else "right")
    for name, row in beliefs(best, nothing, clean).items():
        true = clean.all(1) if name == "all three" else clean[:, [perspective.value for perspective in PERSPECTIVES].index(name)]
        table.add_row(name, f"{true.mean():.3f}", *map(str, row))
    return table


def draw_histogram(scores: Float[np.ndarray, "n 3"], title: str, target: Path) -> None:
    """One panel per perspective, like the paper's Figure 3."""
    figure, axes = plt.subplots(1, len(PERSPECTIVES), figsize=(10, 3.2), sharey=True, layout="constrained")
    for index, (axis, perspective) in enumerate(zip(axes, PERSPECTIVES, strict=True)):
        counts = np.array(histogram(scores[:, index]))
        bars = axis.bar(range(len(counts)), 100 * counts / counts.sum(), color="#4477aa", width=0.8)
        axis.bar_label(bars, fmt="%.0f", fontsize=8, padding=1)
        axis.set_title(f"{perspective.value} (mean {np.nanmean(scores[:, index]):.2f})", fontsize=10)
        axis.set_xlabel("score")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("% of triplets")
    figure.suptitle(title, fontsize=11)
    figure.savefig(target, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    launch.entry_point(main, "inspect_rewards")
