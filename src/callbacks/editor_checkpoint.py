"""Makes checkpoints self-describing and exports the finished editor."""

from pathlib import Path
from typing import Any, final

from pytorch_lightning import Callback, LightningModule, Trainer

from src import checkpoint as checkpoints
from src.callbacks.ema import EMA
from src.diffusion.samplers import Sampler


@final
class EditorCheckpoint(Callback):
    """Adds the editor's config to every checkpoint, with which `src.train` refuses to resume another
    configuration, and writes `editor/` at the end.

    Args:
        folder: the run folder.
        config: the resolved model config as YAML (a string, as an OmegaConf object could not be loaded
            without unpickling).
        image_size: height and width trained on.
        ema: whose weights are exported.
        sampler: that edits are made with, by previews and wherever none is named.
        settings: everything else that the training depends on, as YAML, for `src.train` to compare when it
            resumes.
    """

    def __init__(
        self,
        folder: str | Path,
        config: str,
        image_size: tuple[int, int],
        ema: EMA,
        sampler: Sampler,
        settings: str = "",
    ) -> None:
        self.folder = Path(folder)
        self.config = config
        self.image_size = image_size
        self.ema = ema
        self.sampler = sampler.saved()
        self.settings = settings

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the entries that `checkpoint.load_editor` needs."""
        checkpoint["editor_config"] = self.config
        checkpoint["picture_size"] = list(self.image_size)
        checkpoint["sampler"] = self.sampler
        checkpoint["settings"] = self.settings

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export the averaged weights."""
        if trainer.is_global_zero:
            self.export(self.folder / "editor")

    def export(self, folder: Path) -> None:
        """Export the averaged weights into a folder."""
        checkpoints.export(folder, self.config, self.image_size, self.ema.average, self.sampler)
