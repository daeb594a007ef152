"""How people's votes on edits are written: words ("leftvote", "A", "both bad") and orders ("C>A>B")."""

import re
from collections.abc import Sequence
from typing import Literal

Tiers = tuple[tuple[int, ...], ...]
"""See Ranking."""

VerdictName = Literal["first", "second", "good", "bad", "equal"]
"""good, bad: equal because both are; equal: it is not said why."""

SAID: dict[VerdictName, tuple[str, ...]] = {
    "first": ("a", "a>b", "b<a", "first", "left", "leftvote", "model a"),
    "second": ("b", "b>a", "a<b", "second", "right", "rightvote", "model b"),
    "good": ("a=b=good", "b=a=good", "good", "tievote", "both good"),
    "bad": ("a=b=bad", "b=a=bad", "bad", "bothbad_vote", "both bad"),
    "equal": ("a=b", "b=a", "tie", "equal"),
}
WORDS: dict[str, VerdictName] = {word: verdict for verdict, words in SAID.items() for word in words}

LETTERS = "ABCD"
TIES = {"A=B=GOOD": False, "A=B=BAD": True, "A=B": False}
BRACKETS = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)
MARKS = re.compile(r"[\s\"'\u2018-\u201d*`]+")


def verdict_of_word(text: str) -> VerdictName | None:
    """A verdict written as one word: "A", "B", "tie", "good", "bad", "[[A>B]]". None: not a verdict."""
    inside = BRACKETS.fullmatch(text.strip())
    word = " ".join((inside[1] if inside else text).lower().split())
    return WORDS.get(word) or WORDS.get(squeezed(word))


def squeezed(text: str) -> str:
    """Without blanks and quotes, in small letters, and with single signs of equality."""
    return re.sub(r"=+", "=", MARKS.sub("", text)).lower()


def tiers_of(ranking: str, size: int, where: str) -> tuple[tuple[tuple[int, ...], ...], bool]:
    """A ranking as written, "C>A>B", "A<B" or "A=B=Bad": tiers, and whether all are bad. Raises
    ValueError.
    """
    text = re.sub(r"\s+", "", ranking).upper()
    if size == 2 and text in TIES:
        return ((0, 1),), TIES[text]
    letters = re.split(r"[<>]", text)
    ordered = letters[::-1] if "<" in text else letters
    if sorted(ordered) != sorted(LETTERS[:size]) or ("<" in text and ">" in text):
        raise ValueError(
            f"{where}: the ranking {ranking[:40]!r} is no order of {', '.join(LETTERS[:size])}, and its "
            f"rows have {size} edits"
        )
    return tuple((LETTERS.index(letter),) for letter in ordered), False


def ranking_of_vote(vote: object, size: int, where: str) -> tuple[Tiers, bool]:
    """Tiers of what a cell says of `size` edits, and whether all are bad: a word for two of them, an order
    ("C>A=B") for any number.

    Raises:
        ValueError: neither.
    """
    word = verdict_of_word(vote) if isinstance(vote, str) and size == 2 else None
    if word in ("first", "second"):
        return (((0,), (1,)) if word == "first" else ((1,), (0,))), False
    if word is not None:
        return ((0, 1),), word == "bad"
    text = squeezed(str(vote)).upper()
    parts = text.split("<")[::-1] if "<" in text else text.split(">")
    tiers = [sorted(part.split("=")) for part in parts]
    if sorted(letter for tier in tiers for letter in tier) != list(LETTERS[:size]):
        raise ValueError(
            f"{where} is {str(vote)[:40]!r}, which is no vote on {size} edits: left, right, A, B, tie, good, "
            "bad, or an order of letters such as A>B"
        )
    return tuple(tuple(map(LETTERS.index, tier)) for tier in tiers), False


def ranking_of_ratings(ratings: Sequence[float]) -> Tiers:
    """Edits by their ratings, the highest first; equal ones share a tier."""
    return tuple(
        tuple(index for index, rating in enumerate(ratings) if rating == level)
        for level in sorted(set(ratings), reverse=True)
    )
