"""Prometheus metrics, made of workers' reports and topologies when they are asked for.

Nothing is counted twice and the relay's path touches no metric object. Series are bounded: by route, member, role and
outcome, never by connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from cluster.members import Role
from cluster.topology import MemberStatus, Trust
from router.durations import CONNECT_BOUNDS, Durations
from router.families import Family, Samples, counter, gauge, histogram, text_of
from router.reports import RouteReport, WorkerReport, WorkerState
from router.server_series import server_families

if TYPE_CHECKING:
    from router.service import Router

MEASURED: Sequence[tuple[str, str, Callable[[MemberStatus], float | None]]] = (
    (
        "member_queued_transactions",
        "Transactions that the member has yet to certify or apply.",
        lambda status: status.queued,
    ),
    (
        "member_lag_seconds",
        "Seconds by which what the member applies is behind; no series where that cannot be told.",
        lambda status: status.lag,
    ),
    ("member_threads_running", "Threads at work in the member.", lambda status: status.load),
)

GAUGES: Sequence[tuple[str, str, Callable[[RouteReport], float]]] = (
    ("clients", "Client connections, whether they have a member yet or not.", lambda route: route.sessions),
    ("sessions_parked", "Sessions that wait for a member.", lambda route: route.parked_now),
)
OF_WORKERS: Sequence[tuple[str, str, Callable[[WorkerReport], float]]] = (
    ("worker_clients", "Client connections of one worker process.", lambda worker: worker.sessions),
    ("worker_loop_lag_seconds", "The longest that its event loop came late, lately.", lambda worker: worker.lag),
    ("worker_resident_bytes", "Memory of one worker process.", lambda worker: worker.resident),
)
COUNTERS: Sequence[tuple[str, str, Callable[[RouteReport], float]]] = (
    ("sessions_accepted", "Connections accepted.", lambda route: route.started),
    ("sessions_abandoned", "Sessions whose client left before they had a member.", lambda route: route.abandoned),
    (
        "sessions_cut",
        "Sessions ended because their member was demoted or lost, or the router ended.",
        lambda route: route.cut,
    ),
    ("parked", "Sessions that had to wait.", lambda route: route.parked),
    (
        "parked_seconds",
        "Time that sessions waited, summed, of those that wait no more.",
        lambda route: route.parked_seconds,
    ),
)
COUNTERS_BY: Sequence[tuple[str, str, str, Callable[[RouteReport], Mapping[Any, float]]]] = (
    ("sessions_joined", "Sessions that got a member.", "member", lambda route: route.joined),
    ("sessions_refused", "Sessions answered with a MySQL error, by its code.", "code", lambda route: route.refused),
    ("sessions_ended", "Sessions ended by a limit or an operator, by reason.", "reason", lambda route: route.ended),
    ("dial_failures", "Connections to members that failed.", "member", lambda route: route.dial_failures),
    (
        "session_bytes",
        "Bytes from clients (in) and to clients (out).",
        "direction",
        lambda route: {"in": route.bytes_in, "out": route.bytes_out},
    ),
)


class Metrics:
    """One router's metrics."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return text_of(self._families())

    def _families(self) -> Iterator[Family]:
        yield _gauge("build_info", "Always 1; the version is its label.", ["version"], [([version("fairlead")], 1)])
        ready = not self._router.not_ready_because()
        yield _gauge("ready", "1 while new connections are welcome.", [], [([], ready)])
        yield from self._of_routes()
        yield from self._of_workers()
        yield from self._of_clusters()
        watches = {name: watcher.watch for name, watcher in self._router.overview.watchers.items()}
        yield from server_families(watches, time.monotonic())

    def _of_routes(self) -> Iterator[Family]:
        reports = self._router.overview.report()
        yield _gauge(
            "sessions",
            "Sessions attached to a member.",
            ["route", "member"],
            [([n, m], r.attached.get(m, 0)) for n, r in reports.items() for m in sorted({*r.joined, *r.attached})],
        )
        for name, words, of_route in GAUGES:
            yield _gauge(name, words, ["route"], [([n], of_route(r)) for n, r in reports.items()])
        for name, words, counted in COUNTERS:
            yield _counter(name, words, ["route"], [([n], counted(r)) for n, r in reports.items()])
        for name, words, label, by_label in COUNTERS_BY:
            samples = [([n, str(key)], count) for n, r in reports.items() for key, count in by_label(r).items()]
            yield _counter(name, words, ["route", label], samples)

        yield histogram(
            "fairlead_connect_seconds",
            "Time until members accepted, of the sessions that got one.",
            ["route", "member"],
            [
                (
                    [n, m],
                    Durations(CONNECT_BOUNDS, number, r.connect_seconds.get(m, 0.0), dict(r.connect_times.get(m, {}))),
                )
                for n, r in reports.items()
                for m, number in r.joined.items()
            ],
        )

    def _of_workers(self) -> Iterator[Family]:
        workers = sorted(self._router.overview.workers(), key=lambda worker: worker.serial)
        yield _gauge("workers", "Worker processes that accept connections.", [], [([], _serving(workers))])
        yield _counter(
            "workers_died", "Worker processes that ended unasked.", [], [([], self._router.overview.workers_died)]
        )
        reloads = [([how], number) for how, number in self._router.reloads.items()]
        yield _counter("reloads", "Configurations read again, by how that ended.", ["outcome"], reloads)
        blocked = [([name], len(self._router.overview.blocked_hosts(name))) for name in self._router.routes]
        yield _gauge("blocked_hosts", "Client hosts that are answered with error 1129.", ["route"], blocked)
        for name, words, of_worker in OF_WORKERS:
            # By place, not by serial number: a worker that dies again and again must not leave a series each time.
            samples = [([str(place)], of_worker(worker)) for place, worker in enumerate(workers, 1)]
            yield _gauge(name, words, ["worker"], samples)

    def _of_clusters(self) -> Iterator[Family]:
        now = time.monotonic()
        watches = {name: watcher.watch for name, watcher in self._router.overview.watchers.items()}
        topologies = {name: watch.topology for name, watch in watches.items()}
        yield _gauge(
            "topology_version",
            "Raised by one whenever a fact of the topology changes.",
            ["cluster"],
            [([n], t.version) for n, t in topologies.items()],
        )
        yield _gauge(
            "topology_age_seconds",
            "Age of the newest look that the topology rests on.",
            ["cluster"],
            [([n], now - t.taken_at) for n, t in topologies.items() if t.taken_at],
        )
        yield _gauge(
            "topology_trust",
            "1 for how far the topology can be relied upon now, 0 for the others.",
            ["cluster", "trust"],
            [([n, trust.value], t.trust is trust) for n, t in topologies.items() for trust in Trust],
        )
        yield _gauge(
            "member_offered",
            "1 where routes may use the member for that role.",
            ["cluster", "member", "role"],
            [
                ([n, status.member.name, role.value], status.offered is role)
                for n, t in topologies.items()
                for status in t.members
                for role in (Role.PRIMARY, Role.SECONDARY)
            ],
        )
        yield _gauge(
            "member_barred",
            "1 where people want no new sessions on a member: drained or hidden.",
            ["cluster", "member", "mode"],
            [([n, member, mode], 1) for n in topologies for member, mode in self._router.overview.modes(n).items()],
        )
        for name, words, measured in MEASURED:
            yield _gauge(
                name,
                words,
                ["cluster", "member"],
                [
                    ([n, status.member.name], value)
                    for n, t in topologies.items()
                    for status in t.members
                    if (value := measured(status)) is not None
                ],
            )
        yield histogram(
            "fairlead_failover_seconds",
            "Time without a primary: from when none was offered until one was writable.",
            ["cluster"],
            [([n], one.failovers) for n, one in self._router.overview.incidents.items()],
        )
        yield _gauge(
            "without_primary_seconds",
            "Time without a primary until now, from the first topology seen; 0 while there is one.",
            ["cluster"],
            [([n], one.lasting(now)) for n, one in self._router.overview.incidents.items()],
        )
        yield _counter(
            "probe_looks",
            "Looks at members, by how they ended.",
            ["cluster", "member", "outcome"],
            [
                ([n, member, outcome.value], count)
                for n, looks in self._router.overview.looks.items()
                for (member, outcome), count in looks.counts.items()
            ],
        )
        names = [
            (n, following)
            for n, watcher in self._router.overview.watchers.items()
            for following in watcher.names.values()
        ]
        yield _gauge(
            "dns_stale",
            "1 while an earlier answer stands in for one that cannot be had.",
            ["cluster", "name"],
            [([n, one.name], one.state.is_stale) for n, one in names],
        )
        yield _gauge(
            "dns_answer_age_seconds",
            "Time since the name was last answered.",
            ["cluster", "name"],
            [([n, one.name], age) for n, one in names if (age := one.state.age(now)) is not None],
        )
        yield _counter(
            "dns_lookups",
            "Looks at the name, by how they ended.",
            ["cluster", "name", "outcome"],
            [([n, one.name, outcome.value], count) for n, one in names for outcome, count in one.counts.items()],
        )


def _serving(workers: Sequence[WorkerReport]) -> int:
    return sum(worker.state is WorkerState.SERVING for worker in workers)


def _gauge(name: str, words: str, labels: list[str], samples: Samples) -> Family:
    return gauge(f"fairlead_{name}", words, labels, samples)


def _counter(name: str, words: str, labels: list[str], samples: Samples) -> Family:
    return counter(f"fairlead_{name}", words, labels, samples)
