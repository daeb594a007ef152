"""A tokenizer for any words and scripts, learnt from the texts of one's own rows: byte pairs (Sennrich et al.
2016, on bytes as in GPT-2), by the library `tokenizers`.

What was learnt is kept with the editor's weights, so that a checkpoint, an export, or a training that starts
from one reads texts as the editor learnt to.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import final

import torch
from jaxtyping import Bool, Int
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn

from src.backbones.word_tokenizer import WordTokenizer, check_length

PAD, START, END = range(3)
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
"""A letter for each of the 256 bytes, as the library writes them."""

FIRST = 3
"""Id of the first byte, after those of PAD, START and END."""

FREE = -1
"""In place of a pair that was not learnt."""

Pair = tuple[int, int]


@final
class BytePairs(nn.Module):
    """Texts -> padded ids (n, l) with start and end tokens. Capitals don't matter, as in CLIP.

    A text that resembles none of those that were learnt from is spelled in bytes. Until `learn`, all are.

    Args:
        count: largest number of pairs; 0 for bytes alone.
        longest: tokens in a text; the text encoder has as many positions.
    """

    def __init__(self, count: int = 1000, longest: int = 512) -> None:
        super().__init__()
        self.longest = longest
        self.pairs: Int[Tensor, "count 2"]
        self.register_buffer("pairs", torch.full((count, 2), FREE, dtype=torch.int32))
        self._built: tuple[list[Pair], Tokenizer] | None = None

    def __len__(self) -> int:
        return FIRST + len(BYTES) + len(self.pairs)

    @property
    def encoder_settings(self) -> dict[str, int]:
        """What a text encoder's config must say: the special token ids, and the number of positions."""
        return {
            "pad_token_id": PAD,
            "bos_token_id": START,
            "eos_token_id": END,
            "max_position_embeddings": self.longest,
        }

    def learn(self, texts: Iterable[str]) -> None:
        """Learn the pairs that are most frequent in the texts; the same texts give the same pairs."""
        pairs = learn_pairs(texts, len(self.pairs))
        self.pairs.fill_(FREE)
        self.pairs[: len(pairs)] = torch.tensor(pairs, dtype=self.pairs.dtype).view(-1, 2)

    def forward(self, texts: Sequence[str], longest: int) -> tuple[Int[Tensor, "n l"], Bool[Tensor, "n l"]]:
        """Ids and mask, padded to the longest text.

        Raises:
            ValueError: a text of more than `longest` tokens, or pairs that are none.
        """
        encodings = [[START, *encoding.ids, END] for encoding in self._tokenizer().encode_batch(list(texts))]
        for text, ids in zip(texts, encodings, strict=True):
            check_length(len(ids), longest, text)
        width = max(map(len, encodings), default=0)
        ids = torch.tensor([[*each, *[PAD] * (width - len(each))] for each in encodings])
        return ids, ids != PAD

    def _pairs(self) -> list[Pair]:
        return list(takewhile(lambda pair: pair[0] != FREE, map(tuple, self.pairs.tolist())))

    def _tokenizer(self) -> Tokenizer:
        """The tokenizer of the pairs, which loading weights may have replaced."""
        pairs = self._pairs()
        if self._built is None or self._built[0] != pairs:
            self._built = (pairs, tokenizer_of(pairs))
        return self._built[1]


def tokenizer_for(
    vocabulary: Sequence[str] | None = None, count: int = 1000, longest: int = 512
) -> WordTokenizer | BytePairs:
    """A tokenizer of the words of a closed language; without a vocabulary, of any words.

    Args:
        vocabulary: all words; None for any.
        count, longest: see `BytePairs`.
    """
    return BytePairs(count, longest) if vocabulary is None else WordTokenizer(vocabulary)


def learn_pairs(texts: Iterable[str], count: int) -> list[Pair]:
    """The `count` most frequent pairs of tokens at most, in the order in which they are joined."""
    tokenizer = _untrained()
    trainer = trainers.BpeTrainer(
        vocab_size=len(BYTES) + count, min_frequency=2, initial_alphabet=BYTES, show_progress=False
    )
    tokenizer.train_from_iterator(sorted(texts), trainer)
    ids = {token: FIRST + number for number, token in enumerate(BYTES)}
    pairs: list[Pair] = []
    for first, second in json.loads(tokenizer.to_str())["model"]["merges"][:count]:
        pairs.append((ids[first], ids[second]))
        ids.setdefault(first + second, FIRST + len(ids))
    return pairs


def tokenizer_of(pairs: Sequence[Pair]) -> Tokenizer:
    """The tokenizer that joins these pairs.

    Raises:
        ValueError: a pair of tokens that no earlier pair makes.
    """
    tokens = dict(enumerate(BYTES, start=FIRST))
    ids = {token: id for id, token in tokens.items()}
    merges: list[tuple[str, str]] = []
    for pair in pairs:
        if not all(id in tokens for id in pair):
            raise ValueError(
                f"the byte pairs of this editor are damaged ({pair[0]} and {pair[1]} make none): copy its "
                "weights again"
            )
        first, second = (tokens[id] for id in pair)
        merges.append((first, second))
        id = ids.setdefault(first + second, FIRST + len(ids))
        tokens[id] = first + second
    return _untrained(models.BPE(vocab=ids, merges=merges))


def _untrained(model: models.BPE | None = None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE() if model is None else model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    # a word is the same at the beginning of a text
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer
