"""A small backbone for laptops and tests, made of the same parts as InsPix2Pix: a text encoder, a stock
U-Net, an image latent.

Everything is trained from scratch. The latent is lossless (pixels folded into channels), so there is no VAE
to train or to download.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from src.backbones.backbone import Backbone, refuse_answers
from src.backbones.byte_pairs import BytePairs
from src.backbones.grounding import Grounding
from src.backbones.hooks import conditioned_on
from src.backbones.unet_hooks import StemBias, UNetHooks, site_widths
from src.backbones.word_tokenizer import WordTokenizer, encode_once
from src.batch import Condition, Reading, TextTokens
from src.conditioning.integration import Integration
from src.diffusion.process import Latent
from src.finite_tensors import clamp_visibly

FEW_LENGTHS = 32
"""Text lengths are rounded up to a multiple of this, because torch.compile recompiles for every new length.
"""


@final
class TinyBackbone(Backbone):
    """A U-Net on folded pixels.

    The instruction enters in three places: token by token through cross-attention, as in Stable Diffusion, if
    the U-Net has any; as its mean token through the time embedding, as in later models; and as a map of the
    places it refers to, added after conv_in (grounding.py). From scratch the second is learnt fastest and
    suffices for edits of the whole image; the third finds objects.

    Besides the noisy latent and the original, the U-Net gets two channels with each cell's coordinates, so
    that "at the top left" need not be inferred from borders.

    Args:
        tokenizer: texts -> ids; the text encoder's size follows from it.
        text_encoder: builds a `BertModel` from vocab_size and the special token ids.
        unet: builds a `UNet2DConditionModel` from its numbers of channels and the width of the text.
        grounding: builds a `Grounding` from text_width, image_channels and channels, those of conv_in.
        fold: pixels per latent cell along each side; the latent has 3 * fold**2 channels.
        relative: the latent is the difference between edited and original image, so that unchanged regions
            need not be drawn.
    """

    is_lossless = True

    def __init__(
        self,
        tokenizer: WordTokenizer | BytePairs,
        text_encoder: Callable[..., BertModel],
        unet: Callable[..., UNet2DConditionModel],
        grounding: Callable[..., Grounding],
        fold: int = 2,
        relative: bool = False,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.fold = fold
        self.relative = relative
        self.text_encoder = text_encoder(vocab_size=len(tokenizer), **tokenizer.encoder_settings)
        channels = 3 * fold**2
        self.unet = unet(
            in_channels=2 * channels + 2,
            out_channels=channels,
            cross_attention_dim=self.text_width,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=self.text_width,
        )
        self.grounding = grounding(
            text_width=self.text_width, image_channels=channels, channels=self.unet.conv_in.out_channels
        )
        self.stem = StemBias(self.unet)
        # the memory order in which convolutions are fastest, above all on CPUs
        for part in (self.unet, self.grounding):
            nn.utils.convert_conv2d_weight_memory_format(part, torch.channels_last)
        self.hooks: UNetHooks | None = None
        # start from predicting zero, which for a clean relative latent means that nothing changes
        nn.init.zeros_(self.unet.conv_out.weight)
        assert self.unet.conv_out.bias is not None
        nn.init.zeros_(self.unet.conv_out.bias)

    @property
    def text_width(self) -> int:
        return self.text_encoder.config.hidden_size

    @property
    def site_widths(self) -> dict[str, int]:
        return site_widths(self.unet)

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        multiple = self.fold * 2 ** (len(self.unet.down_blocks) - 1)
        if height % multiple or width % multiple:
            raise ValueError(
                f"this editor's latent holds images whose sides are multiples of {multiple}, got "
                f"{height}x{width}"
            )
        return 3 * self.fold**2, height // self.fold, width // self.fold

    def attach(self, integration: Integration) -> None:
        self.hooks = UNetHooks(self.unet, integration)

    def encode_image(self, original: Float[Tensor, "b 3 H W"]) -> Latent:
        return F.pixel_unshuffle(original, self.fold)

    def encode_edited(
        self, edited: Float[Tensor, "b 3 H W"], original_latent: Latent, noise: Latent
    ) -> Latent:
        latent = F.pixel_unshuffle(edited, self.fold)
        return latent - original_latent if self.relative else latent

    def decode(self, latent: Latent, original_latent: Latent) -> Float[Tensor, "b 3 H W"]:
        edited = latent + original_latent if self.relative else latent
        return clamp_visibly(F.pixel_shuffle(edited, self.fold), -1.0, 1.0)

    def encode_text(self, texts: Sequence[str]) -> TextTokens:
        def encode(ids: Int[Tensor, "m l"], mask: Bool[Tensor, "m l"]) -> Float[Tensor, "m l d"]:
            return self.text_encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state

        longest = self.text_encoder.config.max_position_embeddings
        texts_once = encode_once(self.tokenizer, texts, longest, self.unet.device, encode)
        return texts_once.padded_to_multiple(FEW_LENGTHS)

    def learn_texts(self, texts: Sequence[str]) -> None:
        if isinstance(self.tokenizer, BytePairs):
            self.tokenizer.learn(texts)

    def check_texts(self, texts: Sequence[str]) -> None:
        self.tokenizer(texts, self.text_encoder.config.max_position_embeddings)

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

    def denoise(self, x_t: Latent, network_time: Shaped[Tensor, " b"], condition: Condition) -> Latent:
        original, text = (
            condition.original_latent.contiguous(memory_format=torch.channels_last),
            condition.instruction,
        )
        inputs = torch.cat([x_t, original, coordinate_channels(x_t)], 1).contiguous(
            memory_format=torch.channels_last
        )
        with conditioned_on(self.hooks, condition.reward), self.stem.adding(self.grounding(original, text)):
            (output,) = self.unet(
                inputs,
                network_time,
                text.tokens,
                class_labels=text.mean(),
                encoder_attention_mask=text.mask,
                return_dict=False,
            )
        return output


def coordinate_channels(latent: Latent) -> Float[Tensor, "b 2 h w"]:
    """Each cell's vertical and horizontal coordinate, from -1 to 1."""
    batch, _, height, width = latent.shape
    down = torch.linspace(-1.0, 1.0, height, device=latent.device, dtype=latent.dtype).view(1, 1, height, 1)
    right = torch.linspace(-1.0, 1.0, width, device=latent.device, dtype=latent.dtype).view(1, 1, 1, width)
    return torch.cat([down.expand(batch, 1, height, width), right.expand(batch, 1, height, width)], 1)


def text_encoder(
    vocab_size: int, hidden_size: int, bos_token_id: int, eos_token_id: int, **config: Any
) -> BertModel:
    """A BERT with random weights and a feed-forward four times as wide as the tokens.

    CLIP's causal attention would keep "red" from seeing which noun follows, and learns much less from scratch
    in the same time (experiments/LOG.md). Attention uses plain matrix products: over a dozen words, torch's
    fused CPU kernel takes several times as long in bf16. There is no dropout, so that resuming is exact.
    """
    sizes = {"vocab_size": vocab_size, "hidden_size": hidden_size, "intermediate_size": 4 * hidden_size}
    special = {"bos_token_id": bos_token_id, "eos_token_id": eos_token_id}
    model = BertModel(
        BertConfig(**sizes, **special, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **config),
        add_pooling_layer=False,
    )
    model.set_attn_implementation("eager")
    return model
