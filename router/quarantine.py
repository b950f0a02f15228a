"""Which members could not be connected to lately: tried after all others, until one dial of our own succeeds.

Owns that memory. Must not know sockets; time is given, in monotonic seconds.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping

from cluster.members import Member
from router.routes import Candidate


class Quarantine:
    """The failing members of one route.

    Args:
        threshold: dials in a row that fail before a member is held; 0 holds none.
        interval: seconds between looks at one that is held.
    """

    def __init__(self, threshold: int, interval: float) -> None:
        self._threshold = threshold
        self._interval = interval
        self._failures: dict[str, int] = {}  # in a row
        self._latest: dict[str, int] = {}  # the number of the latest failure
        self._failed_at: dict[str, Member] = {}  # with the address that failed
        self._numbers = itertools.count(1)
        self._held: dict[str, Candidate] = {}
        self._next_look: dict[str, float] = {}
        self.held: Collection[str] = ()
        """Names of the members in quarantine: another object whenever they are others."""

    @property
    def order(self) -> Mapping[str, int]:
        """By member, the number of its latest failure, whether or not it has been well since."""
        return self._latest

    def failed(self, candidate: Candidate, now: float) -> bool:
        """A dial failed; whether the member is held from now on, and was not before."""
        name = candidate.member.name
        self._latest[name] = next(self._numbers)
        self._failed_at[name] = candidate.member
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        if not self._threshold or failures < self._threshold:
            return False
        was_held = name in self._held
        self._held[name] = candidate  # where it is now
        self._next_look.setdefault(name, now + self._interval)
        if not was_held:
            self.held = tuple(self._held)
        return not was_held

    def succeeded(self, name: str) -> bool:
        """A dial succeeded; whether that ends a quarantine."""
        self._failures.pop(name, None)
        if self._held.pop(name, None) is None:
            return False
        del self._next_look[name]
        self.held = tuple(self._held)
        return True

    def doubts(self, name: str) -> bool:
        """Whether the latest dial of a member failed, or it is held."""
        return name in self._failures

    def due(self, now: float) -> list[Candidate]:
        """Whom to look at now; each is due again after the interval."""
        names = [name for name, at in self._next_look.items() if at <= now]
        for name in names:
            self._next_look[name] = now + self._interval
        return [self._held[name] for name in names]

    def keep(self, members: Iterable[Member]) -> None:
        """Forget all but these: the others are not of the cluster any more, or have moved to another address."""
        present = {member.name: member for member in members}
        for name in [name for name, member in self._failed_at.items() if present.get(name) != member]:
            self.succeeded(name)
            del self._failed_at[name], self._latest[name]
