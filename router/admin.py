"""The HTTP listener for people, probes and Prometheus. Read-only; owns paths and documents' shapes.

The one importer of aiohttp.
"""

from __future__ import annotations

import logging
import socket
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from cluster.topology import Topology
from router import page
from router.families import CONTENT_TYPE
from router.metrics import Metrics
from router.reports import RouteReport, SessionReport, WorkerReport
from srv.freshness import Followed

if TYPE_CHECKING:
    from router.service import Router

CLOSE_PATIENCE = 1.0  # seconds for requests under way when the router ends: nobody may hold up its end
SESSIONS_SHOWN = 1000  # sessions in one document: enough for a person, bounded for a router with 10,000


class _OneLine(logging.Filter):
    """Makes one line of what is no fault of ours: bytes that are not HTTP."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return record.levelno > logging.DEBUG
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        client = record.args[0] if isinstance(record.args, tuple) and record.args else "unknown"
        record.msg, record.args = "admin: closed, client %s sent what is not HTTP: %s", (client, type(error).__name__)
        record.exc_info = record.exc_text = None
        return True


log = logging.getLogger("fairlead.admin")
log.setLevel(logging.DEBUG)  # where aiohttp tells of some of it
log.addFilter(_OneLine())


class Admin:
    """Serves one router's state over HTTP."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._metrics = Metrics(router)
        self._page = page.load()
        self._runner: web.AppRunner | None = None

    async def start(self, sock: socket.socket) -> None:
        """Answer on a listening socket, which is the listener's from now on."""
        app = web.Application()
        app.add_routes(
            [
                *(web.get(path, self._get_page) for path in self._page),
                web.get("/metrics", self._get_metrics),
                web.get("/livez", self._get_livez),
                web.get("/readyz", self._get_readyz),
                web.get("/api/v1/topology", self._get_topology),
                web.get("/api/v1/routes", self._get_routes),
                web.get("/api/v1/sessions", self._get_sessions),
                web.get("/api/v1/workers", self._get_workers),
            ]
        )
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=log,
            handle_signals=False,
            shutdown_timeout=CLOSE_PATIENCE,
            lingering_time=CLOSE_PATIENCE,
        )
        await self._runner.setup()
        await web.SockSite(self._runner, sock).start()

    async def close(self) -> None:
        """End the listener and its connections."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _get_page(self, request: web.Request) -> web.Response:
        file = self._page[request.path]
        return web.Response(body=file.body, content_type=file.content_type, charset="utf-8", headers=page.HEADERS)

    async def _get_metrics(self, _: web.Request) -> web.Response:
        await self._router.refresh()
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _get_livez(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _get_readyz(self, _: web.Request) -> web.Response:
        missing = self._router.not_ready_because()
        return web.Response(text=f"{missing or 'ready'}\n", status=503 if missing else 200)

    async def _get_topology(self, _: web.Request) -> web.Response:
        clusters = {
            name: {
                **describe_topology(watcher.watch.topology),
                "dns": [describe_name(following.state) for following in watcher.names.values()],
            }
            for name, watcher in self._router.watchers.items()
        }
        return web.json_response({"clusters": clusters})

    async def _get_routes(self, _: web.Request) -> web.Response:
        await self._router.refresh()
        return web.json_response({"routes": describe_routes(self._router)})

    async def _get_sessions(self, _: web.Request) -> web.Response:
        sessions = await self._router.list_sessions(SESSIONS_SHOWN)
        total = sum(report.sessions for report in self._router.report().values())
        now = time.monotonic()
        shown = [describe_session(session, now) for session in sessions[:SESSIONS_SHOWN]]
        return web.json_response({"total": total, "sessions": shown})

    async def _get_workers(self, _: web.Request) -> web.Response:
        await self._router.refresh()
        now = time.monotonic()
        return web.json_response({"workers": [describe_worker(worker, now) for worker in self._router.workers()]})


def describe_topology(topology: Topology) -> dict[str, Any]:
    """A topology as a JSON document."""
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
    }


def describe_session(session: SessionReport, now: float) -> dict[str, Any]:
    """A session as a JSON document."""
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
    """A worker process as a JSON document."""
    return {
        "serial": worker.serial,
        "pid": worker.pid,
        "state": worker.state.value,
        "age_seconds": round(now - worker.started_at, 3),
        "sessions": worker.sessions,
        "loop_lag_seconds": round(worker.lag, 6),
        "resident_bytes": worker.resident,
    }


def describe_name(followed: Followed) -> dict[str, Any]:
    """How following an SRV name goes, as a JSON document."""
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


def describe_routes(router: Router) -> list[dict[str, Any]]:
    """Every route and what it does, as JSON documents."""
    reports, shown = router.report(), []
    for name, chosen in router.settings.routes.items():
        report, route = reports.get(name, RouteReport(name)), router.routes[name]
        shown.append(
            {
                "name": name,
                "listen": str(chosen.listen),
                "listening": report.listening > 0,
                "protocol": route.protocol.value,
                "destination": route.destination.value,
                "strategy": route.strategy.value,
                "cluster": router.settings.cluster_of(chosen),
                "sessions": report.sessions,
                "parked": report.parked_now,
                "by_member": dict(report.attached),
                "accepted_total": report.started,
                "refused_total": sum(report.refused.values()),
                "cut_total": report.cut,
                "bytes_in_total": report.bytes_in,
                "bytes_out_total": report.bytes_out,
            }
        )
    return shown
