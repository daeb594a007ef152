"""Byte pairs: any text, the same tokens wherever the weights go."""

import copy
from pathlib import Path

import pytest
import torch
from conftest import SMALL, config
from hydra.utils import instantiate
from omegaconf import OmegaConf

from src import checkpoint
from src.backbones.byte_pairs import BYTES, END, START, BytePairs, learn_pairs, tokenizer_of

TEXTS = [
    "move the bowl to the left",
    "Move the round bowl",
    "remove the bowl",
    "turn the bowl, don't move it",
]
ANY = ["", "把天空变红!", "اجعلها ليلاً", 'write "SALE" on it', "🙂", "a\nb\tc", "ŷ" * 90]


def byte_values() -> dict[str, int]:
    """The byte of each letter of the library: those that print stand for themselves."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [value for value in range(256) if value not in printed]
    return {chr(value): value for value in printed} | {
        chr(256 + place): value for place, value in enumerate(rest)
    }


def test_every_text_is_encoded_without_loss() -> None:
    tokenizer, letters = tokenizer_of(learn_pairs(TEXTS, 50)), byte_values()
    assert sorted(letters) == BYTES
    for text in (*TEXTS, *ANY):
        said = bytes(letters[letter] for token in tokenizer.encode(text).tokens for letter in token)
        assert said.decode().removeprefix(" ") == text.lower()


def test_frequent_words_become_tokens_and_bytes_alone_need_no_learning() -> None:
    learnt, alone = BytePairs(200), BytePairs(0)
    learnt.learn(TEXTS)
    ids, mask = learnt(["the bowl", "把"], 512)
    assert mask.sum(1).tolist() == [4, 6]  # two words; a blank and three bytes; start and end
    assert ids[0, 0] == START
    assert ids[0, 3] == END
    assert alone(["the bowl"], 512)[0].shape == (1, 11)
    assert ids.max() < len(learnt)


def test_the_same_texts_give_the_same_pairs_in_any_order() -> None:
    pairs = learn_pairs(TEXTS, 100)
    assert learn_pairs(TEXTS[::-1], 100) == pairs
    assert learn_pairs(TEXTS, 5) == pairs[:5]


def test_what_was_learnt_travels_with_the_weights() -> None:
    learnt, other = BytePairs(60), BytePairs(60)
    learnt.learn(TEXTS)
    before = other(TEXTS, 512)[0]
    other.load_state_dict(learnt.state_dict())
    for twin in (other, copy.deepcopy(learnt)):
        assert torch.equal(twin(TEXTS, 512)[0], learnt(TEXTS, 512)[0])
    assert before.shape[1] > other(TEXTS, 512)[0].shape[1]


def test_damaged_pairs_and_long_texts_are_refused() -> None:
    tokenizer = BytePairs(60, longest=8)
    with pytest.raises(
        ValueError, match="a text of 14 tokens doesn't fit the text encoder's 8: 'Move the bo"
    ):
        tokenizer(["Move the bo"], 8)
    tokenizer.pairs[0] = torch.tensor([5, 400])
    with pytest.raises(ValueError, match="are damaged"):
        tokenizer(["a"], 8)


def test_an_export_reads_texts_as_its_editor(tmp_path: Path) -> None:
    """Also one in bfloat16, and the editor that starts from it."""
    cfg = config(
        *SMALL, "model/tokenizer@model.backbone.tokenizer=byte_pairs", "model/integration=none"
    ).model
    editor = instantiate(cfg)
    editor.backbone.learn_texts(TEXTS)
    weights = editor.to(torch.bfloat16).trained_state()
    checkpoint.export(tmp_path / "editor", OmegaConf.to_yaml(cfg, resolve=True), (32, 32), weights)
    loaded, started = checkpoint.load_editor(tmp_path / "editor"), instantiate(cfg)
    checkpoint.start_from(started, tmp_path / "editor")
    for other in (loaded, started):
        assert torch.equal(other.backbone.tokenizer.pairs, editor.backbone.tokenizer.pairs)
    assert loaded.backbone.encode_text(ANY).mask.sum(1).tolist()[0] == 2
