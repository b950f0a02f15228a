"""The router's configuration: TOML or flags in, one frozen value out.

Owns what stands at the top level and how the tables belong together; the words of errors are `srv.documents`'. Must not
know the running router.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from router.addresses import Listen
from router.admin_settings import AdminSettings
from router.cluster_settings import ClusterSettings
from router.log_settings import LogSettings
from router.route_settings import RouteSettings
from router.routes import Route, Wire
from srv import documents
from srv.documents import Table, WrongError

__all__ = ["AdminSettings", "ClusterSettings", "RouteSettings", "Settings", "SettingsError"]


SettingsError = documents.DocumentError


class Settings(Table):
    """The whole configuration."""

    clusters: Mapping[str, ClusterSettings] = Field(default_factory=dict)
    routes: Mapping[str, RouteSettings]
    admin: AdminSettings = AdminSettings()
    log: LogSettings = LogSettings()
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that carry sessions, each on a core of its own. One is enough until it takes a whole core."""
    max_total_connections: Annotated[int, Field(ge=0, le=1_000_000)] = 20_000
    """Sessions of all routes at once; the next is refused with error 1040. Twice what one process is made for, and half
    a gigabyte when they are idle; MySQL Router's 512 is below what one application server may open. 0: no limit but
    that of open files."""
    drain_timeout: Annotated[float, Field(ge=0, le=86400)] = 20.0
    """Seconds that sessions have to end by themselves after SIGTERM: below Kubernetes' 30 s grace."""

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if not self.routes:
            raise WrongError("routes", "at least one route is needed")
        names = ", ".join(sorted(self.clusters))
        listening: dict[Listen, str] = {}
        for name, route in self.routes.items():
            if not self.clusters and not route.members:
                raise WrongError("clusters", f"is missing, and route {name} has no members of its own")
            if not route.members and not route.cluster and len(self.clusters) > 1:
                raise WrongError(("routes", name, "cluster"), f"must be one of {names}")
            if route.cluster and route.cluster not in self.clusters:
                raise WrongError(("routes", name, "cluster"), f"{route.cluster!r} is not one of {names}")
            if route.listen in listening:
                other = listening[route.listen]
                raise WrongError(("routes", name, "listen"), f"{route.listen} is already the address of route {other}")
            listening[route.listen] = name
        wanted = {
            "listen": self.admin.listen if self.admin.enabled else None,
            "metrics_listen": self.admin.metrics_listen,
        }
        for key, address in wanted.items():
            if address is not None and address in listening:
                raise WrongError(("admin", key), f"{address} is the address of route {listening[address]}")
        return self

    @property
    def listening(self) -> dict[str, tuple[Listen, Wire]]:
        """Every address that is listened on and how, by the option that says so."""
        wanted: dict[str, tuple[Listen, Wire]] = {
            f"routes.{name}.listen": (one.listen, one.wire) for name, one in self.routes.items()
        }
        if self.admin.enabled:
            wanted["admin.listen"] = self.admin.listen, Wire()
        if self.admin.metrics_listen is not None:
            wanted["admin.metrics_listen"] = self.admin.metrics_listen, Wire()
        return wanted

    def cluster_of(self, route: RouteSettings) -> str:
        """The name of the cluster a route leads to; empty where it has members of its own."""
        return "" if route.members else route.cluster or next(iter(self.clusters))

    def route(self, name: str) -> Route:
        """What the router makes of a route's table."""
        chosen = self.routes[name]
        cluster = self.clusters.get(self.cluster_of(chosen))
        return chosen.route(
            name,
            topology_max_age=cluster.topology_max_age if cluster else 0.0,
            max_total_connections=self.max_total_connections,
        )

    def all_routes(self) -> dict[str, Route]:
        """The same of every route, by name."""
        return {name: self.route(name) for name in self.routes}


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
