"""What comes before a session on a route behind proxies: a PROXY header, read to its last byte and no further.

Owns whom to believe: a header is required from a trusted network and read from nobody else, so that nobody can claim an
address and nothing is guessed from bytes. Must not know what follows.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol as Shape
from typing import cast

from cluster.members import Endpoint
from router.addresses import Networks, peer_of
from router.proxy_header import Header, ProxyHeaderError, parse

log = logging.getLogger("fairlead.router")


class Introduced(Shape):
    """A session that is to begin."""

    @property
    def client(self) -> asyncio.Protocol:
        """Its protocol."""

    @property
    def id(self) -> int:
        """Its number, for the log."""

    def announce(self, descriptor: int) -> bool:
        """Its connection is there and its client not known yet: it counts from now on. Whether there is room for it."""

    def withdraw(self) -> None:
        """It does not begin after all."""

    def introduce(self, source: Endpoint, destination: Endpoint) -> None:
        """A trusted proxy says who the client is, and what it connected to."""


class Preface(asyncio.Protocol):
    """Reads a header, if one is due, and hands the connection to the session.

    Args:
        session: what begins after it.
        proxies: from where a header is required.
        loop: the event loop.
        timeout: seconds for the header to come.
        waiting: where it stands while it waits for one.
    """

    def __init__(
        self,
        session: Introduced,
        proxies: Networks,
        loop: asyncio.AbstractEventLoop,
        timeout: float,
        waiting: set[Preface],
    ) -> None:
        self._session = session
        self._proxies = proxies
        self._loop = loop
        self._timeout = timeout
        self._waiting = waiting
        self._transport: asyncio.Transport | None = None
        self._proxy: Endpoint | None = None
        self._late: asyncio.TimerHandle | None = None
        self._read = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._proxy = peer_of(transport.get_extra_info("peername"))
        if self._proxy not in self._proxies:
            self._hand_over(b"")
            return
        self._waiting.add(self)
        if not self._session.announce(transport.get_extra_info("socket").fileno()):
            self._hand_over(b"")  # to be refused, whoever it is
            return
        self._late = self._loop.call_later(self._timeout, self._end, f"no PROXY header within {self._timeout:g} s")

    def data_received(self, data: bytes) -> None:
        self._read += data
        try:
            header = parse(bytes(self._read))
        except ProxyHeaderError as error:
            self._end(str(error))
            return
        if header is not None:
            self._introduce(header)
            self._hand_over(bytes(self._read[header.size :]))

    def eof_received(self) -> bool:
        self._end("it ended before its PROXY header did")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._transport = None
        if self in self._waiting:
            self._waiting.remove(self)
            self._session.withdraw()

    def abort(self) -> None:
        """Close at once: there is no time left for a header."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _introduce(self, header: Header) -> None:
        if header.source is None or header.destination is None:
            return
        source, destination = (peer_of((one.host, one.port)) for one in (header.source, header.destination))
        if source is not None and destination is not None:
            self._session.introduce(source, destination)

    def _hand_over(self, rest: bytes) -> None:
        transport, self._transport = self._transport, None
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if transport is None:
            return
        self._waiting.discard(self)
        client = self._session.client
        transport.set_protocol(client)
        client.connection_made(transport)
        if rest:
            client.data_received(rest)

    def _end(self, why: str) -> None:
        if self._transport is None:
            return
        where = self._proxy or "a Unix socket"
        log.warning("session %d: closed, the proxy at %s sent no usable header: %s", self._session.id, where, why)
        self.abort()
