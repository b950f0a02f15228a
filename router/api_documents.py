"""The documents of our own API: each beside the shape that its description tells. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import Enum
from typing import Any

from cluster.topology import Topology
from router.api_operations import By, Maybe, Open, Shape
from router.reports import RouteReport, SessionReport, WorkerReport
from srv.freshness import Followed

MEMBER: Shape = {
    "name": str,
    "classic": Maybe(str),
    "x": Maybe(str),
    "uuid": Maybe(str),
    "role": str,
    "state": str,
    "offered": Maybe(str),
    "mode": Maybe(str),
    "transactions_queued": int,
    "lag_seconds": Maybe(float),
    "threads_running": Maybe(int),
    "lagging": bool,
    "reason": str,
}
NAME: Shape = {
    "name": str,
    "outcome": Maybe(str),
    "detail": str,
    "targets": [str],
    "stale": bool,
    "answer_age_seconds": Maybe(float),
    "failures": int,
}
TOPOLOGY: Shape = {
    "version": int,
    "flavour": Maybe(str),
    "trust": str,
    "reason": str,
    "age_seconds": Maybe(float),
    "view": Maybe(str),
    "members": [MEMBER],
    "unlisted": [{"uuid": str, "host": str, "port": int, "role": str, "state": str}],
    "dns": [NAME],
}
ROUTE: Shape = {
    "name": str,
    "listen": str,
    "listening": bool,
    "protocol": str,
    "destination": str,
    "strategy": str,
    "cluster": str,
    "sessions": int,
    "parked": int,
    "by_member": By(int),
    "accepted_total": int,
    "joined_total": int,
    "refused_total": int,
    "abandoned_total": int,
    "cut_total": int,
    "ended_total": By(int),
    "bytes_in_total": int,
    "bytes_out_total": int,
}
SESSION: Shape = {
    "id": int,
    "route": str,
    "client": str,
    "member": Maybe(str),
    "phase": str,
    "age_seconds": float,
    "bytes_in": int,
    "bytes_out": int,
}
WORKER: Shape = {
    "serial": int,
    "pid": int,
    "state": str,
    "age_seconds": float,
    "sessions": int,
    "loop_lag_seconds": float,
    "resident_bytes": int,
    "tasks": int,
}
EVENT: Shape = Open({"id": int, "time": str, "kind": str, "cluster": Maybe(str), "text": str})


def describe_topology(topology: Topology, modes: Mapping[str, str], dns: list[dict[str, Any]]) -> dict[str, Any]:
    """A topology.

    Args:
        topology: a cluster's.
        modes: what people want of its members, by name.
        dns: how following its names goes.
    """
    return {
        "version": topology.version,
        "flavour": topology.flavour.value if topology.flavour else None,
        "trust": topology.trust.value,
        "reason": topology.reason,
        "age_seconds": round(max(0.0, time.monotonic() - topology.taken_at), 3) if topology.taken_at else None,
        "view": f"{topology.view_id.prefix}:{topology.view_id.counter}" if topology.view_id else None,
        "members": [
            {
                "name": status.member.name,
                "classic": str(status.member.classic) if status.member.classic else None,
                "x": str(status.member.x) if status.member.x else None,
                "uuid": status.uuid,
                "role": status.role.value,
                "state": status.state.value,
                "offered": status.offered.value if status.offered else None,
                "mode": modes.get(status.member.name),
                "transactions_queued": status.queued,
                "lag_seconds": status.lag,
                "threads_running": status.load,
                "lagging": status.lagging,
                "reason": status.reason,
            }
            for status in topology.members
        ],
        "unlisted": [
            {"uuid": one.uuid, "host": one.host, "port": one.port, "role": one.role.value, "state": one.state.value}
            for one in topology.unlisted
        ],
        "dns": dns,
    }


def describe_name(followed: Followed) -> dict[str, Any]:
    """How following an SRV name goes."""
    age = followed.age(time.monotonic())
    return {
        "name": followed.name,
        "outcome": followed.outcome.value if followed.outcome else None,
        "detail": followed.detail,
        "targets": [f"{one.name}:{one.port}" for one in followed.answer.targets] if followed.answer else [],
        "stale": followed.is_stale,
        "answer_age_seconds": None if age is None else round(age, 3),
        "failures": followed.failures,
    }


def describe_route(report: RouteReport, **settled: str) -> dict[str, Any]:
    """A route: what it was set to, and what it does."""
    return {
        "name": report.name,
        **settled,
        "listening": report.listening > 0,
        "sessions": report.sessions,
        "parked": report.parked_now,
        "by_member": dict(report.attached),
        "accepted_total": report.started,
        "joined_total": sum(report.joined.values()),
        "refused_total": sum(report.refused.values()),
        "abandoned_total": report.abandoned,
        "cut_total": report.cut,
        "ended_total": dict(report.ended),
        "bytes_in_total": report.bytes_in,
        "bytes_out_total": report.bytes_out,
    }


def describe_session(session: SessionReport, now: float) -> dict[str, Any]:
    """A session."""
    return {
        "id": session.id,
        "route": session.route,
        "client": session.client,
        "member": session.member,
        "phase": session.phase,
        "age_seconds": round(now - session.since, 3),
        "bytes_in": session.bytes_in,
        "bytes_out": session.bytes_out,
    }


def describe_worker(worker: WorkerReport, now: float) -> dict[str, Any]:
    """A worker process."""
    return {
        "serial": worker.serial,
        "pid": worker.pid,
        "state": worker.state.value if isinstance(worker.state, Enum) else worker.state,
        "age_seconds": round(now - worker.started_at, 3),
        "sessions": worker.sessions,
        "loop_lag_seconds": round(worker.lag, 6),
        "resident_bytes": worker.resident,
        "tasks": worker.tasks,
    }


def describe_settings(settings: Any) -> Any:
    """Settings as they are now, defaults included. They hold names of files with secrets, never secrets."""
    fields = getattr(type(settings), "model_fields", None)
    if fields is not None:
        return {name: describe_settings(getattr(settings, name)) for name in fields}
    if settings is None or isinstance(settings, (bool, int, float)):
        return settings
    if isinstance(settings, Enum):
        return settings.value
    if isinstance(settings, Mapping):
        return {str(key): describe_settings(value) for key, value in settings.items()}
    if isinstance(settings, (tuple, list, set, frozenset)):
        return [describe_settings(value) for value in settings]
    return str(settings)
