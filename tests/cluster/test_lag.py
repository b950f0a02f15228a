"""Who is too late to be read from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.evidence import LagLimits, LagPolicy
from cluster.lag import judge_lag
from cluster.members import Endpoint, Member, Role, State
from cluster.topology import MemberStatus, Topology, Trust

LIMITS = LagLimits(seconds=10.0, queued=1000)
MEMBERS = [Member(f"m{n}", Endpoint(f"10.0.0.{n}", 3306), None) for n in range(4)]


def topology(*lags: float | None, queued: int = 0, trust: Trust = Trust.QUORUM) -> Topology:
    """A primary and a reader for each lag."""
    readers = [
        MemberStatus(member, member.name, Role.SECONDARY, State.ONLINE, Role.SECONDARY, queued=queued, lag=lag)
        for member, lag in zip(MEMBERS[1:], lags, strict=False)
    ]
    primary = MemberStatus(MEMBERS[0], "m0", Role.PRIMARY, State.ONLINE, Role.PRIMARY, lag=99.0)
    return Topology(1, 1.0, trust, members=(primary, *readers))


def judged(now: Topology, before: Topology | None = None, limits: LagLimits = LIMITS) -> Topology:
    return judge_lag(now, before or Topology(), limits)


def readers(judgement: Topology) -> list[str]:
    return [status.member.name for status in judgement.secondaries()]


def test_one_beyond_the_limit_is_withdrawn_and_the_primary_never() -> None:
    result = judged(topology(0.0, 10.5))
    assert readers(result) == ["m1"]
    assert [status.member.name for status in result.primaries()] == ["m0"]
    assert result.members[2].reason == "late, beyond 10 s or 1000 transactions"


def test_it_comes_back_below_half_of_the_limit() -> None:
    late = judged(topology(0.0, 10.5))
    still = judged(topology(0.0, 9.0), late)
    assert readers(still) == ["m1"], "at its limit it would come and go"
    caught_up = judged(topology(0.0, 4.9), still)
    assert readers(caught_up) == ["m1", "m2"]
    assert caught_up.members[2].reason == ""


def test_transactions_count_as_seconds_do() -> None:
    result = judged(replace(topology(0.0), members=topology(0.0, queued=1001).members + topology(0.0, 1.0).members[2:]))
    assert readers(result) == ["m2"]


def test_one_that_is_well_behind_comes_after_the_others() -> None:
    result = judged(topology(6.0, 4.0, None))
    assert readers(result) == ["m1", "m2", "m3"]
    assert [status.behind for status in result.members[1:]] == [True, False, False]


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [(LagPolicy.FRESHEST, ["m1"]), (LagPolicy.ALL, ["m1", "m2"]), (LagPolicy.NONE, [])],
)
def test_when_all_are_too_late_the_policy_says(policy: LagPolicy, wanted: list[str]) -> None:
    result = judged(topology(11.0, 50.0), limits=replace(LIMITS, when_all=policy))
    assert readers(result) == wanted
    assert all(status.lagging for status in result.members[1:])


def test_the_freshest_of_those_that_are_all_late_do_not_change_with_each_look() -> None:
    before, seen = judged(topology(20.0, 20.1)), set()
    for n in range(20):
        before = judged(topology(20.0 + n % 2 * 3, 20.0 + (n + 1) % 2 * 3), before)
        seen.add(tuple(readers(before)))
    assert seen == {("m1", "m2")}
    assert readers(judged(topology(20.0, 31.0), before)) == ["m1"], "later by more than a whole limit"


def test_a_blind_topology_is_left_as_it_is() -> None:
    blind = topology(50.0, trust=Trust.BLIND)
    assert judged(blind) is blind


def test_without_limits_nobody_is_late() -> None:
    assert readers(judged(topology(1e6, 2e6), limits=LagLimits(seconds=None))) == ["m1", "m2"]


@pytest.mark.parametrize("wrong", [{"seconds": 0.0}, {"queued": -1}, {"resume": 0.0}, {"resume": 1.5}])
def test_impossible_limits_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"lag limits|resume"):
        LagLimits(**wrong)  # type: ignore[arg-type]


@given(st.lists(st.floats(4.0, 11.0), min_size=1, max_size=60))
def test_a_lag_that_dithers_does_not_flap(lags: list[float]) -> None:
    """Between resume and limit nothing changes, however often it moves there."""
    before, moves = judged(topology(0.0, 0.0)), 0
    extremes = 0
    was_high = False
    for lag in lags:
        after = judged(topology(0.0, lag), before)
        moves += readers(after) != readers(before)
        if lag > 10 and not was_high:
            extremes, was_high = extremes + 1, True
        elif lag <= 5 and was_high:
            extremes, was_high = extremes + 1, False
        before = after
    assert moves == extremes
