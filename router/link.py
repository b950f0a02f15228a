"""The line between the main process and one worker: messages and descriptors over a socket pair.

Owns the socket, what waits to be sent on it, and its end. Must not know what messages mean.
"""

from __future__ import annotations

import array
import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence

from router.forms import FormError
from router.messages import FIRST, PACKET_LIMIT, Assembly, Message, decode, encode

log = logging.getLogger("fairlead.router")

FDS_AT_ONCE = 200
"""Descriptors in one packet; the kernel takes 253 (SCM_MAX_FD)."""
WAITING_LIMIT = 64 << 20
"""Bytes that may wait for a reader that does not read: it hangs, and is given up."""


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends. Packets keep their bounds, and the end of one process is an end of file to the other."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for one in pair:
        one.setblocking(False)
    return pair


class Link:
    """One end of the line, in an event loop.

    Args:
        sock: the socket; closed when the line ends.
        on_message: called with each message, and the descriptors that came with it.
        on_end: called once when the other end is gone, or hangs. Not after `close`.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[Message, list[int]], None],
        on_end: Callable[[], None],
    ) -> None:
        self._sock = sock
        self._on_message = on_message
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._assembly = Assembly()
        self._fds: list[int] = []
        self._waiting: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._waiting_bytes = 0
        self._open = True
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._read)

    @property
    def open(self) -> bool:
        """Whether the line stands, as far as we know."""
        return self._open

    @property
    def idle(self) -> bool:
        """Whether everything is sent."""
        return not self._waiting

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send, or have it wait until there is room. Descriptors go with the message's first packet."""
        if not self._open:
            return
        for packet in encode(message):
            self._waiting.append((packet, tuple(fds) if packet[0] & FIRST else ()))
            self._waiting_bytes += len(packet)
        if self._waiting_bytes > WAITING_LIMIT:
            self._end()
        else:
            self._write()

    def pause(self) -> None:
        """Read no more, and keep the socket."""
        if self._open:
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())

    def resume(self) -> None:
        """Read again, and send what waits."""
        if self._open:
            self._loop.add_reader(self._sock.fileno(), self._read)
            self._write()

    def close(self) -> None:
        """End the line; what waits is dropped."""
        if self._open:
            self.pause()
            self._open = False
            self._drop_fds()
            self._sock.close()

    def _end(self) -> None:
        if self._open:
            self.close()
            self._on_end()

    def _write(self) -> None:
        while self._waiting:
            packet, fds = self._waiting[0]
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                self._sock.sendmsg([packet], ancillary)
            except BlockingIOError:
                self._loop.add_writer(self._sock.fileno(), self._write)
                return
            except OSError:
                self._end()
                return
            self._waiting.popleft()
            self._waiting_bytes -= len(packet)
        self._loop.remove_writer(self._sock.fileno())

    def _read(self) -> None:
        while self._open:
            try:
                packet, ancillary, _, _ = self._sock.recvmsg(PACKET_LIMIT, socket.CMSG_SPACE(FDS_AT_ONCE * 4))
            except BlockingIOError:
                return
            except OSError:
                packet, ancillary = b"", []
            if packet and packet[0] & FIRST:
                self._drop_fds()  # of a message whose end never came: its sender was replaced
            for level, kind, data in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds = array.array("i")
                    fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
                    self._fds.extend(fds)
            if not packet:
                self._end()
                return
            whole = self._assembly.add(packet)
            if whole is not None:
                fds_now, self._fds = self._fds, []
                self._hear(whole, fds_now)

    def _drop_fds(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def _hear(self, data: bytes, fds: list[int]) -> None:
        try:
            message = decode(data)
        except FormError as exc:
            log.error("link: a message cannot be read: %s", exc)
            message = None
        if message is None:
            for fd in fds:
                os.close(fd)
            return
        self._on_message(message, fds)
