"""The HTTP listeners for people, probes, programs and Prometheus: carries requests to operations, and answers back.

Owns what HTTP is about: paths, headers, statuses, connections. What is asked and done is `api_v1`'s and
`api_mysql_router`'s, who may is `admin_access`'s. It and `admin_answers` are all that imports aiohttp here.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from router import page
from router.admin_access import Asking, Credentials, deny
from router.admin_answers import NOT_KEPT, PATH_TOLD, json_of, path_of, problem, send
from router.admin_connections import SILENCE, Connections, most_connections
from router.admin_doors import CrowdedError, Doors, Tries, read_credentials
from router.admin_reports import Reports
from router.admin_settings import AdminSettings
from router.admin_tls import Certificate, make_context
from router.api_mysql_router import MySqlRouterApi
from router.api_operations import Asked, Operation, ProblemError, read_body, read_query
from router.api_v1 import Api
from router.families import CONTENT_TYPE
from router.metrics import Metrics

if TYPE_CHECKING:
    from router.service import Router

CLOSE_PATIENCE = 1.0  # seconds for requests under way when the router ends: nobody may hold up its end
BODY_LIMIT = 64 * 1024  # bytes of a request's body: what is asked for is a few names
STREAMS = 100  # event streams at once; each costs a connection and what its reader does not read
STREAM_PATIENCE = 10.0  # seconds for a reader of events to take what is sent; one that does not is left behind
OPEN_PATHS = frozenset({"/metrics", "/livez", "/readyz"})
"""Paths that never need a credential, whatever `Host` they are asked by: probes and scrapers have none. They tell
numbers, and the names of clusters, members and routes; nothing of clients, sessions or the configuration."""


class _OneLine(logging.Filter):
    """Makes one line of what is no fault of ours: bytes that are not HTTP."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.name = log.name  # whose words they are does not matter to who reads them
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return record.levelno > logging.DEBUG and log.isEnabledFor(record.levelno)
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        client = record.args[0] if isinstance(record.args, tuple) and record.args else "unknown"
        record.msg, record.args = "admin: closed, client %s sent what is not HTTP: %s", (client, type(error).__name__)
        record.exc_info = record.exc_text = None
        return log.isEnabledFor(record.levelno)


log = logging.getLogger("fairlead.admin")
library_log = logging.getLogger("fairlead.admin.http")
library_log.setLevel(logging.DEBUG)  # where aiohttp tells of some of it; the filter keeps to what is wanted
library_log.addFilter(_OneLine())

CALLER: ContextVar[str] = ContextVar("caller", default="")
"""Whose credential the request under way has."""


class Admin:
    """Serves one router's state and control over HTTP."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._reports = Reports(router)
        self._metrics = Metrics(router)
        self._page = page.load()
        self._runners: list[web.AppRunner] = []
        self._serving: list[asyncio.Task[None]] = []
        self._tries = Tries()
        self._doors = Doors(AdminSettings(), Credentials(), self._tries)
        self._tls = Certificate()
        self._scheme = "http"
        self._streams = 0

    def prepare(self, admin: AdminSettings) -> Callable[[], None]:
        """Read the files of credentials and certificates; what is returned puts them in force.

        Connections that there are keep the certificate that they have; every request is asked by the new credentials.

        Raises:
            SettingsError: one cannot be used; nothing has changed.
        """
        if not admin.enabled:
            return lambda: None
        doors = Doors(admin, read_credentials(admin), self._tries)
        # A certificate of our own making stays the same for as long as we live.
        keeps = admin.self_signed and self._tls.current is not None
        context = None if keeps or not admin.tls else make_context(admin)

        def apply() -> None:
            self._doors = doors
            if context is not None:
                self._tls.current = context

        return apply

    async def start(self, sock: socket.socket) -> None:
        """Answer on a listening socket, which is the listener's from now on. After `prepare`."""
        context = self._tls.listening()
        self._scheme = "https" if context is not None else "http"
        await self._listen(sock, self._all_routes(), [self._guard], context)

    async def start_metrics(self, sock: socket.socket) -> None:
        """Answer on another one, with the pages alone that need no credential."""
        await self._listen(sock, self._pages(), [], None)

    async def close(self) -> None:
        """End the listeners and their connections."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        for runner in self._runners:
            await runner.cleanup()
        self._tries.close()

    def _pages(self) -> list[web.RouteDef]:
        return [
            web.get("/metrics", self._get_metrics),
            web.get("/livez", self._get_livez),
            web.get("/readyz", self._get_readyz),
        ]

    def _all_routes(self) -> list[web.RouteDef]:
        tables = Api(self._router, self._reports), MySqlRouterApi(self._router, self._reports)
        return [
            *(web.get(path, self._get_page) for path in self._page),
            *self._pages(),
            *(
                web.route(one.method, one.path, partial(self._answer, one))
                for each in tables
                for one in each.operations
            ),
        ]

    async def _listen(
        self,
        sock: socket.socket,
        routes: Sequence[web.RouteDef],
        guards: Sequence[Middleware],
        context: ssl.SSLContext | None,
    ) -> None:
        @web.middleware
        async def serve(request: web.Request, handler: Handler) -> web.StreamResponse:
            with connections.asked(request.protocol):
                response = await handler(request)
                await send(response, request)
                return response

        app = web.Application(middlewares=[serve, *guards], client_max_size=BODY_LIMIT)
        app.add_routes(routes)
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=library_log,
            handle_signals=False,
            handler_cancellation=True,
            shutdown_timeout=CLOSE_PATIENCE,
            lingering_time=CLOSE_PATIENCE,
            keepalive_timeout=SILENCE,
        )
        self._runners.append(runner)
        await runner.setup()
        assert runner.server is not None  # noqa: S101 setup makes it
        most = most_connections(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        connections = Connections(sock, runner.server, context, most)
        self._serving.append(asyncio.create_task(connections.serve(), name="HTTP listener"))

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who may, and make problem documents of what goes wrong."""
        try:
            if request.path not in OPEN_PATHS:
                await self._admit(request)
            return await handler(request)
        except ProblemError as error:
            return problem(error.status, str(error))
        except CrowdedError:
            return problem(503, "too many passwords wait to be tried; ask again in a moment, or with a token")
        except web.HTTPException as error:
            if request.path in OPEN_PATHS or error.status < 400:
                raise
            where = request.path[:PATH_TOLD]
            words = {404: f"there is no {where}", 405: f"{request.method} is not for {where}"}
            answer = problem(error.status, words.get(error.status, error.reason))
            if "Allow" in error.headers:
                answer.headers["Allow"] = error.headers["Allow"]
            return answer
        except ConnectionError:
            raise
        except Exception:  # a fault in one answer must not look like another's, and nobody is shown a trace
            log.exception("admin: %s %s failed by a fault of the router", request.method, path_of(request))
            return problem(500, "a fault of the router; its log says more")

    async def _admit(self, request: web.Request) -> None:
        doors = self._doors
        authorization = request.headers.get("Authorization", "")
        caller, by_token = await doors.caller_of(authorization) if authorization else (None, False)
        denial = deny(
            doors.rules,
            Asking(
                changes=request.method not in ("GET", "HEAD"),
                caller=caller,
                by_token=by_token,
                presented=bool(authorization),
                host=request.headers.get("Host", ""),
                origin=request.headers.get("Origin", ""),
                content_type=request.headers.get("Content-Type", ""),
                scheme=self._scheme,
            ),
        )
        if denial is not None:
            if authorization or request.method not in ("GET", "HEAD"):
                words = "admin: %s %s denied, client %s: %s"
                log.warning(words, request.method, path_of(request), request.remote, denial.words)
            raise ProblemError(denial.status, denial.words)
        CALLER.set(caller or "")

    async def _answer(self, one: Operation, request: web.Request) -> web.StreamResponse:
        asked = Asked(
            path=dict(request.match_info),
            query=read_query(request.query, one.query),
            body=read_body(await json_of(request), one.body or {}),
            caller=CALLER.get(),
            last_event=request.headers.get("Last-Event-ID", ""),
        )
        if one.stream is not None and "text/event-stream" in request.headers.get("Accept", ""):
            return await self._stream(one.stream(asked), request)
        document = await one.handler(asked)
        return web.json_response(document, headers=NOT_KEPT)

    async def _stream(self, sent: AsyncIterator[bytes], request: web.Request) -> web.StreamResponse:
        if self._streams >= STREAMS:
            raise ProblemError(503, f"there are {STREAMS} streams already; ask without Accept: text/event-stream")
        response = web.StreamResponse(headers={**NOT_KEPT, "Content-Type": "text/event-stream"})
        self._streams += 1
        try:
            await response.prepare(request)
            async for data in sent:
                async with asyncio.timeout(STREAM_PATIENCE):
                    await response.write(data)
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._streams -= 1
        return response

    async def _get_page(self, request: web.Request) -> web.Response:
        file = self._page[request.path]
        return web.Response(body=file.body, content_type=file.content_type, charset="utf-8", headers=page.HEADERS)

    async def _get_metrics(self, _: web.Request) -> web.Response:
        await self._reports.refresh()
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _get_livez(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _get_readyz(self, _: web.Request) -> web.Response:
        missing = self._router.not_ready_because()
        return web.Response(text=f"{missing or 'ready'}\n", status=503 if missing else 200)
