"""The short way to read a query finds what the long way finds."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srv.plain import read_plain
from srv.replies import write_truncated
from srv.wire import read_query

SERVICE = "_mysql._tcp.demo.fairlead.test."
LABELS = st.sampled_from(["_mysql", "_TCP", "primary", "m1", "x", "a" * 63, "\\000", "\\.", "M1", "b" * 60])


def query(name: str, kind: str | int = "SRV", **edns: object) -> bytes:
    message = dns.message.make_query(name, kind, use_edns=False)
    if edns:
        message.use_edns(0, **edns)  # type: ignore[arg-type]
    return message.to_wire()


@given(
    st.lists(LABELS, max_size=3),  # four of the longest are no name
    st.sampled_from([0, 1, 2, 12, 16, 33, 41, 43, 252, 255, 256, 65535]),
    st.one_of(st.none(), st.sampled_from([0, 512, 600, 900, 1232, 4096])),
    st.booleans(),
)
def test_it_reads_what_the_library_reads(labels: list[str], kind: int, payload: int | None, dnssec_ok: bool) -> None:
    edns = {} if payload is None else {"payload": payload, "ednsflags": dns.flags.DO if dnssec_ok else 0}
    wire = query(".".join([*labels, ""]) or ".", kind, **edns)
    assert read_plain(wire) == read_query(wire)


@pytest.mark.parametrize(
    "options",
    [
        [dns.edns.GenericOption(65001, b"x" * 8)],
        [dns.edns.GenericOption(10, b"12345678"), dns.edns.GenericOption(12, b"")],
    ],
)
def test_edns_options_are_passed_over(options: list[dns.edns.Option]) -> None:
    wire = query(SERVICE, payload=1232, options=options)
    plain = read_plain(wire)
    assert plain is not None
    assert plain == read_query(wire)


def test_an_unknown_version_is_read_and_what_is_out_of_the_ordinary_is_left_to_the_long_way() -> None:
    ordinary = query(SERVICE, payload=1232)
    version_1, two_questions, response, named_opt = (bytearray(ordinary) for _ in range(4))
    version_1[-5] = 1
    plain = read_plain(bytes(version_1))
    assert plain is not None
    assert plain.edns_version == 1
    two_questions[5] = 2
    response[2] |= 0x80
    named_opt[-11:-10] = b"\1x\0"
    strange = [ordinary[:-1], ordinary + b"x", bytes(two_questions), bytes(response), bytes(named_opt), b"", b"\0" * 11]
    strange += [ordinary[:12] + b"\xc0\x0c" + ordinary[-15:]]
    for wire in strange:
        assert read_plain(wire) is None


def test_come_over_tcp_is_no_longer_than_the_question() -> None:
    for wire in (query(SERVICE, payload=1232), query(SERVICE), query(r"a\.b.")):
        plain = read_plain(wire)
        assert plain is not None
        short = write_truncated(plain)
        reply = dns.message.from_wire(short)
        assert reply.flags & dns.flags.TC
        assert not reply.answer
        assert dns.message.from_wire(wire).is_response(reply)
        assert len(short) == len(wire)
