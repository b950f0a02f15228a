"""Documents of the API as tables for people. Pure. What stands in a cell cannot leave it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from router.printable import printable


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns as wide as their widest cell, two spaces apart."""
    cells = [list(header), *([printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def member_rows(name: str, cluster: Mapping[str, Any], routes: Iterable[Mapping[str, Any]]) -> str:
    """A cluster's members, and how many sessions of these routes they have."""
    here = [route["by_member"] for route in routes if route["cluster"] == name]
    rows = [
        (
            member["name"],
            member["classic"] or "-",
            member["role"],
            member["state"],
            (member["offered"] or "no") + (f", {member['mode']}" if member["mode"] else ""),
            sum(by_member.get(member["name"], 0) for by_member in here),
            member["transactions_queued"],
            "-" if member["lag_seconds"] is None else f"{member['lag_seconds']:.1f} s",
            member["reason"],
        )
        for member in cluster["members"]
    ]
    return table(("MEMBER", "ADDRESS", "ROLE", "STATE", "OFFERED", "SESSIONS", "QUEUED", "LAG", "REASON"), rows)


def status_tables(documents: Mapping[str, Any]) -> str:
    """What `/api/v1/topology`, `routes` and `workers` say, for a terminal."""
    parts = []
    routes = documents["routes"]
    for name, cluster in documents["clusters"].items():
        age = cluster["age_seconds"]
        trust = f"cluster {name}: {cluster['trust']}" + (f" ({cluster['reason']})" if cluster["reason"] else "")
        parts.append(
            f"{printable(trust)}, topology {cluster['version']}, {'never seen' if age is None else f'{age:.1f} s old'}"
        )
        parts.append(member_rows(name, cluster, routes))
        for one in cluster["dns"]:
            stale = " (an earlier answer is used)" if one["stale"] else ""
            parts.append(f"dns {printable(one['name'])}: {one['outcome'] or 'not asked yet'}{stale}")
        parts.append("")
    by_route = [
        (
            route["name"],
            route["listen"],
            route["destination"],
            route["sessions"],
            route["parked"],
            route["accepted_total"],
            route["refused_total"],
            route["cut_total"],
        )
        for route in routes
    ]
    parts.append(table(("ROUTE", "LISTEN", "TO", "SESSIONS", "PARKED", "ACCEPTED", "REFUSED", "CUT"), by_route))
    by_worker = [(one["serial"], one["pid"], one["state"], one["sessions"]) for one in documents["workers"]]
    parts += ["", table(("WORKER", "PID", "STATE", "SESSIONS"), by_worker)]
    return "\n".join(parts)
