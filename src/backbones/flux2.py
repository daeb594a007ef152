"""FLUX.2-klein (Black Forest Labs 2026): a flow-matching transformer of 4 or 9 billion parameters that edits
by reading the original's tokens beside the noisy ones.

model/backbone=flux2_klein model.backbone.pretrained=black-forest-labs/FLUX.2-klein-base-4B      (or a folder)
"""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from peft import LoraConfig
from torch import Tensor

from src.backbones.flow_transformer import (
    DTYPES,
    FlowTransformer,
    Training,
    as_tokens,
    warn_distilled,
)
from src.backbones.flux2_parts import KLEIN_4B, LAYERS, Flux2Parts
from src.backbones.frozen import Frozen
from src.backbones.pretrained import part_digests
from src.backbones.transformer_hooks import Site
from src.batch import Condition, Moments, TextTokens
from src.diffusion.process import Latent
from src.finite_tensors import clamp_visibly

ORIGINAL_TIME = 10
"""Place of the first original on the axis of time; the noisy latent is at 0."""


@final
class Flux2Klein(FlowTransformer):
    """A stock transformer; autoencoder and text encoder are frozen and loaded when first needed.

    A latent is the autoencoder's, two by two cells folded into channels and normalised by the running
    statistics that the autoencoder carries. The text is the stack of three hidden states of a language model;
    its padding is read, too, so that text_length is part of what was learnt.

    Args:
        pretrained: a diffusers pipeline folder or hub id; None builds the given sizes with random weights.
        trained: "transformer" trains all of it, "lora" only `lora`, "none" only the added reward modules.
        lora: the LoRA layers of trained=lora.
        gradient_checkpointing: recompute the blocks in the backward pass: less memory, a third more time.
        text_length: tokens of every text, shorter ones padded, longer ones cut; 512 in pretraining.
        weights_dtype: of all weights that are not trained: float32 or bfloat16.
        allow_distilled: a checkpoint that was distilled to a few steps is taken without a warning.
        sizes: of random weights, arguments by part (transformer, vae, text_encoder); None for those of the 4B
            model.

    Raises:
        FileNotFoundError: no such pipeline, or a part or file of it is missing.
        ValueError: another family, parts that don't fit, or settings that contradict each other.
    """

    def __init__(
        self,
        pretrained: str | None,
        trained: Literal["transformer", "lora", "none"] = "transformer",
        lora: LoraConfig | None = None,
        gradient_checkpointing: bool = False,
        text_length: int = 512,
        weights_dtype: str = "float32",
        allow_distilled: bool = False,
        sizes: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        training = Training(trained, lora, gradient_checkpointing, weights_dtype)
        training.check()
        parts = Flux2Parts(pretrained, DTYPES[weights_dtype], sizes or KLEIN_4B)
        parts.check()
        if pretrained is not None and parts.is_distilled and not allow_distilled:
            warn_distilled(pretrained)
        super().__init__(parts.transformer(), training)
        self.pretrained, self.text_length = pretrained, text_length
        self.tokenizer = parts.tokenizer()
        self.vae, self.text_encoder = Frozen(parts.vae), Frozen(parts.text_encoder)
        vae = parts.vae_config()
        self.channels = 4 * int(vae["latent_channels"])
        self.pixels_per_cell = 2 ** len(vae["block_out_channels"])

    @property
    def text_width(self) -> int:
        return int(self.transformer.config["joint_attention_dim"])

    def sites(self) -> Mapping[str, Site]:
        network = self.transformer
        width = network.inner_dim
        double, single = network.double_stream_modulation_img, network.single_stream_modulation
        blocks = [Site(block, width, "pair") for block in network.transformer_blocks]
        blocks += [Site(block, width, "joined") for block in network.single_transformer_blocks]
        return {
            "time_embedding": Site(network.time_guidance_embed, width, "vector"),
            "stem": Site(network.x_embedder, width, "image"),
            "modulation.0": Site(double, 6 * width, "vector"),
            "modulation.1": Site(single, 3 * width, "vector"),
        } | {f"block.{i}": block for i, block in enumerate(blocks)}

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        multiple = self.pixels_per_cell
        if height % multiple or width % multiple or not height or not width:
            raise ValueError(
                f"this editor's latent holds images whose sides are multiples of {multiple}, got "
                f"{height}x{width}"
            )
        return self.channels, height // multiple, width // multiple

    def predict(
        self, noisy: Latent, time: Shaped[Tensor, " b"], condition: Condition
    ) -> Float[Tensor, "b n d"]:
        original = condition.original_latent.to(noisy.dtype)
        height, width = noisy.shape[-2:]
        text = condition.instruction.tokens.to(noisy.dtype)
        (output,) = self.transformer(
            hidden_states=torch.cat([as_tokens(noisy), as_tokens(original)], 1),
            timestep=time,
            guidance=None,
            encoder_hidden_states=text,
            txt_ids=places(0, 1, 1, text.shape[1], text.device),
            img_ids=torch.cat(
                [
                    places(0, height, width, 1, noisy.device),
                    places(ORIGINAL_TIME, height, width, 1, noisy.device),
                ]
            ),
            return_dict=False,
        )
        return output

    @torch.no_grad()
    def encode_moments(self, images: Float[Tensor, "b 3 H W"]) -> Moments:
        vae: Any = self.vae.on(images.device)
        with self.frozen_precision(vae):
            (posterior,) = vae.encode(images, return_dict=False)
        mean, std = (F.pixel_unshuffle(part.float(), 2) for part in (posterior.mean, posterior.std))
        shift, scale = self._statistics(vae)
        return Moments((mean - shift) / scale, std / scale)

    @torch.no_grad()
    def decode(self, latent: Latent, original_latent: Latent) -> Float[Tensor, "b 3 H W"]:
        vae: Any = self.vae.on(latent.device)
        shift, scale = self._statistics(vae)
        with self.frozen_precision(vae):
            (image,) = vae.decode(F.pixel_shuffle(latent.float() * scale + shift, 2), return_dict=False)
        return clamp_visibly(image.float(), -1.0, 1.0)

    def _statistics(self, vae: Any) -> tuple[Float[Tensor, "1 c 1 1"], Float[Tensor, "1 c 1 1"]]:
        """Mean and deviation of the folded latents: what the autoencoder carries as a batch norm's."""
        mean, variance = vae.bn.running_mean.float(), vae.bn.running_var.float()
        deviation = (variance + vae.config["batch_norm_eps"]).sqrt()
        return mean.view(1, -1, 1, 1), deviation.view(1, -1, 1, 1)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> TextTokens:
        """Tokens of the whole window, which the transformer reads; the mask marks the padding."""
        distinct = list(dict.fromkeys(texts))
        row = {text: index for index, text in enumerate(distinct)}
        asked = [self._asked(text) for text in distinct]
        for text, ids in zip(distinct, self.tokenizer(asked, verbose=False).input_ids, strict=True):
            if len(ids) > self.text_length:
                warnings.warn(
                    f"cut after {self.text_length} of {len(ids)} tokens: {text[:60]!r}", stacklevel=2
                )
        tokens = self.tokenizer(
            asked, padding="max_length", max_length=self.text_length, truncation=True, return_tensors="pt"
        ).to(self.device)
        encoder: Any = self.text_encoder.on(self.device)
        with self.frozen_precision(encoder):
            states = encoder.model(
                input_ids=tokens.input_ids,
                attention_mask=tokens.attention_mask,
                output_hidden_states=True,
                use_cache=False,
            ).hidden_states
        stacked = torch.stack([states[layer].float() for layer in LAYERS], 2).flatten(2)
        rows = torch.tensor([row[text] for text in texts], device=self.device)
        return TextTokens(stacked[rows], tokens.attention_mask.bool()[rows])

    def _asked(self, text: str) -> str:
        """A text as the language model is asked for it."""
        return self.tokenizer.apply_chat_template(
            [{"role": "user", "content": text}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )

    def encoder_digests(self) -> Mapping[str, str | None]:
        if self.pretrained is None:
            raise ValueError(
                "pretrained=null gives autoencoder and text encoder random weights: name a pipeline"
            )
        parts = {part: part_digests(self.pretrained, part) for part in ("vae", "text_encoder")}
        digests = {
            f"{part}.{what}": digest for part, found in parts.items() for what, digest in found.items()
        }
        known = [self.text_length, self._asked(""), sorted(self.tokenizer.get_vocab().items())]
        return digests | {"tokenizer": hashlib.sha256(json.dumps(known).encode()).hexdigest()}

    def free(self) -> None:
        self.vae.free()
        self.text_encoder.free()


def places(time: int, height: int, width: int, length: int, device: torch.device) -> Int[Tensor, "n 4"]:
    """Places of tokens on the four axes of time, height, width and length, the last one running fastest."""
    ranges = (torch.arange(size, device=device) for size in (height, width, length))
    return torch.cartesian_prod(torch.tensor([time], device=device), *ranges)
