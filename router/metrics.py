"""Prometheus metrics, read from the router's own counts when they are asked for.

Nothing is counted twice and the relay's path touches no metric object. Series are bounded: by route, member, role and
outcome, never by connection. The one importer of prometheus_client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from cluster.members import Role
from cluster.topology import MemberStatus, Trust

if TYPE_CHECKING:
    from router.service import Router

CONTENT_TYPE = CONTENT_TYPE_LATEST

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


class Metrics:
    """One router's metrics."""

    def __init__(self, router: Router) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_RouterCollector(router))

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _RouterCollector(Collector):
    def __init__(self, router: Router) -> None:
        self._router = router

    def collect(self) -> Iterator[Metric]:
        yield _gauge("build_info", "Always 1; the version is its label.", ["version"], [([version("fairlead")], 1)])
        ready = not self._router.not_ready_because()
        yield _gauge("ready", "1 while new connections are welcome.", [], [([], ready)])
        yield from self._of_routes()
        yield from self._of_clusters()

    def _of_routes(self) -> Iterator[Metric]:
        ports = {name: listener.port for name, listener in self._router.listeners.items()}
        attached: dict[tuple[str, str], int] = {}
        for name, port in ports.items():
            for member in port.tally.joined:
                attached[name, member] = 0
            for session in port.sessions.values():
                if session.member is not None:
                    attached[name, session.member.name] += 1
        tallies = {name: port.tally for name, port in ports.items()}
        yield _gauge(
            "sessions",
            "Sessions attached to a member.",
            ["route", "member"],
            [([*key], n) for key, n in attached.items()],
        )
        yield _gauge(
            "sessions_parked",
            "Sessions that wait for a member.",
            ["route"],
            [([n], p.parked_now) for n, p in ports.items()],
        )
        yield _counter(
            "sessions_accepted", "Connections accepted.", ["route"], [([n], t.started) for n, t in tallies.items()]
        )
        yield _counter(
            "sessions_joined",
            "Sessions that got a member.",
            ["route", "member"],
            [([n, m], count) for n, t in tallies.items() for m, count in t.joined.items()],
        )
        yield _counter(
            "sessions_refused",
            "Sessions answered with a MySQL error, by its code.",
            ["route", "code"],
            [([n, str(code)], count) for n, t in tallies.items() for code, count in t.refused.items()],
        )
        yield _counter(
            "sessions_cut",
            "Sessions ended because their member was demoted or lost, or the router ended.",
            ["route"],
            [([n], t.cut) for n, t in tallies.items()],
        )
        yield _counter("parked", "Sessions that had to wait.", ["route"], [([n], t.parked) for n, t in tallies.items()])
        yield _counter(
            "parked_seconds",
            "Time that sessions waited, summed, of those that wait no more.",
            ["route"],
            [([n], t.parked_seconds) for n, t in tallies.items()],
        )
        yield _counter(
            "dial_failures",
            "Connections to members that failed.",
            ["route", "member"],
            [([n, m], count) for n, t in tallies.items() for m, count in t.dial_failures.items()],
        )
        carried: list[tuple[list[str], float]] = []
        for name, port in ports.items():
            live = list(port.sessions.values())
            carried.append(([name, "in"], port.tally.bytes_in + sum(session.bytes_in for session in live)))
            carried.append(([name, "out"], port.tally.bytes_out + sum(session.bytes_out for session in live)))
        yield _counter(
            "session_bytes", "Bytes from clients (in) and to clients (out).", ["route", "direction"], carried
        )

    def _of_clusters(self) -> Iterator[Metric]:
        now = time.monotonic()
        watches = {name: watcher.watch for name, watcher in self._router.watchers.items()}
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
        yield _counter(
            "probe_looks",
            "Looks at members, by how they ended.",
            ["cluster", "member", "outcome"],
            [
                ([n, member, outcome.value], count)
                for n, looks in self._router.looks.items()
                for (member, outcome), count in looks.counts.items()
            ],
        )
        names = [(n, following) for n, watcher in self._router.watchers.items() for following in watcher.names.values()]
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


Samples = Sequence[tuple[list[str], float]]


def _gauge(name: str, words: str, labels: list[str], samples: Samples) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"fairlead_{name}", words, labels=labels)
    for values, value in samples:
        family.add_metric(values, float(value))
    return family


def _counter(name: str, words: str, labels: list[str], samples: Samples) -> CounterMetricFamily:
    family = CounterMetricFamily(f"fairlead_{name}", words, labels=labels)
    for values, value in samples:
        family.add_metric(values, float(value))
    return family
