"""The memories behind limits: counts, errors of hosts, quarantine, and what is moved when members come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.members import Endpoint, Member
from router.addresses import Networks, UnixPath, is_loopback, peer_of
from router.counts import LocalCounts
from router.departures import Departure, hurried
from router.descriptors import Descriptors
from router.host_errors import HostBlocks, HostErrors
from router.loads import Loads
from router.quarantine import Quarantine
from router.rebalancing import Attached, bounded, choose, surplus
from router.routes import Candidate


def test_counts_add_up() -> None:
    counts = LocalCounts()
    for name in ("a", "a", "b"):
        counts.enter(name)
    assert (counts.sessions("a"), counts.sessions("b"), counts.sessions("c"), counts.total()) == (2, 1, 0, 3)
    counts.leave("a")
    assert (counts.sessions("a"), counts.total()) == (1, 2)


def test_loads_are_those_of_all_workers() -> None:
    loads = Loads()
    view = loads.by_member()
    loads.take("a")
    loads.take("b")
    loads.release("b")
    assert view == loads.own == {"a": 1}
    loads.set_others({"a": 5, "c": 2})
    loads.take("c")
    assert loads.by_member() == {"a": 6, "c": 3}
    assert loads.own == {"a": 1, "c": 1}
    loads.set_others({})
    loads.release("a")
    assert loads.by_member() == {"c": 1}


def test_clients_are_refused_while_descriptors_are_left_to_say_so() -> None:
    descriptors = Descriptors(1000)
    assert not descriptors.are_short(951)
    assert descriptors.are_short(952)
    descriptors.owed = 10  # sessions that will each need one more
    assert not descriptors.are_short(941)
    assert descriptors.are_short(942)
    assert not Descriptors(20).are_short(9), "a small limit keeps half"


def test_errors_in_a_row_block_a_host_until_it_is_reset() -> None:
    hosts = HostErrors(3)
    assert [hosts.failed("a") for _ in range(2)] == [False, False]
    hosts.succeeded("a")
    assert [hosts.failed("a") for _ in range(2)] == [False, False]
    hosts.failed("b")
    assert hosts.failed("a")
    assert not hosts.failed("a"), "it is told once"
    assert (hosts.is_blocked("a"), hosts.is_blocked("b"), hosts.blocked(), hosts.errors()) == (
        True,
        False,
        ("a",),
        {"b": 1},
    )
    hosts.succeeded("a")
    assert hosts.is_blocked("a"), "a session of before does not lift it"
    assert hosts.reset("b") == ()
    assert hosts.reset("a") == ("a",)
    hosts.block(["c", "d"])
    assert hosts.reset() == ("c", "d")
    assert not hosts.is_blocked("c")
    assert HostErrors(0).failed("a") is False


def test_blocks_are_lifted_with_the_limit_and_with_the_route() -> None:
    blocks = HostBlocks()
    assert blocks.configure({"a": 2, "b": 2}) == ()
    for name in ("a", "b"):
        blocks.hear(name, {"h": 2}, ())
    assert blocks.configure({"a": 3, "b": 2}) == ()
    assert blocks.stand("a") == (("h",), False)
    assert blocks.configure({"a": 0, "b": 2}) == ("a",)
    assert blocks.stand("a") == ((), False)
    assert blocks.configure({"a": 2}) == ("b",)
    assert blocks.configure({"a": 2, "b": 2}) == ()
    assert blocks.stand("b") == ((), False)


@given(st.integers(0, 1000), st.floats(0.001, 1e5), st.floats(0, 1))
def test_those_who_leave_do_so_evenly(sessions: int, whole: float, part: float) -> None:
    departure = Departure(100.0, 100.0 + whole, sessions)
    assert departure.may_stay(100.0) == sessions
    assert departure.may_stay(100.0 + whole) == 0
    assert abs(departure.may_stay(100.0 + whole * part) - sessions * (1 - part)) <= 1.001


def test_a_departure_is_hurried_and_not_put_off() -> None:
    first = Departure(0.0, 600.0, 4)
    assert hurried(None, first) is first
    assert hurried(first, Departure(10.0, 610.0, 4)) is first
    assert hurried(first, Departure(10.0, 10.0, 3)).may_stay(10.0) == 0


@given(st.lists(st.integers(0, 30).map(str)))
def test_the_memory_of_hosts_is_bounded(names: list[str]) -> None:
    hosts = HostErrors(2, capacity=5)
    for name in names:
        hosts.failed(name)
        assert len(hosts.errors()) <= 5
        assert len(hosts.blocked()) <= 5
        assert not set(hosts.errors()) & set(hosts.blocked())


ONE, OTHER = (Candidate(Member(n, None, None), Endpoint("10.0.0.1", port)) for n, port in (("one", 1), ("other", 2)))


def test_a_failing_member_is_held_and_looked_at_again_and_again() -> None:
    held = Quarantine(threshold=2, interval=1.0)
    assert not held.failed(ONE, 10.0)
    held.succeeded("one")
    assert not held.failed(ONE, 10.0), "failures in a row count"
    assert held.failed(ONE, 10.0)
    assert not held.failed(ONE, 10.5), "it is told once"
    assert list(held.held) == ["one"]
    assert held.due(10.9) == []
    assert held.due(11.0) == [ONE]
    assert held.due(11.5) == []
    assert held.due(12.0) == [ONE]
    held.failed(OTHER, 12.0)
    assert held.order["other"] > held.order["one"]
    assert held.succeeded("one")
    assert not held.succeeded("one")
    assert (list(held.held), held.due(99.0)) == ([], [])
    held.keep([ONE.member])
    assert set(held.order) == {"one"}
    assert not Quarantine(0, 1.0).failed(ONE, 0.0)


def test_a_member_that_moves_leaves_quarantine_behind() -> None:
    held = Quarantine(threshold=1, interval=1.0)
    assert held.failed(ONE, 10.0)
    held.keep([ONE.member])
    assert list(held.held) == ["one"]
    held.keep([Member("one", Endpoint("10.0.0.2", 1), None)])
    assert (list(held.held), held.due(99.0)) == ([], [])


NAMES = st.sampled_from("abcd")


@given(st.dictionaries(NAMES, st.integers(0, 500)), st.dictionaries(NAMES, st.integers(0, 100), min_size=1))
def test_what_is_moved_leaves_each_within_one_of_its_part(counts: dict[str, int], weights: dict[str, int]) -> None:
    over = surplus(counts, weights)
    whole, total = sum(weights.values()), sum(counts.values())
    for name, count in counts.items():
        share = weights.get(name, 0) / whole if whole else (name in weights) / len(weights)
        after = count - over.get(name, 0)
        assert after <= total * share + 1
        assert not over.get(name) or after >= total * share - 1e-9, "not more than that"


def test_a_primary_that_stood_in_has_too_many_once_there_are_secondaries() -> None:
    assert surplus({"primary": 6, "b": 0}, {"b": 1, "c": 1}) == {"primary": 6}
    assert surplus({"b": 10, "c": 0}, {"b": 1, "c": 1}) == {"b": 5}
    assert surplus({"b": 6, "c": 5}, {"b": 1, "c": 1}) == {}
    assert surplus({"b": 6}, {}) == {}


def test_it_ends_where_the_plan_does_though_nobody_comes_back() -> None:
    budget = surplus({"b": 100, "c": 0}, {"b": 1, "c": 1})
    assert budget == {"b": 50}
    assert bounded({"b": 10}, surplus({"b": 60, "c": 0}, {"b": 1, "c": 1})) == {"b": 10}
    assert bounded({"b": 10}, surplus({"b": 60, "c": 55}, {"b": 1, "c": 1})) == {"b": 2}
    assert bounded({"b": 10}, {}) == {}


def test_quiet_sessions_go_first_and_of_these_the_oldest() -> None:
    sessions = [
        Attached(1, "b", 10.0, is_quiet=False),
        Attached(2, "b", 30.0, is_quiet=True),
        Attached(3, "b", 20.0, is_quiet=True),
        Attached(4, "c", 1.0, is_quiet=True),
        Attached(5, "b", 5.0, is_quiet=False),
    ]
    assert [one.id for one in choose(sessions, {"b": 3}, 10)] == [3, 2, 5]
    assert [one.id for one in choose(sessions, {"b": 3, "c": 1}, 2)] == [4, 3]


def test_addresses() -> None:
    assert peer_of(("::ffff:192.0.2.1", 5, 0, 0)) == Endpoint("192.0.2.1", 5)
    assert peer_of(("fe80::1%eth0", 5, 0, 2)) == Endpoint("fe80::1", 5)
    assert peer_of("") is None
    assert [
        is_loopback(one) for one in (None, Endpoint("127.8.0.1", 1), Endpoint("::1", 1), Endpoint("10.0.0.1", 1))
    ] == [
        True,
        True,
        True,
        False,
    ]
    networks = Networks(["10.0.0.0/8", "2001:db8::/32", "unix"])
    inside = [Endpoint("10.1.2.3", 1), Endpoint("2001:db8::5", 1), None]
    outside = [Endpoint("192.0.2.1", 1), Endpoint("::1", 1)]
    assert [one in networks for one in (*inside, *outside)] == [True] * 3 + [False] * 2
    assert None not in Networks(["10.0.0.0/8"])
    with pytest.raises(ValueError, match="does not appear to be"):
        Networks(["ten"])
    assert str(UnixPath("/run/x")) == "unix:/run/x"
