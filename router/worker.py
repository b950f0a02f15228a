"""A worker process: accepts on sockets that it was handed, and carries the bytes of its sessions.

Owns its ports. What it knows of clusters, and which routes it serves, the main process tells it over the link; it reads
no configuration, asks no member and no name server. Run by `router.hands` as `python -m router.worker`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from dataclasses import replace
from itertools import count

from cluster.members import Member
from cluster.topology import Topology, Trust
from router import logs
from router.accounts import report_route, report_sessions
from router.counts import SharedCounts, SharedMemory
from router.link import Link
from router.listener import Listener
from router.messages import (
    Configure,
    DialFailure,
    Kill,
    Killed,
    ListSessions,
    Message,
    Pulse,
    Report,
    Retire,
    RouteOrder,
    Serving,
    Sessions,
    Sockets,
    View,
)
from router.reports import RouteReport, WorkerReport, WorkerState, combine, past
from router.sessions import Port, number_sessions_from

log = logging.getLogger("fairlead.router")

LINK_FD, MEMORY_FD = 3, 4
SESSIONS_A_WORKER = 10**9
"""Session numbers that a worker has: the ninth worker's first session is 9000000001."""
TICK = 0.1
"""Seconds between looks at what is due. The event loop's lag is how late they come."""
SILENCE_LIMIT = 10.0
"""Seconds without a word of the main process, which speaks every second, after which nobody can be asked: what was last
known of roles serves new sessions for `topology_max_age`, and then no more."""
FAILURE_GAP = 0.1
"""Seconds between two words about failed dials of one member; the watcher does not ask DNS more often anyway."""
UNKNOWN = Topology()


class Worker:
    """The ports of one process, as the main process wants them.

    Args:
        serial: its number; no two workers of a router have the same.
        counts: where sessions are counted, all workers together.
        rows: where each route is counted; shared with `counts`.
    """

    def __init__(self, serial: int, counts: SharedCounts, rows: dict[str, int]) -> None:
        self.serial = serial
        self.state = WorkerState.STARTING
        self._counts = counts
        self._rows = rows
        self._started_at = time.monotonic()
        self._views: dict[str, Topology] = {}
        self._versions = count(1)
        self._sockets: dict[str, socket.socket] = {}
        self._held: dict[str, tuple[RouteOrder, Listener]] = {}
        self._leaving: list[tuple[Port, float]] = []  # ports of routes that are gone, and when their time is over
        self._past: dict[str, RouteReport] = {}
        self._drain_timeout = 0.0
        self._deadline: float | None = None
        self._cut_at_end = 0
        self._heard_at = time.monotonic()
        self._lag = 0.0
        self._failed_at: dict[str, float] = {}
        self._inbox: asyncio.Queue[tuple[Message, list[int]]] = asyncio.Queue()
        self._link: Link | None = None

    async def run(self, sock: socket.socket) -> None:
        """Serve until the last session after `Retire`, or after the main process is gone."""
        self._link = Link(sock, lambda message, fds: self._inbox.put_nowait((message, fds)), self._orphaned)
        async with asyncio.TaskGroup() as attaching:
            obeying = attaching.create_task(self._obey(attaching), name="messages")
            await self._tick_until_done()
            obeying.cancel()
        self.state = WorkerState.ENDED
        self._say(Report(0, self._report()))
        self._link.close()

    def _orphaned(self) -> None:
        log.warning("worker %d: the main process is gone; %g s for sessions to end", self.serial, self._drain_timeout)
        self._inbox.put_nowait((Retire(self._drain_timeout, queued=True), []))

    def _say(self, message: Message) -> None:
        if self._link is not None:
            self._link.send(message)

    async def _tick_until_done(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._done():
            due = loop.time() + TICK
            await asyncio.sleep(TICK)
            self._lag = max(self._lag, loop.time() - due)
            now = time.monotonic()
            if now - self._heard_at > SILENCE_LIMIT:
                self._go_blind()
            self._end_leaving(now)

    def _done(self) -> bool:
        """Whether nothing is left to do; cuts what has no more time."""
        if self.state is not WorkerState.DRAINING:
            return False
        ports = self._ports()
        if self._deadline is not None and time.monotonic() >= self._deadline:
            for port in ports:
                self._cut_at_end += _cut_all(port, "the router ends")
        return not any(port.sessions for port in ports)

    def _end_leaving(self, now: float) -> None:
        for port, deadline in list(self._leaving):
            if now >= deadline:
                _cut_all(port, "its route is gone")
            if not port.sessions:
                self._leaving.remove((port, deadline))
                gone = past(report_route(port, listening=False))
                self._past = combine([*self._past.values(), gone])

    def _ports(self) -> list[Port]:
        return [listener.port for _, listener in self._held.values()] + [port for port, _ in self._leaving]

    async def _obey(self, attaching: asyncio.TaskGroup) -> None:
        while True:
            message, fds = await self._inbox.get()
            self._heard_at = time.monotonic()
            match message:
                case View():
                    self._see(message.cluster, message.topology)
                case Pulse():
                    self._say(Report(message.number, self._report()))
                    self._lag = 0.0
                case Sockets():
                    self._take(message.addresses, fds)
                case Configure():
                    await self._configure(message, attaching)
                case ListSessions():
                    self._say(Sessions(message.number, tuple(report_sessions(self._ports(), message.limit))))
                case Kill():
                    self._say(Killed(message.number, self._kill(frozenset(message.sessions))))
                case Retire():
                    await self._retire(message)
                case _:
                    log.debug("worker %d: nothing to do about %s", self.serial, type(message).__name__)

    def _see(self, cluster: str, topology: Topology) -> None:
        # Numbered here: versions of two main processes, before and after an upgrade, say nothing of each other.
        mine = replace(topology, version=next(self._versions))
        before = self._views.get(cluster, UNKNOWN)
        if before.same_facts(mine):
            self._views[cluster] = replace(mine, version=before.version)
            return
        self._views[cluster] = mine
        orders = [*self._held.values()]
        for order, listener in orders:
            if order.cluster == cluster:
                listener.port.topology_changed(mine)
        for port, _ in self._leaving:
            if port.topology() is mine:
                port.topology_changed(mine)

    def _go_blind(self) -> None:
        for cluster, topology in list(self._views.items()):
            if topology.trust is not Trust.BLIND:
                reason = f"the router's main process has not spoken for {SILENCE_LIMIT:g} s"
                self._see(cluster, replace(topology, trust=Trust.BLIND, reason=reason))

    def _take(self, addresses: tuple[str, ...], fds: list[int]) -> None:
        for address, fd in zip(addresses, fds, strict=True):
            sock = socket.socket(fileno=fd)
            sock.setblocking(False)
            old, self._sockets[address] = self._sockets.get(address), sock
            if old is not None:
                old.close()

    async def _configure(self, wanted: Configure, attaching: asyncio.TaskGroup) -> None:
        if self.state is WorkerState.DRAINING:
            return
        self._drain_timeout = wanted.drain_timeout
        orders = {order.route.name: order for order in wanted.routes}
        self._rows.update({name: order.row for name, order in orders.items()})
        for name, (order, listener) in list(self._held.items()):
            new = orders.get(name)
            if new is not None and is_same_port(order, new):
                listener.port.route = new.route
                self._held[name] = new, listener
            else:
                del self._held[name]
                # Whoever listens on from here on takes what is queued; where nobody does, we do first.
                left = any(one.address == order.address for one in orders.values())
                await self._stop(order, listener, queued=not left)
                self._leaving.append((listener.port, time.monotonic() + wanted.drain_timeout))
        for name, order in orders.items():
            if name not in self._held and order.address in self._sockets:
                listener = Listener(self._make_port(order, attaching), self._sockets[order.address].dup())
                await listener.start()
                self._held[name] = order, listener
        for address in self._sockets.keys() - {order.address for order in orders.values()}:
            self._sockets.pop(address).close()
        if self.state is WorkerState.STARTING:
            self.state = WorkerState.SERVING
            gc.collect()
            gc.freeze()  # what stands now stays: later collections need not look at it
            self._say(Serving())

    def _make_port(self, order: RouteOrder, attaching: asyncio.TaskGroup) -> Port:
        cluster = order.cluster

        def failed(member: Member) -> None:
            now = time.monotonic()
            if now - self._failed_at.get(member.name, -FAILURE_GAP) >= FAILURE_GAP:
                self._failed_at[member.name] = now
                self._say(DialFailure(cluster, member.name))

        return Port(order.route, lambda: self._views.get(cluster, UNKNOWN), attaching, failed, self._counts)

    async def _stop(self, order: RouteOrder, listener: Listener, *, queued: bool) -> None:
        """Accept no more. With `queued`, first what the kernel has accepted for us: closing would reset it."""
        listener.close()
        loop, sock = asyncio.get_running_loop(), self._sockets[order.address]
        while queued:
            try:
                connection, _ = sock.accept()
            except OSError:  # nothing is left, or no descriptor to take it with
                return
            connection.setblocking(False)
            await loop.connect_accepted_socket(listener.port.accept, connection)

    async def _retire(self, wanted: Retire) -> None:
        if self.state is not WorkerState.DRAINING:
            self.state = WorkerState.DRAINING
            for order, listener in self._held.values():
                await self._stop(order, listener, queued=wanted.queued)
            for sock in self._sockets.values():
                sock.close()
            self._sockets.clear()
            log.debug("worker %d: accepts no more", self.serial)
        if wanted.timeout is not None:
            deadline = time.monotonic() + wanted.timeout
            self._deadline = deadline if self._deadline is None else min(deadline, self._deadline)

    def _kill(self, wanted: frozenset[int]) -> tuple[int, ...]:
        found = []
        for port in self._ports():
            for number in wanted & port.sessions.keys():
                port.sessions[number].cut("somebody asked for its end")
                found.append(number)
        return tuple(sorted(found))

    def _report(self) -> WorkerReport:
        now = [report_route(listener.port, listening=listener.listening) for _, listener in self._held.values()]
        leaving = [report_route(port, listening=False) for port, _ in self._leaving]
        routes = combine([*self._past.values(), *now, *leaving])
        return WorkerReport(
            serial=self.serial,
            pid=os.getpid(),
            started_at=self._started_at,
            state=self.state,
            lag=self._lag,
            resident=_resident(),
            cut_at_end=self._cut_at_end,
            routes=tuple(routes.values()),
        )


def is_same_port(one: RouteOrder, other: RouteOrder) -> bool:
    """Whether sessions of the one may live on as the other's: limits and strategies apply to those that come."""
    mine = one.address, one.cluster, one.route.protocol, one.route.destination
    return mine == (other.address, other.cluster, other.route.protocol, other.route.destination)


def _cut_all(port: Port, why: str) -> int:
    sessions = list(port.sessions.values())
    for session in sessions:
        session.cut(why)
    return len(sessions)


def _resident() -> int:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 pathlib is not needed for anything else here
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Run a worker: SERIAL COLUMN LOG-LEVEL, the link as descriptor 3, the counts' memory as 4."""
    serial, column, level = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # meant for the main process, which tells us what follows
    logs.start(level)
    number_sessions_from(serial * SESSIONS_A_WORKER + 1)
    os.set_inheritable(LINK_FD, False)
    rows: dict[str, int] = {}
    worker = Worker(serial, SharedCounts(SharedMemory(MEMORY_FD), column, rows), rows)
    import uvloop

    uvloop.run(worker.run(socket.socket(fileno=LINK_FD)))


if __name__ == "__main__":
    main()
