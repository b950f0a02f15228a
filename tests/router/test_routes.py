"""Who is picked, in which order, and who may stay."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection
from dataclasses import replace

import pytest

from cluster.members import Endpoint, Member, Role, State
from cluster.topology import MemberStatus, Topology, Trust
from router.promotions import Promotions
from router.refusals import Refusal, classic_error_packet, encode
from router.routes import Lineup, Pick, Route, may_stay, shares_of, static_topology
from router.strategies import Draw
from router.tables import status_tables, table
from router.words import Destination, Protocol, StrategyName
from tests.router.fakes import route
from xproto.codec import decode_server
from xproto.frames import FrameDecoder
from xproto.messages import Error

A, B, C = (Member(n, Endpoint(f"10.0.0.{i}", 3306), Endpoint(f"10.0.0.{i}", 33060)) for i, n in enumerate("abc"))
NOW = 1000.0


def topology(*members: tuple[Member, Role | None], trust: Trust = Trust.QUORUM, age: float = 0.0) -> Topology:
    statuses = tuple(
        MemberStatus(one, one.name, role or Role.UNKNOWN, State.ONLINE if role else State.UNREACHABLE, role)
        for one, role in members
    )
    reason = "" if trust is Trust.QUORUM else "no member could be asked"
    return Topology(1, NOW - age, trust, reason, None, statuses)


CALM = topology((A, Role.PRIMARY), (B, Role.SECONDARY), (C, Role.SECONDARY))


def pick(of: Topology, chosen: Route, draw: Draw | None = None, **options: Collection[str]) -> Pick:
    return Lineup(of, chosen, **options).pick(draw or Draw(), NOW)


def picked(snapshot: Topology, destination: Destination = Destination.SECONDARY, turn: int = 0, **options: bool) -> str:
    choice = pick(snapshot, route(destination, **options), Draw(turn))  # type: ignore[arg-type]
    return "".join(candidate.member.name for candidate in choice.candidates)


def test_roles_and_turns() -> None:
    assert picked(CALM, Destination.PRIMARY) == "a"
    assert [picked(CALM, turn=turn) for turn in range(3)] == ["bc", "cb", "bc"]
    assert picked(CALM, fallback_to_primary=True) == "bca"
    first = route(Destination.SECONDARY, strategy=StrategyName.FIRST_AVAILABLE)
    assert [one.member for one in pick(CALM, first, Draw(1)).candidates] == [B, C]


def test_a_pool_of_both_roles_has_the_late_ones_last() -> None:
    a, b, c = CALM.members
    both = Destination.PRIMARY_AND_SECONDARY
    assert [picked(CALM, both, turn) for turn in range(3)] == ["abc", "bca", "cab"]
    assert picked(replace(CALM, members=(a, replace(b, behind=True), c)), both, 1) == "cab"
    lost = topology((A, Role.PRIMARY), (B, None), (C, Role.SECONDARY))
    assert picked(lost, both) == "ac"
    assert not may_stay(lost, route(both), B)
    assert may_stay(topology((A, Role.SECONDARY)), route(both), A)


def test_barred_members_get_nothing_and_suspects_come_last() -> None:
    def ordered(**options: object) -> str:
        chosen = pick(CALM, route(Destination.SECONDARY, fallback_to_primary=True), **options)
        return "".join(one.member.name for one in chosen.candidates)

    assert ordered(barred={"b"}) == "ca"
    assert ordered(suspects={"b"}) == "cab", "after the primary, too: it is better than one that does not answer"
    assert ordered(suspects={"a", "b", "c"}) == "bca", "a route is never left without candidates"
    chosen = pick(CALM, route(), barred={"a"})
    assert (chosen.candidates, chosen.reason) == ((), "no PRIMARY is available: a takes no new sessions")


def test_what_is_known_is_looked_at_once_and_each_pick_is_another() -> None:
    chosen, barred, suspects = route(Destination.SECONDARY), {"a": None}, ("c",)
    lineup = Lineup(CALM, chosen, barred, suspects)
    assert lineup.is_of(CALM, chosen, barred, suspects)
    for changed in (
        (replace(CALM), chosen, barred, suspects),
        (CALM, replace(chosen), barred, suspects),
        (CALM, chosen, dict(barred), suspects),
        (CALM, chosen, barred, ("c", "b")),
    ):
        assert not lineup.is_of(*changed)
    assert lineup.only is None
    lineup = Lineup(CALM, chosen)
    orders = ["".join(one.member.name for one in lineup.pick(Draw(turn), NOW).candidates) for turn in range(3)]
    assert orders == ["bc", "cb", "bc"]
    alone = Lineup(CALM, route())
    assert alone.only is alone.pick(Draw(), NOW)
    assert [one.member for one in alone.only.candidates] == [A]
    assert Lineup(topology((A, Role.PRIMARY), trust=Trust.BLIND), route()).only is None, "its age counts at each pick"


def test_weights_and_health_reach_the_pick() -> None:
    light, heavy = replace(B, weight=1), replace(C, weight=1000)
    assert light == B, "a member is the same whatever it weighs"
    snapshot = topology((A, Role.PRIMARY), (light, Role.SECONDARY), (heavy, Role.SECONDARY))
    weighted = route(Destination.SECONDARY, strategy=StrategyName.WEIGHTED)
    rng = random.Random(1)

    def firsts(of: Topology) -> Counter[str]:
        return Counter(pick(of, weighted, Draw(rng=rng)).candidates[0].member.name for _ in range(500))

    assert firsts(snapshot)["c"] > 480
    a, b, c = topology((A, Role.PRIMARY), (B, Role.SECONDARY), (C, Role.SECONDARY)).members
    late = replace(CALM, members=(a, replace(b, lag=20.0), c))
    assert 15 < firsts(late)["b"] < 85, "a tenth of its weight"
    busy = replace(CALM, members=(a, replace(b, load=100), replace(c, load=2)))
    assert shares_of(busy.secondaries()) == {"b": 50, "c": 100}


def test_a_list_of_servers_is_used_as_it_stands() -> None:
    listed = (Endpoint("db1", 3306), Endpoint("10.0.0.2", 3307))
    snapshot = static_topology(listed)
    alone = replace(route(Destination.PRIMARY_AND_SECONDARY, strategy=StrategyName.FIRST_AVAILABLE), members=listed)
    chosen = pick(snapshot, alone, Draw(1))
    assert [one.endpoint for one in chosen.candidates] == list(listed)
    assert [one.member.name for one in chosen.candidates] == ["db1:3306", "10.0.0.2:3307"]
    assert all(may_stay(Topology(), alone, one.member) for one in chosen.candidates)


def test_the_protocol_chooses_the_port_and_members_without_it_are_left_out() -> None:
    only_classic = replace(B, x=None)
    choice = pick(
        topology((A, Role.PRIMARY), (only_classic, Role.SECONDARY)),
        route(Destination.SECONDARY, Protocol.X),
    )
    assert choice.candidates == ()
    assert choice.reason == "no SECONDARY is available"
    [candidate] = pick(CALM, route(protocol=Protocol.X)).candidates
    assert candidate.endpoint == A.x


def test_what_was_known_serves_for_a_bounded_time_while_nobody_can_be_asked() -> None:
    blind = replace(CALM, trust=Trust.BLIND, reason="no member could be asked")
    assert picked(blind, Destination.PRIMARY) == "a"
    late = pick(replace(blind, taken_at=NOW - 31), route())
    assert late.candidates == ()
    assert "too old" in late.reason


def test_readers_that_are_behind_come_after_those_that_are_fresher() -> None:
    a, b, c = CALM.members
    snapshot = replace(CALM, members=(a, replace(b, behind=True), c))
    assert [picked(snapshot, turn=turn) for turn in range(2)] == ["cb", "cb"]
    assert picked(snapshot, fallback_to_primary=True) == "cba"


def test_without_a_majority_nobody_is_picked_and_the_reason_is_told() -> None:
    choice = pick(topology((A, None), trust=Trust.NO_QUORUM), route())
    assert (choice.candidates, choice.reason) == ((), "no member could be asked")


RW, RO = route(), route(Destination.SECONDARY)
MOVED = replace(A, classic=Endpoint("10.0.0.99", 3306))


@pytest.mark.parametrize(
    ("snapshot", "writes", "reads"),
    [
        (CALM, True, True),
        (topology((A, Role.SECONDARY)), False, True),
        (topology((A, None)), False, False),
        (topology((A, Role.PRIMARY), trust=Trust.BLIND), True, True),
        (topology((A, None), trust=Trust.BLIND), False, False),
        (topology((A, None), trust=Trust.NO_QUORUM), False, False),
        (topology((A, Role.SECONDARY), trust=Trust.NO_QUORUM), False, True),
        (topology((A, Role.PRIMARY), trust=Trust.NO_QUORUM), True, True),
        (topology((B, Role.PRIMARY)), False, True),
        (topology((MOVED, Role.PRIMARY)), False, True),
    ],
    ids=[
        "calm",
        "demoted",
        "lost",
        "blind",
        "out by its own word",
        "no quorum",
        "read without quorum",
        "all without quorum",
        "not listed",
        "at another address",
    ],
)
def test_who_may_stay(snapshot: Topology, writes: bool, reads: bool) -> None:
    assert (may_stay(snapshot, RW, A), may_stay(snapshot, RO, A)) == (writes, reads)


def test_who_was_promoted() -> None:
    promotions = Promotions(topology((A, Role.PRIMARY), (B, Role.SECONDARY)))
    unseen = topology((A, Role.PRIMARY), (B, Role.PRIMARY))
    lost = replace(unseen, members=tuple(replace(one, role=Role.UNKNOWN) for one in unseen.members))
    assert promotions.see(lost) == frozenset()
    assert promotions.see(topology((A, Role.PRIMARY), (B, Role.SECONDARY))) == frozenset(), "nor one that comes back"
    promotions.see(lost)
    assert promotions.see(topology((A, Role.SECONDARY), (B, Role.PRIMARY))) == {B.name}
    assert promotions.see(topology((A, Role.SECONDARY))) == frozenset()
    assert promotions.see(topology((A, Role.PRIMARY), (B, Role.PRIMARY))) == {A.name}, "of a newcomer nothing is known"


def test_refusals_are_what_each_protocol_reads() -> None:
    refusal = Refusal(2003, "HY000", "no server")
    assert classic_error_packet(refusal) == b"\x12\x00\x00\x00\xff\xd3\x07#HY000no server"
    decoder = FrameDecoder(1024)
    decoder.feed(encode(refusal, Protocol.X))
    frame = decoder.next_frame()
    assert frame is not None
    error = decode_server(frame)
    assert isinstance(error, Error)
    assert (error.code, error.sql_state, error.message, error.fatal) == (2003, "HY000", "no server", True)


def test_tables() -> None:
    assert table(("A", "LONG"), [("wide cell", 1)]) == "A          LONG\nwide cell  1"
    member = {
        "name": "mysql-0",
        "classic": "10.0.0.1:3306",
        "role": "PRIMARY",
        "state": "ONLINE",
        "offered": "PRIMARY",
        "mode": "drained",
        "transactions_queued": 0,
        "lag_seconds": 1.25,
        "reason": "",
    }
    name = {"name": "_mysql._tcp.db.test", "outcome": "timeout", "stale": True}
    cluster = {"trust": "blind", "reason": "why", "version": 3, "age_seconds": 1.5, "members": [member], "dns": [name]}
    chosen = {
        "name": "classic_rw",
        "cluster": "main",
        "listen": "127.0.0.1:6446",
        "destination": "PRIMARY",
        "sessions": 2,
        "parked": 0,
        "by_member": {"mysql-0": 2},
        "accepted_total": 5,
        "refused_total": 1,
        "cut_total": 0,
    }
    worker = {"serial": 7, "pid": 4711, "state": "serving", "sessions": 2}
    text = status_tables({"clusters": {"main": cluster}, "routes": [chosen], "workers": [worker]})
    assert "PRIMARY, drained  2 " in text
    assert "7       4711  serving  2" in text
    assert "cluster main: blind (why), topology 3, 1.5 s old" in text
    assert "an earlier answer is used" in text
    assert "classic_rw  127.0.0.1:6446" in text
