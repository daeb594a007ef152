"""The published weights of the multi-reward paper (`Gstar666/Reward-InsPix2Pix`,
`stage2_reward_instruct_pix2pix`): names of their tensors.

A diffusers pipeline folder whose U-Net holds 34 tensors besides a stock one's 686. They belong to
`integration=released`.
"""

from collections.abc import Mapping

from torch import Tensor

from src.backbones.pretrained import tensor_differences

OURS = {
    "add_embedding.linear_1": "shifts.score.0",
    "add_embedding.linear_2": "shifts.score.2",
    "text_linear2": "shifts.text",
    "add_embedding2.linear_1": "keys.score.0",
    "add_embedding2.linear_2": "keys.score.2",
    "text_linear": "keys.text",
    "proj_deal.norm": "stem.norm",
    "proj_deal.proj_in": "stem.proj_in",
    "proj_deal.proj_out": "stem.proj_out",
    "ca.attention.self.query": "stem.q",
    "ca.attention.self.key": "stem.k",
    "ca.attention.self.value": "stem.v",
    "ca.attention.output.dense": "stem.o",
    "ca.attention.output.LayerNorm": "stem.norm1",
    "ca.hidden_intermediate.dense": "stem.ffn.0",
    "ca.output.dense": "stem.ffn.2",
    "ca.output.LayerNorm": "stem.norm2",
}
"""The release's name of each layer that it adds to the U-Net -> our name in the integration."""

THEIRS = {ours: theirs for theirs, ours in OURS.items()}


def editor_name(theirs: str) -> str:
    """The editor's name of a tensor of the release's U-Net."""
    layer, _, kind = theirs.rpartition(".")
    return f"integration.{OURS[layer]}.{kind}" if layer in OURS else f"backbone.unet.{theirs}"


def multi_reward_name(ours: str) -> str:
    """The release's name of an editor's tensor.

    Raises:
        ValueError: the release has no such tensor.
    """
    if ours.startswith("backbone.unet."):
        return ours.removeprefix("backbone.unet.")
    layer, _, kind = ours.removeprefix("integration.").rpartition(".")
    if layer not in THEIRS:
        raise ValueError(
            f"the release has nothing that corresponds to {ours}; only integration=released with "
            "reward_encoder=released is its wiring"
        )
    return f"{THEIRS[layer]}.{kind}"


def check_multi_reward_tensors(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str
) -> None:
    """Raise ValueError naming, in the release's words, every tensor that is missing, extra or misshapen.

    Args:
        tensors: by the release's names.
        wanted: an editor's, by ours.
        where: the file they are from.
    """
    wrong = tensor_differences(
        tensors, {multi_reward_name(name): value.shape for name, value in wanted.items()}, "the release"
    )
    if wrong:
        raise ValueError(
            f"{where} is not a U-Net of the multi-reward release ({len(wrong)} differences): "
            f"{'; '.join(wrong[:5])}"
        )
