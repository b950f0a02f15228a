"""A worker process: accepts on sockets that it was handed, and carries the bytes of its sessions.

Owns its ports. What it knows of clusters, and which routes it serves, the main process tells it over the link; it reads
no configuration, asks no member and no name server. Run by `router.hands` as `python -m router.worker`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import count

from cluster.members import Member
from cluster.topology import Topology, Trust
from router import logs
from router.accounts import report_sessions
from router.counts import Place, SharedCounts, SharedMemory
from router.descriptors import Descriptors
from router.host_errors import HostNews
from router.link import Link
from router.loads import Loads
from router.messages import (
    Blocked,
    Configure,
    DialFailure,
    Handshakes,
    Kill,
    Killed,
    Lacking,
    ListSessions,
    Log,
    Message,
    Modes,
    Pulse,
    Report,
    Retire,
    RouteOrder,
    Serving,
    Sessions,
    Sockets,
    View,
)
from router.port import Port
from router.ports import Ports
from router.reports import WorkerReport, WorkerState
from router.routes import Leave, static_topology
from router.sessions import number_sessions_from

log = logging.getLogger("fairlead.router")

LINK_FD, MEMORY_FD = 3, 4
SESSIONS_A_WORKER = 10**9
"""Session numbers that a worker has: the ninth worker's first session is 9000000001."""
TICK = 0.1
"""Seconds between looks at what is due. The event loop's lag is how late they come."""
TAKING = 0.05
"""Seconds that what has been accepted last has to become a session: a turn or two of the event loop."""
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
        place: this worker's among those that accept.
    """

    def __init__(self, serial: int, counts: SharedCounts, rows: dict[str, int], place: Place) -> None:
        self.serial = serial
        self.state = WorkerState.STARTING
        self._counts = counts
        self._rows = rows
        self._started_at = time.monotonic()
        self._loads = Loads()
        self._hosts: dict[str, HostNews] = {}  # by route
        self._modes: dict[str, Mapping[str, Leave]] = {}  # by cluster
        self._descriptors = Descriptors(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._views: dict[str, Topology] = {}
        self._versions = count(1)
        self._ports = Ports(self._make_port, place)
        self._attaching: asyncio.TaskGroup | None = None
        self._drain_timeout = 0.0
        self._deadline: float | None = None
        self._cut_at_end = 0
        self._heard_at = time.monotonic()
        self._lag = 0.0
        self._resident = 0
        self._failed_at: dict[str, float] = {}
        self._inbox: asyncio.Queue[tuple[Message, list[int]]] = asyncio.Queue()
        self._link: Link | None = None

    async def run(self, sock: socket.socket) -> None:
        """Serve until the last session after `Retire`, or after the main process is gone."""
        self._link = Link(sock, lambda message, fds: self._inbox.put_nowait((message, fds)), self._orphaned)
        async with asyncio.TaskGroup() as attaching:
            self._attaching = attaching
            obeying = attaching.create_task(self._obey(), name="messages")
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
            self._ports.tick(now)
            self._tell_handshakes()

    def _hosts_of(self, route: str) -> HostNews:
        return self._hosts.setdefault(route, HostNews())

    def _tell_handshakes(self) -> None:
        for route, hosts in self._hosts.items():
            failed, done = hosts.take()
            if failed or done:
                self._say(Handshakes(route, failed, done))

    def _done(self) -> bool:
        """Whether nothing is left to do; cuts what has no more time."""
        if self.state is not WorkerState.DRAINING:
            return False
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._cut_at_end += self._ports.cut()
        return all(port.is_empty for port in self._ports)

    async def _obey(self) -> None:
        while True:
            message, fds = await self._inbox.get()
            self._heard_at = time.monotonic()
            match message:
                case View():
                    self._see(message.cluster, message.topology)
                case Pulse():
                    if not message.number:
                        self._loads.set_others(message.others)
                    self._say(Report(message.number, self._report()))
                    self._lag = 0.0
                case Sockets():
                    self._ports.take(message.addresses, fds)
                case Configure():
                    await self._configure(message)
                case Log():
                    logs.start_as(message.words)
                case ListSessions():
                    ports = (port for port in self._ports if message.route in ("", port.route.name))
                    self._say(Sessions(message.number, tuple(report_sessions(ports, message.limit))))
                case Kill():
                    self._say(Killed(message.number, self._kill(frozenset(message.sessions))))
                case Modes():
                    self._modes[message.cluster] = message.modes
                    for port in self._ports.of(message.cluster):
                        port.set_member_modes(message.modes)
                case Blocked():
                    self._hosts_of(message.route).hear(message.hosts, some_err=message.some_err)
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
        for port in self._ports:
            if port.topology() is mine:
                port.topology_changed(mine)

    def _go_blind(self) -> None:
        for cluster, topology in list(self._views.items()):
            if topology.trust is not Trust.BLIND:
                reason = f"the router's main process has not spoken for {SILENCE_LIMIT:g} s"
                self._see(cluster, replace(topology, trust=Trust.BLIND, reason=reason))

    async def _configure(self, wanted: Configure) -> None:
        self._drain_timeout = wanted.drain_timeout
        if self.state is not WorkerState.DRAINING:
            self._rows.update({order.route.name: order.row for order in wanted.routes})
        await self._ports.configure(wanted)
        if self._ports.lacking:
            self._say(Lacking(tuple(sorted(self._ports.lacking))))
        elif self.state is WorkerState.STARTING:
            self.state = WorkerState.SERVING
            gc.collect()
            gc.freeze()  # what stands now stays: later collections need not look at it
            self._say(Serving())

    def _make_port(self, order: RouteOrder) -> Port:
        cluster = order.cluster
        assert self._attaching is not None  # noqa: S101 orders come while it runs

        def failed(member: Member) -> None:
            now = time.monotonic()
            if now - self._failed_at.get(member.name, -FAILURE_GAP) >= FAILURE_GAP:
                self._failed_at[member.name] = now
                self._say(DialFailure(cluster, member.name))

        alone = static_topology(order.route.members) if order.route.members else None
        port = Port(
            order.route,
            lambda: alone or self._views.get(cluster, UNKNOWN),
            self._attaching,
            failed,
            self._counts,
            loads=self._loads,
            descriptors=self._descriptors,
            hosts=self._hosts_of(order.route.name),
        )
        if cluster in self._modes:
            port.set_member_modes(self._modes[cluster])
        return port

    async def _retire(self, wanted: Retire) -> None:
        if self.state is not WorkerState.DRAINING:
            await self._ports.close(queued=wanted.queued)
            await asyncio.sleep(TAKING)
            self.state = WorkerState.DRAINING  # not sooner: without sessions that is the end
            log.debug("worker %d: accepts no more", self.serial)
        if wanted.timeout is not None:
            deadline = time.monotonic() + wanted.timeout
            self._deadline = deadline if self._deadline is None else min(deadline, self._deadline)

    def _kill(self, wanted: frozenset[int]) -> tuple[int, ...]:
        found = []
        for port in self._ports:
            for number in wanted & port.sessions.keys():
                port.sessions[number].cut("somebody asked for its end")
                found.append(number)
        return tuple(sorted(found))

    def _report(self) -> WorkerReport:
        with contextlib.suppress(OSError):  # no descriptor is free to read it with: what was is told
            self._resident = _resident()
        return WorkerReport(
            serial=self.serial,
            pid=os.getpid(),
            started_at=self._started_at,
            state=self.state,
            lag=self._lag,
            resident=self._resident,
            tasks=len(asyncio.all_tasks()),
            cut_at_end=self._cut_at_end,
            routes=self._ports.report(),
        )


def _resident() -> int:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 pathlib is not needed for anything else here
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Run a worker: SERIAL COLUMN and `logs.words`, the link as descriptor 3, the counts' memory as 4."""
    serial, column = int(sys.argv[1]), int(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # meant for the main process, which tells us what follows
    logs.start_as(sys.argv[3:])
    number_sessions_from(serial * SESSIONS_A_WORKER + 1)
    os.set_inheritable(LINK_FD, False)
    rows: dict[str, int] = {}
    memory = SharedMemory(MEMORY_FD)
    worker = Worker(serial, SharedCounts(memory, column, rows), rows, Place(memory, column))
    import uvloop

    uvloop.run(worker.run(socket.socket(fileno=LINK_FD)))


if __name__ == "__main__":
    main()
