"""The router's configuration: TOML or flags in, one frozen value out.

Owns every option's name, unit, default and reason; the words of errors are `srv.documents`'. Must not know the
running router.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from cluster.evidence import Policy
from cluster.members import Endpoint
from router.admin_settings import AdminSettings
from router.log_settings import LogSettings
from router.words import Destination, Protocol, StrategyName
from srv import documents
from srv.documents import Table, WrongError, address
from srv.freshness import Policy as Freshness
from srv.names import canonical
from srv.policies import PolicyTable, max_age_of
from srv.resolvconf import DNS_PORT
from srv.zone import SERVICES
from xproto.tls import TlsMode

FRESHNESS = Freshness()


SettingsError = documents.DocumentError


class ClusterSettings(PolicyTable):
    """`[clusters.NAME]`: where a cluster's members are learned and how they are asked."""

    srv: Annotated[str, Field(min_length=1, max_length=240)]
    """The cluster's domain: `_mysql._tcp.` and `_mysqlx._tcp.` are put before it. With a final dot the search list of
    /etc/resolv.conf is left alone; without `resolvers` it is followed otherwise."""
    resolvers: tuple[Annotated[Endpoint, address(DNS_PORT)], ...] = ()
    """DNS servers, `ADDRESS[:PORT]`, tried in this order. Empty: those of /etc/resolv.conf."""
    probe_user: str = ""
    """Account for health checks; needs SELECT on performance_schema."""
    probe_password_file: Path | None = None
    """File with its password in the first line. Else the environment's FAIRLEAD_PROBE_PASSWORD."""
    probe_tls: TlsMode | None = None
    """`disabled`, `preferred`, `required`, `verify-ca` or `verify-identity`, as MySQL has them. Left out: preferred, or
    verify-ca where an authority is given."""
    probe_tls_ca: Path | None = None
    """File of the authorities to believe, PEM. verify-ca and verify-identity need it."""
    probe_tls_cert: Path | None = None
    """File of the probes' own certificate, PEM, for an account that REQUIREs one."""
    probe_tls_key: Path | None = None
    """File of its key, PEM, not encrypted. Left out: it is in the same file."""
    poll_interval: Annotated[float, Field(ge=0.05, le=60)] = 0.5
    """Seconds between looks at a member. Notices come in between; this is for what they miss."""
    probe_timeout: Annotated[float, Field(ge=0.05, le=60)] = 1.5
    """Seconds for one look, connecting included."""
    server_metrics: bool = False
    """Whether members are asked, with the probe's account, for what they count of themselves, for /metrics."""
    server_metrics_interval: Annotated[float, Field(ge=1, le=3600)] = 15.0
    """Seconds between two such questions to a member: Prometheus' usual scrape interval."""
    topology_max_age: Annotated[float, Field(ge=1, le=86400)] = 30.0
    """Seconds for which the last known roles serve new sessions while no member can be asked."""
    dns_keep_last_good: Annotated[float, Field(ge=0, le=604800)] = FRESHNESS.keep_last_good
    """Seconds for which the last good DNS answer stands while there is no new one."""
    dns_ttl_floor: Annotated[float, Field(ge=0.1, le=3600)] = FRESHNESS.floor
    """Seconds between two looks at a name, whatever its TTL and however often members fail."""
    dns_ttl_ceiling: Annotated[float, Field(ge=0.1, le=86400)] = FRESHNESS.ceiling
    """Seconds between two looks at a name at most, whatever its TTL."""
    dns_timeout: Annotated[float, Field(ge=0.05, le=60)] | None = None
    """Seconds for one question to one DNS server. Left out: `options timeout` of /etc/resolv.conf where its servers
    are asked, else 1."""
    dns_attempts: Annotated[int, Field(ge=1, le=10)] | None = None
    """Rounds over all DNS servers. Left out: `options attempts` of /etc/resolv.conf where its servers are asked,
    else 2."""

    @property
    def policy(self) -> Policy:
        """How observations of the cluster's members are judged."""
        return self.judging(max_age_of(self.probe_timeout, self.poll_interval))

    @model_validator(mode="after")
    def _names(self) -> Self:
        name = self.srv.removesuffix(".").lower()
        end = "." if self.srv.endswith(".") else ""
        for service in SERVICES:
            name = name.removeprefix(f"{service}.")
        try:
            if not name.isascii() or any(character.isspace() for character in name):
                raise ValueError("it has characters that no host name has")
            object.__setattr__(self, "srv", canonical(name) + end)
        except ValueError as exc:
            raise WrongError(
                "srv", f"{self.srv!r} is not a domain name ({exc}); write one like db.example.com"
            ) from exc
        if self.dns_ttl_floor > self.dns_ttl_ceiling:
            limits = f"{self.dns_ttl_floor:g} is above dns_ttl_ceiling, {self.dns_ttl_ceiling:g}"
            raise WrongError("dns_ttl_floor", f"{limits}; the floor must not be above the ceiling")
        if "\0" in self.probe_user:
            raise WrongError("probe_user", "must not contain a zero byte")
        return self


class RouteSettings(Table):
    """`[routes.NAME]`: a listening port."""

    listen: Annotated[Endpoint, address(None, "127.0.0.1:6446")]
    """`ADDRESS:PORT` to listen on."""
    protocol: Protocol
    """`classic` or `x`."""
    destination: Destination
    """`PRIMARY` or `SECONDARY`."""
    cluster: str = ""
    """A name from `[clusters]`. May be left out where there is only one."""
    strategy: StrategyName | None = None
    """`first-available` or `round-robin`. Left out: the former for PRIMARY, the latter for SECONDARY."""
    fallback_to_primary: bool = False
    """Whether a SECONDARY route may use the primary while no secondary can be had."""
    parking_timeout: Annotated[float, Field(ge=0, le=3600)] = 9.0
    """Seconds a new session waits for a member: below the common drivers' connect timeout of 10 s, so that
    the error reaches them, and above the 7 s a group needs to replace a dead primary."""
    parking_limit: Annotated[int, Field(ge=0, le=1_000_000)] = 1024
    """Sessions that may wait at once; the next is refused. Each holds a socket and at most what one read brings."""
    connect_timeout: Annotated[float, Field(gt=0, le=60)] = 2.0
    """Seconds to connect to one member before the next is tried."""

    @model_validator(mode="after")
    def _fallback(self) -> Self:
        if self.fallback_to_primary and self.destination is Destination.PRIMARY:
            raise WrongError("fallback_to_primary", "only a route with destination SECONDARY can fall back")
        return self


class Settings(Table):
    """The whole configuration."""

    clusters: Annotated[Mapping[str, ClusterSettings], Field(min_length=1)]
    routes: Mapping[str, RouteSettings]
    admin: AdminSettings = AdminSettings()
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that carry sessions, each on a core of its own. One is enough until it takes a whole core."""
    log: LogSettings = LogSettings()
    drain_timeout: Annotated[float, Field(ge=0, le=86400)] = 20.0
    """Seconds that sessions have to end by themselves after SIGTERM: below Kubernetes' 30 s grace."""

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if not self.routes:
            raise WrongError("routes", "at least one route is needed")
        names = ", ".join(sorted(self.clusters))
        listening: dict[Endpoint, str] = {}
        for name, route in self.routes.items():
            if not route.cluster and len(self.clusters) > 1:
                raise WrongError(("routes", name, "cluster"), f"must be one of {names}")
            if route.cluster and route.cluster not in self.clusters:
                raise WrongError(("routes", name, "cluster"), f"{route.cluster!r} is not one of {names}")
            if route.listen in listening:
                other = listening[route.listen]
                raise WrongError(("routes", name, "listen"), f"{route.listen} is already the address of route {other}")
            listening[route.listen] = name
        if self.admin.enabled and self.admin.listen in listening:
            raise WrongError(
                ("admin", "listen"), f"{self.admin.listen} is the address of route {listening[self.admin.listen]}"
            )
        return self

    def cluster_of(self, route: RouteSettings) -> str:
        """The name of the cluster a route leads to."""
        return route.cluster or next(iter(self.clusters))


DEFAULT_ROUTES: Mapping[str, Mapping[str, object]] = {
    "classic_rw": {"port": 6446, "protocol": "classic", "destination": "PRIMARY"},
    "classic_ro": {"port": 6447, "protocol": "classic", "destination": "SECONDARY"},
    "x_rw": {"port": 6448, "protocol": "x", "destination": "PRIMARY"},
    "x_ro": {"port": 6449, "protocol": "x", "destination": "SECONDARY"},
}
"""MySQL Router's ports and roles, which applications know."""


def default_routes(bind: str = "127.0.0.1") -> dict[str, dict[str, object]]:
    """The four usual routes, listening on one address."""
    host = f"[{bind}]" if ":" in bind else bind
    return {
        name: {"listen": f"{host}:{route['port']}", "protocol": route["protocol"], "destination": route["destination"]}
        for name, route in DEFAULT_ROUTES.items()
    }


def load(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        SettingsError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise SettingsError(f"{path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path}: not valid TOML: {exc}") from exc


def parse(document: Mapping[str, Any]) -> Settings:
    """Check a configuration document; without `routes`, the four usual ones are put in.

    Raises:
        SettingsError: one line for each thing that is wrong.
    """
    clusters = document.get("clusters")
    if "routes" not in document and isinstance(clusters, Mapping) and len(clusters) > 1:
        raise SettingsError("routes: with several clusters there are no usual routes; configure [routes.NAME]")
    return documents.parse(Settings, {"routes": default_routes(), **document})
