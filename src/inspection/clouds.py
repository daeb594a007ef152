"""Word clouds of feedback, the paper's Figure 4: the larger a word, the more texts contain it."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from matplotlib.colors import to_rgb
from wordcloud import STOPWORDS, WordCloud

from src.data.feedback_sentiment import Polarity, polarity_of
from src.fonts import drawable_letters, shipped_font
from src.records import Image

WORD = re.compile(r"[^\W\d_][\w'\u2019-]*")
SIZE = 720, 400
"""Width and height in pixels."""

MOST_WORDS = 80


@final
@dataclass(frozen=True)
class WordCounts:
    """Words of texts.

    Attributes:
        counts: number of texts with the word; stop words (the, was) are left out.
        undrawable: the same for words that the font can't draw.
    """

    counts: Mapping[str, int]
    undrawable: Mapping[str, int]


def count_words(texts: Iterable[str], font: Path | None = None) -> WordCounts:
    """Count the words of texts, without texts that say that nothing failed.

    Args:
        texts: feedback.
        font: decides which words can be drawn; None for the default.

    Raises:
        FileNotFoundError: no such font.
    """
    letters = drawable_letters(shipped_font() if font is None else font)
    counts: Counter[str] = Counter()
    for text, times in Counter(texts).items():
        if polarity_of(text) is not Polarity.NOTHING:
            for word in sorted({word.lower() for word in WORD.findall(text)} - STOPWORDS):
                counts[word] += times
    drawable = {word: all(ord(letter) in letters for letter in word) for word in counts}
    return WordCounts(
        {word: number for word, number in counts.items() if drawable[word]},
        {word: number for word, number in counts.items() if not drawable[word]},
    )


def draw_cloud(counts: Mapping[str, int], colour: str, font: Path | None = None) -> Image | None:
    """Draw a word cloud in shades of one colour, the same at every call; None if there is no word."""
    if not counts:
        return None
    strongest = max(counts.values())
    red, green, blue = (round(255 * part) for part in to_rgb(colour))

    def shade(word: str, **_: object) -> str:
        # rare words are paler, but never too pale to read
        pale = 0.35 * (1 - counts[word] / strongest)
        return "rgb({}, {}, {})".format(*(round(part + pale * (255 - part)) for part in (red, green, blue)))

    made = WordCloud(
        width=SIZE[0],
        height=SIZE[1],
        font_path=str(shipped_font() if font is None else font),
        background_color="white",
        max_words=MOST_WORDS,
        prefer_horizontal=0.97,
        relative_scaling=0.4,  # pyright: ignore[reportArgumentType]  # annotated as str, used as float
        max_font_size=110,
        margin=4,
        random_state=0,
        color_func=shade,
    )
    # the library breaks ties of frequency by the order given
    return np.asarray(made.generate_from_frequencies(dict(sorted(counts.items()))).to_image())
