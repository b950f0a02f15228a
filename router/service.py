"""The router as one running thing: watchers, ports and the admin listener, from start to drain.

Owns the order of starting and ending. The parts know each other only through what is handed to them here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from enum import Enum

from cluster.access import Access
from cluster.observations import Observation, Outcome
from cluster.watch import Timing, Watch
from router.accounts import report_route, report_sessions
from router.admin import Admin
from router.listener import Listener, ListenError, open_socket
from router.reports import RouteReport, SessionReport, WorkerReport, combine
from router.routes import route_of
from router.sessions import Port
from router.settings import ClusterSettings, Settings, SettingsError
from router.watcher import Watcher
from srv.resolver import Resolver

log = logging.getLogger("fairlead.router")


class Phase(Enum):
    """Where the process stands: STARTING -> SERVING -> DRAINING -> ENDED."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    ENDED = "ended"


class Looks:
    """How many looks at each member ended how; for metrics."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, Outcome], int] = {}

    def add(self, seen: Observation) -> None:
        """Count one."""
        key = seen.member.name, seen.outcome
        self.counts[key] = self.counts.get(key, 0) + 1


class Router:
    """Everything that one configuration asks for.

    Args:
        settings: what to run.
        accesses: how the members of each cluster are asked, by its name; what is not here is asked without an account.
    """

    def __init__(self, settings: Settings, accesses: Mapping[str, Access]) -> None:
        self.settings = settings
        self.phase = Phase.STARTING
        self.watchers: dict[str, Watcher] = {}
        self.looks: dict[str, Looks] = {}
        self.listeners: dict[str, Listener] = {}
        self.routes = {
            name: route_of(name, chosen, settings.clusters[settings.cluster_of(chosen)])
            for name, chosen in settings.routes.items()
        }
        self._began = time.monotonic()
        self._stops = 0
        self._stop = asyncio.Event()
        for name, cluster in settings.clusters.items():
            self.looks[name] = Looks()
            self.watchers[name] = _watcher(cluster, accesses.get(name, Access(None)), self.looks[name])

    def not_ready_because(self) -> str:
        """Why no new connections should be sent here; empty where they should.

        Ready is: listening, a first topology of every cluster seen, not draining. Never "there is a primary now", or
        every router would leave its load balancer at the very moment when parking is needed.
        """
        if self.phase is not Phase.SERVING:
            return str(self.phase.value)
        unseen = [name for name, watcher in self.watchers.items() if not watcher.watch.seen]
        return f"no topology seen yet of {', '.join(unseen)}" if unseen else ""

    async def refresh(self) -> None:
        """Have the workers say how things stand, so that what is read next is of now."""

    def report(self) -> dict[str, RouteReport]:
        """What each route did and does, all workers together, as of the latest `refresh`."""
        return combine(report for worker in self.workers() for report in worker.routes)

    def workers(self) -> Sequence[WorkerReport]:
        """The worker processes, as of the latest `refresh`."""
        routes = tuple(report_route(one.port, listening=one.listening) for one in self.listeners.values())
        return [WorkerReport(1, os.getpid(), self._began, self.phase.value, routes=routes)]

    async def list_sessions(self, limit: int) -> list[SessionReport]:
        """Live sessions, at most `limit` of each worker."""
        return report_sessions((listener.port for listener in self.listeners.values()), limit)

    def stop(self) -> None:
        """Drain, then end. Called again: end now."""
        self._stops += 1
        self._stop.set()

    async def run(self) -> None:
        """Serve until `stop` is called or SIGTERM or SIGINT comes.

        Raises:
            SettingsError: an address cannot be listened on.
        """
        raise_descriptor_limit()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.stop)
        admin = Admin(self)
        sockets = self._open_sockets()
        try:
            await admin.start()
            async with asyncio.TaskGroup() as attaching, asyncio.TaskGroup() as following:
                self._make_ports(sockets, attaching)
                owned = [
                    following.create_task(watcher.run(), name=f"cluster {name}")
                    for name, watcher in self.watchers.items()
                ]
                for listener in self.listeners.values():
                    await listener.start()
                    log.info("route %s listens on %s", listener.port.route.name, listener.endpoint)
                self.phase = Phase.SERVING
                await self._stop.wait()
                await self._drain()
                for task in owned:
                    task.cancel()
        finally:
            self.phase = Phase.ENDED
            for sock in sockets.values():
                sock.close()
            await admin.close()
            for signum in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(signum)

    def _open_sockets(self) -> dict[str, socket.socket]:
        sockets: dict[str, socket.socket] = {}
        try:
            for name, route in self.settings.routes.items():
                sockets[name] = open_socket(route.listen)
        except ListenError as exc:
            for sock in sockets.values():
                sock.close()
            raise SettingsError(f"routes.{name}.listen: {exc}") from exc
        return sockets

    def _make_ports(self, sockets: Mapping[str, socket.socket], attaching: asyncio.TaskGroup) -> None:
        for name, chosen in self.settings.routes.items():
            cluster = self.settings.cluster_of(chosen)
            watcher = self.watchers[cluster]
            watch = watcher.watch
            port = Port(self.routes[name], lambda watch=watch: watch.topology, attaching, watcher.suspect)  # type: ignore[misc]
            watch.subscribe(lambda _, new, port=port: port.topology_changed(new))  # type: ignore[misc]
            self.listeners[name] = Listener(port, sockets[name])

    async def _drain(self) -> None:
        self.phase = Phase.DRAINING
        ports = [listener.port for listener in self.listeners.values()]
        for listener in self.listeners.values():
            listener.close()
        left = sum(len(port.sessions) for port in ports)
        log.info("draining: %d sessions have %g s to end", left, self.settings.drain_timeout)
        deadline = time.monotonic() + self.settings.drain_timeout
        self._stop.clear()
        while any(port.sessions for port in ports) and time.monotonic() < deadline and self._stops < 2:
            try:
                async with asyncio.timeout(0.05):
                    await self._stop.wait()
            except TimeoutError:
                continue
        cut = 0
        for port in ports:
            for session in list(port.sessions.values()):
                session.cut("the router ends")
                cut += 1
        log.info("drained: %d sessions had to be cut", cut)


def raise_descriptor_limit() -> None:
    """Allow as many open sockets as the system lets us: a session needs two, and the usual soft limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _watcher(cluster: ClusterSettings, access: Access, looks: Looks) -> Watcher:
    def observed(seen: Observation) -> None:
        looks.add(seen)
        watcher.observed(seen)

    watch = Watch(
        access,
        timing=Timing(poll=cluster.poll_interval, timeout=cluster.probe_timeout),
        policy=cluster.policy,
        on_observation=observed,
    )
    nameservers = [(server.host, server.port) for server in cluster.resolvers] or None
    resolver = Resolver(nameservers, timeout=cluster.dns_timeout, attempts=cluster.dns_attempts)
    watcher = Watcher(
        cluster.srv,
        resolver,
        watch,
        floor=cluster.dns_ttl_floor,
        ceiling=cluster.dns_ttl_ceiling,
        keep_last_good=cluster.dns_keep_last_good,
    )
    return watcher
