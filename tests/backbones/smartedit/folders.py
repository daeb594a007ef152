"""Small SmartEdit folders with random weights, of the layout that src.convert and src.export write."""

from pathlib import Path

import torch
from backbones.pipelines import WIDTH as TEXT_WIDTH
from backbones.pipelines import write_pipeline
from backbones.smartedit.models import IMAGE_WIDTH, llama_tokenizer, random_llava, small_language_model
from backbones.smartedit.models import WIDTH as LANGUAGE_WIDTH

from src.backbones.smartedit.interaction import InteractionModule
from src.backbones.smartedit.language import LanguageModel
from src.backbones.smartedit.query_transformer import QueryTransformer
from src.backbones.smartedit.reader import Reader, save_reader

STEM_WIDTH = 16
QUERY_TRANSFORMER = {"queries": 77, "layers": 2, "heads": 2, "feedforward": 32, "dropout": 0.0}
INTERACTION = {"heads": 2, "feedforward": 32}


def small_reader(seed: int = 0, awake: bool = True, language: LanguageModel | None = None) -> Reader:
    """A reader for the pipeline of `write_pipeline`; `awake` randomises its zero-initialised layers."""
    language = language or small_language_model(llama_tokenizer(), seed)
    torch.manual_seed(seed)
    reader = Reader(
        language,
        QueryTransformer(LANGUAGE_WIDTH, TEXT_WIDTH, **QUERY_TRANSFORMER),
        InteractionModule(TEXT_WIDTH, IMAGE_WIDTH, STEM_WIDTH, **INTERACTION),
    )
    for name, parameter in reader.named_parameters() if awake else ():
        if not name.startswith("language."):
            parameter.data += 0.1 * torch.randn_like(parameter)
    return reader.eval()


def write_smartedit(folder: Path, seed: int = 0) -> Path:
    """A SmartEdit folder."""
    write_pipeline(folder)
    save_reader(small_reader(seed), folder)
    return folder


def write_llava(folder: Path, seed: int = 0) -> Path:
    """A LLaVA by itself, with its tokenizer."""
    tokenizer = llama_tokenizer()
    random_llava(tokenizer, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
