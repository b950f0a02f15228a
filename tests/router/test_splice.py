"""The relay keeps every byte, in its order and in its session, whatever its ends do."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import random
import socket
from contextlib import suppress

import pytest

from cluster.members import Endpoint, Member, Role
from router.listening import USUAL
from router.sessions import Phase, Session
from router.splice import HELD_BYTES, READ_BYTES, WRITE_HIGH_WATER, End
from router.words import Protocol
from tests.router.conftest import Run
from tests.router.fakes import route, until
from tests.router.wires import (
    SMALL,
    Wire,
    descriptors,
    ended,
    need_descriptors,
    noise,
    receive,
    reset,
    send,
    wires,
)

SIDES = ("client", "member")
LIMITS = (HELD_BYTES, WRITE_HIGH_WATER, READ_BYTES, READ_BYTES + WRITE_HIGH_WATER)
BOUNDARIES = sorted({n + by for n in (*LIMITS, *(1 << k for k in range(21))) for by in (-1, 0, 1)})
"""Sizes in bytes around every limit of the relay, and around every power of two up to 1 MiB."""
UNSENT = WRITE_HIGH_WATER + READ_BYTES
"""Bytes that the relay may hold for one end at most."""


def write_buffers(session: Session) -> list[int]:
    """Bytes that the router holds for the client and for the member."""
    ends = (session.client, session.client.peer)
    return [end.transport.get_write_buffer_size() if end is not None and end.transport else 0 for end in ends]


def living() -> list[object]:
    """Sessions and ends that are in memory still."""
    return [one for one in gc.get_objects() if isinstance(one, Session | End)]


def test_random_streams_both_ways_at_once_arrive_as_they_were_sent(run: Run) -> None:
    size = 8 << 20

    async def stream(source: socket.socket, sink: socket.socket, seed: str) -> None:
        sent, pieces = noise(size, seed), random.Random(seed)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send(source, sent, pieces))
            got = tasks.create_task(receive(sink, size))
        assert hashlib.sha256(got.result()).digest() == hashlib.sha256(sent).digest(), f"the bytes {seed} differ"

    async def scenario() -> None:
        async with wires() as made:
            wire = await made.open()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(stream(wire.client, wire.member, "in"))
                tasks.create_task(stream(wire.member, wire.client, "out"))
            assert (wire.session.bytes_in, wire.session.bytes_out) == (size, size)

    run(scenario())


@pytest.mark.parametrize("side", SIDES)
def test_every_size_around_a_boundary_arrives_whole(run: Run, side: str) -> None:
    async def scenario() -> None:
        async with wires() as made:
            wire = await made.open()
            source, sink = wire.ends(side)
            for size in BOUNDARIES:
                sent = noise(size, size)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(send(source, sent))
                    got = tasks.create_task(receive(sink, size))
                assert got.result() == sent, f"{size} bytes"

    run(scenario())


@pytest.mark.parametrize("size", [0, 1, 2, HELD_BYTES - 1, HELD_BYTES, HELD_BYTES + 1, READ_BYTES, 4 * READ_BYTES + 1])
@pytest.mark.parametrize("more", [0, 1, READ_BYTES])
def test_what_a_client_sends_before_it_has_a_member_comes_first(run: Run, size: int, more: int) -> None:
    sent = noise(size + more, "early")

    async def scenario() -> None:
        async with wires(route(protocol=Protocol.X), offered=False) as made:
            client = await made.connect()
            await until(lambda: made.port.parked_now == 1, "it is parked")
            [session] = made.port.sessions.values()
            async with asyncio.TaskGroup() as tasks:
                early = tasks.create_task(send(client, sent[:size]))
                held = min(size, HELD_BYTES + 1)
                await until(lambda: len(session.client.held) >= held, "early bytes are held")
                assert len(session.client.held) <= HELD_BYTES + READ_BYTES
                made.offer()
                member = await made.take()
                got = tasks.create_task(receive(member, size + more))
                await early
                tasks.create_task(send(client, sent[size:]))
            assert got.result() == sent
            await send(member, b"and back")
            assert await receive(client, 8) == b"and back"
            assert not session.client.held, "what was held is let go"

    run(scenario())


@pytest.mark.parametrize("side", SIDES)
def test_a_slow_reader_gets_what_a_fast_writer_sent(run: Run, side: str) -> None:
    size = 2 << 20

    async def scenario() -> None:
        async with wires() as made:
            wire = await made.open(SMALL)
            source, sink = wire.ends(side)
            sent = noise(size, side)
            writing = asyncio.create_task(send(source, sent))
            await until(lambda: max(write_buffers(wire.session)) > 0, "the reader is slow")
            steps, got = random.Random(side), bytearray()
            while len(got) < size:
                got += await receive(sink, min(steps.choice((1, 7, 1000, 4096, 65536)), size - len(got)))
                assert max(write_buffers(wire.session)) <= UNSENT
                await asyncio.sleep(0)
            assert bytes(got) == sent
            await writing

    run(scenario())


def test_slow_readers_that_share_a_loop_get_their_own_bytes_alone(run: Run) -> None:
    """What could not be sent at once must not change when another session is read."""
    size, count = 1 << 20, 4

    async def scenario() -> None:
        async with wires() as made:
            opened = [await made.open(SMALL) for _ in range(count)]
            pairs = [wire.ends(side) for wire in opened for side in SIDES]
            texts = [noise(size, n) for n in range(len(pairs))]
            async with asyncio.TaskGroup() as tasks:
                for (source, _), sent in zip(pairs, texts, strict=True):
                    tasks.create_task(send(source, sent))
                await until(
                    lambda: all(min(write_buffers(wire.session)) > 0 for wire in opened), "all readers are slow"
                )
                steps, got = random.Random(count), [bytearray() for _ in pairs]
                while any(len(one) < size for one in got):
                    for (_, sink), one in zip(pairs, got, strict=True):
                        one += await receive(sink, min(steps.randint(1, 30_000), size - len(one)))
            for n, (one, sent) in enumerate(zip(got, texts, strict=True)):
                assert bytes(one) == sent, f"stream {n} is not its own"

    run(scenario())


def test_a_thousand_sessions_at_once_have_no_byte_of_one_another(run: Run) -> None:
    count, rounds = 1000, 3
    need_descriptors(4 * count + 200)

    async def talk(wire: Wire, n: int) -> None:
        for turn in range(rounds):
            for side in SIDES:
                source, sink = wire.ends(side)
                sent = noise(1 + (n * 37 + turn * 4099) % 20_000, (n, turn, side))
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(send(source, sent))
                    got = tasks.create_task(receive(sink, len(sent)))
                assert got.result() == sent, f"session {n}, {side}, turn {turn}"

    async def scenario() -> None:
        async with wires() as made:
            opened = [await made.open() for _ in range(count)]
            async with asyncio.TaskGroup() as tasks:
                for n, wire in enumerate(opened):
                    tasks.create_task(talk(wire, n))

    run(scenario())


@pytest.mark.parametrize("first", SIDES)
@pytest.mark.parametrize("size", [0, 1, READ_BYTES + 1, 1 << 20])
def test_a_half_close_comes_after_the_last_byte_and_leaves_the_other_way_open(run: Run, first: str, size: int) -> None:
    async def scenario() -> None:
        async with wires() as made:
            wire = await made.open(SMALL)
            source, sink = wire.ends(first)
            sent, answer = noise(size, "there"), noise(size, "back")
            writing = asyncio.create_task(send(source, sent))
            writing.add_done_callback(lambda _: source.shutdown(socket.SHUT_WR))
            assert await receive(sink, size + 1) == sent, "all of it, then the end"
            back = asyncio.create_task(send(sink, answer))
            assert await receive(source, size) == answer, "the other way is open still"
            await back
            assert wire.session.id in made.port.sessions
            sink.shutdown(socket.SHUT_WR)
            assert await ended(source)
            await until(lambda: not made.port.sessions, "the session is accounted for")
            assert made.port.tally.bytes_in == made.port.tally.bytes_out == size

    run(scenario())


def test_both_ends_may_half_close_at_the_same_moment(run: Run) -> None:
    async def scenario() -> None:
        async with wires() as made:
            for _ in range(50):
                wire = await made.open()
                await asyncio.gather(send(wire.client, b"in"), send(wire.member, b"out"))
                wire.client.shutdown(socket.SHUT_WR)
                wire.member.shutdown(socket.SHUT_WR)
                assert await receive(wire.member, 3) == b"in"
                assert await receive(wire.client, 4) == b"out"
            await until(lambda: not made.port.sessions, "every session is accounted for")

    run(scenario())


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("stalled", [False, True], ids=["idle", "mid-stream"])
def test_a_reset_of_one_end_ends_the_other(run: Run, side: str, stalled: bool) -> None:
    async def scenario() -> None:
        async with wires() as made:
            wire = await made.open(SMALL)
            breaker, other = wire.ends(side)
            pouring = [
                asyncio.create_task(send(sock, bytes(4 << 20))) for sock in (wire.client, wire.member) if stalled
            ]
            if stalled:
                await until(lambda: min(write_buffers(wire.session)) > 0, "both ways are full")
                for task in pouring:
                    task.cancel()
                await asyncio.gather(*pouring, return_exceptions=True)
            reset(breaker)
            await ended(other)
            other.close()
            await until(lambda: not made.port.sessions, "the session is accounted for")

    run(scenario())


def test_a_client_that_resets_while_it_is_parked_is_gone_at_once(run: Run) -> None:
    async def scenario() -> None:
        async with wires(offered=False) as made:
            client = await made.connect()
            await until(lambda: made.port.parked_now == 1, "it is parked")
            reset(client)
            await until(lambda: not made.port.sessions and not made.port.parked_now, "the session is accounted for")

    run(scenario())


def test_a_client_that_resets_while_its_member_is_dialled_is_gone_at_once(run: Run) -> None:
    async def scenario() -> None:
        with socket.socket() as full:  # a backlog of 0 that is used up: further connections hang in the handshake
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            with socket.create_connection(full.getsockname()):
                hanging = Member("hanging", Endpoint(*full.getsockname()), None)
                async with wires(route(connect_timeout=20.0, parking_timeout=25.0), offered=False) as made:
                    made.cluster.set((hanging, Role.PRIMARY))
                    before = descriptors()
                    client = await made.connect()
                    await until(lambda: descriptors() == before + 3, "it is dialled")
                    reset(client)
                    await until(lambda: not made.port.sessions, "the session is accounted for")
                    await until(lambda: descriptors() == before, "both sockets are closed")

    run(scenario())


def test_a_member_that_resets_at_once_is_no_harm(run: Run) -> None:
    async def scenario() -> None:
        async with wires() as made:
            for _ in range(50):
                client = await made.connect()
                reset(await made.take())
                await ended(client)
                client.close()
            await until(lambda: not made.port.sessions, "every session is accounted for")

    run(scenario())


@pytest.mark.parametrize("side", SIDES)
def test_a_reset_during_linger_ends_the_session(run: Run, side: str) -> None:
    async def scenario() -> None:
        async with wires() as made:
            wire = await made.open(SMALL)
            pouring = asyncio.create_task(send(wire.member, bytes(8 << 20)))
            await until(lambda: write_buffers(wire.session)[0] > 0, "the client is slow")
            pouring.cancel()
            await asyncio.gather(pouring, return_exceptions=True)
            wire.member.shutdown(socket.SHUT_WR)
            # The member's end is read once there is room; then what is left has LINGER seconds to reach the client.
            while wire.session.client._linger is None:
                await receive(wire.client, SMALL)
            assert wire.session.id in made.port.sessions
            reset(wire.client if side == "client" else wire.member)
            if side == "member":
                await ended(wire.client)
                wire.client.close()
            await until(lambda: not made.port.sessions, "the session is accounted for")

    run(scenario())


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("how", ["reset", "end"])
def test_what_came_before_an_end_still_arrives(run: Run, side: str, how: str) -> None:
    async def scenario() -> None:
        async with wires() as made:
            wire = await made.open(SMALL)
            source, sink = wire.ends(side)
            sent = noise(WRITE_HIGH_WATER, how)  # so much is read whether or not the sink takes it
            await send(source, sent)
            await until(lambda: wire.session.bytes_in + wire.session.bytes_out == len(sent), "the router has it all")
            assert max(write_buffers(wire.session)) > 0, "and could not pass it on"
            if how == "reset":
                reset(source)
            else:
                source.close()
            assert await receive(sink, len(sent) + 1) == sent
            sink.close()
            await until(lambda: not made.port.sessions, "the session is accounted for")

    run(scenario())


@pytest.mark.parametrize("side", SIDES)
def test_a_reader_that_stops_for_ever_is_given_up_once_the_other_end_is_gone(
    run: Run, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(End.linger, "__defaults__", (0.3,))

    async def scenario() -> None:
        async with wires() as made:
            wire = await made.open(SMALL)
            source, sink = wire.ends(side)
            await send(source, bytes(WRITE_HIGH_WATER))
            await until(lambda: max(write_buffers(wire.session)) > 0, "the reader has stopped")
            reset(source)
            await until(lambda: not made.port.sessions, "the session is accounted for")
            assert not await ended(sink), "it was reset, for not all had arrived"

    run(scenario())


@pytest.mark.parametrize("side", SIDES)
def test_a_reader_that_stops_for_ever_bounds_what_is_held_for_it(run: Run, side: str) -> None:
    async def scenario() -> None:
        async with wires() as made:
            wire = await made.open(SMALL)
            source, _ = wire.ends(side)
            pouring = asyncio.create_task(send(source, bytes(64 << 20)))
            session, last, still = wire.session, -1, 0
            while still < 20:  # until every buffer on the way is full
                taken = session.bytes_in + session.bytes_out
                still, last = (still + 1, last) if taken == last else (0, taken)
                assert sum(write_buffers(session)) <= UNSENT
                await asyncio.sleep(0.01)
            assert sum(write_buffers(session)) > WRITE_HIGH_WATER, "the reader did stop"
            pouring.cancel()
            with suppress(asyncio.CancelledError):
                await pouring

    run(scenario())


def test_an_ended_session_is_freed_without_the_collector(run: Run) -> None:
    """Cycles would wait for a collection, and one among thousands of sessions stops the loop for milliseconds."""

    async def scenario() -> None:
        async with wires() as made:
            for how in (socket.socket.close, reset):
                wire = await made.open()
                await send(wire.member, b"hello")
                assert await receive(wire.client, 5) == b"hello"
                how(wire.client)
                wire.member.close()
                del wire
                await until(lambda: not made.port.sessions, "the session is accounted for")
                await until(lambda: not living(), "it is freed")

    gc.collect()
    gc.disable()
    try:
        run(scenario())
    finally:
        gc.enable()


@pytest.mark.parametrize("side", SIDES)
def test_bytes_that_come_after_the_end_go_nowhere(run: Run, side: str) -> None:
    async def scenario() -> None:
        async with wires() as made:
            wire = await made.open()
            peer = wire.session.client.peer
            assert peer is not None
            gone, other = (wire.session.client, peer) if side == "client" else (peer, wire.session.client)
            gone.abort()
            other.data_received(b"late")  # read in the same turn of the loop, before anybody heard of the end
            await until(lambda: gone.transport is None, "its transport is closed")
            other.data_received(b"later")
            for end in (gone, other):
                end.close()
                end.abort()
                end.linger()
            source, sink = wire.ends(side)
            assert await receive(sink, 1) == b""
            await ended(source)
            await until(lambda: not made.port.sessions, "the session is accounted for")

    run(scenario())


def test_both_ends_send_at_once_and_are_asked_whether_they_live(run: Run) -> None:
    options = {
        (socket.IPPROTO_TCP, socket.TCP_NODELAY): 1,
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): USUAL.keepalive_idle,
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT): USUAL.tcp_user_timeout * 1000,
    }

    async def scenario() -> None:
        async with wires() as made:
            wire = await made.open()
            wire.session.settle()  # as the sweep does after the handshake
            for end in (wire.session.client, wire.session.client.peer):
                assert end is not None
                assert end.transport is not None
                sock = end.transport.get_extra_info("socket")
                assert {option: sock.getsockopt(*option) for option in options} == options
            await send(wire.client, b"alive")
            assert await receive(wire.member, 5) == b"alive", "its descriptor is still its own"

    run(scenario())


def test_what_a_refused_client_says_is_dropped(run: Run) -> None:
    async def scenario() -> None:
        async with wires(route(protocol=Protocol.X, parking_timeout=0.1), offered=False) as made:
            client = await made.connect()
            await until(lambda: bool(made.port.sessions), "the session has begun")
            [session] = made.port.sessions.values()
            await until(lambda: session.phase is Phase.ENDED, "it is refused")
            for _ in range(100):
                with suppress(ConnectionError):
                    await send(client, bytes(1000))
                assert len(session.client.held) <= HELD_BYTES + READ_BYTES
            await ended(client)
            await until(lambda: not made.port.sessions, "the session is accounted for")

    run(scenario())


def test_two_thousand_short_connections_leave_nothing_behind(run: Run) -> None:
    count, at_once = 2000, 20
    before = 0

    async def serve(server: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            member, _ = await loop.sock_accept(server)
            await loop.sock_sendall(member, b"hello")
            member.close()

    async def visit(made_connect: object, numbers: list[int]) -> None:
        while numbers:
            numbers.pop()
            client = await made_connect()  # type: ignore[operator]
            assert await receive(client, 6) == b"hello"
            client.close()

    async def scenario() -> None:
        nonlocal before
        async with wires() as made:
            serving = asyncio.create_task(serve(made.server))
            before, numbers = descriptors(), list(range(count))
            async with asyncio.TaskGroup() as tasks:
                for _ in range(at_once):
                    tasks.create_task(visit(made.connect, numbers))
            await until(lambda: not made.port.sessions, "every session is accounted for")
            await until(lambda: descriptors() == before, "every socket is closed")
            assert made.port.tally.started == count
            assert made.port.tally.bytes_out == 5 * count
            serving.cancel()

    run(scenario())
