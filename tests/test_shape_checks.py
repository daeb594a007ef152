"""shape_checks.py: which calls are checked."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from shape_checks import EVERY, FIRST, begin_test

from src.synthetic.scene import SceneObject, to_float

GOOD = np.zeros((32, 32, 3), dtype=np.uint8)


def test_the_first_calls_and_every_fiftieth_are_checked() -> None:
    for _ in range(FIRST):
        with pytest.raises(TypeCheckError, match="to_float"):
            to_float(GOOD[0])
    for _ in range(FIRST, EVERY - 1):
        to_float(GOOD[0])
    with pytest.raises(TypeCheckError, match="to_float"):
        to_float(GOOD[0])
    to_float(GOOD[0])
    begin_test()
    with pytest.raises(TypeCheckError, match="to_float"):
        to_float(GOOD[0])


def test_all_calls_are_checked_where_that_is_asked_for() -> None:
    begin_test(all_calls=True)
    for _ in range(FIRST + 3):
        with pytest.raises(TypeCheckError):
            to_float(GOOD[0])


def test_dataclasses_are_checked() -> None:
    with pytest.raises(TypeCheckError):
        SceneObject("circle", "red", "plain", "left", 0.5, 0.1)
