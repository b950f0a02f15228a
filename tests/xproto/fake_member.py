"""A small X Protocol server for tests: a whole member, or a script that plays any part of one, well or badly."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from xproto.codec import decode_client, encode_server
from xproto.errors import ServerError
from xproto.events import Result
from xproto.frames import FrameDecoder
from xproto.messages import (
    AuthenticateContinue,
    AuthenticateOk,
    AuthenticateStart,
    Capabilities,
    CapabilitiesGet,
    CapabilitiesSet,
    ClientMessage,
    ConClose,
    Error,
    FetchDone,
    Ok,
    Row,
    ServerMessage,
    StmtExecute,
    StmtExecuteOk,
)
from xproto.notices import Notice, ServerHello, SessionParameter, SessionStateChanged
from xproto.rows import Column, ColumnType

NONCE = b"01234567890123456789"
SECONDS = 10.0


class Wire:
    """One connection, as the server's side sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self._decoder = FrameDecoder(1 << 24)

    async def receive(self) -> ClientMessage:
        """The next message of the client. Raises EOFError if there is none."""
        while (frame := self._decoder.next_frame()) is None:
            data = await self._reader.read(65536)
            if not data:
                raise EOFError
            self._decoder.feed(data)
        return decode_client(frame)

    def send(self, *messages: ServerMessage) -> None:
        self.send_bytes(b"".join(map(encode_server, messages)))

    def send_bytes(self, data: bytes) -> None:
        self.writer.write(data)

    async def start_tls(self, context: ssl.SSLContext) -> None:
        await self.writer.start_tls(context)

    async def receive_any(self) -> bytes:
        """Some bytes, whatever they are."""
        return await self._reader.read(65536)

    async def eof(self) -> bytes:
        """Everything the client still sends until it closes."""
        return await self._reader.read()

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()


Script = Callable[[Wire], Awaitable[None]]


def text_result(**columns: str | None) -> Result:
    """A result of one row of text."""
    return Result(
        tuple(Column(name, ColumnType.BYTES, collation=255) for name in columns),
        (tuple(columns.values()),),
    )


def result_messages(result: Result) -> list[ServerMessage]:
    """A result of text columns as a server sends it."""
    rows = [
        Row(tuple(b"" if value is None else str(value).encode() + b"\0" for value in values)) for values in result.rows
    ]
    return [*result.columns, *rows, FetchDone(), StmtExecuteOk()]


class FakeMember:
    """An async context manager that listens on a port of its own.

    Args:
        tls: the server's side of TLS; None has no TLS.
        hello: say hello at once.
        cached: SHA256_MEMORY works from the beginning; otherwise only after a PLAIN login.
        old: a server of before 8.0: it has MYSQL41 in place of SHA256_MEMORY, for its `mysql_native_password`.
        script: play this instead of a whole member.
    """

    user = "probe"
    password = "probe-secret"

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        hello: bool = True,
        cached: bool = False,
        old: bool = False,
        script: Script | None = None,
    ) -> None:
        self.tls = tls
        self.hello = hello
        self.cached = cached
        self.challenging = "MYSQL41" if old else "SHA256_MEMORY"
        self.answers: dict[str, Result | ServerError | Script] = {"SELECT 1": text_result(one="1")}
        self.received: list[ClientMessage] = []
        self.wires: list[Wire] = []
        self.failures: list[BaseException] = []
        self._script = script or self.serve
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.host, self.port = self._server.sockets[0].getsockname()[:2]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        for wire in self.wires:
            wire.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.failures:
            raise self.failures[0]

    async def scripts_done(self) -> None:
        """Wait until every connection has been played to its end."""
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*self._tasks)

    def notify(self, *notices: Notice) -> None:
        """Send notices on all connections."""
        for wire in self.wires:
            wire.send(*notices)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        wire = Wire(reader, writer)
        self.wires.append(wire)
        try:
            async with asyncio.timeout(SECONDS):
                await self._script(wire)
        except (EOFError, OSError, asyncio.CancelledError):
            pass
        except Exception as exc:
            self.failures.append(exc)
        finally:
            wire.close()

    async def receive(self, wire: Wire) -> ClientMessage:
        message = await wire.receive()
        self.received.append(message)
        return message

    async def serve(self, wire: Wire) -> None:
        """A whole member."""
        if await self.open(wire):
            while await self.answer(wire, await self.receive(wire)):
                pass

    async def open(self, wire: Wire) -> bool:
        """The opening, up to the login; False if there is none."""
        if self.hello:
            wire.send(ServerHello())
        encrypted = False
        while True:
            match await self.receive(wire):
                case CapabilitiesGet():
                    mechanisms = ["PLAIN", self.challenging] if encrypted else [self.challenging]
                    offer = {"authentication.mechanisms": mechanisms, "node_type": "mysql"}
                    wire.send(Capabilities({"tls": encrypted, **offer} if self.tls else offer))
                case CapabilitiesSet({"tls": True}):
                    if self.tls is None:
                        wire.send(Error(5001, "HY000", "Capability prepare failed for 'tls'"))
                        continue
                    wire.send(Ok())
                    await wire.start_tls(self.tls)
                    encrypted = True
                case AuthenticateStart("PLAIN", data) if encrypted:
                    if self.log_in(wire, data.split(b"\0")[1:] == [self.user.encode(), self.password.encode()]):
                        self.cached = True
                        return True
                case AuthenticateStart(mechanism, _) if mechanism == self.challenging:
                    wire.send(AuthenticateContinue(NONCE))
                    answer = await self.receive(wire)
                    assert isinstance(answer, AuthenticateContinue)
                    if mechanism == "MYSQL41":
                        right = mysql41_is_right(answer.data, self.user, native_password(self.password))
                    else:
                        right = self.cached and answer.data == self.sha256_answer(answer.data)
                    if self.log_in(wire, right):
                        return True
                case AuthenticateStart():
                    wire.send(Error(1251, "HY000", "Invalid authentication method"))
                case ConClose():
                    wire.send(Ok("bye!"))
                    return False
                case unexpected:
                    raise AssertionError(unexpected)

    def log_in(self, wire: Wire, right: bool) -> bool:
        if right:
            wire.send(SessionStateChanged(SessionParameter.CLIENT_ID_ASSIGNED, (7,)), AuthenticateOk())
        else:
            wire.send(Error(1045, "HY000", f"Access denied for user '{self.user}'"))
        return right

    def sha256_answer(self, given: bytes) -> bytes:
        """What `given` must be, reckoned as the server does: from the hash of the hash."""
        schema, _, scramble = given.split(b"\0")
        stored = hashlib.sha256(self.password.encode()).digest()
        mask = hashlib.sha256(hashlib.sha256(stored).digest() + NONCE).digest()
        right = bytes.fromhex(scramble.decode()) == bytes(a ^ b for a, b in zip(stored, mask, strict=True))
        return b"\0".join((schema, self.user.encode(), scramble)) if right else b""

    async def answer(self, wire: Wire, message: ClientMessage) -> bool:
        """Answer one message; False at the end."""
        match message:
            case ConClose():
                wire.send(Ok("bye!"))
                return False
            case StmtExecute("enable_notices" | "ping", _, "mysqlx"):
                wire.send(StmtExecuteOk())
            case StmtExecute(statement, _, "sql"):
                match self.answers.get(statement):
                    case Result() as result:
                        wire.send(*result_messages(result))
                    case ServerError() as error:
                        wire.send(Error(error.code, error.sql_state, error.message, error.fatal))
                    case None:
                        wire.send(Error(1064, "42000", f"no answer to {statement}"))
                    case script:
                        await script(wire)
            case _:
                raise AssertionError(message)
        return True


def sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def native_password(password: str) -> str:
    """What `mysql_native_password` stores: the manual's PASSWORD() function of servers before 8.0."""
    return "*" + sha1(sha1(password.encode())).hex().upper()


def mysql41_is_right(answer: bytes, user: str, stored: str) -> bool:
    """Check an answer as a server does, which has the hash of the hash and never the password.

    The mask of the answer is made from what is stored; what is under it must hash to what is stored.
    """
    _, given_user, scramble = answer.split(b"\0")
    if given_user != user.encode() or scramble[:1] != b"*":
        return False
    kept = bytes.fromhex(stored[1:])
    mask = sha1(NONCE + kept)
    under = (int.from_bytes(bytes.fromhex(scramble[1:].decode())) ^ int.from_bytes(mask)).to_bytes(20)
    return sha1(under) == kept


def sent_statements(messages: Sequence[ClientMessage]) -> list[str]:
    return [message.statement for message in messages if isinstance(message, StmtExecute)]
