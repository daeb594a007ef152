"""What a vision-language model is asked about an edit, and what it answers: Question, AnswerSchema, Reply,
Answer. Nothing here knows a server or a model.

A rubric (rubric.py) turns a triplet into questions. A client (openai_chat.py, local_vlm.py) answers one at a
time with a raw reply. parsing.py reads the reply by the question's schema, and the rubric turns the answers
into a Reward.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable

from src.records import MAX_SCORE


@final
@dataclass(frozen=True)
class ImagePart:
    """An image as it is sent: an encoded file in memory.

    Attributes:
        content: the file.
        media_type: "image/png", "image/jpeg" or "image/webp".
        height, width: in pixels.
    """

    content: bytes = field(repr=False)
    media_type: str
    height: int
    width: int

    def digest(self) -> str:
        """sha256 of the file."""
        return hashlib.sha256(self.content).hexdigest()


@final
@dataclass(frozen=True)
class AnswerSchema:
    """The fields of an answer, in the order in which the model writes them: words first, because a judge that
    explains first scores better.

    Attributes:
        text: name of the field with words.
        score: name of the field with the score, or with a list of `count` scores.
        success: name of the yes/no field, or None.
        count: number of scores.
        max_score: scores lie in [0, max_score].
        nothing: the words that mean "nothing failed"; with them, and only with them, the text may be left
            empty. None: the text may always be empty.
        free: the answer is words in a form that the prompt gives, so that no server is asked for JSON.
    """

    text: str = "feedback"
    score: str = "score"
    success: str | None = None
    count: int = 1
    max_score: float | int = MAX_SCORE
    nothing: str | None = "None"
    free: bool = False

    @property
    def score_is_enough(self) -> bool:
        """Whether a reply that is only a score, or only the list of scores, is a full answer."""
        return self.nothing is None and self.success is None

    def json_schema(self) -> dict[str, object]:
        """The schema as OpenAI's strict mode and the grammars of vLLM and SGLang take it: closed object, all
        fields required, whole points.
        """
        points: dict[str, object] = {"type": "integer", "enum": list(range(int(self.max_score) + 1))}
        scores = (
            points
            if self.count == 1
            else {"type": "array", "items": points, "minItems": self.count, "maxItems": self.count}
        )
        fields: dict[str, object] = {self.text: {"type": "string"}}
        if self.success is not None:
            fields[self.success] = {"type": "string", "enum": ["yes", "no"]}
        fields[self.score] = scores
        return {
            "type": "object",
            "properties": fields,
            "required": list(fields),
            "additionalProperties": False,
        }


@final
@dataclass(frozen=True)
class Question:
    """One call: images, words and the schema of the answer.

    Attributes:
        triplet: id of the triplet in question.
        about: what is asked, unique among the questions of a triplet ("following").
        prompt: the whole text, instruction included.
        images: in the order in which the text mentions them.
        schema: of the answer.
        repeat: 0, 1, ...: independent answers to one question, for a self-ensemble.
        again: 0, or 1 where the first answer could not be read.
    """

    triplet: str
    about: str
    prompt: str
    images: tuple[ImagePart, ...]
    schema: AnswerSchema
    repeat: int = 0
    again: int = 0

    def prompt_digest(self) -> str:
        """sha256 of the whole text."""
        return hashlib.sha256(self.prompt.encode()).hexdigest()

    def key(self, client: str) -> str:
        """sha256 over everything that the answer depends on: images, text, schema, client, repeat. The
        triplet's id is left out, so equal questions share an answer. The names in the digest are those of
        existing ledgers, so they never change.

        Args:
            client: the client's fingerprint.
        """
        content = {
            "pictures": [image.digest() for image in self.images],
            "prompt": self.prompt,
            "schema": self.schema.json_schema(),
            "respondent": client,
            "repeat": self.repeat,
            "again": self.again,
        }
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


@final
@dataclass(frozen=True)
class Reply:
    """A client's raw reply.

    Attributes:
        text: the model's words.
        finish: why it stopped: "stop", "length" (cut off), "refusal" or "content_filter".
        input_tokens, output_tokens: as the model's server tells them; None where it doesn't.
        seconds: from the question to the reply.
        alternatives: per generated token the most probable tokens there with their probabilities, in the
            order of the text, the chosen one first; empty where the client doesn't return them.
        raw: the whole reply as received, for the ledger.
        written_tokens: about how many tokens all of its words have, thoughts included, to check what is told.
    """

    text: str
    finish: str = "stop"
    input_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float = 0.0
    alternatives: tuple[tuple[tuple[str, float], ...], ...] = field(default=(), repr=False)
    raw: str = field(default="", repr=False)
    written_tokens: int = field(default=0, compare=False)


@final
@dataclass(frozen=True)
class Answer:
    """A reply, read by the question's schema.

    Attributes:
        scores: one or several, in [0, the schema's max_score].
        text: the words; "None" when nothing failed.
        success: None if the schema doesn't ask for it.
        repaired: the reply does not follow the schema, but has only one possible meaning.
    """

    scores: tuple[float, ...]
    text: str
    success: bool | None = None
    repaired: bool = False


@final
@dataclass(frozen=True)
class Heard:
    """What came of a question.

    Attributes:
        about, repeat: of the question.
        replies: as received, one, or two where the first could not be read; none where it was given up.
        answer: as read, or the reason why there is none.
    """

    about: str
    repeat: int
    replies: tuple[Reply, ...]
    answer: Answer | str


@final
class CallFailed(Exception):  # noqa: N818  # most failures are followed by another attempt
    """A call that brought no reply.

    Args:
        reason: in words.
        kind: "busy" (429, try later), "transient" (5xx, timeout, connection), "refused" (this question will
            never be answered: 400, 413) or "fatal" (no question will: wrong key, model or address).
        retry_after: seconds that the server asks to wait, or None.
        may_cost: whether the model may have answered all the same, and its server may charge for it: a reply
            that broke off, or came too late.
    """

    def __init__(
        self, reason: str, kind: str, retry_after: float | None = None, may_cost: bool = False
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.retry_after = retry_after
        self.may_cost = may_cost


@runtime_checkable
class VLMClient(Protocol):
    """A vision-language model, wherever it runs.

    Attributes:
        fingerprint: model, revision and parameters: all that an answer depends on besides the question.
        model: its name, for people and the ledger.
    """

    fingerprint: str
    model: str

    async def ask(self, question: Question) -> Reply:
        """One attempt at one question, without any retry of its own. Many may run at once.

        Raises:
            CallFailed: no reply.
        """
        ...

    def tokens(self, question: Question) -> tuple[int, int]:
        """Estimated (input, output) tokens of the question and its answer."""
        ...

    def most_tokens(self, question: Question) -> tuple[int, int]:
        """The (input, output) tokens that one call can have at most; a server that tells more isn't
        believed.
        """
        ...

    async def close(self) -> None:
        """Disconnect from the model or server; called in the event loop that asked."""
        ...


@runtime_checkable
class RemoteClient(Protocol):
    """A VLMClient of a model that runs elsewhere and answers within seconds.

    Attributes:
        is_remote: True.
    """

    is_remote: bool


@runtime_checkable
class ReadyClient(Protocol):
    """A VLMClient that may lack something without which it answers nothing, such as a key or weights."""

    def check_ready(self) -> None:
        """Raise ValueError or FileNotFoundError if so, with what it lacks."""
        ...
