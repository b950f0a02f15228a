"""The server's UDP side: a socket read in batches. Owns its packets and what a source may send of them.

Must not know what the right answer is. The socket is read by hand, many packets a wake-up: datagrams from an event loop
cost a callback and some objects each, which is as much as the answer does.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import socket
import struct
import time

from srv.allowance import ODD_PACKET, Allowance, Limits, source_of
from srv.complaints import Ration
from srv.desk import Desk
from srv.floods import Floods, program
from srv.plain import read_plain
from srv.replies import write_truncated
from srv.wire import QUERY_OCTETS

log = logging.getLogger("fairlead.srv")

BATCH = 64  # packets a wake-up: four milliseconds of ordinary questions, then it is the turn of TCP and all else
# Octets that the kernel keeps for us (it halves and bounds them). While this process is busy, or a flood is being shed,
# the packets of others wait here: 1 MiB is some 1,300 of them, 80 ms of work, which clients do not mind.
RECEIVE_OCTETS = 1024 * 1024
REVIEW = 0.5  # seconds between looks at who floods; until the first one, others may have to ask a second time
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h; the socket module has no names for them


class Datagrams:
    """Answers what comes to one socket, until closed.

    Args:
        desk: knows the answers.
        sock: bound; owned from here on.
        limits: of a source.
        allowance: of packets, of all sources, which all sockets share.
        large: of answers that are far longer than their questions, the same.
    """

    def __init__(self, desk: Desk, sock: socket.socket, limits: Limits, allowance: Allowance, large: Allowance) -> None:
        self._desk = desk
        self._sock = sock
        self._limits = limits
        self._allowance = allowance
        self._large = large
        self._beyond = 0
        self._floods = Floods(limits.packets)
        self._ration = Ration()
        self._told: set[str] = set()
        self._review: asyncio.TimerHandle | None = None
        self._reviewed_at = 0.0
        self._loop = asyncio.get_running_loop()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_OCTETS)
        self._loop.add_reader(sock, self._read)

    def close(self) -> None:
        """Stop listening."""
        self._loop.remove_reader(self._sock)
        if self._review is not None:
            self._review.cancel()
        self._sock.close()

    def _read(self) -> None:
        receive, admits = self._sock.recvfrom, self._allowance.admits
        now, sieved = time.monotonic(), self._floods.sieve.sources
        for _ in range(BATCH):
            try:
                wire, peer = receive(QUERY_OCTETS + 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # an earlier reply's recipient has gone (ICMP): nothing to do
            source = source_of(peer[0])
            if source in sieved:
                self._floods.note(source)
            reply = self._answer(wire, peer, source, now) if admits(source, now) else self._refuse(wire, source)
            if reply is not None:
                self._send(reply, peer)

    def _answer(self, wire: bytes, peer: tuple[str, int], source: str, now: float) -> bytes | None:
        reaction = self._desk.answer(wire, peer, over_tcp=False)
        reply = reaction.reply
        if not reaction.is_plain:
            self._allowance.charge(source, ODD_PACKET - 1)
        if reply is None or reaction.query is None or len(reply) <= self._limits.large_factor * len(wire):
            return reply
        if self._large.admits(source, now):
            return reply
        self._desk.counts["udp too large"] += 1
        return write_truncated(reaction.query)

    def _refuse(self, wire: bytes, source: str) -> bytes | None:
        if source not in self._floods.sieve.sources:
            self._floods.note(source)
        if self._review is None:
            self._reviewed_at = time.monotonic()
            self._review = self._loop.call_later(REVIEW, self._look_for_floods)
        self._beyond += 1
        query = read_plain(wire) if self._beyond % self._limits.slip == 0 else None
        reply = None if query is None else write_truncated(query)
        self._desk.counts["udp shed" if reply is None else "udp slipped"] += 1
        return reply

    def _send(self, reply: bytes, peer: tuple[str, int]) -> None:
        try:
            self._sock.sendto(reply, peer)
        except OSError:  # no room in the kernel, no way to the peer, or no port that one could send to
            self._desk.counts["udp unsent"] += 1

    def _look_for_floods(self) -> None:
        now, before = time.monotonic(), self._floods.sieve
        rates = self._floods.review(now - self._reviewed_at)
        self._reviewed_at = now
        sieve = self._floods.sieve
        for source in sieve.sources:
            if source not in before.sources and self._ration.admits(source, now):
                self._told.add(source)
                withheld = self._ration.take_withheld()
                log.warning(
                    "flood source=%s packets_per_second=%d kept=1/%d withheld=%d",
                    source,
                    rates[source],
                    sieve.share,
                    withheld,
                )
        for source in self._told.difference(sieve.sources):
            self._told.discard(source)
            log.info("flood-over source=%s", source)
        if sieve != before:
            self._attach(program(sieve) if sieve.sources else b"")
        self._review = self._loop.call_later(REVIEW, self._look_for_floods) if sieve.sources else None

    def _attach(self, code: bytes) -> None:
        """Have the kernel run a filter before it queues a packet; none takes the last one away."""
        try:
            if not code:
                self._sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
                return
            buffer = ctypes.create_string_buffer(code, len(code))
            described = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))  # struct sock_fprog
            self._sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, described)
        except OSError as exc:  # a sandbox that forbids it: the flood is turned away here as far as time allows
            self._floods.unsieved()
            if self._ration.admits("filter", time.monotonic()):
                log.warning("cannot-filter reason=%r", exc.strerror)
