"""The server's TCP side: conversations, bounded in number, time and pace. Must not know what the right answer is."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass
from functools import partial

from srv.allowance import Allowance, Limits, source_of
from srv.desk import Address, Desk

log = logging.getLogger("fairlead.srv")

ACCEPT_BATCH = 16  # connections a wake-up; then it is the turn of UDP and everything else
ACCEPT_PAUSE = 1.0  # seconds, where the process has no more descriptors to give
CUT_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: a reset, so that nothing of the connection is kept
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(eq=False, slots=True)
class _Guest:
    source: str
    peer: Address
    is_secondary: bool
    task: asyncio.Task[None] | None = None
    writer: asyncio.StreamWriter | None = None

    def cut(self) -> None:
        """End the conversation, wherever it stands."""
        if self.writer is not None:
            self.writer.transport.abort()
        if self.task is not None:
            self.task.cancel()  # it may be waiting for its turn


class Connections:
    """Converses with whoever connects.

    Args:
        desk: knows the answers.
        limits: of a source; secondaries may connect and ask as often as they like.
        total: connections at the same time, from all.
        idle_timeout: seconds without a whole query, or with a reply that is not taken.
    """

    def __init__(self, desk: Desk, limits: Limits, *, total: int, idle_timeout: float) -> None:
        self._desk = desk
        self._limits = limits
        self._total = total
        self._idle_timeout = idle_timeout
        self._newcomers = Allowance(limits.connections, limits.connections)
        self._queries = Allowance(limits.queries, limits.queries)
        self._open: OrderedDict[_Guest, None] = OrderedDict()  # the longest idle first
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: list[socket.socket] = []

    def __len__(self) -> int:
        return len(self._open)

    def listen(self, sock: socket.socket) -> None:
        """Accept from a listening socket, which is owned from here on."""
        self._listening.append(sock)
        asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    async def close(self) -> None:
        """Stop listening and cut what is connected."""
        loop = asyncio.get_running_loop()
        for sock in self._listening:
            loop.remove_reader(sock)
            sock.close()
        self._listening.clear()
        for guest in self._open:
            guest.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _accept(self, listening: socket.socket) -> None:
        loop, now = asyncio.get_running_loop(), time.monotonic()
        for _ in range(ACCEPT_BATCH):
            try:
                sock, peer = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                if exc.errno not in EXHAUSTED:
                    continue  # it has gone again (accept(2), error handling)
                log.error("cannot-accept reason=%r pause=%gs", exc.strerror, ACCEPT_PAUSE)
                loop.remove_reader(listening)
                loop.call_later(ACCEPT_PAUSE, self._resume, listening)
                return
            guest = _Guest(source_of(peer[0]), peer[:2], self._desk.is_secondary(peer))
            if not guest.is_secondary and not self._newcomers.admits(guest.source, now):
                self._desk.counts["tcp shed"] += 1
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, CUT_AT_ONCE)
                sock.close()
                continue
            sock.setblocking(False)
            self._make_room(guest.source)
            self._open[guest] = None
            guest.task = loop.create_task(self._converse(guest, sock), name=f"dns tcp {peer[0]}")
            self._tasks.add(guest.task)
            guest.task.add_done_callback(partial(self._ended, guest, sock))

    def _ended(self, guest: _Guest, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._open.pop(guest, None)
        if guest.writer is None:
            sock.close()  # nobody else took it over
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("connection-failed peer=%s reason=%r", guest.peer[0], fault)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._listening:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _make_room(self, source: str) -> None:
        """Cut the longest idle: of the source itself where it has its share, else of the one that has the most."""
        shares = Counter(guest.source for guest in self._open)
        if shares[source] >= self._limits.connections_open:
            crowd = source
        elif len(self._open) >= self._total:
            ((crowd, _),) = shares.most_common(1)
        else:
            return
        idle = next(guest for guest in self._open if guest.source == crowd)
        del self._open[idle]
        idle.cut()
        self._desk.counts["tcp crowded out"] += 1

    async def _converse(self, guest: _Guest, sock: socket.socket) -> None:
        try:
            reader, writer = await asyncio.open_connection(sock=sock)
        except OSError:
            return  # it has gone again
        guest.writer = writer
        try:
            await self._serve(reader, writer, guest)
        except TimeoutError:
            self._desk.counts["tcp idle"] += 1
            writer.transport.abort()
        except (asyncio.IncompleteReadError, OSError):
            pass  # the peer is done, politely or not
        finally:
            writer.close()
            try:
                async with asyncio.timeout(self._idle_timeout):
                    await writer.wait_closed()
            except OSError:  # a TimeoutError is one
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, guest: _Guest) -> None:
        while True:
            async with asyncio.timeout(self._idle_timeout):
                length = int.from_bytes(await reader.readexactly(2), "big")
                wire = await reader.readexactly(length)
            if guest in self._open:
                self._open.move_to_end(guest)
            await self._pace(guest)
            reaction = self._desk.answer(wire, guest.peer, over_tcp=True)
            if reaction.reply is None:
                return  # whoever sends that over TCP will not say anything sensible later
            for reply in (reaction.reply, *reaction.rest):
                if writer.is_closing():
                    return  # cut meanwhile, with queries still in the buffer; uvloop raises where one writes then
                writer.write(len(reply).to_bytes(2, "big") + reply)
                async with asyncio.timeout(self._idle_timeout):
                    await writer.drain()
                # None of the above need have waited: whoever pipelines takes turns with the others.
                await asyncio.sleep(0)

    async def _pace(self, guest: _Guest) -> None:
        if guest.is_secondary:
            return
        delay = self._queries.delay(guest.source, time.monotonic())
        if delay > 0:
            self._desk.counts["tcp slowed"] += 1
            await asyncio.sleep(delay)
