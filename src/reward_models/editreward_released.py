"""EditReward's released weights (Wu et al. 2025), as a judge.

    python -m src.evaluate_judge judge=editreward judge.model.folder=EditReward-MiMo-VL-7B-SFT-2508 \
      judge.model.base=XiaomiMiMo/MiMo-VL-7B-SFT-2508 judge.model.prompts=PROMPTS ...

The folder holds `model.safetensors` or `model.pth` with all weights; config, tokenizer and image processor
are those of the model that it was trained from (`base`). PROMPTS is a folder with EditReward's two texts,
which are not ours to ship: following.txt and quality.txt, each with {instruction} and, near its end,
`<|Reward|>`.

Two things are unlike what their names suggest:
- Its forward embeds pictures itself and hands the language model no grid, so all tokens are numbered 0, 1, 2
  ...: pictures are read as a line of patches, in training and afterwards. `positions: sequential` does the
  same; with the rows and columns that the base was pretrained with (`grid`) the weights read something that
  they have never seen.
- The loss saw only the mean of the two heads, so neither of them is a perspective: what the labels identify
  is "overall" (see aspects.py). Their second outputs were called uncertainties; the published loss can only
  push them down, so they are not handed on as deviations (`outputs` gives all four numbers).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText
from transformers.initialization import no_init_weights

from src.batch import ModelInputs
from src.hub import UNREADABLE, describe_damage, error_summary, version_of
from src.judges.rubric import check_has_instruction, with_instruction
from src.judges.vlm_inputs import VLMReader
from src.records import PERSPECTIVES, Triplet
from src.reward_models.calibration import Calibration, ScoreMap
from src.reward_models.reward_model import Estimates, RewardModel, TrainedRewardModel
from src.reward_models.vlm import Positions, ReadEdits, last_hidden, padded, prompt_digest, width_of

TOKEN = "<|Reward|>"
HEADS = ("following", "quality")
"""What each head's prompt asks about, and the names of the prompts' files."""

WEIGHTS = ("model.safetensors", "model.pth")
PIXELS = 256 * 28 * 28
"""Of each picture, as released."""

EARLIER_NAMES = (
    (re.compile(r"^visual\."), "model.visual."),
    (re.compile(r"^model\.(?=layers\.|embed_tokens\.|norm\.)"), "model.language_model."),
)
"""Names of weights in transformers before 4.52."""


@final
@dataclass(frozen=True, eq=False)
class ReadTwice:
    """Edits with each head's prompt."""

    by_head: tuple[ReadEdits, ...]

    def __len__(self) -> int:
        return len(self.by_head[0])

    def to(self, device: torch.device) -> "ReadTwice":
        """The same on another device."""
        return ReadTwice(tuple(each.to(device) for each in self.by_head))


@final
class EditReward(RewardModel):
    """The released network: a whole pass per head.

    Args:
        base: folder or hub id of the model it was trained from; a Qwen2.5-VL (MiMo-VL is one).
        prompts: folder with the two texts.
        revision: of the hub id.
        rows: of the embedding table; the release made it as long as its tokenizer.
        positions: see the module.
        pixels: of each picture, whether it is smaller or larger.
        dtype: of the weights; heads are float32.
        attention: see VLMScorer.

    Raises:
        FileNotFoundError: no base, or a prompt is missing.
        ValueError: a base of another family, or a prompt without its places.
    """

    def __init__(
        self,
        base: str,
        prompts: str,
        revision: str | None = None,
        rows: int | None = None,
        positions: Positions = "sequential",
        pixels: int = PIXELS,
        dtype: Literal["bfloat16", "float32"] = "bfloat16",
        attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa",
    ) -> None:
        super().__init__()
        if positions not in ("grid", "sequential"):
            raise ValueError(f"positions={positions}: say sequential, as released, or grid")
        self.positions: Positions = positions
        self.prompts = tuple(read_released_prompt(Path(prompts), name) for name in HEADS)
        self.reader = released_reader(base, revision, pixels)
        config = self.reader.config
        if config.model_type != "qwen2_5_vl":
            raise ValueError(
                f"{base} is a {config.model_type}: EditReward's weights can be read for qwen2_5_vl "
                "(Qwen2.5-VL and MiMo-VL)"
            )
        config.text_config.vocab_size = rows or len(self.reader.words)
        given = {"dtype": getattr(torch, dtype), "attn_implementation": attention}
        with no_init_weights():
            whole: Any = AutoModelForImageTextToText.from_config(config, **given)
        self.network = whole.model
        self.rm_heads = nn.ModuleDict(
            {f"head_{place}": released_head(width_of(self.network)) for place in range(len(HEADS))}
        )

    @property
    def has_deviation(self) -> bool:
        return False

    @property
    def at_once(self) -> int:
        return 8

    def prepare(self, triplets: Sequence[Triplet]) -> ReadTwice:
        read = ([self._read(prompt, each) for each in triplets] for prompt in self.prompts)
        return ReadTwice(tuple(padded(self.reader, each) for each in read))

    def _read(self, prompt: str, triplet: Triplet) -> Any:
        instruction = triplet.case.instruction
        if specials := self.reader.special_tokens(instruction):
            raise ValueError(f"{triplet.case.id!r} can't be read: its instruction holds {specials[0]}")
        chat = self.reader.chat(with_instruction(prompt, instruction), 2)
        return self.reader.read_chat(chat, (triplet.case.original, triplet.edited))

    def forward(self, inputs: ModelInputs) -> Estimates:
        """The mean of the heads, for each perspective alike."""
        fused = self.outputs(inputs)[..., 0].mean(1, keepdim=True)
        return Estimates(fused.expand(-1, len(PERSPECTIVES)))

    def outputs(self, inputs: ModelInputs) -> Float[Tensor, "n 2 2"]:
        """By head: its value, and what the release calls the log of a deviation."""
        pairs = zip(self.rm_heads.values(), cast(ReadTwice, inputs).by_head, strict=True)
        return torch.stack([self._of_head(head, seen) for head, seen in pairs], 1)

    def _of_head(self, head: nn.Module, seen: ReadEdits) -> Float[Tensor, "n 2"]:
        words = self.network.get_input_embeddings()(seen.ids)
        hidden = last_hidden(self.network, words, seen, self.positions)
        place = seen.ids == self.reader.words.convert_tokens_to_ids(TOKEN)
        with torch.autocast(hidden.device.type, enabled=False):
            return head(hidden[place].float())


def released_head(width: int) -> nn.Sequential:
    """A head's layers, under the release's names."""
    return nn.Sequential(
        nn.Linear(width, 1024), nn.ReLU(), nn.Dropout(0.05), nn.Linear(1024, 16), nn.ReLU(), nn.Linear(16, 2)
    )


def released_reader(base: str, revision: str | None, pixels: int) -> VLMReader:
    """The base's reader with the release's token and its one size of pictures."""
    reader = VLMReader(base, revision)
    new = {"additional_special_tokens": [TOKEN]}
    reader.words.add_special_tokens(new, replace_extra_special_tokens=False)
    reader.images.size = {"shortest_edge": pixels, "longest_edge": pixels}
    return reader


def read_released_prompt(folder: Path, name: str) -> str:
    """A prompt. Raises FileNotFoundError or ValueError."""
    path = folder / f"{name}.txt"
    if not path.is_file():
        raise FileNotFoundError(
            f"no prompt {path}: copy EditReward's two texts into the files "
            f"{' and '.join(f'{each}.txt' for each in HEADS)} of a folder, with {{instruction}} and "
            f"{TOKEN} in them"
        )
    text = path.read_text(encoding="utf-8").strip()
    check_has_instruction(path, text)
    if text.count(TOKEN) != 1:
        raise ValueError(f"{path} holds {TOKEN} {text.count(TOKEN)} times: the value is read at exactly one")
    return text


def load_released(
    folder: str,
    base: str,
    prompts: str,
    revision: str | None = None,
    positions: Positions = "sequential",
    pixels: int = PIXELS,
    dtype: Literal["bfloat16", "float32"] = "bfloat16",
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa",
) -> TrainedRewardModel:
    """The released model, ready to judge; its scores are 5 sigmoid(value), not fitted to any labels.

    Args:
        folder: of the weights.
        base, prompts, revision, positions, pixels, dtype, attention: see EditReward.

    Raises:
        FileNotFoundError: no weights, no base or no prompts.
        ValueError: weights that can't be read, or don't fit exactly.
    """
    file = released_file(Path(folder))
    weights = released_weights(file)
    rows = len(weights["network.language_model.embed_tokens.weight"])
    network = EditReward(base, prompts, revision, rows, positions, pixels, dtype, attention)
    fill(network, weights, str(file))
    version = version_of(folder, None, file.name)
    prompts_read = " ".join(map(prompt_digest, network.prompts))
    return TrainedRewardModel(
        network.eval().requires_grad_(False),
        Calibration({"overall": ScoreMap()}),
        ("overall",),
        f"editreward {version} prompts={prompts_read} {positions} {dtype} pixels={pixels}",
    )


def released_file(folder: Path) -> Path:
    """The file of all weights. Raises FileNotFoundError."""
    found = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"{folder} holds none of {', '.join(WEIGHTS)}: download EditReward's weights there"
        )
    return found


def released_weights(file: Path) -> dict[str, Tensor]:
    """The weights of a file under our names; those of the unused output layer are left out.

    Raises:
        ValueError: unreadable, a pickle of more than tensors, or no weights of EditReward.
    """
    damage = describe_damage(file) if file.suffix == ".safetensors" else None
    if damage is not None:
        raise ValueError(damage)
    try:
        read: Any = _read_file(file)
    except UNREADABLE as error:
        raise ValueError(
            f"{file} can't be read as weights, nothing of it was run ({error_summary(error)}): copy it "
            "again, or take it as safetensors"
        ) from error
    tensors: Any = read.get("model", read) if isinstance(read, Mapping) else {}
    found = {
        renamed(str(name)): value for name, value in tensors.items() if not str(name).startswith("lm_head.")
    }
    if "network.language_model.embed_tokens.weight" not in found:
        some = ", ".join(list(found)[:3]) or "nothing"
        raise ValueError(f"{file} holds no weights of EditReward: no embeddings among {some}")
    return found


def _read_file(file: Path) -> Any:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True, mmap=True)


def renamed(name: str) -> str:
    """A weight's name here: networks lose their output layer, and with it the outer "model."."""
    for pattern, new in EARLIER_NAMES:
        name = pattern.sub(new, name)
    return re.sub(r"^model\.", "network.", name)


def fill(network: EditReward, weights: Mapping[str, Tensor], source: str) -> None:
    """Load all weights. Raises ValueError unless they are exactly those of the network."""
    own = network.state_dict()
    missing, besides = sorted(set(own) - set(weights)), sorted(set(weights) - set(own))
    if missing or besides:
        raise ValueError(
            f"{source} doesn't fit EditReward on this base: {len(missing)} weights are missing in it "
            f"({', '.join(missing[:2]) or 'none'}), and {len(besides)} have no place "
            f"({', '.join(besides[:2]) or 'none'})"
        )
    wrong = next((name for name in own if own[name].shape != weights[name].shape), None)
    if wrong is not None:
        raise ValueError(
            f"{source}: {wrong} is {tuple(weights[wrong].shape)}, and this base has {tuple(own[wrong].shape)}"
        )
    network.load_state_dict(dict(weights))
