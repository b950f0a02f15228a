"""How long things took, counted in buckets. Pure; must not know what was measured, nor Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

Bounds = Sequence[int]
"""Upper bounds of buckets, microseconds, ascending. What took longer is in none of them, only in the sum."""
CONNECT_BOUNDS: Bounds = (
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_000_000
)  # fmt: skip
"""A member on the same machine accepts within a quarter of a millisecond; `connect_timeout` is 2 s by default."""
FAILOVER_BOUNDS: Bounds = tuple(
    1000 * one for one in (10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 6_000, 7_000, 8_000, 10_000, 15_000, 30_000)
)
"""A switchover takes tens of milliseconds, a failover the 6 to 7 s that a group needs to give a member up."""


def count(buckets: MutableMapping[int, int], bounds: Bounds, seconds: float) -> None:
    """Count one duration in the bucket that it belongs to, by its upper bound; the buckets are not cumulative."""
    at = bisect_left(bounds, seconds * 1e6)
    if at < len(bounds):
        buckets[bounds[at]] = buckets.get(bounds[at], 0) + 1


def cumulate(buckets: Mapping[int, int], bounds: Bounds) -> list[tuple[float, int]]:
    """For each bound, in seconds, how many took no longer."""
    sums, so_far = [], 0
    for bound in bounds:
        so_far += buckets.get(bound, 0)
        sums.append((bound / 1e6, so_far))
    return sums


@dataclass(slots=True)
class Durations:
    """Some durations: how many, their sum in seconds, and the buckets they are in."""

    bounds: Bounds
    number: int = 0
    seconds: float = 0.0
    buckets: dict[int, int] = field(default_factory=dict)

    def add(self, seconds: float) -> None:
        """Count one."""
        self.number += 1
        self.seconds += seconds
        count(self.buckets, self.bounds, seconds)
