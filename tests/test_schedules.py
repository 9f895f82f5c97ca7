"""Learning-rate factors against the published rates."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from copytrace.schedules import cosine_between, lr_factor, warmup_cosine


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [
        (0, "3.5e-06"), (1, "7.28e-05"), (2, "1.42e-04"), (3, "2.11e-04"), (4, "2.81e-04"), (5, "3.5e-04"),
        (9, "3.5e-04"), (10, "3.5e-04"), (24, "3.8e-06"),
    ],
)  # fmt: skip
def test_published_rates(epoch, rate):
    """D²LV sheet, 4.3: peak 3.5e-4, 25 epochs, warm-up 5, flat to 10; equal in every printed digit."""
    digits = len(rate.split("e")[0]) - 2
    assert f"{3.5e-4 * lr_factor(epoch, 25, 5, 10):.{digits}e}" == rate


def test_cosine_part():
    assert lr_factor(10, 25, 5, 10) == 1
    assert lr_factor(17.5, 25, 5, 10) == pytest.approx(0.5)
    assert lr_factor(15, 25, 5, 10) == pytest.approx(0.75)  # a third of the way: ½(1 + cos 60°)
    assert lr_factor(25, 25, 5, 10) == pytest.approx(0)


def test_the_schedule_rises_rests_and_falls():
    factors = [lr_factor(epoch, 20, 4, 8) for epoch in range(21)]
    assert factors[:5] == sorted(factors[:5]) and factors[0] == 0.01
    assert factors[4:9] == [1] * 5
    assert all(a > b for a, b in pairwise(factors[8:]))


def test_schedules_without_some_of_their_parts():
    assert lr_factor(0, 10, 0, 0) == 1  # no warm-up
    assert lr_factor(9, 10, 2, 10) == 1  # no descent


def test_warmup_cosine_of_the_momentum_teacher():
    """D²LV sheet, 3.2: 1e-6 to 0.1 in 10 of 300 epochs of 2502 steps, half-cosine to 0."""
    steps, warmup = 300 * 2502, 10 * 2502

    def rate(step):
        return 0.1 * warmup_cosine(step, steps, warmup, start=1e-5)

    assert rate(0) == pytest.approx(1e-6)
    assert rate(warmup // 2) == pytest.approx(0.05, rel=1e-4)
    assert rate(warmup) == pytest.approx(0.1)
    assert rate((steps + warmup) // 2) == pytest.approx(0.05, rel=1e-4)
    assert rate(steps) == pytest.approx(0)


def test_warmup_cosine_of_barlow_twins():
    """D²LV sheet, 3.1: down to a thousandth of the peak."""
    assert warmup_cosine(1000, 1000, 10, floor=0.001) == pytest.approx(0.001)
    half = warmup_cosine(505, 1000, 10, floor=0.001)
    assert half == pytest.approx((1 + 0.001) / 2)
    assert 0 < warmup_cosine(0, 100, 8) < 0.01
    assert all(math.isfinite(warmup_cosine(step, 1, 0)) for step in range(3))
    assert warmup_cosine(0, 100, 0) == 1


def test_averages_of_the_momentum_teacher():
    """D²LV sheet, 3.2: m(t) = 1 − 0.01·(1 + cos(πt/T))/2 and b(t) = (1 + cos(πt/T))/2."""
    steps = 300 * 2502
    assert [cosine_between(0.99, 1, t, steps) for t in (0, steps // 2, steps)] == pytest.approx([0.99, 0.995, 1])
    assert [cosine_between(1, 0, t, steps) for t in (0, steps // 2, steps)] == pytest.approx([1, 0.5, 0])
    quarter = (1 + math.sqrt(0.5)) / 2  # cos 45°
    assert cosine_between(0.99, 1, steps // 4, steps) == pytest.approx(1 - 0.01 * quarter)
    assert cosine_between(1, 0, steps // 4, steps) == pytest.approx(quarter)
