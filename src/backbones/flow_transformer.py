"""What flow-matching editing transformers of today share: noisy and original latent are tokens of one
sequence, the text stands beside them, and only the noisy tokens of the output count.
"""

import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Literal, NamedTuple, final

import torch
from jaxtyping import Float, Shaped
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from src.backbones.backbone import refuse_answers
from src.backbones.frozen import FrozenEncoders
from src.backbones.hooks import conditioned_on
from src.backbones.transformer_hooks import Site, TransformerHooks
from src.batch import Condition, Moments, Reading
from src.conditioning.integration import Integration
from src.diffusion.process import Latent

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@final
class Training(NamedTuple):
    """What of a transformer is trained, and how.

    Attributes:
        trained: "transformer" trains all of it, "lora" only `lora`, "none" only the added reward modules.
        lora: the LoRA layers of trained=lora.
        gradient_checkpointing: recompute the blocks in the backward pass: less memory, a third more time.
        dtype: of weights that are not trained; those that are have float32.
    """

    trained: Literal["transformer", "lora", "none"]
    lora: LoraConfig | None
    gradient_checkpointing: bool
    dtype: str

    def check(self) -> None:
        """Raise ValueError for values that are unknown or contradict each other."""
        if self.trained not in ("transformer", "lora", "none"):
            raise ValueError(f"trained is transformer, lora or none, not {self.trained!r}")
        if (self.trained == "lora") != (self.lora is not None):
            raise ValueError(
                f"trained={self.trained} and lora={'null' if self.lora is None else 'given'} don't fit: give "
                "lora= with trained=lora and only then"
            )
        if self.dtype not in DTYPES:
            raise ValueError(f"weights_dtype is {' or '.join(DTYPES)}, not {self.dtype!r}")
        if self.trained == "transformer" and self.dtype != "float32":
            raise ValueError(
                f"weights_dtype={self.dtype} is for weights that are not trained, and trained=transformer "
                "trains all: set weights_dtype=float32 (trainer.precision says how it computes)"
            )


class FlowTransformer(FrozenEncoders):
    """A stock diffusers transformer whose sequence holds the noisy latent and the original's.

    Args:
        transformer: with its pretrained weights.
        training: what of it is trained.
    """

    can_drop_image: ClassVar[bool] = False

    def __init__(self, transformer: Any, training: Training) -> None:
        super().__init__()
        self.transformer = transformer.requires_grad_(training.trained == "transformer")
        if training.lora is not None:
            self.transformer.add_adapter(training.lora)
            self._check_lora()
        for parameter in self.transformer.parameters():
            parameter.data = parameter.data.to(
                torch.float32 if parameter.requires_grad else DTYPES[training.dtype]
            )
        self.gradient_checkpointing = training.gradient_checkpointing
        if self.gradient_checkpointing:
            self.transformer.enable_gradient_checkpointing()
        self.hooks: TransformerHooks | None = None

    @abstractmethod
    def sites(self) -> Mapping[str, Site]:
        """Where an integration may act, the blocks in order of execution."""

    @abstractmethod
    def predict(
        self, noisy: Latent, time: Shaped[Tensor, " b"], condition: Condition
    ) -> Float[Tensor, "b n d"]:
        """The transformer's output for the tokens of the noisy latent and, after them, of the original.

        Args:
            noisy: the noisy latent.
            time: in [0, 1].
            condition: original and text.
        """

    @property
    def site_widths(self) -> dict[str, int]:
        return {name: site.width for name, site in self.sites().items()}

    @property
    def device(self) -> torch.device:
        """Where the transformer is; the frozen networks follow it."""
        return next(self.transformer.parameters()).device

    def attach(self, integration: Integration) -> None:
        sites = self.sites()
        wrapped = [name for name in integration.sites if isinstance(sites[name].module, BaseTunerLayer)]
        if wrapped:
            raise ValueError(
                f"LoRA changes the layer at {wrapped[0]}, where the reward acts: leave that layer out of "
                "lora.target_modules"
            )
        self.hooks = TransformerHooks(sites, integration)
        if self.gradient_checkpointing:
            self.transformer.enable_gradient_checkpointing(self.hooks.checkpoint)

    def denoise(self, x_t: Latent, network_time: Shaped[Tensor, " b"], condition: Condition) -> Latent:
        cells, text = x_t[0, 0].numel(), condition.instruction.mask.shape[1]
        with conditioned_on(self.hooks, condition.reward, cells, text), self._precision(x_t):
            output = self.predict(x_t, network_time / 1000.0, condition)
        return from_tokens(output[:, :cells], x_t)

    def _precision(self, x_t: Latent) -> AbstractContextManager[object]:
        """16-bit weights compute in their own number format, whatever their caller has."""
        dtype = next(self.transformer.parameters()).dtype
        if dtype in (torch.float32, x_t.dtype):
            return nullcontext()
        return torch.autocast(x_t.device.type, dtype)

    def frozen_precision(self, network: nn.Module) -> AbstractContextManager[object]:
        """A frozen network computes in its own number format or the transformer's if one is 16-bit, else in
        its caller's.
        """
        dtypes = {next(part.parameters()).dtype for part in (network, self.transformer)}
        short = dtypes - {torch.float32}
        return torch.autocast(self.device.type, short.pop()) if short else nullcontext()

    @torch.no_grad()
    def encode_image(self, original: Float[Tensor, "b 3 H W"]) -> Latent:
        return self.encode_moments(original).mean.float()

    @torch.no_grad()
    def encode_edited(
        self, edited: Float[Tensor, "b 3 H W"], original_latent: Latent, noise: Latent
    ) -> Latent:
        return self.sample_latent(self.encode_moments(edited), noise)

    def sample_latent(self, edited: Moments, noise: Latent) -> Latent:
        """The posterior's mode, as such models are trained: the noise is not used."""
        return edited.mean.float()

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

    def _check_lora(self) -> None:
        """Raise ValueError if LoRA leaves out all blocks of a kind, as one written for a U-Net does."""
        kinds: dict[str, list[bool]] = {}
        for name, site in self.sites().items():
            if name.startswith("block."):
                has_lora = any(isinstance(part, BaseTunerLayer) for part in site.module.modules())
                kinds.setdefault(type(site.module).__name__, []).append(has_lora)
        bare = [f"{len(found)} {kind}" for kind, found in kinds.items() if not any(found)]
        if bare:
            raise ValueError(
                f"lora.target_modules reaches none of the {' and '.join(bare)} of this transformer; those of "
                "a U-Net (model/lora=attention) don't fit, take model/lora=flux2"
            )


def as_tokens(latent: Latent) -> Float[Tensor, "b n c"]:
    """The cells of a latent as tokens, row by row."""
    return latent.flatten(2).transpose(1, 2)


def from_tokens(tokens: Float[Tensor, "b n c"], like: Latent) -> Latent:
    """The reverse, for a latent of this size."""
    return tokens.transpose(1, 2).unflatten(2, like.shape[-2:])


def warn_distilled(pretrained: str) -> None:
    """Say that a checkpoint was distilled to few steps, which training undoes."""
    print(
        f"warning: {pretrained} was distilled to a few steps without guidance (is_distilled in its "
        "model_index.json): training it leaves blur or gray blocks; start from its base checkpoint, as "
        "FLUX.2-klein-base-4B, or set model.backbone.allow_distilled=true",
        file=sys.stderr,
    )
