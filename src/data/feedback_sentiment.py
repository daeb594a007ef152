"""The polarity of a feedback text (nothing failed, praise, or a failure), to check it against its score.

A feedback names what failed, so every English text that is neither "nothing" nor praise counts as a failure.
Praise must be clear: words of praise and none that qualify it ("well done, but the hat is missing" is a
failure). Texts in other scripts are not read at all.
"""

import re
from enum import StrEnum
from functools import lru_cache


class Polarity(StrEnum):
    """What a text says about its perspective."""

    NOTHING = "nothing failed"
    PRAISE = "praise"
    FAILURE = "a failure"
    UNREAD = "in a script that is not read"


NOTHING = re.compile(
    r"(none( (needed|noted|found|observed|apparent|visible))?|"
    r"nothing( (failed|is wrong|went wrong|to (report|criti[cs]i[sz]e)))?"
    r"|n/?a|null|nil|-+|not applicable"
    r"|no (\w+ )?(failures?|issues?|problems?|flaws?|errors?|feedback|complaints?|comments?)"
    r"( (found|detected|observed|noted|here|at all))?|)"
)
"""A whole text that says that nothing failed, in lower case, without quotes and stops at its ends."""

FAULTS = (
    r"(artifacts?|artefacts?|distortions?|issues?|problems?|flaws?|changes?|errors?|failures?|defects?|"
    r"noise|blur|blurring|mistakes?|"
    r"alterations?|differences?|failed|wrong|(is|was|has been) (lost|wrong|missing))"
)
OF_ANY_KIND = (
    r"( (any|visible|noticeable|obvious|apparent|other|unintended|unwanted|significant|major|real|"
    r"signs? of|traces? of|or|and|else|of|the)|,)*"
)
ABSENT = re.compile(
    rf"\b(no|without|free (of|from)|not any|nothing|none){OF_ANY_KIND} {FAULTS}({OF_ANY_KIND} {FAULTS})*\b"
)
"""The absence of a failure: praise in words that name one."""

PRAISES = re.compile(
    r"\b(perfect(ly)?|excellent(ly)?|flawless(ly)?|great|"
    r"well[- ](done|executed|preserved|followed|integrated|kept|made)|very (good|well)|good|"
    r"outstanding|superb|successful(ly)?|correct(ly)?|accurate(ly)?|faithful(ly)?|exactly (as|what)|"
    r"high[- ]quality|sharp and clear|"
    r"(fully|completely|entirely) (done|followed|preserved|kept|intact|unchanged)|impressive|beautiful(ly)?|"
    r"realistic and clean|natural and clean)\b"
)

QUALIFIES = re.compile(
    r"\b(not|\w+n't|cannot|never|no longer|neither|nor|no|fail(s|ed|ure)?|miss(es|ing|ed)|lacks?|lacking|"
    r"without|wrong(ly)?|incorrect(ly)?|inaccurate(ly)?|blur(s|red|ry|ring)?|nois[ey]\w*|grainy|"
    r"artifacts?|artefacts?|distort\w*|lost|chang(es|ed)|altered|different|disappear\w*|should|"
    r"but|however|although|though|except|instead|too|less|only|slight(ly)?|minor|some(what|thing)?|"
    r"partial(ly)?|partly|half|poor(ly)?|bad(ly)?|"
    r"unnatural(ly)?|unrealistic|inconsisten\w*|could|need(s|ed)?|unintended|unsuccessful(ly)?|"
    r"imperfect(ly)?|mistake|almost|nearly|hardly|barely|far)\b"
)

READABLE = 0.5
"""Least share of Latin letters in a text that is read."""


@lru_cache(maxsize=65536)
def polarity_of(text: str) -> Polarity:
    """Classify a feedback text."""
    letters = [letter for letter in text if letter.isalpha()]
    if letters and sum(letter < "\u0250" for letter in letters) < READABLE * len(letters):
        return Polarity.UNREAD
    plain = " ".join(text.lower().replace("\u2019", "'").split()).strip(" .!\"'`()[]*;:")
    if NOTHING.fullmatch(plain):
        return Polarity.NOTHING
    rest, absences = ABSENT.subn(" ", plain)
    praised = absences > 0 or PRAISES.search(rest) is not None
    return Polarity.PRAISE if praised and QUALIFIES.search(rest) is None else Polarity.FAILURE
