"""Sessions on loopback, with members that fail on demand."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import struct
import time
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from cluster.members import Endpoint, Member, Role
from cluster.topology import Trust
from router.sessions import Phase
from router.splice import HELD_BYTES, WRITE_HIGH_WATER
from router.words import Destination, Protocol
from tests.router.conftest import Run
from tests.router.fakes import Cluster, Handler, echo, listening, member, route, until

P, S = Role.PRIMARY, Role.SECONDARY
NOWHERE = Member("gone", Endpoint("127.0.0.1", 1), Endpoint("127.0.0.1", 1))  # nobody listens on port 1


class Clients(AsyncExitStack):
    """Connections that are gone when the test is."""

    async def connect(self, endpoint: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        self.callback(lambda: writer.transport.abort())  # holds the writer, too
        return reader, writer


def error_of(packet: bytes) -> tuple[int, bytes, str]:
    """Code, SQL state and message of a classic ERR packet that stands alone."""
    assert int.from_bytes(packet[:3], "little") == len(packet) - 4, "the length does not match"
    assert packet[3] == 0, "the first packet has sequence number 0"
    assert packet[4] == 0xFF
    return int.from_bytes(packet[5:7], "little"), packet[7:13], packet[13:].decode()


def test_bytes_cross_both_ways_and_a_half_close_passes_on(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, member() as one, listening(cluster, route()) as listener:
            cluster.set((one, P))
            reader, writer = await clients.connect(listener.endpoint)
            writer.write(b"world")
            assert await reader.readexactly(6) == b"hello "
            writer.write_eof()
            assert await reader.read() == b"world", "what the member sends after our half-close still arrives"
            writer.close()
            await until(lambda: not listener.port.sessions, "the session is accounted for")
            assert listener.port.tally.bytes_in == 5
            assert listener.port.tally.bytes_out == 11

    run(scenario())


def test_a_session_parks_until_there_is_a_primary(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, member() as one, listening(cluster, route()) as listener:
            reader, _writer = await clients.connect(listener.endpoint)
            await until(lambda: listener.port.parked_now == 1, "it is parked")
            cluster.set((one, P))
            assert await reader.readexactly(6) == b"hello "
            assert listener.port.parked_now == 0
            assert listener.port.tally.parked == 1

    run(scenario())


def test_a_parked_session_is_answered_within_its_deadline(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, listening(cluster, route(parking_timeout=0.2)) as listener:
            began = time.monotonic()
            reader, writer = await clients.connect(listener.endpoint)
            code, state, message = error_of(await reader.read())
            assert (code, state) == (2003, b"#HY000")
            assert "test" in message
            assert 0.2 <= time.monotonic() - began < 2
            writer.close()
            await until(lambda: not listener.port.sessions, "the session is accounted for")

    run(scenario())


def test_a_client_that_leaves_before_it_has_a_member_is_counted_as_such(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, listening(cluster, route(parking_limit=1)) as listener:
            tally = listener.port.tally
            _, writer = await clients.connect(listener.endpoint)
            await until(lambda: listener.port.parked_now == 1, "it is parked")
            refused, other = await clients.connect(listener.endpoint)
            error_of(await refused.read())
            other.close()
            writer.close()
            await until(lambda: not listener.port.sessions, "both are accounted for")
            assert (tally.started, tally.abandoned, tally.refused, tally.joined) == (2, 1, {1040: 1}, {})

    run(scenario())


def test_an_x_client_gets_an_x_error_though_it_speaks_first(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with (
            Clients() as clients,
            listening(cluster, route(protocol=Protocol.X, parking_timeout=0.2)) as listener,
        ):
            reader, writer = await clients.connect(listener.endpoint)
            writer.write(b"\x01\x00\x00\x00\x01")  # CapabilitiesGet
            frame = await reader.read()
            assert int.from_bytes(frame[:4], "little") == len(frame) - 4
            assert frame[4] == 1, "the type is Error"
            assert b"HY000" in frame
            writer.close()

    run(scenario())


def test_parking_is_bounded(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, listening(cluster, route(parking_limit=1)) as listener:
            _, first = await clients.connect(listener.endpoint)
            await until(lambda: listener.port.parked_now == 1, "the first is parked")
            reader, _second = await clients.connect(listener.endpoint)
            assert error_of(await reader.read())[0] == 1040
            first.close()
            await until(lambda: listener.port.parked_now == 0, "a client that leaves makes room")

    run(scenario())


def test_what_an_early_client_sends_is_held_bounded_and_not_lost(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        payload = os.urandom(8 << 20)
        async with Clients() as clients, member() as one, listening(cluster, route(protocol=Protocol.X)) as listener:
            reader, writer = await clients.connect(listener.endpoint)
            writer.write(payload)
            await until(lambda: listener.port.parked_now == 1, "it is parked")
            [session] = listener.port.sessions.values()
            await until(lambda: len(session.client.held) > HELD_BYTES, "early bytes are held")
            held = len(session.client.held)
            await asyncio.sleep(0)
            assert held <= HELD_BYTES + 256 * 1024, "one read beyond the bound at most"
            cluster.set((one, P))
            received = await reader.readexactly(6 + len(payload))
            assert hashlib.sha256(received[6:]).digest() == hashlib.sha256(payload).digest()
            writer.close()

    run(scenario())


def test_a_demoted_members_sessions_are_cut_at_once_on_a_primary_route(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, member("a") as a, member("b") as b, listening(cluster, route()) as listener:
            cluster.set((a, P), (b, S))
            reader, _ = await clients.connect(listener.endpoint)
            assert await reader.readexactly(6) == b"hello "
            cluster.set((a, S), (b, P))
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1)
            assert listener.port.tally.cut == 1
            reader, writer = await clients.connect(listener.endpoint)
            await reader.readexactly(6)
            assert listener.port.tally.joined == {"a": 1, "b": 1}
            writer.close()

    run(scenario())


def test_a_promoted_members_readers_stay_and_a_lost_ones_are_cut(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, member("a") as a, listening(cluster, route(Destination.SECONDARY)) as listener:
            cluster.set((a, S))
            reader, writer = await clients.connect(listener.endpoint)
            await reader.readexactly(6)
            cluster.set((a, P))
            writer.write(b"still here")
            assert await reader.readexactly(10) == b"still here"
            cluster.set((a, P), trust=Trust.BLIND)
            writer.write(b"still here")
            assert await reader.readexactly(10) == b"still here"
            cluster.set((a, None))
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1)

    run(scenario())


def test_a_promoted_members_readers_are_cut_where_the_route_says_so(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        wary = replace(route(Destination.SECONDARY, fallback_to_primary=True), leaves_promoted=True)
        async with Clients() as clients, member("a") as a, listening(cluster, wary) as listener:
            cluster.set((a, P))
            reader, writer = await clients.connect(listener.endpoint)
            await reader.readexactly(6)
            for role in (P, S):  # a primary that stood in for the readers was not promoted
                cluster.set((a, role))
                writer.write(b"still here")
                assert await reader.readexactly(10) == b"still here"
            cluster.set((a, P))
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1)
            assert listener.port.tally.cut == 1

    run(scenario())


def test_losing_the_majority_cuts_writers(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, member("a") as a, listening(cluster, route()) as listener:
            cluster.set((a, P))
            reader, _ = await clients.connect(listener.endpoint)
            await reader.readexactly(6)
            cluster.set((a, None), trust=Trust.NO_QUORUM)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1)

    run(scenario())


def test_readers_spread_and_skip_a_member_that_refuses(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with (
            Clients() as clients,
            member("a") as a,
            member("b") as b,
            listening(cluster, route(Destination.SECONDARY)) as listener,
        ):
            cluster.set((a, S), (b, S), (NOWHERE, S))
            told: list[Member] = []
            listener.port.on_dial_failure = told.append
            for _ in range(6):
                reader, writer = await clients.connect(listener.endpoint)
                await reader.readexactly(6)
                writer.close()
            assert set(listener.port.tally.joined) == {"a", "b"}
            assert min(listener.port.tally.joined.values()) >= 2
            assert listener.port.tally.dial_failures == {"gone": 1}, "then it is in quarantine"
            assert told == [NOWHERE]

    run(scenario())


def test_readers_fall_back_to_the_primary_only_if_the_route_says_so(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        falling = route(Destination.SECONDARY, fallback_to_primary=True)
        strict = route(Destination.SECONDARY, parking_timeout=0.1)
        async with (
            Clients() as clients,
            member("a") as a,
            listening(cluster, falling) as one,
            listening(cluster, strict) as other,
        ):
            cluster.set((a, P))
            reader, _ = await clients.connect(one.endpoint)
            assert await reader.readexactly(6) == b"hello "
            reader, _ = await clients.connect(other.endpoint)
            assert error_of(await reader.read())[0] == 2003

    run(scenario())


def test_a_dead_primary_is_tried_again_until_a_new_one_comes(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, member("b") as b, listening(cluster, route()) as listener:
            cluster.set((NOWHERE, P), (b, S))
            reader, _ = await clients.connect(listener.endpoint)
            await until(lambda: listener.port.tally.dial_failures.get("gone", 0) >= 2, "it is dialled again")
            cluster.set((NOWHERE, None), (b, P))
            assert await reader.readexactly(6) == b"hello "

    run(scenario())


def test_a_new_topology_ends_a_dial_that_hangs(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        with socket.socket() as full:  # a backlog of 0 that is used up: further connections hang in the handshake
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            address = full.getsockname()
            with socket.create_connection(address):
                hanging = Member("hanging", Endpoint(*address), None)
                async with (
                    Clients() as clients,
                    member("b") as b,
                    listening(cluster, route(connect_timeout=20.0, parking_timeout=25.0)) as listener,
                ):
                    cluster.set((hanging, P), (b, S))
                    reader, _ = await clients.connect(listener.endpoint)
                    await until(lambda: len(listener.port.sessions) == 1, "the session has begun")
                    [session] = listener.port.sessions.values()
                    await until(lambda: session.phase is Phase.CONNECTING, "it dials")
                    began = time.monotonic()
                    cluster.set((hanging, None), (b, P))
                    assert await reader.readexactly(6) == b"hello "
                    assert time.monotonic() - began < 5

    run(scenario())


def test_a_client_that_stops_reading_bounds_what_is_held(run: Run) -> None:
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536

    async def scenario() -> None:
        cluster = Cluster()
        async with member(handler=pour) as one, listening(cluster, route()) as listener:
            cluster.set((one, P))
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.setblocking(False)
                await asyncio.get_running_loop().sock_connect(client, (listener.endpoint.host, listener.endpoint.port))
                await until(lambda: sent > 0, "the member pours")
                last = -1
                while last != sent:  # until every buffer on the way is full
                    last = sent
                    await asyncio.sleep(0.2)
                [session] = listener.port.sessions.values()
                transport = session.client.transport
                assert transport is not None
                assert transport.get_write_buffer_size() <= WRITE_HIGH_WATER + 256 * 1024
                session.cut("the test ends")

    run(scenario())


def test_what_was_held_for_a_member_that_does_not_read_stays_bounded(run: Run) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(60)

    async def pour(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    async def scenario() -> None:
        cluster = Cluster()
        async with (
            Clients() as clients,
            member(handler=deaf) as one,
            listening(cluster, route(protocol=Protocol.X)) as listener,
        ):
            _, writer = await clients.connect(listener.endpoint)
            pouring = asyncio.create_task(pour(writer))
            await until(lambda: listener.port.parked_now == 1, "it is parked")
            [session] = listener.port.sessions.values()
            await until(lambda: len(session.client.held) > HELD_BYTES, "early bytes are held")
            cluster.set((one, P))
            await until(lambda: session.phase is Phase.JOINED, "it has a member")
            last = -1
            while last != session.bytes_in:  # until every buffer on the way is full
                last = session.bytes_in
                await asyncio.sleep(0.2)
            assert session.client.peer is not None
            transport = session.client.peer.transport
            assert transport is not None
            assert transport.get_write_buffer_size() <= WRITE_HIGH_WATER + HELD_BYTES + 2 * 256 * 1024
            pouring.cancel()

    run(scenario())


def test_topologies_that_come_faster_than_a_dial_can_be_ended_do_no_harm(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            with socket.create_connection(full.getsockname()):
                hanging = Member("hanging", Endpoint(*full.getsockname()), None)
                slow = route(connect_timeout=20.0, parking_timeout=25.0)
                async with Clients() as clients, member("b") as b, listening(cluster, slow) as listener:
                    cluster.set((hanging, P), (b, S))
                    reader, _ = await clients.connect(listener.endpoint)
                    await until(lambda: bool(listener.port.sessions), "it dials")
                    for _ in range(5):
                        cluster.set((hanging, None), (b, S))
                        await asyncio.sleep(0)
                    cluster.set((hanging, None), (b, P))
                    assert await reader.readexactly(6) == b"hello "
                    assert listener.port.tally.dial_failures == {}, "the member did not fail: nobody wanted it any more"

    run(scenario())


def test_a_member_that_dies_leaves_no_session_behind_even_where_the_client_never_reads(run: Run) -> None:
    async def burst(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(1 << 22))
        await reader.read(1)
        writer.transport.abort()

    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, member(handler=burst) as one, listening(cluster, route()) as listener:
            cluster.set((one, P))
            reader, writer = await clients.connect(listener.endpoint)
            writer.write(b"x")
            await reader.readexactly(1)
            writer.close()
            await until(lambda: not listener.port.sessions, "the session is accounted for")

    run(scenario())


@pytest.mark.parametrize("handler", [echo], ids=["echo"])
def test_a_reset_by_the_client_ends_the_members_side(run: Run, handler: Handler) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, member(handler=handler) as one, listening(cluster, route()) as listener:
            cluster.set((one, P))
            reader, writer = await clients.connect(listener.endpoint)
            await reader.readexactly(6)
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            await until(lambda: not listener.port.sessions, "the session is accounted for")

    run(scenario())


def test_many_sessions_keep_their_bytes_apart(run: Run) -> None:
    async def one_client(clients: Clients, endpoint: Endpoint, size: int) -> None:
        payload = os.urandom(size)
        reader, writer = await clients.connect(endpoint)
        await reader.readexactly(6)
        writer.write(payload)
        assert await reader.readexactly(size) == payload
        writer.close()

    async def scenario() -> None:
        cluster = Cluster()
        async with (
            Clients() as clients,
            member("a") as a,
            member("b") as b,
            listening(cluster, route(Destination.SECONDARY)) as listener,
        ):
            cluster.set((a, S), (b, S))
            async with asyncio.TaskGroup() as tasks:
                for n in range(100):
                    tasks.create_task(one_client(clients, listener.endpoint, 1 + n * 997))
            await until(lambda: not listener.port.sessions, "every session is accounted for")

    run(scenario())
