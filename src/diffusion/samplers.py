"""Running a noise process backwards: one step formula, deterministic or ancestral, for every process of the
form x_t = alpha x_0 + sigma eps.

With eta = 0 the step is DDIM (Song et al. 2021), which for rectified flow is Euler's method; with eta = 1 it
is Euler ancestral (k-diffusion), the sampler of InsPix2Pix.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from src.diffusion.guidance import Guidance
from src.diffusion.process import Latent, Marginal, Prediction, Process, Time, per_sample
from src.finite_tensors import clamp_visibly
from src.seeds import fold_seed


def step(prediction: Prediction, now: Marginal, after: Marginal, eta: float, eps: Latent) -> Latent:
    """One step to a less noisy time.

    Args:
        prediction: x_0 and noise implied by the network at the present time.
        now, after: marginals of the present and the next time.
        eta: share of the ancestral noise, 0 (deterministic) to 1.
        eps: fresh N(0, I) noise, used if eta > 0.
    """
    x_0, predicted_eps = prediction
    # In k-diffusion's variable x / alpha the noise level is sigma / alpha. The ratio after/now is written so
    # that alpha = 0 (pure noise) is allowed.
    level = per_sample(after.sigma / after.alpha, x_0)
    ratio = per_sample((after.sigma * now.alpha) / (after.alpha * now.sigma), x_0)
    fresh = (eta * level * (1.0 - ratio**2).clamp_min(0.0).sqrt()).clamp(max=level)
    kept = (level**2 - fresh**2).clamp_min(0.0).sqrt()
    return per_sample(after.alpha, x_0) * (x_0 + kept * predicted_eps + fresh * eps)


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
            "trained" (short side as in training), "keep", the short side in pixels, "long_side_64:512" or
            "square:256".
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
        if not 0.0 <= eta <= 1.0:
            raise ValueError(f"eta must lie in [0, 1], got {eta}")
        self.steps = steps
        self.guidance = guidance
        self.eta = eta
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
        times = process.times(self.steps, self.shift).to(device)
        x_t = seeded_noise(seeds, shape, 0).to(device)
        for index, time in enumerate(times):
            t = time.expand(len(seeds))
            prediction = process.predict(denoise(x_t, t), x_t, t)
            x_0 = prediction.x_0
            if self.clip is not None:
                # eps must agree with the clamped x_0, else the step leaves the process's marginal
                x_0 = clamp_visibly(x_0, -self.clip, self.clip)
                alpha, sigma = (per_sample(value, x_t) for value in process.marginal(t))
                prediction = Prediction(x_0, (x_t - alpha * x_0) / sigma)
            if index + 1 == len(times):
                return x_0
            after = process.marginal(times[index + 1].expand(len(seeds)))
            fresh = (
                seeded_noise(seeds, shape, index + 1).to(device) if self.eta > 0 else torch.zeros_like(x_t)
            )
            x_t = step(prediction, process.marginal(t), after, self.eta, fresh)
        raise AssertionError("unreachable: a sampler takes at least one step")
