"""A first flaw is found under a last one, with its severity; where there is none, none is found."""

import numpy as np
import pytest

from src.synthetic.degradations import blur_width, degrade
from src.synthetic.facts import Facts
from src.synthetic.hidden import JPEG_QUALITIES, block_transform, compression_steps, hidden_flaw
from src.synthetic.scene import FloatImage, to_float, to_uint8
from src.synthetic.traces import NO_TRACES, Traces
from src.synthetic.world import World

COUNT = 14


@pytest.fixture(scope="module", params=[32, 64])
def facts(request: pytest.FixtureRequest) -> list[Facts]:
    world = World(request.param)
    return [world.facts(world.case_id("benchmark", 3, index)) for index in range(COUNT)]


def found(
    case: Facts, image: FloatImage, traces: Traces = NO_TRACES, width: float = 0.0
) -> tuple[str, float]:
    everywhere = np.ones(image.shape[:2], dtype=bool)
    hidden = hidden_flaw(to_float(to_uint8(image)), [case.exact], traces, width, everywhere)
    return ("none", 0.0) if hidden is None else (hidden.kind, hidden.severity)


@pytest.mark.parametrize("first", ["banding", "jpeg"])
@pytest.mark.parametrize("last", ["noise", "blur", "jpeg", "banding", "nothing"])
def test_a_first_flaw_is_found_with_its_severity(facts: list[Facts], first: str, last: str) -> None:
    if first == last:
        return
    right = []
    for index, case in enumerate(facts):
        image = degrade(case.exact, first, 0.7, 0)
        image = image if last == "nothing" else degrade(image, last, 0.35, index)
        traces = Traces(**{last: 0.35}) if last in ("jpeg", "banding") else NO_TRACES
        kind, severity = found(
            case, image, traces, blur_width(0.35, image.shape[0]) if last == "blur" else 0.0
        )
        right.append(kind == first and abs(severity - 0.7) < 0.05)
    assert np.mean(right) > 0.8  # the bands of a plain scene are another light


@pytest.mark.parametrize("kind", ["nothing", "noise", "blur", "original"])
def test_where_there_is_no_first_flaw_none_is_found(facts: list[Facts], kind: str) -> None:
    for index, case in enumerate(facts):
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
