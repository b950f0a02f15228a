"""Failures in a row: when to try again, and what of it is news. Owns those rules; time and chance are given."""

from __future__ import annotations

import random
from collections.abc import Hashable

DOUBLINGS_LIMIT = 32  # waits are at their limit long before; keeps the power a number


class Setback:
    """One row of failures after the other.

    Args:
        first: seconds from a first failure to the next try; doubled each time.
        limit: seconds between tries at most.
        rng: draws each wait between half of that and all, so that many do not come in step.
    """

    def __init__(self, first: float, limit: float, rng: random.Random) -> None:
        self._first = first
        self._limit = limit
        self._rng = rng
        self._told: set[Hashable] = set()
        self._last: float | None = None
        self.failures = 0
        """In a row, up to now; 0 where all is well."""
        self.since: float | None = None
        """When the first of them was, in monotonic seconds."""
        self.due = float("-inf")
        """When to try again, in monotonic seconds."""

    def add(self, what: Hashable, *, began: float, now: float) -> bool:
        """Take a failure, and say whether it is the first of its kind in this row.

        One that began before the failure before it ended ran beside that one, and does not put the next try off.

        Args:
            what: is compared with others.
            began: when the try began, in monotonic seconds.
            now: when it failed.
        """
        is_news = what not in self._told
        self._told.add(what)
        if self._last is not None and began < self._last:
            return is_news
        wait = min(self._limit, self._first * 2 ** min(self.failures, DOUBLINGS_LIMIT))
        self.failures += 1
        self.since = now if self.since is None else self.since
        self.due = now + wait * self._rng.uniform(0.5, 1.0)
        self._last = now
        return is_news

    def end(self) -> None:
        """Take a success."""
        self._told.clear()
        self.failures, self.since, self.due, self._last = 0, None, float("-inf"), None
