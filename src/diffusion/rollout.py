"""Sampling that remembers: the latents of the stochastic steps, so that an algorithm can ask how likely they
are under changed weights.

A rollout is a function of weights, seeds and window alone: the noise is that of `samplers.seeded_noise`, so a
rollout with the kernel of a Sampler gives the latents of that Sampler. The last step has no noise.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from src.diffusion.process import Latent, Process, Time
from src.diffusion.samplers import clipped_prediction, seeded_noise
from src.diffusion.transitions import Ancestral, Kernel, Transition, log_probability
from src.seeds import fold_seed

Denoise = Callable[[Latent, Time], Latent]
"""The guided network output for x_t (b, c, h, w) and times (b,)."""

STRAY = 1e-4
"""Largest deviation from 1 of the ratio of a step's probabilities at unchanged weights. In fp32 it is 0 in
equal batches and 1e-7 in others; latents kept in bf16 reach 1e-4.
"""


@final
class Trajectory(NamedTuple):
    """The stochastic steps of a rollout, in fp32.

    Attributes:
        steps: their numbers in the schedule, ascending.
        before, after: the latents that they began and ended with.
        mean: what each transition expected, at the weights of the rollout.
        log_probability: of `after`, per element.
        clean: the sampled latents x_0.
    """

    steps: Sequence[int]
    before: Float[Tensor, "steps b c h w"]
    after: Float[Tensor, "steps b c h w"]
    mean: Float[Tensor, "steps b c h w"]
    log_probability: Float[Tensor, "steps b"]
    clean: Latent


@final
class Window:
    """Which steps are stochastic (MixGRPO, Flow-GRPO-Fast): `width` steps in a row of the early part of the
    schedule, others for each optimiser step. All ranks and samples share them; windows of their own for each
    request made a public training collapse.

    Args:
        width: steps; at least 1.
        early: the part of the schedule that windows lie in, above 0 to 1.
    """

    def __init__(self, width: int, early: float = 0.5) -> None:
        if width < 1 or not 0.0 < early <= 1.0:
            raise ValueError(f"a window has width >= 1 and early in (0, 1], got {width} and {early}")
        self.width, self.early = width, early

    def steps(self, total: int, seed: int, step: int) -> range:
        """The stochastic steps of an optimiser step.

        Args:
            total: steps of the schedule, of which the last is never stochastic.
            seed: of the training.
            step: of the optimiser.

        Raises:
            ValueError: a window that the schedule doesn't hold.
        """
        last = min(total - 1, max(self.width, round(self.early * total)))
        if self.width > last:
            raise ValueError(
                f"a window of {self.width} steps does not fit into a schedule of {total}, whose last step "
                "has no noise"
            )
        begin = fold_seed("window", seed, step) % (last - self.width + 1)
        return range(begin, begin + self.width)


@final
class Rollout:
    """How edits are drawn that are to be judged and learnt from.

    Args:
        steps: of the schedule.
        kernel: of the stochastic steps; the others are deterministic.
        window: the stochastic steps; None for all but the last.
        clip: predictions of x_0 are clamped to [-clip, clip]; None doesn't clamp.
        shift: of the times; None for that of the training.
    """

    def __init__(
        self,
        steps: int,
        kernel: Kernel,
        window: Window | None = None,
        clip: float | None = None,
        shift: float | None = None,
    ) -> None:
        if steps < 2:
            raise ValueError(f"a rollout has at least two steps, as the last one has no noise, got {steps}")
        self.total, self.kernel, self.window, self.clip, self.shift = steps, kernel, window, clip, shift
        self.stochastic(0, 0)

    def stochastic(self, seed: int, step: int) -> range:
        """The stochastic steps of an optimiser step. Raises ValueError as `Window.steps`."""
        return range(self.total - 1) if self.window is None else self.window.steps(self.total, seed, step)

    def sample(
        self,
        denoise: Denoise,
        process: Process,
        seeds: Sequence[int],
        shape: Sequence[int],
        device: torch.device,
        stochastic: Sequence[int],
    ) -> Trajectory:
        """Draw clean latents and remember the stochastic steps.

        Args:
            denoise: the guided network.
            process: that it was trained with.
            seeds: one per sample.
            shape: (c, h, w) of a latent.
            device: the network's.
            stochastic: the steps with fresh noise; see `stochastic`.

        Raises:
            ValueError: a process that the kernel is not defined for.
        """
        self.kernel.check(process)
        times = self._times(process, shape, device)
        x_t = seeded_noise(seeds, shape, 0).to(device)
        kept: list[tuple[Latent, Latent, Latent, Float[Tensor, " b"]]] = []
        for index in range(self.total - 1):
            has_noise = index in stochastic
            kernel = self.kernel if has_noise else Ancestral(0.0)
            transition = self._transition(denoise, process, times, index, x_t, kernel)
            after = transition.mean
            if has_noise:
                after = transition.sample(seeded_noise(seeds, shape, index + 1).to(device))
                kept.append((x_t, after, transition.mean, log_probability(transition, after)))
            x_t = after
        t = times[-1].expand(len(x_t))
        clean = clipped_prediction(denoise(x_t, t), process, x_t, t, self.clip).x_0
        if not kept:
            raise ValueError("a rollout has at least one stochastic step")
        before, after, mean, likely = (torch.stack(each) for each in zip(*kept, strict=True))
        return Trajectory(list(stochastic), before, after, mean, likely, clean)

    def replay(self, denoise: Denoise, process: Process, trajectory: Trajectory, place: int) -> Transition:
        """What the present weights expect of a remembered step, with gradient.

        Args:
            denoise, process: as in `sample`, with the same guidance.
            place: of the step in the trajectory, 0 for its first.
        """
        before = trajectory.before[place]
        times = self._times(process, before.shape[1:], before.device)
        return self._transition(denoise, process, times, trajectory.steps[place], before, self.kernel)

    def _times(
        self, process: Process, shape: Sequence[int], device: torch.device
    ) -> Shaped[Tensor, " steps"]:
        return process.times(self.total, self.shift, math.prod(shape[1:])).to(device)

    def _transition(
        self,
        denoise: Denoise,
        process: Process,
        times: Shaped[Tensor, " steps"],
        index: int,
        x_t: Latent,
        kernel: Kernel,
    ) -> Transition:
        t, later = (times[place].expand(len(x_t)) for place in (index, index + 1))
        prediction = clipped_prediction(denoise(x_t, t), process, x_t, t, self.clip)
        return kernel.transition(prediction, process.marginal(t), process.marginal(later))


def check_replay(trajectory: Trajectory, place: int, replayed: Transition) -> None:
    """Raise ValueError if weights that did not change give a remembered step another probability: it was then
    not drawn as it is replayed (dropout, guidance, kernel, times), and nothing could be learnt from it.
    """
    likely = log_probability(replayed, trajectory.after[place]).detach()
    stray = float((likely - trajectory.log_probability[place]).exp().sub(1.0).abs().max())
    if not stray <= STRAY:
        raise ValueError(
            f"step {trajectory.steps[place]} of the rollout has another probability when replayed with the "
            f"same weights: the ratio is off by {stray:.1e}, at most {STRAY:.0e} is rounding. Guidance, "
            "kernel, times and dropout must be those of the rollout, and latents kept in fp32"
        )
