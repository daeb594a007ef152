"""Qwen2.5-VL and Qwen3-VL through transformers: inputs, generation and exact probabilities of scores, with
EditScore's LoRA adapters if wanted.

The inputs are built in vlm_inputs.py.
"""

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import PIL.Image
import torch
from jaxtyping import Float
from peft import PeftConfig, PeftModel, load_peft_weights, set_peft_model_state_dict
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from src.hub import (
    check_adapter_learnt,
    check_weights,
    error_summary,
    load_by_name,
    version_of,
    weights_digest,
)
from src.json_files import read_json
from src.judges.question import AnswerSchema, ImagePart, Question, Reply
from src.judges.vlm_inputs import NetworkInputs, VLMReader
from src.seeds import fold_seed

BASE_FILE = "base.json"
"""In an adapter's folder, of the model that it was trained on: model, revision, and weights by digest."""

NUMBER = re.compile(r"\d+(?:\.\d+)?")
CONTINUES_NUMBER = tuple("0123456789.")
"""First characters of tokens that turn the number before them into another one."""

Alternatives = tuple[tuple[str, float], ...]


@final
@dataclass(frozen=True)
class Decoding:
    """How answers are generated. See LocalVLM.

    Raises:
        ValueError: a parameter out of range.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    temperature_again: float = 0.7
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    probabilities: int = 0
    exact_scores: bool = False

    def __post_init__(self) -> None:
        for name, value, least in (("max_new_tokens", self.max_new_tokens, 1), ("top_k", self.top_k, 0)):
            if value < least:
                raise ValueError(f"{name}={value}: at least {least}")
        coldest = min(self.temperature, self.temperature_again)
        if coldest < 0 or not 0 < self.top_p <= 1 or self.probabilities < 0:
            raise ValueError(
                f"temperature={coldest} top_p={self.top_p} probabilities={self.probabilities}: "
                "not negative, and top_p in (0, 1]"
            )


@final
class VLMNetwork:
    """A vision-language model in this process. Config, tokenizer and image processor are read at once, so
    that a wrong name shows early and tokens can be counted without a GPU; the weights by `load`.

    Args:
        model, revision, adapter, dtype, device, attention: see LocalVLM.

    Attributes:
        version: the weights, by commit or content, and everything else that shapes the inputs.

    Raises:
        FileNotFoundError: no such folder or hub id, or the hub can't be reached.
        ValueError: a model of another family, no chat template, or an adapter that is no LoRA.
    """

    def __init__(
        self,
        model: str,
        revision: str | None,
        adapter: str | None,
        dtype: Literal["auto", "bfloat16", "float16", "float32"],
        device: str,
        attention: Literal["sdpa", "eager", "flash_attention_2"],
    ) -> None:
        self.model, self.revision, self.adapter = model, revision, adapter
        self.dtype, self.attention = dtype, attention
        self.device = torch.device(
            ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        )
        self.reader = VLMReader(model, revision)
        self.config, self.images, self.words = self.reader.config, self.reader.images, self.reader.words
        self.version = f"{model}@{version_of(model, revision, 'config.json')}"
        if adapter is not None:
            settings = load_by_name(lambda: PeftConfig.from_pretrained(adapter), adapter)
            if settings.peft_type != "LORA":
                raise ValueError(
                    f"{adapter} is an adapter of type {settings.peft_type}; only LoRA adapters can be merged"
                )
            self.version += f" adapter={adapter}@{version_of(adapter, None, 'adapter_config.json')}"
        self.version += f" {dtype} {attention} {type(self.images).__name__}"
        self._network: Any = None

    def check_ready(self) -> None:
        """Have the weights on this machine, downloaded if need be. Raises as `check_weights`."""
        if self._network is None:
            check_weights(self.model, self.revision)

    def load(self) -> None:
        """Read the weights, unless they are loaded.

        Raises:
            ValueError: the adapter is of another model, or the weights don't fit into the memory.
            FileNotFoundError: no weights.
        """
        if self._network is not None:
            return
        try:
            network: Any = load_by_name(
                lambda: AutoModelForImageTextToText.from_pretrained(
                    self.model, revision=self.revision, dtype=self.dtype, attn_implementation=self.attention
                ),
                self.model,
            )
            if self.adapter is not None:
                network = merge_adapter(network, self.adapter, self.model)
            network = network.to(self.device).eval().requires_grad_(False)
        except torch.OutOfMemoryError as error:
            raise ValueError(
                f"{self.model} doesn't fit into the memory of {self.device} ({error_summary(error)}); "
                "take a smaller model"
            ) from error
        ends = network.generation_config.eos_token_id
        ends = [*(ends if isinstance(ends, list) else [ends]), self.words.eos_token_id]
        # the model's own settings (a temperature, a repetition penalty) must not slip in
        network.generation_config = GenerationConfig(
            eos_token_id=sorted({end for end in ends if end is not None}),
            pad_token_id=self.words.pad_token_id,
        )
        self._network = network

    def count_tokens(self, question: Question) -> int:
        """Tokens of a question. If it will be refused for its special tokens, its plain text is counted."""
        prompt = question.prompt
        for special in self.reader.special_tokens(prompt):
            prompt = prompt.replace(special, "")
        counts = [self.reader.placeholders(image.height, image.width) for image in question.images]
        return len(self.reader.tokenize(self.reader.chat(prompt, len(counts)), counts))

    def prepare(self, question: Question) -> NetworkInputs:
        """A question as tokens and patches. Raises as `VLMReader.read`."""
        return self.reader.read(question.prompt, [decode_to_pixels(image) for image in question.images])

    def pad(self, batch: Sequence[NetworkInputs]) -> dict[str, Tensor]:
        """Questions of different lengths as one batch, padded on the left."""
        tensors = self.reader.pad(batch)
        tensors["pixel_values"] = tensors["pixel_values"].to(self._network.dtype)
        return {name: value.to(self.device) for name, value in tensors.items()}

    @torch.inference_mode()
    def generate(
        self, questions: Sequence[tuple[Question, NetworkInputs]], decoding: Decoding
    ) -> list[Reply]:
        """The replies to a batch of questions."""
        choice = TokenChoice(
            [fold_seed("local_vlm", decoding.seed, each.repeat, each.again) for each, _ in questions],
            [decoding.temperature_again if each.again else decoding.temperature for each, _ in questions],
            decoding.top_p,
            decoding.top_k,
            decoding.probabilities,
        )
        batch = self.pad([inputs for _, inputs in questions])
        generated = self._network.generate(
            **batch,
            do_sample=False,
            max_new_tokens=decoding.max_new_tokens,
            logits_processor=LogitsProcessorList([choice]),
        )
        generated = generated[:, batch["input_ids"].shape[1] :].tolist()
        ends = set(self._network.generation_config.eos_token_id)
        replies = []
        for row, (question, inputs) in enumerate(questions):
            end = next((index for index, token in enumerate(generated[row]) if token in ends), None)
            written = generated[row][:end]
            alternatives: tuple[Alternatives, ...] = ()
            if decoding.probabilities or decoding.exact_scores:
                alternatives = self._alternatives(choice, row, written)
            if decoding.exact_scores:
                alternatives = self._with_number_shares(inputs, question.schema, written, alternatives)
            finish = "length" if end is None else "stop"
            replies.append(self._reply(written, finish, len(inputs.ids), alternatives))
        return replies

    def _reply(
        self, written: Sequence[int], finish: str, asked: int, alternatives: tuple[Alternatives, ...]
    ) -> Reply:
        text = self.words.decode(written, skip_special_tokens=True)
        whole = self.words.decode(written, skip_special_tokens=False)
        raw = json.dumps({"text": whole, "tokens": list(written), "finish": finish}, ensure_ascii=False)
        return Reply(text, finish, asked, len(written), 0.0, alternatives, raw)

    def _alternatives(
        self, choice: "TokenChoice", row: int, written: Sequence[int]
    ) -> tuple[Alternatives, ...]:
        """The alternatives to the answer's tokens; special tokens are left out, as in the text."""
        special = set(self.words.all_special_ids)
        return tuple(
            tuple((self.words.decode([other]), share) for other, share in choice.alternatives(row, step))
            for step, token in enumerate(written)
            if token not in special
        )

    def _with_number_shares(
        self,
        inputs: NetworkInputs,
        schema: AnswerSchema,
        written: Sequence[int],
        alternatives: tuple[Alternatives, ...],
    ) -> tuple[Alternatives, ...]:
        """The alternatives with each written score as one token, whose alternatives are all numbers in its
        place.
        """
        special = set(self.words.all_special_ids)
        positions = [index for index, token in enumerate(written) if token not in special]
        result = list(alternatives)
        for first, last in reversed(score_spans([options[0][0] for options in alternatives], schema)):
            number = "".join(options[0][0] for options in alternatives[first:last])
            before = torch.tensor([*inputs.ids.tolist(), *written[: positions[first]]])
            shares = self.number_shares(
                NetworkInputs(before, inputs.pixels, inputs.grids), int(schema.max_score)
            )
            ordered = sorted(enumerate(shares), key=lambda pair: (str(pair[0]) != number, -pair[1]))
            result[first:last] = [tuple((str(value), share) for value, share in ordered)]
        return tuple(result)

    @torch.inference_mode()
    def number_shares(self, inputs: NetworkInputs, highest: int) -> list[float]:
        """P(number | inputs) for 0 ... highest, renormalised over them; see `exact_scores` of LocalVLM.

        All numbers are read at once behind a copy of the cache of what precedes them.
        """
        network, cache = self._network, DynamicCache()
        numbers = [
            self.words(str(number), add_special_tokens=False)["input_ids"] for number in range(highest + 1)
        ]
        longest = max(map(len, numbers))
        batch = self.pad([inputs])
        length = batch["input_ids"].shape[1]
        before = network(**batch, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1]
        cache.batch_repeat_interleave(len(numbers))
        ids = torch.tensor(
            [tokens + [self.words.pad_token_id] * (longest - len(tokens)) for tokens in numbers],
            device=self.device,
        )
        positions = (
            length + int(network.model.rope_deltas.reshape(-1)[0]) + torch.arange(longest, device=self.device)
        )
        positions = positions.expand(3, len(numbers), longest)
        behind = network(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True).logits
        # following[i, j]: log probabilities of what follows the first j tokens of number i
        following = torch.cat([before.expand(len(numbers), 1, -1), behind], dim=1).float().log_softmax(-1)
        ends = (1 - following.exp() @ self._continues_number(following.shape[-1]).to(following)).clamp(min=0)
        shares = [
            float(
                torch.stack([following[row, step, token] for step, token in enumerate(tokens)]).sum().exp()
                * ends[row, len(tokens)]
            )
            for row, tokens in enumerate(numbers)
        ]
        total = sum(shares)
        return [share / total for share in shares]

    def _continues_number(self, size: int) -> Float[Tensor, " vocabulary"]:
        """1 for the tokens that turn a number before them into another one."""
        tokens = self.words.convert_ids_to_tokens(list(range(len(self.words))))
        marks = torch.zeros(size)
        marks[: len(tokens)] = torch.tensor(
            [float(token is not None and token.startswith(CONTINUES_NUMBER)) for token in tokens]
        )
        return marks


@final
class TokenChoice(LogitsProcessor):
    """Chooses the next token of each row by the row's own random numbers, suppresses all others, and records
    the probabilities.

    With a global generator, the token sampled would depend on the rest of the batch. The recorded
    probabilities are those of the network itself, before temperature, top_k and top_p.

    Args:
        seeds, temperatures: one per row; at temperature 0 the most probable token is taken.
        top_p, top_k: see LocalVLM.
        count: number of alternatives to record.
    """

    def __init__(
        self, seeds: Sequence[int], temperatures: Sequence[float], top_p: float, top_k: int, count: int
    ) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.temperatures = torch.tensor(temperatures)
        self.warpers = LogitsProcessorList()
        if top_k > 0:
            self.warpers.append(TopKLogitsWarper(top_k))
        if top_p < 1:
            self.warpers.append(TopPLogitsWarper(top_p))
        self.count = count
        self.steps: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def __call__(
        self, input_ids: Any, scores: Float[Tensor, "rows vocabulary"]
    ) -> Float[Tensor, "rows vocabulary"]:
        shares, chosen = scores.float().softmax(-1), scores.argmax(-1)
        is_sampled = (self.temperatures > 0).to(scores.device)
        if is_sampled.any():
            uniform = torch.stack(
                [torch.rand((), generator=each, dtype=torch.float64) for each in self.generators]
            ).to(scores.device)
            temperatures = torch.where(self.temperatures > 0, self.temperatures, 1.0).to(scores.device)
            warped = self.warpers(input_ids, scores.float() / temperatures.unsqueeze(1))
            cumulative = warped.softmax(-1).double().cumsum(-1)
            threshold = (uniform * cumulative[:, -1]).unsqueeze(1)
            sampled = torch.searchsorted(cumulative, threshold, right=True).squeeze(1)
            chosen = torch.where(is_sampled, sampled, chosen)
        top = shares.topk(min(max(self.count, 1), shares.shape[-1]))
        share = shares.gather(1, chosen.unsqueeze(1)).squeeze(1)
        self.steps.append((chosen.cpu(), share.cpu(), top.indices.cpu(), top.values.cpu()))
        return torch.full_like(scores, -torch.inf).scatter(1, chosen.unsqueeze(1), 0.0)

    def alternatives(self, row: int, step: int) -> list[tuple[int, float]]:
        """`count` tokens with their probabilities: the chosen one, then the most probable others."""
        chosen, share, others, shares = (values[row] for values in self.steps[step])
        rest = [
            (int(token), float(other_share))
            for token, other_share in zip(others, shares, strict=True)
            if int(token) != int(chosen)
        ]
        return [(int(chosen), float(share)), *rest[: max(self.count, 1) - 1]]


def score_spans(tokens: Sequence[str], schema: AnswerSchema) -> list[tuple[int, int]]:
    """Where the scores stand in an answer: [first, last) tokens of each whole number of points after the last
    mention of the score's name.

    Numbers that share a token with other text, and those that are no valid points, are left out.
    """
    starts = np.cumsum([0, *map(len, tokens)]).tolist()
    text = "".join(tokens)
    name = text.rfind(schema.score)
    if name < 0:
        return []
    spans = []
    for number in list(NUMBER.finditer(text, name + len(schema.score)))[: schema.count]:
        is_valid = (
            number[0].isdecimal() and str(int(number[0])) == number[0] and int(number[0]) <= schema.max_score
        )
        if is_valid and number.start() in starts and number.end() in starts:
            # a token without text begins where the next one does
            spans.append((len(starts) - 1 - starts[::-1].index(number.start()), starts.index(number.end())))
    return spans


def check_adapter_base(weights: Mapping[str, Tensor], adapter: str, model: str) -> None:
    """Raise ValueError if an adapter's folder says that it was trained on other weights than a model's; equal
    shapes would hide it.

    Args:
        weights: of the model, all of them.
        adapter: a folder, or a hub id, which says nothing.
        model: its name, for the message.
    """
    told = Path(adapter) / BASE_FILE
    if not told.is_file():
        return
    base = read_json(told)
    recorded = base.get("weights") if isinstance(base, dict) else None
    here = weights_digest(weights)
    if recorded != here:
        named = " at ".join(str(base[each]) for each in ("model", "revision") if recorded and base.get(each))
        raise ValueError(
            f"the adapter {adapter} was trained on {named}, whose weights are {recorded}, and those of "
            f"{model} are {here}: give the model that it was trained on, in the same revision (float16 "
            "rounds them: say judge.client.dtype=auto)"
        )


def merge_adapter(network: Any, adapter: str, model: str) -> Any:
    """The network with a LoRA adapter added to its weights.

    Raises:
        ValueError: the adapter was made for another model.
    """
    reason = f"the adapter {adapter} doesn't fit {model}: "
    settings = PeftConfig.from_pretrained(adapter)
    # not every adapter names its model; where one does, equal shapes don't count
    made_for = (settings.auto_mapping or {}).get("base_model_class", type(network).__name__)
    if made_for != type(network).__name__:
        raise ValueError(f"{reason}it was made for {made_for}, and this is {type(network).__name__}")
    check_adapter_base(network.state_dict(), adapter, model)
    try:
        adapted = PeftModel(network, settings)
        weights = load_peft_weights(adapter, device="cpu")
        check_adapter_learnt(weights, adapter)
        loaded = set_peft_model_state_dict(adapted, weights)
    except (ValueError, RuntimeError) as error:
        raise ValueError(reason + error_summary(error)) from error
    missing = [name for name in loaded.missing_keys if "lora_" in name]
    if missing or loaded.unexpected_keys:
        raise ValueError(
            f"{reason}{len(missing)} weights are missing in it and {len(loaded.unexpected_keys)} "
            "have no place in the model"
        )
    base: Any = adapted.base_model
    return base.merge_and_unload()


def decode_to_pixels(image: ImagePart) -> np.ndarray:
    """The RGB pixels of an encoded image."""
    with PIL.Image.open(io.BytesIO(image.content)) as opened:
        return np.asarray(opened.convert("RGB"))
