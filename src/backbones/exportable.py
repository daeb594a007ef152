"""Backbones that can be written as a diffusers pipeline folder (src/pipeline.py)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import StableDiffusionInstructPix2PixPipeline

from src.backbones.backbone import Backbone


class ExportableBackbone(Backbone, ABC):
    """A backbone around the networks of a stock `StableDiffusionInstructPix2PixPipeline`."""

    @abstractmethod
    def to_pipeline(self, scheduler: Any) -> StableDiffusionInstructPix2PixPipeline:
        """A stock pipeline of the same networks. LoRA is merged into the U-Net and can't be trained further.

        Raises:
            ValueError: around a base that is no stock pipeline.
        """

    @abstractmethod
    def config_in(self, folder: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """The config of this backbone, changed so that it is loaded from an exported folder."""

    @property
    @abstractmethod
    def has_reader(self) -> bool:
        """Whether a language model reads image and instruction, which takes another pipeline.py."""

    @abstractmethod
    def save_reader(self, folder: Path) -> None:
        """Write the reader, if there is one, into a pipeline folder.

        Raises:
            ValueError: a tokenizer that is no transformers tokenizer.
            NotWrittenError: the disk is full.
        """
