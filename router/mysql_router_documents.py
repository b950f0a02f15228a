"""The documents of MySQL Router's HTTP API, with its names and types, so that scripts made for it go on working.

From the API's published description (base /api/20190715) and from answers of MySQL Router 9.7. Where Fairlead has no
such thing the value is the one that means none. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cluster.members import Endpoint
from cluster.topology import Topology
from router.api_operations import By, Open, Optional, Shape
from router.moments import moment_of
from router.reports import RouteReport, SessionReport
from router.words import Destination

NAMES: Shape = {"items": [{"name": str}]}
ROUTER_STATUS: Shape = {"processId": int, "productEdition": str, "timeStarted": str, "version": str, "hostname": str}
ROUTING_STATUS: Shape = {"maxTotalConnections": int, "currentTotalConnections": int}
ROUTE_CONFIG: Shape = {
    "bindAddress": Optional(str),
    "bindPort": Optional(int),
    "socket": Optional(str),
    "clientConnectTimeoutInMs": int,
    "destinationConnectTimeoutInMs": int,
    "maxActiveConnections": int,
    "maxConnectErrors": int,
    "protocol": str,
    "routingStrategy": str,
}
ROUTE_STATUS: Shape = {"activeConnections": int, "totalConnections": int, "blockedHosts": int}
ROUTE_HEALTH: Shape = {"isAlive": bool}
DESTINATIONS: Shape = {"items": [{"address": str, "port": int}]}
CONNECTIONS: Shape = {
    "items": [
        {
            "bytesFromServer": int,
            "bytesToServer": int,
            "sourceAddress": str,
            "destinationAddress": Optional(str),
            "timeStarted": str,
        }
    ]
}
BLOCKED_HOSTS: Shape = {"items": [str]}
METADATA_CONFIG: Shape = {
    "clusterName": str,
    "timeRefreshInMs": int,
    "groupReplicationId": str,
    "nodes": [{"hostname": str, "port": int}],
}
METADATA_STATUS: Shape = {
    "refreshFailed": int,
    "refreshSucceeded": int,
    "timeLastRefreshSucceeded": Optional(str),
    "lastRefreshHostname": Optional(str),
    "lastRefreshPort": Optional(int),
}
HOST_CACHE_CONFIG: Shape = {
    "enabled": bool,
    "maxEntries": int,
    "ttlSuccessSeconds": int,
    "ttlNegativeSeconds": int,
    "jitterRatio": float,
}
HOST_CACHE_STATUS: Shape = {
    "numberOfEntries": int,
    "numberOfTemporaryEntries": int,
    "cache": {"hits": int, "misses": int, "inserts": int, "evictions": int, "expiredPurges": int},
}
HOST_CACHE_ENTRIES: Shape = {"entries": By(Open({})), "inProgress": By(Open({}))}

NO_HOST_CACHE_CONFIG: Mapping[str, Any] = {
    "enabled": False,
    "maxEntries": 0,
    "ttlSuccessSeconds": 0,
    "ttlNegativeSeconds": 0,
    "jitterRatio": 0.0,
}
"""Fairlead caches answers for their own TTL, and addresses of static lists: nothing that these options could say."""
NO_HOST_CACHE_STATUS: Mapping[str, Any] = {
    "numberOfEntries": 0,
    "numberOfTemporaryEntries": 0,
    "cache": {"hits": 0, "misses": 0, "inserts": 0, "evictions": 0, "expiredPurges": 0},
}

DESTINATION_ROLES: Mapping[Destination, tuple[str, ...]] = {
    Destination.PRIMARY: ("PRIMARY",),
    Destination.SECONDARY: ("SECONDARY",),
}
"""Roles of the members that a destination means; of one that is not here, both."""


def name_all(names: Iterable[str]) -> dict[str, Any]:
    """A list of things that have documents of their own."""
    return {"items": [{"name": name} for name in names]}


def milliseconds(seconds: float) -> int:
    """Times as that API has them."""
    return round(seconds * 1000)


def describe_status(report: RouteReport, blocked: int) -> dict[str, Any]:
    """`/routes/{r}/status`."""
    return {"activeConnections": report.sessions, "totalConnections": report.started, "blockedHosts": blocked}


def describe_destinations(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """`/routes/{r}/destinations`."""
    return {"items": [{"address": one.host, "port": one.port} for one in endpoints]}


def describe_connections(sessions: Iterable[SessionReport], addresses: Mapping[str, str]) -> dict[str, Any]:
    """`/routes/{r}/connections`.

    Args:
        sessions: of that route.
        addresses: where each member is, by name.
    """
    items = []
    for session in sessions:
        item: dict[str, Any] = {
            "bytesFromServer": session.bytes_out,
            "bytesToServer": session.bytes_in,
            "sourceAddress": session.client,
            "timeStarted": moment_of(session.since),
        }
        if session.member is not None:
            item["destinationAddress"] = addresses.get(session.member, session.member)
        items.append(item)
    return {"items": items}


def describe_metadata_config(name: str, interval: float, topology: Topology) -> dict[str, Any]:
    """`/metadata/{m}/config`; the view's prefix stands for the group, which Fairlead does not ask for its name."""
    return {
        "clusterName": name,
        "timeRefreshInMs": milliseconds(interval),
        "groupReplicationId": str(topology.view_id.prefix) if topology.view_id else "",
        "nodes": [
            {"hostname": status.member.name, "port": status.member.classic.port}
            for status in topology.members
            if status.member.classic is not None
        ],
    }


def describe_metadata_status(topology: Topology, succeeded: int, failed: int) -> dict[str, Any]:
    """`/metadata/{m}/status`: looks at members stand for refreshes."""
    document: dict[str, Any] = {"refreshFailed": failed, "refreshSucceeded": succeeded}
    speaker = next((status.member for status in topology.members if status.offered is not None), None)
    if topology.taken_at:
        document["timeLastRefreshSucceeded"] = moment_of(topology.taken_at)
    if speaker is not None and speaker.classic is not None:
        document["lastRefreshHostname"], document["lastRefreshPort"] = speaker.name, speaker.classic.port
    return document
