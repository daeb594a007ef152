"""The same respondent with other random numbers: what it would have answered on another day. For measuring
how far its answers can be repeated.
"""

from dataclasses import replace
from typing import final

from src.judges.question import Question, Reply, Respondent

FAR = 1000
"""Added to a question's repeat, from which a respondent derives its seed; rubrics ask for fewer repeats."""


@final
class Redrawn:
    """Implements `Respondent`. Where nothing is drawn (temperature 0), the answers are the respondent's own,
    as far as its machine repeats them.

    Args:
        respondent: who answers.
    """

    def __init__(self, respondent: Respondent) -> None:
        self.respondent = respondent
        self.model = respondent.model
        self.fingerprint = f"{respondent.fingerprint} redrawn"

    async def ask(self, question: Question) -> Reply:
        return await self.respondent.ask(replace(question, repeat=question.repeat + FAR))

    def tokens(self, question: Question) -> tuple[int, int]:
        """As the respondent counts them."""
        return self.respondent.tokens(question)

    async def close(self) -> None:
        """Close the respondent."""
        await self.respondent.close()
