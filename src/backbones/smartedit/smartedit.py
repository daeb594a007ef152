"""SmartEdit (Huang et al. 2024): a multimodal language model reads image and instruction, a diffusion
backbone draws.

model/backbone=smartedit model.backbone.base.pretrained=FOLDER      (a folder that src.convert or src.export
wrote)

    original, instruction -> Reader -> c_T, in place of the text encoder's tokens, and a bias that is added after conv_in -> U-Net

The release draws the language model's answer at random, token by token, and needs 27 GB for it; here one
forward pass over a fixed answer is enough, and as long as the reader is not trained its results can be
computed before the training (src/precompute.py).
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Literal, final

import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Float, Shaped
from torch import Tensor

from src.backbones.backbone import Backbone
from src.backbones.frozen import Frozen, FrozenEncoders
from src.backbones.smartedit.reader import AlignmentOutput, Reader, ReaderSource
from src.backbones.unet_hooks import StemBias
from src.batch import Condition, Moments, Reading, TextTokens
from src.conditioning.integration import Integration
from src.diffusion.process import Latent


@final
class SmartEdit(FrozenEncoders):
    """A backbone that is told what a language model made of image and instruction.

    Images, latents, sites and feedback texts are the base's business. The null instruction of
    classifier-free guidance is the base's text encoding of the empty text; the stem bias is never dropped.
    Both as released.

    Args:
        base: a backbone around a stock `UNet2DConditionModel`; its own config says what is trained of it.
        reader: where the `Reader` comes from; its sizes are asked of the base.
        trained: of the reader. "none" keeps it frozen, outside the module tree, and builds it when it is
            first needed; "alignment" trains the image tokens' rows and the query transformer (stage 1); "all"
            the interaction module and the language model's LoRA, too (stage 2).
        offload: move a frozen reader back to the CPU after each use, so that it never shares a GPU with the
            U-Net's work.

    Raises:
        ValueError: a base without a stock U-Net.
    """

    def __init__(
        self,
        base: Backbone,
        reader: ReaderSource,
        trained: Literal["none", "alignment", "all"] = "none",
        offload: bool = False,
    ) -> None:
        super().__init__()
        if trained not in ("none", "alignment", "all"):
            raise ValueError(f"trained is none, alignment or all, not {trained!r}")
        unet = getattr(base, "unet", None)
        if not isinstance(unet, UNet2DConditionModel):
            raise ValueError(
                f"SmartEdit adds a bias inside a stock U-Net, and {type(base).__name__} has none: take inspix2pix or tiny as its base"
            )
        self.base = base
        self.trained = trained
        self.offload = offload
        self.stem = StemBias(unet)
        self.source = reader
        build = functools.partial(reader.build, base.text_width, base.site_widths["stem"])
        self.reader: Frozen[Reader] | Reader = Frozen(build) if trained == "none" else build()
        if isinstance(self.reader, Reader):
            self.reader.train_parts(trained)

    @property
    def text_width(self) -> int:
        return self.base.text_width

    @property
    def site_widths(self) -> dict[str, int]:
        return self.base.site_widths

    @property
    def device(self) -> torch.device:
        """Where the U-Net is; a frozen reader follows it."""
        return next(self.base.parameters()).device

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        return self.base.latent_shape(height, width)

    def attach(self, integration: Integration) -> None:
        self.base.attach(integration)

    def encode_image(self, original: Float[Tensor, "b 3 H W"]) -> Latent:
        return self.base.encode_image(original)

    def encode_edited(
        self, edited: Float[Tensor, "b 3 H W"], original_latent: Latent, noise: Latent
    ) -> Latent:
        return self.base.encode_edited(edited, original_latent, noise)

    def encode_text(self, texts: Sequence[str]) -> TextTokens:
        return self.base.encode_text(texts)

    @property
    def supports_chat(self) -> bool:
        """Whether its language model learns answers, and so can learn from conversations."""
        return self.trained != "none"

    def read(
        self,
        original: Float[Tensor, "b 3 H W"],
        instructions: Sequence[str],
        answers: Sequence[str | None] | None = None,
    ) -> Reading | None:
        """As every backbone's; `answers` are those of samples that are conversations (LanguageModel), for a
        reader that is trained.
        """
        if isinstance(self.reader, Reader):
            return self.reader(original, instructions, answers)
        if answers is not None:
            raise ValueError(
                "a frozen reader learns nothing from conversations: leave them out of the data, or say model.backbone.trained=all"
            )
        if not self.source.has_trained_weights:
            raise ValueError(
                "the reader would be frozen with random weights, others in every process: give model.backbone.reader.weights=STAGE_2/editor, or a "
                "SmartEdit folder"
            )
        with torch.no_grad():
            reading = self.reader.on(self.device)(original, instructions)
        if self.offload:
            self.reader.on(torch.device("cpu"))
        return reading

    def whole_reader(self) -> Reader:
        """The reader, frozen or not; a frozen one is built if it isn't there, on the CPU."""
        return self.reader if isinstance(self.reader, Reader) else self.reader.on(torch.device("cpu"))

    def align(self, original: Float[Tensor, "b 3 H W"], instructions: Sequence[str]) -> AlignmentOutput:
        """The query transformer's tokens before the interaction module, and the language model's error (stage
        1).

        Raises:
            ValueError: the reader is frozen.
        """
        if not isinstance(self.reader, Reader):
            raise ValueError("a frozen reader can't be aligned: say model.backbone.trained=alignment")
        return self.reader.align(original, instructions)

    def denoise(self, x_t: Latent, network_time: Shaped[Tensor, " b"], condition: Condition) -> Latent:
        if condition.stem_bias is None:
            raise ValueError(
                "SmartEdit needs what its reader made of picture and instruction, and the condition has no stem bias"
            )
        with self.stem.adding(condition.stem_bias):
            return self.base.denoise(x_t, network_time, condition)

    def decode(self, latent: Latent, original_latent: Latent) -> Float[Tensor, "b 3 H W"]:
        return self.base.decode(latent, original_latent)

    def encode_moments(self, images: Float[Tensor, "b 3 H W"]) -> Moments:
        return self._frozen_base().encode_moments(images)

    def sample_latent(self, edited: Moments, noise: Latent) -> Latent:
        return self._frozen_base().sample_latent(edited, noise)

    def encoder_digests(self) -> Mapping[str, str | None]:
        if isinstance(self.reader, Reader):
            raise ValueError(
                f"model.backbone.trained={self.trained} trains what reads picture and instruction, so that its results change at every step and "
                "can't be computed once; leave out data.precomputed, or say model.backbone.trained=none"
            )
        return {**self._frozen_base().encoder_digests(), **self.source.digests()}

    def free(self) -> None:
        if isinstance(self.reader, Frozen):
            self.reader.free()
        if isinstance(self.base, FrozenEncoders):
            self.base.free()

    def _frozen_base(self) -> FrozenEncoders:
        if not isinstance(self.base, FrozenEncoders):
            raise ValueError(
                f"{type(self.base).__name__} trains its text encoder, so that its conditions change at every step and can't be computed once"
            )
        return self.base
