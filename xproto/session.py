"""Sessions: the asyncio shell around `xproto.client`. Owns socket, TLS and deadlines; decides nothing itself."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from xproto.auth import Login
from xproto.client import Client, Limits, Result
from xproto.errors import LocalProtocolError, RemoteProtocolError, ServerError, TurnedAwayError
from xproto.events import Completed, Ended, Event, Failed, NoticeReceived, Opened, TlsAccepted
from xproto.messages import Arg
from xproto.notices import GROUP_REPLICATION_NOTICES, Notice
from xproto.states import State
from xproto.tls import TlsMode, unverified

__all__ = ["Limits", "Login", "Result", "Session", "TlsMode"]

# Seconds for a polite good-bye. A healthy server answers in one round trip; a dead one must not hold a caller up.
_CLOSE_SECONDS = 1.0


class Session:
    """One session with one server. Made by `Session.open`; one statement at a time.

    A statement that is cancelled or runs out of time closes the session: what the server would still answer could not
    be told from the answer to the next statement.
    """

    def __init__(self, link: _Link) -> None:
        self._link = link

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        login: Login | None,
        *,
        tls: TlsMode = TlsMode.PREFERRED,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        timeout: float,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        on_notice: Callable[[Notice], None] | None = None,
    ) -> Session:
        """Connect, and log in unless `login` is None: then only hello and capabilities are read, in clear.

        Args:
            host: name or address.
            port: the server's X Protocol port.
            login: who to be.
            tls: whether to encrypt.
            ssl_context: how to encrypt, and what certificates to accept, as `xproto.tls.make_context` makes it for the
                mode; by default any certificate, which a mode that verifies does not allow.
            server_hostname: the name to ask of the certificate, if the context checks names; by default `host`.
            timeout: seconds for all of it.
            limits: what to take from the server at most.
            on_notice: called with each notice as it arrives, statement or none. It must not block. A notice that ends
                the session is `last_words` instead.

        Raises:
            TimeoutError: not open in time.
            TurnedAwayError: connected, and closed by the peer without a byte.
            OSError: no connection, or lost (ConnectionError), or no TLS (ssl.SSLError).
            ServerError: the server refused.
            RemoteProtocolError: the peer does not speak the X Protocol as a server should.
        """
        if tls.verifies and ssl_context is None:
            raise LocalProtocolError(f"{tls.value} without a context that verifies")
        loop = asyncio.get_running_loop()
        link = _Link(f"{host}:{port}", Client(login, tls, limits), on_notice)
        try:
            async with asyncio.timeout(timeout):
                await loop.create_connection(lambda: link, host, port)
                if isinstance(await link.answer(), TlsAccepted):
                    context = ssl_context or unverified()
                    name = (server_hostname or host) if context.check_hostname else server_hostname
                    await link.start_tls(context, name)
                    await link.ask(Client.tls_established)
        except BaseException:
            link.abort()
            raise
        return cls(link)

    @property
    def hello_seen(self) -> bool:
        """True if the server sent its hello notice."""
        return self._link.client.hello_seen

    @property
    def capabilities(self) -> Mapping[str, Arg]:
        """What the server offered before TLS and login."""
        return self._link.client.capabilities

    @property
    def client_id(self) -> int | None:
        """The X Protocol's number for this session, if the server has told it. It is not CONNECTION_ID()."""
        return self._link.client.client_id

    @property
    def tls(self) -> bool:
        """True if the line is encrypted."""
        return self._link.client.tls

    @property
    def closed(self) -> bool:
        """True once the session cannot be used any more, whoever ended it."""
        return self._link.closed

    @property
    def last_words(self) -> ServerError | None:
        """Why the server ended the session, if it said so."""
        return self._link.client.error

    async def execute(
        self, statement: str, args: Sequence[Arg] = (), *, namespace: str = "sql", timeout: float
    ) -> Result:
        """Run one statement.

        Args:
            statement: its text, with `?` where arguments go.
            args: the arguments.
            namespace: "sql", or "mysqlx" for the protocol's own commands.
            timeout: seconds until the whole result must be here.

        Returns:
            The first result set; further ones are read and dropped.

        Raises:
            TimeoutError: no complete answer in time; the session is closed.
            ServerError: the statement failed. The session goes on unless the error is fatal.
            ConnectionError: the session is closed, or ended meanwhile; with the server's reason if it gave one.
            RemoteProtocolError: the peer broke the protocol or a limit; the session is closed.
            LocalProtocolError: another statement is running, or an argument that the protocol has no form for.
        """
        event = await self._link.ask_within(timeout, lambda client: client.execute(statement, args, namespace))
        return cast(Completed, event).result  # the only answer to a statement that is not raised

    async def enable_notices(self, names: Sequence[str] = GROUP_REPLICATION_NOTICES, *, timeout: float) -> None:
        """Ask for notices, by default those of a group's changes. Lasts as long as the session. Raises as `execute`."""
        await self.execute("enable_notices", [{"notice": list(names)}], namespace="mysqlx", timeout=timeout)

    def ping(self) -> bool:
        """Say something, so that the server delivers the notices that it holds; returns at once.

        An idle server looks for notices twice a second, one that is spoken to at once. One ping is on its way at a
        time: while it is unanswered, and while a statement runs, this sends nothing. A statement may follow at once;
        its own deadline covers the answer that is still to come.

        Returns:
            False if the session is closed.
        """
        return self._link.ping()

    async def wait_closed(self) -> None:
        """Return when the session is closed, whoever ended it."""
        await self._link.wait_closed()

    async def close(self) -> None:
        """Say good-bye, wait for the answer shortly, and close. May be called again; closes even if cancelled."""
        await self._link.close()


class _Link(asyncio.Protocol):
    """The connection: bytes between the transport and the client, events to whoever waits for an answer."""

    def __init__(self, peer: str, client: Client, on_notice: Callable[[Notice], None] | None) -> None:
        self.client = client
        self._peer = peer
        self._on_notice = on_notice
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Event | Exception] = self._loop.create_future()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._violation: RemoteProtocolError | None = None
        self._peer_left = False
        self._heard = False  # whether anything came, of late over TLS
        self._lost_by: Exception | None = None
        self._held: bytearray | None = None  # what came between the TLS handshake and the client's knowing of it

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has the methods, not the base class
        # Small questions, small answers: never hold one back to fill a packet.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.closed:  # whoever wanted it has given up meanwhile
            self.abort()
            return
        self.client.open()
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._held is not None and len(self._held) < self.client.limits.handshake_bytes:
            self._held += data
            return
        try:
            self.client.receive_data(data)
            while not self.closed and (event := self.client.next_event()):
                self._happened(event)
        except RemoteProtocolError as exc:
            self._violation = exc
            self._settle(exc)
            self.abort()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._peer_left = not self.closed
        self._lost_by = exc
        self.abort()

    def _happened(self, event: Event) -> None:
        match event:
            case NoticeReceived(notice):
                self._notify(notice)
            case Failed(error):
                self._settle(error)
            case Ended(error):
                if error is not None:
                    self._settle(error)
                self.abort()
            case TlsAccepted() | Opened() | Completed():
                self._settle(event)

    def _notify(self, notice: Notice) -> None:
        if self._on_notice is None:
            return
        try:
            self._on_notice(notice)
        except (
            Exception
        ) as exc:  # the caller's bug is the caller's: it must not cost the session its place in the stream
            self._loop.call_exception_handler({"message": f"on_notice failed for {self._peer}", "exception": exc})

    def _settle(self, outcome: Event | Exception) -> None:
        if not self._answer.done():
            self._answer.set_result(outcome)

    def _flush(self) -> None:
        data = self.client.data_to_send()
        if data and self._transport is not None and not self.closed:
            self._transport.write(data)

    # What the session calls.

    @property
    def closed(self) -> bool:
        return self._lost.done()

    async def ask(self, question: Callable[[Client], None]) -> Event:
        """Let the client ask something, and wait for the answer."""
        if self.closed:
            raise self._gone()
        question(self.client)
        self._answer = self._loop.create_future()
        self._flush()
        held, self._held = self._held, None
        if held:
            self.data_received(bytes(held))
        return await self.answer()

    async def answer(self) -> Event:
        """Wait for the answer to what was asked last, which at first is the opening."""
        outcome = await self._answer
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def ask_within(self, timeout: float, question: Callable[[Client], None]) -> Event:
        """`ask` with a deadline; without an answer the link is cut."""
        deadline = self._loop.call_later(timeout, self._late)  # a third of what asyncio.timeout costs
        try:
            return await self.ask(question)
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            deadline.cancel()

    def _late(self) -> None:
        if not self._answer.done():
            self._settle(TimeoutError())
            self.abort()

    def ping(self) -> bool:
        if not self.closed:
            self.client.ping()
            self._flush()
        return not self.closed

    async def start_tls(self, context: ssl.SSLContext, name: str | None) -> None:
        """The TLS handshake; from then on the same link is encrypted.

        A server may speak as soon as its side of the handshake is done, which can be before ours is told of it: what
        comes is held until the client has been told, in `ask`.
        """
        self._held, self._heard = bytearray(), False
        plain = cast(asyncio.Transport, self._transport)
        encrypted = await self._loop.start_tls(
            plain, self, context, server_hostname=name, ssl_shutdown_timeout=_CLOSE_SECONDS
        )
        if encrypted is None:  # the connection was lost before the handshake began
            raise self._gone()
        self._transport = encrypted

    async def wait_closed(self) -> None:
        await asyncio.shield(self._lost)

    async def close(self) -> None:
        try:
            if not self.closed and self.client.state in (State.IDLE, State.ANONYMOUS):
                self.client.close()
                self._flush()
            if self.client.state is State.CLOSING:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self.wait_closed()
        except TimeoutError:
            pass  # it has had its chance
        finally:
            self.abort()

    def abort(self) -> None:
        """Cut the connection now. Whoever waits for an answer learns it."""
        if self._transport is not None:
            self._transport.abort()
        if not self.closed:
            self._lost.set_result(None)
            self._settle(self._gone())

    def _gone(self) -> Exception:
        """A new exception that says why there is no connection any more."""
        if self._violation is not None:
            return RemoteProtocolError(str(self._violation))
        if isinstance(self._lost_by, ssl.SSLError):
            return self._lost_by
        reason = self.client.error
        if reason is None and not self._peer_left:
            return ConnectionAbortedError(f"the session with {self._peer} is closed")
        if not self._heard and self.client.tls:
            words = "closed right after the handshake: the server refuses our certificate, or went away"
            return ssl.SSLError(ssl.SSL_ERROR_EOF, words)
        if not self._heard and self.client.state is State.READING_CAPABILITIES:
            return TurnedAwayError(f"{self._peer} closed the connection without a byte")
        gone = ConnectionResetError(f"{self._peer} closed the connection" + (f": {reason}" if reason else ""))
        gone.__cause__ = reason
        return gone
