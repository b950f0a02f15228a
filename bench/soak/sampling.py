"""Looks at the router's processes: what the kernel counts of them, and what they say of themselves.

Must not know what is thought of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from bench.soak.record import MAIN, Sample
from router.api import fetch

PROC = Path("/proc")
EVERY = 5.0  # seconds between two looks


def look(admin: str, at: float, generation: int) -> list[Sample]:
    """Look at all processes of a router; one that ends meanwhile is left out.

    Args:
        admin: `ADDRESS:PORT` of its HTTP listener.
        at: the time to note, in seconds.
        generation: how many main processes there have been in this one's place, itself included.

    Raises:
        NoRouterError: it does not answer.
    """
    accepted = sum(route["accepted_total"] for route in fetch(admin, "/api/v1/routes")["routes"])
    document = fetch(admin, "/api/v1/workers")
    main = document["main"]
    shown = [(f"{MAIN} {generation}", main["pid"], main["tasks"], 0)]
    shown += [(f"worker {one['serial']}", one["pid"], one["tasks"], one["sessions"]) for one in document["workers"]]
    return [
        Sample(at, name, *of_kernel, tasks, sessions, accepted)
        for name, pid, tasks, sessions in shown
        for of_kernel in _of_kernel(pid)
    ]


def _of_kernel(pid: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Memory (three figures), descriptors and threads of a process, if it is still there (proc(5))."""
    directory = PROC / str(pid)
    try:
        memory = dict(re.findall(r"^(\w+):\s+(\d+) kB", (directory / "smaps_rollup").read_text(), re.MULTILINE))
        descriptors = sum(1 for _ in (directory / "fd").iterdir())
        threads = sum(1 for _ in (directory / "task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return
    resident, proportional, own = (int(memory[name]) * 1024 for name in ("Rss", "Pss", "Anonymous"))
    yield resident, proportional, own, descriptors, threads
