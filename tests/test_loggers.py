"""Every logger writes real files that can be read back, without an account."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_train import LEAN, run
from wandb_file import wandb_records

PREVIEWED = [override for override in LEAN if override != "~callbacks.previews"]


def trained(folder: Path, logger: str) -> Path:
    done = run(*PREVIEWED, f"logger={logger}", "trainer.max_steps=2", "data.batch_size=2", "sampler.steps=1", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_tensorboard_holds_loss_and_previews(tmp_path: Path) -> None:
    events = EventAccumulator(str(trained(tmp_path / "run", "tensorboard") / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [0, 1]
    assert events.Images("previews")


def test_wandb_offline_run_file_holds_loss_and_previews(tmp_path: Path) -> None:
    (file,) = (trained(tmp_path / "run", "wandb") / "wandb").glob("offline-run-*/run-*.wandb")
    items = [item for record in wandb_records(file) for item in record.history.item]
    names = [item.key or ".".join(item.nested_key) for item in items]
    assert names.count("train/loss") == 2
    assert any(key.startswith("previews") for key in names)
