"""Prices of tokens, and what a call is charged. Prices are set in conf/judge/*.yaml with date and source; a
model of unknown price has none (null), and then no budget.

A call is charged the tokens that its server tells. Where it tells none, or fewer than the question can have,
it is charged the estimate, and where it tells more than a call can have, the most that it can. So a budget
holds whatever a server tells. Calls that are not charged as told are counted as estimated.
"""

from dataclasses import dataclass
from typing import final

from src.judges.question import Reply

LEAST_SHARE = 0.9
"""Of the estimate of a question's tokens, and the least that is believed: estimates are within 5 % of what
OpenAI counts.
"""
LEAST_WRITTEN = 0.5
"""The same of a reply's tokens, whose estimate from the length of its text is rougher."""


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


@final
@dataclass(frozen=True)
class Charge:
    """The tokens of a call and their price.

    Attributes:
        input_tokens, output_tokens: charged.
        dollars: by the price at the time; 0 if it is unknown.
        is_estimated: whether they are not what the server told.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    dollars: float = 0.0
    is_estimated: bool = False


def charge_estimate(price: Price | None, tokens: tuple[int, int]) -> Charge:
    """The charge of a call of which nothing is known but the estimated tokens of question and answer."""
    return Charge(*tokens, price.dollars(*tokens) if price else 0.0, is_estimated=True)


def charge_reply(
    price: Price | None, reply: Reply, expected: tuple[int, int], most: tuple[int, int]
) -> Charge:
    """The charge of a call that brought a reply.

    Args:
        price: of tokens; None if unknown.
        reply: with the tokens that the server tells.
        expected: tokens of question and answer, estimated before the call.
        most: tokens that they can have at most.
    """
    written = most[1] if reply.finish == "length" else max(expected[1], reply.written_tokens)
    question, is_given = believed(reply.input_tokens, LEAST_SHARE * expected[0], expected[0], most[0])
    answer, is_taken = believed(
        reply.output_tokens, LEAST_WRITTEN * reply.written_tokens, written, max(most[1], reply.written_tokens)
    )
    dollars = price.dollars(question, answer) if price else 0.0
    return Charge(question, answer, dollars, not (is_given and is_taken))


def believed(told: int | None, least: float, expected: int, most: int) -> tuple[int, bool]:
    """The tokens to charge, and whether they are those that were told."""
    if told is None or told < least:
        return expected, False
    return min(told, most), told <= most
