"""Running a noise process backwards, deterministic or ancestral, for every process of the form x_t = alpha
x_0 + sigma eps.

With eta = 0 the step is DDIM (Song et al. 2021), which for rectified flow is Euler's method; with eta = 1 it
is Euler ancestral (k-diffusion), the sampler of InsPix2Pix. The step itself is transitions.Ancestral.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from src.diffusion.guidance import Guidance
from src.diffusion.process import Latent, Prediction, Process, Time, per_sample
from src.diffusion.transitions import Ancestral
from src.finite_tensors import clamp_visibly
from src.seeds import fold_seed


def clipped_prediction(
    output: Latent, process: Process, x_t: Latent, t: Time, clip: float | None
) -> Prediction:
    """x_0 and noise implied by a network output, with x_0 clamped to [-clip, clip]; None doesn't clamp."""
    prediction = process.predict(output, x_t, t)
    if clip is None:
        return prediction
    # eps must agree with the clamped x_0, else the step leaves the process's marginal
    x_0 = clamp_visibly(prediction.x_0, -clip, clip)
    alpha, sigma = (per_sample(value, x_t) for value in process.marginal(t))
    return Prediction(x_0, (x_t - alpha * x_0) / sigma)


def seeded_noise(seeds: Sequence[int], shape: Sequence[int], draw: int) -> Float[Tensor, "b c h w"]:
    """N(0, I) noise whose row i is a function of seeds[i], the shape and the draw alone, so batch size and
    order don't matter. On the CPU.
    """
    rows = [
        torch.randn(tuple(shape), generator=torch.Generator().manual_seed(fold_seed("latent", seed, draw)))
        for seed in seeds
    ]
    return torch.stack(rows)


class Sampler:
    """How edits are sampled: number of steps, randomness, guidance.

    Args:
        steps: denoiser evaluations per branch.
        guidance: scales of instruction, image and reward.
        eta: 0 deterministic, 1 Euler ancestral.
        clip: predictions of x_0 are clamped to [-clip, clip], for latents that are pixels in [-1, 1]; None
            doesn't clamp.
        resize: the size at which this protocol edits photographs, applied where they are read from files:
            "trained" (short side as in training), "keep", the short side in pixels, "long_side_64:512",
            "square:256" or "area:1048576", which shrinks what is larger.
        shift: of the times, for processes that have one; None for that of the training.
    """

    def __init__(
        self,
        steps: int,
        guidance: Guidance,
        eta: float = 0.0,
        clip: float | None = None,
        resize: str | int = "trained",
        shift: float | None = None,
    ) -> None:
        if steps < 1:
            raise ValueError(f"a sampler takes at least one step, got {steps}")
        self.steps = steps
        self.guidance = guidance
        self.eta = Ancestral(eta).eta
        self.clip = clip
        if shift is not None and shift <= 0.0:
            raise ValueError(f"shift must be positive, got {shift}")
        self.resize = resize
        self.shift = shift

    def settings(self) -> dict[str, object]:
        """Everything that the result depends on, JSON-able, for `generation.json`."""
        guidance = {"text": self.guidance.text, "image": self.guidance.image, "reward": self.guidance.reward}
        reference = self.guidance.reference
        reference = reference if isinstance(reference, str) else list(reference)
        return {
            "steps": self.steps,
            "eta": self.eta,
            "clip": self.clip,
            "guidance": guidance | {"reference": reference},
            **({} if self.shift is None else {"shift": self.shift}),
        }

    def saved(self) -> dict[str, object]:
        """All arguments, as an editor that was trained with this sampler keeps them; see `check_saved`."""
        return {**self.settings(), "shift": self.shift, "resize": self.resize}

    def sample(
        self,
        denoise: Callable[[Latent, Time], Latent],
        process: Process,
        seeds: Sequence[int],
        shape: Sequence[int],
        device: torch.device,
    ) -> Latent:
        """A clean latent per seed.

        Args:
            denoise: network output (already guided) for x_t (b, c, h, w) and times (b,).
            process: the process the network was trained with.
            seeds: one per sample.
            shape: (c, h, w) of a latent.
            device: the network's device.
        """
        times = process.times(self.steps, self.shift, math.prod(shape[1:])).to(device)
        kernel = Ancestral(self.eta)
        x_t = seeded_noise(seeds, shape, 0).to(device)
        for index, time in enumerate(times):
            t = time.expand(len(seeds))
            prediction = clipped_prediction(denoise(x_t, t), process, x_t, t, self.clip)
            if index + 1 == len(times):
                return prediction.x_0
            after = process.marginal(times[index + 1].expand(len(seeds)))
            transition = kernel.transition(prediction, process.marginal(t), after)
            x_t = transition.mean
            if self.eta > 0:
                x_t = transition.sample(seeded_noise(seeds, shape, index + 1).to(device))
        raise AssertionError("unreachable: a sampler takes at least one step")


SAVED = ("steps", "eta", "clip", "shift", "resize", "guidance.text", "guidance.image", "guidance.reward")
"""The arguments that `Sampler.saved` gives, by dotted names, besides guidance.reference."""


def check_saved(settings: object, source: str) -> None:
    """Check what a file says of a sampler.

    Args:
        settings: as `Sampler.saved` gives them.
        source: where they were found, for the message.

    Raises:
        ValueError: other settings, or values of another kind.
    """
    guidance = settings.get("guidance") if isinstance(settings, Mapping) else None
    if not isinstance(settings, Mapping) or not isinstance(guidance, Mapping):
        raise ValueError(f"{source} says sampler={str(settings)[:60]}: steps, guidance, ... are needed")
    flat = {name: value for name, value in settings.items() if name != "guidance"}
    flat |= {f"guidance.{name}": value for name, value in guidance.items()}
    wrong = sorted(flat.keys() ^ {*SAVED, "guidance.reference"})
    wrong += [name for name, value in flat.items() if not wrong and not _is_saved(name, value)]
    if wrong:
        said = flat.get(wrong[0], "nothing")
        raise ValueError(
            f"{source} says sampler.{wrong[0]}={str(said)[:60]}, which is no setting of a sampler: export "
            "the editor again, or give sampler=NAME"
        )


def _is_saved(name: str, value: object) -> bool:
    if name == "steps":
        return type(value) is int
    if name == "resize":
        return type(value) in (int, str)
    if name == "guidance.reference":
        return isinstance(value, str) or (isinstance(value, list) and all(map(_is_number, value)))
    return (value is None and name in ("clip", "shift")) or _is_number(value)


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(cast("float", value))


def sampler_of(settings: Mapping[str, Any]) -> Sampler:
    """The sampler of checked settings, as `Sampler.saved` gives them."""
    return Sampler(**{**settings, "guidance": Guidance(**settings["guidance"])})


def in_words(sampler: Sampler) -> str:
    """A sampler for people: "30 steps, eta 1, guidance 7.5 text, 1.5 image"."""
    scales = {name: getattr(sampler.guidance, name) for name in ("text", "image", "reward")}
    strong = ", ".join(f"{scale:g} {name}" for name, scale in scales.items() if scale != 1.0)
    parts = [f"{sampler.steps} steps", f"eta {sampler.eta:g}"]
    parts += [] if sampler.shift is None else [f"shift {sampler.shift:g}"]
    return ", ".join([*parts, f"guidance {strong}" if strong else "no guidance"])
