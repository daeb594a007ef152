"""A vision-language model with a LoRA adapter that learns to judge. Words and pictures are read by the same
code as in judging (vlm_network.py).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

import torch
from jaxtyping import Float, Int
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText

from src.files import discard, replacing
from src.hub import error_summary, load_by_name, weights_digest
from src.judges.question import Question
from src.judges.vlm_network import BASE_FILE, NetworkInputs, VLMNetwork

NO_TARGET = -100
"""Marks tokens that are no part of an answer."""


@final
class AnsweredQuestion(NamedTuple):
    """A question with its answer, as the network takes it: tokens, and the number of the answer's."""

    inputs: NetworkInputs
    answer: int


@final
class AnsweredBatch(NamedTuple):
    """Several of them.

    Attributes:
        ids: of the rows, for messages.
        tensors: what the network takes, padded on the left.
        targets: the answers' tokens where they are to be said, else NO_TARGET, for as many last positions as
            the longest answer has.
        count: number of the answers' tokens.
    """

    ids: Sequence[str]
    tensors: dict[str, Tensor]
    targets: Int[Tensor, "rows longest"]
    count: int


@final
class AnswerReader:
    """Questions and answers as tokens and patches. Needs no weights.

    Args:
        model, revision, dtype, attention: see LocalVLM.
        longest: most tokens of a question with its answer; nothing is cut off.

    Raises:
        FileNotFoundError: no such model.
        ValueError: a model of another family.
    """

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto",
        attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa",
        longest: int = 8192,
    ) -> None:
        self.network = VLMNetwork(model, revision, None, dtype, "cpu", attention)
        self.longest = longest

    def answer_ids(self, answer: str) -> list[int]:
        """The tokens of an answer, with the one that ends it."""
        words = self.network.words
        return [*words(answer, add_special_tokens=False)["input_ids"], words.eos_token_id]

    def length(self, question: Question, answer: str) -> int:
        """Tokens of both."""
        return self.network.count_tokens(question) + len(self.answer_ids(answer))

    def read(self, question: Question, answer: str) -> AnsweredQuestion:
        """Both as tokens. Raises ValueError for a question that holds special tokens."""
        asked, said = self.network.prepare(question), self.answer_ids(answer)
        ids = torch.cat([asked.ids, torch.tensor(said)])
        return AnsweredQuestion(NetworkInputs(ids, asked.pixels, asked.grids), len(said))

    def batch(self, ids: Sequence[str], rows: Sequence[AnsweredQuestion]) -> AnsweredBatch:
        """Several of different lengths."""
        tensors, most = self.network.reader.pad([row.inputs for row in rows]), max(row.answer for row in rows)
        targets = torch.full((len(rows), most), NO_TARGET)
        for place, (inputs, answer) in enumerate(rows):
            targets[place, most - answer :] = inputs.ids[-answer:]
        return AnsweredBatch(ids, tensors, targets, sum(row.answer for row in rows))


@final
class TunedVLM(nn.Module):
    """The model, frozen, with an adapter that is trained.

    Args:
        model, revision, dtype, attention: see LocalVLM.
        adapter: of which layers, how wide; `target_modules` names those of the language model alone, so that
            the pictures are seen as before.
        gradient_checkpointing: activations are computed again in the backward pass: less memory, a third
            slower.

    Raises:
        FileNotFoundError: no such model.
        ValueError: the adapter names no layer.
    """

    def __init__(
        self,
        model: str,
        adapter: LoraConfig,
        revision: str | None = None,
        dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto",
        attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa",
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        network: Any = load_by_name(
            lambda: AutoModelForImageTextToText.from_pretrained(
                model, revision=revision, dtype=dtype, attn_implementation=attention
            ),
            model,
        )
        network.requires_grad_(False)
        self.base = {"model": model, "revision": revision, "weights": weights_digest(network.state_dict())}
        if gradient_checkpointing:
            network.gradient_checkpointing_enable({"use_reentrant": False})
        try:
            self.network: Any = get_peft_model(network, adapter)
        except ValueError as error:
            raise ValueError(
                f"adapter.target_modules={adapter.target_modules} adapter.r={adapter.r}: no such adapter of "
                f"{model} ({error_summary(error)})"
            ) from error

    def forward(self, batch: AnsweredBatch) -> Float[Tensor, "rows longest vocabulary"]:
        """The logits from which the last tokens, the answers, are said."""
        most = batch.targets.shape[1]
        tensors = {**batch.tensors, "pixel_values": batch.tensors["pixel_values"].to(self.network.dtype)}
        return self.network(**tensors, use_cache=False, logits_to_keep=most + 1).logits[:, :-1]

    def trained_state(self) -> dict[str, Tensor]:
        """The adapter's weights by name."""
        return {name: value for name, value in self.named_parameters() if value.requires_grad}

    def save(self, folder: Path) -> None:
        """Write the adapter as a PEFT folder, which judge.client.adapter= takes. Raises NotWrittenError."""
        if folder.exists():
            discard(folder)  # of a training that was continued
        with replacing(folder) as partial:
            self.network.save_pretrained(str(partial))
            (partial / BASE_FILE).write_text(json.dumps(self.base, indent=2) + "\n", encoding="utf-8")
