"""The names that a misspelt one may have meant."""

import difflib
import re
from collections.abc import Iterable, Mapping

CLOSE, SIBLING = 0.8, 0.6
"""Least similarity (difflib's ratio) of a name that is meant, and of one in the same place."""

MOST, MUCH = 3, 0.1


def nearest(name: str, names: Iterable[str], most: int = MOST) -> list[str]:
    """Names like this one, the likeliest first: those that end in it, or else those spelt like it in the same
    place, anywhere, or in their last part (`max_step` means `trainer.max_steps`).
    """
    known, parts = sorted(set(names), key=lambda each: (len(_parts(each)), each)), _parts(name)
    found = [each for each in known if _parts(each)[-len(parts) :] == parts]
    siblings = {_parts(each)[-1]: each for each in known if _parts(each)[:-1] == parts[:-1]}
    whole = {".".join(_parts(each)): each for each in known}
    found = found or _close(parts[-1], siblings, SIBLING) or _close(".".join(parts), whole, CLOSE)
    ends = difflib.get_close_matches(parts[-1], {_parts(each)[-1] for each in known}, 1, CLOSE)
    return (found or [each for each in known if _parts(each)[-1] in ends])[:most]


def did_you_mean(name: str, names: Iterable[str], form: str = "{}") -> str:
    """The question "; did you mean a or b?", or nothing where no name is near.

    Args:
        name: as typed.
        names: that there are.
        form: of each name in the question.
    """
    found = [form.format(each) for each in nearest(name, names)]
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _close(word: str, names: Mapping[str, str], cutoff: float) -> list[str]:
    """The names that a word is like, without those that are much less like it than the best."""
    found = difflib.get_close_matches(word, names, MOST, cutoff)
    alike = [difflib.SequenceMatcher(None, match, word).ratio() for match in found]
    return [names[match] for match, ratio in zip(found, alike, strict=True) if ratio > alike[0] - MUCH]


def _parts(name: str) -> list[str]:
    return [part.lower().replace("-", "_") for part in re.split(r"[./@]", name)]
