"""The listening socket of a route at work. What happens on a connection is the session's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from cluster.members import Endpoint
from router.addresses import Listen, UnixPath
from router.listening import ListenError, open_socket
from router.port import Port

__all__ = ["ListenError", "Listener", "open_socket"]


class Listener:
    """Accepts connections for one port until it is closed.

    Args:
        port: whose they are.
        sock: where they come; closed with the listener.
        on_accept: called at each of them.
    """

    def __init__(self, port: Port, sock: socket.socket, on_accept: Callable[[], None] | None = None) -> None:
        self.port = port
        self._sock = sock
        self._on_accept = on_accept
        self._is_back = self._is_closed = False
        name = sock.getsockname()
        self.address: Listen = Endpoint(*name[:2]) if isinstance(name, tuple) else UnixPath(name)
        """What it is bound to, with the port number that the kernel chose where 0 was asked for."""
        self._server: asyncio.Server | None = None

    @property
    def endpoint(self) -> Endpoint:
        """The same, of a TCP socket."""
        host, port = self._sock.getsockname()[:2]
        return Endpoint(host, port)

    @property
    def listening(self) -> bool:
        """Whether new connections are accepted, by us or by those that we leave them to for now."""
        return self._server is not None or self._is_back

    async def start(self) -> None:
        """Begin to accept."""
        await self._listen()
        self.port.sweeps.start()

    def step_back(self) -> None:
        """Leave new connections to others that have the same socket, until `step_forward`."""
        if self._server is not None:
            self._is_back = True
            self._end_listening()

    async def step_forward(self) -> None:
        """Accept again, unless closed meanwhile."""
        if self._is_back:
            await self._listen()
            self._is_back = False

    async def _listen(self) -> None:
        loop, backlog = asyncio.get_running_loop(), self.port.route.wire.backlog
        create = loop.create_unix_server if self._sock.family == socket.AF_UNIX else loop.create_server
        # A copy, since a server closes what it was given.
        copy = self._sock.dup()
        try:
            server = await create(self._accept, sock=copy, backlog=backlog)
        except BaseException:
            copy.close()
            raise
        if self._is_closed:
            server.close()
        else:
            self._server = server

    def _end_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _accept(self) -> asyncio.BaseProtocol:
        if self._on_accept is not None:
            self._on_accept()
        return self.port.accept()

    def close(self) -> None:
        """Accept no more; sessions live on. The file of a Unix socket is its opener's to remove."""
        self._is_back, self._is_closed = False, True
        self._end_listening()
        self.port.sweeps.end_with_sessions()
        self._sock.close()
