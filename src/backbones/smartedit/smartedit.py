"""SmartEdit (Huang et al. 2024): a multimodal language model reads image and instruction, a diffusion
backbone draws.

model/backbone=smartedit model.backbone.base.pretrained=FOLDER      (a folder that src.convert or src.export
wrote)

    original, instruction -> Reader -> c_T (instead of the text encoder's tokens), bias after conv_in -> U-Net

The release samples the language model's answer token by token and needs 27 GB for it. Here one forward pass
over a fixed answer suffices, and the results of a frozen reader can be precomputed (src/precompute.py).
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import torch
from diffusers import StableDiffusionInstructPix2PixPipeline, UNet2DConditionModel
from jaxtyping import Float, Shaped
from torch import Tensor

from src.backbones.backbone import AlignableBackbone, AlignmentOutput, Backbone
from src.backbones.exportable import ExportableBackbone
from src.backbones.frozen import Frozen, FrozenEncoders
from src.backbones.smartedit.reader import FromFolder, Reader, ReaderSource, save_reader
from src.backbones.unet_hooks import StemBias
from src.batch import Condition, Moments, Reading, TextTokens
from src.conditioning.integration import Integration
from src.diffusion.process import Latent

BASE, READER = "base.", "reader."
"""How the names of the two parts' weights begin."""


@final
class SmartEdit(FrozenEncoders, AlignableBackbone, ExportableBackbone):
    """A diffusion backbone conditioned on a language model's encoding of image and instruction.

    Images, latents, sites and feedback texts are left to the base. The null instruction of classifier-free
    guidance is the base's encoding of the empty text, and the stem bias is never dropped, both as released.

    Args:
        base: a backbone around a stock `UNet2DConditionModel`; its own config says which of its parts are
            trained.
        reader: source of the `Reader`, whose sizes are asked of the base.
        trained: the trained parts of the reader. "none" keeps it frozen, outside the module tree, and builds
            it when first needed; "alignment" trains the image tokens' rows and the query transformer (stage
            1); "all" also the interaction module and the language model's LoRA (stage 2).
        offload: move a frozen reader back to the CPU after each use, so that it doesn't share the GPU with
            the U-Net.

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
                f"SmartEdit adds a bias inside a stock U-Net, and {type(base).__name__} has none: take "
                "inspix2pix or tiny as its base"
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
        """The U-Net's device; a frozen reader follows it."""
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
        return self.trained != "none"

    def read(
        self,
        original: Float[Tensor, "b 3 H W"],
        instructions: Sequence[str],
        answers: Sequence[str | None] | None = None,
    ) -> Reading | None:
        if isinstance(self.reader, Reader):
            return self.reader(original, instructions, answers)
        if answers is not None:
            raise ValueError(
                "a frozen reader can't learn from conversations: leave them out of the data, or say "
                "model.backbone.trained=all"
            )
        if not self.source.has_trained_weights:
            raise ValueError(
                "the reader would be frozen with random weights, which differ in every process: give "
                "model.backbone.reader.weights=STAGE_2/editor, or a "
                "SmartEdit folder"
            )
        with torch.no_grad():
            reading = self.reader.on(self.device)(original, instructions)
        if self.offload:
            self.reader.on(torch.device("cpu"))
        return reading

    def adopt(self, tensors: Mapping[str, Tensor], source: str) -> Mapping[str, Tensor]:
        """Weights of a base alone start the base, and the reader keeps its own. A frozen reader must be the
        one that the weights were trained with.
        """
        is_base_alone = not any(name.startswith(BASE) for name in tensors)
        base = {
            name.removeprefix(BASE): value for name, value in tensors.items() if not name.startswith(READER)
        }
        reader = {
            name: value for name, value in tensors.items() if not is_base_alone and name.startswith(READER)
        }
        if is_base_alone:
            base = dict(tensors)
        elif self.trained == "none":
            self._check_reader({name.removeprefix(READER): value for name, value in reader.items()}, source)
            reader = {}
        adopted = {f"{BASE}{name}": value for name, value in self.base.adopt(base, source).items()}
        return adopted | (reader or self._trained_reader())

    def _trained_reader(self) -> dict[str, Tensor]:
        """The reader's own weights, as far as they are trained."""
        frozen = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}
        return {
            name: value
            for name, value in self.state_dict().items()
            if name.startswith(READER) and name not in frozen
        }

    def _check_reader(self, tensors: Mapping[str, Tensor], source: str) -> None:
        """Raise ValueError unless the frozen reader holds exactly these tensors. They are compared with its
        files, as the language model may never be needed.
        """
        if not tensors:
            return
        own = self.source.saved_tensors()
        other = [
            name
            for name, value in tensors.items()
            if name not in own or not torch.equal(own[name], value.to(own[name].dtype))
        ]
        if other:
            raise ValueError(
                f"{source} was trained with another reader than this editor's frozen one, they differ in "
                f"{len(other)} of "
                f"{len(tensors)} tensors such as {other[0]}: give model.backbone.reader.weights={source}, or "
                "with a "
                "SmartEdit folder that was exported from it leave out start="
            )

    def whole_reader(self) -> Reader:
        """The reader; a frozen one is built on the CPU if necessary."""
        return self.reader if isinstance(self.reader, Reader) else self.reader.on(torch.device("cpu"))

    def align(self, original: Float[Tensor, "b 3 H W"], instructions: Sequence[str]) -> AlignmentOutput:
        if not isinstance(self.reader, Reader):
            raise ValueError("a frozen reader can't be aligned: say model.backbone.trained=alignment")
        return self.reader.align(original, instructions)

    def to_pipeline(self, scheduler: Any) -> StableDiffusionInstructPix2PixPipeline:
        return self._exportable_base().to_pipeline(scheduler)

    def config_in(self, folder: str, config: Mapping[str, Any]) -> dict[str, Any]:
        # the number format it was trained in; at 7B, fp32 would take twice the memory
        dtype = str(self.whole_reader().language.llava.dtype).removeprefix("torch.")
        reader = {
            "_target_": f"{FromFolder.__module__}.{FromFolder.__name__}",
            "folder": folder,
            "dtype": dtype,
        }
        base = self._exportable_base().config_in(folder, config["base"])
        return {**config, "base": base, "trained": "none", "reader": reader}

    @property
    def has_reader(self) -> bool:
        return True

    def save_reader(self, folder: Path) -> None:
        save_reader(self.whole_reader(), folder)

    def denoise(self, x_t: Latent, network_time: Shaped[Tensor, " b"], condition: Condition) -> Latent:
        if condition.stem_bias is None:
            raise ValueError(
                "SmartEdit needs its reader's encoding of image and instruction, and the condition has no "
                "stem bias"
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
                f"model.backbone.trained={self.trained} trains the reader of image and instruction, so that "
                "its results change at every step and "
                "can't be computed once; leave out data.precomputed, or say model.backbone.trained=none"
            )
        return {**self._frozen_base().encoder_digests(), **self.source.digests()}

    def free(self) -> None:
        if isinstance(self.reader, Frozen):
            self.reader.free()
        if isinstance(self.base, FrozenEncoders):
            self.base.free()

    def _exportable_base(self) -> ExportableBackbone:
        if not isinstance(self.base, ExportableBackbone):
            raise ValueError(
                "only a SmartEdit around an InsPix2Pix is a diffusers pipeline, this is "
                f"{type(self.base).__name__}"
            )
        return self.base

    def _frozen_base(self) -> FrozenEncoders:
        if not isinstance(self.base, FrozenEncoders):
            raise ValueError(
                f"{type(self.base).__name__} trains its text encoder, so that its conditions change at every "
                "step and can't be computed once"
            )
        return self.base
