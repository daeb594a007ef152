"""The learning rate rises, then falls to nothing."""

from src.algorithms.schedules import warmup_cosine_factor


def test_rises_then_falls() -> None:
    factors = [warmup_cosine_factor(step, 10, 100) for step in range(101)]
    assert factors[:11] == sorted(factors[:11])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[10] == 1.0
    assert factors[100] == 0.0


def test_a_run_shorter_than_its_warm_up_still_learns() -> None:
    assert all(warmup_cosine_factor(step, 50, 2) > 0 for step in range(2))
