"""What is different between two configurations: what a reload has to do, and how it says what it did. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from router.settings import RouteSettings, Settings
from srv.documents import Table

MOVING = ("listen", "protocol", "destination", "cluster", "members", "proxy_protocol")
"""Options of a route that make another route of it: its sessions have the drain's time to end."""
OCTAL = ("socket_mode",)
"""Options that are permissions, and written as such."""
FIXED = ("enabled", "listen", "metrics_listen", "self_signed", "tls")
"""Of the admin listener: what is read once, at the start. An upgrade in place (SIGUSR2) reads it again."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference. Changed ones have what changed, an `option before -> after` each."""

    routes_added: tuple[str, ...] = ()
    routes_removed: tuple[str, ...] = ()
    routes_moved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    routes_changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    clusters_added: tuple[str, ...] = ()
    clusters_removed: tuple[str, ...] = ()
    clusters_changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """One line for each thing that is different."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        for word, names in (("added", self.clusters_added), ("removed", self.clusters_removed)):
            yield from (f"cluster {name} {word}" for name in names)
        yield from (f"cluster {name}: {', '.join(what)}" for name, what in self.clusters_changed.items())
        yield from (f"route {name} added" for name in self.routes_added)
        yield from (f"route {name} removed; its sessions drain" for name in self.routes_removed)
        for name, what in self.routes_moved.items():
            yield f"route {name}: {', '.join(what)}; its sessions drain"
        yield from (f"route {name}: {', '.join(what)}" for name, what in self.routes_changed.items())
        yield from self.others


def compare(old: Settings, new: Settings) -> Changes:
    """What makes `new` different from `old`."""
    moved, changed = {}, {}
    for name in old.routes.keys() & new.routes.keys():
        before, after = _described(old, old.routes[name]), _described(new, new.routes[name])
        what = _differences(before, after)
        if any(before[key] != after[key] for key in MOVING):
            moved[name] = what
        elif what:
            changed[name] = what
    kept = sorted(old.clusters.keys() & new.clusters.keys())
    in_clusters = {name: _differences(dict(old.clusters[name]), dict(new.clusters[name])) for name in kept}
    top_old, top_new = dict(old), dict(new)
    others = [key for key in top_new if key not in ("routes", "clusters", "admin")]
    return Changes(
        routes_added=tuple(sorted(new.routes.keys() - old.routes.keys())),
        routes_removed=tuple(sorted(old.routes.keys() - new.routes.keys())),
        routes_moved=dict(sorted(moved.items())),
        routes_changed=dict(sorted(changed.items())),
        clusters_added=tuple(sorted(new.clusters.keys() - old.clusters.keys())),
        clusters_removed=tuple(sorted(old.clusters.keys() - new.clusters.keys())),
        clusters_changed={name: what for name, what in in_clusters.items() if what},
        others=(
            *_differences(_flat(top_old, others), _flat(top_new, others)),
            *(f"admin.{line}" for line in _differences(dict(old.admin), dict(new.admin))),
        ),
        refused=tuple(f"admin.{key}" for key in FIXED if getattr(old.admin, key) != getattr(new.admin, key)),
    )


def _described(settings: Settings, route: RouteSettings) -> dict[str, Any]:
    return {**dict(route), "cluster": settings.cluster_of(route)}


def _flat(top: Mapping[str, Any], keys: list[str]) -> dict[str, Any]:
    """Options by name; those of a table by its name and theirs, `log.format`."""
    flat: dict[str, Any] = {}
    for key in keys:
        value = top[key]
        flat.update({f"{key}.{name}": one for name, one in value} if isinstance(value, Table) else {key: value})
    return flat


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        f"{key} {_spell(key, before[key])} -> {_spell(key, value)}"
        for key, value in after.items()
        if before[key] != value
    )


def _spell(key: str, value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_spell(key, one) for one in value) + "]"
    if key in OCTAL:
        return f"{value:04o}"
    return str(getattr(value, "value", value))
