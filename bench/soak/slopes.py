"""Whether a figure grows: a straight line through its samples. Pure.

Owns what is left out at the beginning, and how few samples say nothing. Must not know what the figure is.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

Points = Sequence[tuple[float, float]]
"""Seconds, and the figure then."""
WARM_UP = 30.0
"""Seconds of a process's life that do not count: caches fill, and memory that is freed then is kept for the next."""
WARM_UP_SHARE = 0.3
"""The same as a share of what was seen of its life, where that is longer."""
FEWEST = 12
"""Samples below which a line says nothing: a minute of them."""


@dataclass(frozen=True, slots=True)
class Slope:
    """A line through samples.

    per_second: how steep. first: its height where it begins. seconds: from its first sample to its last. samples: how
    many.
    """

    per_second: float
    first: float
    seconds: float
    samples: int

    @property
    def growth(self) -> float:
        """How much it rises from its first sample to its last."""
        return self.per_second * self.seconds


def settled(points: Points) -> Points:
    """The samples after the warm-up."""
    if not points:
        return points
    began, ended = points[0][0], points[-1][0]
    after = began + max(WARM_UP, WARM_UP_SHARE * (ended - began))
    return [point for point in points if point[0] >= after]


def fit(points: Points) -> Slope | None:
    """The line with the least squares through the samples after the warm-up; None where these are too few."""
    chosen = settled(points)
    if len(chosen) < FEWEST:
        return None
    times, figures = [at for at, _ in chosen], [figure for _, figure in chosen]
    line = statistics.linear_regression(times, figures)
    first = line.intercept + line.slope * times[0]
    return Slope(line.slope, first, times[-1] - times[0], len(chosen))
