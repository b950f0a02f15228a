"""Durations in buckets, and how long clusters were without a primary."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cluster.members import Endpoint, Member, Role, State
from cluster.topology import MemberStatus, Topology
from router.durations import CONNECT_BOUNDS, FAILOVER_BOUNDS, Durations, cumulate
from router.failovers import Failovers


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


def topology(*primaries: str) -> Topology:
    endpoint = Endpoint("127.0.0.1", 1)
    members = (
        MemberStatus(
            Member(name, endpoint, endpoint),
            name,
            Role.PRIMARY,
            State.ONLINE,
            Role.PRIMARY if name in primaries else None,
        )
        for name in ("a", "b", "c")
    )
    return Topology(members=tuple(members))


def test_the_time_without_a_primary_is_counted() -> None:
    failovers = Failovers()
    steps = [topology(), topology("a"), topology(), topology(), topology("b"), topology("c"), topology(), topology("c")]
    for number, (old, new) in enumerate(pairwise(steps)):
        failovers.topology_changed(old, new, float(number))
        assert failovers.lasting(number + 0.5) == {1: 0.5, 2: 1.5, 5: 0.5}.get(number, 0.0)
    # From a to b after 2 s, from b to c at once, and c again after 1 s. The first primary ever is no failover.
    assert (failovers.durations.number, failovers.durations.seconds) == (3, 3.0)


def test_where_several_write_one_that_leaves_is_no_failover() -> None:
    failovers = Failovers()
    failovers.topology_changed(topology("a", "b"), topology("b"), 1.0)
    assert (failovers.durations.number, failovers.lasting(9.0)) == (0, 0.0)
