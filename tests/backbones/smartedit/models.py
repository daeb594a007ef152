"""Small random language models of SmartEdit's form, with either kind of tokenizer, and folders of them as
src.convert writes them.
"""

from pathlib import Path

import torch
from peft import LoraConfig
from transformers import LlamaTokenizer, LlavaForConditionalGeneration

from src.backbones.smartedit.conversation import Conversation, Tokenizer, word_tokenizer
from src.backbones.smartedit.language import LanguageModel
from src.backbones.smartedit.llava import small_llava
from src.synthetic import language

WIDTH, IMAGE_WIDTH, GRID, SIDE = 32, 24, 2, 28
CONVERSATION = Conversation(
    before="A picture and an edit, answered with <img>. USER:", answer="Edited:", max_length=200
)


def lora() -> LoraConfig:
    """As in SmartEdit, smaller and without dropout."""
    return LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"])


def words() -> Tokenizer:
    """The synthetic world's tokenizer."""
    return word_tokenizer(language.vocabulary(), CONVERSATION)


def llama_tokenizer() -> LlamaTokenizer:
    """A LLaMA's tokenizer that knows bytes and a few letters."""
    tokens = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *"abcdefghijklmnopqrstuvwxyz",
    ]
    return LlamaTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[])


def random_llava(tokenizer: Tokenizer, seed: int = 0, **sizes) -> LlavaForConditionalGeneration:
    """Weights so wide that hidden states depend on words and images."""
    torch.manual_seed(seed)
    small = {
        "width": WIDTH,
        "heads": 2,
        "image_width": IMAGE_WIDTH,
        "image_size": SIDE,
        "patch_size": SIDE // GRID,
        "positions": 256,
    }
    llava = small_llava(tokenizer, **{**small, **sizes})
    with torch.no_grad():
        for name, weight in llava.named_parameters():
            if weight.ndim > 1 and "linear_2" not in name:
                weight.normal_(std=0.2)
    return llava.eval()


def small_language_model(tokenizer: Tokenizer | None = None, seed: int = 0, **settings) -> LanguageModel:
    """In evaluation mode; `settings` are those of LanguageModel. The new tokens differ from each other, as
    after a training.
    """
    tokenizer = tokenizer or words()
    model = LanguageModel(
        random_llava(tokenizer, seed), tokenizer, settings.pop("conversation", CONVERSATION), **settings
    )
    with torch.no_grad():
        model.new_tokens.weight.normal_(std=0.2)
        model.new_head.weight.normal_(std=0.2)
    return model.eval()


def write_language_model(folder: Path, seed: int = 0) -> Path:
    """A SmartEdit model's language parts."""
    tokenizer = llama_tokenizer()
    random_llava(tokenizer, seed).save_pretrained(folder / "language_model")
    tokenizer.save_pretrained(folder / "language_tokenizer")
    return folder
