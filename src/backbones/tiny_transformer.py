"""A small transformer that finds what an instruction speaks of and paints it: trained from scratch in minutes
on the synthetic world.

Original and noisy latent become tokens, one per patch, which exchange information with the instruction's
words in joint attention blocks. Two decoders draw the change from the tokens:

- convolutions on the latent grid, whose output is b + A original with a 3 x 3 colour matrix A per cell: looks
  (gray, sepia, negative, night) are functions of the original's pixel and need not be redrawn;
- a painter that works pixel by pixel: each token says what stands in its patch and where the centre of it
  lies, and colours follow from the position relative to that centre. What it paints is composed over the
  original. Objects come out crisp to the pixel, which convolutions at half the resolution blur.

The instruction reaches the patch that it concerns late, or never, if only the squared error asks for it; in
stage 1 `src/synthetic/scene_labels.py` supervises what the tokens say of their patches.
"""

import math
from collections.abc import Mapping, Sequence
from typing import final

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from src.backbones.backbone import (
    Readout,
    SpokenAttributes,
    SupervisedBackbone,
    check_reward,
    refuse_answers,
)
from src.backbones.tiny import coordinate_channels
from src.backbones.word_tokenizer import WordTokenizer, encode_once
from src.batch import Condition, Reading, RewardTokens, TextTokens
from src.conditioning.integration import Integration
from src.diffusion.process import Latent
from src.finite_tensors import clamp_visibly

FEW_LENGTHS = 8
"""Text lengths are rounded up to a multiple of this, because torch.compile recompiles for every new length.
"""

PERIODS = (24.0, 12.0, 8.0, 6.0, 4.0, 2.0)
"""Of the waves in which a position relative to an object's centre is told, in pixels of a patch of 4."""

FEATURES = 2 * len(PERIODS) + 2

PLACE_WAVES = 8
"""Waves along each axis in which a patch's place in the image is told."""

NEAR, FAR = 1.5, 5.0
"""Deviations of the two Gaussians by which surroundings are drawn into a hole, in pixels of a patch of 4."""


@final
class JointBlock(nn.Module):
    """Attention over the tokens of image and text together, then a feed-forward; both share their weights.

    Queries and keys have unit length, times a learnt scale. The output layers start at zero.

    Args:
        width: of the tokens.
        heads: attention heads; they must divide the width.
        feedforward_ratio: hidden width of the feed-forward over that of the tokens.
    """

    def __init__(self, width: int, heads: int, feedforward_ratio: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads don't divide a width of {width}")
        self.heads = heads
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.attention_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feedforward_in = nn.Linear(width, feedforward_ratio * width)
        self.feedforward_out = nn.Linear(feedforward_ratio * width, width)
        self.scale = nn.Parameter(torch.tensor([math.sqrt(10.0)]))
        for layer in (self.attention_out, self.feedforward_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, tokens: Float[Tensor, "b n d"], mask: Float[Tensor, "b 1 1 n"]
    ) -> Float[Tensor, "b n d"]:
        """The tokens after one block; `mask` is added to the attention's logits."""
        parts = self.query_key_value(self.attention_norm(tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scale = self.scale.to(query.dtype)
        query, key = (F.normalize(x.float(), dim=-1).to(value.dtype) * scale for x in (query, key))
        # plain products: over a hundred tokens torch's fused CPU kernel takes several times as long in bf16
        weights = ((query @ key.transpose(-1, -2)).float() + mask).softmax(-1).to(value.dtype)
        tokens = tokens + self.attention_out((weights @ value).transpose(1, 2).flatten(2))
        hidden = F.gelu(self.feedforward_in(self.feedforward_norm(tokens)), approximate="tanh")
        return tokens + self.feedforward_out(hidden)


@final
class Painter(nn.Module):
    """Colour and opacity of every pixel, from what its patch's token says.

    Args:
        width: of the tokens.
        attributes: number of values of each attribute of an object.
        patch: pixels per patch along each side.
        reach: largest distance between the centres of a patch and of its object, in pixels.
        hidden: channels per pixel.
    """

    table: Tensor

    def __init__(
        self, width: int, attributes: Mapping[str, int], patch: int, reach: int, hidden: int
    ) -> None:
        super().__init__()
        self.patch, self.hidden = patch, hidden
        self.sizes = list(attributes.values())
        self.register_buffer("table", position_features(patch, reach), persistent=False)
        self.modulation = nn.Linear(width, 4 * hidden)
        self.words = nn.Linear(2 * sum(self.sizes) - self.sizes[-1] + 1, 4 * hidden, bias=False)
        self.across = nn.Linear(FEATURES, hidden)
        self.along = nn.Linear(FEATURES, hidden, bias=False)
        self.surface = nn.Conv2d(6, hidden, 3, padding=1)
        self.place = nn.Linear(2, hidden, bias=False)
        self.mix, self.refine = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.paint_head = nn.Linear(hidden, 5)
        with torch.no_grad():
            self.paint_head.weight[4].zero_()
            self.paint_head.bias[3] = -1.0
            self.paint_head.bias[4] = 0.0

    def forward(
        self,
        tokens: Float[Tensor, "b n d"],
        said: SpokenAttributes,
        pixels: Float[Tensor, "b 3 H W"],
        guess: Float[Tensor, "b 3 H W"],
    ) -> tuple[Float[Tensor, "b 3 H W"], Float[Tensor, "b 1 H W"]]:
        """The painted image in [-1, 1] (more or less) and the logit of its opacity.

        Args:
            tokens: one per patch, row by row.
            said: what the tokens say.
            pixels, guess: the original, and the noisy latent as the network sees it, as images.
        """
        words = [
            *(part.softmax(-1) for part in said.after.float().split(self.sizes, -1)),
            *(part.softmax(-1) for part in said.before.float().split(self.sizes[:-1], -1)),
            said.presence.float().sigmoid(),
        ]
        modulation = self.modulation(tokens) + self.words(torch.cat(words, -1).to(tokens.dtype))
        gain, shift, second_gain, second_shift = modulation.unsqueeze(2).chunk(4, -1)
        across, along = (
            (logits.float().softmax(-1).to(self.table.dtype) @ self.table).unflatten(
                -1, (self.patch, FEATURES)
            )
            for logits in (said.right, said.down)
        )
        position = self.across(across).unsqueeze(2) + self.along(along).unsqueeze(3)
        seen = self.surface(torch.cat([pixels, guess], 1).contiguous(memory_format=torch.channels_last))
        hidden = position.flatten(2, 3) + in_patches(seen, self.patch) + self.place(self._places(tokens))
        # not hidden * (1 + gain) + shift: see src/algorithms/compiling.py
        hidden = F.silu(torch.addcmul(hidden + shift, hidden, gain))
        hidden = self.mix(hidden)
        hidden = F.silu(torch.addcmul(hidden + second_shift, hidden, second_gain))
        hidden = F.silu(self.refine(hidden)) + hidden
        painted = from_patches(self.paint_head(hidden).float(), pixels.shape[-2:])
        colour, opacity, filled = painted[:, :3], painted[:, 3:4], painted[:, 4:].sigmoid()
        around = surroundings(pixels.float(), opacity.detach().sigmoid(), self.patch / 4)
        return colour + filled * around, opacity

    def _places(self, tokens: Tensor) -> Float[Tensor, "q 2"]:
        """Horizontal and vertical place of every pixel in its patch, from -1 to 1."""
        steps = (
            torch.arange(self.patch, device=tokens.device, dtype=tokens.dtype) + 0.5
        ) * 2 / self.patch - 1
        down, right = torch.meshgrid(steps, steps, indexing="ij")
        return torch.stack([right, down], -1).flatten(0, 1)


@final
class TinyTransformer(SupervisedBackbone):
    """Joint attention over patches and words; convolutions and a painter draw the change.

    A latent is the change relative to the original, folded into channels. The network's output is the latent
    x_0 as far as it is known without x_t, so it goes with a process that predicts "sample" or "posterior".

    Args:
        tokenizer: words -> ids.
        attributes: number of values of each attribute of an object; the last is one that only matters where
            an object is drawn (its radius).
        width: of the tokens.
        heads, depth: attention heads, and joint blocks.
        text_depth: blocks over the words of each text alone, in front.
        longest: most tokens of a text.
        channels: of the convolutions on the latent grid.
        hidden: channels per pixel in the painter.
        fold: pixels per latent cell along each side; a patch has two cells along each side.
        reach: largest distance between the centres of a patch and of the object that it shows, in pixels.
        seen_after: the joint block after which tokens say what stands in the original.
        deviation: whether the output has one more channel, for the process's prediction "posterior": the
            logarithm of how far x_0 may lie from the rest of the output, in deviations of clean latents.
    """

    is_lossless = True

    def __init__(
        self,
        tokenizer: WordTokenizer,
        attributes: Mapping[str, int],
        width: int = 128,
        heads: int = 4,
        depth: int = 5,
        text_depth: int = 1,
        longest: int = 64,
        channels: int = 64,
        hidden: int = 96,
        fold: int = 2,
        reach: int = 7,
        seen_after: int = 2,
        deviation: bool = False,
    ) -> None:
        super().__init__()
        if not 1 <= seen_after <= depth:
            raise ValueError(f"seen_after={seen_after} is none of the {depth} blocks")
        self.tokenizer, self.longest = tokenizer, longest
        self.fold, self.seen_after, self.deviation = fold, seen_after, deviation
        self._attributes, self._reach = dict(attributes), reach
        latent, said = 3 * fold**2, sum(attributes.values())
        self.word_embedding = nn.Embedding(len(tokenizer), width)
        nn.init.normal_(self.word_embedding.weight, std=0.5)
        self.order_embedding = nn.Parameter(0.1 * torch.randn(longest, width))
        self.text_blocks = nn.ModuleList(JointBlock(width, heads) for _ in range(text_depth))
        self.frequencies = Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0.0)
        self.time_embedding = TimestepEmbedding(width, width)

        self.conv_in = nn.Conv2d(2 * latent + 2, channels, 3, padding=1)
        self.stem_norm, self.stem_conv = (
            nn.GroupNorm(8, channels),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.patch_conv = nn.Conv2d(channels, width, 4, stride=2, padding=1)
        self.patch_norm, self.token_conv = nn.GroupNorm(8, width), nn.Conv2d(width, width, 3, padding=1)
        self.place_embedding = nn.Linear(4 * PLACE_WAVES, width)
        self.blocks = nn.ModuleList(JointBlock(width, heads) for _ in range(depth))

        self.before_norm, self.out_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.before_head = nn.Linear(width, said - list(attributes.values())[-1])
        self.after_head = nn.Linear(width, said + 1 + 2 * (2 * reach + 1))
        self.said = [said, 1, 2 * reach + 1, 2 * reach + 1]
        self.painter = Painter(width, attributes, 2 * fold, reach, hidden)

        self.unfold = nn.Linear(width, 4 * channels)
        self.modulation = nn.Linear(width, 2 * channels)
        self.join_conv = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.join_norm, self.draw_conv = (
            nn.GroupNorm(8, channels),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.conv_out = nn.Conv2d(channels, latent + 9 + int(deviation), 3, padding=1)
        for layer in (self.modulation, self.conv_out):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        # the memory order in which convolutions are fastest, above all on CPUs
        nn.utils.convert_conv2d_weight_memory_format(self, torch.channels_last)
        self.integration: list[Integration] = []  # a list, so that its weights keep the editor's names

    @property
    def text_width(self) -> int:
        return self.word_embedding.embedding_dim

    @property
    def site_widths(self) -> dict[str, int]:
        width = self.text_width
        return {"time_embedding": width, "stem": width} | {
            f"block.{i}": width for i in range(len(self.blocks))
        }

    @property
    def attributes(self) -> Mapping[str, int]:
        return self._attributes

    @property
    def patch(self) -> int:
        return 2 * self.fold

    @property
    def reach(self) -> int:
        return self._reach

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        if height % self.patch or width % self.patch:
            raise ValueError(
                f"this editor's latent holds images whose sides are multiples of {self.patch}, got "
                f"{height}x{width}"
            )
        return 3 * self.fold**2, height // self.fold, width // self.fold

    def attach(self, integration: Integration) -> None:
        if integration.touches_skips:
            raise ValueError("a transformer has no skip connections: set skips=false")
        self.integration.append(integration)

    def encode_image(self, original: Float[Tensor, "b 3 H W"]) -> Latent:
        return F.pixel_unshuffle(original, self.fold)

    def encode_edited(
        self, edited: Float[Tensor, "b 3 H W"], original_latent: Latent, noise: Latent
    ) -> Latent:
        return F.pixel_unshuffle(edited, self.fold) - original_latent

    def decode(self, latent: Latent, original_latent: Latent) -> Float[Tensor, "b 3 H W"]:
        return clamp_visibly(F.pixel_shuffle(latent + original_latent, self.fold), -1.0, 1.0)

    def encode_text(self, texts: Sequence[str]) -> TextTokens:
        def encode(ids: Int[Tensor, "m l"], mask: Bool[Tensor, "m l"]) -> Float[Tensor, "m l d"]:
            tokens = self.word_embedding(ids) + self.order_embedding[: ids.shape[1]]
            for block in self.text_blocks:
                tokens = block(tokens, attention_mask(mask))
            return tokens

        device = self.word_embedding.weight.device
        texts_once = encode_once(self.tokenizer, texts, self.longest, device, encode)
        return texts_once.padded_to_multiple(FEW_LENGTHS)

    def learn_texts(self, texts: Sequence[str]) -> None:
        pass  # it knows the words of its vocabulary

    def check_texts(self, texts: Sequence[str]) -> None:
        self.tokenizer(texts, self.longest)

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

    def denoise(
        self, x_t: Latent, network_time: Shaped[Tensor, " b"], condition: Condition
    ) -> Float[Tensor, "b d h w"]:
        check_reward(bool(self.integration), condition.reward)
        original, text, reward = condition.original_latent, condition.instruction, condition.reward
        time = self.time_embedding(self.frequencies(network_time).to(self.conv_in.weight.dtype))
        time = self._integrated("time_embedding", time, reward)
        stem = self._stem(x_t, original)
        hidden = self.patch_conv(F.silu(stem))
        hidden = hidden + self.token_conv(F.silu(self.patch_norm(hidden)))
        rows, columns = hidden.shape[-2:]
        places = self.place_embedding(place_waves(rows, columns, hidden))
        hidden = hidden + places.T.unflatten(-1, (rows, columns)) + time[:, :, None, None]
        hidden = self._integrated("stem", hidden, reward)

        count = rows * columns
        patches = text.mask.new_ones(len(text.mask), count)
        mask = attention_mask(torch.cat([patches, text.mask], 1))
        tokens = torch.cat([hidden.flatten(2).transpose(1, 2), text.tokens.to(hidden.dtype)], 1)
        seen = start = tokens
        for index, block in enumerate(self.blocks):
            tokens = self._integrated_tokens(f"block.{index}", block(tokens, mask), (rows, columns), reward)
            if index + 1 == self.seen_after:
                seen = tokens[:, :count]
            if index + 1 == (len(self.blocks) + 1) // 2:
                start = tokens[:, count]
        tokens = self.out_norm(tokens[:, :count])
        said = self.say(seen, tokens)
        change = self._draw(stem, tokens, original, (rows, columns))
        pixels, guess = (F.pixel_shuffle(latent, self.fold) for latent in (original, x_t))
        painted, opacity = self.painter(tokens, said, pixels, guess)
        if self.keeps_readout:
            self.readout = Readout(said, tokens, start, opacity)
        painted = F.pixel_unshuffle(opacity.sigmoid() * (painted - pixels), self.fold)
        return torch.cat([change[:, : painted.shape[1]] + painted, change[:, painted.shape[1] :]], 1)

    def say(self, seen: Float[Tensor, "b n d"], tokens: Float[Tensor, "b n d"]) -> SpokenAttributes:
        """What the tokens after `seen_after` blocks and after all say of their patches."""
        return SpokenAttributes(
            self.before_head(self.before_norm(seen)), *self.after_head(tokens).split(self.said, -1)
        )

    def _stem(self, x_t: Latent, original: Latent) -> Float[Tensor, "b s h w"]:
        inputs = torch.cat([x_t, original, coordinate_channels(x_t)], 1)
        hidden = self.conv_in(inputs.contiguous(memory_format=torch.channels_last))
        return hidden + self.stem_conv(F.silu(self.stem_norm(hidden)))

    def _draw(
        self, stem: Tensor, tokens: Float[Tensor, "b n d"], original: Latent, grid: tuple[int, int]
    ) -> Float[Tensor, "b o h w"]:
        """The convolutions' change b + A original, and the deviation channel if there is one. In float32."""
        unfolded, modulation = (
            layer(tokens).transpose(1, 2).unflatten(-1, grid) for layer in (self.unfold, self.modulation)
        )
        joined = torch.cat([stem, F.pixel_shuffle(unfolded, 2)], 1)
        hidden = self.join_conv(joined.contiguous(memory_format=torch.channels_last))
        gain, shift = modulation.repeat_interleave(2, 2).repeat_interleave(2, 3).chunk(2, 1)
        hidden = self.join_norm(hidden)
        hidden = F.silu(torch.addcmul(hidden + shift, hidden, gain))
        output = self.conv_out(F.silu(self.draw_conv(hidden) + hidden)).float()
        drawn, matrix, deviation = output.split([original.shape[1], 9, int(self.deviation)], 1)
        return torch.cat([drawn + recoloured(matrix, original.float()), deviation], 1)

    def _integrated(self, site: str, hidden: Tensor, reward: RewardTokens | None) -> Tensor:
        for integration in self.integration:
            if reward is not None and site in integration.sites:
                hidden = integration.apply_at(site, hidden, reward)
        return hidden

    def _integrated_tokens(
        self, site: str, tokens: Tensor, grid: tuple[int, int], reward: RewardTokens | None
    ) -> Tensor:
        if not any(site in integration.sites for integration in self.integration):
            return tokens
        count = grid[0] * grid[1]
        hidden = tokens[:, :count].transpose(1, 2).unflatten(-1, grid)
        hidden = self._integrated(site, hidden, reward)
        return torch.cat([hidden.flatten(2).transpose(1, 2), tokens[:, count:]], 1)


def place_waves(rows: int, columns: int, like: Tensor) -> Float[Tensor, "n w"]:
    """Cosines and sines of every patch's place in an image, row by row; half periods of 1/8 to 1 image."""
    down, right = torch.meshgrid(
        *(
            (torch.arange(size, device=like.device, dtype=torch.float32) + 0.5) / size
            for size in (rows, columns)
        ),
        indexing="ij",
    )
    waves = math.pi * torch.arange(1, PLACE_WAVES + 1, device=like.device)
    angles = torch.cat([down.flatten()[:, None] * waves, right.flatten()[:, None] * waves], 1)
    return torch.cat([angles.cos(), angles.sin()], 1).to(like.dtype)


def position_features(patch: int, reach: int) -> Float[Tensor, "o f"]:
    """For every distance of an object's centre from the patch's (-reach to reach pixels), the features of the
    patch's pixels along one side: sine, cosine, line and parabola of the pixel's distance from the centre.
    """
    pixels = torch.arange(patch) + 0.5 - patch / 2
    distance = (pixels[None] - torch.arange(-reach, reach + 1)[:, None]) * 4.0 / patch
    angles = distance.unsqueeze(-1) * (2 * math.pi / torch.tensor(PERIODS))
    line = distance.unsqueeze(-1) / 6.0
    return torch.cat([angles.sin(), angles.cos(), line, line.square()], -1).flatten(1)


def attention_mask(mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b 1 1 n"]:
    """0 where a token may be attended to, else so low that its weight is 0."""
    return torch.zeros_like(mask, dtype=torch.float32).masked_fill(~mask, -1e4)[:, None, None]


def in_patches(image: Float[Tensor, "b c H W"], patch: int) -> Float[Tensor, "b n q c"]:
    """An image cut into patches, row by row, each with its pixels, row by row."""
    batch, channels, height, width = image.shape
    cut = image.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch**2, channels)


def from_patches(patches: Float[Tensor, "b n q c"], size: Sequence[int]) -> Float[Tensor, "b c H W"]:
    """The inverse of `in_patches`."""
    batch, _, pixels, channels = patches.shape
    patch = math.isqrt(pixels)
    cut = patches.reshape(batch, size[0] // patch, size[1] // patch, patch, patch, channels)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, *size)


def recoloured(matrix: Float[Tensor, "b 9 h w"], original: Latent) -> Latent:
    """A original: a 3 x 3 colour matrix per cell, the same for all pixels that the cell holds."""
    pixels = original.unflatten(1, (3, -1))  # colour, pixel of the cell
    return (matrix.unflatten(1, (3, 3)).unsqueeze(3) * pixels.unsqueeze(1)).sum(2).flatten(1, 2)


def surroundings(
    image: Float[Tensor, "b 3 H W"], hole: Float[Tensor, "b 1 H W"], scale: float = 1.0
) -> Float[Tensor, "b 3 H W"]:
    """The image around a hole, drawn into it: a normalised convolution with a narrow and, where that finds
    nothing, a wide Gaussian.

    Args:
        image: in [-1, 1].
        hole: 1 where nothing of the image is to be used.
        scale: of both Gaussians.
    """
    used = 1.0 - (1.3 * hole - 0.05).clamp(0.0, 1.0)
    known = torch.cat([image * used, used], 1)
    near, far = (blurred(known, deviation * scale) for deviation in (NEAR, FAR))
    total = near + 0.003 * far
    return total[:, :3] / (total[:, 3:] + 1e-4)


def blurred(image: Float[Tensor, "b c H W"], deviation: float) -> Float[Tensor, "b c H W"]:
    """Sums over the image with the weights exp(-distance^2 / (2 deviation^2))."""
    down, right = (
        torch.exp(-(steps[:, None] - steps[None]).square() / (2 * deviation**2))
        for steps in (torch.arange(size, device=image.device, dtype=image.dtype) for size in image.shape[-2:])
    )
    return down @ image @ right
