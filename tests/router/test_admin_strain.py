"""What the HTTP listener bears of those who ask without end, without sense, or without reading the answers."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from router import admin, admin_answers
from router.admin_connections import Connections
from router.events import Kind
from tests.router.conftest import Run
from tests.router.fakes import until
from tests.router.test_admin import TOKEN, Stand, document, with_router

STREAM = b"GET /api/v1/events?after=0 HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Connections]:
    """Those of the listeners that are made."""
    made: list[Connections] = []

    class Kept(Connections):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)  # type: ignore[arg-type]
            made.append(self)

    monkeypatch.setattr(admin, "Connections", Kept)
    return made


async def say(stand: Stand, text: bytes) -> Client:
    listen = stand.router.settings.admin.listen
    reader, writer = await asyncio.open_connection(listen.host, listen.port)
    writer.write(text)
    return reader, writer


async def status(stand: Stand, text: bytes) -> int:
    """Of the answer to a request that is sent as it is."""
    reader, writer = await say(stand, text)
    async with asyncio.timeout(10):
        line = await reader.readline()
    writer.close()
    return int(line.split()[1])


def never_reads(stand: Stand) -> socket.socket:
    """A client with little room."""
    listen = stand.router.settings.admin.listen
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((listen.host, listen.port))
    return sock


async def ask_for_ever(sock: socket.socket) -> None:
    request = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    async with asyncio.timeout(20):
        while True:
            await asyncio.get_running_loop().sock_sendall(sock, request * 100)


def get(headers: bytes, path: bytes = b"/api/v1/topology") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" + headers + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (get(b"Authorization: Bearer \xff\xfe0123456789abcdef"), 401),
        (get(b"Authorization: Basic \xff"), 401),
        (get(b"Origin: \xff"), 403),
        (get(b"Accept: text/event-stream\r\nLast-Event-ID: %s:" + b"9" * 5000, b"/api/v1/events"), 200),
        (get(b"X: y", b"/%ff%0a"), 404),
    ],
)
def test_odd_bytes_are_no_fault_of_the_router(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, request_: bytes, wanted: int
) -> None:
    async def scenario(stand: Stand) -> None:
        instance = stand.router.events.instance.encode()
        assert await status(stand, request_.replace(b"%s", instance)) == wanted
        assert not [record for record in caplog.records if record.exc_info]

    run(with_router(document(tmp_path), scenario))


def test_so_many_streams_and_no_more(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "STREAMS", 2)

    async def scenario(stand: Stand) -> None:
        streams = [await say(stand, STREAM) for _ in range(2)]
        for reader, _ in streams:
            assert b"200 OK" in await reader.readline()
        assert await status(stand, STREAM) == 503
        assert await status(stand, get(b"X: y", b"/api/v1/events")) == 200
        for _, writer in streams:
            writer.close()
        await until(lambda: not stand.router._admin._streams, "they are given up")
        assert await status(stand, STREAM) == 200

    run(with_router(document(tmp_path), scenario))


def test_a_stream_that_nobody_reads_is_given_up(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "STREAM_PATIENCE", 0.3)

    async def scenario(stand: Stand) -> None:
        with never_reads(stand) as sock:
            sock.sendall(STREAM)
            await until(lambda: stand.router.events._told, "it is begun")
            for _ in range(500):
                stand.router.events.publish(Kind.MODE, "x" * 20_000)
            await until(lambda: not stand.router.events._told, "it is given up", timeout=10)
            assert stand.router._admin._streams == 0

    run(with_router(document(tmp_path), scenario))


def test_answers_that_nobody_reads_are_given_up(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connections: list[Connections]
) -> None:
    monkeypatch.setattr(admin_answers, "ANSWER_PATIENCE", 0.3)

    async def scenario(stand: Stand) -> None:
        with never_reads(stand) as sock:
            sock.setblocking(False)
            with pytest.raises(ConnectionError):
                await ask_for_ever(sock)
            await until(lambda: connections[0].count == 0, "it is gone")

    run(with_router(document(tmp_path), scenario))


def test_a_body_that_does_not_come_is_not_waited_for(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_answers, "ANSWER_PATIENCE", 0.3)

    async def scenario(stand: Stand) -> None:
        head = f"POST /api/v1/reload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 9\r\n\r\n"
        reader, writer = await say(stand, head.encode() + b"{")
        assert b"408" in await reader.readline()
        writer.close()
        assert stand.router.reloads == {"applied": 0, "refused": 0}

    run(with_router(document(tmp_path), scenario))


def test_the_silent_make_room_for_those_who_ask(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connections: list[Connections]
) -> None:
    monkeypatch.setattr(admin, "most_connections", lambda _: 5)

    async def scenario(stand: Stand) -> None:
        watcher = await say(stand, STREAM)
        assert b"200 OK" in await watcher[0].readline()
        clients = [await say(stand, b"") for _ in range(20)]
        assert await status(stand, get(b"X: y")) == 200
        assert connections[0].count <= 5
        for reader, _ in clients[:10]:
            assert await reader.read() == b""
        stand.router.events.publish(Kind.MODE, "still told")
        async with asyncio.timeout(5):
            while b"still told" not in await watcher[0].readline():
                pass
        for _, writer in (watcher, *clients):
            writer.close()

    run(with_router(document(tmp_path), scenario))


def test_the_listener_of_metrics_is_bounded_as_well(run: Run, tmp_path: Path, connections: list[Connections]) -> None:
    async def scenario(stand: Stand) -> None:
        assert len(connections) == 2
        where = stand.router.settings.admin.metrics_listen
        assert where
        reader, writer = await asyncio.open_connection(where.host, where.port)
        writer.write(get(b"X: y", b"/livez"))
        assert (await reader.read()).endswith(b"alive\n")
        writer.close()
        await until(lambda: connections[1].count == 0, "it is gone")

    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    run(with_router(document(tmp_path, metrics_listen=f"127.0.0.1:{port}"), scenario))


def test_a_path_is_logged_as_it_came(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(stand: Stand) -> None:
        assert await status(stand, get(b"X: y", b"/x%0A2026").replace(b"GET", b"POST")) == 401
        [told] = [record.getMessage() for record in caplog.records if "denied" in record.getMessage()]
        assert "POST /x%0A2026 denied" in told

    run(with_router(document(tmp_path), scenario))


def test_a_problem_says_its_own_status(run: Run, tmp_path: Path) -> None:
    async def scenario(stand: Stand) -> None:
        reader, writer = await say(stand, get(b"X: y", b"/nothing"))
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert json.loads(body)["status"] == int(head.split()[1]) == 404
        writer.close()

    run(with_router(document(tmp_path), scenario))
