"""Connections of a listener: how many there may be, which one goes, and that none stays which says nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import pytest

from cluster.members import Endpoint
from router import admin_connections
from router.admin_connections import CONNECTIONS, Connections, most_connections
from router.listening import open_socket
from tests.router.conftest import Run
from tests.router.fakes import until
from tests.router.test_admin import certificate

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Speaker(asyncio.Protocol):
    """Answers each byte."""

    transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None

    def data_received(self, data: bytes) -> None:
        assert self.transport
        self.transport.write(data)


class Listener:
    def __init__(self, most: int, context: ssl.SSLContext | None) -> None:
        self.speakers: list[Speaker] = []
        sock = open_socket(Endpoint("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        self.connections = Connections(sock, self._make, context, most)

    def _make(self) -> Speaker:
        self.speakers.append(Speaker())
        return self.speakers[-1]

    async def connect(self) -> Client:
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def listening(most: int = 3, context: ssl.SSLContext | None = None) -> AsyncIterator[Listener]:
    listener = Listener(most, context)
    task = asyncio.create_task(listener.connections.serve())
    try:
        yield listener
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        for speaker in listener.speakers:
            if speaker.transport is not None:
                speaker.transport.abort()
        await until(lambda: not listener.connections.count, "all are gone")


async def answers(client: Client) -> bool:
    reader, writer = client
    try:
        async with asyncio.timeout(5):
            writer.write(b"x")
            return await reader.read(1) == b"x"
    except ConnectionError:
        return False


def close(clients: list[Client]) -> None:
    for _, writer in clients:
        writer.close()


def test_the_longest_silent_one_goes(run: Run) -> None:
    async def scenario() -> None:
        async with listening(most=3) as listener:
            clients = [await listener.connect() for _ in range(3)]
            assert [await answers(one) for one in clients] == [True] * 3
            with listener.connections.asked(listener.speakers[0]):
                clients.append(await listener.connect())
                assert [await answers(one) for one in clients] == [True, False, True, True]
                assert listener.connections.count == 3
            with listener.connections.asked(listener.speakers[2]):
                pass  # was asked something just now, so another is the longest silent one
            clients.append(await listener.connect())
            assert [await answers(clients[at]) for at in (0, 2, 4)] in ([True] * 3, [False, True, True])
            close(clients)

    run(scenario())


def test_where_all_are_at_work_the_new_one_is_refused(run: Run) -> None:
    async def scenario() -> None:
        async with listening(most=1) as listener:
            first = await listener.connect()
            assert await answers(first)
            with listener.connections.asked(listener.speakers[0]):
                second = await listener.connect()
                assert not await answers(second)
                assert await answers(first)
            third = await listener.connect()
            assert await answers(third)
            close([first, second, third])

    run(scenario())


@pytest.mark.parametrize(("limit", "most"), [(1 << 20, CONNECTIONS), (1024, 244), (200, 38), (64, 8), (16, 8)])
def test_descriptors_are_left_to_others(limit: int, most: int) -> None:
    assert most_connections(limit) == most


def test_one_that_hung_up_is_forgotten(run: Run) -> None:
    async def scenario() -> None:
        async with listening(most=3) as listener:
            for _ in range(10):
                client = await listener.connect()
                assert await answers(client)
                close([client])
                await until(lambda: not listener.connections.count, "it is gone")

    run(scenario())


@pytest.mark.parametrize("speak", [True, False], ids=["asked once", "never asked"])
def test_a_silent_one_is_closed(run: Run, monkeypatch: pytest.MonkeyPatch, speak: bool) -> None:
    monkeypatch.setattr(admin_connections, "SILENCE", 0.2)
    monkeypatch.setattr(admin_connections, "SWEEP", 0.05)

    async def scenario() -> None:
        async with listening() as listener:
            reader, writer = await listener.connect()
            if speak:
                assert await answers((reader, writer))
            async with asyncio.timeout(5):
                assert await reader.read() == b""
            writer.close()

    run(scenario())


def tls(tmp_path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path / "pem", "listener"))
    return context


async def hears_nothing(client: Client) -> bool:
    async with asyncio.timeout(5):
        with suppress(ConnectionError):
            return await client[0].read() == b""
    return True


def silent_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_connections, "HANDSHAKE_TIMEOUT", 0.3)


@pytest.mark.parametrize("prepare", [silent_handshake, lambda _: None], ids=["in time", "to make room"])
def test_a_handshake_that_does_not_come_costs_nobody_his_place(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[pytest.MonkeyPatch], None]
) -> None:
    prepare(monkeypatch)
    context = tls(tmp_path)

    async def scenario() -> None:
        async with listening(most=1, context=context) as listener:
            silent = await listener.connect()
            if prepare is silent_handshake:
                assert await hears_nothing(silent)
                await until(lambda: not listener.connections.count, "it is gone")
            known = ssl.create_default_context(cafile=tmp_path / "pem")
            client = await asyncio.open_connection("127.0.0.1", listener.port, ssl=known)
            assert await answers(client)
            assert await hears_nothing(silent)
            close([silent, client])

    run(scenario())
