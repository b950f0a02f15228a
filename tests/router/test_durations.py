"""Durations in buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.durations import CONNECT_BOUNDS, FAILOVER_BOUNDS, Durations, cumulate


@given(st.lists(st.floats(0, 40)))
def test_each_bucket_has_those_that_took_no_longer(times: list[float]) -> None:
    durations = Durations(FAILOVER_BOUNDS)
    for seconds in times:
        durations.add(seconds)
    assert durations.number == len(times)
    for bound, number in cumulate(durations.buckets, durations.bounds):
        assert number == sum(seconds * 1e6 <= bound * 1e6 for seconds in times)


def test_bounds_ascend() -> None:
    for bounds in (CONNECT_BOUNDS, FAILOVER_BOUNDS):
        assert list(bounds) == sorted(set(bounds))
