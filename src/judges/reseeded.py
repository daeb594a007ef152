"""A client with its seeds shifted: what it would have answered on another day. Measures how repeatable its
answers are.
"""

from dataclasses import replace
from typing import final

from src.judges.question import Question, Reply, VLMClient

REPEAT_OFFSET = 1000
"""Added to a question's repeat, from which a client derives its seed; rubrics ask for fewer repeats."""


@final
class Reseeded:
    """Wraps a client and shifts its seeds. Implements `VLMClient`. At temperature 0 nothing is sampled, and
    the answers are the client's own, as far as its machine repeats them.

    Args:
        client: the model that answers.
    """

    def __init__(self, client: VLMClient) -> None:
        self.client = client
        self.model = client.model
        self.fingerprint = f"{client.fingerprint} redrawn"  # as ledgers know it

    async def ask(self, question: Question) -> Reply:
        return await self.client.ask(replace(question, repeat=question.repeat + REPEAT_OFFSET))

    def tokens(self, question: Question) -> tuple[int, int]:
        """As the client counts them."""
        return self.client.tokens(question)

    def most_tokens(self, question: Question) -> tuple[int, int]:
        """As the client bounds them."""
        return self.client.most_tokens(question)

    async def close(self) -> None:
        """Close the client."""
        await self.client.close()
