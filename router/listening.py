"""Sockets as routes want them: listening ones opened and removed, and what the kernel is to watch over.

Owns socket options. Must not know sessions.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from router.addresses import Listen, UnixPath
from router.routes import Wire

USUAL = Wire()


File = tuple[str, int, int]
"""A file by its path, device and inode."""


class ListenError(Exception):
    """An address cannot be listened on; the message names it."""


def open_socket(where: Listen, wire: Wire = USUAL) -> socket.socket:
    """A listening socket; accepted connections inherit what it is set to.

    A Unix socket's file that nobody listens on any more is replaced.

    Raises:
        ListenError: the address is taken, not ours, or not allowed.
    """
    try:
        # The protocol is named, or asyncio does not set TCP_NODELAY on what is accepted.
        protocol = 0 if isinstance(where, UnixPath) else socket.IPPROTO_TCP
        sock = socket.socket(_family(where), socket.SOCK_STREAM, protocol)
    except OSError as exc:
        raise ListenError(f"{where}: {exc.strerror}") from exc
    try:
        sock.setblocking(False)
        if isinstance(where, UnixPath):
            remove_stale(where.path)
            _bind_unix(sock, where.path, wire.socket_mode)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            notice_dead_peers(sock, wire)
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not wire.dual_stack)
            sock.bind((where.host, where.port))
        sock.listen(wire.backlog)  # here, since uvloop's own call keeps a failure to itself
    except OSError as exc:
        sock.close()
        raise ListenError(f"{where}: {exc.strerror or exc}") from exc
    return sock


def file_of(sock: socket.socket) -> File | None:
    """The file of a listening Unix socket, as it is now; None where it has none."""
    if sock.family != socket.AF_UNIX:
        return None
    path = sock.getsockname()
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return path, found.st_dev, found.st_ino


def remove_file(file: File) -> None:
    """Remove the file of a Unix socket, unless it is another's by now. Who listens there still is a worker of ours."""
    path = Path(file[0])
    with contextlib.suppress(OSError):
        found = path.stat()
        if (found.st_dev, found.st_ino) == file[1:]:
            path.unlink()


def remove_stale(path: str) -> None:
    """Remove the file of a Unix socket that nobody listens on; what is something else stays.

    Raises:
        OSError: it may not be removed.
    """
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            Path(path).unlink(missing_ok=True)


def notice_dead_peers(sock: socket.socket, wire: Wire) -> None:
    """Have the kernel find out about hosts that vanished (tcp(7)); a listening socket passes it on.

    Args:
        sock: a socket, or what a transport gives for its own.
        wire: what it is set to.
    """
    if sock.family == socket.AF_UNIX:
        return
    # One object for all calls: uvloop's stand-in makes one for each. Its family does not matter to them.
    own = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, sock.fileno())
    try:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, wire.keepalive_idle > 0)
        for option, value in _watched(wire):
            if value:
                own.setsockopt(socket.IPPROTO_TCP, option, value)
    finally:
        own.detach()


def adapt(sock: socket.socket, wire: Wire) -> None:
    """Set a socket that listens already to what is wanted of it now; whoever has a copy of it shares that."""
    if sock.family != socket.AF_UNIX:
        with socket.socket(sock.family, socket.SOCK_STREAM) as fresh:  # has the kernel's own, for what is left to it
            for option, value in _watched(wire):
                if not value:
                    sock.setsockopt(socket.IPPROTO_TCP, option, fresh.getsockopt(socket.IPPROTO_TCP, option))
        notice_dead_peers(sock, wire)
    sock.listen(wire.backlog)


def is_dual_stack(sock: socket.socket) -> bool:
    """Whether an IPv6 socket takes IPv4 clients, too."""
    return not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def permit(file: File, mode: int) -> None:
    """Set the permissions of a Unix socket's file, unless it is another's by now.

    Raises:
        OSError: it is gone, or not ours to change.
    """
    path = Path(file[0])
    found = path.stat()
    if (found.st_dev, found.st_ino) == file[1:]:
        path.chmod(mode)


def _watched(wire: Wire) -> tuple[tuple[int, int], ...]:
    return (
        (socket.TCP_KEEPIDLE, wire.keepalive_idle),
        (socket.TCP_KEEPINTVL, wire.keepalive_interval),
        (socket.TCP_KEEPCNT, wire.keepalive_count),
        (socket.TCP_USER_TIMEOUT, wire.tcp_user_timeout * 1000),
    )


def _family(where: Listen) -> socket.AddressFamily:
    if isinstance(where, UnixPath):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in where.host else socket.AF_INET


def _bind_unix(sock: socket.socket, path: str, mode: int) -> None:
    """Bind with the right permissions from the first moment: nobody may connect before they are set."""
    before = os.umask(0o777 & ~mode)
    try:
        sock.bind(path)
    finally:
        os.umask(before)
