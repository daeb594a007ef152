"""A word-level tokenizer for a small closed language. Unknown words are refused by name."""

from collections.abc import Callable, Sequence
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

from src.batch import TextTokens

PAD, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unknown>"


@final
class WordTokenizer:
    """Texts -> padded ids (n, l) with start and end tokens.

    Args:
        vocabulary: every word of the language; punctuation marks are separate words.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        words = [PAD, START, END, UNKNOWN, *dict.fromkeys((*vocabulary, ";"))]
        self.tokenizer = Tokenizer(
            models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=UNKNOWN)
        )
        self.tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        self.tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{START} $A {END}", special_tokens=[(START, 1), (END, 2)]
        )
        self.tokenizer.enable_padding(pad_id=0, pad_token=PAD)

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size()

    @property
    def words(self) -> list[str]:
        """All words of the language in alphabetical order, without punctuation."""
        return sorted(word for word in self.tokenizer.get_vocab() if word.isalnum())

    @property
    def encoder_settings(self) -> dict[str, int]:
        """What a text encoder's config must say: the special token ids."""
        return {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

    def __call__(self, texts: Sequence[str], longest: int) -> tuple[Int[Tensor, "n l"], Bool[Tensor, "n l"]]:
        """Ids and mask, padded to the longest text.

        Raises:
            ValueError: a word outside the vocabulary, or a text of more than `longest` tokens; texts are
                never truncated silently.
        """
        encodings = self.tokenizer.encode_batch(list(texts))
        for text, encoding in zip(texts, encodings, strict=True):
            if UNKNOWN in encoding.tokens:
                start, end = encoding.offsets[encoding.tokens.index(UNKNOWN)]
                raise ValueError(
                    f"the word {text[start:end]!r} in {text[:80]!r} is not in this editor's vocabulary of "
                    f"{len(self)} words, those of the synthetic world; an editor of any words is trained on "
                    "your rows, by model/backbone=tiny or with weights (+experiment=inspix2pix)"
                )
            check_length(sum(encoding.attention_mask), longest, text)
        return torch.tensor([e.ids for e in encodings]), torch.tensor(
            [e.attention_mask for e in encodings], dtype=torch.bool
        )


def check_length(tokens: int, longest: int, text: str) -> None:
    """Raise ValueError for a text that a text encoder has no room for; none is truncated silently."""
    if tokens > longest:
        raise ValueError(
            f"a text of {tokens} tokens doesn't fit the text encoder's {longest}: {text[:80]!r}; shorten it"
        )


def encode_once(
    tokenizer: Callable[[Sequence[str], int], tuple[Int[Tensor, "m l"], Bool[Tensor, "m l"]]],
    texts: Sequence[str],
    longest: int,
    device: torch.device,
    encode: Callable[[Int[Tensor, "m l"], Bool[Tensor, "m l"]], Float[Tensor, "m l d"]],
) -> TextTokens:
    """Encode every distinct text once ("None; None; None" is most of all feedback); on `device`.

    Raises:
        ValueError: as the tokenizer.
    """
    distinct = list(dict.fromkeys(texts))
    row = {text: index for index, text in enumerate(distinct)}
    ids, mask = (each.to(device) for each in tokenizer(distinct, longest))
    tokens = encode(ids, mask)
    rows = torch.tensor([row[text] for text in texts], device=device)
    return TextTokens(tokens[rows], mask[rows])
