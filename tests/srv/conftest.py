"""Values and a scripted DNS server that the tiers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
import uvloop

from srv.zone import Part, Zone, ZoneMember, build_zone


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Everything that awaits is tested on both loops: uvloop serves, the standard one forgives other things."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


DOMAIN = "demo.fairlead.test"


@pytest.fixture
def zone() -> Zone:
    """Three members; the first is the primary, the third has no X port and also an IPv6 address."""
    return build_zone(
        DOMAIN,
        [
            ZoneMember("m1", ("192.0.2.1",), 3306, 33060, frozenset({Part.PRIMARY})),
            ZoneMember("m2", ("192.0.2.2",), 3306, 33060, frozenset({Part.REPLICAS})),
            ZoneMember("m3", ("2001:db8::3", "192.0.2.3"), 3310, None, frozenset({Part.REPLICAS})),
        ],
        serial=7,
        nameserver_addresses=("192.0.2.53",),
    )


Reaction = Callable[[dns.message.Message], Iterable[bytes]]
"""What a scripted server sends back for a query: any number of datagrams."""


class ScriptedServer:
    """A DNS server on loopback that does as it is told, over UDP and over TCP."""

    def __init__(self) -> None:
        self.udp: Reaction = lambda _: ()
        self.tcp: Reaction = lambda _: ()
        self.asked: list[dns.message.Message] = []
        self.address = ("127.0.0.1", 0)

    def answers(self, *records: str, **options: Any) -> None:
        """Answer each question as `reply_to` does."""
        self.udp = self.tcp = lambda query: [self.reply_to(query, records, **options).to_wire()]

    @staticmethod
    def reply_to(query: dns.message.Message, records: Iterable[str] = (), **options: Any) -> dns.message.Message:
        """A response, to be changed by the test."""
        return reply_to(query, records, **options)

    def questions(self) -> list[str]:
        """What was asked, as `NAME TYPE`."""
        return [f"{query.question[0].name} {query.question[0].rdtype.name}" for query in self.asked]


def rrsets(lines: Iterable[str]) -> list[dns.rrset.RRset]:
    """Records as in a zone file: `name TTL type data`, names without the final dot under the root."""
    found: dict[tuple[str, str], dns.rrset.RRset] = {}
    for line in lines:
        name, ttl, kind, data = line.split(maxsplit=3)
        one = dns.rrset.from_text(f"{name.rstrip('.')}.", int(ttl), "IN", kind, data)
        if (name, kind) in found:
            found[name, kind].update(one)
        else:
            found[name, kind] = one
    return list(found.values())


def reply_to(
    query: dns.message.Message,
    records: Iterable[str] = (),
    *,
    additional: Iterable[str] = (),
    authority: Iterable[str] = (),
    flags: int = 0,
    rcode: int = 0,
) -> dns.message.Message:
    """A response: of the records those of the name and type asked, aliases followed; additional ones to SRV only."""
    reply = dns.message.make_response(query)
    asked = query.question[0]
    sets = rrsets(records)
    aliases = {rrset.name: rrset[0].target for rrset in sets if rrset.rdtype == dns.rdatatype.CNAME}
    owners = [asked.name]
    while owners[-1] in aliases and aliases[owners[-1]] not in owners:
        owners.append(aliases[owners[-1]])
    kinds = (dns.rdatatype.CNAME, asked.rdtype)
    reply.answer = [rrset for rrset in sets if rrset.name in owners and rrset.rdtype in kinds]
    if asked.rdtype == dns.rdatatype.SRV:
        reply.additional = rrsets(additional)
    reply.authority = rrsets(authority)
    reply.flags |= flags
    reply.set_rcode(dns.rcode.Rcode.make(rcode))
    return reply


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: ScriptedServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        self._server.asked.append(query)
        for wire in self._server.udp(query):
            self._transport.sendto(wire, addr)


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedServer]:
    """One scripted server."""
    async for server in _scripted():
        yield server


@pytest.fixture
async def second() -> AsyncIterator[ScriptedServer]:
    """Another one."""
    async for server in _scripted():
        yield server


async def _scripted() -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            length = int.from_bytes(await reader.readexactly(2), "big")
            query = dns.message.from_wire(await reader.readexactly(length))
            server.asked.append(query)
            for wire in server.tcp(query):
                writer.write(len(wire).to_bytes(2, "big") + wire)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    loop = asyncio.get_running_loop()
    tcp = await asyncio.start_server(converse, "127.0.0.1", 0)
    server.address = tcp.sockets[0].getsockname()
    udp, _ = await loop.create_datagram_endpoint(lambda: _Udp(server), local_addr=server.address)
    yield server
    udp.close()
    tcp.close()
    await tcp.wait_closed()


PATIENCE = 30.0  # seconds until a test gives up; nothing waits for it to pass


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Wait for what others do in their own time."""

    async def holds(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - conditions are other tasks' plain values
                await asyncio.sleep(0.001)

    return holds
