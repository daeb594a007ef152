"""The one place where an editor is given a batch of images: src.edit and src.evaluate make their edits here.

An edit is a function of the image, the instruction, the reward asked for, the seed and the name that the
noise is drawn for, up to the rounding of batches of different sizes.
"""

from collections.abc import Sequence

import torch

from src.data.collate import finite_images, to_tensor
from src.data.transforms import Size
from src.diffusion.samplers import Sampler
from src.editor import Editor
from src.records import Image, TargetReward
from src.seeds import fold_seed


def edit_batch(
    editor: Editor,
    images: Sequence[Image],
    instructions: Sequence[str],
    rewards: Sequence[TargetReward],
    seeds: Sequence[int],
    sampler: Sampler,
    device: torch.device,
    resize_option: str = "resize",
) -> list[Image | None]:
    """Edit images of one size. None stands for an edit that is not finite, which is no image.

    Args:
        editor: on `device`.
        images: that its latent can hold.
        instructions: one per image.
        rewards: those asked for, one per image.
        seeds: of the noise, one per image; see `noise_seed`.
        sampler: steps and guidance.
        device: where the editor is.
        resize_option: the command's option for the size, for the error.

    Raises:
        ValueError: the GPU has no room for them.
    """
    try:
        with torch.inference_mode():
            made = editor.edit(to_tensor(images).to(device), instructions, rewards, seeds, sampler)
            return finite_images(made)
    except torch.OutOfMemoryError as error:
        height, width = images[0].shape[:2]
        advice = (
            f"batch_size={len(images) // 2}" if len(images) > 1 else f"{resize_option}=... with fewer pixels"
        )
        raise ValueError(
            f"{device} has no room to edit {len(images)} images of {width}x{height} at once; say {advice}"
        ) from error


def noise_seed(name: str, seed: int, candidate: int = 0) -> int:
    """The seed of an edit's noise.

    Args:
        name: of the edit: a benchmark's case id, or `EditRequest.noise_name`.
        seed: of the command.
        candidate: its number for best-of-N, whose candidates differ in their noise; 0 is the ordinary edit.
    """
    return fold_seed("noise", name, seed, candidate) if candidate else fold_seed("noise", name, seed)


def size_to_edit(editor: Editor, height: int, width: int) -> Size:
    """The largest size of at most (height, width) that the editor's latent can hold, among the multiples of
    1, 2, 4, ... 64.

    Raises:
        ValueError: there is none.
    """
    for multiple in (1, 2, 4, 8, 16, 32, 64):
        size = (height // multiple * multiple, width // multiple * multiple)
        if min(size) == 0:
            break
        try:
            editor.check_resolution(*size)
        except ValueError:
            continue
        return size
    raise ValueError(
        f"the editor's latent holds no image of about {width}x{height}; say resize=... with a larger short "
        "side"
    )
