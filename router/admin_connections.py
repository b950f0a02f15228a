"""The connections of one HTTP listener: so many and no more, and none that only costs.

Owns accepting, and which connection goes where one has to: the one that has been without a request longest. Must not
know HTTP; who speaks on a connection is handed in, and says when it is asked something.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from router.descriptors import RESERVE

log = logging.getLogger("fairlead.admin")

CONNECTIONS = 250
"""Connections of a listener at once: a page has six, a scraper one, and there are 100 streams of events."""
SHARE, LEAST = 4, 8
"""Where the process may have few descriptors: each listener a fourth of them, so that two leave half to the workers'
links and to probes; and so many at least."""
SILENCE = 45.0
"""Seconds without a request after which a connection is closed: scrapes are 15 or 30 s apart."""
SWEEP = 5.0  # seconds between looks for silent ones
HANDSHAKE_TIMEOUT = 10.0  # seconds for a TLS handshake
ACCEPT_PAUSE = 1.0  # seconds until the next try, where the system has no descriptor or no memory


def most_connections(limit: int) -> int:
    """How many connections a listener may have in a process of that many descriptors."""
    return min(CONNECTIONS, max(LEAST, (limit - RESERVE) // SHARE))


@dataclass(eq=False, slots=True)
class _Connection:
    """One of them. `speaker` has a `transport` from when the connection is made until it is lost."""

    quiet_since: float  # monotonic seconds
    speaker: Any = None
    beginning: asyncio.Task[None] | None = None
    asked: bool = False

    def is_lost(self) -> bool:
        return self.beginning is not None and self.beginning.done() and getattr(self.speaker, "transport", None) is None

    def drop(self) -> None:
        """End it, unsent bytes and all."""
        transport = getattr(self.speaker, "transport", None)
        if transport is not None:
            transport.abort()
        elif self.beginning is not None:
            self.beginning.cancel()


class Connections:
    """Accepts on a listening socket.

    Args:
        sock: it, non-blocking; closed at the end.
        make: makes who speaks on one connection.
        context: of TLS; None: in clear.
        most: connections at once.
    """

    def __init__(
        self,
        sock: socket.socket,
        make: Callable[[], asyncio.BaseProtocol],
        context: ssl.SSLContext | None,
        most: int,
    ) -> None:
        self._sock, self._make, self._context, self._most = sock, make, context, most
        self._open: list[_Connection] = []

    @property
    def count(self) -> int:
        """How many there are."""
        self._forget_lost()
        return len(self._open)

    async def serve(self) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._sweep(), name="sweep of HTTP connections")
                while True:
                    try:
                        accepted, _ = await loop.sock_accept(self._sock)
                    except ConnectionError:  # it hung up before
                        continue
                    except OSError as exc:
                        log.warning("admin: cannot accept a connection: %s", exc.strerror)
                        await asyncio.sleep(ACCEPT_PAUSE)
                        continue
                    if self._make_room():
                        connection = _Connection(time.monotonic())
                        connection.beginning = tasks.create_task(self._begin(accepted, connection))
                        self._open.append(connection)
                    else:
                        accepted.close()
                    await asyncio.sleep(0)  # accepting alone must not take the loop, however many come
        finally:
            self._sock.close()

    @contextmanager
    def asked(self, speaker: object) -> Iterator[None]:
        """While this lasts, the connection of that speaker is at work."""
        connection = next((one for one in self._open if one.speaker is speaker), None) or _Connection(0.0)
        connection.asked = True
        try:
            yield
        finally:
            connection.asked, connection.quiet_since = False, time.monotonic()

    async def _begin(self, accepted: socket.socket, connection: _Connection) -> None:
        def make() -> asyncio.BaseProtocol:
            connection.speaker = self._make()
            return connection.speaker  # type: ignore[no-any-return]

        loop = asyncio.get_running_loop()
        timeout = None if self._context is None else HANDSHAKE_TIMEOUT
        try:
            await loop.connect_accepted_socket(make, accepted, ssl=self._context, ssl_handshake_timeout=timeout)
        except OSError:  # it hung up, or speaks no TLS of ours
            accepted.close()
        except Exception:  # a fault of one must not end the listener
            log.exception("admin: a connection could not be begun")

    def _make_room(self) -> bool:
        """Whether there may be one more; the longest silent one goes for it."""
        self._forget_lost()
        if len(self._open) < self._most:
            return True
        silent = min((one for one in self._open if not one.asked), key=lambda one: one.quiet_since, default=None)
        if silent is None:
            return False
        self._open.remove(silent)
        silent.drop()
        return True

    def _forget_lost(self) -> None:
        self._open = [one for one in self._open if not one.is_lost()]

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            self._forget_lost()
            late = time.monotonic() - SILENCE
            for connection in self._open:
                if not connection.asked and connection.quiet_since < late:
                    connection.drop()
