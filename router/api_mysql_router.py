"""MySQL Router's HTTP API, `/api/20190715`, for the scripts and exporters of its users. Read-only, as it is there.

Owns which of its paths there are and what answers them; the documents are `mysql_router_documents`'. Must not know
HTTP.
"""

from __future__ import annotations

import os
import socket
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from cluster.members import Endpoint
from cluster.observations import Outcome
from cluster.topology import Topology
from router import mysql_router_documents as shapes
from router.api_description import write_swagger
from router.api_operations import Asked, Handler, Open, Operation, ProblemError, Shape
from router.moments import moment_of
from router.reports import RouteReport
from router.routes import endpoint_of, static_topology

if TYPE_CHECKING:
    from router.admin_reports import Reports
    from router.service import Router
    from router.settings import ClusterSettings, RouteSettings

BASE = "/api/20190715"
CONNECTIONS_SHOWN = 1000
"""Connections in one document. MySQL Router has no bound, and polling it under load once halted one."""


class MySqlRouterApi:
    """The operations of one router.

    Args:
        router: whom they are about.
        reports: its workers' reports.
    """

    def __init__(self, router: Router, reports: Reports) -> None:
        self._router = router
        self._reports = reports
        self._began = time.monotonic()
        self.operations: tuple[Operation, ...] = tuple(
            Operation("GET", BASE + path, name, words, handler, answer, problems=(400, 404) if "{" in path else (400,))
            for path, name, words, handler, answer in self._table()
        )

    def _table(self) -> list[tuple[str, str, str, Handler, Shape]]:
        host = "Names are looked up by the resolver, whose state is in our own API."
        route, metadata, pool = (
            "/routes/{routeName}",
            "/metadata/{metadataName}",
            "/connection_pool/{connectionPoolName}",
        )
        return [
            ("/router/status", "routerStatus", "The process.", self._status, shapes.ROUTER_STATUS),
            ("/routing/status", "routingStatus", "All routes together.", self._routing, shapes.ROUTING_STATUS),
            ("/routes", "routes", "The routes' names.", self._routes, shapes.NAMES),
            (f"{route}/config", "routeConfig", "How a route is set.", self._config, shapes.ROUTE_CONFIG),
            (f"{route}/status", "routeStatus", "What a route does.", self._route_status, shapes.ROUTE_STATUS),
            (f"{route}/health", "routeHealth", "Whether there is a member.", self._health, shapes.ROUTE_HEALTH),
            (f"{route}/destinations", "routeDestinations", "Its members.", self._destinations, shapes.DESTINATIONS),
            (
                f"{route}/connections",
                "routeConnections",
                f"Its sessions, at most {CONNECTIONS_SHOWN}.",
                self._connections,
                shapes.CONNECTIONS,
            ),
            (f"{route}/blockedHosts", "routeBlockedHosts", "Hosts turned away.", self._blocked, shapes.BLOCKED_HOSTS),
            ("/metadata", "metadata", "The clusters' names.", self._metadata, shapes.NAMES),
            (f"{metadata}/config", "metadataConfig", "Members.", self._metadata_config, shapes.METADATA_CONFIG),
            (f"{metadata}/status", "metadataStatus", "Looks.", self._metadata_status, shapes.METADATA_STATUS),
            ("/connection_pool", "connectionPools", "None: connections are not pooled.", self._nothing, shapes.NAMES),
            (f"{pool}/config", "connectionPoolConfig", "None.", self._no_pool, Open({})),
            (f"{pool}/status", "connectionPoolStatus", "None.", self._no_pool, Open({})),
            ("/host_cache/config", "hostCacheConfig", host, self._host_cache_config, shapes.HOST_CACHE_CONFIG),
            ("/host_cache/status", "hostCacheStatus", host, self._host_cache_status, shapes.HOST_CACHE_STATUS),
            ("/host_cache/entries", "hostCacheEntries", host, self._host_cache_entries, shapes.HOST_CACHE_ENTRIES),
            ("/swagger.json", "swagger", "This description.", self._description, Open({})),
        ]

    async def _status(self, _: Asked) -> Any:
        return {
            "processId": os.getpid(),
            "productEdition": "Fairlead",
            "timeStarted": moment_of(self._began),
            "version": version("fairlead"),
            "hostname": socket.gethostname(),
        }

    async def _routing(self, _: Asked) -> Any:
        reports = await self._reports.routes()
        return {
            "maxTotalConnections": self._router.settings.max_total_connections,
            "currentTotalConnections": sum(report.sessions for report in reports.values()),
        }

    async def _routes(self, _: Asked) -> Any:
        return shapes.name_all(self._router.settings.routes)

    async def _config(self, asked: Asked) -> Any:
        chosen, route = self._chosen(asked), self._router.routes[asked.path["routeName"]]
        listen: dict[str, Any] = {"socket": str(chosen.listen).removeprefix("unix:")}
        if isinstance(chosen.listen, Endpoint):
            listen = {"bindAddress": chosen.listen.host, "bindPort": chosen.listen.port}
        return {
            **listen,
            "clientConnectTimeoutInMs": shapes.milliseconds(chosen.client_connect_timeout),
            "destinationConnectTimeoutInMs": shapes.milliseconds(chosen.connect_timeout),
            "maxActiveConnections": chosen.max_connections,
            "maxConnectErrors": chosen.max_connect_errors,
            "protocol": chosen.protocol.value,
            "routingStrategy": route.strategy.value,
        }

    async def _route_status(self, asked: Asked) -> Any:
        self._chosen(asked)
        name = asked.path["routeName"]
        report = (await self._reports.routes()).get(name, RouteReport(name))
        return shapes.describe_status(report, len(self._router.overview.blocked_hosts(name)))

    async def _health(self, asked: Asked) -> Any:
        return {"isAlive": bool(self._endpoints(asked))}

    async def _destinations(self, asked: Asked) -> Any:
        return shapes.describe_destinations(self._endpoints(asked))

    async def _connections(self, asked: Asked) -> Any:
        self._chosen(asked)
        sessions = await self._reports.sessions(CONNECTIONS_SHOWN, asked.path["routeName"])
        route = self._router.routes[asked.path["routeName"]]
        addresses = {
            status.member.name: str(endpoint_of(status.member, route) or status.member.name)
            for status in self._topology(asked).members
        }
        return shapes.describe_connections(sessions, addresses)

    async def _blocked(self, asked: Asked) -> Any:
        self._chosen(asked)
        return {"items": sorted(self._router.overview.blocked_hosts(asked.path["routeName"]))}

    async def _metadata(self, _: Asked) -> Any:
        return shapes.name_all(self._router.settings.clusters)

    async def _metadata_config(self, asked: Asked) -> Any:
        name, cluster = self._cluster(asked)
        topology = self._router.overview.watchers[name].watch.topology
        return shapes.describe_metadata_config(name, cluster.poll_interval, topology)

    async def _metadata_status(self, asked: Asked) -> Any:
        name, _ = self._cluster(asked)
        counts = self._router.overview.looks[name].counts
        succeeded = sum(count for (_, outcome), count in counts.items() if outcome is Outcome.ANSWERED)
        topology = self._router.overview.watchers[name].watch.topology
        return shapes.describe_metadata_status(topology, succeeded, sum(counts.values()) - succeeded)

    async def _nothing(self, _: Asked) -> Any:
        return {"items": []}

    async def _no_pool(self, asked: Asked) -> Any:
        raise ProblemError(
            404, f"there is no connection pool {asked.path['connectionPoolName'][:50]}: connections are not pooled"
        )

    async def _host_cache_config(self, _: Asked) -> Any:
        return shapes.NO_HOST_CACHE_CONFIG

    async def _host_cache_status(self, _: Asked) -> Any:
        return shapes.NO_HOST_CACHE_STATUS

    async def _host_cache_entries(self, _: Asked) -> Any:
        return {"entries": {}, "inProgress": {}}

    async def _description(self, _: Asked) -> Any:
        return write_swagger(self.operations, BASE, version("fairlead"))

    def _chosen(self, asked: Asked) -> RouteSettings:
        name = asked.path["routeName"]
        if name not in self._router.settings.routes:
            raise ProblemError(404, f"there is no route {name[:50]}")
        return self._router.settings.routes[name]

    def _cluster(self, asked: Asked) -> tuple[str, ClusterSettings]:
        name = asked.path["metadataName"]
        if name not in self._router.settings.clusters:
            raise ProblemError(404, f"there is no cluster {name[:50]}")
        return name, self._router.settings.clusters[name]

    def _topology(self, asked: Asked) -> Topology:
        chosen, route = self._chosen(asked), self._router.routes[asked.path["routeName"]]
        if route.members:
            return static_topology(route.members)
        watcher = self._router.overview.watchers.get(self._router.settings.cluster_of(chosen))
        return watcher.watch.topology if watcher is not None else Topology()

    def _endpoints(self, asked: Asked) -> list[Endpoint]:
        """Where sessions of the route may go now."""
        topology, route = self._topology(asked), self._router.routes[asked.path["routeName"]]
        roles = shapes.DESTINATION_ROLES.get(route.destination, ("PRIMARY", "SECONDARY"))
        endpoints = (
            endpoint_of(status.member, route)
            for status in topology.members
            if status.offered is not None and status.offered.value in roles
        )
        return [endpoint for endpoint in endpoints if endpoint is not None]
