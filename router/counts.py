"""How many sessions there are: of a route and in total, all worker processes together.

Owns the memory that workers share: a table of a row for each route and a column for each worker, written by its owner
alone and read by all. Row 0 is the total. Must not know what the numbers are compared with.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from typing import Protocol as Shape

COLUMNS = 256
"""Workers at once: 64 that serve, and three generations of them that still have sessions after upgrades."""
ROWS = 4096
"""Routes, and one for the total. Rows that were never written take no memory."""
WORD = 8  # bytes of a number: one store, so that no reader sees half of it


class Counts(Shape):
    """What a port tells of its sessions and asks of all."""

    def enter(self, route: str) -> None:
        """A session of that route begins. Enter first, then compare: so that two workers never both take the last."""

    def leave(self, route: str) -> None:
        """A session of that route is gone."""

    def sessions(self, route: str) -> int:
        """Sessions of that route now."""

    def total(self) -> int:
        """Sessions of all routes now."""


class LocalCounts:
    """Counts of one process alone."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def enter(self, route: str) -> None:
        self._counts[route] = self._counts.get(route, 0) + 1

    def leave(self, route: str) -> None:
        self._counts[route] -= 1

    def sessions(self, route: str) -> int:
        return self._counts.get(route, 0)

    def total(self) -> int:
        return sum(self._counts.values())


class SharedMemory:
    """The table itself. The main process makes it and hands its descriptor to workers."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, WORD * COLUMNS * ROWS)
        self._words = memoryview(self._map).cast("q")

    @classmethod
    def make(cls) -> SharedMemory:
        """A new one, all zero."""
        fd = os.memfd_create("fairlead-counts", os.MFD_CLOEXEC)
        os.ftruncate(fd, WORD * COLUMNS * ROWS)
        return cls(fd)

    def add(self, row: int, column: int, number: int) -> None:
        """Add to one's own word."""
        self._words[row * COLUMNS + column] += number

    def sum(self, row: int) -> int:
        """A row, all workers together."""
        return sum(self._words[row * COLUMNS : (row + 1) * COLUMNS])

    def clear(self, column: int) -> None:
        """Forget what a worker that is gone counted."""
        for at in range(column, COLUMNS * ROWS, COLUMNS):
            if self._words[at]:
                self._words[at] = 0

    def close(self) -> None:
        """Let go of it; others keep theirs."""
        self._words.release()
        self._map.close()
        os.close(self.fd)


class SharedCounts:
    """One worker's column of the table, and its view of all.

    Args:
        memory: the table.
        column: this worker's own.
        rows: where each route is counted; the owner may change it.
    """

    def __init__(self, memory: SharedMemory, column: int, rows: Mapping[str, int]) -> None:
        self._memory = memory
        self._column = column
        self._rows = rows

    def enter(self, route: str) -> None:
        self._memory.add(self._rows[route], self._column, 1)
        self._memory.add(0, self._column, 1)

    def leave(self, route: str) -> None:
        self._memory.add(self._rows[route], self._column, -1)
        self._memory.add(0, self._column, -1)

    def sessions(self, route: str) -> int:
        return self._memory.sum(self._rows[route])

    def total(self) -> int:
        return self._memory.sum(0)


class Rows:
    """Which row each route is counted in. A route keeps its row for as long as anybody counts there."""

    def __init__(self, memory: SharedMemory, rows: Mapping[str, int] | None = None) -> None:
        self._memory = memory
        self.rows = dict(rows or {})

    def row_of(self, route: str) -> int:
        """The route's row; a free one for a new route.

        Raises:
            ValueError: there are too many routes.
        """
        if route not in self.rows:
            taken = set(self.rows.values())
            free = next((row for row in range(1, ROWS) if row not in taken), None)
            if free is None:
                raise ValueError(f"more than {ROWS - 1} routes")
            self.rows[route] = free
        return self.rows[route]

    def forget_all_but(self, routes: Mapping[str, object]) -> None:
        """Free the rows of routes that are gone and have no session left."""
        gone = [name for name, row in self.rows.items() if name not in routes and not self._memory.sum(row)]
        for name in gone:
            del self.rows[name]
