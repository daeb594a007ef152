"""InsPix2Pix (Brooks et al. 2023): Stable Diffusion 1.5 with the original's latent in four more input
channels.

model/backbone=inspix2pix model.backbone.pretrained=timbrooks/instruct-pix2pix      (or a diffusers pipeline
folder, or Stable Diffusion 1.5)
"""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal, final

import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from jaxtyping import Float, Shaped
from peft import LoraConfig
from torch import Tensor, nn

from src.backbones import stable_diffusion
from src.backbones.backbone import refuse_answers
from src.backbones.exportable import ExportableBackbone
from src.backbones.frozen import Frozen, FrozenEncoders
from src.backbones.hooks import conditioned_on
from src.backbones.pretrained import part_digests
from src.backbones.unet_hooks import UNetHooks, site_widths
from src.batch import Condition, Moments, Reading, TextTokens
from src.conditioning.integration import Integration
from src.diffusion.process import Latent
from src.finite_tensors import clamp_visibly


@final
class InsPix2Pix(FrozenEncoders, ExportableBackbone):
    """A stock U-Net; autoencoder and text encoder are frozen and loaded when first needed.

    The condition c_I is the mode of the original's posterior, not scaled; the clean latent is a sample of the
    edited image's posterior, scaled. The missing scale of c_I is an oversight in the first release on which
    all published weights depend.

    Args:
        pretrained: a diffusers pipeline folder or hub id; None builds the full size with random weights.
        trained: "unet" trains the whole U-Net, "lora" only `lora`, "none" only the added reward modules.
        lora: the LoRA layers of trained=lora.
        gradient_checkpointing: recompute activations in the backward pass: less memory, a third more time.
        channels_last: use the memory order in which convolutions are fastest on GPUs.
    """

    def __init__(
        self,
        pretrained: str | None,
        trained: Literal["unet", "lora", "none"] = "unet",
        lora: LoraConfig | None = None,
        gradient_checkpointing: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        if trained not in ("unet", "lora", "none"):
            raise ValueError(f"trained is unet, lora or none, not {trained!r}")
        if (trained == "lora") != (lora is not None):
            raise ValueError(
                f"trained={trained} and lora={'null' if lora is None else 'given'} don't fit: give lora= "
                "with trained=lora and only then"
            )
        self.pretrained = pretrained
        config = stable_diffusion.vae_config(pretrained)
        self.scaling = float(config.get("scaling_factor", 0.18215))
        self.pixels_per_cell = 2 ** (len(config["block_out_channels"]) - 1)
        self._text_width = stable_diffusion.text_config(pretrained).hidden_size
        self.tokenizer = stable_diffusion.load_tokenizer(pretrained)
        self.vae = Frozen(partial(stable_diffusion.load_vae, pretrained))
        self.text_encoder = Frozen(partial(stable_diffusion.load_text_encoder, pretrained))
        self.unet = stable_diffusion.load_unet(pretrained)
        if self.unet.config["cross_attention_dim"] != self._text_width:
            raise ValueError(
                f"the U-Net of {pretrained} reads text of width {self.unet.config['cross_attention_dim']}, "
                f"its text encoder writes {self._text_width}"
            )
        self.unet.requires_grad_(trained == "unet")
        if lora is not None:
            if not self.unet.conv_in.weight[:, stable_diffusion.LATENT_CHANNELS :].any():
                raise ValueError(
                    f"LoRA can't teach {pretrained} to see the original, as its input layer stays frozen: "
                    "start from an InsPix2Pix pipeline"
                )
            self.unet.add_adapter(lora)
        self.lora = lora
        if gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
        if channels_last:
            nn.utils.convert_conv2d_weight_memory_format(self.unet, torch.channels_last)
        self.hooks: UNetHooks | None = None

    @property
    def text_width(self) -> int:
        return self._text_width

    @property
    def site_widths(self) -> dict[str, int]:
        return site_widths(self.unet)

    @property
    def device(self) -> torch.device:
        """Where the U-Net is; the frozen networks follow it."""
        return next(self.unet.parameters()).device

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        multiple = self.pixels_per_cell
        if height % multiple or width % multiple:
            raise ValueError(
                f"this editor's latent holds images whose sides are multiples of {multiple}, got "
                f"{height}x{width}"
            )
        return stable_diffusion.LATENT_CHANNELS, height // multiple, width // multiple

    def attach(self, integration: Integration) -> None:
        self.hooks = UNetHooks(self.unet, integration)

    @torch.no_grad()
    def encode_moments(self, images: Float[Tensor, "b 3 H W"]) -> Moments:
        vae: Any = self.vae.on(images.device)
        with self._frozen_precision():
            (posterior,) = vae.encode(images, return_dict=False)
        return Moments(posterior.mean, posterior.std)

    def sample_latent(self, edited: Moments, noise: Latent) -> Latent:
        return (edited.mean + edited.std * noise.to(edited.mean.device)).float() * self.scaling

    def encoder_digests(self) -> Mapping[str, str | None]:
        if self.pretrained is None:
            raise ValueError(
                "pretrained=null gives autoencoder and text encoder random weights, which differ in every "
                "process: name a pipeline"
            )
        parts = {part: part_digests(self.pretrained, part) for part in ("vae", "text_encoder")}
        digests = {
            f"{part}.{what}": digest for part, found in parts.items() for what, digest in found.items()
        }
        return digests | {"tokenizer": stable_diffusion.tokenizer_digest(self.tokenizer)}

    def free(self) -> None:
        self.vae.free()
        self.text_encoder.free()

    @torch.no_grad()
    def encode_image(self, original: Float[Tensor, "b 3 H W"]) -> Latent:
        return self.encode_moments(original).mean.float()

    @torch.no_grad()
    def encode_edited(
        self, edited: Float[Tensor, "b 3 H W"], original_latent: Latent, noise: Latent
    ) -> Latent:
        return self.sample_latent(self.encode_moments(edited), noise)

    @torch.no_grad()
    def decode(self, latent: Latent, original_latent: Latent) -> Float[Tensor, "b 3 H W"]:
        vae: Any = self.vae.on(latent.device)
        with self._frozen_precision():
            (image,) = vae.decode(latent / self.scaling, return_dict=False)
        return clamp_visibly(image.float(), -1.0, 1.0)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> TextTokens:
        """Tokens of the whole window: the pretrained cross-attention also reads those after the end of the
        text. The mask marks them.
        """
        distinct = list(dict.fromkeys(texts))
        row = {text: index for index, text in enumerate(distinct)}
        longest = self.tokenizer.model_max_length
        for text, ids in zip(distinct, self.tokenizer(distinct, verbose=False).input_ids, strict=True):
            if len(ids) > longest:
                warnings.warn(f"cut after {longest} of {len(ids)} tokens: {text[:60]!r}", stacklevel=2)
        tokens = self.tokenizer(
            distinct, padding="max_length", max_length=longest, truncation=True, return_tensors="pt"
        )
        with self._frozen_precision():
            encoded = self.text_encoder.on(self.device)(
                input_ids=tokens.input_ids.to(self.device)
            ).last_hidden_state
        rows = torch.tensor([row[text] for text in texts], device=self.device)
        return TextTokens(encoded[rows], tokens.attention_mask.to(self.device).bool()[rows])

    def _frozen_precision(self) -> AbstractContextManager[object]:
        """Autoencoder and text encoder run in the U-Net's number format if that is 16-bit (execution.py),
        else in their caller's.
        """
        weight = self.unet.conv_in.weight
        return (
            nullcontext()
            if weight.dtype is torch.float32
            else torch.autocast(weight.device.type, weight.dtype)
        )

    @property
    def supports_chat(self) -> bool:
        return False

    def read(
        self,
        original: Float[Tensor, "b 3 H W"],
        instructions: Sequence[str],
        answers: Sequence[str | None] | None = None,
    ) -> Reading | None:
        refuse_answers(answers)
        return None

    def adopt(self, tensors: Mapping[str, Tensor], source: str) -> Mapping[str, Tensor]:
        return tensors

    def to_pipeline(self, scheduler: Any) -> StableDiffusionInstructPix2PixPipeline:
        if self.lora is not None:
            self.unet.fuse_lora()
            self.unet.unload_lora()
            self.lora = None
        cpu = torch.device("cpu")
        return StableDiffusionInstructPix2PixPipeline(
            vae=self.vae.on(cpu),
            text_encoder=self.text_encoder.on(cpu),
            tokenizer=self.tokenizer,
            unet=self.unet,
            scheduler=scheduler,
            safety_checker=None,  # pyright: ignore[reportArgumentType]
            feature_extractor=None,  # pyright: ignore[reportArgumentType]
            requires_safety_checker=False,
        )

    def config_in(self, folder: str, config: Mapping[str, Any]) -> dict[str, Any]:
        return {**config, "pretrained": folder, "trained": "unet", "lora": None}

    @property
    def has_reader(self) -> bool:
        return False

    def save_reader(self, folder: Path) -> None:
        """There is none."""

    def denoise(self, x_t: Latent, network_time: Shaped[Tensor, " b"], condition: Condition) -> Latent:
        inputs = torch.cat([x_t, condition.original_latent.to(x_t.dtype)], 1)
        with conditioned_on(self.hooks, condition.reward):
            (output,) = self.unet(inputs, network_time, condition.instruction.tokens, return_dict=False)
        return output
