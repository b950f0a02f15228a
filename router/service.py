"""The router's main process: follows the clusters, owns the listening sockets, runs workers and answers over HTTP.

Owns the order of starting, changing and ending. It carries no byte of a client. The parts know each other only through
what is handed to them here.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Mapping
from enum import Enum

from cluster.access import Access
from cluster.topology import Topology
from router import descriptors, logs, signals
from router.admin import Admin
from router.changes import Changes, compare
from router.chronicle import Chronicle
from router.clusters import Clusters
from router.counts import SharedMemory
from router.crew import Crew
from router.draining import Stop, drain, end_at_once
from router.events import Events, Kind
from router.handover import Legacy, hand_over, hear_signals, hold_signals, take_over, try_out
from router.listening import ListenError
from router.messages import Configure, Log, RouteOrder
from router.notify import Notifier, name_of
from router.overview import Overview
from router.settings import Settings, SettingsError
from router.sockets import SETTLING, ListeningSockets, take_from_systemd
from router.undertakings import Undertakings

log = logging.getLogger("fairlead.router")

MEASURES_INTERVAL = 1.0
"""Seconds between looks at what members measured since; facts that change are told at once."""
LINGER_MARGIN = 1.0
"""Seconds that a cluster which is gone is followed longer than its sessions have: workers begin to count later."""

Reread = Callable[[], tuple[Settings, Mapping[str, Access]]]


class Phase(Enum):
    """Where the process stands: STARTING -> SERVING -> DRAINING -> ENDED."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    ENDED = "ended"


class Router:
    """Everything that one configuration asks for.

    Args:
        settings: what to run.
        accesses: how the members of each cluster are asked, by its name; what is not here is asked without an account.
        reread: reads the configuration again, for `reload`.
    """

    overview: Overview
    """What can be seen and asked of it once it runs; who asks over HTTP does not come earlier."""

    def __init__(self, settings: Settings, accesses: Mapping[str, Access], reread: Reread | None = None) -> None:
        self.settings = settings
        self.routes = settings.all_routes()
        self.phase = Phase.STARTING
        self.events = Events()
        self._chronicle = Chronicle(self.events)
        self._admin = Admin(self)
        self._accesses = accesses
        self._reread = reread
        self.reloads = {"applied": 0, "refused": 0}  # by how they ended
        self._sockets = ListeningSockets()
        self._crew: Crew | None = None
        self._clusters: Clusters | None = None
        self._notifier = Notifier(os.environ)
        self._changing = asyncio.Lock()
        self._undertakings = Undertakings(refusal=SettingsError)
        self._stop = Stop()

    def not_ready_because(self) -> str:
        """Why no new connections should be sent here; empty where they should.

        Ready is: listening, a first topology of every cluster seen, not draining. Never "there is a primary now", or
        every router would leave its load balancer at the very moment when parking is needed.
        """
        serves = self.phase is Phase.SERVING or (
            # After an upgrade in place those that were taken over serve until new ones do.
            self.phase is Phase.STARTING and self._crew is not None and self._crew.serves
        )
        if not serves or self._clusters is None:
            return str(self.phase.value)
        unseen = [name for name, followed in self._clusters.followed.items() if not followed.seen]
        return f"no topology seen yet of {', '.join(unseen)}" if unseen else ""

    def stop(self) -> None:
        """Drain, then end. Called again: end now."""
        self._stop.ask()

    async def reload(self) -> Changes:
        """Read the configuration again and serve by it: all of it, or nothing changes.

        Raises:
            SettingsError: it is not valid, cannot be had, or asks for what only a restart can change.
        """
        # Whoever asked may hang up at any moment; half a change would leave routes deaf.
        return await self._undertakings.see_through(self._count_reload(), "reload")

    async def _count_reload(self) -> Changes:
        try:
            changes = await self._reload()
        except Exception as exc:
            self.reloads["refused"] += 1
            refused = isinstance(exc, SettingsError)
            why = "; ".join(str(exc).splitlines()) if refused else "a fault of the router; its log says more"
            self.events.publish(Kind.RELOAD_REFUSED, f"nothing was changed by a reload: {why}")
            raise
        self.reloads["applied"] += 1
        return changes

    async def _reload(self) -> Changes:
        async with self._changing:
            if self._reread is None or self._crew is None or self._clusters is None:
                raise SettingsError("there is no configuration to read again")
            self._check_goes_on()
            settings, accesses = self._reread()
            changes = compare(self.settings, settings)
            if changes.refused:
                what = ", ".join(changes.refused)
                raise SettingsError(f"{what} cannot change by a reload; an upgrade in place (SIGUSR2) does it")
            renew_admin = self._admin.prepare(settings.admin)
            opened = self._open_sockets(settings)
            left = {str(route.listen) for route in self.settings.routes.values()}
            left -= {str(route.listen) for route in settings.routes.values()}
            if self._sockets.hush(left):
                await asyncio.sleep(SETTLING)
            try:
                self._check_goes_on()
            except SettingsError:
                self._close_sockets(opened)
                raise
            if settings.log != self.settings.log:
                logs.start(settings.log.level, settings.log.format, settings.log.repeats)
                self._crew.tell(Log(tuple(logs.words())))
            self.settings, self.routes, self._accesses = settings, settings.all_routes(), accesses
            linger = settings.drain_timeout + LINGER_MARGIN
            self._clusters.follow(settings.clusters, accesses, {}, linger)
            self._configure()
            self._crew.man(settings.workers)
            self._look()
            renew_admin()
            self._close_sockets(left)
            self.events.publish(Kind.RELOADED, f"reloaded: {'; '.join(changes.lines()) or 'nothing is different'}")
            return changes

    async def hand_over(self) -> None:
        """Replace this program by what is installed now, in the same process; workers follow when new ones serve.

        Raises:
            SettingsError: the new program or the configuration does not start; this one goes on.
        """
        async with self._changing:
            if self._crew is None or self._clusters is None or self._reread is None:
                raise SettingsError("the router has not started yet")
            self._check_goes_on()
            settings, _ = self._reread()
            await try_out()
            await self._crew.refresh()
            try:
                await hold_signals()
                self._check_goes_on()  # a signal that came until now was for us, and one that comes later is not
                self._open_sockets(settings)
                self._become_next(self._crew, self._clusters)
            finally:
                hear_signals()

    def _become_next(self, crew: Crew, clusters: Clusters) -> None:
        crew.suspend()
        try:
            hands, gone = crew.left()
            legacy = Legacy(
                sockets=tuple(self._sockets.descriptors().values()),
                stored=bool(self._sockets.stored),
                memory=crew.memory.fd,
                rows=crew.rows.rows,
                next_serial=crew.next_serial,
                hands=hands,
                gone=gone,
                topologies={name: one.topology() for name, one in clusters.followed.items() if one.seen},
                modes=crew.orders.all_modes(),
                blocked={name: self.overview.blocked_hosts(name) for name in self.routes},
                outages=self._chronicle.outages,
            )
            hand_over(legacy)
        except OSError as exc:
            raise SettingsError(f"the program cannot be run: {exc.strerror}") from exc
        finally:
            crew.resume()  # we are here still

    def _check_goes_on(self) -> None:
        """Refuse to change what ends: workers would be started, and sockets opened, that nobody ends again.

        And what this program is replaced by would not know of the end, and serve.

        Raises:
            SettingsError: the router is ending.
        """
        if self._stop.asked or self.phase not in (Phase.STARTING, Phase.SERVING):
            raise SettingsError("the router is ending")

    async def run(self) -> None:
        """Serve until `stop` is called or SIGTERM or SIGINT comes.

        Raises:
            SettingsError: an address cannot be listened on, or a file of the HTTP listener cannot be used.
        """
        descriptors.raise_limit()
        self._admin.prepare(self.settings.admin)()
        legacy = take_over(os.environ)
        from_systemd = take_from_systemd(os.environ, os.getpid())
        if legacy is not None:
            self._sockets.offer(legacy.sockets, stored=legacy.stored)
        else:
            self._sockets.offer(from_systemd, stored=True)
        try:
            self._open_sockets(self.settings)
        except SettingsError:
            self._sockets.let_go()
            raise
        for address in self._sockets.settle():
            self._notifier.unstore(name_of(address))
        memory = SharedMemory(legacy.memory) if legacy is not None else SharedMemory.make()
        try:
            async with asyncio.TaskGroup() as tasks:
                crew = self._crew = Crew(
                    memory,
                    legacy.rows if legacy is not None else {},
                    lambda cluster, member: self._clusters.suspect(cluster, member) if self._clusters else None,
                    on_death=self._chronicle.died,
                    first_serial=legacy.next_serial if legacy is not None else 1,
                    gone=legacy.gone if legacy is not None else (),
                )
                self._clusters = Clusters(tasks, self._show, self._forget)
                if legacy is not None:
                    crew.adopt(legacy.hands)
                    outages = {name: one for name, one in legacy.outages.items() if name in self.settings.clusters}
                    self._chronicle.adopt(outages, crew.reports())
                    for modes in legacy.modes:
                        crew.orders.set_member_modes(modes.cluster, modes.modes)
                    crew.orders.blocks.remember(legacy.blocked)
                self._clusters.follow(
                    self.settings.clusters, self._accesses, legacy.topologies if legacy is not None else {}
                )
                self.overview = Overview(crew, self._clusters, self._chronicle, lambda: self.routes)
                signals.hear(self, self._notifier, tasks)
                await self._start_admin()
                self._configure()
                crew.man(self.settings.workers)
                beats = tasks.create_task(self._beat(), name="measures")
                await self._until_serving()
                if self.phase is Phase.SERVING:
                    await self._stop.wait()
                self.phase = Phase.DRAINING
                self.events.publish(Kind.DRAINING, "the router drains: it takes no new connections")
                self._notifier.stopping()
                addresses = [str(route.listen) for route in self.settings.routes.values()]
                await drain(crew, self._sockets, addresses, self.settings.drain_timeout, self._stop)
                beats.cancel()
                self._clusters.end()
        finally:
            self.phase = Phase.ENDED
            if self._crew is not None:
                await end_at_once(self._crew)
            self._sockets.close(self._sockets.descriptors())
            memory.close()
            await self._admin.close()
            signals.deafen()

    async def _start_admin(self) -> None:
        admin = self.settings.admin
        if admin.enabled:
            await self._admin.start(self._sockets.copy(admin.listen))
        if admin.metrics_listen is not None:
            await self._admin.start_metrics(self._sockets.copy(admin.metrics_listen))

    def _show(self, cluster: str, topology: Topology) -> None:
        """Tell the workers, and write down what changed."""
        if self._crew is not None:
            self._crew.orders.show(cluster, topology)
        self._chronicle.see(cluster, topology)

    def _forget(self, cluster: str) -> None:
        if self._crew is not None:
            self._crew.orders.forget(cluster)
        self._chronicle.forget(cluster)

    def _open_sockets(self, settings: Settings) -> list[str]:
        """Listen on what the settings want; return the addresses that are new."""
        try:
            opened = self._sockets.open(settings.listening)
        except ListenError as exc:
            raise SettingsError(str(exc)) from exc
        sockets = self._sockets.descriptors()
        for address in opened:
            if address not in self._sockets.stored and self._notifier.store(name_of(address), [sockets[address]]):
                self._sockets.stored.add(address)
        return opened

    def _close_sockets(self, addresses: Collection[str]) -> None:
        self._sockets.close(addresses)
        for address in addresses:
            self._notifier.unstore(name_of(address))

    def _configure(self) -> None:
        """Tell the workers what to serve."""
        if self._crew is None:
            return
        orders, sockets = [], self._sockets.descriptors()
        self._crew.rows.forget_all_but(self.routes)
        for name, chosen in self.settings.routes.items():
            cluster, row = self.settings.cluster_of(chosen), self._crew.rows.row_of(name)
            orders.append(RouteOrder(self.routes[name], cluster, str(chosen.listen), row))
        addresses = {order.address for order in orders}
        wanted = {address: fd for address, fd in sockets.items() if address in addresses}
        self._crew.configure(Configure(tuple(orders), self.settings.drain_timeout), wanted)

    async def _until_serving(self) -> None:
        """Wait until all workers serve, then let those of the process before go; or until `stop`."""
        crew, stopped = self._crew, asyncio.ensure_future(self._stop.wait())
        assert crew is not None  # noqa: S101 run has made it
        serving = asyncio.ensure_future(crew.wait_serving())
        await asyncio.wait({stopped, serving}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        serving.cancel()
        if self._stop.asked:
            return
        crew.relieve()
        self.phase = Phase.SERVING
        for name, chosen in self.settings.routes.items():
            log.info("route %s listens on %s", name, chosen.listen)
        self._notifier.ready()

    async def _beat(self) -> None:
        alive_every = self._notifier.watchdog or MEASURES_INTERVAL
        self._look()
        while True:
            await asyncio.sleep(min(MEASURES_INTERVAL, alive_every))
            if self._clusters is not None:
                self._clusters.show_all()
            self._look()
            self._notifier.alive()

    def _look(self) -> None:
        """Write down what workers report; a route's first look, which is when it is new, is what later ones go from."""
        self._chronicle.look(self.overview.report(), self.overview.workers())
