"""The PROXY protocol's header, versions 1 and 2: bytes in, who connected to what; and the other way.

Follows HAProxy's "The PROXY protocol, versions 1 & 2" (2020/03/05). Pure; must not know whom to believe.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cluster.members import Endpoint
from router.words import ProxyProtocol

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""How version 2 begins (2.2)."""
FIRST_WORD = b"PROXY "
"""How version 1 begins (2.1)."""
V1_LIMIT = 107
"""The longest line of version 1, its CRLF included (2.1)."""
V2_LIMIT = 4096
"""Bytes of a version 2 header that are waited for: its addresses take 232, extensions such as a TLS client's names some
hundreds more. Its length field could say 65,535, which nobody sends and which we would have to hold."""

_FIXED = struct.Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")


class ProxyHeaderError(Exception):
    """The bytes are no header: the connection is to be closed (2: "must be considered as an error")."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says. `size`: bytes that it took.

    source: the client; destination: what it connected to. Both None where the proxy speaks for itself (LOCAL, as for
    its health checks) or does not know (UNKNOWN, UNSPEC, Unix sockets): then the connection's own addresses count.
    """

    source: Endpoint | None
    destination: Endpoint | None
    size: int


def parse(data: bytes) -> Header | None:
    """Read a header from the beginning of a connection.

    Args:
        data: all that came so far.

    Returns:
        None while it is not complete.

    Raises:
        ProxyHeaderError: it can become none any more.
    """
    if data[: len(SIGNATURE)] == SIGNATURE[: len(data)]:
        return _parse_v2(data) if len(data) >= _FIXED.size else None
    if data[: len(FIRST_WORD)] == FIRST_WORD[: len(data)]:
        return _parse_v1(data)
    raise ProxyHeaderError("it does not begin with a PROXY header")


def encode(version: ProxyProtocol, source: Endpoint | None, destination: Endpoint | None) -> bytes:
    """The header for a member; one that names nobody where either address is not known. OFF is nothing.

    An IPv4 and an IPv6 address are both written as IPv6, since a header has one family.
    """
    if source is None or destination is None:
        return _NOBODY[version]
    addresses = [ipaddress.ip_address(one.host) for one in (source, destination)]
    if len({one.version for one in addresses}) > 1:
        addresses = [
            ipaddress.IPv6Address(f"::ffff:{one}") if isinstance(one, ipaddress.IPv4Address) else one
            for one in addresses
        ]
    return _ENCODERS[version](addresses[0], addresses[1], source.port, destination.port)


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _encode_v1(source: _Address, destination: _Address, source_port: int, destination_port: int) -> bytes:
    return f"PROXY TCP{source.version} {source} {destination} {source_port} {destination_port}\r\n".encode("ascii")


def _encode_v2(source: _Address, destination: _Address, source_port: int, destination_port: int) -> bytes:
    family = 0x11 if source.version == 4 else 0x21
    body = source.packed + destination.packed + struct.pack("!HH", source_port, destination_port)
    return _FIXED.pack(SIGNATURE, _PROXY, family, len(body)) + body


def _encode_nothing(*_: object) -> bytes:
    return b""


_NOBODY: Mapping[ProxyProtocol, bytes] = {
    ProxyProtocol.OFF: b"",
    ProxyProtocol.V1: b"PROXY UNKNOWN\r\n",
    ProxyProtocol.V2: _FIXED.pack(SIGNATURE, _LOCAL, 0x00, 0),
}
_ENCODERS: Mapping[ProxyProtocol, Callable[[_Address, _Address, int, int], bytes]] = {
    ProxyProtocol.OFF: _encode_nothing,
    ProxyProtocol.V1: _encode_v1,
    ProxyProtocol.V2: _encode_v2,
}


def _parse_v1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, V1_LIMIT)
    if end < 0:
        if len(data) >= V1_LIMIT or b"\n" in data or b"\r" in data[:-1]:
            raise ProxyHeaderError(f"version 1: no line of at most {V1_LIMIT} bytes")
        return None
    size, words = end + 2, data[:end].split(b" ")
    if words[1] == b"UNKNOWN":
        return Header(None, None, size)  # whatever follows on the line is to be ignored
    kinds: Mapping[bytes, type[_Address]] = {b"TCP4": ipaddress.IPv4Address, b"TCP6": ipaddress.IPv6Address}
    kind = kinds.get(words[1])
    if kind is None or len(words) != 6:
        raise ProxyHeaderError("version 1: wanted TCP4, TCP6 or UNKNOWN, two addresses and two ports")
    try:
        hosts = [str(kind(word.decode("ascii"))) for word in words[2:4]]
    except ValueError as exc:
        raise ProxyHeaderError(f"version 1: {exc}") from exc
    if any("%" in host for host in hosts):
        raise ProxyHeaderError("version 1: an address with a zone")
    ports = [int(word) if _PORT.fullmatch(word) else -1 for word in words[4:]]
    if not all(0 <= port < 65536 for port in ports):
        raise ProxyHeaderError("version 1: a port must be a number from 0 to 65535 without leading zeros")
    return Header(Endpoint(hosts[0], ports[0]), Endpoint(hosts[1], ports[1]), size)


# By address family and transport (2.2): bytes of one address, 0 where its addresses are nothing to us.
_FAMILIES: Mapping[int, int] = {0x00: 0, 0x11: 4, 0x12: 0, 0x21: 16, 0x22: 0, 0x31: 0, 0x32: 0}


def _parse_v2(data: bytes) -> Header | None:
    _, command, family, length = _FIXED.unpack_from(data)
    size = _FIXED.size + length
    if command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError(f"version 2: an unknown version and command, {command:#04x}")
    if command == _PROXY and family not in _FAMILIES:  # with LOCAL it is ignored
        raise ProxyHeaderError(f"version 2: an unknown address family, {family:#04x}")
    if size > V2_LIMIT:
        raise ProxyHeaderError(f"version 2: {size} bytes are more than the {V2_LIMIT} that are read")
    width = _FAMILIES[family] if command == _PROXY else 0
    if width and length < 2 * width + 4:
        raise ProxyHeaderError(f"version 2: {length} bytes are too few for its addresses")
    if len(data) < size:
        return None
    if not width:
        return Header(None, None, size)
    at = _FIXED.size
    hosts = [str(ipaddress.ip_address(data[at + n * width : at + (n + 1) * width])) for n in (0, 1)]
    ports = struct.unpack_from("!HH", data, at + 2 * width)
    return Header(Endpoint(hosts[0], ports[0]), Endpoint(hosts[1], ports[1]), size)
