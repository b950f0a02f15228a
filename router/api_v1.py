"""Our own API, `/api/v1`: the table of its operations, and who answers them.

Owns what may be asked and done. Must not know HTTP: what is asked comes in as `Asked`, and documents go out.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from router import api_documents as shapes
from router.admin_reports import SESSIONS_SHOWN
from router.api_description import write_openapi
from router.api_events import stream_events
from router.api_members import find_member
from router.api_operations import Asked, By, Maybe, Open, Operation, ProblemError
from router.events import KEPT, Kind
from router.reports import RouteReport
from router.settings import SettingsError

if TYPE_CHECKING:
    from router.admin_reports import Reports
    from router.service import Router

log = logging.getLogger("fairlead.admin")

BASE = "/api/v1"
NO_SUCH: Sequence[int] = (404,)
MODES: Mapping[str, tuple[str | None, str]] = {
    "drain": ("drained", "gets no new sessions; those that it has live on, or are ended within `end_within` seconds"),
    "undrain": (None, "gets sessions again"),
    "hide": ("hidden", "gets no new sessions, and those that it has are ended, unless `disconnect` is false"),
    "unhide": (None, "gets sessions again"),
}
"""What is asked of a member: the mode it gets by that, and what it does. As MySQL Router's tags `_hidden` and
`_disconnect_existing_sessions_when_hidden` say it."""
BODIES: Mapping[str, Mapping[str, type]] = {"drain": {"end_within": float}, "hide": {"disconnect": bool}}
BLOCKED: Mapping[str, type] = {"route": str, "host": str}
LONGEST_DRAIN = 86400.0  # seconds


class Api:
    """The operations of one router.

    Args:
        router: whom they are about.
        reports: its workers' reports.
    """

    def __init__(self, router: Router, reports: Reports) -> None:
        self._router = router
        self._reports = reports
        self.operations: tuple[Operation, ...] = (
            Operation(
                "GET",
                f"{BASE}/topology",
                "getTopology",
                "The members of every cluster, and why one is not offered.",
                self._topology,
                {"clusters": By(shapes.TOPOLOGY)},
            ),
            Operation(
                "GET",
                f"{BASE}/routes",
                "listRoutes",
                "Every route, and what it does.",
                self._routes,
                {"routes": [shapes.ROUTE]},
            ),
            Operation(
                "GET",
                f"{BASE}/sessions",
                "listSessions",
                f"Sessions, at most {SESSIONS_SHOWN}, and how many there are in all.",
                self._sessions,
                {"total": int, "sessions": [shapes.SESSION]},
                query={"route": str, "limit": int},
                problems=NO_SUCH,
            ),
            Operation(
                "DELETE",
                f"{BASE}/sessions/{{id}}",
                "killSession",
                "End a session at once.",
                self._kill,
                {"killed": int},
                problems=NO_SUCH,
            ),
            Operation(
                "GET",
                f"{BASE}/workers",
                "listWorkers",
                "The worker processes, and the main process that runs them.",
                self._workers,
                {"workers": [shapes.WORKER], "main": {"pid": int, "tasks": int}},
            ),
            Operation(
                "GET",
                f"{BASE}/blocked-hosts",
                "listBlockedHosts",
                "Client hosts that are turned away with error 1129.",
                self._blocked,
                {"hosts": [BLOCKED]},
            ),
            Operation(
                "POST",
                f"{BASE}/blocked-hosts/reset",
                "resetBlockedHosts",
                "Let one host, or all, in again, on one route or on all.",
                self._reset_blocked,
                {"reset": [BLOCKED]},
                body={"host": str, "route": str},
                problems=NO_SUCH,
            ),
            Operation(
                "GET",
                f"{BASE}/config",
                "getConfig",
                "The configuration in force, defaults included; no secrets.",
                self._config,
                Open({"clusters": By(Open({})), "routes": By(Open({})), "admin": Open({})}),
            ),
            Operation(
                "GET",
                f"{BASE}/events",
                "listEvents",
                f"What happened lately, at most {KEPT} events; as server-sent events it goes on.",
                self._events,
                {"events": [shapes.EVENT]},
                query={"after": int, "limit": int},
                stream=self._stream,
            ),
            Operation(
                "POST",
                f"{BASE}/reload",
                "reload",
                "Read the configuration file again: what changed, or why nothing did.",
                self._reload,
                {"changes": [str]},
                body={},
                problems=(409,),
            ),
            *(
                Operation(
                    "POST",
                    f"{BASE}/members/{{name}}/{verb}",
                    f"{verb}Member",
                    f"The member {words}. Until the router ends, or it is put back.",
                    partial(self._member, verb),
                    {"cluster": str, "member": str, "mode": Maybe(str)},
                    body={"cluster": str, **BODIES.get(verb, {})},
                    problems=(404, 409),
                )
                for verb, (_, words) in MODES.items()
            ),
            Operation(
                "GET", f"{BASE}/openapi.json", "getDescription", "This description.", self._description, Open({})
            ),
        )

    async def _topology(self, _: Asked) -> Any:
        clusters = {
            name: shapes.describe_topology(
                watcher.watch.topology,
                self._router.overview.modes(name),
                [shapes.describe_name(following.state) for following in watcher.names.values()],
            )
            for name, watcher in self._router.overview.watchers.items()
        }
        return {"clusters": clusters}

    async def _routes(self, _: Asked) -> Any:
        reports, settings, shown = await self._reports.routes(), self._router.settings, []
        for name, chosen in settings.routes.items():
            route = self._router.routes[name]
            shown.append(
                shapes.describe_route(
                    reports.get(name, RouteReport(name)),
                    listen=str(chosen.listen),
                    protocol=route.protocol.value,
                    destination=route.destination.value,
                    strategy=route.strategy.value,
                    cluster=settings.cluster_of(chosen),
                )
            )
        return {"routes": shown}

    async def _sessions(self, asked: Asked) -> Any:
        route = asked.query.get("route", "")
        if route and route not in self._router.settings.routes:
            raise ProblemError(404, f"there is no route {route}")
        limit = min(asked.query.get("limit", SESSIONS_SHOWN), SESSIONS_SHOWN)
        sessions = await self._reports.sessions(limit, route)
        reports, now = await self._reports.routes(), time.monotonic()
        total = sum(report.sessions for name, report in reports.items() if route in ("", name))
        return {"total": total, "sessions": [shapes.describe_session(session, now) for session in sessions]}

    async def _kill(self, asked: Asked) -> Any:
        text = asked.path["id"]
        if (
            text.isascii()
            and text.isdigit()
            and len(text) <= 18
            and await self._router.overview.kill_sessions([int(text)])
        ):
            self._note(asked, Kind.SESSION_KILLED, f"session {text} was ended", session=int(text))
            return {"killed": int(text)}
        raise ProblemError(404, f"there is no session {text[:50]}; it may have ended by itself")

    async def _workers(self, _: Asked) -> Any:
        workers, now = await self._reports.workers(), time.monotonic()
        main = {"pid": os.getpid(), "tasks": len(asyncio.all_tasks())}
        return {"workers": [shapes.describe_worker(worker, now) for worker in workers], "main": main}

    async def _blocked(self, _: Asked) -> Any:
        routes = self._router.routes
        return {
            "hosts": [
                {"route": one, "host": host} for one in routes for host in self._router.overview.blocked_hosts(one)
            ]
        }

    async def _reset_blocked(self, asked: Asked) -> Any:
        host, route = asked.body.get("host", ""), asked.body.get("route", "")
        if route and route not in self._router.routes:
            raise ProblemError(404, f"there is no route {route[:50]}")
        chosen = [route] if route else list(self._router.routes)
        reset = [
            {"route": one, "host": each}
            for one in chosen
            for each in self._router.overview.reset_hosts(one, host or None)
        ]
        if host and not reset:
            raise ProblemError(404, f"{host[:50]} is not blocked")
        if reset:
            hosts = sorted({one["host"] for one in reset})
            self._note(asked, Kind.UNBLOCKED, f"let in again: {', '.join(hosts[:10])}", hosts=hosts)
        return {"reset": reset}

    async def _config(self, _: Asked) -> Any:
        return shapes.describe_settings(self._router.settings)

    async def _events(self, asked: Asked) -> Any:
        events = self._router.events.after(asked.query.get("after", 0), asked.query.get("limit", KEPT))
        return {"events": [event.document() for event in events]}

    def _stream(self, asked: Asked) -> Any:
        return stream_events(self._router.events, asked.last_event, asked.query.get("after"))

    async def _reload(self, asked: Asked) -> Any:
        try:
            changes = await self._router.reload()
        except SettingsError as error:
            raise ProblemError(409, f"nothing was changed: {error}") from error
        log.info("admin: reloaded, asked by %s", asked.caller)
        return {"changes": changes.lines()}

    async def _member(self, verb: str, asked: Asked) -> Any:
        mode, _ = MODES[verb]
        cluster, member = find_member(self._router, asked.path["name"], asked.body.get("cluster", ""))
        now = self._router.overview.modes(cluster).get(member)
        if mode is None and now not in (None, MODES[verb.removeprefix("un")][0]):
            raise ProblemError(409, f"{member} is {now}: ask for the opposite of that")
        end_within = asked.body.get("end_within", 0.0 if asked.body.get("disconnect", verb == "hide") else None)
        if end_within is not None and not 0 <= end_within <= LONGEST_DRAIN:
            raise ProblemError(400, f"end_within must be from 0 to {LONGEST_DRAIN:g} seconds")
        self._router.overview.set_mode(cluster, member, mode, end_within)
        words = f"{member} is {mode}" if mode else f"{member} gets sessions again"
        self._note(asked, Kind.MODE, words, cluster, member=member, mode=mode)
        return {"cluster": cluster, "member": member, "mode": mode}

    def _note(self, asked: Asked, kind: Kind, text: str, cluster: str = "", **more: Any) -> None:
        log.info("admin: %s, asked by %s", text, asked.caller)
        self._router.events.publish(kind, f"{text}, asked by {asked.caller}", cluster, **more)

    async def _description(self, _: Asked) -> Any:
        return write_openapi(self.operations, version("fairlead"))
