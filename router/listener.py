"""The listening socket of a route at work. What happens on a connection is the session's."""

from __future__ import annotations

import asyncio
import socket

from cluster.members import Endpoint
from router.addresses import Listen, UnixPath
from router.listening import ListenError, open_socket
from router.port import Port

__all__ = ["ListenError", "Listener", "open_socket"]


class Listener:
    """Accepts connections for one port until it is closed."""

    def __init__(self, port: Port, sock: socket.socket) -> None:
        self.port = port
        self._sock = sock
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
        """Whether new connections are accepted."""
        return self._server is not None

    async def start(self) -> None:
        """Begin to accept."""
        loop, backlog = asyncio.get_running_loop(), self.port.route.wire.backlog
        create = loop.create_unix_server if self._sock.family == socket.AF_UNIX else loop.create_server
        self._server = await create(self.port.accept, sock=self._sock, backlog=backlog)
        self.port.sweeps.start()

    def close(self) -> None:
        """Accept no more; sessions live on. The file of a Unix socket is its opener's to remove."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.port.sweeps.end_with_sessions()
        self._sock.close()
