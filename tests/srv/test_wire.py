"""Packets to values and back."""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace

import dns.flags
import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srv.records import AddressRecord, Kind, NameRecord, Rcode, RRset, SoaRecord, SrvRecord
from srv.replies import write_reply
from srv.wire import (
    MalformedError,
    Query,
    Question,
    Reply,
    read_header,
    read_query,
    read_reply,
    write_query,
)

QUERY = Query(0x1234, Question("_mysql._tcp.d.test", int(Kind.SRV)), recursion_desired=True, payload=1232)
REPLY = Reply(
    Rcode.NOERROR,
    answer=(RRset("_mysql._tcp.d.test", Kind.SRV, 5, (SrvRecord(1, 2, 3306, "m1.d.test"),)),),
    authority=(
        RRset("d.test", Kind.NS, 6, (NameRecord("ns.d.test"),)),
        RRset("d.test", Kind.SOA, 7, (SoaRecord("ns.d.test", "h.d.test", 1, 2, 3, 4, 5),)),
    ),
    additional=(
        RRset("m1.d.test", Kind.A, 8, (AddressRecord("192.0.2.1"),)),
        RRset("m1.d.test", Kind.AAAA, 9, (AddressRecord("2001:db8::1"),)),
    ),
    authoritative=True,
)


def test_a_query_crosses_the_wire() -> None:
    assert read_query(write_query(QUERY)) == QUERY
    plain = Query(1, Question("d.test", 1), recursion_desired=False)
    assert read_query(write_query(plain)) == plain


def test_a_reply_crosses_the_wire() -> None:
    assert read_reply(write_reply(QUERY, REPLY, 1232), QUERY) == REPLY


def test_dnspython_reads_what_we_write() -> None:
    message = dns.message.from_wire(write_reply(QUERY, REPLY, 1232))
    assert message.answer[0].to_text() == "_mysql._tcp.d.test. 5 IN SRV 1 2 3306 m1.d.test."
    assert message.flags & dns.flags.RD
    assert message.payload == 1232


def test_the_srv_target_is_not_compressed() -> None:
    """RFC 2782 and RFC 3597, 4: it is spelled out, whatever stood before."""
    assert b"\x02m1\x01d\x04test\x00" in write_reply(QUERY, REPLY, 1232)


def test_target_root_and_odd_octets() -> None:
    records = (SrvRecord(0, 0, 0, "."), SrvRecord(0, 0, 1, "a\\046b.test"))
    reply = Reply(Rcode.NOERROR, answer=(RRset("_mysql._tcp.d.test", Kind.SRV, 5, records),))
    read = read_reply(write_reply(QUERY, reply, 1232), QUERY)
    assert read is not None
    assert sorted(read.answer[0].records) == sorted(records)


def test_types_that_we_do_not_know_are_left_out() -> None:
    message = dns.message.make_response(dns.message.from_wire(write_query(QUERY)))
    message.additional = [dns.rrset.from_text("x.test.", 5, "IN", "HINFO", '"hello" "you"')]
    assert read_reply(message.to_wire(), QUERY) == Reply(Rcode.NOERROR)


def response(**changes: object) -> bytes:
    message = dns.message.make_response(dns.message.from_wire(write_query(QUERY)))
    for name, value in changes.items():
        setattr(message, name, value)
    return message.to_wire()


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\x12",
        response(id=0x1235),
        response(question=[dns.rrset.from_text("_mysql._tcp.e.test.", 0, "IN", "SRV")]),
        response(question=[dns.rrset.from_text("_mysql._tcp.d.test.", 0, "IN", "A")]),
        write_query(QUERY),  # our own query, come back
    ],
)
def test_what_answers_something_else_is_no_reply(wire: bytes) -> None:
    assert read_reply(wire, QUERY) is None


def test_a_reply_may_have_another_case() -> None:
    other = response(question=[dns.rrset.from_text("_MYSQL._tcp.D.test.", 0, "IN", "SRV")])
    assert read_reply(other, QUERY) == Reply(Rcode.NOERROR)


def test_only_an_error_may_come_without_the_question() -> None:
    with pytest.raises(MalformedError):
        read_reply(response(question=[]), QUERY)
    formerr = bytes([0x12, 0x34, 0x80, Rcode.FORMERR]) + bytes(8)
    assert read_reply(formerr, QUERY) == Reply(Rcode.FORMERR)


def test_a_cut_reply_is_malformed_wherever_it_is_cut() -> None:
    wire = write_reply(QUERY, REPLY, 1232)
    for end in range(2, len(wire)):
        with pytest.raises(MalformedError):
            read_reply(wire[:end], QUERY)


def test_a_truncated_reply_may_be_cut_anywhere_behind_the_question() -> None:
    wire = bytearray(write_reply(QUERY, REPLY, 1232))
    wire[2] |= dns.flags.TC >> 8
    question_end = len(write_query(replace(QUERY, payload=None)))
    for end in range(question_end, len(wire)):
        read = read_reply(bytes(wire[:end]), QUERY)
        assert read is not None
        assert read.truncated
    with pytest.raises(MalformedError):
        read_reply(bytes(wire[: question_end - 1]), QUERY)
    other = Query(0x1234, Question("_mysql._tcp.e.test", int(Kind.SRV)), recursion_desired=True)
    assert read_reply(bytes(wire), other) is None


@given(st.binary(max_size=600))
def test_arbitrary_bytes_raise_only_what_is_documented(wire: bytes) -> None:
    for read in (read_header, read_query, lambda wire: read_reply(b"\x12\x34" + wire, QUERY)):
        try:
            read(wire)
        except MalformedError:
            continue


@given(st.integers(0, 2**32), st.integers(1, 8))
def test_mutated_replies_raise_only_what_is_documented(seed: int, changes: int) -> None:
    rng = random.Random(seed)
    wire = bytearray(write_reply(QUERY, REPLY, 1232))
    for _ in range(changes):
        wire[rng.randrange(2, len(wire))] = rng.randrange(256)
    with contextlib.suppress(MalformedError):
        read_reply(bytes(wire), QUERY)
