"""Query bytes to response bytes. dnspython is the client, so that both ends are not our own."""

from __future__ import annotations

import random
import struct
from collections import Counter

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srv.answers import react
from srv.records import Rcode
from srv.wire import UDP_PAYLOAD
from srv.zone import Part, Zone, ZoneMember, build_zone

DOMAIN = "demo.fairlead.test"
SERVICE = f"_mysql._tcp.{DOMAIN}."


def ask(
    zone: Zone, name: str, kind: str = "SRV", *, payload: int | None = UDP_PAYLOAD, over_tcp: bool = False
) -> dns.message.Message:
    """Ask and read; the reader checks number, question and sections."""
    query = dns.message.make_query(name, kind, use_edns=False)
    if payload is not None:
        query.use_edns(0, payload=payload)
    wire = react({zone.origin: zone}, query.to_wire(), over_tcp=over_tcp).reply
    assert wire is not None
    if not over_tcp:
        assert len(wire) <= max(512, min(payload or 512, UDP_PAYLOAD))
    reply = dns.message.from_wire(wire)
    assert query.is_response(reply)
    return reply


def lines(section: list[dns.rrset.RRset]) -> list[str]:
    return sorted(line for rrset in section for line in rrset.to_text().splitlines())


def large_zone(members: int) -> Zone:
    published = [ZoneMember(f"member-number-{n:03d}", (f"192.0.2.{n}",), 3306, 33060) for n in range(1, members + 1)]
    return build_zone(DOMAIN, published, serial=1)


def test_srv_with_the_addresses_of_its_targets(zone: Zone) -> None:
    reply = ask(zone, f"_mysql._tcp.replicas.{DOMAIN}.")
    assert lines(reply.answer) == [
        f"_mysql._tcp.replicas.{DOMAIN}. 5 IN SRV 0 100 3306 m2.{DOMAIN}.",
        f"_mysql._tcp.replicas.{DOMAIN}. 5 IN SRV 0 100 3310 m3.{DOMAIN}.",
    ]
    assert lines(reply.additional) == [
        f"m2.{DOMAIN}. 5 IN A 192.0.2.2",
        f"m3.{DOMAIN}. 5 IN A 192.0.2.3",
        f"m3.{DOMAIN}. 5 IN AAAA 2001:db8::3",
    ]
    assert reply.flags & dns.flags.AA
    assert not reply.flags & (dns.flags.TC | dns.flags.RA)


def test_the_askers_case_comes_back(zone: Zone) -> None:
    name = "_mYsQl._TcP.DeMo.FaIrLeAd.TeSt."
    reply = ask(zone, name)
    assert reply.question[0].name.to_text() == name
    assert {rrset.name.to_text() for rrset in reply.answer} == {name}


def test_an_existing_name_without_data_has_the_soa(zone: Zone) -> None:
    reply = ask(zone, f"m1.{DOMAIN}.", "AAAA")
    assert reply.rcode() == dns.rcode.NOERROR
    assert not reply.answer
    soa = f"{DOMAIN}. 1 IN SOA ns.{DOMAIN}. hostmaster.{DOMAIN}. 7 20 5 90 1"
    assert lines(reply.authority) == [soa]
    assert reply.flags & dns.flags.AA


def test_an_unknown_name_has_the_soa_too(zone: Zone) -> None:
    reply = ask(zone, f"m9.{DOMAIN}.", "A")
    assert reply.rcode() == dns.rcode.NXDOMAIN
    assert len(reply.authority) == 1


def test_withheld_names_are_neither_empty_nor_missing() -> None:
    reply = ask(build_zone(DOMAIN, [], serial=1, withhold_parts=True), f"_mysql._tcp.primary.{DOMAIN}.")
    assert reply.rcode() == dns.rcode.SERVFAIL
    assert not reply.flags & dns.flags.AA


def test_foreign_names_classes_and_transfers_are_refused(zone: Zone) -> None:
    for name, kind in [("example.org.", "A"), (".", "NS"), (SERVICE, "AXFR")]:
        reply = ask(zone, name, kind, over_tcp=True)
        assert (reply.rcode(), lines(reply.answer)) == (dns.rcode.REFUSED, [])
    chaos = dns.message.make_query("version.bind.", "TXT", dns.rdataclass.CH)
    assert react({zone.origin: zone}, chaos.to_wire(), over_tcp=False).rcode is Rcode.REFUSED
    any_class = dns.message.make_query(SERVICE, "SRV", dns.rdataclass.ANY)
    assert react({zone.origin: zone}, any_class.to_wire(), over_tcp=False).rcode is Rcode.REFUSED


def test_no_zone_refuses_and_the_closest_zone_answers(zone: Zone) -> None:
    query = dns.message.make_query(f"m1.sub.{DOMAIN}.", "A").to_wire()
    sub = build_zone(f"sub.{DOMAIN}", [ZoneMember("m1", ("192.0.2.99",), 3306, None)], serial=1)
    assert react({}, query, over_tcp=False).rcode is Rcode.REFUSED
    assert react({zone.origin: zone}, query, over_tcp=False).rcode is Rcode.NXDOMAIN
    assert react({zone.origin: zone, sub.origin: sub}, query, over_tcp=False).rcode is Rcode.NOERROR


def test_any_is_answered_with_one_set(zone: Zone) -> None:
    reply = ask(zone, f"m3.{DOMAIN}.", "ANY")
    assert [rrset.rdtype for rrset in reply.answer] == [dns.rdatatype.A]
    assert ask(zone, f"_tcp.{DOMAIN}.", "ANY").authority


def test_apex(zone: Zone) -> None:
    reply = ask(zone, f"{DOMAIN}.", "NS")
    assert lines(reply.answer) == [f"{DOMAIN}. 5 IN NS ns.{DOMAIN}."]
    assert lines(reply.additional) == [f"ns.{DOMAIN}. 5 IN A 192.0.2.53"]
    assert len(ask(zone, f"{DOMAIN}.", "SOA").answer) == 1


def test_nine_members_fit_one_datagram_with_edns() -> None:
    reply = ask(large_zone(9), SERVICE)
    assert not reply.flags & dns.flags.TC
    assert len(reply.answer[0]) == len(reply.additional) == 9


def test_additional_records_go_before_the_answer_does() -> None:
    reply = ask(large_zone(7), SERVICE, payload=None)
    assert not reply.flags & dns.flags.TC  # RFC 2181, 9
    assert len(reply.answer[0]) == 7
    assert len(reply.additional) < 7


@pytest.mark.parametrize("payload", [None, 0, 512, 600])
def test_an_answer_that_does_not_fit_is_cut_whole_and_says_so(payload: int | None) -> None:
    reply = ask(large_zone(30), SERVICE, payload=payload)
    assert reply.flags & dns.flags.TC
    assert not reply.answer
    assert len(ask(large_zone(30), SERVICE, payload=payload, over_tcp=True).answer[0]) == 30


def test_a_large_offer_is_not_taken_up_beyond_what_is_never_fragmented() -> None:
    reply = ask(large_zone(40), SERVICE, payload=4096)
    assert reply.flags & dns.flags.TC
    assert reply.payload == UDP_PAYLOAD


def test_edns_is_answered_in_kind(zone: Zone) -> None:
    assert ask(zone, SERVICE, payload=None).edns == -1
    assert ask(zone, SERVICE, payload=1400).edns == 0
    newer = dns.message.make_query(SERVICE, "SRV", use_edns=1)
    wire = react({zone.origin: zone}, newer.to_wire(), over_tcp=False).reply
    assert wire is not None
    reply = dns.message.from_wire(wire)
    assert (reply.rcode(), reply.edns) == (dns.rcode.BADVERS, 0)


def test_unknown_edns_options_are_passed_over(zone: Zone) -> None:
    query = dns.message.make_query(SERVICE, "SRV")
    query.use_edns(0, options=[dns.edns.GenericOption(65001, b"x" * 8)])
    assert react({zone.origin: zone}, query.to_wire(), over_tcp=False).rcode is Rcode.NOERROR


def test_other_opcodes_are_not_implemented(zone: Zone) -> None:
    for opcode in (dns.opcode.NOTIFY, dns.opcode.UPDATE, dns.opcode.STATUS):
        wire = struct.pack("!HHHHHH", 77, opcode << 11 | dns.flags.RD, 0, 0, 0, 0)
        reaction = react({zone.origin: zone}, wire, over_tcp=False)
        assert reaction.rcode is Rcode.NOTIMP
        assert reaction.reply is not None
        reply = dns.message.from_wire(reaction.reply)
        assert (reply.id, reply.opcode(), reply.flags & dns.flags.QR) == (77, opcode, dns.flags.QR)


@pytest.mark.parametrize("kind", [41, 128, 200, 249, 250, 253])
def test_types_that_are_not_data_are_not_implemented(zone: Zone, kind: int) -> None:
    wire = struct.pack("!HHHHHH", 1, 0, 1, 0, 0, 0) + b"\x01a\x00" + struct.pack("!HH", kind, 1)
    assert react({zone.origin: zone}, wire, over_tcp=False).rcode is Rcode.NOTIMP


@pytest.mark.parametrize(
    "tail",
    [
        b"",  # the question is missing
        b"\x3fa",  # a label longer than the packet
        b"\xc0\x0c\x00\x21\x00\x01",  # a pointer to itself
        b"\x01a\x00\x00\x21\x00\x01junk",
    ],
)
def test_malformed_queries_get_formerr_and_a_complaint(zone: Zone, tail: bytes) -> None:
    reaction = react({zone.origin: zone}, struct.pack("!HHHHHH", 5, dns.flags.RD, 1, 0, 0, 0) + tail, over_tcp=False)
    assert reaction.rcode is Rcode.FORMERR
    assert reaction.complaint
    assert reaction.reply is not None
    assert dns.message.from_wire(reaction.reply).id == 5


def test_a_query_that_cannot_be_read_to_its_end_gets_its_question_back(zone: Zone) -> None:
    query = dns.message.make_query(SERVICE, "SRV")
    reply = react({zone.origin: zone}, query.to_wire() + b"junk", over_tcp=False).reply
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert (message.rcode(), message.question) == (dns.rcode.FORMERR, query.question)


@pytest.mark.parametrize("asked", [True, False])
def test_the_do_bit_comes_back(zone: Zone, asked: bool) -> None:
    query = dns.message.make_query(SERVICE, "SRV", use_edns=0, want_dnssec=asked)
    reply = react({zone.origin: zone}, query.to_wire(), over_tcp=False).reply
    assert reply is not None
    assert dns.message.from_wire(reply).ednsflags == (dns.flags.DO if asked else 0)


def test_type_0_is_no_data(zone: Zone) -> None:
    reply = ask(zone, SERVICE, "TYPE0")
    assert (reply.rcode(), len(reply.authority)) == (dns.rcode.NOERROR, 1)


def test_whoever_signs_is_told_that_we_know_no_keys(zone: Zone) -> None:
    query = dns.message.make_query(SERVICE, "SRV")
    query.use_tsig({dns.name.from_text("key"): b"secret" * 6})
    assert react({zone.origin: zone}, query.to_wire(), over_tcp=False).rcode is Rcode.NOTAUTH


@pytest.mark.parametrize("questions", [0, 2])
def test_one_question_only(zone: Zone, questions: int) -> None:
    question = b"\x01a\x00" + struct.pack("!HH", 33, 1)
    wire = struct.pack("!HHHHHH", 5, 0, questions, 0, 0, 0) + question * questions
    assert react({zone.origin: zone}, wire, over_tcp=False).rcode is Rcode.FORMERR


def test_responses_and_scraps_are_dropped(zone: Zone) -> None:
    response = dns.message.make_response(dns.message.make_query(SERVICE, "SRV")).to_wire()
    for wire in (b"", b"\x00" * 11, response):
        reaction = react({zone.origin: zone}, wire, over_tcp=False)
        assert reaction.reply is None
        assert reaction.complaint


def test_a_label_with_a_dot_in_it_is_not_a_name_below(zone: Zone) -> None:
    wire = struct.pack("!HHHHHH", 5, 0, 1, 0, 0, 0) + b"\x06x.demo\x08fairlead\x04test\x00" + struct.pack("!HH", 1, 1)
    assert react({zone.origin: zone}, wire, over_tcp=False).rcode is Rcode.REFUSED


def test_members_come_in_any_order_each_as_often(zone: Zone) -> None:
    wire = dns.message.make_query(SERVICE, "SRV").to_wire()
    rng, firsts, orders = random.Random(1), Counter[str](), set()
    for _ in range(3000):
        reply = react({zone.origin: zone}, wire, over_tcp=False, rng=rng).reply
        assert reply is not None
        message = dns.message.from_wire(reply, one_rr_per_rrset=True)
        order = [str(rrset[0].target).partition(".")[0] for rrset in message.answer]
        firsts[order[0]] += 1
        orders.add(tuple(order))
    assert len(orders) == 6
    assert all(900 < firsts[label] < 1100 for label in ("m1", "m2", "m3"))


MUTATED = build_zone(DOMAIN, [ZoneMember("m1", ("192.0.2.1",), 3306, 33060, frozenset({Part.PRIMARY}))], serial=1)
QUERY = dns.message.make_query(SERVICE, "SRV", use_edns=0).to_wire()


@given(st.binary(max_size=600), st.booleans())
def test_any_bytes_get_a_reaction(wire: bytes, over_tcp: bool) -> None:
    reaction = react({DOMAIN: MUTATED}, wire, over_tcp=over_tcp)
    assert (reaction.reply is None) == (reaction.rcode is None)


@given(st.lists(st.tuples(st.integers(0, len(QUERY) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_mutation_of_a_query_gets_a_reaction(changes: list[tuple[int, int]]) -> None:
    wire = bytearray(QUERY)
    for where, octet in changes:
        wire[where] = octet
    reaction = react({DOMAIN: MUTATED}, bytes(wire), over_tcp=False)
    assert reaction.reply is None or reaction.reply[:2] == wire[:2]
