"""A respondent on this machine: Qwen2.5-VL or Qwen3-VL through transformers, with EditScore's LoRA adapters
if wanted.

    python -m src.check_judge judge=local_vlm judge.respondent.model=Qwen/Qwen3-VL-8B-Instruct
    python -m src.check_judge judge=editscore judge.respondent.adapter=EditScore/EditScore-Qwen3-VL-8B-Instruct

Questions asked at once are answered in batches. The inputs are built here from image processor and tokenizer:
the library's whole processor can't be built without torchvision, and of what it does for still images only
the number of place holders is needed, height x width / merge^2 of the grid of patches, for both families
(tested against the library's own processors).
"""

import asyncio
import contextlib
import io
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import PIL.Image
import torch
from jaxtyping import Float, Int
from peft import PeftConfig, PeftModel, load_peft_weights, set_peft_model_state_dict
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoTokenizer,
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from src.hub import error_summary, load_by_name, version_of
from src.judges.question import Encoded, Form, Question, Reply, Unanswered
from src.seeds import fold_seed

FAMILIES = ("qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")
"""Model types whose place holders are known."""

PLACE_HOLDER = "<|image_pad|>"

PATIENCE = 0.005
"""Seconds that a batch that isn't full waits for one more question."""

NUMBER = re.compile(r"\d+(?:\.\d+)?")
CONTINUES = tuple("0123456789.")
"""What makes the number before it another number."""

Alternatives = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Inputs:
    """One question as the network takes it.

    Attributes:
        ids: tokens, the place holders of the images expanded.
        pixels: patches of all its images, one a row.
        grids: per image (1, rows, columns) of its patches.
    """

    ids: Int[Tensor, " length"]
    pixels: Float[Tensor, "patches values"]
    grids: Int[Tensor, "pictures 3"]


@final
class LocalVLM:
    """Answers questions with a vision-language model in this process. Implements `Respondent`.

    The weights are loaded when the first question is asked; config, tokenizer and image processor at once, so
    that a wrong name shows early and questions can be counted without a GPU.

    Args:
        model: a folder, or an id of the Hugging Face hub.
        revision: of the hub id: a commit, tag or branch; None for the newest. The commit found is part of the
            fingerprint.
        adapter: folder or hub id of a LoRA adapter, merged into the weights; None for none.
        dtype: "auto" (as stored), "bfloat16", "float16" or "float32".
        device: "auto" (the GPU if there is one), "cpu", "cuda" or "cuda:1".
        attention: "sdpa", "eager" or "flash_attention_2".
        max_new_tokens: an answer that is longer is cut off, and then counts as none.
        temperature: 0 always takes the most probable token.
        temperature_again: of the second attempt at a question whose first answer couldn't be read: at
            temperature 0 it would be the same again.
        top_p, top_k: with a temperature, only the most probable tokens are drawn, of this total probability
            and this many; 1 and 0 for all.
        seed: with the question's `repeat` and `again` it decides what is drawn, whichever questions share a
            batch.
        batch_size: questions answered together.
        probabilities: so many of the most probable tokens are told with each token of the answer; 0 for none.
        exact_scores: where the answer holds a score, tell the probability of every number that it could have
            been: P(its tokens, and no further digit or point behind them | images, question, answer up to
            there), renormalised over 0 ... max_score, as one alternative of several characters ("18"). Of
            several scores, each is conditioned on those written before it. This costs one more reading of the
            question per score, and makes the expected score exact also where numbers have two digits, of
            which each is a token. Only whole points written in the tokenizer's own way count; a score written
            otherwise ("4.5") is left as it is.

    Attributes:
        fingerprint, model: see Respondent.

    Raises:
        FileNotFoundError: no such folder or hub id, or the hub can't be reached.
        ValueError: a model of another family, a parameter out of range.
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
        check_parameters(
            max_new_tokens, min(temperature, temperature_again), top_p, top_k, batch_size, probabilities
        )
        self.model = model
        self.revision, self.adapter, self.dtype, self.attention = revision, adapter, dtype, attention
        self.device = torch.device(
            ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        )
        self.max_new_tokens, self.top_p, self.top_k, self.seed = max_new_tokens, top_p, top_k, seed
        self.temperatures = (temperature, temperature_again)
        self.batch_size, self.probabilities, self.exact_scores = batch_size, probabilities, exact_scores
        self.config = load_by_name(lambda: AutoConfig.from_pretrained(model, revision=revision), model)
        if self.config.model_type not in FAMILIES:
            raise ValueError(
                f"{model} is a model of type {self.config.model_type}; a local judge is one of {', '.join(FAMILIES)}"
            )
        self.images: Any = load_by_name(
            lambda: AutoImageProcessor.from_pretrained(model, revision=revision), model
        )
        self.words: Any = load_by_name(lambda: AutoTokenizer.from_pretrained(model, revision=revision), model)
        if self.words.chat_template is None:
            raise ValueError(
                f"the tokenizer of {model} has no chat template: take an instruction-tuned model"
            )
        if adapter is not None:
            adapted = load_by_name(lambda: PeftConfig.from_pretrained(adapter), adapter)
            if adapted.peft_type != "LORA":
                raise ValueError(
                    f"{adapter} is an adapter of type {adapted.peft_type}; only LoRA adapters can be merged"
                )
        weights = f"{model}@{version_of(model, revision, 'config.json')}"
        if adapter is not None:
            weights += f" adapter={adapter}@{version_of(adapter, None, 'adapter_config.json')}"
        drawn = f"temperature={temperature:g},{temperature_again:g} top_p={top_p:g} top_k={top_k} seed={seed}"
        told = f"probabilities={probabilities} exact_scores={exact_scores}"
        reading = f"{dtype} {attention} {type(self.images).__name__}"
        self.fingerprint = f"local_vlm {weights} {reading} max_new_tokens={max_new_tokens} {drawn} {told}"
        self._network: Any = None
        self._answered = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: asyncio.Queue[tuple[Question, asyncio.Future[Reply]]] = asyncio.Queue()
        self._server: asyncio.Task[None] | None = None

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
        """Tokens of the question, exactly, and the most that its answer can have. Of a question that will be
        refused, its plain text is counted.
        """
        prompt = question.prompt
        for special in self._specials(prompt):
            prompt = prompt.replace(special, "")
        return len(
            self._text(prompt, [self._places(image.height, image.width) for image in question.images])
        ), self.max_new_tokens

    async def close(self) -> None:
        """End the queue; the weights stay, so that the next questions don't wait for them."""
        if self._server is not None:
            self._server.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._server
            self._server = None

    async def _serve(self, waiting: "asyncio.Queue[tuple[Question, asyncio.Future[Reply]]]") -> None:
        """Answer what is waiting, batch after batch, in a thread of its own."""
        while True:
            batch = [await waiting.get()]
            while len(batch) < self.batch_size:
                try:
                    batch.append(await asyncio.wait_for(waiting.get(), PATIENCE))
                except TimeoutError:
                    break
            batch = [(question, future) for question, future in batch if not future.cancelled()]
            if not batch:
                continue
            try:
                replies = await asyncio.to_thread(self._answer_all, [question for question, _ in batch])
            except Exception as error:  # noqa: BLE001  # raised where each question was asked
                replies = [error] * len(batch)
            for (_, future), reply in zip(batch, replies, strict=True):
                if future.cancelled():
                    continue
                if isinstance(reply, Exception):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)

    def _answer_all(self, questions: Sequence[Question]) -> list[Reply | Exception]:
        """A reply or an error per question; one that can't be asked doesn't keep the others from being
        answered.
        """
        try:
            self.load()
        except (ValueError, FileNotFoundError) as error:
            return [Unanswered(str(error), "fatal") for _ in questions]
        prepared: list[Inputs | Exception] = []
        for question in questions:
            try:
                prepared.append(self.inputs(question))
            except ValueError as error:
                prepared.append(Unanswered(str(error), "refused"))
        answered = iter(
            self._answer(
                [(q, each) for q, each in zip(questions, prepared, strict=True) if isinstance(each, Inputs)]
            )
        )
        return [each if isinstance(each, Exception) else next(answered) for each in prepared]

    def _answer(self, asked: Sequence[tuple[Question, Inputs]]) -> list[Reply | Exception]:
        """A batch; where the memory doesn't suffice for it, its halves."""
        if not asked:
            return []
        try:
            replies = self.generate(asked)
        except torch.OutOfMemoryError as error:
            if len(asked) > 1:
                torch.cuda.empty_cache()
                return [*self._answer(asked[: len(asked) // 2]), *self._answer(asked[len(asked) // 2 :])]
            reason = f"{self.model} ran out of memory over one question ({error_summary(error)}); lower the rubric's max_pixels or take a smaller model"
            return [Unanswered(reason, "refused" if self._answered else "fatal")]
        self._answered += len(asked)
        return list(replies)

    def load(self) -> None:
        """Read the weights, unless they are there.

        Raises:
            ValueError: an adapter of another model, or the weights don't fit into the memory.
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
                network = merged(network, self.adapter, self.model)
            network = network.to(self.device).eval().requires_grad_(False)
        except torch.OutOfMemoryError as error:
            raise ValueError(
                f"{self.model} doesn't fit into the memory of {self.device} ({error_summary(error)}); take a smaller model"
            ) from error
        ends = network.generation_config.eos_token_id
        ends = [*(ends if isinstance(ends, list) else [ends]), self.words.eos_token_id]
        # the model's own settings (a temperature, a penalty of repetitions) must not slip in
        network.generation_config = GenerationConfig(
            max_new_tokens=self.max_new_tokens,
            eos_token_id=sorted({end for end in ends if end is not None}),
            pad_token_id=self.words.pad_token_id,
        )
        self._network = network

    @torch.inference_mode()
    def generate(self, asked: Sequence[tuple[Question, Inputs]]) -> list[Reply]:
        """The answers to a batch."""
        seeds = [fold_seed("local_vlm", self.seed, question.repeat, question.again) for question, _ in asked]
        temperatures = [self.temperatures[min(question.again, 1)] for question, _ in asked]
        choice = Choice(seeds, temperatures, self.top_p, self.top_k, self.probabilities)
        batch = self.padded([inputs for _, inputs in asked])
        made = self._network.generate(
            **batch, do_sample=False, logits_processor=LogitsProcessorList([choice])
        )
        made = made[:, batch["input_ids"].shape[1] :].tolist()
        ends = set(self._network.generation_config.eos_token_id)
        replies = []
        for row, (question, inputs) in enumerate(asked):
            end = next((index for index, token in enumerate(made[row]) if token in ends), None)
            written = made[row][:end]
            alternatives = self._told(choice, row, written) if self.probabilities or self.exact_scores else ()
            if self.exact_scores:
                alternatives = self._with_numbers(inputs, question.form, written, alternatives)
            replies.append(
                self._reply(written, "length" if end is None else "stop", len(inputs.ids), alternatives)
            )
        return replies

    def _reply(
        self, written: Sequence[int], finish: str, asked: int, alternatives: tuple[Alternatives, ...]
    ) -> Reply:
        text = self.words.decode(written, skip_special_tokens=True)
        raw = json.dumps(
            {
                "text": self.words.decode(written, skip_special_tokens=False),
                "tokens": list(written),
                "finish": finish,
            },
            ensure_ascii=False,
        )
        return Reply(text, finish, asked, len(written), 0.0, alternatives, raw)

    def inputs(self, question: Question) -> Inputs:
        """A question as tokens and patches.

        Raises:
            ValueError: its text holds a special token, which would be taken for a image or for the end of
                the question.
        """
        if specials := self._specials(question.prompt):
            raise ValueError(f"the question holds {specials[0]}, which is no text to {self.model}")
        opened = [np.asarray(decoded(image)) for image in question.images]
        processed = self.images(images=opened, return_tensors="pt")
        grids = processed["image_grid_thw"]
        ids = self._text(question.prompt, [int(grid.prod()) // self.images.merge_size**2 for grid in grids])
        return Inputs(torch.tensor(ids), processed["pixel_values"], grids)

    def padded(self, asked: Sequence[Inputs]) -> dict[str, Tensor]:
        """Questions of different lengths side by side, padded on the left, as the network takes them."""
        longest = max(len(each.ids) for each in asked)
        ids = torch.full((len(asked), longest), self.words.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, each in enumerate(asked):
            ids[row, longest - len(each.ids) :] = each.ids
            mask[row, longest - len(each.ids) :] = 1
        batch = {
            "input_ids": ids,
            "attention_mask": mask,
            "mm_token_type_ids": (ids == self.config.image_token_id).int(),
        }
        batch |= {
            "pixel_values": torch.cat([each.pixels for each in asked]),
            "image_grid_thw": torch.cat([each.grids for each in asked]),
        }
        batch["pixel_values"] = batch["pixel_values"].to(self._network.dtype)
        return {name: value.to(self.device) for name, value in batch.items()}

    def _places(self, height: int, width: int) -> int:
        """Tokens that a image takes."""
        return self.images.get_number_of_image_patches(height, width, {}) // self.images.merge_size**2

    def _specials(self, prompt: str) -> list[str]:
        """Special tokens in a text."""
        return [token for token in self.words.all_special_tokens if token in prompt]

    def _text(self, prompt: str, places: Sequence[int]) -> list[int]:
        """The tokens of a question: the chat template's text with one place holder per token of each image."""
        content = [*({"type": "image"} for _ in places), {"type": "text", "text": prompt}]
        chat = self.words.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        first, *rest = chat.split(PLACE_HOLDER)
        if len(rest) != len(places):
            raise ValueError(
                f"the chat template of {self.model} has room for {len(rest)} pictures in place of {len(places)}"
            )
        expanded = first + "".join(
            PLACE_HOLDER * count + part for count, part in zip(places, rest, strict=True)
        )
        return self.words(expanded, add_special_tokens=False)["input_ids"]

    def _told(self, choice: "Choice", row: int, written: Sequence[int]) -> tuple[Alternatives, ...]:
        """What the answer's tokens could have been, special tokens left out as in the text."""
        special = set(self.words.all_special_ids)
        told = []
        for step, token in enumerate(written):
            if token not in special:
                told.append(
                    tuple(
                        (self.words.decode([each]), share) for each, share in choice.alternatives(row, step)
                    )
                )
        return tuple(told)

    def _with_numbers(
        self, inputs: Inputs, form: Form, written: Sequence[int], told: tuple[Alternatives, ...]
    ) -> tuple[Alternatives, ...]:
        """The alternatives with each written score as one token, whose alternatives are all numbers that it
        could have been.
        """
        special = set(self.words.all_special_ids)
        places = [index for index, token in enumerate(written) if token not in special]
        whole = list(told)
        for first, last in reversed(places_of_scores([choices[0][0] for choices in told], form)):
            number = "".join(choices[0][0] for choices in told[first:last])
            before = torch.tensor([*inputs.ids.tolist(), *written[: places[first]]])
            shares = self.number_shares(Inputs(before, inputs.pixels, inputs.grids), int(form.max_score))
            ordered = sorted(enumerate(shares), key=lambda pair: (str(pair[0]) != number, -pair[1]))
            whole[first:last] = [tuple((str(each), share) for each, share in ordered)]
        return tuple(whole)

    @torch.inference_mode()
    def number_shares(self, inputs: Inputs, highest: int) -> list[float]:
        """P(number | inputs) for 0 ... highest, renormalised over them; see `exact_scores`.

        All numbers are read at once behind a copy of the cache of what precedes them.
        """
        network, cache = self._network, DynamicCache()
        numbers = [
            self.words(str(number), add_special_tokens=False)["input_ids"] for number in range(highest + 1)
        ]
        longest = max(map(len, numbers))
        batch = self.padded([inputs])
        length = batch["input_ids"].shape[1]
        before = network(**batch, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1]
        cache.batch_repeat_interleave(len(numbers))
        ids = torch.tensor(
            [each + [self.words.pad_token_id] * (longest - len(each)) for each in numbers], device=self.device
        )
        positions = (
            length + int(network.model.rope_deltas.reshape(-1)[0]) + torch.arange(longest, device=self.device)
        )
        positions = positions.expand(3, len(numbers), longest)
        behind = network(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True).logits
        # next[i, j]: what follows the first j tokens of number i
        following = torch.cat([before.expand(len(numbers), 1, -1), behind], dim=1).float().log_softmax(-1)
        ends = (1 - following.exp() @ self._continues(following.shape[-1]).to(following)).clamp(min=0)
        shares = [
            float(
                torch.stack([following[row, step, token] for step, token in enumerate(each)]).sum().exp()
                * ends[row, len(each)]
            )
            for row, each in enumerate(numbers)
        ]
        total = sum(shares)
        return [share / total for share in shares]

    def _continues(self, size: int) -> Float[Tensor, " vocabulary"]:
        """1 for the tokens that make a number before them another number."""
        tokens = self.words.convert_ids_to_tokens(list(range(len(self.words))))
        marks = torch.zeros(size)
        marks[: len(tokens)] = torch.tensor(
            [float(token is not None and token.startswith(CONTINUES)) for token in tokens]
        )
        return marks


@final
class Choice(LogitsProcessor):
    """Chooses the next token of each row by the row's own random numbers, leaves only that one, and remembers
    what it could have been.

    With a global generator, a token drawn would depend on what else is in the batch. Probabilities remembered
    are those of the network itself, before temperature, top_k and top_p.

    Args:
        seeds, temperatures: one per row; at temperature 0 the most probable token is taken.
        top_p, top_k: see LocalVLM.
        count: how many alternatives to remember.
    """

    def __init__(
        self, seeds: Sequence[int], temperatures: Sequence[float], top_p: float, top_k: int, count: int
    ) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.temperatures = torch.tensor(temperatures)
        self.limits = LogitsProcessorList()
        if top_k > 0:
            self.limits.append(TopKLogitsWarper(top_k))
        if top_p < 1:
            self.limits.append(TopPLogitsWarper(top_p))
        self.count = count
        self.steps: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def __call__(
        self, input_ids: Any, scores: Float[Tensor, "rows vocabulary"]
    ) -> Float[Tensor, "rows vocabulary"]:
        shares, chosen = scores.float().softmax(-1), scores.argmax(-1)
        drawing = (self.temperatures > 0).to(scores.device)
        if drawing.any():
            drawn = torch.stack(
                [torch.rand((), generator=each, dtype=torch.float64) for each in self.generators]
            ).to(scores.device)
            scaled = scores.float() / torch.where(self.temperatures > 0, self.temperatures, 1.0).to(
                scores.device
            ).unsqueeze(1)
            total = self.limits(input_ids, scaled).softmax(-1).double().cumsum(-1)
            picked = torch.searchsorted(total, (drawn * total[:, -1]).unsqueeze(1), right=True).squeeze(1)
            chosen = torch.where(drawing, picked, chosen)
        top = shares.topk(min(max(self.count, 1), shares.shape[-1]))
        self.steps.append(
            (
                chosen.cpu(),
                shares.gather(1, chosen.unsqueeze(1)).squeeze(1).cpu(),
                top.indices.cpu(),
                top.values.cpu(),
            )
        )
        return torch.full_like(scores, -torch.inf).scatter(1, chosen.unsqueeze(1), 0.0)

    def alternatives(self, row: int, step: int) -> list[tuple[int, float]]:
        """Tokens with their probabilities: the chosen one first, then the most probable others, `count`
        altogether.
        """
        chosen, share, others, shares = (each[row] for each in self.steps[step])
        rest = [
            (int(token), float(each))
            for token, each in zip(others, shares, strict=True)
            if int(token) != int(chosen)
        ]
        return [(int(chosen), float(share)), *rest[: max(self.count, 1) - 1]]


def places_of_scores(tokens: Sequence[str], form: Form) -> list[tuple[int, int]]:
    """Where the scores stand in an answer: first and behind the last token of each whole number of points,
    after the last mention of its name.

    Numbers that share a token with something else, and those that are no points, are left out.
    """
    starts = np.cumsum([0, *map(len, tokens)]).tolist()
    text = "".join(tokens)
    name = text.rfind(form.score)
    if name < 0:
        return []
    places = []
    for number in list(NUMBER.finditer(text, name + len(form.score)))[: form.count]:
        whole = (
            number[0].isdecimal() and str(int(number[0])) == number[0] and int(number[0]) <= form.max_score
        )
        if whole and number.start() in starts and number.end() in starts:
            # a token without text would begin where the next one does
            places.append((len(starts) - 1 - starts[::-1].index(number.start()), starts.index(number.end())))
    return places


def merged(network: Any, adapter: str, model: str) -> Any:
    """The network with a LoRA adapter added to its weights.

    Raises:
        ValueError: the adapter was made for another model.
    """
    reason = f"the adapter {adapter} doesn't fit {model}: "
    settings = PeftConfig.from_pretrained(adapter)
    # not every adapter says what it was made for; where one does, equal shapes don't count
    made_for = (settings.auto_mapping or {}).get("base_model_class", type(network).__name__)
    if made_for != type(network).__name__:
        raise ValueError(f"{reason}it was made for {made_for}, and this is {type(network).__name__}")
    try:
        adapted = PeftModel(network, settings)
        loaded = set_peft_model_state_dict(adapted, load_peft_weights(adapter, device="cpu"))
    except (ValueError, RuntimeError) as error:
        raise ValueError(reason + error_summary(error)) from error
    lacking = [name for name in loaded.missing_keys if "lora_" in name]
    if lacking or loaded.unexpected_keys:
        raise ValueError(
            f"{reason}{len(lacking)} weights are missing in it and {len(loaded.unexpected_keys)} have no place in the model"
        )
    base: Any = adapted.base_model
    return base.merge_and_unload()


def check_parameters(
    max_new_tokens: int, temperature: float, top_p: float, top_k: int, batch_size: int, probabilities: int
) -> None:
    """Raise ValueError for a parameter out of range."""
    for name, value, least in (
        ("max_new_tokens", max_new_tokens, 1),
        ("batch_size", batch_size, 1),
        ("top_k", top_k, 0),
    ):
        if value < least:
            raise ValueError(f"{name}={value}: at least {least}")
    if temperature < 0 or not 0 < top_p <= 1 or probabilities < 0:
        raise ValueError(
            f"temperature={temperature} top_p={top_p} probabilities={probabilities}: not negative, and top_p in (0, 1]"
        )


def decoded(image: Encoded) -> PIL.Image.Image:
    """The image in a file, RGB."""
    with PIL.Image.open(io.BytesIO(image.content)) as opened:
        return opened.convert("RGB")
