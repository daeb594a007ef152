"""From a model's reply to an Answer, or to a reason why there is none. A reply that could mean two things means nothing: no score is ever guessed.

Order: what the schema asks for; else what can be repaired without doubt (code fences, prose around the object, single quotes, "4/5" for 4, Yes for
yes); else UnusableReply. Scores outside their range and scores on another scale ("8/10") are never clipped or rescaled.
"""

import json
import math
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

THINKING = re.compile(r"<think>.*?</think>", re.DOTALL)
FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
POINTS = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*(?:(?:/|out of|of)\s*(\d+(?:\.\d+)?))?\s*(?:points?)?\s*\.?\s*", re.IGNORECASE)


class UnusableReply(ValueError):  # noqa: N818  # a finding
    """A reply without an answer in it; the message says why."""


def parse(reply: Reply, form: Form) -> Answer:
    """The answer in a reply.

    Raises:
        UnusableReply: cut off, refused, empty, no object or two, a field missing, a value of the wrong kind, a score out of range.
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
    try:
        plain = json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError:
        plain = None
    if isinstance(plain, dict):
        return plain, False
    if form.score_alone and (isinstance(plain, int | float | list | str) or POINTS.fullmatch(text)):
        return {form.score: text if plain is None else plain}, True
    words = THINKING.sub("", text).strip()
    if not words:
        raise UnusableReply("the reply is empty")
    fenced = FENCE.findall(words)
    found = [each for source in (fenced or [words]) for each in objects_in(source)]
    found = [each for each in found if form.score in {str(name).lower() for name in each}]
    if len(found) > 1 and any(each != found[0] for each in found):
        raise UnusableReply(f"{len(found)} different answers in one reply: {shown(text)}")
    if not found:
        raise UnusableReply(f"no answer in the form asked for: {shown(text)}")
    return {str(name).lower(): value for name, value in found[0].items()}, True


def objects_in(text: str) -> list[dict[str, Any]]:
    """The JSON objects in a text, in order; almost-JSON is repaired, an object that never ends is left out, as its last value may be cut short."""
    found = []
    for part in braced(text):
        try:
            # a repaired reply holds what was written, only its punctuation is mended
            value = json.loads(part, object_pairs_hook=_without_repeats)
        except json.JSONDecodeError:
            value = json_repair.loads(part)
        if isinstance(value, dict) and value:
            found.append(value)
    return found


def braced(text: str) -> list[str]:
    """The outermost {...} of a text; braces inside double quotes don't count as long as the quotes close on the way."""
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
        raise UnusableReply(f"no field {', '.join(map(repr, missing))} in {shown(json.dumps(fields, ensure_ascii=False))}")
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
    """A score and whether it had to be repaired: 4, 4.5, "4", "4/5" and "4 out of 5" are scores, on a scale of 5.

    Raises:
        UnusableReply: anything else; out of range; another scale.
    """
    number, mended = value, False
    if isinstance(value, str):
        match = POINTS.fullmatch(value)
        if match is None:
            raise UnusableReply(f"the score {shown(value)!r} is no number")
        if match[2] is not None and float(match[2]) != max_score:
            raise UnusableReply(f"the score {shown(value)!r} is on a scale of {match[2]}, asked for was one of {max_score:g}")
        number, mended = float(match[1]), True
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise UnusableReply(f"the score {shown(repr(value))} is no number")
    if not math.isfinite(number) or not 0 <= number <= max_score:
        raise UnusableReply(f"the score {number} lies outside [0, {max_score:g}]")
    return float(number), mended


def yes_or_no(value: object) -> tuple[bool, bool]:
    """Success, and whether it had to be repaired: "yes" and "no" as asked for; true, "Yes." and the like can mean only one thing.

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
        UnusableReply: no text where there must be one: a score below the best without a word why can't teach anybody.
    """
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = "; ".join(value)
    if value is not None and not isinstance(value, str):
        raise UnusableReply(f"the text is no text: {shown(repr(value))}")
    text = " ".join((value or "").split())
    if form.nothing is None:
        return text, False
    if text.strip("\"'. ").lower() in NOT_WORDS:
        said = text.strip("\"'. ") != ""
        if not said and any(score < form.max_score for score in scores):
            raise UnusableReply(f"a score of {min(scores):g} without {form.text}")
        return NO_FAILURE, text != form.nothing
    return text, False


def expected_score(reply: Reply, form: Form) -> float | None:
    """The mean score under the probabilities that the model gave to the digits 0 ... max_score where it wrote its score.

    Only for a single score of one digit. The digit's place is found in the text, after the score's name, so that digits of the words don't count.
    Probabilities are renormalised over the digits that are scores. None where the model doesn't tell probabilities.
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
            weights = [(float(token), share) for token, share in ((t.strip(" \"'"), p) for t, p in choices) if token.isdecimal()]
            weights = [(score, share) for score, share in weights if score <= form.max_score]
            total = sum(share for _, share in weights)
            return sum(score * share for score, share in weights) / total if total > 0 else None
        position += len(chosen)
    return None


def shown(text: str) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs) and any(fields[name] != value for name, value in pairs):
        raise UnusableReply(f"one field with two values: {shown(repr(pairs))}")
    return fields
