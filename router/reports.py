"""What workers tell of themselves, and how that of several adds up.

Owns the words of counting: what is a counter, what is a gauge. Everything that people and Prometheus are shown of
sessions comes from here. Pure; must not know ports, processes or documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any


class WorkerState(Enum):
    """Where a worker stands: STARTING -> SERVING -> DRAINING -> ENDED."""

    STARTING = "starting"  # it has no routes yet
    SERVING = "serving"  # it accepts connections
    DRAINING = "draining"  # it accepts no more; its sessions live on until they end, or their deadline comes
    ENDED = "ended"


COUNTER = {"kind": "counter"}
"""Only grows; what a worker counted before it died stays counted."""
GAUGE = {"kind": "gauge"}
"""How it is now; nothing of a worker that is gone."""


@dataclass(frozen=True, slots=True)
class RouteReport:
    """What one route did and does: in one worker, or in all. Times in seconds."""

    name: str
    started: int = field(default=0, metadata=COUNTER)  # sessions accepted
    refused: Mapping[int, int] = field(default_factory=dict, metadata=COUNTER)  # by the error's code
    abandoned: int = field(default=0, metadata=COUNTER)  # sessions whose client left before they had a member
    parked: int = field(default=0, metadata=COUNTER)  # sessions that had to wait
    parked_seconds: float = field(default=0.0, metadata=COUNTER)  # of those that wait no more
    cut: int = field(default=0, metadata=COUNTER)  # sessions ended because their member was demoted or lost
    ended: Mapping[str, int] = field(default_factory=dict, metadata=COUNTER)  # by limits and operators, by reason
    joined: Mapping[str, int] = field(default_factory=dict, metadata=COUNTER)  # by member
    connect_seconds: Mapping[str, float] = field(default_factory=dict, metadata=COUNTER)  # of those joined, by member
    connect_times: Mapping[str, Mapping[int, int]] = field(default_factory=dict, metadata=COUNTER)
    """How many took how long to connect: by member and `durations.CONNECT_BOUNDS`, not cumulative."""
    dial_failures: Mapping[str, int] = field(default_factory=dict, metadata=COUNTER)  # by member
    bytes_in: int = field(default=0, metadata=COUNTER)  # from clients, of ended and live sessions
    bytes_out: int = field(default=0, metadata=COUNTER)  # to clients
    sessions: int = field(default=0, metadata=GAUGE)
    parked_now: int = field(default=0, metadata=GAUGE)
    attached: Mapping[str, int] = field(default_factory=dict, metadata=GAUGE)  # sessions, by member
    listening: int = field(default=0, metadata=GAUGE)  # workers that accept on it


@dataclass(frozen=True, slots=True)
class SessionReport:
    """One session as it stands. `since` is of the monotonic clock, which all processes of a machine share."""

    id: int
    route: str
    client: str
    member: str | None
    phase: str
    since: float
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """One worker process as it stands.

    `lag` is the longest that its event loop came late since the report before (seconds), `resident` its memory (bytes),
    `tasks` those of its event loop, `cut_at_end` the sessions that were left when its time was over.
    """

    serial: int
    pid: int
    started_at: float  # monotonic seconds
    state: WorkerState
    lag: float = 0.0
    resident: int = 0
    tasks: int = 0
    cut_at_end: int = 0
    routes: tuple[RouteReport, ...] = ()

    @property
    def sessions(self) -> int:
        """Sessions that it has now."""
        return sum(route.sessions for route in self.routes)


def combine(reports: Iterable[RouteReport]) -> dict[str, RouteReport]:
    """Add up what several workers say, by route."""
    sums: dict[str, RouteReport] = {}
    for report in reports:
        before = sums.get(report.name)
        sums[report.name] = report if before is None else _add(before, report)
    return sums


def past(report: RouteReport) -> RouteReport:
    """What stays of a report when its worker is gone: counters, so that none ever goes back."""
    blank = RouteReport(report.name)
    gauges = {one.name: getattr(blank, one.name) for one in fields(blank) if one.metadata.get("kind") == "gauge"}
    return replace(report, **gauges)


def _add(one: RouteReport, other: RouteReport) -> RouteReport:
    sums: dict[str, Any] = {}
    for this in fields(one):
        if not this.metadata:
            continue
        sums[this.name] = _sum(getattr(one, this.name), getattr(other, this.name))
    return replace(one, **sums)


def _sum(mine: Any, its: Any) -> Any:
    """Numbers added up; of mappings, those of each key."""
    if not isinstance(mine, Mapping):
        return mine + its
    return {
        key: _sum(mine[key], its[key]) if key in mine and key in its else (mine if key in mine else its)[key]
        for key in mine.keys() | its.keys()
    }
