"""Prices of tokens. They are set in conf/judge/*.yaml with date and source; a model of unknown price has none
(null), and then no budget.
"""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Price:
    """Dollars per million tokens.

    Attributes:
        input_per_million: of prompts, images included.
        output_per_million: of replies.

    Raises:
        ValueError: a negative price.
    """

    input_per_million: float
    output_per_million: float

    def __post_init__(self) -> None:
        if not (self.input_per_million >= 0 and self.output_per_million >= 0):
            raise ValueError(
                f"a price is not negative, got {self.input_per_million} and {self.output_per_million} "
                "dollars per million tokens"
            )

    def dollars(self, input_tokens: int, output_tokens: int) -> float:
        """The price of these tokens."""
        return (input_tokens * self.input_per_million + output_tokens * self.output_per_million) / 1_000_000
