"""The screen of `fairlead top`: two looks at the API's documents, as lines for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from router.printable import printable
from router.tables import member_rows, table

BOLD, PLAIN = "\x1b[1m", "\x1b[0m"
UNITS: Sequence[str] = ("B", "KiB", "MiB", "GiB", "TiB")
EVENTS_SHOWN = 12  # at most, of those that a terminal has lines for


@dataclass(frozen=True, slots=True)
class Look:
    """What the API said. `at`: monotonic seconds."""

    at: float
    documents: Mapping[str, Any]


def draw(now: Look, before: Look, *, width: int, height: int, styled: bool) -> str:
    """One screen.

    Args:
        now: the latest look.
        before: the one before it; rates are of the time between them.
        width: characters of a line.
        height: lines; events fill what is left.
        styled: whether headings may be bold.
    """
    lines = _heading(now, before)
    for name, cluster in now.documents["clusters"].items():
        reason = f" ({cluster['reason']})" if cluster["reason"] else ""
        lines += ["", f"cluster {name}: {cluster['trust']}{reason}"]
        lines += member_rows(name, cluster, now.documents["routes"]).splitlines()
    lines += ["", *_routes(now, before).splitlines(), "", *_workers(now).splitlines()]
    events = now.documents["events"]
    room = max(3, height - len(lines) - 2)
    shown = events[-min(room, EVENTS_SHOWN) :]
    lines += ["", *(f"{one['time'][11:19]}  {one['kind']:<15}  {one['text']}" for one in reversed(shown))]
    lines = [printable(line)[:width] for line in lines[: max(height - 1, 1)]]
    return "\n".join(f"{BOLD}{line}{PLAIN}" if styled and at == 0 else line for at, line in enumerate(lines))


def _heading(now: Look, before: Look) -> list[str]:
    routes, earlier = now.documents["routes"], {one["name"]: one for one in before.documents["routes"]}
    sessions = sum(one["sessions"] for one in routes)
    parked = sum(one["parked"] for one in routes)
    total = {
        key: sum(_rate(one, earlier, key, now, before) for one in routes)
        for key in ("accepted_total", "bytes_in_total", "bytes_out_total")
    }
    return [
        f"fairlead: {sessions} sessions, {parked} parked, {total['accepted_total']:.1f} new/s,"
        f" {_size(total['bytes_in_total'])}/s in, {_size(total['bytes_out_total'])}/s out"
    ]


def _routes(now: Look, before: Look) -> str:
    earlier = {one["name"]: one for one in before.documents["routes"]}
    rows = [
        (
            one["name"],
            one["listen"],
            one["destination"],
            one["sessions"],
            one["parked"],
            f"{_rate(one, earlier, 'accepted_total', now, before):.1f}",
            f"{_size(_rate(one, earlier, 'bytes_in_total', now, before))}/s",
            f"{_size(_rate(one, earlier, 'bytes_out_total', now, before))}/s",
            one["refused_total"],
            one["cut_total"],
        )
        for one in now.documents["routes"]
    ]
    return table(("ROUTE", "LISTEN", "TO", "SESSIONS", "PARKED", "NEW/S", "IN", "OUT", "REFUSED", "CUT"), rows)


def _workers(now: Look) -> str:
    rows = [
        (
            one["serial"],
            one["pid"],
            one["state"],
            one["sessions"],
            f"{one['loop_lag_seconds'] * 1000:.1f} ms",
            _size(one["resident_bytes"]),
            f"{one['age_seconds']:.0f} s",
        )
        for one in now.documents["workers"]
    ]
    return table(("WORKER", "PID", "STATE", "SESSIONS", "LAG", "MEMORY", "AGE"), rows)


def _rate(one: Mapping[str, Any], earlier: Mapping[str, Any], key: str, now: Look, before: Look) -> float:
    """Growth a second; 0 for a route that was not there before, or where the router was started again."""
    took = now.at - before.at
    return max(0.0, (one[key] - earlier[one["name"]][key]) / took) if took > 0 and one["name"] in earlier else 0.0


def _size(count: float) -> str:
    for unit in UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {UNITS[-1]}"
