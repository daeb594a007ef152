"""A small reward model for laptops and tests, trained from scratch: convolutions over original, edit and
their difference, told by the words of the instruction what to look for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, final

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from src.backbones.byte_pairs import BytePairs
from src.backbones.word_tokenizer import WordTokenizer
from src.batch import ModelInputs
from src.records import Image, Triplet
from src.reward_models.reward_model import Estimates, RewardModel, bounded

LONGEST = 512
"""Tokens in an instruction."""


@final
@dataclass(frozen=True, eq=False)
class TinyInputs:
    """What `TinyScorer` sees of n edits.

    Attributes:
        pictures: original and edit, 0..255.
        tokens, mask: of the instructions.
    """

    pictures: UInt8[Tensor, "n 6 h w"]
    tokens: Int[Tensor, "n l"]
    mask: Bool[Tensor, "n l"]

    def __len__(self) -> int:
        return len(self.pictures)

    def to(self, device: torch.device) -> "TinyInputs":
        """The same on another device."""
        return TinyInputs(self.pictures.to(device), self.tokens.to(device), self.mask.to(device))


@final
class TinyScorer(RewardModel):
    """Six convolutions, each of whose outputs the instruction scales and shifts (FiLM, Perez et al. 2018),
    mean and maximum over the picture, and a perceptron.

    Args:
        tokenizer: texts -> ids.
        width: channels of the first convolutions; later ones have two and four times as many.
        picture_size: height and width of what it sees, multiples of 8; other pictures are resized.
        deviation: whether it says how sure it is.

    Raises:
        ValueError: a size that isn't a multiple of 8.
    """

    def __init__(
        self,
        tokenizer: WordTokenizer | BytePairs,
        width: int = 32,
        picture_size: Sequence[int] = (32, 32),
        deviation: bool = True,
    ) -> None:
        super().__init__()
        if len(picture_size) != 2 or any(side < 8 or side % 8 for side in picture_size):
            raise ValueError(
                f"reward_model.picture_size={list(picture_size)}: height and width, multiples of 8, are "
                "needed"
            )
        self.tokenizer, self.size, self.deviation = tokenizer, tuple(picture_size), deviation
        self.words = nn.Embedding(len(tokenizer), 2 * width)
        self.reader = nn.GRU(2 * width, 2 * width, batch_first=True, bidirectional=True)
        self.layers = nn.ModuleList(
            ToldConvolution(*shape, 4 * width)
            for shape in (
                (11, width, 4, 2),
                (width, width, 3, 1),
                (width, 2 * width, 3, 2),
                (2 * width, 2 * width, 3, 1),
                (2 * width, 4 * width, 3, 2),
                (4 * width, 4 * width, 3, 1),
            )
        )
        self.said = nn.Sequential(nn.Linear(12 * width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 6))

    @property
    def has_deviation(self) -> bool:
        return self.deviation

    @property
    def at_once(self) -> int:
        return 64

    def learn_texts(self, texts: Sequence[str]) -> None:
        """Let the tokenizer learn from the instructions of a training, if it learns at all."""
        if isinstance(self.tokenizer, BytePairs):
            self.tokenizer.learn(texts)

    def prepare(self, triplets: Sequence[Triplet]) -> TinyInputs:
        pictures = [
            np.concatenate((self._seen(each.case.original), self._seen(each.edited)), -1) for each in triplets
        ]
        tokens, mask = self.tokenizer([each.case.instruction for each in triplets], LONGEST)
        return TinyInputs(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), tokens, mask)

    def _seen(self, picture: Image) -> Image:
        height, width = self.size
        if picture.shape[:2] == (height, width):
            return picture
        resized = PIL.Image.fromarray(picture).resize((width, height), PIL.Image.Resampling.BICUBIC)
        return np.asarray(resized)

    def forward(self, inputs: ModelInputs) -> Estimates:
        seen = cast(TinyInputs, inputs)
        before, after = (seen.pictures.float() / 127.5 - 1.0).chunk(2, 1)
        told = self._told(seen)
        features = torch.cat((before, after, after - before, places_like(before)), 1)
        for layer in self.layers:
            features = layer(features, told)
        pooled = torch.cat((features.mean((2, 3)), features.amax((2, 3)), told), 1)
        mean, log_deviation = self.said(pooled).float().chunk(2, 1)
        return Estimates(mean, bounded(log_deviation) if self.deviation else None)

    def _told(self, seen: TinyInputs) -> Float[Tensor, "n d"]:
        """The instruction as one vector; what pads it to the longest of a batch is not read."""
        lengths = seen.mask.sum(1).cpu()
        packed = pack_padded_sequence(
            self.words(seen.tokens), lengths, batch_first=True, enforce_sorted=False
        )
        _, ends = self.reader(packed)
        return torch.cat((ends[0], ends[1]), 1)


@final
class ToldConvolution(nn.Module):
    """A convolution whose output a text scales and shifts. Nothing normalises it: how strong the noise or
    blur of a picture is would be lost.

    Args:
        inputs, outputs, kernel, stride: of the convolution.
        text: width of the text's vector.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, text: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, 1)
        self.film = nn.Linear(text, 2 * outputs)

    def forward(self, features: Float[Tensor, "n c h w"], told: Float[Tensor, "n d"]) -> Tensor:
        """The features of the next layer."""
        scale, shift = self.film(told)[..., None, None].chunk(2, 1)
        return F.silu(self.convolution(features) * (1.0 + scale) + shift)


def places_like(pictures: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 2 h w"]:
    """Each pixel's place, right and down, in [-1, 1]: an instruction may say "at the top left"."""
    height, width = pictures.shape[-2:]
    down = torch.linspace(-1.0, 1.0, height, device=pictures.device, dtype=pictures.dtype)
    right = torch.linspace(-1.0, 1.0, width, device=pictures.device, dtype=pictures.dtype)
    grid = torch.stack((right.expand(height, width), down[:, None].expand(height, width)))
    return grid.expand(len(pictures), 2, height, width)
