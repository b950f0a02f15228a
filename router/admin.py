"""The HTTP listener for people, probes and Prometheus. Read-only; owns paths and documents' shapes.

The one importer of aiohttp.
"""

from __future__ import annotations

import itertools
import logging
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from cluster.topology import Topology
from router.listener import ListenError, open_socket
from router.metrics import CONTENT_TYPE, Metrics
from router.sessions import Session
from router.settings import SettingsError
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
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen, where the settings want it.

        Raises:
            SettingsError: the address cannot be listened on.
        """
        admin = self._router.settings.admin
        if not admin.enabled:
            return
        try:
            sock = open_socket(admin.listen)
        except ListenError as exc:
            raise SettingsError(f"admin.listen: {exc}") from exc
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._get_metrics),
                web.get("/livez", self._get_livez),
                web.get("/readyz", self._get_readyz),
                web.get("/api/v1/topology", self._get_topology),
                web.get("/api/v1/routes", self._get_routes),
                web.get("/api/v1/sessions", self._get_sessions),
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

    async def _get_metrics(self, _: web.Request) -> web.Response:
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
        return web.json_response({"routes": [describe_route(self._router, name) for name in self._router.listeners]})

    async def _get_sessions(self, _: web.Request) -> web.Response:
        now, total = time.monotonic(), 0
        shown: list[dict[str, Any]] = []
        for listener in self._router.listeners.values():
            sessions = listener.port.sessions
            total += len(sessions)
            first = itertools.islice(sessions.values(), SESSIONS_SHOWN - len(shown))
            shown.extend(describe_session(session, now) for session in first)
        return web.json_response({"total": total, "sessions": shown})


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


def describe_session(session: Session, now: float) -> dict[str, Any]:
    """A session as a JSON document."""
    return {
        "id": session.id,
        "route": session.port.route.name,
        "client": session.peer,
        "member": session.member.name if session.member else None,
        "phase": session.phase.value,
        "age_seconds": round(now - session.since, 3),
        "bytes_in": session.bytes_in,
        "bytes_out": session.bytes_out,
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


def describe_route(router: Router, name: str) -> dict[str, Any]:
    """A route and its sessions, as a JSON document."""
    listener = router.listeners[name]
    port, route = listener.port, listener.port.route
    attached: dict[str, int] = {}
    for session in port.sessions.values():
        if session.member is not None:
            attached[session.member.name] = attached.get(session.member.name, 0) + 1
    return {
        "name": name,
        "listen": str(router.settings.routes[name].listen),
        "listening": listener.listening,
        "protocol": route.protocol.value,
        "destination": route.destination.value,
        "strategy": route.strategy.value,
        "cluster": router.settings.cluster_of(router.settings.routes[name]),
        "sessions": len(port.sessions),
        "parked": port.parked_now,
        "by_member": attached,
        "accepted_total": port.tally.started,
        "refused_total": sum(port.tally.refused.values()),
        "cut_total": port.tally.cut,
    }
