"""The released code's wiring, against formulas written down independently: torch's own attention, and
diffusers' class embedding for the addition.
"""

import torch
from conftest import config
from diffusers import UNet2DConditionModel
from hydra.utils import instantiate
from torch import Tensor, nn

from src.backbones.unet_hooks import UNetHooks, site_widths
from src.batch import TextTokens

WIDTH, CHANNELS, TIME = 48, 16, 64
SIZES = {
    "sample_size": 8,
    "in_channels": 8,
    "block_out_channels": (CHANNELS, 32),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": 2,
    "norm_num_groups": 8,
    "cross_attention_dim": WIDTH,
}


class StemByTorch(nn.Module):
    """conv_in and what the release does to its output, with torch's multi-head attention."""

    def __init__(self, conv_in: nn.Conv2d, stem: nn.Module, keys: Tensor) -> None:
        super().__init__()
        self.conv_in, self.stem, self.keys = conv_in, stem, keys
        self.attention = nn.MultiheadAttention(CHANNELS, 8, batch_first=True)
        self.attention.in_proj_weight.data = torch.cat([stem.q.weight, stem.k.weight, stem.v.weight])
        self.attention.in_proj_bias.data = torch.cat([stem.q.bias, stem.k.bias, stem.v.bias])
        self.attention.out_proj = stem.o

    def forward(self, x: Tensor) -> Tensor:
        hidden, stem = self.conv_in(x), self.stem
        b, c, h, w = hidden.shape
        groups = hidden.reshape(
            b, 16, -1
        )  # one channel a group: 16 channels, fewer than the release's 32 groups
        normed = (groups - groups.mean(-1, keepdim=True)) / (
            groups.var(-1, unbiased=False, keepdim=True) + 1e-6
        ).sqrt()
        normed = normed.reshape(b, c, h, w) * stem.norm.weight.view(1, -1, 1, 1) + stem.norm.bias.view(
            1, -1, 1, 1
        )
        rows = (
            torch.einsum("oc,bchw->bhwo", stem.proj_in.weight[:, :, 0, 0], normed).reshape(b, h * w, c)
            + stem.proj_in.bias
        )
        rows = nn.functional.layer_norm(
            rows + self.attention(rows, self.keys, self.keys)[0],
            (c,),
            stem.norm1.weight,
            stem.norm1.bias,
            1e-12,
        )
        inner = rows @ stem.ffn[0].weight.T + stem.ffn[0].bias
        inner = 0.5 * inner * (1 + torch.erf(inner / 2**0.5))
        rows = nn.functional.layer_norm(
            rows + inner @ stem.ffn[2].weight.T + stem.ffn[2].bias,
            (c,),
            stem.norm2.weight,
            stem.norm2.bias,
            1e-12,
        )
        out = torch.einsum("oc,bnc->bon", stem.proj_out.weight[:, :, 0, 0], rows).reshape(
            b, c, h, w
        ) + stem.proj_out.bias.view(1, -1, 1, 1)
        return hidden + out


def test_equals_independent_formulas() -> None:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**SIZES)
    model = config("model/integration=released", "model/reward_encoder=released").model
    encoder = instantiate(model.reward_encoder)(text_width=WIDTH)
    integration = instantiate(model.integration)(
        reward_width=WIDTH, signals=encoder.signals, site_widths=site_widths(unet)
    )
    x, t, words = torch.randn(3, 8, 8, 8), torch.tensor([1, 500, 998]), torch.randn(3, 7, WIDTH)
    scores = torch.tensor([[5.0, 5.0, 5.0], [0.0, 2.5, 4.0], [1.0, 0.0, 3.0]])
    text = TextTokens(torch.randn(3, 77, WIDTH), torch.arange(77) < torch.tensor([[4], [77], [9]]))

    # cosines first, then sines, of the raw score at 8 frequencies from 1 down to almost 1 / 10,000; three
    # scores side by side
    frequencies = 10000.0 ** (-torch.arange(8) / 8)
    angles = scores[..., None] * frequencies
    encoded = torch.cat([angles.cos(), angles.sin()], -1).flatten(1)
    pooled = torch.stack([text.tokens[0, 3], text.tokens[1, 76], text.tokens[2, 8]])
    reward = encoder(scores, text)
    torch.testing.assert_close(reward.tokens, torch.stack([encoded, pooled], 1))

    def mlp(layers: nn.Module, value: Tensor) -> Tensor:
        inner = value @ layers[0].weight.T + layers[0].bias
        return (inner * torch.sigmoid(inner)) @ layers[2].weight.T + layers[2].bias

    keys = torch.stack([mlp(integration.keys["score"], encoded), integration.keys["text"](pooled)], 1)
    shift = mlp(integration.shifts["score"], encoded) + integration.shifts["text"](pooled)
    by_torch = UNet2DConditionModel(**SIZES, class_embed_type="identity")
    by_torch.load_state_dict(unet.state_dict())
    by_torch.conv_in = StemByTorch(by_torch.conv_in, integration.stem, keys)
    expected = by_torch(x, t, words, class_labels=shift).sample

    hooks = UNetHooks(unet, integration)
    with hooks.reward(reward):
        torch.testing.assert_close(unet(x, t, words).sample, expected, atol=1e-5, rtol=1e-5)
