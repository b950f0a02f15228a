"""The opaque relay: bytes from one end to the other, untouched and uncounted beyond a sum.

Owns flow control, half-closes and the end of both transports. Must not know routes or topologies; what it needs told
goes through `Ends`. Nothing here parses.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from enum import Enum
from typing import Protocol as Shape
from typing import cast

# Both limits bound what one session can make the router hold, whatever its peers do.
HELD_BYTES = 16 * 1024
"""What a client may send before a member is attached, one read more at most: an X client's first messages. A classic
client sends nothing."""
WRITE_HIGH_WATER = 64 * 1024
"""Unsent bytes at which the other end is no longer read; one event loop read (256 KiB) may come on top."""
READ_BYTES = 256 * 1024
"""The most that one read of an event loop brings: asyncio's own figure, and a little above uvloop's."""
LINGER = 10.0
"""Seconds that one end has left to take its last bytes once the other is gone."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with which a close is a reset (socket(7))."""


class Side(Enum):
    """The two ends of a session."""

    CLIENT = "client"
    MEMBER = "member"


class Ends(Shape):
    """What a relay tells its owner."""

    def end_closed(self, side: Side) -> None:
        """The transport of that side is closed."""

    def end_connected(self, side: Side) -> None:
        """The transport of that side is open."""


class End(asyncio.Protocol):
    """One socket of a session. Without a peer it holds what arrives; with one it passes everything on.

    Bytes objects and transports on purpose. uvloop's `write` sends at once, and of a query's cost nine tenths are the
    kernel's: of one buffer shared by all, bare sockets and an epoll loop of our own none was better beyond the noise,
    and each could let one session's bytes into another.
    """

    __slots__ = ("_linger", "_owner", "ended_first", "eof", "held", "loop", "peer", "received", "side", "transport")

    def __init__(self, owner: Ends, side: Side, loop: asyncio.AbstractEventLoop) -> None:
        self.side = side
        self.loop = loop
        self.peer: End | None = None
        self.transport: asyncio.Transport | None = None
        self.held = b""
        self.received = 0  # bytes read from this socket
        self.eof = False  # whether its peer will send nothing more
        self.ended_first = False  # whether it was this side that ended the session
        self._owner: Ends | None = owner
        self._linger: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transports do not derive from it
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        if self._owner is not None:
            self._owner.end_connected(self.side)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        peer = self.peer
        if peer is not None:
            if peer.transport is not None:
                peer.transport.write(data)
            return
        self.held += data
        if len(self.held) > HELD_BYTES and self.transport is not None:
            self.transport.pause_reading()

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.resume_reading()

    def eof_received(self) -> bool:
        self._note_end()
        self.eof = True
        peer = self.peer
        if peer is None:  # a client that half-closes before it has a member wants nothing more
            return False
        if peer.eof:
            self.close()
            peer.close()
        elif peer.transport is not None and not peer.transport.is_closing():
            peer.transport.write_eof()
            if self.side is Side.MEMBER:  # a server that ends its side will not read again
                peer.linger()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._note_end()
        self.transport = None
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        # Whoever is last leaves no cycle: a session's memory is free when it ends, and the collector has no work.
        peer, owner, self._owner = self.peer, self._owner, None
        if peer is not None and peer.transport is not None:
            peer.close()
        elif peer is not None:
            self.peer = peer.peer = None
        if owner is not None:
            owner.end_closed(self.side)

    def _note_end(self) -> None:
        peer = self.peer
        if not self.eof and peer is not None and not peer.eof and peer.transport is not None:
            self.ended_first = not peer.transport.is_closing()

    def join(self, peer: End) -> None:
        """Pass everything on to `peer` from now on, and everything of its to here."""
        self.peer, peer.peer = peer, self
        for source, sink in ((self, peer), (peer, self)):
            held, source.held = source.held, b""
            if held and sink.transport is not None:
                if source.transport is not None:
                    source.transport.resume_reading()
                sink.transport.write(held)  # last, for it may pause the source again

    def close(self) -> None:
        """Send what is left, then close; within LINGER seconds whatever the other side does."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
            if self.transport.get_write_buffer_size():  # else it is closed in the loop's next turn
                self.linger()

    def say_last(self, data: bytes) -> None:
        """Send a last word and close once the client has had time to read it.

        Closing at once would discard it where the client's own bytes are still unread (a reset overtakes data).
        """
        self.peer = None
        self.held = b""
        if self.transport is None or self.transport.is_closing():
            return
        self.transport.write(data)
        self.transport.write_eof()
        self.linger(1.0)

    def linger(self, seconds: float = LINGER) -> None:
        """Abort after a while, unless closed by then."""
        if self._linger is None and self.transport is not None:
            self._linger = self.loop.call_later(seconds, self.abort)

    def abort(self) -> None:
        """Close at once; by a reset where that drops unsent bytes, since an orderly end says that these were all."""
        if self.transport is not None:
            if self.transport.get_write_buffer_size():
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.abort()
