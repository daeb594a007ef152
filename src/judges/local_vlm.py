"""A client of a vision-language model in this process: Qwen2.5-VL or Qwen3-VL, with EditScore's LoRA adapters
if wanted.

    python -m src.check_judge judge=local_vlm judge.client.model=Qwen/Qwen3-VL-8B-Instruct
    python -m src.check_judge judge=editscore judge.client.adapter=EditScore/EditScore-Qwen3-VL-8B-Instruct

Questions asked at the same time are answered in batches. The network is in vlm_network.py.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Literal, final

import torch

from src.hub import error_summary
from src.judges.question import CallFailed, Question, Reply
from src.judges.vlm_inputs import NetworkInputs
from src.judges.vlm_network import Decoding, VLMNetwork

BATCH_WAIT = 0.005
"""Seconds that an incomplete batch waits for one more question."""


@final
class LocalVLM:
    """Answers questions with a vision-language model in this process. Implements `VLMClient`.

    The weights are loaded with the first question; config, tokenizer and image processor at once, so that a
    wrong name shows early and tokens can be counted without a GPU.

    Args:
        model: a folder, or an id of the Hugging Face hub.
        revision: of the hub id: a commit, tag or branch; None for the newest. The commit is part of the
            fingerprint.
        adapter: folder or hub id of a LoRA adapter, merged into the weights; None for none.
        dtype: "auto" (as stored), "bfloat16", "float16" or "float32".
        device: "auto" (the GPU if there is one), "cpu", "cuda" or "cuda:1".
        attention: "sdpa", "eager" or "flash_attention_2".
        max_new_tokens: longer answers are cut off, and then count as none.
        temperature: 0 always takes the most probable token.
        temperature_again: of the second try after an unreadable answer; at temperature 0 it would be the same
            again.
        top_p, top_k: at a temperature above 0, sample only among the most probable tokens, of this total
            probability and this number; 1 and 0 for all.
        seed: together with the question's `repeat` and `again` it determines the sampling, whatever else is
            in the batch.
        batch_size: questions answered together.
        probabilities: number of the most probable tokens returned with each token of the answer; 0 for none.
        exact_scores: where the answer holds a score, return the probability of every number in its place:
            P(its tokens, and no further digit or point behind them | images, question, answer up to there),
            renormalised over 0 ... max_score, as one alternative of several characters ("18"). Of several
            scores, each is conditioned on those written before it. This costs one more pass over the question
            per score, and makes the expected score exact even for two-digit numbers, whose digits are tokens
            of their own. It covers whole points in the tokenizer's own spelling; a score written otherwise
            ("4.5") is left as it is.

    Attributes:
        fingerprint, model: see VLMClient.

    Raises:
        FileNotFoundError: no such folder or hub id, or the hub can't be reached.
        ValueError: a model of another family, or a parameter out of range.
    """

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        adapter: str | None = None,
        dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto",
        device: str = "auto",
        attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa",
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        temperature_again: float = 0.7,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int = 0,
        batch_size: int = 8,
        probabilities: int = 0,
        exact_scores: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: at least 1")
        self.decoding = Decoding(
            max_new_tokens, temperature, temperature_again, top_p, top_k, seed, probabilities, exact_scores
        )
        self.model, self.batch_size = model, batch_size
        self.network = VLMNetwork(model, revision, adapter, dtype, device, attention)
        self.fingerprint = (
            f"local_vlm {self.network.version} max_new_tokens={max_new_tokens} "
            f"temperature={temperature:g},{temperature_again:g} top_p={top_p:g} top_k={top_k} seed={seed} "
            f"probabilities={probabilities} exact_scores={exact_scores}"
        )
        self._answered = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: asyncio.Queue[tuple[Question, asyncio.Future[Reply]]] = asyncio.Queue()
        self._server: asyncio.Task[None] | None = None

    def check_ready(self) -> None:
        """Have the weights on this machine, downloaded if need be. Raises as `check_weights`."""
        self.network.check_ready()

    async def ask(self, question: Question) -> Reply:
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._server is None or self._server.done():
            self._loop, self._waiting = loop, asyncio.Queue()
            self._server = loop.create_task(self._serve(self._waiting))
        start, future = time.monotonic(), loop.create_future()
        self._waiting.put_nowait((question, future))
        reply: Reply = await future
        return Reply(**{**vars(reply), "seconds": time.monotonic() - start})

    def tokens(self, question: Question) -> tuple[int, int]:
        """The exact number of tokens of the question, and the most that its answer can have."""
        return self.network.count_tokens(question), self.decoding.max_new_tokens

    def most_tokens(self, question: Question) -> tuple[int, int]:
        """The same, as they are exact and the longest."""
        return self.tokens(question)

    async def close(self) -> None:
        """End the queue; the weights stay loaded for the next questions."""
        if self._server is not None:
            self._server.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._server
            self._server = None

    async def _serve(self, waiting: "asyncio.Queue[tuple[Question, asyncio.Future[Reply]]]") -> None:
        """Answer waiting questions batch by batch, in a thread of its own."""
        while True:
            batch = [await waiting.get()]
            while len(batch) < self.batch_size:
                try:
                    batch.append(await asyncio.wait_for(waiting.get(), BATCH_WAIT))
                except TimeoutError:
                    break
            batch = [(question, future) for question, future in batch if not future.cancelled()]
            if not batch:
                continue
            try:
                replies = await asyncio.to_thread(self._answer, [question for question, _ in batch])
            except Exception as error:  # noqa: BLE001  # raised where each question was asked
                replies = [error] * len(batch)
            for (_, future), reply in zip(batch, replies, strict=True):
                if future.cancelled():
                    continue
                if isinstance(reply, Exception):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)

    def _answer(self, questions: Sequence[Question]) -> list[Reply | Exception]:
        """A reply or an error per question; an unanswerable question doesn't affect the others."""
        try:
            self.network.load()
        except (ValueError, FileNotFoundError) as error:
            return [CallFailed(str(error), "fatal") for _ in questions]
        prepared: list[NetworkInputs | Exception] = []
        for question in questions:
            try:
                prepared.append(self.network.prepare(question))
            except ValueError as error:
                prepared.append(CallFailed(str(error), "refused"))
        pairs = zip(questions, prepared, strict=True)
        replies = iter(
            self._generate([(question, each) for question, each in pairs if isinstance(each, NetworkInputs)])
        )
        return [each if isinstance(each, Exception) else next(replies) for each in prepared]

    def _generate(self, questions: Sequence[tuple[Question, NetworkInputs]]) -> list[Reply | Exception]:
        """The replies to a batch; if it doesn't fit into the memory, to its halves."""
        if not questions:
            return []
        try:
            replies = self.network.generate(questions, self.decoding)
        except torch.OutOfMemoryError as error:
            if len(questions) > 1:
                torch.cuda.empty_cache()
                middle = len(questions) // 2
                return [*self._generate(questions[:middle]), *self._generate(questions[middle:])]
            reason = (
                f"{self.model} ran out of memory over one question ({error_summary(error)}); lower "
                "judge.rubric.max_pixels or take a smaller model"
            )
            return [CallFailed(reason, "refused" if self._answered else "fatal")]
        self._answered += len(questions)
        return list(replies)
