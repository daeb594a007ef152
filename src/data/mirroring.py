"""Whether a pair of images may be mirrored: only if its texts are plainly free of sides and of writing.

A mirrored word is no word, and left becomes right. Texts that aren't plain English may speak of either, so
their pairs stay as they are; a pair that is spared a flip loses nothing but a variation.
"""

import re
from collections.abc import Sequence

HANDED = re.compile(
    r"\b(?:"
    # sides and turns
    r"left|right|clockwise|counter-?clockwise|anti-?clockwise|flip|mirror|revers|rotat|starboard|port ?side|"
    r"(?:north|south)?-?(?:east|west)(?:ern|ward|bound|erly|s?\b|-)|"
    # what is read, and what is written on
    r"texts?\b|textual|word|letter|writ(?:e|ing|ten)|wrote|caption|sa(?:y|id)|read(?!y)|spell|label|titl|subtitl|"
    r"sign(?!if)|logo|number|numer|digit|name|slogan|inscri|engrav|print|font|typograph|alphabet|headlin|heading|"
    r"messag|quot|phrase|sentence|brand|watermark|stamp|graffiti|poster|banner|billboard|newspaper|magazine|"
    r"book|menu|receipt|ticket|calendar|clock|watch|maps?\b|flag|keyboard|licen[cs]e|jersey|scoreboard|barcode|qr|"
    r"screen|chart|diagram|graph|tattoo|cards?\b|cover of"
    r")",
    re.IGNORECASE,
)
"""Words, or their beginnings, that a mirror makes wrong."""

ENGLISH = re.compile(
    r"\b(?:the|it|its|with|and|make|makes|add|turn|change|replace|remove|put|give|have|let|paint|draw|swap|"
    r"delete|erase|convert|transform|set|take|show|insert|fill|at|from|into|there|this|that|should|would|look|"
    r"looks|instead|more|less|too|not|was|were|has|are|as|by|be)\b",
    re.IGNORECASE,
)
"""Words that only English has; a text with none of them isn't plainly English."""

FOREIGN = re.compile(
    r"\b(?:der|das|den|dem|des|die|ein|eine|einen|einem|und|nach|mit|auf|zu|zum|zur|ist|nicht|le|la|les|un|une|"
    r"du|et|dans|sur|avec|pour|el|los|las|una|del|en|con|para|por|il|lo|gli|di|che|nel|sul|o|os|um|uma|na|em|"
    r"het|een|van|naar|met|och|det|ett|till|jest|na|w|do)\b",
    re.IGNORECASE,
)
"""Frequent words of other languages in Latin letters, unless English has them, too."""

PLAIN = re.compile(r"[A-Za-z\s.,;:!?()/&%\u2013\u2014\u2026-]*")
"""Without quotes, numerals, signs and letters of other languages."""

APOSTROPHE = re.compile(r"(?<=[A-Za-z])['\u2019](?=[A-Za-z])")
CAPITALS = re.compile(r"\b(?!I\b|A\b)[A-Z]+\b|[^.!?:;\s]\s+(?!I\b)[A-Z]")
"""A word in capitals, or a name: one that begins with a capital within a sentence."""


def may_be_mirrored(texts: Sequence[str], words: Sequence[str] | None = None) -> bool:
    """Whether all texts still hold for the mirrored images.

    Args:
        texts: instruction, feedback and answer of a pair; "None" says nothing.
        words: the user's words, or beginnings of words, none of which may be there; None for the rules of
            this file.
    """
    if words is None:
        return all(map(_is_free, texts))
    forbidden = re.compile("|".join(map(_beginning, words)) or r"(?!)", re.IGNORECASE)
    return not any(forbidden.search(text) for text in texts)


def _beginning(word: str) -> str:
    """A pattern of words that begin so; scripts without capitals have no spaces between words either."""
    has_capitals = word[:1].upper() != word[:1].lower()
    return rf"(?<!\w){re.escape(word)}" if has_capitals else re.escape(word)


def _is_free(text: str) -> bool:
    text = APOSTROPHE.sub("", text).strip()
    if text in ("", "None"):
        return True
    return (
        PLAIN.fullmatch(text) is not None
        and not any(rule.search(text) for rule in (CAPITALS, HANDED, FOREIGN))
        and ENGLISH.search(text) is not None
    )
