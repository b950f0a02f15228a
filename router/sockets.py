"""The listening sockets of a router, by the addresses they listen on.

Owns them for as long as the router lives: workers have copies. Some may have come from the process before, or from
systemd. Must not know what is done with connections.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import logging
import os
import socket
import struct
from collections.abc import Iterable, Mapping, MutableMapping

from cluster.members import Endpoint
from router.addresses import Listen
from router.listening import File, ListenError, adapt, file_of, is_dual_stack, open_socket, permit, remove_file
from router.routes import Wire

log = logging.getLogger("fairlead.router")

LISTEN_FDS_START = 3  # sd_listen_fds(3)
SETTLING = 0.2
"""Seconds between hushing a socket and closing it: TCP handshakes that had begun come to their end and are accepted."""

SO_ATTACH_FILTER = 26  # asm-generic/socket.h; the socket module has no name for it

SO_DETACH_FILTER = 27

# Of what comes to the socket, the flags of the TCP header: SYN without ACK is a new connection, and dropped.
_NO_SYN = (
    (0x30, 0, 0, 13),  # ldb [13]
    (0x54, 0, 0, 0x12),  # and SYN|ACK
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # let pass
)


def hush(sock: socket.socket) -> None:
    """Let no new connection begin on a listening socket; those that have begun still come.

    Closing one resets whatever is queued on it, and between the last accept and the close something may always be. So
    the kernel drops new SYNs first (socket(7), SO_ATTACH_FILTER): their senders try again and are refused, or find our
    successor.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in _NO_SYN))
    program = struct.pack("@HP", len(_NO_SYN), ctypes.addressof(code))
    with contextlib.suppress(OSError):  # a kernel without filters: what is queued in that moment is reset
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def unhush(sock: socket.socket) -> None:
    """Let new connections begin again on a socket that came from somebody who may have hushed it."""
    with contextlib.suppress(OSError):  # it has no filter
        sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


class ListeningSockets:
    """Listening sockets by address."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}
        self._wires: dict[str, Wire] = {}  # what they are set to
        self._files: dict[str, File] = {}  # of Unix sockets, to be removed with them
        self._offered: dict[str, socket.socket] = {}  # handed to us; used where an address asks for them
        self.stored: set[str] = set()  # addresses that somebody else keeps open, too: systemd

    def offer(self, fds: Iterable[int], *, stored: bool) -> None:
        """Take over open descriptors. What does not listen on an address that is asked for is closed by `settle`."""
        for fd in fds:
            os.set_inheritable(fd, False)
            sock = socket.socket(fileno=fd)
            sock.setblocking(False)
            unhush(sock)
            address = address_of(sock)
            self._offered[address] = sock
            if stored:
                self.stored.add(address)

    def open(self, wanted: Mapping[str, tuple[Listen, Wire]]) -> list[str]:
        """Listen on addresses, besides those that are open; return those that are new. All of them or none.

        Those that are open, or were handed to us, are set to what is wanted now; accepted connections keep what they
        have. The permissions of a file that somebody else keeps are theirs to set, until a change of ours.

        Args:
            wanted: by what asks for them, for the error; with what their sockets are set to.

        Raises:
            ListenError: one cannot be had, or not as it is wanted; the message says what asks for it.
        """
        opened: list[str] = []
        for asking, (where, wire) in wanted.items():
            address = str(where)
            if address in self._sockets:
                if wire.dual_stack != self._wires[address].dual_stack:
                    self.close(opened)
                    raise ListenError(f"{asking}: dual_stack cannot change while {address} is open; a restart does it")
                continue
            try:
                offered = self._offered.pop(address, None)
                if offered is None:
                    offered, self._wires[address] = open_socket(where, wire), wire
                self._sockets[address] = offered
            except ListenError as exc:
                self.close(opened)
                raise ListenError(f"{asking}: {exc}") from exc
            file = file_of(self._sockets[address])
            if file is not None:
                self._files[address] = file
            opened.append(address)
        for where, wire in wanted.values():
            if self._wires.get(str(where)) != wire:
                self._adapt(where, wire)
        return opened

    def _adapt(self, where: Listen, wire: Wire) -> None:
        address = str(where)
        sock, file, before = self._sockets[address], self._files.get(address), self._wires.get(address)
        self._wires[address] = wire
        adapt(sock, wire)
        is_ours = address not in self.stored if before is None else before.socket_mode != wire.socket_mode
        if file is not None and is_ours:
            try:
                permit(file, wire.socket_mode)
            except OSError as exc:
                log.warning("%s: the permissions stay as they are: %s", address, exc.strerror)
        if isinstance(where, Endpoint) and where.host == "::" and is_dual_stack(sock) != wire.dual_stack:
            log.warning(
                "%s: whoever opened this socket chose dual_stack = %s", address, str(not wire.dual_stack).lower()
            )

    def settle(self) -> list[str]:
        """Close what was offered and nobody asked for, files included; return its addresses."""
        for sock in self._offered.values():
            file = file_of(sock)
            if file is not None:
                remove_file(file)
        return self.let_go()

    def let_go(self) -> list[str]:
        """The same, and leave files as they are: somebody else may keep the sockets for another start."""
        left = list(self._offered)
        for address, sock in self._offered.items():
            sock.close()
            self.stored.discard(address)
        self._offered.clear()
        return left

    def hush(self, addresses: Iterable[str]) -> bool:
        """Let no new connection begin on these, apart from those that somebody else keeps; say whether there are."""
        ours = [address for address in addresses if address in self._sockets and address not in self.stored]
        for address in ours:
            hush(self._sockets[address])
        return bool(ours)

    def close(self, addresses: Iterable[str]) -> None:
        """Close some. Copies in workers stay open."""
        for address in list(addresses):
            sock = self._sockets.pop(address, None)
            if sock is not None:
                sock.close()
            self._wires.pop(address, None)
            file = self._files.pop(address, None)
            if file is not None and address not in self.stored:
                remove_file(file)

    def descriptors(self) -> dict[str, int]:
        """All of them, by address."""
        return {address: sock.fileno() for address, sock in self._sockets.items()}

    def copy(self, endpoint: Endpoint) -> socket.socket:
        """Another descriptor of one that is open."""
        return self._sockets[str(endpoint)].dup()


def address_of(sock: socket.socket) -> str:
    """Where a socket listens, as settings spell it."""
    name = sock.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{name}"
    return str(Endpoint(str(ipaddress.ip_address(name[0])), name[1]))


def take_from_systemd(environment: MutableMapping[str, str], pid: int) -> list[int]:
    """The descriptors that systemd started us with (sd_listen_fds(3)); the variables are taken away."""
    meant_for = environment.pop("LISTEN_PID", "")
    number = environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if meant_for != str(pid) or not number.isdigit():
        return []
    return list(range(LISTEN_FDS_START, LISTEN_FDS_START + int(number)))
