"""Signed messages to bytes and back."""

from __future__ import annotations

import types
from typing import Any

import dns.message
import dns.opcode
import dns.rcode
import dns.tsig
import dns.update
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srv.records import AddressRecord, Kind, NameRecord, RRset, SrvRecord
from srv.signed import (
    FUDGE,
    BadKeyError,
    BadSignatureError,
    BadTimeError,
    SignatureError,
    Signed,
    SigningKey,
    UnsignedError,
    read_signed_reply,
    read_update_reply,
    sign_query,
    sign_update,
)
from srv.wire import MalformedError, Query, Question

KEY = SigningKey("fairlead.updates", "hmac-sha256", b"k" * 32)
PEER = dns.tsig.Key("fairlead.updates.", b"k" * 32, "hmac-sha256")
QUERY = Query(7, Question("_mysql._tcp.d.test", int(Kind.SRV)), recursion_desired=False)
CHANGES = (
    RRset("_mysql._tcp.d.test", Kind.SRV, 5, (SrvRecord(1, 2, 3306, "m1.d.test"), SrvRecord(1, 2, 3306, "."))),
    RRset("m1.d.test", Kind.AAAA, 6, (AddressRecord("2001:db8::1"),)),
    RRset("m2.d.test", Kind.A, 5, ()),
)


def test_an_update_deletes_each_set_and_adds_all_of_its_records() -> None:
    message = dns.message.from_wire(sign_update(9, "d.test", CHANGES, KEY).wire, keyring=PEER)
    assert isinstance(message, dns.update.UpdateMessage)
    assert (message.id, message.opcode(), message.had_tsig) == (9, dns.opcode.UPDATE, True)
    assert [rrset.to_text() for rrset in message.zone] == ["d.test. IN SOA"]
    assert message.prerequisite == []
    assert [rrset.to_text() for rrset in message.update] == [
        "_mysql._tcp.d.test. ANY SRV",
        "_mysql._tcp.d.test. 5 IN SRV 1 2 3306 m1.d.test.",
        "_mysql._tcp.d.test. 5 IN SRV 1 2 3306 .",
        "m1.d.test. ANY AAAA",
        "m1.d.test. 6 IN AAAA 2001:db8::1",
        "m2.d.test. ANY A",
    ]


@pytest.mark.parametrize("algorithm", ["hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"])
def test_a_question_and_its_answer_are_signed(algorithm: str) -> None:
    key = SigningKey("fairlead.updates", algorithm, b"k" * 32)
    signed = sign_query(QUERY, key)
    query = dns.message.from_wire(signed.wire, keyring=dns.tsig.Key("fairlead.updates.", b"k" * 32, algorithm))
    assert query.had_tsig
    reply = read_signed_reply(dns.message.make_response(query).to_wire(), QUERY, signed, key)
    assert reply is not None
    assert reply.rcode == 0


def test_only_what_we_publish_is_sent() -> None:
    with pytest.raises(ValueError, match="NameRecord: only SRV, A and AAAA"):
        sign_update(1, "d.test", [RRset("d.test", Kind.NS, 5, (NameRecord("ns.d.test"),))], KEY)


def test_a_secret_is_not_shown() -> None:
    assert "kkk" not in repr(KEY)


SIGNED = sign_update(9, "d.test", CHANGES, KEY)


@pytest.fixture(autouse=True)
def signed_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature holds for five minutes, and other tests may come before these."""
    monkeypatch.setitem(globals(), "SIGNED", sign_update(9, "d.test", CHANGES, KEY))


def response(*, peer: dns.tsig.Key | None = PEER, error: int = 0, rcode: int = 0, **changes: Any) -> bytes:
    query = dns.message.from_wire(SIGNED.wire, keyring=PEER)
    reply = dns.message.make_response(query)
    reply.set_rcode(dns.rcode.Rcode.make(rcode))
    reply.tsig, reply.want_tsig_sign = None, False
    if peer is not None:
        reply.use_tsig(peer, tsig_error=error)
        reply.request_mac = query.mac or b""
    for name, value in changes.items():
        setattr(reply, name, value)
    return reply.to_wire()


def test_what_was_signed_for_our_update_counts() -> None:
    assert read_update_reply(response(), SIGNED, KEY) == 0
    assert read_update_reply(response(rcode=5), SIGNED, KEY) == 5


def test_a_refusal_may_come_unsigned_and_success_may_not() -> None:
    assert read_update_reply(response(peer=None, rcode=9), SIGNED, KEY) == 9
    for rcode in (0, 3):
        with pytest.raises(UnsignedError):
            read_update_reply(response(peer=None, rcode=rcode), SIGNED, KEY)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"rcode": 9, "error": 17}, BadKeyError),
        ({"rcode": 9, "error": 16}, BadSignatureError),
        ({"rcode": 9, "error": 18}, BadTimeError),
        ({"rcode": 9, "error": 22}, BadSignatureError),  # truncated more than it likes
        ({"peer": dns.tsig.Key("fairlead.updates.", b"x" * 32, "hmac-sha256")}, UnsignedError),
        ({"peer": dns.tsig.Key("another.", b"k" * 32, "hmac-sha256")}, UnsignedError),
        ({"peer": dns.tsig.Key("fairlead.updates.", b"k" * 32, "hmac-sha512")}, UnsignedError),
        ({"request_mac": b"?" * 32}, UnsignedError),  # it answers another message
    ],
)
def test_what_is_wrong_with_a_signature(changes: dict[str, Any], fault: type[SignatureError]) -> None:
    with pytest.raises(SignatureError) as caught:
        read_update_reply(response(**changes), SIGNED, KEY)
    assert type(caught.value) is fault


def test_a_server_whose_clock_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = response()
    later = dns.message.time.time() + FUDGE + 5  # type: ignore[attr-defined]
    monkeypatch.setattr("dns.message.time", types.SimpleNamespace(time=lambda: later))
    with pytest.raises(BadTimeError):
        read_update_reply(wire, SIGNED, KEY)


def test_what_answers_something_else_is_no_answer() -> None:
    assert read_update_reply(SIGNED.wire, SIGNED, KEY) is None
    assert read_update_reply(response(id=10), SIGNED, KEY) is None
    assert read_signed_reply(response(), QUERY, Signed(b"", 8, b""), KEY) is None


def test_every_changed_octet_is_noticed() -> None:
    wire = response()
    owner_end = wire.index(b"\x08fairlead\x07updates\0") + 18
    lifetime = range(owner_end + 4, owner_end + 8)  # the signature's own TTL, which is 0 for whoever checks it
    for place in set(range(len(wire))) - set(lifetime):
        changed = bytearray(wire)
        changed[place] ^= 1
        try:
            read = read_update_reply(bytes(changed), SIGNED, KEY)
        except (MalformedError, SignatureError):
            continue
        assert read is None, place


def test_a_cut_answer_is_malformed_wherever_it_is_cut() -> None:
    wire = response()
    for end in range(len(wire)):
        with pytest.raises(MalformedError):
            read_update_reply(wire[:end], SIGNED, KEY)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_what_is_documented(wire: bytes) -> None:
    for start in (b"", SIGNED.wire[:2] + b"\xa8\x00", SIGNED.wire[:2] + b"\x84\x00"):
        try:
            read_update_reply(start + wire, SIGNED, KEY)
            read_signed_reply(start + wire, QUERY, SIGNED, KEY)
        except (MalformedError, SignatureError):
            continue
