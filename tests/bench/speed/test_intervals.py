"""Paired means and their intervals."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.speed.intervals import (
    Interval,
    Outcome,
    difference_interval,
    judge,
    mean_interval,
    ratio_interval,
    t_quantile,
)


def test_a_known_interval() -> None:
    # Mean 5, standard deviation 2.138, t(7) 2.365: by hand.
    found = mean_interval([2, 4, 4, 4, 5, 5, 7, 9])
    assert (found.mean, found.low, found.high) == pytest.approx((5.0, 3.2124, 6.7876), abs=1e-3)


def test_one_value_has_no_interval() -> None:
    found = mean_interval([3.0])
    assert (found.mean, found.known) == (3.0, False)
    assert judge(found, 0.0, at_least=True) is Outcome.NOT_SHOWN
    assert judge(found, 1e9, at_least=False) is Outcome.NOT_SHOWN


def test_a_ratio_is_taken_round_by_round() -> None:
    """The machine halves its speed in every second round: what is twice as fast is so in each, and surely."""
    others = [100.0 if number % 2 else 50.0 for number in range(15)]
    found = ratio_interval([2 * one for one in others], others)
    assert (found.mean, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))


def test_a_ratio_is_a_geometric_mean() -> None:
    assert ratio_interval([2.0, 1.0], [1.0, 2.0]).mean == pytest.approx(1.0)


def test_a_difference_is_taken_round_by_round() -> None:
    found = difference_interval([11.0, 22.0, 33.5], [10.0, 21.0, 32.5])
    assert (found.mean, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))


@pytest.mark.parametrize("figures", [[], [1.0], [0.0, 1.0], [1.0, -1.0], [math.nan, 1.0]])
def test_what_is_no_pair_is_refused(figures: list[float]) -> None:
    with pytest.raises(ValueError):
        ratio_interval(figures, [1.0, 1.0] if figures else [])


@pytest.mark.parametrize(
    ("bound", "at_least", "outcome"),
    [
        (1.1, True, Outcome.MET),
        (1.15, True, Outcome.NOT_SHOWN),
        (1.3, True, Outcome.NOT_SHOWN),
        (1.31, True, Outcome.MISSED),
        (1.3, False, Outcome.MET),
        (1.25, False, Outcome.NOT_SHOWN),
        (1.1, False, Outcome.NOT_SHOWN),
        (1.09, False, Outcome.MISSED),
    ],
)
def test_the_unfavourable_end_decides(bound: float, at_least: bool, outcome: Outcome) -> None:
    assert judge(Interval(1.2, 1.1, 1.3), bound, at_least=at_least) is outcome


def test_quantiles() -> None:
    assert (t_quantile(1), t_quantile(14), t_quantile(30)) == (12.706, 2.145, 2.042)
    assert t_quantile(500) == t_quantile(30) > statistics.NormalDist().inv_cdf(0.975)
    assert all(t_quantile(one) > t_quantile(one + 1) for one in range(1, 30))
    with pytest.raises(ValueError):
        t_quantile(0)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = random.Random(1)
    held = 0
    for _ in range(2000):
        found = ratio_interval([math.exp(rng.gauss(0.2, 0.3)) for _ in range(15)], [1.0] * 15)
        held += found.low <= math.exp(0.2) <= found.high
    assert 0.93 < held / 2000 < 0.97


@given(st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=40))
def test_an_interval_is_around_its_mean(values: list[float]) -> None:
    found = ratio_interval(values, [1.0] * len(values))
    assert found.low <= found.mean * (1 + 1e-9)
    assert found.mean <= found.high * (1 + 1e-9)
    backwards = ratio_interval([1.0] * len(values), values)
    assert backwards.mean * found.mean == pytest.approx(1.0)
