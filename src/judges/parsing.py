"""From a model's reply to an Answer, or to a reason why there is none. A reply that could mean two things
means nothing: no score is ever guessed.

Order: what the schema asks for; else what can be repaired without doubt (code fences, prose around the
object, single quotes, "4/5" for 4, Yes for yes); else UnusableReply. Scores outside their range and scores on
another scale ("8/10") are never clipped or rescaled.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import json_repair

from src.judges.question import Answer, Form, Reply
from src.records import NO_FAILURE

SHOWN = 80
"""Characters of a reply that an error quotes."""

NOT_WORDS = ("", "none", "n/a", "na", "null", "nothing")
"""What models write for "None", in lower case and without punctuation."""

THOUGHT = re.compile(r"<think(?:ing)?>|◁think▷")
END_OF_THOUGHT = re.compile(r"</think(?:ing)?>|◁/think▷")
FENCE = re.compile(r"```\w*\s*(.*?)```", re.DOTALL)
POINTS = re.compile(
    r"\s*([+-]?\d+(?:\.\d+)?)\s*(?:(?:/|out of|of)\s*(\d+(?:\.\d+)?))?\s*(?:points?|分)?\s*\.?\s*",
    re.IGNORECASE,
)
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters, and halves of characters, which no file can hold."""

QUOTES = "\"'`“”„‘’"  # noqa: RUF001  # meant
CLOSING = {"[": "]", "“": "”", "„": "“", "‘": "’", '"': '"', "'": "'", "`": "`"}  # noqa: RUF001  # meant
CHINESE = str.maketrans({"「": "“", "」": "”", "『": "“", "』": "”"})
CHINESE_COLON = re.compile(f"(?<=[{QUOTES}])\\s*：")  # noqa: RUF001  # meant
CHINESE_COMMA = re.compile(f"，(?=\\s*[{QUOTES}])")  # noqa: RUF001  # meant

NESTED = 4
"""How deep in lists and objects an answer is looked for."""

WRITTEN = re.compile(
    rf"[{QUOTES}](?P<quoted>[^{QUOTES}]*)[{QUOTES}]|[\[(](?P<several>[^\])]*)[\])]|(?P<bare>(?:(?!//|#|[,}}\]\n]).)*)"
)
"""A value in almost-JSON."""
NEXT = re.compile(
    rf"\s*(?:$|[}}\]#]|//|[,;]\s*(?:$|[}}\]])|[,;\n]\s*[{QUOTES}]?[^\W\d]\w*[{QUOTES}]?\s*[:=])"
)
"""What may follow a value: an end, a comment, the next field."""


class UnusableReply(ValueError):  # noqa: N818  # a finding
    """A reply without an answer in it; the message says why."""


def parse(reply: Reply, form: Form) -> Answer:
    """The answer in a reply.

    Raises:
        UnusableReply: cut off, refused, empty, no object or two, a field missing, a value of the wrong kind,
            a score out of range.
    """
    if reply.finish == "length":
        raise UnusableReply("the reply was cut off at the token limit")
    if reply.finish in ("refusal", "content_filter"):
        raise UnusableReply(f"refused: {shown(reply.text)}")
    fields, repaired = fields_of(reply.text, form)
    return answer_of(fields, form, repaired)


def fields_of(text: str, form: Form) -> tuple[Mapping[str, Any], bool]:
    """The object in a reply, and whether it had to be repaired.

    Raises:
        UnusableReply: there is none, several, or one that is cut off.
    """
    plain = strict(text)
    if isinstance(plain, dict) and form.score in plain:
        return plain, False
    words = (plain if isinstance(plain, str) else without_thoughts(text)).strip("\ufeff \t\r\n")
    if not words:
        raise UnusableReply("the reply is empty")
    if form.score_alone:
        alone = strict(words)
        if POINTS.fullmatch(words) or (
            isinstance(alone, list) and not any(isinstance(each, dict) for each in alone)
        ):
            return {form.score: words if alone is None else alone}, True
    found = [each for block in FENCE.findall(words) for each in objects_in(block, form)] or objects_in(
        words, form
    )
    if any(each != found[0] for each in found):
        raise UnusableReply(f"{len(found)} different answers in one reply: {shown(text)}")
    if not found:
        raise UnusableReply(f"no answer in the form asked for: {shown(text)}")
    return found[0], True


def strict(text: str) -> Any:
    """What a text says as JSON; None if it isn't JSON.

    Raises:
        UnusableReply: one field with two values.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except UnusableReply:
        raise
    except (ValueError, RecursionError):
        # not only errors of syntax: numbers of thousands of digits and thousands of brackets are no answer
        # either
        return None


def without_thoughts(text: str) -> str:
    """What a model says after it has thought aloud; some servers leave out where the thought begins.

    Raises:
        UnusableReply: it never came to an end; what it considered on the way is no answer.
    """
    *_, said = END_OF_THOUGHT.split(text)
    if THOUGHT.search(said):
        raise UnusableReply(f"the reply was cut off in its thoughts: {shown(text)}")
    return said


def objects_in(text: str, form: Form) -> list[dict[str, Any]]:
    """The answers in a text, in order, by the names of the form; almost-JSON is mended.

    An object that never ends is left out, as its last value may be cut short.
    """
    found = [each for part in braced(text) for each in answers_in(strict(part) or mended(part, form), form)]
    start, end = text.find("{"), text.rfind("}")
    if found or start < 0 or end < start:
        return found
    # quotes within quotes may have hidden where the object ends
    return answers_in(mended(text[start : end + 1], form), form)


def answers_in(value: object, form: Form, depth: int = NESTED) -> list[dict[str, Any]]:
    """The objects with a score in what a reply says, whatever they are wrapped in, by the names of the form."""
    if isinstance(value, dict):
        names = {name.lower(): name for name in (form.text, form.score, form.success) if name is not None}
        fields = {names.get(str(name).lower(), str(name).lower()): each for name, each in value.items()}
        if form.score in fields:
            return [fields]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for each in inside for found in answers_in(each, form, depth - 1)] if depth else []


def mended(part: str, form: Form) -> object:
    """Almost-JSON as if it were JSON. Its score is what is written there, never what a repair makes of it: "4
    or 5" is not 4.

    Raises:
        UnusableReply: two scores, a score that is none, or words at the end whose quote is missing: the brace
            after them may be one of theirs.
    """
    part = CHINESE_COLON.sub(":", CHINESE_COMMA.sub(",", part.translate(CHINESE)))
    scores = written(part, form)
    if not scores:
        return None
    if any(each != scores[0] for each in scores):
        raise UnusableReply(f"{len(scores)} different scores in one answer: {shown(part)}")
    if not closed(part, form):
        raise UnusableReply(f"no end of the last field in {shown(part)}")
    return with_score(json_repair.loads(part), scores[0], form)


def places(name: str, part: str) -> list[int]:
    """Where the values of a field begin in almost-JSON."""
    return [
        field.end()
        for field in re.finditer(rf"\b{re.escape(name)}[{QUOTES}]?\s*[:=]\s*", part, re.IGNORECASE)
    ]


def closed(part: str, form: Form) -> bool:
    """Whether the words of almost-JSON have an end: where they come last, the quote that opens them has to
    close them.
    """
    start, *others = (
        max(places(name, part), default=-1)
        for name in (form.text, form.score, form.success)
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


def written(part: str, form: Form) -> list[str | list[str]]:
    """The scores as they stand in almost-JSON, one per place where the score's name stands as a field's;
    several numbers in brackets are a list.

    Raises:
        UnusableReply: something that is neither a number nor a list of numbers.
    """
    scores: list[str | list[str]] = []
    for start in places(form.score, part):
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
            raise UnusableReply(f"the score {shown(part[start:])!r} is no number")
        scores.append(numbers[0] if several is None else numbers)
    return scores


def with_score(value: object, score: str | list[str], form: Form, depth: int = NESTED) -> object:
    """A mended object with the score as it was written."""
    if isinstance(value, list):
        return [with_score(each, score, form, depth - 1) for each in value] if depth else None
    if not isinstance(value, dict):
        return None
    if not any(str(name).lower() == form.score.lower() for name in value):
        return (
            {name: with_score(each, score, form, depth - 1) for name, each in value.items()}
            if depth
            else None
        )
    return {name: score if str(name).lower() == form.score.lower() else each for name, each in value.items()}


def braced(text: str) -> list[str]:
    """The outermost {...} of a text; braces inside double quotes don't count as long as the quotes close on
    the way.
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


def answer_of(fields: Mapping[str, Any], form: Form, repaired: bool) -> Answer:
    """The answer in the fields of an object.

    Raises:
        UnusableReply: a field missing, or a value that is none.
    """
    missing = [name for name in (form.score, form.success) if name is not None and name not in fields]
    if missing:
        raise UnusableReply(
            f"no field {', '.join(map(repr, missing))} in {shown(json.dumps(fields, ensure_ascii=False))}"
        )
    given = fields[form.score]
    values = given if isinstance(given, list) else [given]
    if len(values) != form.count:
        raise UnusableReply(f"{form.count} score(s) were asked for, got {len(values)}: {shown(repr(given))}")
    points = [points_of(value, form.max_score) for value in values]
    repaired |= any(mended for _, mended in points) or isinstance(given, list) != (form.count > 1)
    success = None
    if form.success is not None:
        success, mended = yes_or_no(fields[form.success])
        repaired |= mended
    text, mended = words_of(fields.get(form.text), form, tuple(score for score, _ in points))
    return Answer(tuple(score for score, _ in points), text, success, repaired or mended)


def points_of(value: object, max_score: float) -> tuple[float, bool]:
    """A score and whether it had to be repaired: 4, 4.5, "4", "4/5" and "4 out of 5" are scores, on a scale
    of 5.

    Raises:
        UnusableReply: anything else; out of range; another scale.
    """
    number, mended = value, False
    if isinstance(value, str):
        match = POINTS.fullmatch(value)
        if match is None:
            raise UnusableReply(f"the score {shown(value)!r} is no number")
        if match[2] is not None and float(match[2]) != max_score:
            raise UnusableReply(
                f"the score {shown(value)!r} is on a scale of {match[2]}, asked for was one of {max_score:g}"
            )
        number, mended = float(match[1]), True
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise UnusableReply(f"the score {shown(repr(value))} is no number")
    if not 0 <= number <= max_score:
        raise UnusableReply(f"the score {shown(repr(number))} lies outside [0, {max_score:g}]")
    return abs(float(number)), mended


def yes_or_no(value: object) -> tuple[bool, bool]:
    """Success, and whether it had to be repaired: "yes" and "no" as asked for; true, "Yes." and the like can
    mean only one thing.

    Raises:
        UnusableReply: anything else.
    """
    if isinstance(value, bool):
        return value, True
    word = value.strip().rstrip(".!").lower() if isinstance(value, str) else ""
    if word in ("yes", "true", "no", "false"):
        return word in ("yes", "true"), value not in ("yes", "no")
    raise UnusableReply(f"neither yes nor no: {shown(repr(value))}")


def words_of(value: object, form: Form, scores: tuple[float, ...]) -> tuple[str, bool]:
    """The text on one line, "None" where nothing failed, and whether it had to be repaired.

    Raises:
        UnusableReply: no text where there must be one: a score below the best without a word why can't teach
            anybody.
    """
    listed = isinstance(value, list)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = "; ".join(value)
    if value is not None and not isinstance(value, str):
        raise UnusableReply(f"the text is no text: {shown(repr(value))}")
    text = " ".join(UNPRINTABLE.sub(" ", value or "").split())
    if form.nothing is None:
        return text, listed
    if text.strip("\"'. ").lower() in NOT_WORDS:
        said = text.strip("\"'. ") != ""
        if not said and any(score < form.max_score for score in scores):
            raise UnusableReply(f"a score of {min(scores):g} without {form.text}")
        return NO_FAILURE, listed or text != form.nothing
    return text, listed


def expected_score(reply: Reply, form: Form) -> float | None:
    """The mean score under the probabilities that the model gave to the digits 0 ... max_score where it wrote
    its score.

    Only for a single score of one digit. The digit's place is found in the text, after the score's name, so
    that digits of the words don't count. Probabilities are renormalised over the digits that are scores. None
    where the model doesn't tell probabilities.
    """
    if form.count != 1 or form.max_score > 9 or not reply.alternatives:
        return None
    text = "".join(choices[0][0] for choices in reply.alternatives)
    name = text.rfind(form.score)
    if name < 0:
        return None
    position = 0
    for choices in reply.alternatives:
        chosen = choices[0][0]
        if position >= name + len(form.score) and chosen.strip(" \"'").isdecimal():
            weights = [
                (float(token), share)
                for token, share in ((t.strip(" \"'"), p) for t, p in choices)
                if token.isdecimal()
            ]
            weights = [(score, share) for score, share in weights if score <= form.max_score]
            total = sum(share for _, share in weights)
            return sum(score * share for score, share in weights) / total if total > 0 else None
        position += len(chosen)
    return None


def shown(text: str) -> str:
    """The beginning of a text on one line."""
    line = " ".join(UNPRINTABLE.sub(" ", text).split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs) and any(fields[name] != value for name, value in pairs):
        raise UnusableReply(f"one field with two values: {shown(repr(pairs))}")
    return fields
