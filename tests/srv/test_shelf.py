"""The short way to an answer says what the long way says; dnspython reads both."""

from __future__ import annotations

import random

import dns.edns
import dns.flags
import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srv import shelf as shelf_module
from srv.answers import react
from srv.records import Kind, Rcode
from srv.shelf import Shelf, slip
from srv.zone import Part, Zone, ZoneMember, build_zone

DOMAIN = "demo.fairlead.test"
SERVICE = f"_mysql._tcp.{DOMAIN}."


def cluster(domain: str = DOMAIN, members: int = 3, *, serial: int = 1, withheld: bool = False) -> Zone:
    published = [
        ZoneMember(f"m{number}", (f"192.0.2.{number}", f"2001:db8::{number}"), 3306, 33060, frozenset({Part.REPLICAS}))
        for number in range(1, members + 1)
    ]
    return build_zone(domain, published, serial=serial, nameserver_addresses=("192.0.2.53",), withhold_parts=withheld)


def query(name: str, kind: str | int = "SRV", **edns: object) -> bytes:
    message = dns.message.make_query(name, kind, use_edns=False)
    if edns:
        message.use_edns(0, **edns)  # type: ignore[arg-type]
    return message.to_wire()


def taken(shelf: Shelf, wire: bytes) -> bytes:
    ready = shelf.take(wire)
    assert ready is not None
    return wire[:2] + ready[0]


ZONES = [cluster(), cluster(f"sub.{DOMAIN}", 30), cluster("large.test", 60), cluster("dark.test", withheld=True)]
SHELF = Shelf(ZONES)
NAMES = sorted({name for zone in ZONES for name in zone.names})
LABELS = st.sampled_from(["_mysql", "_tcp", "primary", "m1", "ns", "x", "a" * 63, "\\000", "\\.", "M1"])


def mixed_case(name: str, seed: int) -> str:
    rng = random.Random(seed)
    return "".join(char.upper() if rng.random() < 0.5 else char for char in name)


@given(
    st.lists(LABELS, max_size=3),
    st.sampled_from([*NAMES, "example.org", "test", "."]),
    st.sampled_from([int(kind) for kind in Kind] + [0, 12, 43, 255, 256, 65535]),
    st.one_of(st.none(), st.sampled_from([0, 512, 600, 900, 1232, 4096])),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**20),
)
def test_the_short_way_says_what_the_long_way_says(
    labels: list[str], name: str, kind: int, payload: int | None, dnssec_ok: bool, over_tcp: bool, seed: int
) -> None:
    asked = mixed_case(".".join([*labels, name]).removesuffix("..") or ".", seed)
    edns = {} if payload is None else {"payload": payload, "ednsflags": dns.flags.DO if dnssec_ok else 0}
    wire = query(f"{asked.removesuffix('.')}.", kind, **edns)
    ready = SHELF.compose(wire, over_tcp=over_tcp)
    reaction = react(SHELF.zones, wire, over_tcp=over_tcp)
    assert ready is not None
    assert reaction.reply is not None
    short, long = dns.message.from_wire(wire[:2] + ready[0]), dns.message.from_wire(reaction.reply)
    assert ready[1] == reaction.rcode
    assert short == long
    assert (short.flags, short.ednsflags, short.edns, short.payload) == (
        long.flags,
        long.ednsflags,
        long.edns,
        long.payload,
    )
    for one, other in zip(short.sections, long.sections, strict=True):
        assert [rrset.to_text().lower() for rrset in one] == [rrset.to_text().lower() for rrset in other]
    if not over_tcp:
        assert len(ready[0]) + 2 <= max(512, min(payload or 0, 1232))
    if SHELF.take(wire) is not None and not over_tcp:
        assert SHELF.take(wire) == ready  # kept, and the same


def test_a_name_that_looks_like_what_an_answer_points_to_does_not_spoil_it() -> None:
    """Negative answers are shared by names of one length, so nothing in the question but the origin is pointed to."""
    for name in (f"x.ns.{DOMAIN}.", f"a.bc.{DOMAIN}.", f"x.hostmaster.{DOMAIN}.", f"y.qwertyuiop.{DOMAIN}."):
        reply = dns.message.from_wire(taken(SHELF, query(name)))
        assert reply.authority[0].to_text() == (f"{DOMAIN}. 1 IN SOA ns.{DOMAIN}. hostmaster.{DOMAIN}. 1 20 5 3600 1")


def test_replacing_a_zone_is_seen_at_once_and_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    other = cluster("other.test")
    shelf = Shelf([cluster(), other])
    asked, beside = query(SERVICE), query("_mysql._tcp.other.test.")
    assert len(dns.message.from_wire(taken(shelf, asked)).answer[0]) == 3
    taken(shelf, beside)
    shelf.publish(cluster(members=2, serial=2))
    assert len(dns.message.from_wire(taken(shelf, asked)).answer[0]) == 2
    monkeypatch.setattr(Shelf, "compose", lambda *_, **__: None)
    assert shelf.take(beside) is not None  # still at hand
    assert shelf.take(asked) is not None
    assert shelf.take(query(f"m1.{DOMAIN}.", "A")) is None


def test_a_zone_withdrawn_is_gone_and_one_inside_another_comes_and_goes() -> None:
    shelf = Shelf([cluster()])
    inner = f"sub.{DOMAIN}"
    asked = query(f"m1.{inner}.", "A")
    assert taken(shelf, asked)[3] & 15 == Rcode.NXDOMAIN
    shelf.publish(cluster(inner))
    assert taken(shelf, asked)[3] & 15 == Rcode.NOERROR
    shelf.withdraw(inner)
    assert taken(shelf, asked)[3] & 15 == Rcode.NXDOMAIN
    shelf.withdraw(DOMAIN)
    shelf.withdraw(DOMAIN)
    assert taken(shelf, asked)[3] & 15 == Rcode.REFUSED
    assert dict(shelf.zones) == {}


def test_what_is_kept_is_bounded_and_what_is_asked_stays() -> None:
    shelf = Shelf([cluster()], limit=100)
    usual = query(SERVICE)
    for number in range(1000):
        taken(shelf, query(f"x{number}.{DOMAIN}."))
        taken(shelf, usual)
        assert len(shelf._young) <= 100
        assert len(shelf._old) <= 100
        assert usual[2:] in shelf._young or usual[2:] in shelf._old


def test_large_responses_are_bounded_by_their_octets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf_module, "READY_OCTETS", 10_000)
    shelf = Shelf([cluster()])
    for number in range(300):
        taken(shelf, query(f"x{number}.{DOMAIN}."))
    kept = sum(len(key) + len(ready[1]) for key, ready in [*shelf._young.items(), *shelf._old.items()])
    assert kept < 21_000


def test_zones_that_were_replaced_are_let_go_of() -> None:
    shelf = Shelf()
    for serial in range(1, 51):
        shelf.publish(cluster(serial=serial))
        taken(shelf, query(SERVICE))
        taken(shelf, query(f"x{serial}.{DOMAIN}."))
    stale = [stock for stock, *_ in shelf._young.values() if not stock.current]
    assert stale
    assert all(not stock.bodies and not stock.negatives and stock.names is None for stock in stale)


@pytest.mark.parametrize(
    "options",
    [
        [dns.edns.GenericOption(65001, b"x" * 8)],
        [dns.edns.GenericOption(10, b"12345678"), dns.edns.GenericOption(12, b"")],
    ],
)
def test_edns_options_are_passed_over(options: list[dns.edns.Option]) -> None:
    reply = dns.message.from_wire(taken(SHELF, query(SERVICE, payload=1232, options=options)))
    assert reply.answer
    assert reply.options == ()


def test_what_is_out_of_the_ordinary_is_left_to_the_long_way() -> None:
    ordinary = query(SERVICE, payload=1232)
    version_1, two_questions, response = bytearray(ordinary), bytearray(ordinary), bytearray(ordinary)
    version_1[-5] = 1
    two_questions[5] = 2
    response[2] |= 0x80
    strange = [ordinary[:-1], ordinary + b"x", bytes(version_1), bytes(two_questions), bytes(response), b"", b"\0" * 11]
    strange += [query(SERVICE, kind) for kind in ("AXFR", "IXFR", "OPT", "TSIG", 200)]
    strange += [query(SERVICE)[:-2] + b"\0\3", ordinary[:12] + b"\xc0\x0c" + ordinary[-15:]]
    for wire in strange:
        assert SHELF.take(wire) is None


def test_a_slip_sends_to_tcp_and_is_no_longer_than_the_question() -> None:
    wire = query(SERVICE, payload=1232)
    short = slip(wire)
    assert short is not None
    reply = dns.message.from_wire(short)
    assert reply.flags & dns.flags.TC
    assert not reply.answer
    assert dns.message.from_wire(wire).is_response(reply)
    assert len(short) <= len(wire)
    assert slip(b"junk") is None
