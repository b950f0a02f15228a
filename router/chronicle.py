"""Keeps the router's events: what topologies and workers' reports say happened.

Owns what was seen before. What a change means is `incidents`'; must not know who reads events.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from cluster.topology import Topology
from router.events import Events, Kind
from router.incidents import Incidents, Outage
from router.reports import RouteReport, WorkerReport

MOVED = ("drained", "hidden", "rebalanced")
"""Why sessions are ended that count as cut: what members are to be left. Idle and silent ones end all the time."""


class Chronicle:
    """Writes the events of one router.

    Args:
        events: where to.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._clusters: dict[str, tuple[Topology, Incidents]] = {}
        self._cut: dict[str, int] = {}
        self._workers: set[int] = set()

    def adopt(self, outages: Mapping[str, Outage], workers: Sequence[WorkerReport]) -> None:
        """Go on from what the process before knew: clusters without a primary, by name, and the workers there are."""
        self._clusters = {name: (Topology(), Incidents(outage)) for name, outage in outages.items()}
        self._workers = {worker.serial for worker in workers}

    @property
    def outages(self) -> dict[str, Outage]:
        """The clusters without a primary, for the next process."""
        return {name: one.outage for name, one in self.incidents.items() if one.outage is not None}

    @property
    def incidents(self) -> dict[str, Incidents]:
        """Of each cluster that is followed, by its name; they outlive a watcher that is replaced."""
        return {name: incidents for name, (_, incidents) in self._clusters.items()}

    def see(self, cluster: str, topology: Topology) -> None:
        """Write down what is different in a cluster since it was seen before."""
        old, incidents = self._clusters.get(cluster) or (Topology(), Incidents())
        self._clusters[cluster] = topology, incidents
        for one in incidents.tell(old, topology, time.monotonic()):
            self._events.publish(one.kind, one.text, cluster, **one.more)

    def forget(self, cluster: str) -> None:
        """It is followed no more."""
        self._clusters.pop(cluster, None)

    def look(self, routes: Mapping[str, RouteReport], workers: Sequence[WorkerReport]) -> None:
        """Write down how many sessions were cut, and which workers are new, since the look before."""
        for name, report in routes.items():
            cut = report.cut + sum(report.ended.get(why, 0) for why in MOVED)
            count = cut - self._cut.get(name, cut)
            if count > 0:
                words = f"route {name}: {count} session{'s were' if count > 1 else ' was'} cut"
                self._events.publish(Kind.SESSIONS_CUT, words, route=name, count=count)
            self._cut[name] = cut
        now = {worker.serial for worker in workers}
        for serial in sorted(now - self._workers):
            self._events.publish(Kind.WORKER_STARTED, f"worker {serial} was started", worker=serial)
        self._workers = now

    def died(self, serial: int, sessions: int) -> None:
        """Write down that a worker died."""
        words = f"worker {serial} died, and {sessions} sessions with it"
        self._events.publish(Kind.WORKER_DIED, words, worker=serial, count=sessions)
