"""How many sessions there are: of a route and in total, all worker processes together; and who accepts.

Owns the memory that workers share: a table of a row for each route and a column for each worker, written by its owner
alone and read by all. Row 0 is the total; after the routes comes a row that says when each worker last told that it
accepts, and then one word of the main process. Must not know what the numbers are compared with.
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
ACCEPTING = ROWS
"""The row of who accepts: monotonic milliseconds, 0 for one that does not."""
_USED = (ROWS + 1) * COLUMNS
"""The word of how many columns have ever been used: they are given out lowest first, and nobody looks further."""
SIZE = WORD * (_USED + 1)


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
        if os.fstat(fd).st_size < SIZE:  # new, or of a version before
            os.ftruncate(fd, SIZE)
        self._map = mmap.mmap(fd, SIZE)
        self._words = memoryview(self._map).cast("q")

    @classmethod
    def make(cls) -> SharedMemory:
        """A new one, all zero."""
        return cls(os.memfd_create("fairlead-counts", os.MFD_CLOEXEC))

    def use(self, column: int) -> None:
        """Count this column from now on: the main process says so before its worker begins."""
        self._words[_USED] = max(self._words[_USED], column + 1)

    def add(self, row: int, column: int, number: int) -> None:
        """Add to one's own word."""
        self._words[row * COLUMNS + column] += number

    def set(self, row: int, column: int, number: int) -> None:
        """Write one's own word."""
        self._words[row * COLUMNS + column] = number

    @property
    def used(self) -> int:
        """Columns that have ever been used."""
        return self._words[_USED]

    def row(self, row: int) -> memoryview[int]:
        """A row, as far as it is used: a view."""
        return self._words[row * COLUMNS : row * COLUMNS + self._words[_USED]]

    def sum(self, row: int) -> int:
        """A row, all workers together."""
        return sum(self.row(row))

    def clear(self, column: int) -> None:
        """Forget what a worker that is gone counted."""
        for at in range(column, COLUMNS * (ACCEPTING + 1), COLUMNS):
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


class Place:
    """One worker among those that accept from the same sockets.

    Args:
        memory: the table.
        column: this worker's own.
    """

    def __init__(self, memory: SharedMemory, column: int) -> None:
        self._memory = memory
        self._column = column

    def tell(self, now: float) -> None:
        """Say that this worker accepts and is not stuck, at `now` in monotonic seconds."""
        self._memory.set(ACCEPTING, self._column, round(1000 * now))

    def leave(self) -> None:
        """Say that it does not accept."""
        self._memory.set(ACCEPTING, self._column, 0)

    @property
    def is_alone(self) -> bool:
        """Whether there has never been another."""
        return self._memory.used <= 1

    def own(self) -> int:
        """Sessions of this worker."""
        return self._memory.row(0)[self._column]

    def others(self, since: float) -> list[int]:
        """Sessions of each other worker that told since then, monotonic seconds, that it accepts."""
        told = 1000 * since
        counts = zip(self._memory.row(0), self._memory.row(ACCEPTING), strict=True)
        return [count for at, (count, when) in enumerate(counts) if when > told and at != self._column]


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
