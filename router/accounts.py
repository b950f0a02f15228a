"""Reads ports at work into reports. Owns the way from sessions' and tallies' fields to a report's; changes nothing."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable

from router.port import Port
from router.reports import RouteReport, SessionReport
from router.sessions import Session


def report_route(port: Port, *, listening: bool) -> RouteReport:
    """What a port did and does, live sessions' bytes included."""
    tally = port.tally
    attached: Counter[str] = Counter()
    bytes_in, bytes_out = tally.bytes_in, tally.bytes_out
    for session in port.sessions.values():
        bytes_in += session.bytes_in
        bytes_out += session.bytes_out
        if session.member is not None:
            attached[session.member.name] += 1
    return RouteReport(
        name=port.route.name,
        started=tally.started,
        refused=dict(tally.refused),
        abandoned=tally.abandoned,
        parked=tally.parked,
        parked_seconds=tally.parked_seconds,
        cut=tally.cut,
        ended=dict(tally.ended),
        joined=dict(tally.joined),
        connect_seconds=dict(tally.connect_seconds),
        connect_times={member: dict(buckets) for member, buckets in tally.connect_times.items()},
        dial_failures=dict(tally.dial_failures),
        bytes_in=bytes_in,
        bytes_out=bytes_out,
        sessions=len(port.sessions),
        parked_now=port.parked_now,
        attached=attached,
        listening=int(listening),
    )


def report_sessions(ports: Iterable[Port], limit: int) -> list[SessionReport]:
    """Live sessions, at most `limit`."""
    sessions = itertools.chain.from_iterable(port.sessions.values() for port in ports)
    return [_report(session) for session in itertools.islice(sessions, limit)]


def _report(session: Session) -> SessionReport:
    return SessionReport(
        id=session.id,
        route=session.port.route.name,
        client=session.peer,
        member=session.member.name if session.member else None,
        phase=session.phase.value,
        since=session.since,
        bytes_in=session.bytes_in,
        bytes_out=session.bytes_out,
    )
