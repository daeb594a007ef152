"""What a pairwise judge's reply says: the first edit, the second, both good, both bad, equal, or nothing.

Two ways to read one. `released_verdict` takes the four strings of GenAI-Bench and nothing else, as its
release does, so that published accuracies come out again. `spoken_verdict` reads replies as they are: other
spacing and quotes, "Both are bad"; a prompt's list of options that is repeated is no answer, and neither are
two answers.
"""

import re

from src.data.votes import BRACKETS, VerdictName, squeezed, verdict_of_word

RELEASED: dict[str, VerdictName] = {
    "[[A>B]]": "first",
    "[[B>A]]": "second",
    "[[A=B=Good]]": "good",
    "[[A=B=Bad]]": "bad",
}

FAILED = ("", "none", "null", "failed", "nan")

ECHO: tuple[VerdictName, ...] = ("first", "second", "good", "bad")
"""The options in the order in which prompts list them."""

PHRASES: tuple[tuple[re.Pattern[str], VerdictName], ...] = (
    (re.compile(r"\bboth (?:models |images |edits )?are (?:equally )?bad\b", re.I), "bad"),
    (re.compile(r"\bboth (?:models |images |edits )?are (?:equally )?good\b", re.I), "good"),
    (re.compile(r"\btie, relatively the same,? accept(?:able|ed) quality\b", re.I), "good"),
)
FLIPPED: dict[VerdictName, VerdictName] = {"first": "second", "second": "first"}


def released_verdict(text: str | None) -> VerdictName | None:
    """What GenAI-Bench's release makes of its own `model_vote`; None: wrong, whatever people say."""
    return RELEASED.get(text or "")


def spoken_verdict(reply: str) -> VerdictName | None:
    """The one verdict of a reply; None if it has none, or several that differ."""
    named: list[VerdictName | None] = [verdict_of_word(squeezed(each)) for each in BRACKETS.findall(reply)]
    if tuple(named[:4]) == ECHO:
        named = named[4:]
    said = named or [verdict for pattern, verdict in PHRASES if pattern.search(reply)]
    return said[0] if len(set(said)) == 1 else None


def flipped(verdict: VerdictName | None) -> VerdictName | None:
    """The same verdict where the two edits were shown the other way round."""
    return None if verdict is None else FLIPPED.get(verdict, verdict)
