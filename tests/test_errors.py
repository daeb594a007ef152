"""Bad input ends in exactly one stderr line beginning `error: ` and exit code 1."""

from pathlib import Path

import numpy as np
import pytest
import torch
from commands import LEAN, only_error, refused, run_interpreter
from hydra.errors import InstantiationException
from PIL import Image

from src.files import alone_in
from src.launch import one_line


@pytest.fixture
def train_refused(quickly_refused, tmp_path: Path):
    def command(*overrides: str) -> str:
        return quickly_refused(
            *LEAN, "trainer.max_steps=1", "data.batch_size=2", f"hydra.run.dir={tmp_path / 'run'}", *overrides
        )

    return command


def test_unknown_experiment() -> None:
    """By the command as a shell starts it; the other tests fork, or stay in this process."""
    done = run_interpreter("+experiment=nothing")
    assert "+experiment=nothing: there is no nothing (experiment: " in only_error(
        done.stderr, done.returncode
    )


def test_unknown_key(train_refused) -> None:
    assert "max_stepz" in train_refused("trainer.max_stepz=3")


def test_unknown_parametrisation(quickly_refused, tmp_path: Path) -> None:
    message = quickly_refused(*LEAN, "model.process.prediction=noise", f"hydra.run.dir={tmp_path}")
    assert "takes velocity, sample, preconditioned or posterior" in message


def test_resolution_that_the_latent_cannot_hold(train_refused) -> None:
    message = train_refused("world.size=48", "model.backbone.fold=32")
    assert "multiples of 64" in message
    assert "48x48" in message


@pytest.mark.parametrize("scores", ["[5,5,6]", "[-1,5,5]", "[5,5]", "[nan,5,5]"])
def test_scores_outside_the_scale(quickly_refused, tmp_path: Path, scores: str) -> None:
    image = tmp_path / "picture.png"
    Image.new("RGB", (32, 32)).save(image)
    message = quickly_refused(
        f"checkpoint={tmp_path}",
        f"image={image}",
        "instruction=remove the red circle",
        f"target_reward.scores={scores}",
        module="src.edit",
    )
    assert "score" in message


def test_photo_folder_that_is_empty(train_refused, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert str(tmp_path / "photos") in train_refused(f"world.photos={tmp_path / 'photos'}")


def test_photo_folder_with_a_broken_file(train_refused, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (4, 300, 300, 3), dtype=np.uint8)
    for index, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{index}.png")
    whole = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(whole[: len(whole) // 2])
    assert "2.png" in train_refused(f"world.photos={folder}")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"),
        InstantiationException("Error in call to target").with_traceback(None),
    ],
    ids=["python", "gpu", "cpu", "hydra"],
)
def test_too_little_memory_says_what_to_change(error: Exception) -> None:
    if isinstance(error, InstantiationException):
        error.__cause__ = MemoryError("no room")
    message = one_line(error)
    assert message.startswith("out of memory (")
    assert "data.batch_size halved" in message
    assert "\n" not in message


def test_other_errors_are_no_lack_of_memory() -> None:
    for error in (ValueError("out of memory"), RuntimeError("shapes differ"), KeyError("x")):
        assert "batch_size halved" not in one_line(error)


def test_two_trainings_in_one_folder(tmp_path: Path) -> None:
    with alone_in(tmp_path, "training"):
        assert f"is training in {tmp_path}; wait for it" in refused(
            *LEAN, "trainer.max_steps=1", f"hydra.run.dir={tmp_path}"
        )


def test_checkpoint_missing(quickly_refused, tmp_path: Path) -> None:
    assert "no checkpoint at" in quickly_refused(
        f"checkpoint={tmp_path / 'nothing.ckpt'}", module="src.evaluate"
    )


def test_checkpoint_truncated(quickly_refused, tmp_path: Path) -> None:
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(b"PK\x03\x04 not all of it")
    assert "truncated" in quickly_refused(f"checkpoint={broken}", module="src.evaluate")


def test_unrated_triplets_for_an_editor_that_reads_rewards(train_refused) -> None:
    assert "annotator=noisy" in train_refused("annotator=unrated")
