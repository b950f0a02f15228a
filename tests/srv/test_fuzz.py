"""DNS input that was not meant well: only documented exceptions, in bounded time and memory."""

from __future__ import annotations

import contextlib
import random
import tracemalloc

import pytest

from srv.answers import react
from srv.notification import read_acknowledgement
from srv.plain import read_plain
from srv.records import Kind, Rcode, SrvRecord
from srv.replies import write_reply, write_truncated
from srv.wire import MESSAGE_LIMIT, MalformedError, Query, Question, Reply, name_end, read_query, read_reply
from srv.zone import Part, ZoneMember, build_zone
from tests.fuzzing import fuzz
from tests.srv import fuzzing

DOMAIN = "demo.fairlead.test"
MEMORY = 8 * 1024 * 1024  # octets that one packet of 64 KiB may need
ZONES = [
    build_zone(DOMAIN, [ZoneMember("m1", ("192.0.2.1",), 3306, 33060, frozenset({Part.PRIMARY}))], serial=1),
    build_zone(f"sub.{DOMAIN}", [ZoneMember(f"m{n}", ("192.0.2.1",), 1, 2) for n in range(40)], serial=1),
]
BY_ORIGIN = {zone.origin: zone for zone in ZONES}
SEEDS = fuzzing.queries([f"_mysql._tcp.{DOMAIN}.", f"m1.sub.{DOMAIN}.", f"{DOMAIN}.", "example.org.", "."])
ASKED = Query(0x1234, Question(f"_mysql._tcp.{DOMAIN}", int(Kind.SRV)), recursion_desired=True, payload=1232)


def answered(wire: bytes) -> None:
    """Everything that the server does with a packet."""
    for over_tcp in (False, True):
        reaction = react(BY_ORIGIN, wire, over_tcp=over_tcp, may_transfer=True)
        assert (reaction.reply is None) == (reaction.rcode is None)
        if reaction.reply is None:
            continue
        for reply in (reaction.reply, *reaction.rest):
            assert reply[:2] == wire[:2]
            assert reply[2] & 0x80
            assert len(reply) <= (MESSAGE_LIMIT if over_tcp else 1232)
    plain = read_plain(wire)
    if plain is not None:
        assert len(write_truncated(plain)) <= len(wire)
        with contextlib.suppress(MalformedError):  # in an EDNS option, which the short way does not look into
            assert read_query(wire) == plain
    read_acknowledgement(wire)


def read(wire: bytes) -> None:
    """Everything that reads bytes."""
    name_end(wire)
    for step in (lambda: read_reply(wire, ASKED), lambda: read_query(wire) if len(wire) >= 12 else None):
        with contextlib.suppress(MalformedError):
            step()


def replies() -> list[bytes]:
    members = tuple(SrvRecord(0, 100, 3306, f"m{number}.{DOMAIN}") for number in range(9))
    rrset = ZONES[0].rrsets[1]
    answer = type(rrset)(ASKED.question.name, Kind.SRV, 5, members)
    full = write_reply(ASKED, Reply(Rcode.NOERROR, answer=(answer,), additional=ZONES[0].rrsets), 1232)
    negative = write_reply(ASKED, Reply(Rcode.NXDOMAIN, authority=(ZONES[0].soa,)), 1232)
    return [full, negative, write_reply(ASKED, Reply(Rcode.REFUSED), 512)]


@fuzz(fuzzing.packets)
def test_any_packet_gets_a_reaction(wire: bytes) -> None:
    answered(wire)


@fuzz(fuzzing.packets)
def test_any_packet_can_be_read_or_is_malformed(wire: bytes) -> None:
    read(wire)
    read(b"\x12\x34" + wire[2:])


@pytest.mark.timeout(fuzzing.SECONDS + 60)
def test_mutated_queries_get_a_reaction() -> None:
    assert fuzzing.fuzz(answered, SEEDS) > 100


@pytest.mark.timeout(fuzzing.SECONDS + 60)
def test_mutated_replies_can_be_read_or_are_malformed() -> None:
    assert fuzzing.fuzz(read, replies()) > 100


def test_memory_is_bounded() -> None:
    large = [wire + wire[12:] * (60_000 // len(wire)) for wire in [*SEEDS[:4], *replies()]]
    rng = random.Random(1)
    packets = large + [fuzzing.mutated(rng, large) for _ in range(20)]
    tracemalloc.start()
    try:
        for wire in packets:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            answered(wire)
            read(b"\x12\x34" + wire[2:])
            assert tracemalloc.get_traced_memory()[1] - before < MEMORY
    finally:
        tracemalloc.stop()


def test_a_query_with_too_much_in_it_is_refused_before_it_is_read() -> None:
    many = bytearray(SEEDS[0] + (b"\0\0\1\0\1\0\0\0\0\0\0" * 9))
    many[11] = 9
    assert react(BY_ORIGIN, bytes(many), over_tcp=True).complaint == "9 records are too many for a query"
    long = SEEDS[0] + bytes(5000)
    assert react(BY_ORIGIN, long, over_tcp=True).complaint == f"{len(long)} octets are too many for a query"
