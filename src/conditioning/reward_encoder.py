"""The paper's MRC module: three scores and three feedback texts become reward tokens c_R (section 4.3,
equations 5 and 6).

Eq. 5, E_t = Encoder_text(concat[T_f; T_p; T_q]): the texts are joined by "; " in one window through the
backbone's own text encoder; the token sequence is kept and its padding masked. Eq. 6, E_s =
MLP(concat[PE(S_f), PE(S_p), PE(S_q)]): sinusoidal encoding of each score, concatenated, one MLP, one token.
Then a learnt type embedding per signal, and c_R = concat(E_t, E_s). Where the paper is silent the options are
arguments.
"""

import math
from collections.abc import Sequence
from typing import Literal, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from src.batch import RewardTokens, TextTokens
from src.records import PERSPECTIVES, Feedback

Signal = Literal["score", "text"]
Windows = Literal["joined", "per_perspective"]


def feedback_windows(feedback: Feedback, windows: Windows) -> list[str]:
    """The texts to encode of a sample's feedback: all joined into one, or one per perspective."""
    return ["; ".join(feedback)] if windows == "joined" else list(feedback)


def sinusoidal_encoding(
    scores: Float[Tensor, "*batch"], width: int, largest_period: float = 10000.0
) -> Float[Tensor, "*batch {width}"]:
    """PE of eq. 6 (Vaswani et al. 2017): cosines, then sines, of the score at `width / 2` geometrically
    spaced frequencies from 1 down.
    """
    half = width // 2
    frequencies = torch.exp(
        -math.log(largest_period) * torch.arange(half, device=scores.device, dtype=torch.float32) / half
    )
    angles = scores.float().unsqueeze(-1) * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1)


@final
class RewardEncoder(nn.Module):
    """Scores and encoded feedback -> reward tokens. An unused signal is absent, not zeroed, and has no
    parameters.

    Args:
        text_width: of the text encoder's tokens.
        signals: which of "score" and "text" to use.
        windows: "joined" puts the three texts into one window of the text encoder (eq. 5); "per_perspective"
            gives each its own, so that a long text cannot truncate the next one.
        text_tokens: "sequence" keeps every token, "pooled" the mean of each window, "last" the token at its
            end, which CLIP pools to (release).
        score_tokens: 1 (eq. 6, scores concatenated) or 3 (one token per perspective).
        score_scale: scores are multiplied by it before the encoding; 1.0 as in the release, larger values
            separate close scores further.
        encoding_width: channels of PE per score (256 in the release).
        learnt: False returns PE of the scores and the text's tokens unchanged, without MLP and type embedding
            (as in the release, whose integration has its own layers); the encoding then has a third of the
            width per score, 256 for CLIP's 768.
        dropout: probability with which scores, and independently feedback, are replaced by a learnt "not
            given" token in training. 0 as in the paper; needed for reward guidance against "not_given".
        width: D, of every reward token; None for the text's, as in the paper. The text of today's editors is
            several thousand channels wide, and an integration has layers of this width at every site: a
            smaller D, to which the text is then mapped, saves most of them.

    Raises:
        ValueError: no signal or an unknown one, or an option outside its values.
    """

    def __init__(
        self,
        text_width: int,
        signals: Sequence[Signal] = ("score", "text"),
        windows: Windows = "joined",
        text_tokens: Literal["sequence", "pooled", "last"] = "sequence",
        score_tokens: Literal[1, 3] = 1,
        score_scale: float = 1.0,
        encoding_width: int = 256,
        dropout: float = 0.0,
        learnt: bool = True,
        width: int | None = None,
    ) -> None:
        super().__init__()
        unknown = [signal for signal in signals if signal not in ("score", "text")]
        if unknown or not signals:
            raise ValueError(
                f"reward signals are score and text, got {list(signals)}; for no reward use "
                "reward_encoder=none"
            )
        if (
            windows not in ("joined", "per_perspective")
            or text_tokens not in ("sequence", "pooled", "last")
            or score_tokens not in (1, 3)
        ):
            raise ValueError(
                f"unknown reward encoder option: windows={windows!r}, text_tokens={text_tokens!r}, "
                f"score_tokens={score_tokens!r}"
            )
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"reward dropout must lie in [0, 1), got {dropout}")
        width = text_width if width is None else width
        self.width = width
        self.signals = tuple(signals)
        self.windows: Windows = windows
        self.text_tokens = text_tokens
        self.score_tokens = score_tokens
        self.score_scale = score_scale
        self.encoding_width = encoding_width if learnt else 2 * (width // (2 * len(PERSPECTIVES)))
        self.dropout = dropout
        self.learnt = learnt
        if not learnt and score_tokens != 1:
            raise ValueError(
                "without layers of its own (learnt=false) the encoder makes one token of all scores: say "
                "score_tokens=1"
            )
        if not learnt and width != text_width:
            raise ValueError(
                f"without layers of its own (learnt=false) the encoder can't map text of width {text_width} "
                f"to width={width}: leave width out"
            )
        if learnt:
            self.type_embedding = nn.Parameter(torch.randn(len(self.signals), width) * 0.02)
        if learnt and "score" in self.signals:
            joined = encoding_width * len(PERSPECTIVES) // score_tokens
            self.score_mlp = nn.Sequential(nn.Linear(joined, width), nn.SiLU(), nn.Linear(width, width))
            if score_tokens == len(PERSPECTIVES):
                self.perspective_embedding = nn.Parameter(torch.randn(len(PERSPECTIVES), width) * 0.02)
        if dropout > 0.0:
            self.not_given = nn.Parameter(torch.randn(len(self.signals), width) * 0.02)
        # last, so that encoders without it draw the same weights as ever
        self.text_projection = (
            nn.Linear(text_width, width) if "text" in self.signals and width != text_width else None
        )

    @property
    def uses_text(self) -> bool:
        """Whether feedback has to be encoded at all."""
        return "text" in self.signals

    def layout(self, feedback: Sequence[Feedback]) -> list[list[str]]:
        """The windows that the text encoder should read, per sample."""
        return [feedback_windows(texts, self.windows) for texts in feedback]

    def forward(
        self,
        scores: Float[Tensor, "b 3"],
        text: TextTokens | None,
        not_given: Bool[Tensor, "b signals"] | None = None,
    ) -> RewardTokens:
        """Reward tokens of a batch.

        Args:
            scores: in [0, 5], order following, preserving, quality.
            text: the windows of `layout`, flattened to (b * windows, l, d); None if and only if text is not a
                signal.
            not_given: per sample and signal (in the order of `signals`), whether the signal is withheld.
                Needs dropout > 0.

        Raises:
            ValueError: text missing or superfluous, or a signal withheld from a model that was not trained
                for it.
        """
        if (text is None) == self.uses_text:
            raise ValueError(
                f"signals {self.signals}: encoded feedback is "
                f"{'missing' if text is None else 'given but not a signal'}"
            )
        if not_given is not None and self.dropout == 0.0:
            raise ValueError(
                "a reward can only be withheld from a model trained with reward dropout "
                "(model.reward_encoder.dropout > 0)"
            )
        tokens, masks = [], []
        for index, signal in enumerate(self.signals):
            token, mask = self._scores(scores) if signal == "score" else self._text(text, scores.shape[0])
            if self.dropout > 0.0:
                withheld = (
                    torch.zeros_like(scores[:, 0], dtype=torch.bool)
                    if not_given is None
                    else not_given[:, index]
                )
                token = torch.where(withheld[:, None, None], self.not_given[index].to(token.dtype), token)
                mask = mask | withheld[:, None]
            tokens.append(token + self.type_embedding[index].to(token.dtype) if self.learnt else token)
            masks.append(mask)
        return RewardTokens(
            torch.cat(tokens, 1), torch.cat(masks, 1), tuple(token.shape[1] for token in tokens)
        )

    def _scores(self, scores: Float[Tensor, "b 3"]) -> tuple[Float[Tensor, "b k d"], Bool[Tensor, "b k"]]:
        """Eq. 6."""
        encoding = sinusoidal_encoding(scores * self.score_scale, self.encoding_width)
        encoding = encoding.flatten(1).unsqueeze(1) if self.score_tokens == 1 else encoding
        # padded where a third of the width is no whole, even number of channels
        tokens = (
            self.score_mlp(encoding)
            if self.learnt
            else nn.functional.pad(encoding, (0, self.width - encoding.shape[-1]))
        )
        if self.score_tokens != 1:
            tokens = tokens + self.perspective_embedding
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)

    def _text(
        self, text: TextTokens | None, batch: int
    ) -> tuple[Float[Tensor, "b k d"], Bool[Tensor, "b k"]]:
        """Eq. 5, after the text encoder."""
        assert text is not None  # checked in forward
        tokens, mask = text.tokens, text.mask
        if self.text_tokens != "sequence":
            tokens = (text.mean() if self.text_tokens == "pooled" else text.last()).unsqueeze(1)
            mask = mask.any(1, keepdim=True)
        if self.text_projection is not None:
            tokens = self.text_projection(tokens)
        return tokens.reshape(batch, -1, self.width), mask.reshape(batch, -1)
