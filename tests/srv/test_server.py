"""The server's sockets on loopback; dnspython and bare sockets are the clients."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest

from srv import server as server_module
from srv.answers import Reaction
from srv.records import Rcode
from srv.server import ListenError, Server
from srv.zone import Zone, ZoneMember, build_zone

DOMAIN = "demo.fairlead.test"
SERVICE = f"_mysql._tcp.{DOMAIN}."
PATIENCE = 10.0  # seconds until a test gives up; nothing waits for it to pass

Start = Callable[..., Any]


@pytest.fixture
async def start(zone: Zone) -> AsyncIterator[Start]:
    """Starts servers of the zone and closes them."""
    servers: list[Server] = []

    async def started(host: str = "127.0.0.1", **settings: Any) -> Server:
        server = Server([(host, 0)], [zone], **settings)
        servers.append(server)
        await server.start()
        return server

    yield started
    for server in servers:
        await server.close()


async def ask(server: Server, name: str = SERVICE, kind: str = "SRV", *, tcp: bool = False) -> dns.message.Message:
    host, port = server.addresses[0]
    query = dns.message.make_query(name, kind, use_edns=0, payload=1232)
    asking = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await asking(query, host, port=port, timeout=PATIENCE)


async def connect(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*server.addresses[0])


async def ended(reader: asyncio.StreamReader) -> None:
    """Wait until the server has ended the connection, politely or not."""
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass


@pytest.mark.parametrize("tcp", [False, True])
async def test_answers(start: Start, tcp: bool) -> None:
    server = await start()
    reply = await ask(server, tcp=tcp)
    assert len(reply.answer[0]) == 3
    assert reply.flags & dns.flags.AA
    assert server.counts == {f"{'tcp' if tcp else 'udp'} NOERROR": 1}


async def test_ipv6(start: Start) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    server = await start("::1")
    assert len((await ask(server)).answer[0]) == 3
    assert len((await ask(server, tcp=True)).answer[0]) == 3


async def test_a_zone_swapped_in_is_answered_from_at_once(start: Start, zone: Zone) -> None:
    server = await start()
    assert (await ask(server, f"m9.{DOMAIN}.", "A")).rcode() == dns.rcode.NXDOMAIN
    server.zones = (build_zone(DOMAIN, [ZoneMember("m9", ("192.0.2.9",), 3306, None)], serial=1),)
    assert (await ask(server, f"m9.{DOMAIN}.", "A")).rcode() == dns.rcode.NOERROR


async def test_a_large_set_comes_over_tcp(start: Start) -> None:
    server = await start()
    members = [ZoneMember(f"member-{number:03d}", (f"192.0.2.{number}",), 3306, None) for number in range(1, 200)]
    server.zones = (build_zone(DOMAIN, members, serial=1),)
    assert (await ask(server)).flags & dns.flags.TC
    assert len((await ask(server, tcp=True)).answer[0]) == 199


async def test_one_tcp_connection_asks_many_times_and_piecemeal(start: Start) -> None:
    server = await start()
    reader, writer = await connect(server)
    query = dns.message.make_query(SERVICE, "SRV").to_wire()
    framed = len(query).to_bytes(2, "big") + query
    for octet in framed * 2:
        writer.write(bytes([octet]))
        await writer.drain()
    writer.write(framed * 3)
    for _ in range(5):
        length = int.from_bytes(await reader.readexactly(2), "big")
        assert dns.message.from_wire(await reader.readexactly(length)).answer
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_pipelines_takes_turns_with_the_others(
    start: Start, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, at = 0, []

    def react(*_: object, **__: object) -> Reaction:
        at.append(turns)
        return Reaction(b"reply", Rcode.NOERROR)

    monkeypatch.setattr(server_module, "react", react)
    server = await start()
    _, writer = await connect(server)
    writer.write(b"\x00\x0cAAAAAAAAAAAA" * 500)
    async with asyncio.timeout(PATIENCE):
        while len(at) < 500:
            turns += 1
            await asyncio.sleep(0)
    assert len(set(at)) == 500
    writer.close()


async def test_a_connection_that_was_cut_is_not_written_to(start: Start, until: Any, monkeypatch: Any) -> None:
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))

    def cut(*_: object, **__: object) -> Reaction:
        next(iter(server._open)).transport.abort()
        return Reaction(b"reply", Rcode.NOERROR)

    monkeypatch.setattr(server_module, "react", cut)
    server = await start()
    reader, writer = await connect(server)
    writer.write(b"\x00\x0cAAAAAAAAAAAA" * 3)
    await ended(reader)
    writer.close()
    await until(lambda: not server._open)
    assert faults == []
    assert server.counts.total() == 1


async def test_an_idle_connection_is_closed(start: Start, until: Any) -> None:
    server = await start(idle_timeout=0.05)
    reader, writer = await connect(server)
    writer.write(b"\x00")  # half a length: not a whole query
    await ended(reader)
    writer.close()
    await until(lambda: server.counts["tcp idle"] == 1)


async def test_a_client_that_does_not_read_is_cut_and_nobody_waits_for_it(
    start: Start, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "react", lambda *_, **__: Reaction(bytes(60_000), Rcode.NOERROR))
    server = await start(idle_timeout=0.2)
    deaf = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(deaf, server.addresses[0])
    question = b"\x00\x0cAAAAAAAAAAAA"

    async def flood() -> None:
        while True:
            await loop.sock_sendall(deaf, question * 100)

    flooding = asyncio.create_task(flood(), name="flood")
    await until(lambda: server.counts["tcp NOERROR"] > 10)
    reader, writer = await connect(server)
    writer.write(question)
    async with asyncio.timeout(PATIENCE):
        assert len(await reader.readexactly(60_002)) == 60_002
    writer.close()
    await until(lambda: server.counts["tcp idle"] >= 1)
    with pytest.raises(OSError):
        await flooding
    deaf.close()
    await until(lambda: not server._open)


async def test_connections_are_bounded_and_the_longest_idle_makes_room(start: Start, until: Any) -> None:
    server = await start(connections=3)
    slow = [await connect(server) for _ in range(3)]
    await until(lambda: len(server._open) == 3)
    query = dns.message.make_query(SERVICE, "SRV").to_wire()
    reader, writer = slow[0]  # the oldest, and the only one that asks
    writer.write(len(query).to_bytes(2, "big") + query)
    assert await reader.readexactly(2)
    assert (await ask(server, tcp=True)).answer
    assert server.counts["tcp crowded out"] == 1
    await ended(slow[1][0])
    for _, each in slow:
        each.close()


async def test_a_flood_of_junk_is_survived_and_logged_once(
    start: Start, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start()
    with caplog.at_level(logging.WARNING, "fairlead.srv"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        for number in range(200):
            peer.sendto(number.to_bytes(2, "big") + bytes(number), server.addresses[0])
        assert (await ask(server)).answer
        await until(lambda: server.counts.total() == 201)
    complaints = [record.getMessage() for record in caplog.records if "bad-packet" in record.getMessage()]
    assert len(complaints) == 1
    assert "peer=127.0.0.1 port=" in complaints[0]


async def test_junk_over_tcp_ends_the_connection(start: Start) -> None:
    server = await start()
    reader, writer = await connect(server)
    writer.write(b"\x00\x05HELLO")
    await ended(reader)
    writer.close()
    assert server.counts["tcp dropped"] == 1


async def test_a_port_in_use_is_refused_by_name(start: Start, zone: Zone) -> None:
    server = await start()
    other = Server(server.addresses, [zone])
    with pytest.raises(ListenError, match=f"127.0.0.1 port {server.addresses[0][1]} over TCP: another process has it"):
        await other.start()


async def test_a_udp_port_in_use_is_refused_and_nothing_kept(zone: Zone) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = taken.getsockname()
        other = Server([("127.0.0.1", 0), address], [zone])
        with pytest.raises(ListenError, match="over UDP"):
            await other.start()
        assert other.addresses == ()
        with socket.create_server(address):
            pass  # the TCP port is free again


async def test_an_address_that_is_not_ours_is_refused_by_name(zone: Zone) -> None:
    with pytest.raises(ListenError, match=r"192\.0\.2\.1 port 5353 over TCP: this machine has no such address"):
        await Server([("192.0.2.1", 5353)], [zone]).start()


async def test_closing_ends_connections_and_frees_the_port(start: Start, until: Any) -> None:
    server = await start()
    address = server.addresses[0]
    reader, writer = await connect(server)
    await until(lambda: len(server._open) == 1)
    await server.close()
    await ended(reader)
    writer.close()
    assert not server._open
    socket.create_server(address).close()
