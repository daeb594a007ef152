"""SmartEdit's reader: language model -> query transformer -> interaction module, and the folder that holds
them.

    FOLDER/language_model/, language_tokenizer/       as transformers writes them
    FOLDER/reader/config.json, model.safetensors      what SmartEdit adds: image tokens, LoRA if kept apart,
                                                      query transformer, interaction module

Shapes at 7B, for b images: language model (b, 32, 4096) -> query transformer (b, 77, 768) -> interaction
with the vision tower's (b, 1024, 16, 16) -> c_T (b, 77, 768) and the stem bias (b, 320, 16, 16).
"""

import hashlib
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, final

import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from jaxtyping import Float
from peft import LoraConfig
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

from src.backbones.backbone import AlignmentOutput
from src.backbones.pretrained import loaded, tensor_differences
from src.backbones.smartedit.conversation import Conversation, Tokenizer
from src.backbones.smartedit.interaction import InteractionModule
from src.backbones.smartedit.language import LanguageModel
from src.backbones.smartedit.llava import pretrained_llava, pretrained_tokenizer
from src.backbones.smartedit.query_transformer import QueryTransformer
from src.batch import Reading, TextTokens
from src.files import digest, not_written
from src.json_files import read_json
from src.trust import check_arguments

PART, CONFIG, WEIGHTS = "reader", "config.json", "model.safetensors"
LORA = ("r", "lora_alpha", "lora_dropout", "target_modules")
"""The settings of a LoRA that affect its output."""

LANGUAGE = "language"
PARTS = {
    LANGUAGE: "src.backbones.smartedit.language.LanguageModel",
    "conversation": "src.backbones.smartedit.conversation.Conversation",
    "query_transformer": "src.backbones.smartedit.query_transformer.QueryTransformer",
    "interaction": "src.backbones.smartedit.interaction.InteractionModule",
    "lora": "peft.LoraConfig",
}
"""What the nodes of a reader's config.json are given to."""

BASE = "language.llava."
"""Weights under this prefix belong to the pretrained language model, except LoRA's."""


@final
class Reader(nn.Module):
    """Encodes image and instruction for a U-Net.

    Args:
        language: the multimodal language model.
        query_transformer, interaction: the modules after it, in sizes that fit it and the U-Net.
        train_vision: whether trained=all includes the vision tower.
    """

    def __init__(
        self,
        language: LanguageModel,
        query_transformer: QueryTransformer,
        interaction: InteractionModule,
        train_vision: bool = False,
    ) -> None:
        super().__init__()
        self.train_vision = train_vision
        self.language = language
        self.query_transformer = query_transformer
        self.interaction = interaction

    def forward(
        self,
        images: Float[Tensor, "b 3 H W"],
        instructions: Sequence[str],
        answers: Sequence[str | None] | None = None,
    ) -> Reading:
        """c_T and stem bias of images in [-1, 1] and their instructions, and the language model's error where
        it is trained.

        `answers` are those of chat samples (LanguageModel), for which only the error is meaningful.
        """
        answer = self.language(images, instructions, answers)
        dtype = (
            self.query_transformer.queries.dtype
        )  # 16-bit where images are edited in 16 bits (execution.py)
        tokens, bias = self.interaction(
            self.query_transformer(answer.hidden.to(dtype)), answer.features.to(dtype)
        )
        return Reading(
            TextTokens(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)),
            bias,
            answer.error,
        )

    def align(self, images: Float[Tensor, "b 3 H W"], instructions: Sequence[str]) -> AlignmentOutput:
        """The outputs that stage 1 trains."""
        answer = self.language(images, instructions)
        assert answer.error is not None
        return AlignmentOutput(self.query_transformer(answer.hidden), answer.error)

    def train_parts(self, which: Literal["none", "alignment", "all"]) -> None:
        """Let exactly these parts require a gradient; see SmartEdit's `trained`."""
        self.language.train_parts(which, self.train_vision and which == "all")
        self.query_transformer.requires_grad_(which != "none")
        self.interaction.requires_grad_(which == "all")

    def load_weights(self, found: Mapping[str, Tensor], where: str) -> None:
        """Copy weights. Raises ValueError naming missing, extra or misshapen ones; only the interaction
        module may be missing as a whole, as stage 1 doesn't train it.
        """
        own = self.state_dict()
        wanted = {
            name
            for name in own
            if not name.startswith(BASE) or ("lora_" in name and any("lora_" in other for other in found))
        }
        interaction = {f"interaction.{name}" for name, _ in self.interaction.named_parameters()}
        if not interaction & found.keys():
            wanted -= interaction
            print(
                f"reader: {where} has no interaction module, which starts with fresh weights", file=sys.stderr
            )
        wrong = tensor_differences(
            found,
            {name: value.shape for name, value in own.items() if name in wanted or name in found},
            "this reader",
        )
        if wrong:
            raise ValueError(
                f"the reader's weights in {where} are of another configuration ({len(wrong)} differences): "
                f"{'; '.join(wrong[:3])}; "
                "take language model, query transformer and interaction module of one SmartEdit, 7B or 13B"
            )
        self.load_state_dict(dict(found), strict=False)


class ReaderSource(ABC):
    """Builds a reader from its files."""

    @abstractmethod
    def build(self, text_width: int, stem_width: int) -> Reader:
        """The reader for a U-Net with cross-attention of width `text_width` and `stem_width` channels after
        conv_in.

        Raises:
            FileNotFoundError, ValueError: weights that are missing, can't be read, or have other sizes.
        """

    @property
    @abstractmethod
    def has_trained_weights(self) -> bool:
        """Whether its weights were trained; random ones differ in every process."""

    @abstractmethod
    def saved_tensors(self) -> Mapping[str, Tensor]:
        """The tensors in its files, by their names in Reader, without building it; of the language model only
        those that SmartEdit adds.

        Raises:
            FileNotFoundError, ValueError: as `build`.
        """

    @abstractmethod
    def digests(self) -> Mapping[str, str | None]:
        """sha256 of everything that its results depend on besides image and instruction, by part, without
        building it; None for weights that are not on this machine.

        Raises:
            FileNotFoundError, ValueError: as `build`.
        """


@final
class FromParts(ReaderSource):
    """A reader of any size around a language model, new or trained.

    Args:
        language: the multimodal language model.
        query_transformer, interaction: factories that take sizes from the other parts.
        weights: a SmartEdit folder, or the editor/ of a training, with the weights that SmartEdit adds; None
            for fresh ones.
        train_vision: include the vision tower in trained=all; for small ones that weren't pretrained.
    """

    def __init__(
        self,
        language: LanguageModel,
        query_transformer: Callable[..., QueryTransformer],
        interaction: Callable[..., InteractionModule],
        weights: str | None = None,
        train_vision: bool = False,
    ) -> None:
        self.train_vision = train_vision
        self.language = language
        self.query_transformer = query_transformer
        self.interaction = interaction
        self.weights = weights

    def build(self, text_width: int, stem_width: int) -> Reader:
        language = self.language
        reader = Reader(
            language,
            self.query_transformer(encoder_width=language.width, width=text_width),
            self.interaction(text_width=text_width, image_width=language.image_width, stem_width=stem_width),
            self.train_vision,
        )
        if self.weights is not None:
            reader.load_weights(read_reader_weights(Path(self.weights)), self.weights)
        return reader

    @property
    def has_trained_weights(self) -> bool:
        return self.weights is not None

    def saved_tensors(self) -> Mapping[str, Tensor]:
        return {} if self.weights is None else read_reader_weights(Path(self.weights))

    def digests(self) -> Mapping[str, str | None]:
        tensors = {
            **self.language.state_dict(),
            **({} if self.weights is None else read_reader_weights(Path(self.weights))),
        }
        digest = hashlib.sha256(repr(self.language.template.conversation).encode())
        for name, value in sorted(tensors.items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return {"reader": digest.hexdigest()}


@final
class FromFolder(ReaderSource):
    """The reader of a SmartEdit folder.

    Args:
        folder: written by src.convert or src.export, or a hub id; None for trainings on precomputed
            conditions, which never build it.
        dtype: of the language model's weights, while they are not trained.
        quantization: a `transformers.BitsAndBytesConfig` or another of its kind; None for none.
        lora: LoRA to train in the language model (stage 2), if the folder has none yet.
        gradient_checkpointing: recompute the language model's activations in the backward pass: less memory,
            a third more time.
    """

    def __init__(
        self,
        folder: str | None,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        quantization: Any = None,
        lora: LoraConfig | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        self.folder = folder
        self.dtype: Literal["float32", "bfloat16", "float16"] = dtype
        self.quantization = quantization
        self.lora = lora
        self.gradient_checkpointing = gradient_checkpointing

    def build(self, text_width: int, stem_width: int) -> Reader:
        folder = self._folder()
        file = loaded(component_file, folder, PART, name=CONFIG)
        described = read_reader_config(file)
        if self.lora is not None and described.get("lora") is not None:
            raise ValueError(
                f"{file} has LoRA layers already, which are trained further as they are: leave out "
                "model.backbone.reader.lora"
            )
        llava = pretrained_llava(folder, self.dtype, self.quantization)
        tokenizer = pretrained_tokenizer(folder)
        reader = build_reader(
            described, llava, tokenizer, text_width, stem_width, self.lora, self.gradient_checkpointing
        )
        reader.load_weights(read_weights(loaded(component_file, folder, PART, name=WEIGHTS)), folder)
        return reader

    @property
    def has_trained_weights(self) -> bool:
        return self.folder is not None

    def saved_tensors(self) -> Mapping[str, Tensor]:
        return read_weights(loaded(component_file, self._folder(), PART, name=WEIGHTS))

    def digests(self) -> Mapping[str, str | None]:
        folder, parts = self._folder(), (PART, "language_model", "language_tokenizer")
        return {
            f"{part}.{name}": digest for part in parts for name, digest in file_digests(folder, part).items()
        }

    def _folder(self) -> str:
        if self.folder is None:
            raise ValueError(
                "the reader is needed, and model.backbone.reader.folder=null names none: give a SmartEdit "
                "folder"
            )
        return self.folder


def build_reader(
    described: Mapping[str, Any],
    llava: LlavaForConditionalGeneration,
    tokenizer: Tokenizer,
    text_width: int,
    stem_width: int,
    lora: LoraConfig | None = None,
    gradient_checkpointing: bool = False,
) -> Reader:
    """A reader around a language model; all other modules have fresh weights.

    Args:
        described: the content of its config.json.
        llava, tokenizer, gradient_checkpointing: as in LanguageModel.
        text_width, stem_width: as in `ReaderSource.build`.
        lora: for a reader whose config has none.
    """
    kept = described.get("lora")
    language = LanguageModel(
        llava,
        tokenizer,
        Conversation(**described.get("conversation", {})),
        described["image_tokens"],
        lora if kept is None else LoraConfig(**{name: kept[name] for name in LORA if name in kept}),
        gradient_checkpointing,
    )
    return Reader(
        language,
        QueryTransformer(encoder_width=language.width, width=text_width, **described["query_transformer"]),
        InteractionModule(
            text_width=text_width,
            image_width=language.image_width,
            stem_width=stem_width,
            **described["interaction"],
        ),
    )


def component_file(source: str, subfolder: str, name: str) -> Path:
    """A file of a component, in a folder or from the hub. Raises OSError."""
    path = Path(source) / subfolder / name
    return path if Path(source).is_dir() else Path(hf_hub_download(source, f"{subfolder}/{name}"))


def read_reader_config(file: Path) -> dict[str, Any]:
    """The sizes in a reader's config.json. Raises ValueError if it is broken, or says more than
    src/trust.py allows.
    """
    try:
        described = read_json(file)
    except ValueError as error:
        raise ValueError(f"{error}; copy it again, or convert or export it anew") from error
    missing = [name for name in ("image_tokens", "query_transformer", "interaction") if name not in described]
    if missing:
        raise ValueError(
            f"{file} doesn't describe a reader, it lacks {', '.join(missing)}; convert or export it anew"
        )
    whole = {**described, LANGUAGE: {"image_tokens": described["image_tokens"]}}
    kept = whole.get("lora")
    whole["lora"] = {name: kept[name] for name in LORA if name in kept} if isinstance(kept, dict) else kept
    for name, target in PARTS.items():
        if whole.get(name) is not None:
            check_arguments(target, whole[name], f"{file}, {name},")
    return described


def file_digests(source: str, part: str) -> dict[str, str | None]:
    """sha256 of every file that a component's output depends on; {"files": None} if they are not on this
    machine.
    """
    folder = Path(source).expanduser() / part
    if not folder.is_dir():
        cached = try_to_load_from_cache(source, f"{part}/{CONFIG}")
        if not isinstance(cached, str):
            return {"files": None}
        folder = Path(cached).parent
    files = sorted(file for file in folder.iterdir() if file.suffix in (".safetensors", ".json", ".model"))
    return {file.name: digest(file) for file in files}


def read_reader_weights(path: Path) -> dict[str, Tensor]:
    """The reader's tensors in a SmartEdit folder or in the editor/ of a training.

    Raises:
        FileNotFoundError: neither.
        ValueError: a file that can't be read, or an editor without a trained reader.
    """
    file, editor = path / PART / WEIGHTS, path / WEIGHTS
    if file.is_file():
        return read_weights(file)
    if not editor.is_file():
        raise FileNotFoundError(
            f"no reader's weights in {path}: neither {PART}/{WEIGHTS} of a SmartEdit folder nor {WEIGHTS} of "
            "an editor/"
        )
    found = read_weights(editor, "backbone.reader.")
    if not found:
        raise ValueError(
            f"{editor} is of an editor without a trained reader: give the one of smartedit_stage2, or a "
            "SmartEdit folder"
        )
    return found


def read_weights(file: Path, prefix: str = "") -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it. Raises ValueError for an unreadable file."""
    try:
        with safe_open(file, framework="pt") as opened:
            return {
                name.removeprefix(prefix): opened.get_tensor(name)
                for name in opened.keys()  # noqa: SIM118  # no dict
                if name.startswith(prefix)
            }
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{file} can't be read, it may be truncated ({error}); copy it again, or convert or export it "
            "anew"
        ) from error


def save_reader(reader: Reader, folder: Path) -> None:
    """Write a reader as FOLDER/language_model/, language_tokenizer/ and reader/; LoRA is merged into the
    language model.

    Raises:
        ValueError: a tokenizer that is not transformers', as in the synthetic world.
        NotWrittenError: the disk is full.
    """
    language = reader.language
    tokenizer = language.template.tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ValueError(
            f"a reader with a {type(tokenizer).__name__} can't be exported: take its editor/ instead"
        )
    language.merge_lora()
    described = {
        "image_tokens": language.image_tokens,
        "dtype": str(language.llava.dtype).removeprefix("torch."),
        "lora": None,
        "conversation": asdict(language.template.conversation),
        "query_transformer": reader.query_transformer.sizes,
        "interaction": reader.interaction.sizes,
    }
    added = {
        name: value.detach().cpu().contiguous()
        for name, value in reader.state_dict().items()
        if not name.startswith(BASE)
    }
    (folder / PART).mkdir(parents=True)
    try:
        language.llava.save_pretrained(folder / "language_model")
        tokenizer.save_pretrained(folder / "language_tokenizer")
        (folder / PART / CONFIG).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        save_file(added, folder / PART / WEIGHTS)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise not_written(folder, error) from error
