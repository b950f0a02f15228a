"""PROXY headers: what the specification shows, what comes in pieces, and what hostile peers send."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.members import Endpoint
from router.proxy_header import SIGNATURE, V1_LIMIT, V2_LIMIT, Header, ProxyHeaderError, encode, parse
from router.words import ProxyProtocol

A4, B4 = Endpoint("192.0.2.1", 56324), Endpoint("198.51.100.7", 3306)
A6, B6 = Endpoint("2001:db8::1", 1), Endpoint("::1", 65535)
V4 = bytes([192, 0, 2, 1, 198, 51, 100, 7]) + (56324).to_bytes(2, "big") + (3306).to_bytes(2, "big")


def v2(command: int, family: int, body: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + bytes([command, family]) + (len(body) if length is None else length).to_bytes(2, "big") + body


WELL_FORMED = {
    "v1 TCP4": (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 3306\r\n", A4, B4),
    "v1 TCP6": (b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", A6, B6),
    "v1 the longest": (b"PROXY UNKNOWN " + b"f" * (V1_LIMIT - 16) + b"\r\n", None, None),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", None, None),
    "v1 UNKNOWN with addresses": (b"PROXY UNKNOWN ffff:: ffff:: 65535 65535\r\n", None, None),
    "v2 TCP4": (v2(0x21, 0x11, V4), A4, B4),
    "v2 TCP4 and extensions": (v2(0x21, 0x11, V4 + b"\x04\x00\x03abc"), A4, B4),
    "v2 the longest": (v2(0x21, 0x11, V4 + bytes(V2_LIMIT - 16 - 12)), A4, B4),
    "v2 LOCAL": (v2(0x20, 0x00, b""), None, None),
    "v2 LOCAL of an unknown family": (v2(0x20, 0x77, b"whatever"), None, None),
    "v2 UNSPEC": (v2(0x21, 0x00, b"whatever"), None, None),
    "v2 UNIX": (v2(0x21, 0x31, bytes(216)), None, None),
    "v2 UDP": (v2(0x21, 0x12, V4), None, None),
}


@pytest.mark.parametrize("name", WELL_FORMED)
def test_what_is_well_formed_is_read_whole_in_pieces_and_with_a_tail(name: str) -> None:
    data, source, destination = WELL_FORMED[name]
    wanted = Header(source, destination, len(data))
    assert parse(data) == wanted
    assert parse(data + b"\x01\x00\x00\x00\x0e tail") == wanted
    for end in range(len(data)):
        assert parse(data[:end]) is None, end


MALFORMED = {
    "a client's own bytes": b"\x01\x00\x00\x00\x01",
    "TLS": b"\x16\x03\x01",
    "almost": b"PROXX",
    "lower case": b"proxy TCP4 192.0.2.1 198.51.100.7 1 2\r\n",
    "a name": b"PROXY TCP4 localhost 198.51.100.7 1 2\r\n",
    "of the other family": b"PROXY TCP4 ::1 ::1 1 2\r\n",
    "octal": b"PROXY TCP4 010.0.0.1 198.51.100.7 1 2\r\n",
    "a zone": b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    "port with a leading zero": b"PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n",
    "port too high": b"PROXY TCP4 192.0.2.1 198.51.100.7 65536 2\r\n",
    "port with a sign": b"PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n",
    "port of other digits": "PROXY TCP4 192.0.2.1 198.51.100.7 ١ 2\r\n".encode(),
    "two spaces": b"PROXY TCP4  192.0.2.1 198.51.100.7 1 2\r\n",
    "too few words": b"PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n",
    "too many words": b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n",
    "no word": b"PROXY \r\n",
    "unknown family": b"PROXY UDP4 192.0.2.1 198.51.100.7 1 2\r\n",
    "not ASCII": b"PROXY TCP4 \xff 198.51.100.7 1 2\r\n",
    "a bare line feed": b"PROXY UNKNOWN\n",
    "a bare carriage return": b"PROXY UNKNOWN\rx",
    "no end": b"PROXY UNKNOWN " + b"x" * 93,
    "end beyond the limit": b"PROXY UNKNOWN " + b"f" * (V1_LIMIT - 15) + b"\r\n",
    "v2 version 1": v2(0x11, 0x11, V4),
    "v2 unknown command": v2(0x22, 0x11, V4),
    "v2 unknown family": v2(0x21, 0x41, V4),
    "v2 too short for its addresses": v2(0x21, 0x11, V4[:-1]),
    "v2 too short for IPv6": v2(0x21, 0x21, V4),
    "v2 too long": v2(0x21, 0x11, V4, 65535),
    "v2 LOCAL too long": v2(0x20, 0x00, b"", V2_LIMIT),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_an_error_and_stays_one(name: str) -> None:
    for tail in (b"", b"more", b"\r\n"):
        with pytest.raises(ProxyHeaderError):
            parse(MALFORMED[name] + tail)


ENDPOINTS = st.builds(Endpoint, st.ip_addresses().map(str), st.integers(0, 65535))
VERSIONS = st.sampled_from([ProxyProtocol.V1, ProxyProtocol.V2])


def widened(one: Endpoint, other: Endpoint) -> Endpoint:
    address = ipaddress.ip_address(one.host)
    if address.version == 4 and ":" in other.host:
        return Endpoint(str(ipaddress.IPv6Address(f"::ffff:{address}")), one.port)
    return one


@given(VERSIONS, ENDPOINTS, ENDPOINTS, st.binary(max_size=50))
def test_what_is_sent_is_what_is_read(version: ProxyProtocol, source: Endpoint, to: Endpoint, tail: bytes) -> None:
    data = encode(version, source, to)
    assert parse(data + tail) == Header(widened(source, to), widened(to, source), len(data))


@given(VERSIONS, ENDPOINTS)
def test_an_unknown_side_makes_a_header_that_names_nobody(version: ProxyProtocol, one: Endpoint) -> None:
    for data in (encode(version, None, one), encode(version, one, None), encode(version, None, None)):
        assert parse(data) == Header(None, None, len(data))


def test_off_is_nothing() -> None:
    assert encode(ProxyProtocol.OFF, A4, B4) == encode(ProxyProtocol.OFF, None, None) == b""


@given(
    st.one_of(
        st.binary(max_size=300), st.binary(max_size=300).map(SIGNATURE.__add__), st.binary().map(b"PROXY ".__add__)
    )
)
def test_any_bytes_are_a_header_or_none_yet_or_the_one_error(data: bytes) -> None:
    try:
        header = parse(data)
    except ProxyHeaderError:
        return
    if header is None:
        assert len(data) < V2_LIMIT
    else:
        assert 0 < header.size <= len(data)
