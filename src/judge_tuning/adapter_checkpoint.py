"""What a training of a judge saves: its config in last.ckpt, and at the end the adapter with a card."""

from pathlib import Path
from typing import Any, final

from pytorch_lightning import Callback, LightningModule, Trainer

from src.callbacks.ema import EMA
from src.files import write_atomically
from src.judge_tuning.tuning import JudgeTuning

ADAPTER, CARD, CONFIG, BASE = "adapter", "README.md", "judge_config", "base"


@final
class AdapterCheckpoint(Callback):
    """Adds to checkpoints what a resumed training is compared with, and writes the adapter at the end.

    Args:
        folder: of the run.
        config: of the network, as YAML.
        settings: other settings that the weights depend on, as YAML.
        ema: holds the averaged weights, which are exported.
        card: text of the adapter's README.md.
    """

    def __init__(self, folder: str, config: str, settings: str, ema: EMA, card: str) -> None:
        self.folder, self.config, self.settings, self.ema, self.card = (
            Path(folder),
            config,
            settings,
            ema,
            card,
        )

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add config, settings, and what tells the model's weights apart."""
        assert isinstance(pl_module, JudgeTuning)
        checkpoint[CONFIG], checkpoint["settings"] = self.config, self.settings
        checkpoint[BASE] = pl_module.model.base["weights"]

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Raise ValueError for a checkpoint of a training on another model."""
        assert isinstance(pl_module, JudgeTuning)
        recorded, here = checkpoint.get(BASE), pl_module.model.base
        if recorded not in (None, here["weights"]):
            raise ValueError(
                f"{trainer.ckpt_path} was trained on a model whose weights are {recorded}, and those of "
                f"{here['model']} are {here['weights']}: have that model there, or give resume=null"
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the adapter."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, JudgeTuning)
        with self.ema.averaged(pl_module.model):
            pl_module.model.save(self.folder / ADAPTER)
        write_atomically(self.folder / ADAPTER / CARD, self.card)
