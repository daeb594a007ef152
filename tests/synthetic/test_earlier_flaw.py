"""A flaw under a later flaw is detected with its severity, and none is detected where there is none."""

import numpy as np
import pytest

from src.synthetic.compression_traces import NO_TRACES, CompressionTraces
from src.synthetic.degradations import blur_width, degrade
from src.synthetic.earlier_flaw import JPEG_QUALITIES, block_transform, compression_steps, find_earlier_flaw
from src.synthetic.ground_truth import GroundTruth
from src.synthetic.scene import FloatImage, to_float, to_uint8
from src.synthetic.world import World

COUNT = 14


@pytest.fixture(scope="module", params=[32, 64])
def truth(request: pytest.FixtureRequest) -> list[GroundTruth]:
    world = World(request.param)
    return [world.ground_truth(world.case_id("benchmark", 3, index)) for index in range(COUNT)]


def found(
    case: GroundTruth, image: FloatImage, traces: CompressionTraces = NO_TRACES, width: float = 0.0
) -> tuple[str, float]:
    everywhere = np.ones(image.shape[:2], dtype=bool)
    hidden = find_earlier_flaw(to_float(to_uint8(image)), [case.exact], traces, width, everywhere)
    return ("none", 0.0) if hidden is None else (hidden.kind, hidden.severity)


@pytest.mark.parametrize("first", ["banding", "jpeg"])
@pytest.mark.parametrize("last", ["noise", "blur", "jpeg", "banding", "nothing"])
def test_a_first_flaw_is_found_with_its_severity(truth: list[GroundTruth], first: str, last: str) -> None:
    if first == last:
        return
    right = []
    for index, case in enumerate(truth):
        image = degrade(case.exact, first, 0.7, 0)
        image = image if last == "nothing" else degrade(image, last, 0.35, index)
        traces = CompressionTraces(**{last: 0.35}) if last in ("jpeg", "banding") else NO_TRACES
        kind, severity = found(
            case, image, traces, blur_width(0.35, image.shape[0]) if last == "blur" else 0.0
        )
        right.append(kind == first and abs(severity - 0.7) < 0.05)
    assert np.mean(right) > 0.8  # the bands of a plain scene are another light


@pytest.mark.parametrize("kind", ["nothing", "noise", "blur", "original"])
def test_where_there_is_no_first_flaw_none_is_found(truth: list[GroundTruth], kind: str) -> None:
    for index, case in enumerate(truth):
        whole = case.edit.type in ("background", "global", "style")
        if kind == "original" and whole:
            continue  # nothing of it is like the right answer
        image = {"nothing": case.exact, "original": case.original}.get(kind)
        image = degrade(case.exact, kind, 0.5, index) if image is None else image
        width = blur_width(0.5, image.shape[0]) if kind == "blur" else 0.0
        assert found(case, image, width=width)[0] == "none"


def test_the_transform_is_orthonormal_and_severities_are_in_order() -> None:
    transform = block_transform(32)
    np.testing.assert_allclose(transform @ transform.T, np.eye(32), atol=1e-5)
    severities, steps = compression_steps(32)
    assert steps.shape == (len(JPEG_QUALITIES), 32, 32)
    assert (np.diff(severities) < 0).all()
    assert (np.diff(steps[:, 1, 1]) <= 0).all()
