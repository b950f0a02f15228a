"""The listening socket of a route. Owns its options and its end; what happens on a connection is the session's."""

from __future__ import annotations

import asyncio
import socket

from cluster.members import Endpoint
from router.sessions import Port
from router.splice import notice_dead_peers

BACKLOG = 4096
"""Connections the kernel keeps before they are accepted: a reconnect storm after a failover must find room. The
kernel's own limit (net.core.somaxconn) may be lower."""


class ListenError(Exception):
    """An address cannot be listened on; the message names it."""


def open_socket(endpoint: Endpoint) -> socket.socket:
    """A listening TCP socket; accepted connections inherit its keepalive.

    Raises:
        ListenError: the address is taken, not ours, or not allowed.
    """
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    try:
        # The protocol is named, or asyncio does not set TCP_NODELAY on what is accepted.
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as exc:
        raise ListenError(f"{endpoint}: {exc.strerror}") from exc
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        notice_dead_peers(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind((endpoint.host, endpoint.port))
        sock.listen(BACKLOG)  # here, since uvloop's own call keeps a failure to itself
    except OSError as exc:
        sock.close()
        raise ListenError(f"{endpoint}: {exc.strerror}") from exc
    return sock


class Listener:
    """Accepts connections for one port until it is closed."""

    def __init__(self, port: Port, sock: socket.socket) -> None:
        self.port = port
        self._sock = sock
        self._server: asyncio.Server | None = None

    @property
    def endpoint(self) -> Endpoint:
        """The address it is bound to, with the port number that the kernel chose where 0 was asked for."""
        host, port = self._sock.getsockname()[:2]
        return Endpoint(host, port)

    @property
    def listening(self) -> bool:
        """Whether new connections are accepted."""
        return self._server is not None

    async def start(self) -> None:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self.port.accept, sock=self._sock, backlog=BACKLOG)

    def close(self) -> None:
        """Accept no more; sessions live on."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._sock.close()
