"""Means of paired figures with their 95 % intervals, and whether such an interval meets a target. Pure.

Two figures of one round have what else the machine did at that time in common, so they are set against each other
within the round, and only then is anything averaged.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

# Student's t, two-sided 95 %, by degrees of freedom from 1 to 30 (any table of it). Beyond, the last is taken, which
# makes an interval a little wider than it need be.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


class Outcome(Enum):
    """Whether a target is met. Only MET counts as that; the others say whether more rounds could change it."""

    MET = "met"
    NOT_SHOWN = "not shown"  # the bound is within the interval: these rounds do not tell
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the 95 % interval around it; infinitely wide where one value is all there is."""

    mean: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there are enough values for an interval at all."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def t_quantile(degrees: int) -> float:
    """Student's t for a two-sided 95 % interval.

    Raises:
        ValueError: there is none below one degree of freedom.
    """
    if degrees < 1:
        raise ValueError("an interval needs two values")
    return _T[min(degrees, len(_T)) - 1]


def mean_interval(values: Sequence[float]) -> Interval:
    """The arithmetic mean of independent values.

    Raises:
        ValueError: there is none.
    """
    if not values:
        raise ValueError("no values")
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Interval(mean, -math.inf, math.inf)
    reach = t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - reach, mean + reach)


def ratio_interval(figures: Sequence[float], others: Sequence[float]) -> Interval:
    """The geometric mean of figure by other, round by round: twice as fast and half as fast are equally far from 1.

    Args:
        figures: one of each round, above zero.
        others: of the same rounds in the same order, above zero.

    Raises:
        ValueError: they are not pairs, there are none, or one is not above zero.
    """
    logs = [math.log(figure / other) for figure, other in _pairs(figures, others)]
    found = mean_interval(logs)
    high = math.inf if math.isinf(found.high) else math.exp(found.high)
    return Interval(math.exp(found.mean), math.exp(found.low), high)


def difference_interval(figures: Sequence[float], others: Sequence[float]) -> Interval:
    """The mean of figure minus other, round by round.

    Raises:
        ValueError: they are not pairs, or there are none.
    """
    if len(figures) != len(others):
        raise ValueError(f"{len(figures)} figures and {len(others)} others are not pairs")
    return mean_interval([figure - other for figure, other in zip(figures, others, strict=True)])


def judge(found: Interval, bound: float, *, at_least: bool) -> Outcome:
    """On which side of a bound the interval is: not its mean, but the whole of it."""
    good, bad = (found.low >= bound, found.high < bound) if at_least else (found.high <= bound, found.low > bound)
    return Outcome.MET if good else Outcome.MISSED if bad else Outcome.NOT_SHOWN


def _pairs(figures: Sequence[float], others: Sequence[float]) -> list[tuple[float, float]]:
    if len(figures) != len(others):
        raise ValueError(f"{len(figures)} figures and {len(others)} others are not pairs")
    if any(not value > 0 for value in (*figures, *others)):
        raise ValueError("a ratio is of figures above zero")
    return list(zip(figures, others, strict=True))
