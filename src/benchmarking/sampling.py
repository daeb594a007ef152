"""Measures the project's editing: Editor.edit with the experiment's sampler, from images on the device to
images on the device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from src.benchmarking.clock import Clock, mark_calls, operation_counter, peak_memory, reset_peak_memory
from src.benchmarking.measurement import RungMeasurement
from src.benchmarking.released import ReleaseOverhead
from src.diffusion.process import Latent
from src.diffusion.samplers import Sampler
from src.editor import Editor
from src.execution import Execution
from src.records import TargetReward

PHASES = ("encode", "denoiser", "sampler", "decode")
"""Encode: the image and the texts. Sampler: guidance and steps between two calls of the denoiser."""


@final
@dataclass(frozen=True, eq=False)
class Edits:
    """Images to edit.

    Attributes:
        originals: (b, 3, H, W), in [-1, 1], on the editor's device.
        instructions: one per image.
    """

    originals: Float[Tensor, "b 3 H W"]
    instructions: Sequence[str]

    def by(
        self, editor: Editor, sampler: Sampler, unread: ReleaseOverhead, clock: Clock | None = None
    ) -> None:
        """Edit with the best target reward, after the unused work of the release."""
        unread.compute(self.originals, editor.backbone.encode_text)
        count = len(self.instructions)
        network, clock = editor.network, clock or Clock(torch.device("cpu"))

        def first(*inputs: Any) -> Latent:
            """Assign everything before the first call to encoding."""
            clock.mark("encode")
            editor.network = network
            assert network is not None
            return network(*inputs)

        editor.network = first
        editor.edit(self.originals, self.instructions, [TargetReward()] * count, list(range(count)), sampler)
        clock.mark("decode")


@torch.inference_mode()
def measure_sampling(
    editor: Editor,
    execution: Execution,
    edits: Edits,
    unread: ReleaseOverhead,
    samplers: Mapping[int, Sampler],
    steps: int,
    warm_up: int,
    repeats: int,
) -> RungMeasurement:
    """Edit images.

    Args:
        editor: on its device.
        execution: how the editor computes.
        edits: a batch of images.
        unread: unused work of the release.
        samplers: the experiment's sampler by its number of steps: 1, to count operations and to compile, and
            the number that is timed.
        steps: of a whole edit; the rate is extrapolated to it.
        warm_up, repeats: edits before and during timing.
    """
    execution.prepare(editor)
    clock, count, timed_steps = Clock(edits.originals.device), len(edits.instructions), max(samplers)
    network = editor.network or editor.forward

    # a compiled network hides what it computes
    plain, counter, per_step = replace(execution, compiled=False).network(editor), operation_counter(), []

    def counted(*inputs: Any) -> Latent:
        before = counter.get_total_flops()
        output = plain(*inputs)
        per_step.append(counter.get_total_flops() - before)
        return output

    editor.network = counted
    with counter:
        edits.by(editor, samplers[1], unread)
    operations = counter.get_total_flops() + (steps - 1) * per_step[0]

    editor.network = mark_calls(network, clock, "sampler", "denoiser")
    clock.restart()
    if execution.compiled:
        edits.by(editor, samplers[1], unread)
    first_call_s = clock.seconds().get("denoiser", 0.0)
    for _ in range(warm_up):
        edits.by(editor, samplers[timed_steps], unread)
    reset_peak_memory(clock.device)
    clock.restart()
    for _ in range(repeats):
        edits.by(editor, samplers[timed_steps], unread, clock)
    phases = {phase: seconds / (repeats * count) for phase, seconds in clock.seconds().items()}
    for phase in ("sampler", "denoiser"):
        phases[phase] *= steps / timed_steps
    return RungMeasurement(
        samples_per_s=1.0 / sum(phases.values()),
        batch_size=count,
        phases={phase: phases[phase] for phase in PHASES},
        tflop_per_sample=operations / count / 1e12,
        peak_memory_gb=peak_memory(clock.device) / 1e9,
        extrapolated="" if timed_steps == steps else f"from {timed_steps} of {steps} denoiser calls",
        first_call_s=first_call_s,
    )
