"""How many sessions each member has, dials under way included: what strategies go by.

Owns this process' own numbers and the last it was told of the others'. Must not know who tells it.
"""

from __future__ import annotations

from collections.abc import Mapping


class Loads:
    """Sessions by member, of all routes and workers."""

    def __init__(self) -> None:
        self.own: dict[str, int] = {}
        """Of this process."""
        self._others: Mapping[str, int] = {}
        self._all: dict[str, int] = self.own

    def take(self, member: str) -> None:
        """A session is on its way to that member."""
        self._add(member, 1)

    def release(self, member: str) -> None:
        """It is gone, or did not get there."""
        self._add(member, -1)

    def set_others(self, others: Mapping[str, int]) -> None:
        """What the other workers have, as they reported last."""
        self._others = dict(others)
        self._all = {name: self.own.get(name, 0) + others.get(name, 0) for name in {*self.own, *others}}

    def by_member(self) -> Mapping[str, int]:
        """A view, which goes on changing."""
        return self._all

    def _add(self, member: str, change: int) -> None:
        for counts in (self.own,) if self._all is self.own else (self.own, self._all):
            left = counts.get(member, 0) + change
            if left:
                counts[member] = left
            else:
                counts.pop(member, None)  # members come and go
