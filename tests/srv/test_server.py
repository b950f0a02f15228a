"""The server's sockets on loopback; dnspython and bare sockets are the clients."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest

from bench.peers.nameservers import free_address
from srv import datagrams, notification
from srv.allowance import Limits
from srv.answers import Reaction
from srv.desk import Desk
from srv.records import Kind, Rcode, RRset, SrvRecord
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
    tasks: list[asyncio.Task[Any]] = []

    async def started(host: str = "127.0.0.1", **settings: Any) -> Server:
        server = Server([(host, 0)], [zone], **settings)
        servers.append(server)
        await server.start()
        tasks.append(asyncio.create_task(server.run()))
        return server

    yield started
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
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
    server.publish(build_zone(DOMAIN, [ZoneMember("m9", ("192.0.2.9",), 3306, None)], serial=1))
    assert (await ask(server, f"m9.{DOMAIN}.", "A")).rcode() == dns.rcode.NOERROR


async def test_a_large_set_comes_over_tcp(start: Start) -> None:
    server = await start()
    members = [ZoneMember(f"member-{number:03d}", (f"192.0.2.{number}",), 3306, None) for number in range(1, 200)]
    server.publish(build_zone(DOMAIN, members, serial=1))
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

    monkeypatch.setattr(Desk, "answer", react)
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
    calls: list[int] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))

    def cut(*_: object, **__: object) -> Reaction:
        next(iter(server._tcp._open)).cut()
        calls.append(1)
        return Reaction(b"reply", Rcode.NOERROR)

    monkeypatch.setattr(Desk, "answer", cut)
    server = await start()
    reader, writer = await connect(server)
    writer.write(b"\x00\x0cAAAAAAAAAAAA" * 3)
    await ended(reader)
    writer.close()
    await until(lambda: server.connected == 0)
    assert faults == []
    assert len(calls) == 1


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
    answered: list[int] = []

    def large(*_: object, **__: object) -> Reaction:
        answered.append(1)
        return Reaction(bytes(60_000), Rcode.NOERROR)

    monkeypatch.setattr(Desk, "answer", large)
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
    await until(lambda: len(answered) > 10)
    reader, writer = await connect(server)
    writer.write(question)
    async with asyncio.timeout(PATIENCE):
        assert len(await reader.readexactly(60_002)) == 60_002
    writer.close()
    await until(lambda: server.counts["tcp idle"] >= 1)
    with pytest.raises(OSError):
        await flooding
    deaf.close()
    await until(lambda: server.connected == 0)


async def test_connections_are_bounded_and_the_longest_idle_makes_room(start: Start, until: Any) -> None:
    server = await start(connections=3)
    slow = [await connect(server) for _ in range(3)]
    await until(lambda: server.connected == 3)
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
        taken.bind(free_address())  # a port that only UDP has
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
    await until(lambda: server.connected == 1)
    await server.close()
    await ended(reader)
    writer.close()
    assert server.connected == 0
    socket.create_server(address).close()


def swarm(count: int, host: str) -> list[socket.socket]:
    """Sockets of one source, another than the one that asks honestly."""
    sockets = []
    for _ in range(count):
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        one.bind((host, 0))
        one.setblocking(False)
        sockets.append(one)
    return sockets


FLOODER = "127.0.0.2"  # a neighbour of the honest client


@pytest.fixture
def no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel keeps nothing away for as long as a test takes."""
    monkeypatch.setattr(datagrams, "REVIEW", 1000.0)


async def test_beyond_its_allowance_a_source_is_sent_to_tcp_or_not_answered(
    start: Start, until: Any, no_filter: None
) -> None:
    server = await start(limits=Limits(packets=0.001, packet_burst=10.0))
    query = dns.message.make_query(SERVICE, "SRV").to_wire()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooder:
        flooder.bind((FLOODER, 0))
        flooder.setblocking(False)
        for _ in range(50):
            flooder.sendto(query, server.addresses[0])
        await until(lambda: server.counts.total() == 50)
        assert server.counts == {"udp NOERROR": 10, "udp slipped": 20, "udp shed": 20}
        replies = [dns.message.from_wire(flooder.recv(4096)) for _ in range(30)]
    assert [bool(reply.flags & dns.flags.TC) for reply in replies] == [False] * 10 + [True] * 20
    assert (await ask(server)).answer  # another source
    host, port = server.addresses[0]
    over_tcp = await dns.asyncquery.tcp(
        dns.message.make_query(SERVICE, "SRV"), host, port=port, source=FLOODER, timeout=PATIENCE
    )
    assert over_tcp.answer


async def test_large_answers_are_not_sent_wherever_one_likes(start: Start, until: Any, no_filter: None) -> None:
    server = await start(limits=Limits(large=5.0))
    members = [ZoneMember(f"m{n}", (f"192.0.2.{n}", f"2001:db8::{n}"), 3306, 33060) for n in range(1, 10)]
    server.publish(build_zone(DOMAIN, members, serial=1))
    query = dns.message.make_query(SERVICE, "SRV", use_edns=0, payload=1232).to_wire()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooder:
        flooder.bind((FLOODER, 0))
        flooder.setblocking(False)
        for _ in range(50):
            flooder.sendto(query, server.addresses[0])
        await until(lambda: server.counts["udp NOERROR"] == 50)
        replies = [flooder.recv(4096) for _ in range(50)]
    large = [reply for reply in replies if len(reply) > Limits().large_factor * len(query)]
    assert 5 <= len(large) <= 10  # those a second later among them
    assert server.counts["udp too large"] == 50 - len(large)
    assert all(len(reply) <= len(query) and reply[2] & 2 for reply in replies if reply not in large)
    assert len((await ask(server)).answer[0]) == 9  # another source
    host, port = server.addresses[0]
    asked = dns.message.make_query(SERVICE, "SRV")
    over_tcp = await dns.asyncquery.tcp(asked, host, port=port, source=FLOODER, timeout=PATIENCE)
    assert len(over_tcp.answer[0]) == 9


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_zone_that_cannot_be_written_costs_nobody_else_an_answer(
    start: Start, tcp: bool, caplog: pytest.LogCaptureFixture
) -> None:
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    server = await start()
    broken = RRset("x.broken.test", Kind.SRV, 5, (SrvRecord(0, 70_000, 3306, "m1.broken.test"),))
    server.publish(replace(build_zone("broken.test", [], serial=1), rrsets=(broken,)))
    assert (await ask(server, "x.broken.test.", tcp=tcp)).rcode() == dns.rcode.SERVFAIL
    assert (await ask(server, tcp=tcp)).answer
    assert "bad-packet" not in caplog.text
    assert caplog.text.count("cannot-answer") == 1
    assert faults == []


async def test_junk_beyond_the_allowance_is_not_answered(start: Start, until: Any, no_filter: None) -> None:
    server = await start(limits=Limits(packets=0.001, packet_burst=1.0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooder:
        flooder.bind((FLOODER, 0))
        for _ in range(50):
            flooder.sendto(b"\0" * 20, server.addresses[0])
        await until(lambda: server.counts.total() == 50)
    assert server.counts == {"udp FORMERR": 1, "udp shed": 49}


async def test_a_source_has_so_many_connections_and_the_others_keep_theirs(start: Start, until: Any) -> None:
    server = await start(limits=Limits(connections_open=3), connections=5)
    honest = [await connect(server) for _ in range(2)]
    await until(lambda: server.connected == 2)
    flood = swarm(20, FLOODER)
    loop = asyncio.get_running_loop()
    for one in flood:
        with contextlib.suppress(ConnectionError):
            await loop.sock_connect(one, server.addresses[0])
    await until(lambda: server.counts["tcp crowded out"] == 17)
    assert server.connected == 5
    query = dns.message.make_query(SERVICE, "SRV").to_wire()
    for reader, writer in honest:
        writer.write(len(query).to_bytes(2, "big") + query)
        assert await reader.readexactly(2)
        writer.close()
    for one in flood:
        one.close()


async def test_new_connections_are_paced(start: Start, until: Any) -> None:
    server = await start(limits=Limits(connections=5.0))
    flood = swarm(30, FLOODER)
    loop = asyncio.get_running_loop()
    for one in flood:
        with contextlib.suppress(ConnectionError):
            await loop.sock_connect(one, server.addresses[0])
    await until(lambda: server.counts["tcp shed"] >= 20)
    assert (await ask(server, tcp=True)).answer
    for one in flood:
        one.close()


async def test_queries_over_tcp_are_paced_and_all_answered(start: Start) -> None:
    server = await start(limits=Limits(queries=50.0))
    reader, writer = await connect(server)
    query = dns.message.make_query(SERVICE, "SRV").to_wire()
    loop = asyncio.get_running_loop()
    began = loop.time()
    writer.write((len(query).to_bytes(2, "big") + query) * 60)
    for _ in range(60):
        await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    assert loop.time() - began > 0.15  # 50 at once and then one each 20 ms
    assert server.counts["tcp slowed"] >= 8
    writer.close()


async def test_closing_does_not_wait_for_a_query_whose_turn_has_not_come(start: Start, until: Any) -> None:
    server = await start(limits=Limits(queries=1 / PATIENCE))
    _, writer = await connect(server)
    query = dns.message.make_query(SERVICE, "SRV").to_wire()
    writer.write((len(query).to_bytes(2, "big") + query) * 3)
    await until(lambda: server.counts["tcp slowed"] == 1)
    async with asyncio.timeout(PATIENCE / 4):
        await server.close()
    writer.close()


async def test_secondaries_alone_get_the_zone_and_are_not_paced(start: Start) -> None:
    server = await start(transfer_to=["127.0.0.2/31"], limits=Limits(queries=1.0, connections=1.0))
    host, port = server.addresses[0]
    for _ in range(5):
        query = dns.message.make_query(f"{DOMAIN}.", "AXFR")
        reply = await dns.asyncquery.tcp(query, host, port=port, source=FLOODER, timeout=1.0, one_rr_per_rrset=True)
        assert len(reply.answer) > 20
    assert (await ask(server, f"{DOMAIN}.", "AXFR", tcp=True)).rcode() == dns.rcode.REFUSED
    with pytest.raises(ValueError, match="300"):
        Server([(host, port)], transfer_to=["300.0.0.1"])


class Secondary:
    """Hears NOTIFY, and answers as it is told."""

    def __init__(self) -> None:
        self.heard: list[dns.message.Message] = []
        self.answers = True
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((FLOODER, 0))
        self.sock.setblocking(False)
        asyncio.get_running_loop().add_reader(self.sock, self._hear)

    def _hear(self) -> None:
        wire, peer = self.sock.recvfrom(4096)
        message = dns.message.from_wire(wire)
        self.heard.append(message)
        if self.answers:
            self.sock.sendto(dns.message.make_response(message).to_wire(), peer)

    def serials(self) -> list[int]:
        return [message.answer[0][0].serial for message in self.heard]

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.sock)
        self.sock.close()


@pytest.fixture
async def secondary() -> AsyncIterator[Secondary]:
    one = Secondary()
    yield one
    one.close()


async def test_a_secondary_is_told_at_the_start_and_of_each_change(
    start: Start, until: Any, secondary: Secondary, zone: Zone
) -> None:
    server = await start(notify=[secondary.sock.getsockname()])
    await until(lambda: server.counts["notify acknowledged"] == 1)
    changed = build_zone(DOMAIN, [], serial=1).after(zone)
    server.publish(changed)
    await until(lambda: server.counts["notify acknowledged"] == 2)
    assert secondary.serials() == [7, 8]


async def test_a_secondary_that_does_not_answer_is_told_again(
    start: Start, until: Any, secondary: Secondary, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notification, "FIRST_RETRY", 0.002)
    secondary.answers = False
    with caplog.at_level(logging.WARNING, "fairlead.srv"):
        server = await start(notify=[secondary.sock.getsockname()])
        await until(lambda: server.counts["notify given up"] == 1)
    assert secondary.serials() == [7] * notification.TRIES
    assert f"notify-unanswered secondary={FLOODER}" in caplog.text


async def test_a_zone_that_is_withheld_is_not_told_of(
    start: Start, until: Any, secondary: Secondary, zone: Zone
) -> None:
    server = await start(notify=[secondary.sock.getsockname()])
    await until(lambda: server.counts["notify acknowledged"] == 1)
    withheld = build_zone(DOMAIN, [], serial=1, withhold_parts=True).after(zone)
    server.publish(withheld)
    known = build_zone(DOMAIN, [], serial=1).after(withheld)
    server.publish(known)
    await until(lambda: server.counts["notify acknowledged"] == 2)
    assert secondary.serials() == [7, 9]
