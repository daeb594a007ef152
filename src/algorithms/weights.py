"""Other weights than those being trained, for the same network: those of the rollouts, those of the start."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn

from src.algorithms.optimised import Trained
from src.editor import Editor


@torch.no_grad()
def exchange(model: Trained, weights: Mapping[str, Tensor]) -> None:
    """Exchange a network's trained weights with others, one tensor at a time: a second copy of a large model
    may not fit.
    """
    for name, value in model.trained_state().items():
        own = value.clone()
        value.copy_(weights[name])
        weights[name].copy_(own)
    torch.clear_autocast_cache()  # it holds weights in bf16, by the tensor and not by what is in it


@final
class OtherWeights(nn.Module):
    """A copy of an editor's trained weights. It holds buffers, so that checkpoints have it and no optimiser.

    Args:
        editor: whose weights are copied now.
    """

    def __init__(self, editor: Editor) -> None:
        super().__init__()
        self.names = {name: f"copy_{index}" for index, name in enumerate(editor.trained_state())}
        for name, value in editor.trained_state().items():
            self.register_buffer(self.names[name], value.detach().clone())

    def tensors(self) -> dict[str, Tensor]:
        """The copies by the names of the editor's weights."""
        return {name: self.get_buffer(buffer) for name, buffer in self.names.items()}

    @torch.no_grad()
    def follow(self, editor: Editor, decay: float) -> None:
        """Move towards the editor's weights: decay * copy + (1 - decay) * weights."""
        for name, value in editor.trained_state().items():
            copy = self.get_buffer(self.names[name])
            copy.copy_(copy.lerp(value, 1.0 - decay) if copy.is_floating_point() else value)

    @contextmanager
    def standing_in(self, editor: Editor) -> Iterator[None]:
        """A context in which the editor has these weights, and computes no gradient."""
        with torch.no_grad():
            exchange(editor, self.tensors())
            try:
                yield
            finally:
                exchange(editor, self.tensors())
