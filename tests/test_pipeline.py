"""A pipeline folder edits as the editor does, in a process that has never heard of this repository, and stays
a stock pipeline and an editor.
"""

import builtins
import dis
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import CodeType, ModuleType

import numpy as np
import pytest
import torch
from backbones.pipelines import write_pipeline as write_stock
from backbones.smartedit.folders import write_smartedit
from conftest import config
from diffusers import StableDiffusionInstructPix2PixPipeline
from hydra.utils import instantiate
from omegaconf import OmegaConf
from options import NATIVE
from standalone import edits, elsewhere

from src import checkpoint
from src.diffusion import samplers
from src.diffusion.samplers import seeded_noise
from src.editor import Editor
from src.launch import CONF
from src.pipeline import (
    checked_scores,
    checked_texts,
    prompts_in,
    standalone_smartedit_source,
    standalone_source,
    write_pipeline,
)

INTEGRATIONS = sorted(
    path.stem
    for path in (CONF / "model/integration").glob("*.yaml")
    if path.stem not in ("none", "both_random", "tokens", *NATIVE)
)
"""both_random is both with other start values, which the editors here replace anyway; tokens is refused."""


@pytest.fixture(scope="module")
def stock(tmp_path_factory) -> Path:
    return write_stock(tmp_path_factory.mktemp("stock"))


def editor(stock: Path, *overrides: str) -> tuple[Editor, str]:
    """An editor whose reward matters, with its config."""
    return woken(
        "model/backbone=inspix2pix", "model/process=ddpm", f"model.backbone.pretrained={stock}", *overrides
    )


def woken(*overrides: str) -> tuple[Editor, str]:
    """The editor of a config, with fresh reward modules that do something."""
    cfg = config(*overrides)
    torch.manual_seed(1)
    model = instantiate(cfg.model)
    for parameter in (p for name, p in model.named_parameters() if not name.startswith("backbone.")):
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.eval(), OmegaConf.to_yaml(cfg.model, resolve=True)


@pytest.mark.parametrize(
    ("integration", "encoder"),
    [(name, "released" if name == "released" else "score_text") for name in INTEGRATIONS],
)
def test_edits_elsewhere_as_here(stock: Path, tmp_path: Path, integration: str, encoder: str) -> None:
    model, settings = editor(stock, f"model/integration={integration}", f"model/reward_encoder={encoder}")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    here = edits(model, images)
    write_pipeline(model, settings, (32, 32), "a card", tmp_path / "editor")
    torch.testing.assert_close(
        (here + 1) / 2, elsewhere(tmp_path, images, "EulerDiscreteScheduler", 4), atol=5e-4, rtol=1e-3
    )


@pytest.mark.parametrize("size", [(40, 56), (64, 64)])
def test_ancestral_edits_of_other_sizes_elsewhere_as_here(
    stock: Path, tmp_path: Path, size: tuple[int, int], monkeypatch
) -> None:
    """The sampler that the export names, on sizes that nothing was trained at; ten steps fall on whole times.
    Fresh noise is an input of both sides: here it is drawn as torch's generators give it, instead of by our
    own rule.
    """
    model, settings = editor(stock)
    write_pipeline(model, settings, (32, 32), "a card", tmp_path / "editor")
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    there = elsewhere(tmp_path, images, "EulerAncestralDiscreteScheduler", 10)
    generators = [torch.Generator().manual_seed(seed) for seed in (7, 8)]

    def drawn(seeds: list[int], shape: tuple[int, ...], draw: int) -> torch.Tensor:
        return (
            seeded_noise(seeds, shape, 0)
            if draw == 0
            else torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        )

    monkeypatch.setattr(samplers, "seeded_noise", drawn)
    here = (edits(model, images, steps=10, eta=1.0) + 1) / 2
    torch.testing.assert_close(here, there, atol=5e-4, rtol=1e-3)
    assert (here - (edits(model, images, steps=10, eta=0.0) + 1) / 2).abs().max() > 0.05  # the noise matters


@pytest.mark.parametrize("integration", ["both", "none"])
def test_a_smartedit_edits_elsewhere_as_here(tmp_path: Path, integration: str) -> None:
    """Language model, query transformer, interaction module and stem bias come along, with the reward and
    without; images that are no squares.
    """
    smartedit = (
        "model/backbone=smartedit",
        "model/process=ddpm",
        f"model.backbone.base.pretrained={write_smartedit(tmp_path / 'smartedit')}",
    )
    model, settings = woken(
        *smartedit, "model.backbone.reader.dtype=float32", f"model/integration={integration}"
    )
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 56, 3), dtype=np.uint8)
    here = (edits(model, images) + 1) / 2
    write_pipeline(model, settings, (32, 32), "a card", tmp_path / "editor")
    there = elsewhere(tmp_path, images, "EulerDiscreteScheduler", 4)
    torch.testing.assert_close(here, there, atol=1e-5, rtol=0)
    with torch.no_grad():
        model.backbone.whole_reader().interaction.image_out.weight.zero_()
        assert ((edits(model, images) + 1) / 2 - here).abs().max() > 0.01  # the bias matters


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (lambda: checked_scores((5, 5), 1), r"reward_scores=\(5, 5\): a score each of following"),
        (lambda: checked_scores((5, 5, 9), 1), r"reward_scores=\(5, 5, 9\): a score must lie in \[0, 5\]"),
        (lambda: checked_scores((5, 5, math.nan), 1), "a score must lie in"),
        (lambda: checked_scores([(5, 5, 5)] * 2, 3), "three for each of the 3 prompts"),
        (lambda: checked_scores("555", 1), "reward_scores='555': a score each"),
        (lambda: checked_scores(None, 1), "reward_scores=None: a score each"),
        (lambda: checked_texts("abc", 1), "reward_text='abc': a text each"),
        (lambda: checked_texts(("a", "b"), 1), "a text each on following"),
        (lambda: checked_texts([("a", "b", "c")], 2), "three for each of the 2 prompts"),
        (lambda: checked_texts([("a", "b", None)], 1), "a text each"),
        (lambda: prompts_in(None), "prompt=None: an instruction is needed"),
        (lambda: prompts_in([1]), r"prompt=\[1\]: an instruction is needed"),
    ],
)
def test_a_pipeline_says_what_is_no_reward(check: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check()


def test_a_pipeline_takes_one_reward_or_one_per_prompt() -> None:
    assert checked_scores((5, 0, 4), 2).tolist() == [[5, 0, 4]] * 2
    assert checked_scores([[5, 0, 4], [1, 2, 3]], 2).tolist() == [[5, 0, 4], [1, 2, 3]]
    three = ("a", "b", "c")
    assert checked_texts(three, 2) == checked_texts([three, list(three)], 2) == [three] * 2
    assert prompts_in("x") == prompts_in(("x",)) == ["x"]


def test_stays_a_stock_pipeline_and_an_editor(stock: Path, tmp_path: Path, capfd) -> None:
    model, settings = editor(stock)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    write_pipeline(model, settings, (32, 32), "a card", tmp_path / "editor")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # diffusers' own, of numpy
        plain = StableDiffusionInstructPix2PixPipeline.from_pretrained(tmp_path / "editor")
    assert "not used" not in capfd.readouterr().err
    for name, value in model.backbone.unet.state_dict().items():
        assert torch.equal(plain.unet.state_dict()[name], value)
    again = checkpoint.load_editor(tmp_path / "editor")
    torch.testing.assert_close(edits(again, images), edits(model, images))
    appending, its_settings = editor(stock, "model/integration=tokens")
    with pytest.raises(ValueError, match="integration=tokens changes the text"):
        write_pipeline(appending, its_settings, (32, 32), "a card", tmp_path / "tokens")
    with pytest.raises(ValueError, match="exists already"):
        write_pipeline(model, settings, (32, 32), "a card", tmp_path / "editor")


def test_lora_is_merged(stock: Path, tmp_path: Path) -> None:
    model, settings = editor(stock, "+model/lora=attention")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.1 * torch.randn_like(parameter)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    here = edits(model, images)
    write_pipeline(model, settings, (32, 32), "a card", tmp_path / "editor")
    torch.testing.assert_close(
        edits(checkpoint.load_editor(tmp_path / "editor"), images), here, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("written", [standalone_source, standalone_smartedit_source])
def test_the_standalone_source_names_nothing_of_ours(written, monkeypatch) -> None:
    source = written()
    assert "from src" not in source
    assert "jaxtyping" not in source
    module = ModuleType("standalone_pipeline")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    code = compile(source, "pipeline.py", "exec")
    exec(code, vars(module))
    assert not {
        name for name in loaded_names(code) if not hasattr(module, name) and not hasattr(builtins, name)
    }


def loaded_names(code: CodeType) -> set[str]:
    """Every global name that a piece of code may look up, whenever it runs."""
    instructions = list(dis.get_instructions(code))
    own = {each.argval for each in instructions if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    own -= {each.argval for each in instructions if each.opname == "STORE_NAME"}  # of a class
    return own.union(*(loaded_names(each) for each in code.co_consts if isinstance(each, CodeType)))
