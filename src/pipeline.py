"""A reward-conditioned InsPix2Pix as a diffusers pipeline, and its folder: a stock pipeline with the reward's modules and their code beside it.

    pipeline = DiffusionPipeline.from_pretrained(DIR, custom_pipeline=f"{DIR}/pipeline.py", trust_remote_code=True)
    pipeline("make it night", image, reward_scores=(5, 5, 5))

The folder needs nothing of this repository: `pipeline.py` is written from the source of the classes below. diffusers' own
`StableDiffusionInstructPix2PixPipeline` loads it, too, and edits without a reward.
"""

import functools
import inspect
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionInstructPix2PixPipeline
from omegaconf import OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from src.backbones.inspix2pix import InsPix2Pix
from src.backbones.smartedit.reader import save_reader
from src.backbones.smartedit.smartedit import SmartEdit
from src.backbones.unet_hooks import UNetHooks, block_width, site_modules, site_widths
from src.batch import RewardTokens, TextTokens
from src.checkpoint import ADAPTER, HERE, SETTINGS
from src.conditioning.addition import Addition
from src.conditioning.attention import Attention
from src.conditioning.both import Both
from src.conditioning.integration import Integration, width_of
from src.conditioning.released import PostNormStem, Released, signal_layer
from src.conditioning.reward_encoder import RewardEncoder, laid_out, sinusoidal_encoding
from src.diffusion.ddpm import DDPM
from src.editor import Editor
from src.files import not_written, replacing

HEAD = '''"""A reward-conditioned InsPix2Pix for diffusers, written by an export; needs torch, diffusers, transformers and safetensors only.

    pipeline = DiffusionPipeline.from_pretrained(DIR, custom_pipeline=f"{DIR}/pipeline.py", trust_remote_code=True)
    edit = pipeline("make it night", image, reward_scores=(5, 5, 5), reward_text=None).images[0]
"""

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
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionInstructPix2PixPipeline
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

ADAPTER = "reward_adapter"
PERSPECTIVES = ("following", "preserving", "quality")
'''


def built(node: dict[str, Any], **sizes: Any) -> Any:
    """The object of a config node: its class is found by the last part of `_target_`, its parts are left to be built with the same sizes."""
    kind = globals()[node["_target_"].rpartition(".")[2]]
    arguments = {name: value for name, value in node.items() if not name.startswith("_")}
    if "parts" in arguments:
        arguments["parts"] = {name: functools.partial(built, part) for name, part in arguments["parts"].items()}
    return kind(**arguments, **sizes)


class RewardInstructPix2PixPipeline(StableDiffusionInstructPix2PixPipeline):
    """diffusers' InsPix2Pix pipeline, told a target reward. Its reward modules are loaded from `reward_adapter/` when first needed."""

    reward_modules: Any = None

    def load_reward(self) -> Any:
        """The reward encoder, the integration and its hooks in the U-Net."""
        if self.reward_modules is None:
            folder = Path(self.config["_name_or_path"], ADAPTER)
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            encoder = built(config["reward_encoder"], width=self.text_encoder.config.hidden_size)
            integration = built(config["integration"], reward_width=encoder.width, signals=encoder.signals, site_widths=site_widths(self.unet))
            modules = torch.nn.ModuleDict({"reward_encoder": encoder, "integration": integration})
            modules.load_state_dict(load_file(folder / "model.safetensors"))
            modules.to(device=self.unet.device, dtype=self.unet.dtype).eval()
            self.reward_modules = (encoder, integration, UNetHooks(self.unet, integration))
        return self.reward_modules

    def encode_windows(self, texts: list[str]) -> TextTokens:
        """Feedback as the text encoder reads it, with a mask over its padding."""
        tokens = self.tokenizer(texts, padding="max_length", max_length=self.tokenizer.model_max_length, truncation=True, return_tensors="pt").to(
            self._execution_device
        )
        return TextTokens(self.text_encoder(tokens.input_ids).last_hidden_state, tokens.attention_mask.bool())

    def encode_reward(self, scores: Any, texts: Any, count: int) -> RewardTokens:
        """The target reward as tokens: one for all `count` prompts, or one per prompt."""
        encoder, integration, _ = self.load_reward()
        device, dtype = self._execution_device, self.unet.dtype
        torch.nn.ModuleList([encoder, integration]).to(device)
        wanted = torch.as_tensor(scores, dtype=torch.float32, device=device).expand(count, 3)
        texts = ("None", "None", "None") if texts is None else texts
        feedback = [tuple(texts)] * count if isinstance(texts[0], str) else [tuple(three) for three in texts]
        if len(feedback) != count or any(len(three) != 3 for three in feedback):
            raise ValueError(f"reward_text is three texts, or three for each of the {count} prompts")
        text = self.encode_windows([window for windows in encoder.layout(feedback) for window in windows]) if encoder.uses_text else None
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            return encoder(wanted, text)

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
        """Edit, asking for a reward.

        Args:
            prompt, image, num_inference_steps, guidance_scale, image_guidance_scale, num_images_per_prompt, others: as in diffusers.
            reward_scores: following, preserving and quality asked for, 0 to 5 each; or three for each prompt.
            reward_text: three feedback texts, or three for each prompt; None asks for edits in which nothing failed.
        """
        embeds = others.get("prompt_embeds")
        count = len(embeds) if embeds is not None else 1 if isinstance(prompt, str) else len(prompt)
        reward = self.encode_reward(reward_scores, reward_text, count)
        branches = 3 if guidance_scale > 1 and image_guidance_scale >= 1 else 1

        def tiled(value: Tensor) -> Tensor:
            return torch.cat([value.repeat_interleave(num_images_per_prompt, 0)] * branches)

        _, _, hooks = self.load_reward()
        with hooks.reward(RewardTokens(tiled(reward.tokens), tiled(reward.mask), reward.lengths)):
            return super().__call__(
                prompt,
                image,
                num_inference_steps,
                guidance_scale,
                image_guidance_scale,
                num_images_per_prompt=num_images_per_prompt,
                **others,
            )


BUNDLE = (
    TextTokens,
    RewardTokens,
    width_of,
    Integration,
    Attention,
    Addition,
    Both,
    signal_layer,
    PostNormStem,
    Released,
    laid_out,
    sinusoidal_encoding,
    RewardEncoder,
    site_modules,
    block_width,
    site_widths,
    UNetHooks,
    built,
    RewardInstructPix2PixPipeline,
)
"""Everything that a pipeline.py is made of, in the order of use."""


def standalone_source() -> str:
    """The text of a pipeline.py."""
    return "\n\n".join([HEAD, *(inspect.getsource(part) for part in BUNDLE)])


def write_pipeline(editor: Editor, config: str, picture_size: tuple[int, int], card: str, folder: Path) -> None:
    """Write a pipeline folder.

    Args:
        editor: an InsPix2Pix, with or without reward, or a SmartEdit around one; LoRA is merged, so that it can't be trained any further. A
            SmartEdit's folder holds its reader, too, and is no pipeline that works without this repository.
        config: its resolved model config, as YAML.
        picture_size: height and width trained on.
        card: the model card, written as README.md.
        folder: must not exist yet; it is whole or not there.

    Raises:
        ValueError: another backbone or process, or a folder that exists.
        NotWrittenError: the disk is full.
    """
    smartedit = editor.backbone if isinstance(editor.backbone, SmartEdit) else None
    backbone, process = editor.backbone if smartedit is None else smartedit.base, editor.process
    if not isinstance(backbone, InsPix2Pix) or not isinstance(process, DDPM) or process.prediction != "epsilon":
        raise ValueError(
            f"only an InsPix2Pix that predicts epsilon is a diffusers pipeline, this is {type(backbone).__name__} with {type(process).__name__}"
        )
    if folder.exists():
        raise ValueError(f"target={folder} exists already: give a new folder")
    tree: Any = OmegaConf.create(config)
    drawing = tree.backbone if smartedit is None else tree.backbone.base
    if drawing.get("lora") is not None:
        backbone.unet.fuse_lora()
        backbone.unet.unload_lora()
    drawing.update({"pretrained": HERE, "trained": "unet", "lora": None})
    if smartedit is not None:
        reader = smartedit.whole_reader()
        dtype = str(reader.language.llava.dtype).removeprefix("torch.")  # as it was trained with; at 7B fp32 would take twice the memory
        node = {"_target_": "src.backbones.smartedit.reader.FromFolder", "folder": HERE, "dtype": dtype}
        tree.backbone.update({"trained": "none", "reader": node})
    cpu = torch.device("cpu")
    scheduler: Any = EulerAncestralDiscreteScheduler(process.steps, process.beta_start, process.beta_end, "scaled_linear", steps_offset=1)
    pipeline = StableDiffusionInstructPix2PixPipeline(
        vae=backbone.vae.on(cpu),
        text_encoder=backbone.text_encoder.on(cpu),
        tokenizer=backbone.tokenizer,
        unet=backbone.unet,
        scheduler=scheduler,
        safety_checker=None,  # pyright: ignore[reportArgumentType]
        feature_extractor=None,  # pyright: ignore[reportArgumentType]
        requires_safety_checker=False,
    )
    with replacing(folder) as partial:
        try:
            pipeline.save_pretrained(partial)
            if editor.reward_encoder is not None:
                (partial / ADAPTER).mkdir()
                nodes = OmegaConf.to_container(OmegaConf.create({name: tree[name] for name in ("reward_encoder", "integration")}))
                (partial / ADAPTER / "config.json").write_text(json.dumps(nodes, indent=2) + "\n", encoding="utf-8")
                weights = {name: value.contiguous() for name, value in editor.state_dict().items() if not name.startswith("backbone.")}
                save_file(weights, partial / ADAPTER / "model.safetensors")
                if smartedit is None:
                    (partial / "pipeline.py").write_text(standalone_source(), encoding="utf-8")
            if smartedit is not None:
                save_reader(smartedit.whole_reader(), partial)
            settings = {"editor_config": OmegaConf.to_yaml(tree), "picture_size": list(picture_size)}
            (partial / SETTINGS).write_text(OmegaConf.to_yaml(OmegaConf.create(settings)), encoding="utf-8")
            (partial / "README.md").write_text(card, encoding="utf-8")
        except (OSError, RuntimeError, SafetensorError) as error:
            raise not_written(folder, error) from error
