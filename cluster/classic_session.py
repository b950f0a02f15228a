"""Sessions over the classic protocol: the shell around `asyncmy`, which nothing else in this package imports.

Owns deadlines, TLS by its mode and the translation of errors: what is raised is what an X session raises. Must not know
what is asked.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from typing import Any, Never

import asyncmy.errors
from asyncmy.connection import Connection
from asyncmy.constants import CLIENT

from xproto.errors import LocalProtocolError, RemoteProtocolError, ServerError
from xproto.session import Login
from xproto.tls import TlsMode, unverified

CLOSE_SECONDS = 1.0  # for a polite good-bye; without one the server counts an aborted client
SSL_CONNECTION_ERROR = 2026  # CR_SSL_CONNECTION_ERROR
AUTH_PLUGIN_ERROR = 2059  # CR_AUTH_PLUGIN_CANNOT_LOAD
# Numbers that the driver gives by itself, to a connection that cannot be made or that ended.
LOST = frozenset({2003, 2006, 2013})
# What one session takes from its peer at most, in bytes, as an X session does. Before the login the peer may be
# anybody; a real server's greeting and its answer to ours are below 1 KiB.
LOGIN_BYTES = 64 * 1024
# One answer, a packet in it included. What is asked for is a few KiB, but for sets of GTIDs with very many gaps.
ANSWER_BYTES = 256 * 1024
UTF8MB4 = 45  # collation utf8mb4_general_ci, of what a login's packets are written in
# Of the login, in clear. All that a server may say beyond its verdict is that it has our password cached
# (caching_sha2_password). Anything else asks for the whole password, if by a public key that anybody may have made.
EXTRA, CACHED = 0x01, b"\x01\x03"
_NO_TLS = "the server takes no TLS on this port: give it a certificate, or choose preferred or disabled here"
_TOO_MUCH = "it sends more than any answer to a probe's question has"
_WANTS_IT_ALL = "the server wants the password itself, which it gets over TLS only: have it take TLS"
Rows = tuple[tuple[Any, ...], ...]


class _NeverInClear:
    """In place of a driver's plugin that would send the password as it is to whoever asks for it."""

    def __init__(self, connection: object) -> None:
        del connection

    def authenticate(self, packet: object) -> Never:
        del packet
        raise asyncmy.errors.OperationalError(AUTH_PLUGIN_ERROR, "the server wants the password in clear text")


_REFUSED_PLUGINS = dict.fromkeys(("mysql_clear_password", "mysql_old_password", "dialog"), _NeverInClear)


# What follows reaches into the driver, whose types do not tell of its inside.
_DriverConnection: Any = Connection


class _Connection(_DriverConnection):  # type: ignore[misc]
    """The driver's connection, with what it lacks: TLS where it is offered, a name to check, limits, a hard end."""

    _transport: Any

    def expect(self, tls: TlsMode, server_hostname: str) -> None:
        """Say what is wanted, in the task that will connect."""
        self._tls_mode, self._server_hostname, self._cancelling = tls, server_hostname, _cancelling()
        self.allow(LOGIN_BYTES)

    def allow(self, size: int) -> None:
        """Take so many bytes from now on, and no more."""
        self._allowed = size

    def rest(self, resting: bool) -> None:
        """Leave in the socket, or read again, what a server sends that was asked nothing."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            (transport.pause_reading if resting else transport.resume_reading)()

    async def _fill_buffer(self, need: int) -> None:
        held = self._proto.length - self._proto.pos
        if need > self._allowed:
            raise RemoteProtocolError(_TOO_MUCH)
        await super()._fill_buffer(need)
        self._allowed -= self._proto.length - self._proto.pos - held
        if self._allowed < 0:
            raise RemoteProtocolError(_TOO_MUCH)

    async def read_packet(self, *args: Any) -> Any:
        packet = await super().read_packet(*args)
        if not self._connected and not self._secure:
            said = packet.get_all_data()
            if said[:1] == bytes([EXTRA]) and said != CACHED:
                raise asyncmy.errors.OperationalError(SSL_CONNECTION_ERROR, _WANTS_IT_ALL)
        return packet

    async def _get_server_information(self) -> None:
        # The driver waits for the connection with `asyncio.wait_for`, which before Python 3.12 swallows that it was
        # cancelled, or that its time was up, if the connection comes about at that moment.
        if _cancelling() > self._cancelling:
            raise asyncio.CancelledError
        await super()._get_server_information()
        if self._tls_mode is TlsMode.DISABLED:
            return
        if self.server_capabilities & CLIENT.SSL:
            await self._encrypt()
        elif self._tls_mode is not TlsMode.PREFERRED:
            raise asyncmy.errors.OperationalError(SSL_CONNECTION_ERROR, _NO_TLS)
        else:
            self._ssl_context = None
            self._client_flag &= ~CLIENT.SSL

    async def _encrypt(self) -> None:
        """Ask for TLS and start it (MySQL's internals manual, `Protocol::SSLRequest`).

        The driver would make another connection of the same socket, of which under uvloop something is left when it is
        cancelled.
        """
        self._client_flag |= CLIENT.SSL | CLIENT.MULTI_RESULTS | self.server_capabilities & CLIENT.DEPRECATE_EOF
        self.write_packet(struct.pack("<IIB23x", self._client_flag, ANSWER_BYTES, UTF8MB4))
        if self._proto.length > self._proto.pos:
            raise RemoteProtocolError("bytes in clear after the greeting, where TLS begins")
        self._transport = await self._loop.start_tls(
            self._transport, self._proto, self._ssl_context, server_hostname=self._server_hostname
        )
        self._secure = self._tls_established = True

    def close(self) -> None:
        # A TLS transport that is only closed waits for its peer, which may be frozen.
        transport = self._transport
        super().close()
        if transport is not None:
            transport.abort()


class ClassicSession:
    """One session with one server. Made by `ClassicSession.open`; one statement at a time.

    A statement that is cancelled or runs out of time closes the session; one that the server refuses does not.
    """

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        login: Login,
        *,
        tls: TlsMode = TlsMode.PREFERRED,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str,
        timeout: float,
    ) -> ClassicSession:
        """Connect and log in.

        Args:
            host: name or address.
            port: the server's classic port.
            login: who to be.
            tls: whether to encrypt.
            ssl_context: how to encrypt, and what certificates to accept; by default any certificate.
            server_hostname: the name to ask of the certificate, if the context checks names.
            timeout: seconds for all of it.

        Raises:
            TimeoutError: not open in time.
            OSError: no connection, or lost (ConnectionError), or no TLS (ssl.SSLError).
            ServerError: the server refused.
            RemoteProtocolError: the peer does not speak the protocol as a server should, or says too much.
            LocalProtocolError: a mode that verifies, without a context to do it.
        """
        if tls.verifies and ssl_context is None:
            raise LocalProtocolError(f"{tls.value} without a context that verifies")
        context = None if tls is TlsMode.DISABLED else ssl_context or unverified()
        try:
            async with asyncio.timeout(timeout):
                connection = _Connection(
                    host=host,
                    port=port,
                    user=login.user,
                    password=login.password,
                    ssl=context,
                    connect_timeout=timeout,
                    auth_plugin_map=_REFUSED_PLUGINS,
                    autocommit=None,
                    program_name="fairlead",
                )
                connection.expect(tls, server_hostname)
                await connection.connect()
        except Exception as error:
            raise _translated(error) from error
        connection.rest(True)
        return cls(connection)

    @property
    def server_version(self) -> str:
        """What the server calls itself in its greeting."""
        return str(self._connection.get_server_info())

    @property
    def closed(self) -> bool:
        """Whether this side has closed it. Of a peer that has gone only the next statement tells."""
        return not self._connection.connected

    async def execute(self, statement: str, *, timeout: float) -> Rows:
        """Run one statement and return its rows.

        Raises:
            TimeoutError: no complete answer in time.
            ServerError: the statement failed.
            ConnectionError: the session has ended.
            RemoteProtocolError: the answer is none of the protocol's, or too long.
        """
        try:
            self._connection.allow(ANSWER_BYTES)
            self._connection.rest(False)
            async with asyncio.timeout(timeout), self._connection.cursor() as cursor:
                await cursor.execute(statement)
                rows = tuple(await cursor.fetchall())
            self._connection.rest(True)
            return rows
        except Exception as error:
            translated = _translated(error)
            if not isinstance(translated, ServerError):
                self._connection.close()
            raise translated from error

    async def close(self) -> None:
        """End it, politely if the server takes part."""
        try:
            self._connection.rest(False)
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._connection.ensure_closed()
        except Exception:  # noqa: S110 - whatever is wrong with it, it ends
            pass
        finally:
            self._connection.close()


def _cancelling() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def _translated(error: Exception) -> Exception:
    """What an X session would raise. The driver raises whatever its reading of strange bytes trips over."""
    if isinstance(error, RemoteProtocolError):
        return error
    if not isinstance(error, asyncmy.errors.MySQLError):
        return error if isinstance(error, OSError | UnicodeError) else RemoteProtocolError(_words(error))
    if isinstance(error.__cause__, OSError):
        return error.__cause__
    code, message = (*error.args, "", "")[:2] if error.args else (0, "")
    if code in LOST:
        return ConnectionResetError(str(message))
    if isinstance(code, int) and code > 0:
        return ServerError(code, str(error.sqlstate or "HY000"), str(message))
    return RemoteProtocolError(_words(error))


def _words(error: Exception) -> str:
    return f"not as a MySQL server speaks: {error or type(error).__name__}"
