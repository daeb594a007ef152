"""A reward-conditioned InsPix2Pix or SmartEdit as a diffusers pipeline folder: a stock one, with the other
modules and their code beside it.

    pipeline = DiffusionPipeline.from_pretrained(
        DIR, custom_pipeline=f"{DIR}/pipeline.py", trust_remote_code=True
    )
    pipeline("make it night", image, reward_scores=(5, 5, 5))

The folder works without this repository: `pipeline.py` is assembled from the source of the classes below.
diffusers' own `StableDiffusionInstructPix2PixPipeline` loads it, too, and edits without a reward and without
a language model.
"""

import contextlib
import functools
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast, final

import torch
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionInstructPix2PixPipeline
from omegaconf import OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from src.backbones import word_tokenizer
from src.backbones.backbone import AlignmentOutput
from src.backbones.exportable import ExportableBackbone
from src.backbones.hooks import RewardedCall, RewardHooks
from src.backbones.pretrained import tensor_differences
from src.backbones.smartedit import conversation, interaction, language, reader
from src.backbones.smartedit.query_transformer import QueryTransformer
from src.backbones.smartedit.reader import Reader, build_reader
from src.backbones.unet_hooks import StemBias, UNetHooks, block_width, site_modules, site_widths
from src.batch import Reading, RewardTokens, TextTokens
from src.checkpoint import ADAPTER, HERE, description
from src.checkpoint_paths import SETTINGS
from src.conditioning.addition import Addition
from src.conditioning.appended import Appended
from src.conditioning.attention import Attention
from src.conditioning.both import Both
from src.conditioning.integration import Integration, split_heads, width_of
from src.conditioning.released import PostNormStem, Released, signal_layer
from src.conditioning.reward_encoder import RewardEncoder, feedback_windows, sinusoidal_encoding
from src.diffusion.ddpm import DDPM
from src.editor import Editor
from src.files import not_written, replacing

CODE = "pipeline.py"
"""The code of a pipeline folder."""

USE = """
    pipeline = DiffusionPipeline.from_pretrained(
        DIR, custom_pipeline=f"{DIR}/pipeline.py", trust_remote_code=True
    )
    edit = pipeline("make it night", image, reward_scores=(5, 5, 5), reward_text=None).images[0]
"""

IMPORTS = """
from __future__ import annotations

import contextlib
import functools
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, final

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionInstructPix2PixPipeline
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

ADAPTER = "reward_adapter"
PERSPECTIVES = ("following", "preserving", "quality")
"""

READER_IMPORTS = """
import sys
import warnings

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoTokenizer, Blip2QFormerConfig, Blip2QFormerModel, LlavaForConditionalGeneration
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
"""


def build_node(node: dict[str, Any], **sizes: Any) -> Any:
    """The object of a config node, a reward encoder or an integration, found by the last part of `_target_`;
    its parts become factories that take the same sizes.
    """
    kinds = {kind.__name__: kind for kind in (RewardEncoder, Attention, Addition, Both, Released)}
    kind = kinds[node["_target_"].rpartition(".")[2]]
    arguments = {name: value for name, value in node.items() if not name.startswith("_")}
    if "parts" in arguments:
        arguments["parts"] = {
            name: functools.partial(build_node, part) for name, part in arguments["parts"].items()
        }
    return kind(**arguments, **sizes)


def load_reward_modules(pipeline: Any) -> tuple[Any, Any, UNetHooks]:
    """The reward encoder and the integration in a pipeline's folder, and the hooks that attach them to its
    U-Net.
    """
    folder = Path(pipeline.config["_name_or_path"], ADAPTER)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    unet = pipeline.unet
    encoder = build_node(config["reward_encoder"], text_width=pipeline.text_encoder.config.hidden_size)
    integration = build_node(
        config["integration"],
        reward_width=encoder.width,
        signals=encoder.signals,
        site_widths=site_widths(unet),
    )
    modules = torch.nn.ModuleDict({"reward_encoder": encoder, "integration": integration})
    modules.load_state_dict(load_file(folder / "model.safetensors"))
    modules.to(device=unet.device, dtype=unet.dtype).eval()
    return encoder, integration, UNetHooks(unet, integration)


def encode_windows(pipeline: Any, texts: list[str]) -> TextTokens:
    """Texts encoded by a pipeline's text encoder, with a mask over their padding."""
    tokenizer = pipeline.tokenizer
    tokens = tokenizer(
        texts,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).to(pipeline._execution_device)
    return TextTokens(pipeline.text_encoder(tokens.input_ids).last_hidden_state, tokens.attention_mask.bool())


def prompts_in(prompt: Any) -> list[str]:
    """One prompt, or several, as a list. Raises ValueError for anything else."""
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list | tuple) or not all(isinstance(text, str) for text in prompts):
        raise ValueError(f"prompt={prompt!r}: an instruction is needed, or a list of them")
    return list(prompts)


def checked_scores(scores: Any, count: int) -> Tensor:
    """The target scores of `count` prompts, (count, 3). Raises ValueError unless they are three, or three for
    each, in [0, 5].
    """
    try:
        wanted = torch.as_tensor(scores, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        wanted = torch.empty(0)
    if tuple(wanted.shape) not in ((3,), (count, 3)):
        raise ValueError(
            f"reward_scores={scores!r}: a score each of following, preserving and quality is needed, or "
            f"three for each of the {count} prompts"
        )
    if not bool(((wanted >= 0) & (wanted <= 5)).all()):
        raise ValueError(f"reward_scores={scores!r}: a score must lie in [0, 5]")
    return wanted.expand(count, 3)


def checked_texts(texts: Any, count: int) -> list[tuple[str, str, str]]:
    """Three feedback texts for each of `count` prompts; None for edits in which nothing failed. Raises
    ValueError for anything else.
    """
    given = ("None", "None", "None") if texts is None else texts
    is_list = isinstance(given, list | tuple)
    rows = [given] * count if is_list and all(isinstance(text, str) for text in given) else given
    if not is_list or len(rows) != count or not all(is_three_texts(row) for row in rows):
        raise ValueError(
            f"reward_text={texts!r}: a text each on following, preserving and quality is needed, or three "
            f"for each of the {count} prompts"
        )
    return [(row[0], row[1], row[2]) for row in rows]


def is_three_texts(row: Any) -> bool:
    """Whether these are feedback texts of one prompt."""
    return isinstance(row, list | tuple) and len(row) == 3 and all(isinstance(text, str) for text in row)


def encode_reward(
    pipeline: Any, modules: tuple[Any, Any, UNetHooks], scores: Any, texts: Any, count: int
) -> RewardTokens:
    """The target reward as tokens: one for all `count` prompts, or one per prompt. Raises ValueError for what
    is no reward.
    """
    encoder, integration, _ = modules
    device, dtype = pipeline._execution_device, pipeline.unet.dtype
    torch.nn.ModuleList([encoder, integration]).to(device)
    wanted, feedback = checked_scores(scores, count).to(device), checked_texts(texts, count)
    text = (
        encode_windows(pipeline, [window for windows in encoder.layout(feedback) for window in windows])
        if encoder.uses_text
        else None
    )
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        return encoder(wanted, text)


def for_guidance_branches(
    value: Tensor, num_images_per_prompt: int, guidance_scale: float, image_guidance_scale: float
) -> Tensor:
    """Repeats each prompt's value as diffusers does: for each image per prompt, in each guidance branch."""
    branches = 3 if guidance_scale > 1 and image_guidance_scale >= 1 else 1
    return torch.cat([value.repeat_interleave(num_images_per_prompt, 0)] * branches)


@final
class RewardInstructPix2PixPipeline(StableDiffusionInstructPix2PixPipeline):
    """diffusers' InsPix2Pix pipeline with a target reward. Its reward modules are loaded from
    `reward_adapter/` when first needed.
    """

    reward_modules: Any = None

    @torch.no_grad()
    def __call__(
        self,
        prompt: Any = None,
        image: Any = None,
        num_inference_steps: int = 30,
        guidance_scale: float = 7.5,
        image_guidance_scale: float = 1.5,
        reward_scores: Any = (5, 5, 5),
        reward_text: Any = None,
        num_images_per_prompt: int = 1,
        **others: Any,
    ) -> Any:
        """Edit images for a target reward.

        Args:
            prompt, image, num_inference_steps, guidance_scale, image_guidance_scale, num_images_per_prompt,
                others: as in diffusers.
            reward_scores: target scores of following, preserving and quality, 0 to 5 each; or three for each
                prompt.
            reward_text: three feedback texts, or three for each prompt; None for edits in which nothing
                failed.

        Raises:
            ValueError: no prompt, or no reward: scores outside [0, 5], or other numbers of scores or texts.
        """
        embeds = others.get("prompt_embeds")
        count = len(prompts_in(prompt) if embeds is None else embeds)
        self.reward_modules = self.reward_modules or load_reward_modules(self)
        reward = encode_reward(self, self.reward_modules, reward_scores, reward_text, count)
        tokens, mask = (
            for_guidance_branches(value, num_images_per_prompt, guidance_scale, image_guidance_scale)
            for value in (reward.tokens, reward.mask)
        )
        with self.reward_modules[-1].reward(RewardTokens(tokens, mask, reward.lengths)):
            return super().__call__(
                prompt,
                image,
                num_inference_steps,
                guidance_scale,
                image_guidance_scale,
                num_images_per_prompt=num_images_per_prompt,
                **others,
            )


def load_reader(pipeline: Any, **options: Any) -> Reader:
    """The reader in a pipeline's folder; `options` go to the language model's `from_pretrained`."""
    folder = Path(pipeline.config["_name_or_path"])
    described = json.loads((folder / "reader/config.json").read_text(encoding="utf-8"))
    options = {"dtype": described.get("dtype", "auto"), **options}
    llava: Any = LlavaForConditionalGeneration.from_pretrained(folder, subfolder="language_model", **options)
    tokenizer = AutoTokenizer.from_pretrained(folder, subfolder="language_tokenizer")
    reader = build_reader(
        described,
        llava,
        tokenizer,
        pipeline.text_encoder.config.hidden_size,
        pipeline.unet.conv_in.out_channels,
    )
    reader.load_weights(load_file(folder / "reader/model.safetensors"), str(folder))
    return reader.eval().requires_grad_(False)


@final
class SmartEditPipeline(StableDiffusionInstructPix2PixPipeline):
    """diffusers' InsPix2Pix pipeline with a language model as its instruction encoder, and with a target
    reward if the folder holds `reward_adapter/`.

    Attributes:
        offload_reader: move the language model and what follows it back to the CPU after each use.
    """

    offload_reader: bool = False
    reader: Any = None
    stem: Any = None
    reward_modules: Any = None

    def load_parts(self, **language_options: Any) -> None:
        """Load the parts of the folder that diffusers doesn't know; the first edit does this if it was not
        done before.

        Args:
            language_options: for the language model's `from_pretrained`, such as dtype=torch.bfloat16 or
                quantization_config=...
        """
        if self.reader is None:
            self.reader = load_reader(self, **language_options)
            self.stem = StemBias(self.unet)  # before the reward's hooks, which see the sum
            if Path(self.config["_name_or_path"], ADAPTER).exists():
                self.reward_modules = load_reward_modules(self)

    def read(self, images: Tensor, instructions: list[str]) -> Reading:
        """The reader's encoding of images in [-1, 1] and instructions; one image may serve several
        instructions.
        """
        device = self._execution_device
        reading = self.reader.to(device)(
            images.to(device).expand(max(len(images), len(instructions)), -1, -1, -1), instructions
        )
        if self.offload_reader:
            self.reader.to("cpu")
        return reading

    @torch.no_grad()
    def __call__(
        self,
        prompt: Any,
        image: Any,
        num_inference_steps: int = 30,
        guidance_scale: float = 7.5,
        image_guidance_scale: float = 1.5,
        reward_scores: Any = None,
        reward_text: Any = None,
        num_images_per_prompt: int = 1,
        **others: Any,
    ) -> Any:
        """Edit images, for a target reward if the pipeline is conditioned on one.

        Args:
            prompt, image, num_inference_steps, guidance_scale, image_guidance_scale, num_images_per_prompt,
                others: as in diffusers.
            reward_scores: target scores of following, preserving and quality, 0 to 5 each; or three for each
                prompt. None stands for 5/5/5.
            reward_text: three feedback texts, or three for each prompt; None for edits in which nothing
                failed.

        Raises:
            ValueError: no prompt, or no reward: scores outside [0, 5], other numbers of scores or texts, or a
                target reward for a pipeline without reward modules.
        """
        instructions = prompts_in(prompt)
        self.load_parts()
        reading = self.read(self.image_processor.preprocess(image), instructions)
        null = encode_windows(self, [""])
        longest = max(null.mask.shape[1], reading.instruction.mask.shape[1])
        embeds, negative = (texts.padded_to(longest).tokens for texts in (reading.instruction, null))
        scales = (num_images_per_prompt, guidance_scale, image_guidance_scale)
        with contextlib.ExitStack() as told:
            told.enter_context(self.stem.adding(for_guidance_branches(reading.stem_bias, *scales)))
            if self.reward_modules is not None:
                wanted = (5, 5, 5) if reward_scores is None else reward_scores
                reward = encode_reward(self, self.reward_modules, wanted, reward_text, len(instructions))
                tokens, mask = (
                    for_guidance_branches(value, *scales) for value in (reward.tokens, reward.mask)
                )
                told.enter_context(self.reward_modules[-1].reward(RewardTokens(tokens, mask, reward.lengths)))
            elif reward_scores is not None or reward_text is not None:
                raise ValueError(
                    "this SmartEdit was trained without rewards: leave out reward_scores and reward_text"
                )
            return super().__call__(
                None,  # pyright: ignore[reportArgumentType]  # diffusers takes its embeddings in its place
                image,
                num_inference_steps,
                guidance_scale,
                image_guidance_scale,
                num_images_per_prompt=num_images_per_prompt,
                prompt_embeds=embeds,
                negative_prompt_embeds=negative.expand(len(embeds), -1, -1),
                **others,
            )


BUNDLE = (
    TextTokens,
    RewardTokens,
    width_of,
    split_heads,
    Integration,
    Attention,
    Addition,
    Both,
    signal_layer,
    PostNormStem,
    Released,
    feedback_windows,
    sinusoidal_encoding,
    RewardEncoder,
    site_modules,
    block_width,
    site_widths,
    RewardedCall,
    RewardHooks,
    UNetHooks,
    build_node,
    load_reward_modules,
    encode_windows,
    prompts_in,
    checked_scores,
    checked_texts,
    is_three_texts,
    encode_reward,
    for_guidance_branches,
)
"""The definitions that every pipeline.py needs besides its pipeline class, in the order of use."""

READER_CONSTANTS: Mapping[ModuleType, Sequence[str]] = {
    word_tokenizer: ("PAD", "START", "END", "UNKNOWN"),
    conversation: ("IMAGE", "IMAGE_START", "IMAGE_END", "MARKERS", "UNLIMITED"),
    interaction: ("TEXT_STEP",),
    reader: ("LORA", "BASE"),
}

READER_BUNDLE = (
    Reading,
    word_tokenizer.check_length,
    word_tokenizer.WordTokenizer,
    conversation.Conversation,
    conversation.PromptTemplate,
    conversation.token_ids,
    conversation.start_id,
    conversation.end_ids,
    language.LanguageModelOutput,
    language.LanguageModel,
    language.hidden_states_at,
    language.clip_pixels,
    language.pad_ids,
    language.mean_rows,
    QueryTransformer,
    interaction.grid_encoding,
    interaction.NarrowAttention,
    interaction.TwoWayBlock,
    interaction.InteractionModule,
    tensor_differences,
    AlignmentOutput,
    reader.Reader,
    reader.build_reader,
    StemBias,
    load_reader,
)
"""The further definitions of a SmartEdit's pipeline.py."""


def standalone_source() -> str:
    """The text of an InsPix2Pix's pipeline.py."""
    about = (
        "A reward-conditioned InsPix2Pix for diffusers, written by an export; "
        "needs torch, diffusers, transformers\n"
        f"and safetensors only.\n{USE}"
    )
    return "\n\n".join(
        [
            f'"""{about}"""\n{IMPORTS}',
            *(inspect.getsource(part) for part in (*BUNDLE, RewardInstructPix2PixPipeline)),
        ]
    )


def standalone_smartedit_source() -> str:
    """The text of a SmartEdit's pipeline.py."""
    about = (
        "A SmartEdit for diffusers, with or without reward; "
        "needs torch, diffusers, transformers, tokenizers, peft\n"
        f"and safetensors only.\n{USE}"
    )
    constants = "".join(
        f"{name} = {getattr(module, name)!r}\n"
        for module, names in READER_CONSTANTS.items()
        for name in names
    )
    parts = (*BUNDLE, *READER_BUNDLE, SmartEditPipeline)
    return "\n\n".join(
        [
            f'"""{about}"""\n{IMPORTS}{READER_IMPORTS}\n{constants}',
            *(inspect.getsource(part) for part in parts),
        ]
    )


def write_pipeline(
    editor: Editor,
    config: str,
    image_size: tuple[int, int],
    card: str,
    folder: Path,
    sampler: Mapping[str, object] | None = None,
) -> None:
    """Write a pipeline folder.

    Args:
        editor: an InsPix2Pix, with or without reward, or a SmartEdit around one. LoRA is merged and can't be
            trained any further. A SmartEdit's folder holds its reader, too.
        config: its resolved model config, as YAML.
        image_size: height and width trained on.
        card: the model card, written as README.md.
        folder: must not exist yet; it is whole or not there.
        sampler: trained with, as `Sampler.saved`; None if that isn't known.

    Raises:
        ValueError: another backbone or process, or a folder that exists.
        NotWrittenError: the disk is full.
    """
    backbone, process = editor.backbone, editor.process
    if (
        not isinstance(backbone, ExportableBackbone)
        or not isinstance(process, DDPM)
        or process.prediction != "epsilon"
    ):
        raise ValueError(
            "only an InsPix2Pix that predicts epsilon is a diffusers pipeline, this is "
            f"{type(backbone).__name__} with {type(process).__name__}"
        )
    if any(isinstance(part, Appended) for part in editor.modules()):
        raise ValueError(
            "model/integration=tokens changes the text of a prompt, which a diffusers pipeline encodes by "
            "itself: this editor stays one of this project (src.edit, src.load_editor)"
        )
    if folder.exists():
        raise ValueError(f"output={folder} exists already: give a new folder")
    scheduler = EulerAncestralDiscreteScheduler(
        process.steps, process.beta_start, process.beta_end, "scaled_linear", steps_offset=1
    )
    pipeline = backbone.to_pipeline(scheduler)
    tree: Any = OmegaConf.create(config)
    tree.backbone = backbone.config_in(HERE, cast("dict[str, Any]", OmegaConf.to_container(tree.backbone)))
    settings = description(OmegaConf.to_yaml(tree), image_size, sampler)
    with replacing(folder) as partial:
        try:
            pipeline.save_pretrained(partial)
            if editor.reward_encoder is not None:
                _write_adapter(editor, tree, partial / ADAPTER)
                (partial / CODE).write_text(standalone_source(), encoding="utf-8")
            if backbone.has_reader:
                backbone.save_reader(partial)
                (partial / CODE).write_text(standalone_smartedit_source(), encoding="utf-8")
            (partial / SETTINGS).write_text(settings, encoding="utf-8")
            (partial / "README.md").write_text(card, encoding="utf-8")
        except (OSError, RuntimeError, SafetensorError) as error:
            raise not_written(folder, error) from error


def _write_adapter(editor: Editor, config: Any, folder: Path) -> None:
    """Write the reward encoder and the integration of an editor: what builds them, and their weights."""
    folder.mkdir()
    nodes = OmegaConf.to_container(
        OmegaConf.create({name: config[name] for name in ("reward_encoder", "integration")})
    )
    (folder / "config.json").write_text(json.dumps(nodes, indent=2) + "\n", encoding="utf-8")
    weights = {
        name: value.contiguous()
        for name, value in editor.state_dict().items()
        if not name.startswith("backbone.")
    }
    save_file(weights, folder / "model.safetensors")
