"""A reward model is trained, stopped, continued, calibrated, exported and asked: equal numbers everywhere."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback
from reward_models.made import CONFIG, contests, module, network, served, trained
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn.utils import parameters_to_vector

from src import checkpoint
from src.callbacks.ema import EMA
from src.callbacks.held_out_accuracy import HeldOutAccuracy, summary
from src.callbacks.reward_model_checkpoint import RewardModelCheckpoint
from src.data.contest_data import ContestData, collate_contests, triplets_of
from src.data.contests import ContestMixture, RatingScale, is_held_out
from src.data.synthetic_contests import SyntheticContests
from src.data.votes import ranking_of_ratings
from src.records import ASPECTS, Triplet
from src.reward_model_checkpoint import CARRIED, load_reward_model
from src.reward_model_checkpoint import CONFIG as CONFIG_KEY
from src.reward_models.calibration import LEAST_SLOPE, MOST_SLOPE, Calibration, ScoreMap, calibration_of
from src.reward_models.contest_loss import ContestLoss, total_loss
from src.reward_models.fitting import coverage, deviation_factor, probabilities, score_map, temperature_of
from src.reward_models.judge import RewardModelJudge


class Killed(Exception):
    """In place of SIGKILL: nothing after it runs."""


class KillAt(Callback):
    """Ends a training after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, *_) -> None:
        if trainer.global_step == self.step:
            raise Killed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("contests")


@pytest.fixture(scope="module")
def source(folder: Path) -> SyntheticContests:
    return contests(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, source: SyntheticContests) -> Path:
    """A training of eight steps."""
    place = tmp_path_factory.mktemp("run")
    trained(place, source, 8)
    return place


def test_labels_are_those_of_the_annotator(source: SyntheticContests, folder: Path) -> None:
    contest = source[5]
    for ranking, scores in zip(contest.rankings, source.noisy_scores[5].T, strict=True):
        assert ranking.tiers == ranking_of_ratings(list(scores))
    assert [edit.ratings["quality"] for edit in contest.candidates] == source.noisy_scores[5][:, 2].tolist()
    again, other = contests(folder), contests(folder, label_seed=1)
    assert np.array_equal(source.noisy_scores, again.noisy_scores)
    assert not np.array_equal(source.noisy_scores, other.noisy_scores)
    assert again.digest == source.digest != other.digest
    permuted = contests(folder, labels="permuted")
    assert sorted(map(permuted.labelled_as, range(24))) == list(range(24))
    assert all(permuted.labelled_as(index) != index for index in range(24))


def test_a_batch_says_all_that_was_said(source: SyntheticContests) -> None:
    chosen = [source[3], source[7]]
    batch = collate_contests(chosen, network().prepare, [source])
    assert len(batch.inputs) == 6
    assert batch.edit_ids == [edit.id for contest in chosen for edit in contest.candidates]
    for aspect in ("following", "preserving", "quality"):
        rows = batch.compared.aspect == ASPECTS.index(aspect)
        assert float(batch.compared.weight[rows].sum()) == pytest.approx(2.0)
        pairs = {
            tuple(pair)
            for pair in zip(
                *(x[rows].tolist() for x in (batch.compared.better, batch.compared.worse)), strict=True
            )
        }
        assert pairs == {
            (3 * n + p.better, 3 * n + p.worse) for n, c in enumerate(chosen) for p in c.pairs(aspect)
        }
    quality = batch.rated.aspect == 2
    assert (batch.rated.value[quality] + 2.5).tolist() == source.noisy_scores[[3, 7], :, 2].ravel().tolist()
    assert torch.equal(batch.rated.level[quality].float(), batch.rated.value[quality] + 2.5)


def test_what_a_batch_refuses(source: SyntheticContests) -> None:
    with pytest.raises(ValueError, match="is of 'other', and the sources are synthetic"):
        collate_contests([replace(source[0], source="other")], network().prepare, [source])
    wrong = replace(source[0].candidates[0], ratings={"quality": 7.0})
    contest = replace(source[0], candidates=(wrong, *source[0].candidates[1:]))
    with pytest.raises(ValueError, match=r"rated 7 on a scale from 0 to 5 in steps of 1"):
        collate_contests([contest], network().prepare, [source])
    with pytest.raises(ValueError, match="a whole number of steps"):
        RatingScale(1.0, 4.0, 0.7)
    with pytest.raises(ValueError, match="sources of different names"):
        ContestMixture({"a": source, "b": source})


def test_whole_originals_are_held_out(source: SyntheticContests) -> None:
    data = ContestData(source, 4, 0, 0, held_out_share=0.4)
    learnt, held = ({source.original_of(index) for index in part} for part in data.split)
    assert learnt
    assert held
    assert not learnt & held
    assert sum(is_held_out(str(name), 0.3) for name in range(1000)) == pytest.approx(300, abs=50)


def test_two_ranks_learn_what_one_does(source: SyntheticContests) -> None:
    """The gradient of a batch is the mean of those of its halves, which have other numbers of labels."""
    training = module(source)
    rows = [source[index] for index in range(6)]

    def gradient(groups: list[list[int]]) -> torch.Tensor:
        batches = [collate_contests([rows[i] for i in g], training.model.prepare, [source]) for g in groups]
        counts = [(float(b.compared.weight.sum()), len(b.rated.value)) for b in batches]
        means = [sum(column) / len(batches) for column in zip(*counts, strict=True)]
        training.zero_grad()
        for batch in batches:
            judged = training.loss(training.model(batch.inputs), batch)
            over_ranks = iter(means).__next__
            (total_loss(judged, batch, 0.5, lambda _, mean=over_ranks: mean()) / len(batches)).backward()
        return parameters_to_vector([p.grad for p in training.parameters() if p.grad is not None])

    whole, halves = gradient([[0, 1, 2, 3, 4, 5]]), gradient([[0, 1, 2], [3, 4, 5]])
    assert torch.allclose(whole, halves, atol=1e-6)


def test_killed_and_continued_bit_for_bit(tmp_path: Path, source: SyntheticContests, run: Path) -> None:
    with pytest.raises(Killed):
        trained(tmp_path, source, 8, more=[KillAt(5)])
    last = tmp_path / "checkpoints/last.ckpt"
    assert checkpoint.read_training(last)["global_step"] == 3
    trained(tmp_path, source, 8, resumed=last)
    for name in ("state_dict", "ema"):
        one, other = (
            checkpoint.read_training(each / "checkpoints/last.ckpt")[name] for each in (run, tmp_path)
        )
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    for place in ("reward_model", "best"):
        for file in ("model.safetensors", "calibration.json", "README.md", "config.yaml"):
            assert (run / place / file).read_bytes() == (tmp_path / place / file).read_bytes()


def test_held_out_pairs_are_counted_and_the_best_is_kept(run: Path, source: SyntheticContests) -> None:
    states = checkpoint.read_training(run / "checkpoints/last.ckpt")["callbacks"]
    curve = states["HeldOutAccuracy"]["curve"]
    assert list(curve) == [3, 6, 8]
    best = load_reward_model(run / "best").network
    with torch.inference_mode():
        whole = [source[index] for index in range(len(source))]
        batch = collate_contests(whole, best.prepare, [source])
        said = best(batch.inputs).mean
    pairs = batch.compared
    difference = (said[pairs.better, pairs.aspect] - said[pairs.worse, pairs.aspect])[~pairs.tie]
    assert max(curve.values()) == pytest.approx(float((difference > 0).double().mean()), abs=1e-12)
    assert "Chosen as the best of" in (run / "best/README.md").read_text()
    assert "Chosen" not in (run / "reward_model/README.md").read_text()
    first = max(curve, key=lambda step: (curve[step], -step))
    assert f"the best is {curve[first]:.3f} at step {first} (best/)" in summary(curve)
    with pytest.raises(ValueError, match="every_n_steps=0 most=400: at least 1"):
        HeldOutAccuracy(RewardModelCheckpoint("", "", EMA(), served(source)), 0)


def test_one_scoring_path(run: Path, source: SyntheticContests) -> None:
    """Alone, in any batch, in any order, by the judge and in a training: the same numbers."""
    model = load_reward_model(run)
    triplets = [triplet for index in range(4) for triplet in triplets_of(source[index])]
    rewards = RewardModelJudge(model, batch_size=8, device="cpu").judge(triplets)
    alone = RewardModelJudge(model, batch_size=1, device="cpu").judge(triplets[::-1])[::-1]
    with torch.inference_mode():
        batch = collate_contests([source[index] for index in range(4)], model.network.prepare, [source])
        utilities = model.network(batch.inputs).mean
    for number, (one, other) in enumerate(zip(rewards, alone, strict=True)):
        assert (one.id, one.key) == (other.id, other.key) == (triplets[number].case.id, one.key)
        for column, (a, b) in enumerate(zip(one.verdicts, other.verdicts, strict=True)):
            named = model.calibration.scores[ASPECTS[column]]
            expected = float(named.scores(utilities[number, column]))
            assert a.score == pytest.approx(b.score, abs=1e-5)
            assert a.score == pytest.approx(expected, abs=1e-5)
            assert a.deviation is not None
            assert a.success is None


def test_an_edit_that_cant_be_read_fails_alone(run: Path, source: SyntheticContests) -> None:
    judge = RewardModelJudge(load_reward_model(run), device="cpu")
    good = triplets_of(source[0])
    long = replace(good[0].case, instruction="word " * 3000)
    broken = judge.judge([good[0], Triplet(long, good[0].edited), good[1]])
    assert [reward.failed for reward in broken] == [False, True, False]
    assert "doesn't fit" in broken[1].following.feedback
    larger = Triplet(good[0].case, np.kron(good[0].edited, np.ones((2, 2, 1), np.uint8)))
    assert not judge.judge([larger])[0].failed


def test_perspectives_that_labels_dont_tell_apart(tmp_path: Path, folder: Path) -> None:
    told = contests(folder, aspects=["semantic", "quality"], rated=False)
    trained(tmp_path, told, 2, pairs="bradley_terry", ratings=None)
    model = load_reward_model(tmp_path)
    assert list(model.identified) == ["quality", "semantic"]
    assert "Not told apart: following, preserving." in (tmp_path / "reward_model/README.md").read_text()
    with pytest.raises(ValueError, match="perspectives=shared"):
        RewardModelJudge(model)
    shared = RewardModelJudge(model, "shared", device="cpu").judge(triplets_of(told[0]))
    assert all(reward.following.score == reward.preserving.score != reward.quality.score for reward in shared)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ({"pairs": None, "ratings": None}, "nothing is left to learn from"),
        ({"pairs": "gaussian"}, "need a network that says how sure it is"),
    ],
)
def test_losses_that_dont_fit(source: SyntheticContests, loss: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ContestLoss([source], **loss).check(has_deviation=False)


@pytest.mark.parametrize("pairs", ["bradley_terry", "margin", "davidson", "gaussian", "gaussian_outside"])
@pytest.mark.parametrize("ratings", ["gaussian", "ordinal", "squared"])
def test_every_loss_has_a_gradient_for_all_that_it_trains(
    source: SyntheticContests, pairs: str, ratings: str
) -> None:
    training = module(source, pairs=pairs, ratings=ratings)
    batch = collate_contests([source[0], source[1]], training.model.prepare, [source])
    judged = training.loss(training.model(batch.inputs), batch)
    total_loss(judged, batch, 0.5, lambda number: number).backward()
    lacking = [name for name, p in training.named_parameters() if p.requires_grad and p.grad is None]
    assert not lacking
    assert all(p.grad.isfinite().all() for p in training.parameters() if p.grad is not None)


def damage(weights: Path, change: Callable[[dict, dict], None]) -> None:
    with safe_open(weights, "pt") as opened:
        carried = json.loads(opened.metadata()[CARRIED])
    tensors = load_file(weights)
    change(tensors, carried)
    save_file(tensors, weights, {CARRIED: json.dumps(carried)})


DAMAGES = {
    "said.2.weight": lambda tensors, carried: tensors.pop("said.2.weight"),
    "lacks calibration": lambda tensors, carried: carried.pop("calibration"),
    "holds no calibration": lambda tensors, carried: carried.update(calibration={}),
    "builds 'os.system'": lambda tensors, carried: carried.update({CONFIG_KEY: "_target_: os.system"}),
    "not finite": lambda tensors, carried: tensors["said.2.bias"].fill_(torch.nan),
}


@pytest.mark.parametrize("said", DAMAGES)
def test_damaged_models_are_refused(said: str, run: Path, tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes((run / "reward_model/model.safetensors").read_bytes())
    damage(weights, DAMAGES[said])
    with pytest.raises(ValueError, match=said):
        load_reward_model(tmp_path)


def test_what_is_no_reward_model(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="isn't calibrated"):
        load_reward_model(run / "checkpoints/last.ckpt")
    with pytest.raises(FileNotFoundError, match="no reward model at"):
        load_reward_model(tmp_path)
    with pytest.raises(ValueError, match="a checkpoint of a reward model, and an editor is needed"):
        checkpoint.read(run / "checkpoints/last.ckpt")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes((run / "reward_model/model.safetensors").read_bytes()[:500])
    with pytest.raises(ValueError, match="may be truncated"):
        load_reward_model(tmp_path)
    assert json.loads((run / "reward_model/calibration.json").read_text())["n"]["scores quality"] == 72
    assert (run / "reward_model/config.yaml").read_text() == CONFIG


def test_calibration_finds_what_was_planted() -> None:
    draw = torch.Generator().manual_seed(0)
    utility = torch.randn(4000, generator=draw)
    planted = ScoreMap(0.8, -0.4)
    found = score_map(utility, planted.scores(utility) + 0.3 * torch.randn(4000, generator=draw), utility)
    assert (found.slope, found.offset) == pytest.approx((0.8, -0.4), abs=0.03)
    difference = 2.0 * torch.randn(8000, generator=draw)
    won = torch.rand(8000, generator=draw) < (difference / 1.7).sigmoid()
    ordered = torch.where(won, difference, -difference)
    temperature = temperature_of(ordered)
    assert temperature == pytest.approx(1.7, abs=0.15)
    assert probabilities(ordered, temperature).calibration_error < 0.02
    assert probabilities(ordered, 0.3).calibration_error > 0.1
    deviation = 0.5 * torch.ones(4000)
    value = utility + torch.randn(4000, generator=draw)
    factor = deviation_factor(utility, value, deviation)
    assert factor == pytest.approx(2.0, abs=0.1)
    assert coverage(utility, value, deviation, factor) == pytest.approx(0.9, abs=0.001)
    few = score_map(utility[:5], utility[:5], utility)
    assert few.slope == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("spread", [1e-4, 0.02, 1.0, 50.0])
@pytest.mark.parametrize("rated", ["so", "against", "noise", "all best", "none"])
def test_slopes_are_bounded_and_scores_strictly_monotone(spread: float, rated: str) -> None:
    """After a few steps utilities differ by hundredths: 476 was fitted."""
    utility = 3.0 + spread * torch.randn(200, generator=torch.Generator().manual_seed(0))
    order = (utility - 3.0) / spread
    noise = torch.randn(200, generator=torch.Generator().manual_seed(1))
    wanted = {"so": order, "against": -order, "noise": noise, "all best": 99 * torch.ones(200)}
    scores = (2.5 + wanted.get(rated, order)).clamp(0.0, 5.0)[: 0 if rated == "none" else None]
    found = score_map(utility[: len(scores)], scores, utility)
    assert LEAST_SLOPE <= found.slope <= MOST_SLOPE
    said = found.scores(utility.sort().values.unique())
    assert (said.diff() > 0).all()
    assert (found.at_bound is None) == (LEAST_SLOPE < found.slope < MOST_SLOPE)
    if spread == 1.0 and rated == "so":
        assert found.at_bound is None


def test_scores_never_tie_where_utilities_differ() -> None:
    utilities = torch.linspace(-12.0, 12.0, 1001)
    assert (ScoreMap(1.3, 0.2).scores(utilities).diff() > 0).all()
    whole = Calibration({"quality": ScoreMap(2.0, 1.0)}, 1.5, {"quality": 0.9}, n={"pairs": 3})
    assert calibration_of(json.loads(json.dumps(whole.as_json())), "here") == whole
    with pytest.raises(ValueError, match="a slope above 0"):
        ScoreMap(-1.0, 0.0)
