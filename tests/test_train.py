"""Training through the command that users type: real processes, real files."""

import json
import re
from pathlib import Path

import pytest
import torch
from commands import LEAN, SMALL, run
from data.written import write_list
from run_folders import losses

from src import checkpoint
from src.algorithms.denoising import draw
from src.diffusion.guidance import Guidance
from src.diffusion.samplers import Sampler
from src.records import TargetReward


def train(folder: Path, *overrides: str) -> Path:
    done = run(*LEAN, f"hydra.run.dir={folder}", *overrides)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(folder / "checkpoints/last.ckpt")["state_dict"]


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A small editor after 20 steps in two processes, with a preview."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    overrides = [override for override in LEAN if override != "~callbacks.previews"]
    done = run(
        *overrides,
        f"hydra.run.dir={folder}",
        "trainer=ddp_cpu",
        "trainer.max_steps=20",
        "data.batch_size=4",
        "sampler.steps=2",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_two_processes_learn_and_end_with_equal_weights(trained: Path) -> None:
    facts = record(trained)
    assert (facts["status"], facts["world_size"], facts["ranks_equal"], facts["steps"]) == (
        "finished",
        2,
        True,
        20,
    )
    curve = losses(trained)
    assert len(curve) == 20
    assert sum(curve[-5:]) < sum(curve[:5])


def test_a_run_leaves_what_others_rely_on(trained: Path) -> None:
    for name in (
        "metrics.csv",
        "run.json",
        "checkpoints/last.ckpt",
        "editor/config.yaml",
        "editor/model.safetensors",
        ".hydra/overrides.yaml",
    ):
        assert (trained / name).exists(), name
    assert (trained / "previews/step_000020.png").stat().st_size > 1000


def test_export_and_checkpoint_are_the_same_editor(trained: Path) -> None:
    one, other = (
        checkpoint.load_editor(trained / "editor"),
        checkpoint.load_editor(trained / "checkpoints/last.ckpt"),
    )
    for (name, ours), theirs in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name
    raw = checkpoint.load_editor(trained / "checkpoints/last.ckpt", weights="raw")
    assert any(
        not torch.equal(a, b)
        for a, b in zip(raw.state_dict().values(), other.state_dict().values(), strict=True)
    )
    assert checkpoint.content_hash(trained / "editor") == checkpoint.content_hash(
        trained / "checkpoints/last.ckpt"
    )


@pytest.mark.parametrize("precision", ["32-true", pytest.param("bf16-mixed", marks=pytest.mark.slow)])
def test_gradients_of_two_ranks_are_those_of_one_process(tmp_path: Path, precision: str) -> None:
    """One step of plain gradient descent at rate 1 moves the weights by the gradient; the global batch is the
    same.
    """
    descent = (
        "optimizer@algorithm.optimizer=adamw",
        "algorithm.optimizer._target_=torch.optim.SGD",
        "~algorithm.optimizer.fused",
        "~algorithm.optimizer.weight_decay",
        "~algorithm.optimizer.adam_lr",
        "algorithm.optimizer.lr=1",
        "algorithm.scheduler=null",
        "trainer.gradient_clip_val=null",
        "trainer.max_steps=1",
        f"trainer.precision={precision}",
    )
    one = weights(train(tmp_path / "one", "trainer=cpu", "data.batch_size=8", *descent))
    two_run = train(tmp_path / "two", "trainer=ddp_cpu", "data.batch_size=4", *descent)
    two = weights(two_run)
    assert record(two_run)["ranks_equal"]
    tolerance = 1e-5 if precision == "32-true" else 1e-2
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=tolerance, rtol=tolerance, msg=name)


@pytest.mark.slow
def test_two_processes_learn_in_bf16(tmp_path: Path) -> None:
    folder = train(
        tmp_path / "run",
        "trainer=ddp_cpu",
        "trainer.max_steps=20",
        "data.batch_size=4",
        "trainer.precision=bf16-mixed",
    )
    curve = losses(folder)
    assert record(folder)["ranks_equal"]
    assert sum(curve[-5:]) < sum(curve[:5])


def test_draws_depend_on_the_row_and_not_on_the_rank() -> None:
    whole = draw(1, 5, 0, range(8), (3, 4, 4))
    part = draw(1, 5, 0, range(4, 8), (3, 4, 4))
    for ours, theirs in zip(whole, part, strict=True):
        assert torch.equal(ours[4:], theirs)
    assert not torch.equal(whole.eps, draw(1, 6, 0, range(8), (3, 4, 4)).eps)


def test_accumulated_micro_batches_step_once(tmp_path: Path) -> None:
    folder = train(
        tmp_path / "run",
        "trainer.max_steps=2",
        "trainer.accumulate_grad_batches=3",
        "data.batch_size=2",
        "trainer.log_every_n_steps=10",
    )
    assert record(folder)["steps"] == 2
    assert len(losses(folder)) == 1, "a training shorter than the interval has its numbers, too"
    assert checkpoint.read(folder / "checkpoints/last.ckpt")["ema_updates"] == 2


def test_resume_continues_and_refuses_another_model(tmp_path: Path) -> None:
    first = train(tmp_path / "first", "trainer.max_steps=2", "data.batch_size=2")
    last = first / "checkpoints/last.ckpt"
    second = train(tmp_path / "second", "trainer.max_steps=4", "data.batch_size=2", f"resume={last}")
    assert record(second)["steps"] == 4
    assert checkpoint.read(second / "checkpoints/last.ckpt")["ema_updates"] == 4
    done = run(*LEAN, f"hydra.run.dir={tmp_path / 'third'}", f"resume={last}", "model.backbone.fold=4")
    assert done.returncode == 1
    assert "backbone.fold is 2 in the checkpoint and 4 here" in done.stderr


@pytest.mark.slow
def test_compiled_training_follows_the_same_path(tmp_path: Path) -> None:
    """Sentences of several lengths and a reward included; only the compiled kernels' rounding differs."""
    short = ("trainer.precision=32-true", "trainer.max_steps=4", "data.batch_size=4")
    plain, compiled = (
        losses(train(tmp_path / str(kind), *short, f"algorithm.compiled={kind}")) for kind in (False, True)
    )
    assert len(plain) == 4
    assert compiled == pytest.approx(plain, rel=1e-4)


def test_rows_of_ones_own_train_by_default_and_any_sentence_edits(tmp_path: Path) -> None:
    """Without an experiment: no rewards are needed, and the words are learnt and kept with the weights."""
    rows, folder = write_list(tmp_path / "rows"), tmp_path / "run"
    small = [*SMALL, "data.transform.size=16", "data.num_workers=0", "trainer.max_steps=2"]
    own = ["data=table", f"data.dataset.table.path={rows.parent}", f"hydra.run.dir={folder}"]
    done = run(*own, *small)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "no row has a reward: the editor is trained without" in done.stderr
    assert (folder / "previews/step_000002.png").stat().st_size > 1000
    editor = checkpoint.load_editor(folder / "editor")
    assert editor.backbone.tokenizer.pairs[0].min() >= 0
    sampler = Sampler(steps=1, guidance=Guidance())
    originals, sentences = torch.zeros(2, 3, 16, 16), ["把天空变红!", 'write "SALE" on the man\'s hat']
    edits = editor.edit(originals, sentences, [TargetReward()] * 2, [0, 1], sampler)
    assert edits.shape == originals.shape


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["without_rewards=refuse"],
            r"no row has a reward, and this editor is to learn from them: give \+rewards",
        ),
        (["without_rewards=no"], "without_rewards is train or refuse, not 'no'"),
        (
            ["model/backbone=tiny_transformer", "model/process=posterior"],
            r"the word '0' in 'make it night 0' is not in .* an editor of any words is trained on your rows",
        ),
        (["model.backbone.tokenizer.longest=4"], "tokens doesn't fit the text encoder's 4"),
    ],
)
def test_what_rows_cannot_do_is_said_before_training(
    quickly_refused, tmp_path: Path, overrides: list[str], message: str
) -> None:
    rows = write_list(tmp_path / "rows")
    own = ["data=table", f"data.dataset.table.path={rows}", f"hydra.run.dir={tmp_path / 'run'}"]
    assert re.search(message, quickly_refused(*own, *overrides))
