"""The components of a FLUX.2-klein pipeline, each loaded from a diffusers pipeline folder or a hub id.

Without a source (None) they have the given sizes and random weights, the same in every process: for
benchmarks, counts and tests without a network.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, final

import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from src.backbones.pretrained import FLUX2, described, loaded, pipeline_index, weights
from src.backbones.stock_pipeline import FLUX2_PIPELINE

T = TypeVar("T")

LAYERS = (9, 18, 27)
"""Hidden states of the language model that are stacked to the text's tokens."""

KLEIN_4B: Mapping[str, Mapping[str, Any]] = {
    "transformer": {
        "num_layers": 5,
        "num_single_layers": 20,
        "num_attention_heads": 24,
        "joint_attention_dim": 7680,
        "guidance_embeds": False,
    },
    "vae": {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    },
    "text_encoder": {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
}
"""Sizes of FLUX.2-klein-4B."""

KLEIN_9B: Mapping[str, Mapping[str, Any]] = {
    "transformer": {
        **KLEIN_4B["transformer"],
        "num_layers": 8,
        "num_single_layers": 24,
        "num_attention_heads": 32,
        "joint_attention_dim": 12288,
    },
    "vae": KLEIN_4B["vae"],
    "text_encoder": {**KLEIN_4B["text_encoder"], "hidden_size": 4096, "intermediate_size": 12288},
}
"""Sizes of FLUX.2-klein-9B."""

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""How a tokenizer without a source lays a text out."""


@final
@dataclass(frozen=True)
class Flux2Parts:
    """The parts of one pipeline.

    Attributes:
        pretrained: a diffusers pipeline folder or a hub id; None for random weights.
        dtype: of the weights.
        sizes: of random weights, arguments by part.
    """

    pretrained: str | None
    dtype: torch.dtype = torch.float32
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: KLEIN_4B)

    def check(self) -> None:
        """Raise FileNotFoundError or ValueError unless the source is a pipeline of this family, whose parts
        fit one another.
        """
        if self.pretrained is not None:
            kind = pipeline_index(self.pretrained, FLUX2).get("_class_name")
            _check_class(self.pretrained, "model_index.json", kind, FLUX2_PIPELINE)
            for part, wanted in (
                ("flux2_transformer", "Flux2Transformer2DModel"),
                ("flux2_vae", "AutoencoderKLFlux2"),
                ("flux2_text_encoder", "Qwen3ForCausalLM"),
            ):
                config = described(self.pretrained, part)
                found = config.get("_class_name") or next(iter(config.get("architectures") or []), None)
                _check_class(self.pretrained, f"{part.removeprefix('flux2_')}/config.json", found, wanted)
        self._check_widths()

    def _check_widths(self) -> None:
        transformer, text, vae = self.transformer_config(), self.text_config(), self.vae_config()
        channels, width = transformer["in_channels"], transformer["joint_attention_dim"]
        if width != len(LAYERS) * text.hidden_size or channels != 4 * vae["latent_channels"]:
            raise ValueError(
                f"the transformer of {self.pretrained} reads text of width {width} and latents of {channels} "
                f"channels, its text encoder writes {len(LAYERS)} x {text.hidden_size}, its autoencoder 4 x "
                f"{vae['latent_channels']}: take all parts from the same model"
            )
        if text.num_hidden_layers < LAYERS[-1]:
            raise ValueError(
                f"the text encoder of {self.pretrained} has {text.num_hidden_layers} layers, and the state "
                f"after layer {LAYERS[-1]} is read"
            )
        if transformer["guidance_embeds"]:
            raise ValueError(
                f"the transformer of {self.pretrained} takes the guidance as an input, as FLUX.2-dev, whose "
                "text encoder is another: only the klein models are known"
            )

    @property
    def is_distilled(self) -> bool:
        """Whether the pipeline says that it was distilled to a few steps."""
        if self.pretrained is None:
            return False
        return bool(pipeline_index(self.pretrained, FLUX2).get("is_distilled", False))

    def transformer_config(self) -> Mapping[str, Any]:
        """The transformer's config, complete."""
        return self._config(Flux2Transformer2DModel, "transformer")

    def vae_config(self) -> Mapping[str, Any]:
        """The autoencoder's config, complete."""
        return self._config(AutoencoderKLFlux2, "vae")

    def _config(self, kind: Any, part: str) -> Mapping[str, Any]:
        given = self.sizes[part] if self.pretrained is None else described(self.pretrained, f"flux2_{part}")
        arguments = inspect.signature(kind.__init__).parameters
        return {name: argument.default for name, argument in arguments.items()} | dict(given)

    def text_config(self) -> Qwen3Config:
        """The text encoder's config."""
        if self.pretrained is not None:
            return loaded(Qwen3Config.from_pretrained, self.pretrained, "flux2_text_encoder")
        sizes = self.sizes["text_encoder"]
        return Qwen3Config(**{"vocab_size": len(byte_tokenizer()), **sizes})

    def transformer(self) -> Flux2Transformer2DModel:
        """The transformer, in training mode. Raises as `pretrained.weights`."""
        if self.pretrained is None:
            return self._random(lambda: Flux2Transformer2DModel(**self.sizes["transformer"]))
        found: Flux2Transformer2DModel = weights(
            Flux2Transformer2DModel, self.pretrained, "flux2_transformer", torch_dtype=self.dtype
        )
        return found.train()

    def vae(self) -> AutoencoderKLFlux2:
        """The autoencoder. Raises as `pretrained.weights`."""
        if self.pretrained is None:
            return self._random(lambda: AutoencoderKLFlux2(**self.sizes["vae"]))
        return weights(AutoencoderKLFlux2, self.pretrained, "flux2_vae", torch_dtype=self.dtype)

    def text_encoder(self) -> Qwen3ForCausalLM:
        """The language model that encodes texts. Raises as `pretrained.weights`."""
        if self.pretrained is None:
            return self._random(lambda: Qwen3ForCausalLM(self.text_config()))
        return weights(
            Qwen3ForCausalLM,
            self.pretrained,
            "flux2_text_encoder",
            dtype=self.dtype,
            ignore_mismatched_sizes=True,  # they are named by us
        )

    def tokenizer(self) -> Any:
        """The tokenizer; without a source, one whose tokens are bytes.

        Raises:
            FileNotFoundError: as `pretrained.loaded`.
            ValueError: it has no chat template, or tokens that the text encoder doesn't know.
        """
        if self.pretrained is None:
            return byte_tokenizer()
        found = loaded(AutoTokenizer.from_pretrained, self.pretrained, "flux2_tokenizer")
        if not found.chat_template:
            raise ValueError(
                f"the tokenizer of {self.pretrained} has no chat template, by which its text encoder is "
                "asked: take the one of the model"
            )
        if len(found) > self.text_config().vocab_size:
            raise ValueError(
                f"tokenizer and text encoder of {self.pretrained} don't fit: the one has {len(found)} "
                f"tokens, the other {self.text_config().vocab_size}; take both from the same model"
            )
        return found

    def _random(self, build: Callable[[], T]) -> T:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return build()


def _check_class(pretrained: str, file: str, found: object, wanted: str) -> None:
    if found != wanted:
        raise ValueError(
            f"{pretrained} is not {FLUX2.name}: its {file} says {found}, and {wanted} is needed; "
            f"pretrained= takes {FLUX2.source}"
        )


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer without merges: every byte of a text is a token."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {token: index for index, token in enumerate([*special, *_alphabet()])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(  # pyright: ignore[reportAttributeAccessIssue]
        add_prefix_space=False
    )
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    found = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=special[0],
        eos_token=special[2],
        additional_special_tokens=special[1:2],
        model_max_length=512,
    )
    found.chat_template = TEMPLATE
    return found


def _alphabet() -> list[str]:
    return sorted(pre_tokenizers.ByteLevel.alphabet())
