"""The prompt around an image and an instruction, and its tokens: Vicuna's format, a fixed answer, image
tokens at its end.

    [start] before <im_start> (image) <im_end> between INSTRUCTION after answer <img_0> ... <img_31>

Every piece of text is tokenised separately, as tokenizers do between special tokens. SmartEdit's release
samples the wording of question and answer from a list, generates the answer and relies on it to end in the
image tokens. Here the answer is given, so that one forward pass suffices and the same image and instruction
always give the same edit.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerBase

from src.backbones.word_tokenizer import WordTokenizer

IMAGE, IMAGE_START, IMAGE_END = "<img>", "<im_start>", "<im_end>"
MARKERS = (IMAGE, IMAGE_START, IMAGE_END)
"""The new tokens before <img_0>, in the order of the release."""

Tokenizer = PreTrainedTokenizerBase | WordTokenizer
"""The two kinds of tokenizers that `token_ids` and `start_id` support."""

UNLIMITED = 10**9


@final
@dataclass(frozen=True)
class Conversation:
    """The texts of a conversation; they may refer to the image tokens as <img>.

    Attributes:
        before: text before the image; ends in the user's name.
        between: text between image and instruction.
        after: the assistant's name.
        answer: the assistant's text before the image tokens.
        max_length: maximum number of tokens of the whole, including instruction and image tokens but not the
            image's patches; 256 in the release.

    Raises:
        ValueError: a line break, which Vicuna's format doesn't allow.
    """

    before: str = (
        "A user shows a picture to an assistant and says what should be changed in it. The assistant looks "
        "at the picture, thinks about what is "
        "meant, and answers with the edited picture, written in image tokens <img>. USER:"
    )
    between: str = ""
    after: str = "ASSISTANT:"
    answer: str = "This is the edited picture:"
    max_length: int = 256

    def __post_init__(self) -> None:
        for name in ("before", "between", "after", "answer"):
            if len(getattr(self, name).splitlines()) > 1 or getattr(self, name).endswith("\n"):
                raise ValueError(
                    f"conversation.{name} has a line break; write it in one line: {getattr(self, name)!r}"
                )

    def words(self) -> tuple[str, ...]:
        """Its words and punctuation marks, split as by a WordTokenizer."""
        text = " ".join((self.before, self.between, self.after, self.answer)).replace(IMAGE, " ")
        return tuple(dict.fromkeys(word for word, _ in Whitespace().pre_tokenize_str(text)))


@final
class PromptTemplate:
    """A conversation in token ids. Ids of new tokens follow those of the language model: <img>, <im_start>,
    <im_end>, <img_0>, <img_1> ...

    Args:
        conversation: the words.
        tokenizer: text -> ids.
        rows: number of rows of the language model's embedding.
        image_tokens: number of image tokens that end the answer.

    Attributes:
        head: ids up to and including <im_start>.
        answer: ids of the answer and its image tokens, with which every sequence ends.
        room: maximum number of tokens of an instruction.

    Raises:
        ValueError: a tokenizer of another model, or a conversation that leaves no room for an instruction.
    """

    def __init__(
        self, conversation: Conversation, tokenizer: Tokenizer, rows: int, image_tokens: int
    ) -> None:
        if len(tokenizer) > rows:
            raise ValueError(
                f"wrong vocabulary size: the tokenizer has {len(tokenizer)} tokens and the language model "
                f"has rows for {rows}; take both from the "
                f"same model, and don't add the {image_tokens + len(MARKERS)} new tokens to either: "
                "SmartEdit keeps their rows itself"
            )
        self.conversation, self.tokenizer, self.rows = conversation, tokenizer, rows
        images = [rows + len(MARKERS) + index for index in range(image_tokens)]
        self.head = (start_id(tokenizer), *self._ids(conversation.before), self._marker(IMAGE_START))
        self.behind = (self._marker(IMAGE_END), *self._ids(conversation.between))
        self.answer = (*self._ids(conversation.answer), *images)
        self.turn = self._ids(conversation.after)
        self.end = end_ids(tokenizer)
        self.room = (
            conversation.max_length - len(self.head) - len(self.behind) - len(self.turn) - len(self.answer)
        )
        if self.room < 1:
            raise ValueError(
                "the conversation leaves no room for an instruction: it has "
                f"{conversation.max_length - self.room} tokens, image tokens included, "
                f"of conversation.max_length={conversation.max_length}; shorten its text or raise max_length"
            )

    def tail_ids(self, instruction: str) -> list[int]:
        """Ids from <im_end> to the last image token. Line breaks and repeated spaces become one space; longer
        instructions are truncated with a warning.

        Raises:
            ValueError: a word that a WordTokenizer doesn't know.
        """
        ids = token_ids(self.tokenizer, " ".join(instruction.split()))
        if len(ids) > self.room:
            warnings.warn(f"cut after {self.room} of {len(ids)} tokens: {instruction[:60]!r}", stacklevel=2)
        return [*self.behind, *ids[: self.room], *self.turn, *self.answer]

    def chat_ids(self, question: str, answer: str) -> tuple[list[int], int]:
        """Ids from <im_end> to the end of a chat sample's answer, which has no image tokens, and the number
        of ids of the answer.

        Spaces and long texts are treated as in `tail_ids`; the question may take half of the room.

        Raises:
            ValueError: a word that a WordTokenizer doesn't know.
        """
        room = self.conversation.max_length - len(self.head) - len(self.behind) - len(self.turn)
        asked, said = (token_ids(self.tokenizer, " ".join(text.split())) for text in (question, answer))
        said = [*said, *self.end]
        if len(asked) > room // 2 or len(asked) + len(said) > room:
            warnings.warn(
                f"question and answer of {len(asked)} and {len(said)} tokens are cut to {room}: "
                f"{question[:60]!r}",
                stacklevel=2,
            )
        asked = asked[: room // 2]
        said = said[: room - len(asked)]
        return [*self.behind, *asked, *self.turn, *said], len(said)

    def _marker(self, name: str) -> int:
        return self.rows + MARKERS.index(name)

    def _ids(self, text: str) -> list[int]:
        """Ids of a piece of the conversation, in which <img> is a separate token."""
        ids: list[int] = []
        for index, piece in enumerate(text.split(IMAGE)):
            ids += [self._marker(IMAGE)] if index else []
            written = token_ids(self.tokenizer, piece.strip())
            unknown = not isinstance(self.tokenizer, WordTokenizer) and self.tokenizer.unk_token_id in written
            if unknown or (
                piece.strip() and not written
            ):  # transformers returns an empty tokenizer if it finds none
                raise ValueError(
                    f"the tokenizer of {len(self.tokenizer)} tokens can't write {piece.strip()!r}; take "
                    "tokenizer and model from the same place"
                )
            ids += written
        return ids


def token_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of a text without start and end. Special tokens in it ("</s>") are treated as plain text.

    Raises:
        ValueError: a word that a WordTokenizer doesn't know.
    """
    if isinstance(tokenizer, WordTokenizer):
        (ids,), _ = tokenizer([text], longest=UNLIMITED)
        return ids[1:-1].tolist()
    words: Any = tokenizer
    return words(text, add_special_tokens=False, split_special_tokens=True).input_ids


def start_id(tokenizer: Tokenizer) -> int:
    """The id that begins a sequence. Raises ValueError if the tokenizer has none."""
    start = (
        tokenizer.encoder_settings["bos_token_id"]
        if isinstance(tokenizer, WordTokenizer)
        else tokenizer.bos_token_id
    )
    if not isinstance(start, int):
        raise ValueError("the tokenizer has no token that begins a sequence (bos_token); take one of a LLaMA")
    return start


def end_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The id that ends a sequence; none if the tokenizer has none."""
    end = (
        tokenizer.encoder_settings["eos_token_id"]
        if isinstance(tokenizer, WordTokenizer)
        else tokenizer.eos_token_id
    )
    return (end,) if isinstance(end, int) else ()


def word_tokenizer(vocabulary: Sequence[str], conversation: Conversation) -> WordTokenizer:
    """A tokenizer for a small closed language and the conversation around it."""
    return WordTokenizer((*vocabulary, *conversation.words()))
