"""What the demonstration shows while it runs: a live table on a terminal, plain lines elsewhere. Owns the screen."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

LINE_EVERY = 5.0  # seconds between plain status lines
EVENTS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What there is to show. `members` and `routes` are the router API's documents."""

    members: list[dict[str, Any]]
    routes: list[dict[str, Any]]
    writes: int
    reads: int
    errors: int


class Show:
    """Prints events as they come, and the state as often as it is worth."""

    def __init__(self) -> None:
        self._console = Console(stderr=False, highlight=False)
        self._terminal = sys.stdout.isatty()
        self._began = time.monotonic()
        self._events: list[str] = []
        self._last: tuple[float, Snapshot] | None = None
        self._next_line = 0.0
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def event(self, words: str) -> None:
        """Something happened."""
        line = f"[{time.monotonic() - self._began:6.1f} s] {words}"
        if self._live is None:
            print(line, flush=True)
        else:
            self._events.append(line)

    def state(self, snapshot: Snapshot) -> None:
        """How things stand."""
        now = time.monotonic()
        writes, reads = self._rates(now, snapshot)
        if self._terminal:
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False, transient=False)
                self._live.start()
            self._live.update(self._picture(snapshot, writes, reads), refresh=True)
        elif now >= self._next_line:
            self._next_line = now + LINE_EVERY
            roles = ", ".join(f"{_short(one['name'])} {one['role']}/{one['state']}" for one in snapshot.members)
            self.event(f"{roles}; {writes:.0f} writes/s, {reads:.0f} reads/s, {snapshot.errors} errors")

    def text(self, words: str) -> None:
        """Print, once the live table is over."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        print(words, flush=True)

    def _rates(self, now: float, snapshot: Snapshot) -> tuple[float, float]:
        before, self._last = self._last, (now, snapshot)
        if before is None or now <= before[0]:
            return 0.0, 0.0
        seconds = now - before[0]
        return (snapshot.writes - before[1].writes) / seconds, (snapshot.reads - before[1].reads) / seconds

    def _picture(self, snapshot: Snapshot, writes: float, reads: float) -> Group:
        members = Table("member", "role", "state", "offered as", "sessions", "why not", title="Fairlead")
        for one in snapshot.members:
            attached = sum(route["by_member"].get(one["name"], 0) for route in snapshot.routes)
            style = {"PRIMARY": "bold green", "SECONDARY": "green"}.get(one["offered"] or "", "yellow")
            cells = (
                _short(one["name"]),
                one["role"],
                one["state"],
                one["offered"] or "-",
                str(attached),
                one["reason"],
            )
            members.add_row(*cells, style=style)
        line = f"{writes:.0f} writes/s   {reads:.0f} reads/s   {snapshot.errors} errors so far"
        return Group(members, Text(line), Text("\n".join(self._events[-EVENTS_SHOWN:])))


def _short(name: str) -> str:
    return name.partition(".")[0]
