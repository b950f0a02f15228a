"""Our server beside real BIND and Knot that serve the same zone: the same packets to each, the answers compared.

What one of the two says we may say. Where neither does, there is a reason beside it in `OWN_WAYS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import dns.edns
import dns.exception
import dns.flags
import dns.message
import pytest

from bench.peers.nameservers import Address, start
from bench.peers.zone_files import zone_text
from srv.server import Server
from srv.zone import Part, Zone, ZoneMember, build_zone

pytestmark = pytest.mark.sandbox

DOMAIN = "demo.fairlead.test"
SERVICE = f"_mysql._tcp.{DOMAIN}"
PATIENCE = 10.0  # seconds until a test gives up
KINDS = ("knot", "bind")
LAST = 0x7777  # the id of a question that follows each packet: once it is answered, nothing else comes

Said = tuple[object, ...] | str


def zone(members: int) -> Zone:
    published = [
        ZoneMember(f"m{n}", (f"192.0.2.{n}",), 3306, 33060, frozenset({Part.PRIMARY if n == 1 else Part.REPLICAS}))
        for n in range(1, members + 1)
    ]
    return build_zone(DOMAIN, published, serial=1, nameserver_addresses=("127.0.0.1",))


def head(flags: int = 0, questions: int = 1, additional: int = 0) -> bytes:
    return struct.pack("!HHHHHH", 4711, flags, questions, 0, 0, additional)


def named(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def question(name: str = SERVICE, kind: int = 33, rdclass: int = 1) -> bytes:
    return named(name) + struct.pack("!HH", kind, rdclass)


def with_opt(payload: int = 1232, ttl: int = 0, data: bytes = b"", *, name: str = SERVICE, times: int = 1) -> bytes:
    opt = b"\0" + struct.pack("!HHIH", 41, payload, ttl, len(data)) + data
    return head(additional=times) + question(name) + opt * times


def option(kind: int, data: bytes) -> bytes:
    return struct.pack("!HH", kind, len(data)) + data


def signed() -> bytes:
    data = named("hmac-sha256") + struct.pack("!HIHH", 0, 1_700_000_000, 300, 32) + bytes(32) + bytes(6)
    return head(additional=1) + question() + named("key") + struct.pack("!HHIH", 250, 255, 0, len(data)) + data


FLAGS = {"RD": 0x100, "AD": 0x20, "Z": 0x40, "TC": 0x200, "AA": 0x400, "RA": 0x80, "CD": 0x10, "QR": 0x8000}
PACKETS: dict[str, bytes] = {
    "plain": head() + question(),
    **{f"with {name}": head(bit) + question() for name, bit in FLAGS.items()},
    "with a response code": head(5) + question(),
    "in another case": head() + question("_MySQL._tCp.DEMO.Fairlead.tesT"),
    **{
        f"{name or 'root'} {kind}": head(flags) + question(name, kind)
        for flags, name, kind in [
            (0, "example.org", 1),
            (0x100, "example.org", 1),
            (0, "", 2),
            (0, "fairlead.test", 6),
            (0, f"x{DOMAIN}", 1),
        ]
    },
    **{
        f"{name} {kind}": head() + question(f"{name}.{DOMAIN}".strip("."), kind)
        for name in ("", "m1", "nobody", "x.m1", "_tcp", "ns", "_mysql._tcp.primary", "primary")
        for kind in (0, 1, 2, 5, 6, 10, 16, 28, 33, 43, 48, 65535)
    },
    **{f"type {kind}": head() + question(DOMAIN, kind) for kind in (41, 128, 200, 249, 250, 251, 252, 253, 254)},
    "anything at m1": head() + question(f"m1.{DOMAIN}", 255),
    "anything at the service": head() + question(kind=255),
    "anything at nobody": head() + question(f"nobody.{DOMAIN}", 255),
    "anything at a name between": head() + question(f"_tcp.{DOMAIN}", 255),
    **{f"class {rdclass}": head() + question(rdclass=rdclass) for rdclass in (0, 2, 3, 4, 254, 255, 999)},
    "version.bind": head() + question("version.bind", 16, 3),
    **{f"opcode {opcode}": head(opcode << 11) + question(DOMAIN, 6) for opcode in range(1, 16)},
    "no question": head(questions=0),
    "two questions": head(questions=2) + question() * 2,
    "a missing question": head(),
    "junk behind": head() + question() + b"junk",
    "a loop": head() + b"\xc0\x0c\0\x21\0\x01",
    "a pointer into the header": head() + b"\xc0\x00\0\x21\0\x01",
    "a label of an unknown kind": head() + b"\x41a\0\0\x21\0\x01",
    "a label that is cut": head() + b"\x3fa",
    "a name that is too long": head() + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\x21\0\x01",
    "no header": b"\0" * 11,
    "nothing": b"",
    "a missing record": head(additional=1) + question(),
    "a record": head(additional=1) + question() + named("x") + struct.pack("!HHIH", 1, 1, 5, 4) + bytes(4),
    **{f"EDNS {size}": with_opt(size) for size in (0, 511, 512, 1231, 1232, 4096, 65535)},
    "DO": with_opt(ttl=0x8000),
    "EDNS flags without meaning": with_opt(ttl=0x4001),
    "EDNS with a response code": with_opt(ttl=0x05000000),
    "EDNS 1": with_opt(ttl=0x10000),
    "EDNS 1 elsewhere": with_opt(ttl=0x10000, name="example.org"),
    "EDNS 255 and DO": with_opt(ttl=0xFF8000),
    "EDNS elsewhere": with_opt(name="example.org"),
    "EDNS at nobody": with_opt(name=f"nobody.{DOMAIN}"),
    "an unknown option": with_opt(data=option(65001, b"abcd")),
    "an option that is cut": with_opt(data=struct.pack("!HH", 65001, 9) + b"abcd"),
    "an option of three octets": with_opt(data=b"abc"),
    "a cookie": with_opt(data=option(10, b"abcdefgh")),
    "NSID": with_opt(data=option(3, b"")),
    "a client subnet": with_opt(data=option(8, b"\0\1\x18\0\1\2\3")),
    "keepalive": with_opt(data=option(11, b"")),
    "padding": with_opt(data=option(12, bytes(3))),
    "two OPTs": with_opt(times=2),
    "a signature of an unknown key": signed(),
}
OWN_WAYS = {
    # The two differ from each other as well: "malformed" says BIND, "no data" Knot. No record can have these types,
    # and what is asked for is not there to be asked for.
    **dict.fromkeys((f"type {kind}" for kind in (41, 128, 200, 249, 250)), "not implemented"),
    "opcode 4": "we are nobody's secondary",
    "opcode 5": "nobody updates our zones",
    "class 255": "not a class of ours; the two differ from each other",
    "version.bind": "nobody's business",
    "anything at the service": "RFC 8482: any one of the sets will do; we give the one that matters",
}


@dataclass(frozen=True)
class Trio:
    """Three servers of one zone."""

    ours: Address
    others: dict[str, Address]


@pytest.fixture
async def trio(peers: Path, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Trio]:
    served = zone(getattr(request, "param", 3))
    server = Server([("127.0.0.1", 0)], [served])
    await server.start()
    with contextlib.ExitStack() as stack:
        others = {}
        for kind in KINDS:
            other = await asyncio.to_thread(start, kind, tmp_path / kind, {DOMAIN: zone_text(served)})
            stack.callback(other.stop)
            others[kind] = other.address
        yield Trio(server.addresses[0], others)
    await server.close()


def ask(place: Address, wire: bytes) -> bytes | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.sendto(wire, place)
        sock.sendto(LAST.to_bytes(2, "big") + PACKETS["plain"][2:], place)
        reply = None
        while (heard := sock.recv(65535))[:2] != LAST.to_bytes(2, "big"):
            reply = heard
        return reply


def said(wire: bytes | None, *, sections: bool = True) -> Said:
    """A response in a form that can be compared: code, flags, question, sections, EDNS."""
    if wire is None:
        return "nothing"
    identity, flags, questions = struct.unpack_from("!HHH", wire)
    if not sections:
        return (identity, flags & 0xF)
    message = dns.message.from_wire(wire)
    kept = flags & (dns.flags.QR | dns.flags.AA | dns.flags.TC | dns.flags.RD | dns.flags.RA | dns.flags.AD | 0x7800)
    edns = (message.edns, message.payload, message.ednsflags & 0xFFFF)
    asked = [rrset.to_text() for rrset in message.question]
    lines = [
        sorted(line.lower() for rrset in section for line in rrset.to_text().splitlines())
        for section in (message.answer, message.authority, message.additional)
    ]
    return (identity, int(message.rcode()), kept, questions, asked, *lines, edns)


def compare(trio: Trio, packets: dict[str, bytes]) -> Iterator[str]:
    for name, wire in packets.items():
        if name in OWN_WAYS:
            continue
        # dnspython reads no signed response without the key; the code is what counts there.
        sections = "signature" not in name
        ours = said(ask(trio.ours, wire), sections=sections)
        others = {kind: said(ask(place, wire), sections=sections) for kind, place in trio.others.items()}
        if ours not in others.values():
            yield f"{name}\n  ours {ours}\n" + "\n".join(f"  {kind} {one}" for kind, one in others.items())


async def test_we_say_what_one_of_them_says(trio: Trio) -> None:
    assert set(OWN_WAYS) <= set(PACKETS)
    differences = await asyncio.to_thread(lambda: list(compare(trio, PACKETS)))
    assert not differences, "\n".join(differences)


@pytest.mark.parametrize("trio", [9, 12, 25, 60], indirect=True)
async def test_we_cut_answers_where_they_do(trio: Trio) -> None:
    """Of what fits without being needed each gives as much as it likes: additional records are not compared."""

    def cut(place: Address, wire: bytes) -> tuple[bool, int]:
        reply = dns.message.from_wire(ask(place, wire) or b"")
        return bool(reply.flags & dns.flags.TC), sum(len(rrset) for rrset in reply.answer)

    sizes = {"plain": head() + question(), **{str(size): with_opt(size) for size in (512, 800, 1232, 4096)}}
    for (name, wire), kind in itertools.product(sizes.items(), KINDS):
        ours = await asyncio.to_thread(cut, trio.ours, wire)
        theirs = await asyncio.to_thread(cut, trio.others[kind], wire)
        assert ours[0] == theirs[0], (name, kind)
        if not ours[0]:
            assert ours == theirs, (name, kind)
