"""Asking over the classic protocol: what a broken, slow or strange server is called, and that nothing is left open."""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from cluster.access import Access
from cluster.classic_probe import ClassicProbe
from cluster.classic_session import ANSWER_BYTES, ClassicSession
from cluster.members import Endpoint, Member
from cluster.observations import Observation, Outcome
from cluster.probe import make_probe
from cluster.questions import ASK_GROUP, ASK_SERVER, ASK_SERVER_LOAD
from cluster.x_probe import XProbe
from tests.cluster.test_galera import answer
from xproto.errors import LocalProtocolError, RemoteProtocolError
from xproto.session import Login
from xproto.tls import TlsMode

ACCESS = Access(Login("probe", "secret"))
MARIADB = "5.5.5-10.11.18-MariaDB-0+deb12u1"
CAPABILITIES = 0x000AA208  # protocol 4.1, connection with database, secure connection, plugin authentication
OK = b"\x00\x00\x00\x02\x00\x00\x00"
EOF = b"\xfe\x00\x00\x02\x00"
Script = Callable[["Wire"], Awaitable[None]]


class Wire:
    """One connection as the server's side sees it: packets of the classic protocol (MySQL's internals manual)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer, self._sequence = reader, writer, 0

    def send(self, *payloads: bytes) -> None:
        for payload in payloads:
            self.writer.write(len(payload).to_bytes(3, "little") + bytes([self._sequence]) + payload)
            self._sequence = (self._sequence + 1) % 256

    async def receive(self) -> bytes:
        head = await self._reader.readexactly(4)
        self._sequence = head[3] + 1
        return await self._reader.readexactly(int.from_bytes(head[:3], "little"))

    def greet(self, version: str = MARIADB, plugin: bytes = b"mysql_native_password", extra: int = 0) -> None:
        low, high = (CAPABILITIES | extra) & 0xFFFF, CAPABILITIES >> 16
        salt = b"12345678"
        head = b"\x0a" + version.encode() + b"\0" + struct.pack("<I", 7) + salt + b"\0"
        tail = struct.pack("<HBHHB", low, 45, 2, high, 21) + bytes(10) + b"123456789012\0" + plugin + b"\0"
        self.send(head + tail)

    def refuse(self, code: int, words: str = "no") -> None:
        self.send(b"\xff" + struct.pack("<H", code) + b"#HY000" + words.encode())

    def rows(self, columns: int, rows: list[tuple[str, ...]], *, whole: bool = True) -> None:
        column = b"".join(_text(word) for word in ("def", "", "", "", "c", "")) + b"\x0c"
        column += struct.pack("<HIBHB", 45, 1024, 0xFD, 0, 0) + b"\0\0"
        self.send(bytes([columns]), *[column] * columns, EOF)
        self.send(*(b"".join(_text(value) for value in row) for row in rows), *[EOF] * whole)


def _text(value: str) -> bytes:
    data = value.encode()
    return (bytes([len(data)]) if len(data) < 251 else b"\xfc" + struct.pack("<H", len(data))) + data


class Fake:
    """A server that greets, takes any login and answers statements, or plays a script instead."""

    def __init__(self, script: Script | None = None, version: str = MARIADB) -> None:
        self._script, self._version = script, version
        self.statements: list[str] = []
        self.wires: list[Wire] = []
        self.open = 0
        self.reached = asyncio.Event()
        self.answers: dict[str, list[tuple[str, ...]] | int] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        self.wires.append(wire)
        self.open += 1
        self.reached.set()
        try:
            await (self._script or self._play)(wire)
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _play(self, wire: Wire) -> None:
        wire.greet(self._version)
        await wire.receive()
        wire.send(OK)
        while (packet := await wire.receive())[0] == 3:
            statement = packet[1:].decode()
            self.statements.append(statement)
            found = self.answers.get(statement, answer())
            if isinstance(found, int):
                wire.refuse(found)
            else:
                wire.rows(len(found[0]), list(found))


@asynccontextmanager
async def serving(fake: Fake) -> AsyncIterator[Member]:
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    try:
        yield Member("galera-0.db.test", Endpoint(*server.sockets[0].getsockname()[:2]), None)
    finally:
        server.close()
        for wire in fake.wires:
            wire.writer.transport.abort()
        await server.wait_closed()


async def gone(fake: Fake) -> None:
    deadline = time.monotonic() + 5
    while fake.open:
        assert time.monotonic() < deadline, "a connection was left open"
        await asyncio.sleep(0.002)


async def look(
    script: Script | None = None, access: Access = ACCESS, timeout: float = 5.0, **options: int
) -> Observation:
    fake = Fake(script)
    fake.answers = {statement: options["code"] for statement in [_ask()] if "code" in options}
    async with serving(fake) as member:
        probe = ClassicProbe(member, access, timeout=timeout)
        seen = await probe.look()
        await probe.close()
        await gone(fake)
        return seen


def _ask() -> str:
    from cluster.galera_questions import ASK_MARIADB

    return ASK_MARIADB


async def test_one_statement_over_one_connection_tells_all() -> None:
    fake = Fake()
    async with serving(fake) as member:
        probe = ClassicProbe(member, ACCESS, timeout=5.0)
        for _ in range(3):
            seen = await probe.look()
            assert seen.outcome is Outcome.ANSWERED
            assert seen.report is not None
            assert seen.report.galera is not None
        assert (fake.statements, len(fake.wires)) == ([_ask()] * 4, 1), "the first look asks twice"
        assert not probe.hears_notices
        assert probe.nudge()
        await probe.close()
        await gone(fake)


async def test_mysql_is_asked_what_it_is_asked_over_x() -> None:
    fake = Fake(version="9.7.0")
    said = {"uuid": "u0", "version": "9.7.0", "read_only": 0, "offline_mode": 0}
    fake.answers = {
        ASK_GROUP: 1193,
        ASK_SERVER: [(json.dumps(said),)],
        ASK_SERVER_LOAD: [('{"Threads_running": "4"}',)],
    }
    async with serving(fake) as member:
        probe = ClassicProbe(member, ACCESS, timeout=5.0)
        seen = await probe.look()
        assert seen.report is not None
        assert (seen.report.uuid, seen.report.load, seen.report.galera) == ("u0", 4, None)
        await probe.look()
        assert fake.statements == [ASK_GROUP, ASK_SERVER, ASK_SERVER_LOAD, ASK_SERVER]
        await probe.close()


async def test_a_session_that_ended_while_idle_is_opened_again_in_the_same_look() -> None:
    fake = Fake()
    async with serving(fake) as member:
        probe = ClassicProbe(member, ACCESS, timeout=5.0)
        await probe.look()
        fake.wires[0].writer.transport.abort()
        await gone(fake)
        assert (await probe.look()).outcome is Outcome.ANSWERED
        assert len(fake.wires) == 2
        await probe.close()


async def silent(wire: Wire) -> None:
    """Says nothing."""


async def greets_and_stops(wire: Wire) -> None:
    wire.greet()


async def garbage(wire: Wire) -> None:
    wire.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 3)


async def half_a_greeting(wire: Wire) -> None:
    wire.send(b"\x0a")


async def hangs_up(wire: Wire) -> None:
    wire.writer.transport.abort()


async def asks_for_the_password_in_clear(wire: Wire) -> None:
    wire.greet()
    await wire.receive()
    wire.send(b"\xfemysql_clear_password\0")
    assert b"secret" not in await wire.receive(), "the password was sent in clear"


async def asks_for_the_password_by_its_own_key(wire: Wire) -> None:
    wire.greet("9.7.0", b"caching_sha2_password")
    await wire.receive()
    wire.send(b"\x01\x04")
    assert not await wire.receive(), "it was asked for a key"


async def gives_its_own_key(wire: Wire) -> None:
    wire.greet("8.0.0", b"sha256_password")
    await wire.receive()
    wire.send(b"\x01-----BEGIN PUBLIC KEY-----")
    assert not await wire.receive(), "the password was sent"


async def has_the_password_cached(wire: Wire) -> None:
    wire.greet("9.7.0", b"caching_sha2_password")
    await wire.receive()
    wire.send(b"\x01\x03", OK)
    await wire.receive()
    wire.refuse(1142)


async def greets_without_end(wire: Wire) -> None:
    wire.writer.write((2**24 - 1).to_bytes(3, "little") + b"\0")
    await flood(wire)


async def answers_with_a_packet_without_end(wire: Wire) -> None:
    await _let_in(wire)
    wire.writer.write((2**24 - 1).to_bytes(3, "little") + b"\1")
    await flood(wire)


async def answers_with_rows_without_end(wire: Wire) -> None:
    await _let_in(wire)
    row = "UPTIME", "1"
    wire.rows(2, [row] * (2 * ANSWER_BYTES // len("UPTIME1")), whole=False)


async def speaks_on_unasked(wire: Wire) -> None:
    wire.greet()
    await wire.receive()
    wire.send(OK)
    await flood(wire)


async def flood(wire: Wire) -> None:
    """More than is taken, and less than what was announced."""
    wire.writer.write(bytes(2 * ANSWER_BYTES))
    await wire.writer.drain()


async def _let_in(wire: Wire) -> None:
    wire.greet()
    await wire.receive()
    wire.send(OK)
    await wire.receive()


async def promises_tls(wire: Wire) -> None:
    wire.greet(extra=0x800)
    await wire.receive()
    wire.writer.write(b"no TLS at all")


async def promises_tls_and_injects(wire: Wire) -> None:
    wire.greet(extra=0x800)
    wire.send(OK)


async def full(wire: Wire) -> None:
    wire.refuse(1040, "Too many connections")


async def turns_away(wire: Wire) -> None:
    wire.greet()
    await wire.receive()
    wire.refuse(1045, "Access denied")


async def blocks(wire: Wire) -> None:
    wire.refuse(1129, "Host is blocked")


@pytest.mark.parametrize(
    ("script", "timeout", "outcome"),
    [
        (silent, 0.1, Outcome.TIMEOUT),
        (greets_and_stops, 0.1, Outcome.TIMEOUT),
        (garbage, 0.3, Outcome.BROKEN),
        (half_a_greeting, 5.0, Outcome.BROKEN),
        (hangs_up, 5.0, Outcome.REFUSED),
        (asks_for_the_password_in_clear, 5.0, Outcome.BROKEN),
        (asks_for_the_password_by_its_own_key, 5.0, Outcome.TLS),
        (gives_its_own_key, 5.0, Outcome.TLS),
        (has_the_password_cached, 5.0, Outcome.DENIED),
        (greets_without_end, 5.0, Outcome.BROKEN),
        (answers_with_a_packet_without_end, 5.0, Outcome.BROKEN),
        (answers_with_rows_without_end, 5.0, Outcome.BROKEN),
        (speaks_on_unasked, 5.0, Outcome.BROKEN),
        (promises_tls, 5.0, Outcome.TLS),
        (promises_tls_and_injects, 5.0, Outcome.BROKEN),
        (full, 5.0, Outcome.TOO_MANY),
        (turns_away, 5.0, Outcome.DENIED),
        (blocks, 5.0, Outcome.DENIED),
    ],
)
async def test_each_failure_has_its_name(script: Script, timeout: float, outcome: Outcome) -> None:
    seen = await look(script, timeout=timeout)
    assert seen.outcome is outcome, seen.detail
    assert seen.detail


@pytest.mark.parametrize(
    ("code", "outcome"), [(1047, Outcome.BROKEN), (1142, Outcome.DENIED), (1053, Outcome.SHUTTING_DOWN)]
)
async def test_each_refusal_of_the_question_has_its_name(code: int, outcome: Outcome) -> None:
    assert (await look(code=code)).outcome is outcome


async def test_without_an_account_a_member_is_alive_and_no_more() -> None:
    assert (await look(turns_away, Access(None))).outcome is Outcome.ALIVE
    assert (await look(access=Access(None))).outcome is Outcome.ALIVE
    assert (await look(blocks, Access(None))).outcome is Outcome.DENIED
    assert (await look(full, Access(None))).outcome is Outcome.TOO_MANY


async def test_tls_is_used_where_it_is_offered_or_demanded() -> None:
    assert (await look(access=Access(ACCESS.login, TlsMode.PREFERRED))).outcome is Outcome.ANSWERED
    for mode in (TlsMode.REQUIRED, TlsMode.VERIFY_CA):
        seen = await look(access=Access(ACCESS.login, mode, ssl.create_default_context()))
        assert (seen.outcome, "takes no TLS" in seen.detail) == (Outcome.TLS, True)


@pytest.mark.parametrize("mode", [TlsMode.VERIFY_CA, TlsMode.VERIFY_IDENTITY])
async def test_a_mode_that_verifies_is_not_used_without_a_context(mode: TlsMode) -> None:
    with pytest.raises(LocalProtocolError, match=mode.value):
        await ClassicSession.open("127.0.0.1", 1, Login("a", "b"), tls=mode, server_hostname="a", timeout=1.0)


@pytest.mark.parametrize("after", ["login", "answer"])
async def test_what_is_sent_between_two_questions_is_left_in_the_socket(after: str) -> None:
    sent, resting = 0, asyncio.Event()

    async def pours(wire: Wire) -> None:
        nonlocal sent
        wire.greet()
        await wire.receive()
        wire.send(OK)
        if after == "answer":
            await wire.receive()
            wire.rows(2, answer())
        await resting.wait()
        while not wire.writer.transport.is_closing():
            wire.writer.write(bytes(65536))
            await wire.writer.drain()
            sent += 65536

    fake = Fake(pours)
    async with serving(fake) as member:
        assert member.classic is not None
        session = await ClassicSession.open(
            member.classic.host, member.classic.port, Login("a", "b"), server_hostname="a", timeout=5.0
        )
        if after == "answer":
            assert await session.execute(_ask(), timeout=5.0)
        resting.set()
        before = -1
        while before != sent:  # until nothing more fits into the sockets
            before = sent
            await asyncio.sleep(0.1)
            assert sent < 32 * 1024 * 1024, "somebody takes it"
        with pytest.raises((RemoteProtocolError, ConnectionError)):
            await session.execute(_ask(), timeout=5.0)
        await gone(fake)


async def test_each_look_tells_what_was_written_since_the_last() -> None:
    fake = Fake()
    async with serving(fake) as member:
        probe = ClassicProbe(member, ACCESS, timeout=5.0)
        written = []
        for count in (41, 141, 141):
            fake.answers[_ask()] = answer(WSREP_REPLICATED=str(count))
            seen = await probe.look()
            assert seen.report is not None
            assert seen.report.galera is not None
            written.append(seen.report.galera.written)
        assert written[0] == 0
        assert written[1] > 0
        assert written[2] == written[1] / 2, "a pause, for all that one look can tell"
        await probe.close()


async def test_a_look_cancelled_at_any_moment_of_tls_leaves_no_fault_behind() -> None:
    faults: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(str(context["message"])))
    fake = Fake(promises_tls)
    async with serving(fake) as member:
        for turns in range(60):
            task = asyncio.create_task(ClassicProbe(member, ACCESS, timeout=5.0).look())
            for _ in range(turns % 30):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        await gone(fake)
        gc.collect()
    assert faults == []


async def test_nobody_there_and_no_port_are_refusals() -> None:
    nobody = ClassicProbe(Member("gone", Endpoint("127.0.0.1", 1), None), ACCESS, timeout=5.0)
    assert (await nobody.look()).outcome is Outcome.REFUSED
    no_port = ClassicProbe(Member("x-only", None, Endpoint("127.0.0.1", 33060)), ACCESS, timeout=5.0)
    assert (await no_port.look()).outcome is Outcome.REFUSED


async def test_a_look_that_is_cancelled_leaves_nothing_open() -> None:
    for script in (silent, greets_and_stops):
        fake = Fake(script)
        async with serving(fake) as member:
            task = asyncio.create_task(ClassicProbe(member, ACCESS, timeout=30.0).look())
            await fake.reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await gone(fake)


async def test_a_statement_that_runs_out_of_time_closes_the_session() -> None:
    async def answers_once(wire: Wire) -> None:
        wire.greet()
        await wire.receive()
        wire.send(OK)

    fake = Fake(answers_once)
    async with serving(fake) as member:
        assert member.classic is not None
        session = await ClassicSession.open(
            member.classic.host, member.classic.port, Login("a", "b"), server_hostname="a", timeout=5.0
        )
        with pytest.raises(TimeoutError):
            await session.execute("SELECT 1", timeout=0.05)
        assert session.closed
        await gone(fake)


async def test_members_without_an_x_port_are_asked_over_the_classic_protocol() -> None:
    classic, x = Endpoint("127.0.0.1", 3306), Endpoint("127.0.0.1", 33060)
    assert isinstance(make_probe(Member("a", classic, None), ACCESS, timeout=1), ClassicProbe)
    assert isinstance(make_probe(Member("a", classic, x), ACCESS, timeout=1), XProbe)
    assert isinstance(make_probe(Member("a", None, None), ACCESS, timeout=1), XProbe)
