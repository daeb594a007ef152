"""A judge that can be cheated: the training ends when the hold-out judge falls, and the editor from before
the turn is kept.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import config, small_editor
from evaluation.squares import Squares
from omegaconf import OmegaConf
from pytorch_lightning import Trainer
from torch.utils.data import DataLoader

from src import checkpoint
from src.aggregation import WeightedMean
from src.algorithms.diffusion_nft import DiffusionNFT
from src.algorithms.group_rewards import GroupRewards
from src.batch import EditBatch
from src.callbacks.editor_checkpoint import EditorCheckpoint
from src.callbacks.ema import EMA
from src.callbacks.over_optimisation import OverOptimisation, has_fallen, known_values
from src.diffusion.guidance import Guidance
from src.diffusion.rollout import Rollout
from src.diffusion.samplers import Sampler
from src.diffusion.transitions import Ancestral
from src.records import Image, Reward, TargetReward, Triplet, Verdict


def brightness(image: Image) -> float:
    return float(image.mean()) / 255


class Judged:
    """A judge that likes bright edits, or those that are no brighter than their original."""

    def __init__(self, name: str, faithful: bool) -> None:
        self.name, self.fingerprint, self.faithful = name, name, faithful

    def judge(self, triplets: Sequence[Triplet]) -> list[Reward]:
        rewards = []
        for triplet in triplets:
            bright = brightness(triplet.edited)
            gain = max(bright - brightness(triplet.case.original), 0.0)
            score = Verdict(5 * (1 - gain if self.faithful else bright))
            rewards.append(Reward(triplet.case.id, self.name, "", score, score, score))
        return rewards


@pytest.fixture(scope="module")
def cheated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, OverOptimisation, int, str]:
    folder = tmp_path_factory.mktemp("run")
    overrides = "model.process.prediction=sample"
    editor, ema = small_editor(overrides), EMA(0.0)
    generator = torch.Generator().manual_seed(5)
    for parameter in editor.parameters():  # wake what is zero at the start: edits of a case must differ
        if not parameter.any():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    sampler = Sampler(3, Guidance())
    holdout = OverOptimisation(
        folder,
        Squares(),
        Judged("faithful", faithful=True),
        sampler,
        TargetReward(),
        ema,
        every_n_steps=2,
    )
    module = DiffusionNFT(
        editor,
        lambda named: torch.optim.Adam([each for _, each in named], 3e-3),
        seed=0,
        rewards=GroupRewards(Judged("bright", faithful=False), WeightedMean(), floor=1e-3),
        rollout=Rollout(3, Ancestral(1.0)),
        guidance=Guidance(),
        target=TargetReward(),
        members=4,
    )
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 3, 16, 16, generator=generator) * 2 - 1
    batch = EditBatch(["a", "b", "c"], images[0], images[1], ["make it night"] * 3, None, None)
    model = OmegaConf.to_yaml(config(overrides).model, resolve=True)
    trainer = Trainer(
        max_steps=60,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ema, EditorCheckpoint(folder, model, (16, 16), ema, sampler), holdout],
        default_root_dir=folder,
    )
    trainer.fit(module, DataLoader([batch] * 60, collate_fn=lambda rows: rows[0]))
    return folder, holdout, trainer.global_step, holdout._verdict(trainer.global_step)


def test_it_ends_soon_after_the_turn_and_keeps_what_was_before(
    cheated: tuple[Path, OverOptimisation, int, str],
) -> None:
    folder, holdout, steps, said = cheated
    readings = holdout.curve
    assert 4 <= steps < 60
    turn = max(readings, key=lambda step: readings[step][1])
    assert turn < steps
    assert readings[steps][0] > readings[turn][0]
    assert readings[steps][1] < readings[turn][1]
    assert f"the editor of step {turn} is in {folder / 'best'}" in said
    best, last = (checkpoint.read(folder / name)["ema"] for name in ("best", "editor"))
    assert best.keys() == last.keys()
    assert any(not torch.equal(best[name], last[name]) for name in best)
    assert (folder / "over_optimisation.png").stat().st_size > 1000


class Mute:
    """A judge that can't judge."""

    name, fingerprint = "mute", "mute"

    def judge(self, triplets: Sequence[Triplet]) -> list[Reward]:
        verdict = Verdict(None, None, "no answer", "failed")
        return [Reward(triplet.case.id, self.name, "", verdict, verdict, verdict) for triplet in triplets]


def test_a_holdout_judge_that_never_answers_is_no_holdout_judge() -> None:
    edits = [Triplet(case, case.original) for case in Squares().cases()]
    with pytest.raises(ValueError, match=r"hold-out judge mute failed on all 12 validation edits"):
        known_values(Mute(), WeightedMean(), edits)


def test_what_counts_as_a_fall() -> None:
    cases = Squares().cases()[::3]  # of four photographs
    before, lower = np.array([0.5, 0.6, 0.7, 0.8]), np.array([0.3, 0.45, 0.5, 0.55])
    assert has_fallen(lower, before, 0.9, 0.8, cases)
    assert not has_fallen(lower, before, 0.7, 0.8, cases), "the reward fell as well"
    assert not has_fallen(before, before, 0.9, 0.8, cases)
    mixed = before + np.array([-0.3, 0.2, -0.1, 0.1])
    assert not has_fallen(mixed, before, 0.9, 0.8, cases), "within its interval"
    failed = np.array([np.nan, 0.45, 0.5, 0.55])
    assert has_fallen(failed, before, 0.9, 0.8, cases)
