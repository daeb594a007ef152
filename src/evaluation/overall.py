"""The overall score of an edit as in GEdit-Bench and EditScore: sqrt(min(following, preserving) quality).

A mean of three scores calls a photograph that was left alone a good edit (0/5/5 is 3.33); here it is 0, as it
does not follow.
"""

import math

from src.records import check_score


def overall_score(following: float | None, preserving: float | None, quality: float | None) -> float | None:
    """The geometric mean of the worse of following and preserving, and of quality.

    It lies between the lowest of the three and 5, never falls when one of them rises, is 0 for a copy of the
    input and 5 only for 5/5/5. Source: VIEScore (Ku et al., 2024), the root of semantics times quality with
    semantics the minimum of its parts, as GEdit-Bench and EditScore have taken it over.

    Args:
        following, preserving, quality: in [0, 5]; None if the judge failed or was not asked.

    Returns:
        In [0, 5]; None if one of the three is missing.

    Raises:
        ValueError: a score outside [0, 5].
    """
    if following is None or preserving is None or quality is None:
        return None
    for score in (following, preserving, quality):
        check_score(score)
    return math.sqrt(min(following, preserving) * quality)
