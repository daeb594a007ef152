"""The reward encoder's shapes, masks and options (equations 5 and 6)."""

import pytest
import torch

from src.batch import RewardTokens, TextTokens
from src.conditioning.reward_encoder import RewardEncoder, sinusoidal_encoding

SCORES = torch.tensor([[5.0, 5.0, 5.0], [0.0, 3.0, 4.5]])
FEEDBACK = [("None", "None", "None"), ("not done", "None", "blurred")]


def encoded(windows: int, length: int = 6, width: int = 8) -> TextTokens:
    mask = torch.ones(2 * windows, length, dtype=torch.bool)
    mask[0, 4:] = False
    return TextTokens(torch.randn(2 * windows, length, width), mask)


def test_sinusoidal_encoding_is_cosines_then_sines() -> None:
    encoding = sinusoidal_encoding(torch.tensor([0.0, 2.0]), 4)
    expected = torch.tensor([[1.0, 1.0, 0.0, 0.0], [2.0, 0.02, 2.0, 0.02]])
    expected[1, :2], expected[1, 2:] = expected[1, :2].cos(), expected[1, 2:].sin()
    torch.testing.assert_close(encoding, expected)


@pytest.mark.parametrize(
    ("options", "windows", "lengths"),
    [
        ({"signals": ["score"]}, 0, (1,)),
        ({"signals": ["score"], "score_tokens": 3}, 0, (3,)),
        ({"signals": ["text"]}, 1, (6,)),
        ({"signals": ["text"], "text_tokens": "pooled"}, 1, (1,)),
        ({"signals": ["score", "text"]}, 1, (1, 6)),
        ({"signals": ["score", "text"], "windows": "per_perspective"}, 3, (1, 18)),
        ({"signals": ["score", "text"], "windows": "per_perspective", "text_tokens": "pooled"}, 3, (1, 3)),
    ],
)
def test_every_signal_has_its_tokens_and_none_else(
    options: dict, windows: int, lengths: tuple[int, ...]
) -> None:
    encoder = RewardEncoder(8, encoding_width=16, **options)
    reward = encoder(SCORES, encoded(windows) if windows else None)
    assert reward.lengths == lengths
    assert reward.tokens.shape == (2, sum(lengths), 8)
    assert reward.pooled().shape == (2, 8)
    assert ("score" in options["signals"]) == any(
        name.startswith("score") for name, _ in encoder.named_parameters()
    )


def test_layout_joins_texts_as_in_equation_5() -> None:
    assert RewardEncoder(8).layout(FEEDBACK) == [["None; None; None"], ["not done; None; blurred"]]
    assert RewardEncoder(8, windows="per_perspective").layout(FEEDBACK)[1] == ["not done", "None", "blurred"]


def test_padding_of_the_text_is_masked_and_does_not_move_the_pooled_vector() -> None:
    encoder = RewardEncoder(8, signals=["text"])
    text = encoded(1)
    changed = TextTokens(text.tokens.clone(), text.mask)
    changed.tokens[0, 4:] += 100.0
    assert encoder(SCORES, text).mask[0].tolist() == [True] * 4 + [False] * 2
    torch.testing.assert_close(encoder(SCORES, text).pooled(), encoder(SCORES, changed).pooled())


def test_pooling_weighs_signals_equally() -> None:
    tokens = torch.cat([torch.full((1, 1, 2), 4.0), torch.zeros(1, 9, 2)], 1)
    reward = RewardTokens(tokens, torch.ones(1, 10, dtype=torch.bool), (1, 9))
    assert reward.pooled().tolist() == [[2.0, 2.0]]


def test_withheld_signals_hide_their_content() -> None:
    encoder = RewardEncoder(8, dropout=0.5)
    withheld = torch.ones(2, 2, dtype=torch.bool)
    one = encoder(SCORES, encoded(1), withheld)
    other = encoder(torch.zeros(2, 3), encoded(1), withheld)
    torch.testing.assert_close(one.tokens, other.tokens)
    assert not torch.equal(encoder(SCORES, encoded(1)).tokens, one.tokens)


def test_withholding_needs_training_for_it() -> None:
    with pytest.raises(ValueError, match="reward dropout"):
        RewardEncoder(8)(SCORES, encoded(1), torch.ones(2, 2, dtype=torch.bool))


def test_missing_text_is_an_error_and_so_is_needless_text() -> None:
    with pytest.raises(ValueError, match="missing"):
        RewardEncoder(8)(SCORES, None)
    with pytest.raises(ValueError, match="not a signal"):
        RewardEncoder(8, signals=["score"])(SCORES, encoded(1))


def test_no_signal_is_refused() -> None:
    with pytest.raises(ValueError, match="reward_encoder=none"):
        RewardEncoder(8, signals=[])
