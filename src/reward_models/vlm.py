"""A reward model on a pretrained vision-language model: Qwen2.5-VL, MiMo-VL (the same architecture) or
Qwen3-VL.

    python -m src.train_reward_model reward_model=vlm reward_model.model=Qwen/Qwen3-VL-8B-Instruct ...

One pass reads original, edit and instruction, then one new token per perspective; each token's last hidden
state goes through a head of its own. EditReward (2025) makes a whole pass per head, with two prompts; the
tokens at the end of one text see all of it, too, and cost nothing. Inputs are prepared as for judges that
answer questions (judges/vlm_inputs.py), with the positions that the network was pretrained with.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, final

import torch
from jaxtyping import Float, Int
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText

from src.batch import ModelInputs
from src.hub import load_by_name
from src.judges.encoding import bounded
from src.judges.rubric import check_has_instruction, with_instruction
from src.judges.vlm_inputs import NetworkInputs, VLMReader
from src.records import PERSPECTIVES, Triplet
from src.reward_models.reward_model import (
    LEAST_LOG_DEVIATION,
    MOST_LOG_DEVIATION,
    Estimates,
    RewardModel,
)

PROMPTS = Path(__file__).resolve().parent / "prompts"

Positions = Literal["grid", "sequential"]
"""Of tokens: rows and columns of pictures as pretrained, or 0, 1, 2 ... all along."""


@final
@dataclass(frozen=True, eq=False)
class ReadEdits:
    """n edits as a vision-language network takes them, padded on the left.

    Attributes:
        ids, mask: tokens, and which of them are no padding.
        kinds: 1 for tokens of pictures.
        pixels, grids: patches of all pictures, and (1, rows, columns) of each.
    """

    ids: Int[Tensor, "n l"]
    mask: Int[Tensor, "n l"]
    kinds: Int[Tensor, "n l"]
    pixels: Float[Tensor, "patches values"]
    grids: Int[Tensor, "pictures 3"]

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> "ReadEdits":
        """The same on another device."""
        return ReadEdits(**{name: value.to(device) for name, value in vars(self).items()})


@final
class VLMScorer(RewardModel):
    """A network that scores edits in one pass.

    Args:
        model: a folder, or an id of the Hugging Face hub.
        revision: of the hub id: a commit, tag or branch; None for the newest. Name a commit for a model that
            is to be kept: with LoRA, checkpoints hold what was trained, and the rest comes from here.
        lora: LoRA of the language model, kept in fp32; None trains all of it but its embeddings.
        train_vision: whether the vision tower is trained, too.
        max_pixels: of each picture; larger ones are downsized, proportions kept.
        prompt: a name without a slash is one of our versions; else a text file, in which {quoted_instruction}
            stands for the instruction.
        head_width: of the heads' hidden layer; 0 for linear heads. Heads compute in fp32.
        deviation: whether it says how sure it is.
        dtype: of the frozen weights: "auto" (as stored; float32 for what is trained), "bfloat16" or
            "float32".
        attention: "sdpa", "eager" or "flash_attention_2".
        gradient_checkpointing: recompute activations in the backward pass: less memory, a third more time.

    Raises:
        FileNotFoundError: no such folder, hub id or prompt.
        ValueError: a model of another family, or a value out of range.
    """

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        lora: LoraConfig | None = None,
        train_vision: bool = False,
        max_pixels: int = 262_144,
        prompt: str = "v1",
        head_width: int = 0,
        deviation: bool = True,
        dtype: Literal["auto", "bfloat16", "float32"] = "auto",
        attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa",
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if max_pixels < 1 or head_width < 0:
            raise ValueError(
                f"reward_model.max_pixels={max_pixels} head_width={head_width}: at least 1 and 0 are needed"
            )
        self.prompt = read_prompt(prompt)
        self.reader = VLMReader(model, revision)
        self.max_pixels, self.deviation = max_pixels, deviation
        self.network = pretrained_network(model, revision, dtype, attention)
        self.network.requires_grad_(False)
        self.perspective_tokens = nn.Embedding(
            len(PERSPECTIVES), width_of(self.network), _weight=self._first_embeddings()
        )
        self.heads = nn.ModuleList(head(width_of(self.network), head_width, 2) for _ in PERSPECTIVES)
        self._train_parts(lora, train_vision)
        if gradient_checkpointing:
            self.network.gradient_checkpointing_enable({"use_reentrant": False})

    def _first_embeddings(self) -> Float[Tensor, "3 d"]:
        """The mean embedding of each perspective's name, so that no two tokens begin alike."""
        table = self.network.get_input_embeddings().weight
        ids = [self.reader.words(each.value, add_special_tokens=False)["input_ids"] for each in PERSPECTIVES]
        return torch.stack([table[each].float().mean(0) for each in ids]).detach().clone()

    def _train_parts(self, lora: LoraConfig | None, train_vision: bool) -> None:
        """Select what is trained, in fp32; all else of the network stays frozen."""
        language: Any = self.network.language_model
        if lora is None:
            language.requires_grad_(True)
            language.get_input_embeddings().requires_grad_(False)
        else:
            inject_adapter_in_model(lora, language)
            for name, parameter in language.named_parameters():
                parameter.requires_grad_("lora_" in name)
        if train_vision:
            self.network.visual.requires_grad_(True)
        for parameter in self.network.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()

    @property
    def has_deviation(self) -> bool:
        return self.deviation

    @property
    def at_once(self) -> int:
        return 8

    def prepare(self, triplets: Sequence[Triplet]) -> ReadEdits:
        filler = torch.full((len(PERSPECTIVES),), self.reader.words.pad_token_id)
        read = [read_triplet(self.reader, self.prompt, each, self.max_pixels) for each in triplets]
        return padded(
            self.reader,
            [NetworkInputs(torch.cat((each.ids, filler)), each.pixels, each.grids) for each in read],
        )

    def forward(self, inputs: ModelInputs) -> Estimates:
        seen, count = cast(ReadEdits, inputs), len(PERSPECTIVES)
        words = self.network.get_input_embeddings()(seen.ids)
        new = self.perspective_tokens.weight.to(words.dtype).expand(len(seen), -1, -1)
        hidden = last_hidden(self.network, torch.cat((words[:, :-count], new), 1), seen, "grid")
        ends = hidden[:, -count:].float()
        with torch.autocast(ends.device.type, enabled=False):
            said = torch.stack([each(ends[:, place]) for place, each in enumerate(self.heads)], 1)
        log_deviation = said[..., 1].clamp(LEAST_LOG_DEVIATION, MOST_LOG_DEVIATION)
        return Estimates(said[..., 0], log_deviation if self.deviation else None)


def pretrained_network(model: str, revision: str | None, dtype: str, attention: str) -> Any:
    """The network of a vision-language model without its output layer. Raises as `load_by_name`."""
    whole: Any = load_by_name(
        lambda: AutoModelForImageTextToText.from_pretrained(
            model, revision=revision, dtype=dtype, attn_implementation=attention
        ),
        model,
    )
    return whole.model


def width_of(network: Any) -> int:
    """Of the language model's hidden states."""
    return int(network.config.text_config.hidden_size)


def head(width: int, hidden: int, outputs: int) -> nn.Module:
    """A linear layer, or two with a nonlinearity in between."""
    if not hidden:
        return nn.Linear(width, outputs)
    return nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, outputs))


def read_prompt(prompt: str) -> str:
    """The text of a prompt.

    Raises:
        FileNotFoundError: no such prompt.
        ValueError: it has no place for the instruction.
    """
    path = PROMPTS / f"{prompt}.txt" if "/" not in prompt else Path(prompt)
    if not path.is_file():
        ours = ", ".join(sorted(each.stem for each in PROMPTS.glob("*.txt")))
        raise FileNotFoundError(f"no prompt {path}: reward_model.prompt is a text file, or one of {ours}")
    text = path.read_text(encoding="utf-8").strip()
    check_has_instruction(path, text)
    return text


def prompt_digest(prompt: str) -> str:
    """sha256 of a prompt's text, shortened."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]


def read_triplet(reader: VLMReader, prompt: str, triplet: Triplet, max_pixels: int) -> NetworkInputs:
    """Original, edit and prompt as tokens and patches. Raises ValueError naming the triplet."""
    pictures = [bounded(each, max_pixels) for each in (triplet.case.original, triplet.edited)]
    try:
        return reader.read(with_instruction(prompt, triplet.case.instruction), pictures)
    except ValueError as error:
        raise ValueError(f"{triplet.case.id!r} can't be read: {error}") from error


def padded(reader: VLMReader, read: Sequence[NetworkInputs]) -> ReadEdits:
    """Inputs of different lengths as one batch."""
    batch = reader.pad(read)
    names = ("input_ids", "attention_mask", "mm_token_type_ids", "pixel_values", "image_grid_thw")
    return ReadEdits(*(batch[name] for name in names))


def last_hidden(
    network: Any, words: Float[Tensor, "n l d"], seen: ReadEdits, positions: Positions
) -> Float[Tensor, "n l d"]:
    """The language model's last hidden states, after its final normalisation.

    Args:
        network: Qwen2.5-VL or Qwen3-VL without its output layer.
        words: embeddings of all tokens; those of pictures are replaced.
        seen: the batch.
        positions: see Positions.
    """
    if positions == "grid":
        places, _ = network.get_rope_index(
            seen.ids, seen.kinds, image_grid_thw=seen.grids, attention_mask=seen.mask
        )
    else:
        # all three axes count on: padding on the left doesn't matter to rotations, which are relative
        places = (seen.mask.cumsum(-1) - 1).clamp(min=0).expand(3, -1, -1)
    return network(
        inputs_embeds=words,
        attention_mask=seen.mask,
        position_ids=places,
        pixel_values=seen.pixels.to(network.visual.dtype),
        image_grid_thw=seen.grids,
        use_cache=False,
    ).last_hidden_state
