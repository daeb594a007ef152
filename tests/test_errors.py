"""Bad input ends in exactly one stderr line beginning `error: ` and exit code 1."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_train import LEAN, run


def refused(*arguments: str, module: str = "src.train") -> str:
    done = run(*arguments, module=module)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1, done.stderr[-2000:]
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:], done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    return lines[-1]


def train_refused(tmp_path: Path, *overrides: str) -> str:
    return refused(*LEAN, "trainer.max_steps=1", "data.batch_size=2", f"hydra.run.dir={tmp_path / 'run'}", *overrides)


def test_unknown_experiment() -> None:
    assert "experiment/nothing" in refused("+experiment=nothing")


def test_unknown_key(tmp_path: Path) -> None:
    assert "max_stepz" in train_refused(tmp_path, "trainer.max_stepz=3")


def test_unknown_parametrisation(tmp_path: Path) -> None:
    assert "velocity or sample, not 'noise'" in train_refused(tmp_path, "model.process.prediction=noise")


def test_resolution_that_the_latent_cannot_hold(tmp_path: Path) -> None:
    message = train_refused(tmp_path, "world.size=48", "model.backbone.fold=32")
    assert "multiples of 64" in message
    assert "48x48" in message


@pytest.mark.parametrize("scores", ["[5,5,6]", "[-1,5,5]", "[5,5]", "[nan,5,5]"])
def test_scores_outside_the_scale(tmp_path: Path, scores: str) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (32, 32)).save(picture)
    message = refused(
        f"checkpoint={tmp_path}", f"image={picture}", "instruction=remove the red circle", f"target_reward.scores={scores}", module="src.edit"
    )
    assert "score" in message


def test_photo_folder_that_is_empty(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert str(tmp_path / "photos") in train_refused(tmp_path, f"world.photos={tmp_path / 'photos'}")


def test_photo_folder_with_a_broken_file(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (4, 300, 300, 3), dtype=np.uint8)
    for index, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{index}.png")
    whole = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(whole[: len(whole) // 2])
    assert "2.png" in train_refused(tmp_path, f"world.photos={folder}")


def test_checkpoint_missing(tmp_path: Path) -> None:
    assert "no checkpoint at" in refused(f"checkpoint={tmp_path / 'nothing.ckpt'}", module="src.evaluate")


def test_checkpoint_truncated(tmp_path: Path) -> None:
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(b"PK\x03\x04 not all of it")
    assert "truncated" in refused(f"checkpoint={broken}", module="src.evaluate")
