"""Messages between processes: what is said is what is heard, across versions and packets."""

from __future__ import annotations

import contextlib
import json
import random
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.flavours import Flavour
from cluster.members import Endpoint, Member, Role, State
from cluster.observations import ViewId
from cluster.topology import MemberStatus, Topology, Trust
from router.forms import NOT_CARRIED, FormError, read, write
from router.messages import (
    KINDS,
    Assembly,
    Configure,
    DialFailure,
    Log,
    Message,
    Pulse,
    Report,
    Retire,
    RouteOrder,
    Serving,
    Sessions,
    Sockets,
    View,
    decode,
    encode,
)
from router.reports import RouteReport, SessionReport, WorkerReport, WorkerState
from router.routes import Lineup, Route, may_stay
from router.strategies import Draw
from router.words import Destination, Protocol, StrategyName
from tests.router.fakes import route

TEXT = st.text(max_size=20)
TIMES = st.floats(min_value=0, max_value=1e9)
ENDPOINTS = st.none() | st.builds(Endpoint, TEXT, st.integers(1, 65535))
NAMES, NUMBERS = st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 65535)
MEMBERS = st.builds(Member, NAMES, ENDPOINTS, ENDPOINTS, NUMBERS, NUMBERS)
STATUSES = st.builds(
    MemberStatus,
    member=MEMBERS,
    uuid=st.none() | TEXT,
    role=st.sampled_from(Role),
    state=st.sampled_from(State),
    offered=st.none() | st.sampled_from([Role.PRIMARY, Role.SECONDARY]),
    queued=st.integers(0, 1 << 53),
    reason=TEXT,
    lag=st.none() | TIMES,
    load=st.none() | st.integers(0, 1000),
    lagging=st.booleans(),
    behind=st.booleans(),
    errant=st.lists(TEXT, max_size=2).map(tuple),
)
TOPOLOGIES = st.builds(
    Topology,
    version=st.integers(0, 1 << 40),
    taken_at=TIMES,
    trust=st.sampled_from(Trust),
    reason=TEXT,
    view_id=st.none() | st.builds(ViewId, TEXT, st.integers(0, 1 << 63)),
    members=st.lists(STATUSES, max_size=4).map(tuple),
    flavour=st.none() | st.sampled_from(Flavour),
    last_primary=st.none() | TEXT,
)
ROUTES = st.builds(
    route,
    st.sampled_from(Destination),
    st.sampled_from(Protocol),
    strategy=st.sampled_from(StrategyName),
    fallback_to_primary=st.booleans(),
)


def heard(message: Message) -> Message | None:
    assembly, whole = Assembly(), None
    for packet in encode(message):
        assert whole is None
        whole = assembly.add(packet)
    assert whole is not None
    return decode(whole)


@given(TOPOLOGIES)
def test_a_topology_comes_through_as_it_is(topology: Topology) -> None:
    assert heard(View("main", topology)) == View("main", topology)


@given(TOPOLOGIES, ROUTES, MEMBERS, st.integers(0, 9), TIMES)
def test_routes_choose_from_what_came_through_as_from_what_was_sent(
    topology: Topology, chosen: Route, member: Member, turn: int, now: float
) -> None:
    said = heard(View("main", topology))
    assert isinstance(said, View)
    there, here = (
        Lineup(one, chosen).pick(Draw(turn, rng=random.Random(turn)), now) for one in (said.topology, topology)
    )
    assert there == here
    assert [one.member.weight for one in there.candidates] == [one.member.weight for one in here.candidates]
    assert may_stay(said.topology, chosen, member) == may_stay(topology, chosen, member)


def test_what_is_not_carried_is_what_routes_do_not_read() -> None:
    names = {one.name for kind in (Topology, MemberStatus, Member, Endpoint) for one in fields(kind)}
    assert names >= NOT_CARRIED
    assert {"surplus", "unlisted"} == NOT_CARRIED, "whatever is added here must be nothing that `router.routes` reads"


EXAMPLES: list[Message] = [
    Sockets(("127.0.0.1:6446", "[::1]:6447")),
    Configure((RouteOrder(route(), "main", "127.0.0.1:6446", 3),), 20.0),
    Pulse(7),
    Log(("INFO", "json", "100")),
    Retire(None, queued=False),
    Retire(2.5, queued=True),
    Serving(),
    Report(7, WorkerReport(1, 2, 3.0, WorkerState.SERVING, routes=(RouteReport("rw", 5, {1040: 6}, joined={"a": 7}),))),
    Sessions(8, (SessionReport(1, "rw", "127.0.0.1:5", None, "parked", 1.5, 0, 0),)),
    DialFailure("main", "a"),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_every_kind_comes_through(message: Message) -> None:
    assert heard(message) == message


@given(st.sampled_from(EXAMPLES), st.dictionaries(TEXT, TEXT | st.integers() | st.none(), max_size=3))
def test_keys_of_another_version_are_ignored(message: Message, more: dict[str, object]) -> None:
    document = json.loads(b"".join(packet[1:] for packet in encode(message)))
    assert decode(json.dumps({**more, **document}).encode()) == message


def test_a_kind_of_another_version_is_ignored() -> None:
    assert decode(b'{"kind":"of-tomorrow","x":1}') is None


def test_what_is_missing_takes_its_default() -> None:
    said = read(MemberStatus, {"member": {"name": "a", "classic": None, "x": None}})
    assert said == MemberStatus(Member("a", None, None))


@given(st.binary(max_size=60) | st.sampled_from(sorted(KINDS)).map(lambda kind: json.dumps({"kind": kind}).encode()))
def test_what_is_no_message_is_said_to_be_none(data: bytes) -> None:
    with contextlib.suppress(FormError):
        decode(data)


@settings(max_examples=20)
@given(st.integers(1, 300_000))
def test_a_large_message_is_cut_into_packets(size: int) -> None:
    message = DialFailure("main", "x" * size)
    assert heard(message) == message
    assert max(map(len, encode(message))) <= 64 * 1024 + 1


def test_a_message_whose_beginning_was_missed_is_left_out() -> None:
    first, *rest = encode(DialFailure("main", "x" * 200_000))
    assembly = Assembly()
    assert [assembly.add(packet) for packet in rest] == [None] * len(rest)
    [small] = encode(Pulse(1))
    assert assembly.add(first) is None
    assert assembly.add(small) == small[1:], "a new message ends one that was left unfinished"


def test_enumerations_and_addresses_are_written_by_value() -> None:
    assert write(replace(route(), destination=Destination.SECONDARY))["destination"] == "SECONDARY"
