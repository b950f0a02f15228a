"""A router at work, as HTTP and metrics have it: what can be seen of its clusters and workers, and asked of them.

Owns nothing, and hands on. Must not know how a router starts, changes and ends.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from router.chronicle import Chronicle
from router.clusters import Clusters, Looks
from router.crew import Crew
from router.incidents import Incidents
from router.reports import RouteReport, SessionReport, WorkerReport
from router.routes import Leave
from router.watcher import Watcher


class Overview:
    """What there is to see, and to ask of workers and members.

    Args:
        crew: the workers.
        clusters: that are followed.
        chronicle: what happened to them.
        routes: gives the names of the routes there are now.
    """

    def __init__(
        self, crew: Crew, clusters: Clusters, chronicle: Chronicle, routes: Callable[[], Collection[str]]
    ) -> None:
        self._crew, self._clusters, self._chronicle, self._routes = crew, clusters, chronicle, routes

    @property
    def watchers(self) -> dict[str, Watcher]:
        """The clusters' watchers, by name."""
        return {name: one.watcher for name, one in self._clusters.followed.items()}

    @property
    def looks(self) -> dict[str, Looks]:
        """How looks at members ended, by cluster."""
        return {name: one.looks for name, one in self._clusters.followed.items()}

    @property
    def incidents(self) -> Mapping[str, Incidents]:
        """How long each cluster was without a primary, each time, by its name."""
        return self._chronicle.incidents

    @property
    def workers_died(self) -> int:
        """Worker processes that ended without having been asked to, since this program was started."""
        return self._crew.died

    async def refresh(self) -> None:
        """Have the workers say how things stand, so that what is read next is of now."""
        await self._crew.refresh()

    def report(self) -> dict[str, RouteReport]:
        """What each route did and does, all workers together, as of the latest `refresh`."""
        done = self._crew.routes()
        return {name: done.get(name, RouteReport(name)) for name in self._routes()}

    def workers(self) -> Sequence[WorkerReport]:
        """The worker processes, as of the latest `refresh`."""
        return self._crew.reports()

    async def list_sessions(self, limit: int, route: str = "") -> list[SessionReport]:
        """Live sessions, of one route or of all, at most `limit` of each worker."""
        return await self._crew.list_sessions(limit, route)

    async def kill_sessions(self, sessions: Sequence[int]) -> list[int]:
        """End sessions by number; return those that there were."""
        return await self._crew.kill_sessions(sessions)

    def set_mode(self, cluster: str, member: str, mode: str | None, end_within: float | None = None) -> None:
        """Have no new sessions go to a member, or put it back.

        Args:
            cluster: its cluster; an empty name is for lists of servers.
            member: its name.
            mode: `drained`, `hidden`, or None to put it back.
            end_within: seconds in which the sessions that it has are ended; None: they live on.
        """
        orders = self._crew.orders
        modes = {name: leave for name, leave in orders.modes(cluster).items() if name != member}
        if mode is not None:
            modes[member] = Leave(end_within, mode)
        orders.set_member_modes(cluster, modes)

    def modes(self, cluster: str) -> Mapping[str, str]:
        """What is wanted of a cluster's members, by name: `drained` or `hidden`."""
        return {name: leave.why for name, leave in self._crew.orders.modes(cluster).items()}

    def blocked_hosts(self, route: str) -> tuple[str, ...]:
        """Client hosts that a route turns away, the latest last."""
        return self._crew.orders.blocks.stand(route)[0]

    def reset_hosts(self, route: str, host: str | None = None) -> tuple[str, ...]:
        """Let a client host connect to a route again, or all; return those that were blocked."""
        return self._crew.orders.reset_hosts(route, host)
