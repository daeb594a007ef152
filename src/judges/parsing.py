"""Parses a model's reply into an Answer, or raises the reason why there is none. An ambiguous reply counts as
none: no score is ever guessed.

A reply is taken as it is if it follows the schema, repaired if it has only one possible meaning (code fences,
prose around the object, single quotes, "4/5" for 4, Yes for yes), and otherwise unusable. Scores outside
their range or on another scale ("8/10") are never clipped or rescaled.

The reasons become the feedback of failed verdicts, and `src.annotate steps=[verify]` derives them again: a
changed text would make earlier annotations differ from their ledgers.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, final

import json_repair

from src.judges.question import Answer, AnswerSchema, Reply
from src.records import NO_FAILURE

SHOWN = 80
"""Most characters of a reply that an error quotes."""

NOT_WORDS = ("", "none", "n/a", "na", "null", "nothing")
"""What models write for "None", in lower case and without punctuation."""

_THINKING = (
    r"(?:[\w.-]{1,20}[:_])?(?:think(?:ing)?|thoughts?|reasoning|reflection|deliberation|scratchpad|analysis)"
)
_ASIDE = r"(?:\s[^<>|\]]{0,80})?"
THOUGHT = re.compile(
    rf"<\|?(?:(?:begin|start)(?:_of)?_)?{_THINKING}{_ASIDE}\|?>|\[(?:begin[ _])?{_THINKING}\]|◁{_THINKING}▷|"
    r"<\|channel\|?>(?!\s*final)|<unused94>|\Aanalysis(?=[A-Z])|"
    r"\AHere (?:is my thought process|are my reasoning steps):",
    re.IGNORECASE,
)
"""Where a model begins to think aloud: tags (<think>, <seed:think>, <|begin_of_thought|>),
brackets ([THINK]), Kimi's marks, Harmony's channels besides the final one, also without their special tokens
("analysisWe need"), Gemma's, Granite's and Apriel's words.
"""
END_OF_THOUGHT = re.compile(
    rf"<\|?/{_THINKING}\|?>|<\|?end(?:_of)?_{_THINKING}\|?>|\[(?:/|end[ _]){_THINKING}\]|◁/{_THINKING}▷|"
    r"<\|channel\|?>\s*final[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>|<channel\|>|<\|content\|>|<unused95>|"
    r"assistantfinal|\[begin final response\]|Here is my response:",
    re.IGNORECASE,
)
FENCE = re.compile(r"```\w*\s*(.*?)```", re.DOTALL)
POINTS = re.compile(
    r"\s*([+-]?\d+(?:\.\d+)?)\s*(?:(?:/|out of|of)\s*(\d+(?:\.\d+)?))?\s*(?:points?|分)?\s*\.?\s*",
    re.IGNORECASE,
)
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters, and halves of characters, which no file can store."""

QUOTES = "\"'`“”„‘’"  # noqa: RUF001  # meant
CLOSING = {"[": "]", "“": "”", "„": "“", "‘": "’", '"': '"', "'": "'", "`": "`"}  # noqa: RUF001  # meant
CHINESE = str.maketrans({"「": "“", "」": "”", "『": "“", "』": "”"})
CHINESE_COLON = re.compile(f"(?<=[{QUOTES}])\\s*：")  # noqa: RUF001  # meant
CHINESE_COMMA = re.compile(f"，(?=\\s*[{QUOTES}])")  # noqa: RUF001  # meant

NESTED = 4
"""Depth of lists and objects to which an answer is searched."""

WRITTEN = re.compile(
    rf"[{QUOTES}](?P<quoted>[^{QUOTES}]*)[{QUOTES}]|[\[(](?P<several>[^\])]*)[\])]|"
    rf"(?P<bare>(?:(?!//|#|[,}}\]\n]).)*)"
)
"""A value in malformed JSON."""
NEXT = re.compile(
    rf"\s*(?:$|[}}\]#]|//|[,;]\s*(?:$|[}}\]])|[,;\n]\s*[{QUOTES}]?[^\W\d]\w*[{QUOTES}]?\s*[:=])"
)
"""What may follow a value: an end, a comment or the next field."""


@final
class UnusableReply(ValueError):  # noqa: N818  # a finding, not a fault
    """A reply without an answer; the message is the reason.

    Args:
        reason: in words.
        cause: what kind of reason, if many replies share it: "cut_off", "refused" or "form".
    """

    def __init__(self, reason: str, cause: Literal["cut_off", "refused", "form"] = "form") -> None:
        super().__init__(reason)
        self.cause = cause


def parse_reply(reply: Reply, schema: AnswerSchema) -> Answer:
    """The answer in a reply.

    Raises:
        UnusableReply: it is cut off, refused or empty, holds no object or several, lacks a field, or has a
            value of the wrong kind or a score out of range.
    """
    check_finished(reply)
    fields, repaired = parse_fields(reply.text, schema)
    return parse_answer(fields, schema, repaired)


def check_finished(reply: Reply) -> None:
    """Raise UnusableReply for a reply that is cut off or refused."""
    if reply.finish == "length":
        raise UnusableReply("the reply was cut off at the token limit", "cut_off")
    if reply.finish in ("refusal", "content_filter"):
        raise UnusableReply(f"refused: {excerpt(reply.text)}", "refused")


def parse_fields(text: str, schema: AnswerSchema) -> tuple[Mapping[str, Any], bool]:
    """The object in a reply, and whether it had to be repaired.

    Raises:
        UnusableReply: there is none, or several, or one that is cut off.
    """
    plain = load_json(text)
    if isinstance(plain, dict) and schema.score in plain:
        return plain, False
    words = (plain if isinstance(plain, str) else strip_thoughts(text)).strip("\ufeff \t\r\n")
    if not words:
        raise UnusableReply("the reply is empty")
    if schema.score_is_enough:
        alone = load_json(words)
        if POINTS.fullmatch(words) or (
            isinstance(alone, list) and not any(isinstance(each, dict) for each in alone)
        ):
            return {schema.score: words if alone is None else alone}, True
    found = [each for block in FENCE.findall(words) for each in find_answers(block, schema)] or find_answers(
        words, schema
    )
    if any(each != found[0] for each in found):
        raise UnusableReply(f"{len(found)} different answers in one reply: {excerpt(text)}")
    if not found:
        raise UnusableReply(f"no answer in the form asked for: {excerpt(text)}")
    return found[0], True


def load_json(text: str) -> Any:
    """The value of a JSON text; None if it isn't JSON.

    Raises:
        UnusableReply: a field has two values.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except UnusableReply:
        raise
    except (ValueError, RecursionError):
        # besides syntax errors: numbers of thousands of digits, and thousands of brackets
        return None


def strip_thoughts(text: str) -> str:
    """The text after the model's reasoning; some servers leave out the mark that opens it.

    Raises:
        UnusableReply: the reasoning never ends; scores considered in it are no answer.
    """
    *_, said = END_OF_THOUGHT.split(text)
    if THOUGHT.search(said):
        raise UnusableReply(f"the reply was cut off in its thoughts: {excerpt(text)}", "cut_off")
    return said


def find_answers(text: str, schema: AnswerSchema) -> list[dict[str, Any]]:
    """The answers in a text, in order, their fields named as in the schema; malformed JSON is repaired.

    An object that never ends is left out, as its last value may be cut off.
    """
    found = [
        each
        for part in outermost_objects(text)
        for each in answers_within(load_json(part) or repair_json(part, schema), schema)
    ]
    start, end = text.find("{"), text.rfind("}")
    if found or start < 0 or end < start:
        return found
    # quotes within quotes may have hidden the end of the object
    return answers_within(repair_json(text[start : end + 1], schema), schema)


def answers_within(value: object, schema: AnswerSchema, depth: int = NESTED) -> list[dict[str, Any]]:
    """The objects with a score in a parsed reply, however nested, their fields named as in the schema."""
    if isinstance(value, dict):
        names = {
            name.lower(): name for name in (schema.text, schema.score, schema.success) if name is not None
        }
        fields = {names.get(str(name).lower(), str(name).lower()): each for name, each in value.items()}
        if schema.score in fields:
            return [fields]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for each in inside for found in answers_within(each, schema, depth - 1)] if depth else []


def repair_json(part: str, schema: AnswerSchema) -> object:
    """The value of malformed JSON. Its score is the text written there, never what a repair makes of it: "4
    or 5" is not 4.

    Raises:
        UnusableReply: two scores, a score that is no number, or final words without a closing quote: the
            brace after them may belong to them.
    """
    part = CHINESE_COLON.sub(":", CHINESE_COMMA.sub(",", part.translate(CHINESE)))
    scores = written_scores(part, schema)
    if not scores:
        return None
    if any(each != scores[0] for each in scores):
        raise UnusableReply(f"{len(scores)} different scores in one answer: {excerpt(part)}")
    if not is_text_closed(part, schema):
        raise UnusableReply(f"no end of the last field in {excerpt(part)}")
    return insert_score(json_repair.loads(part), scores[0], schema)


def value_positions(name: str, part: str) -> list[int]:
    """Where the values of a field begin in malformed JSON."""
    return [
        field.end()
        for field in re.finditer(rf"\b{re.escape(name)}[{QUOTES}]?\s*[:=]\s*", part, re.IGNORECASE)
    ]


def is_text_closed(part: str, schema: AnswerSchema) -> bool:
    """Whether the words in malformed JSON have an end: the opening quote of the last ones must be closed."""
    start, *others = (
        max(value_positions(name, part), default=-1)
        for name in (schema.text, schema.score, schema.success)
        if name is not None
    )
    if start < max(others):
        return True
    words = part[start:].rstrip("},; \t\r\n")
    if words[:1] in CLOSING:
        return (
            len(words) > 1
            and words.endswith(CLOSING[words[0]])
            and not words.endswith("\\" + CLOSING[words[0]])
        )
    return words.lower() in ("null", "none")


def written_scores(part: str, schema: AnswerSchema) -> list[str | list[str]]:
    """The scores as written in malformed JSON, one per occurrence of the score's field; several numbers in
    brackets are a list.

    Raises:
        UnusableReply: a value that is neither a number nor a list of numbers.
    """
    scores: list[str | list[str]] = []
    for start in value_positions(schema.score, part):
        value = WRITTEN.match(part, start)
        several = value["several"] if value else None
        numbers = (
            re.split(r"[,\s]+", several.strip(" ,\n"))
            if several is not None
            else [(value["quoted"] or value["bare"] or "") if value else ""]
        )
        numbers = [number.strip(f" {QUOTES}") for number in numbers]
        if (
            value is None
            or not NEXT.match(part, value.end())
            or not all(POINTS.fullmatch(number) for number in numbers)
        ):
            raise UnusableReply(f"the score {excerpt(part[start:])!r} is no number")
        scores.append(numbers[0] if several is None else numbers)
    return scores


def insert_score(value: object, score: str | list[str], schema: AnswerSchema, depth: int = NESTED) -> object:
    """A repaired object with the score as it was written."""
    if isinstance(value, list):
        return [insert_score(each, score, schema, depth - 1) for each in value] if depth else None
    if not isinstance(value, dict):
        return None
    if not any(str(name).lower() == schema.score.lower() for name in value):
        return (
            {name: insert_score(each, score, schema, depth - 1) for name, each in value.items()}
            if depth
            else None
        )
    return {
        name: score if str(name).lower() == schema.score.lower() else each for name, each in value.items()
    }


def outermost_objects(text: str) -> list[str]:
    """The outermost {...} of a text; braces inside double quotes don't count as long as the quotes are
    closed.
    """
    parts, depth, start, quoted, escaped = [], 0, 0, False, False
    for index, letter in enumerate(text):
        if depth and letter == '"' and not escaped:
            quoted = not quoted
        escaped = letter == "\\" and not escaped
        if quoted:
            continue
        if letter == "{":
            start = start if depth else index
            depth += 1
        elif letter == "}" and depth:
            depth -= 1
            if not depth:
                parts.append(text[start : index + 1])
    return parts


def parse_answer(fields: Mapping[str, Any], schema: AnswerSchema, repaired: bool) -> Answer:
    """The answer in the fields of an object.

    Raises:
        UnusableReply: a field is missing or has an invalid value.
    """
    missing = [name for name in (schema.score, schema.success) if name is not None and name not in fields]
    if missing:
        raise UnusableReply(
            f"no field {', '.join(map(repr, missing))} in {excerpt(json.dumps(fields, ensure_ascii=False))}"
        )
    given = fields[schema.score]
    values = given if isinstance(given, list) else [given]
    if len(values) != schema.count:
        raise UnusableReply(
            f"{schema.count} score(s) were asked for, got {len(values)}: {excerpt(repr(given))}"
        )
    points = [parse_score(value, schema.max_score) for value in values]
    repaired |= any(mended for _, mended in points) or isinstance(given, list) != (schema.count > 1)
    success = None
    if schema.success is not None:
        success, mended = parse_success(fields[schema.success])
        repaired |= mended
    text, mended = parse_text(fields.get(schema.text), schema, tuple(score for score, _ in points))
    return Answer(tuple(score for score, _ in points), text, success, repaired or mended)


def parse_score(value: object, max_score: float) -> tuple[float, bool]:
    """A score, and whether it had to be repaired: on a scale of 5, valid are 4, 4.5, "4", "4/5" and "4 out of
    5".

    Raises:
        UnusableReply: anything else, a score out of range, or one on another scale.
    """
    number, mended = value, False
    if isinstance(value, str):
        match = POINTS.fullmatch(value)
        if match is None:
            raise UnusableReply(f"the score {excerpt(value)!r} is no number")
        if match[2] is not None and float(match[2]) != max_score:
            raise UnusableReply(
                f"the score {excerpt(value)!r} is on a scale of {match[2]}, "
                f"asked for was one of {max_score:g}"
            )
        number, mended = float(match[1]), True
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise UnusableReply(f"the score {excerpt(repr(value))} is no number")
    if not 0 <= number <= max_score:
        raise UnusableReply(f"the score {excerpt(repr(number))} lies outside [0, {max_score:g}]")
    return abs(float(number)), mended


def parse_success(value: object) -> tuple[bool, bool]:
    """Success, and whether it had to be repaired: "yes" and "no" are as asked for; true, "Yes." and the like
    are unambiguous.

    Raises:
        UnusableReply: anything else.
    """
    if isinstance(value, bool):
        return value, True
    word = value.strip().rstrip(".!").lower() if isinstance(value, str) else ""
    if word in ("yes", "true", "no", "false"):
        return word in ("yes", "true"), value not in ("yes", "no")
    raise UnusableReply(f"neither yes nor no: {excerpt(repr(value))}")


def parse_text(value: object, schema: AnswerSchema, scores: tuple[float, ...]) -> tuple[str, bool]:
    """The text on one line, "None" where nothing failed, and whether it had to be repaired.

    Raises:
        UnusableReply: no text where one is needed: a score below the best without a reason teaches nothing.
    """
    listed = isinstance(value, list)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = "; ".join(value)
    if value is not None and not isinstance(value, str):
        raise UnusableReply(f"the text is no text: {excerpt(repr(value))}")
    text = " ".join(UNPRINTABLE.sub(" ", value or "").split())
    if schema.nothing is None:
        return text, listed
    if text.strip("\"'. ").lower() in NOT_WORDS:
        said = text.strip("\"'. ") != ""
        if not said and any(score < schema.max_score for score in scores):
            raise UnusableReply(f"a score of {min(scores):g} without {schema.text}")
        return NO_FAILURE, listed or text != schema.nothing
    return text, listed


def expected_score(reply: Reply, schema: AnswerSchema) -> float | None:
    """The mean score under the probabilities that the model gave to the digits 0 ... max_score where it wrote
    its score; None if the reply has no probabilities.

    Works for a single score of one digit. The digit is located after the score's name, so digits in the words
    don't count. Probabilities are renormalised over the digits that are valid scores.
    """
    if schema.count != 1 or schema.max_score > 9 or not reply.alternatives:
        return None
    text = "".join(choices[0][0] for choices in reply.alternatives)
    name = text.rfind(schema.score)
    if name < 0:
        return None
    position = 0
    for choices in reply.alternatives:
        chosen = choices[0][0]
        if position >= name + len(schema.score) and chosen.strip(" \"'").isdecimal():
            weights = [
                (float(token), share)
                for token, share in ((t.strip(" \"'"), p) for t, p in choices)
                if token.isdecimal()
            ]
            weights = [(score, share) for score, share in weights if score <= schema.max_score]
            total = sum(share for _, share in weights)
            return sum(score * share for score, share in weights) / total if total > 0 else None
        position += len(chosen)
    return None


def excerpt(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(UNPRINTABLE.sub(" ", text).split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs) and any(fields[name] != value for name, value in pairs):
        raise UnusableReply(f"one field with two values: {excerpt(repr(pairs))}")
    return fields
