"""How the sessions of a member that is to be left go: evenly, over the time that they have.

Owns the rule; pure. Must not know sockets, nor how a session is ended. Times in monotonic seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Departure:
    """When it began, with how many sessions, and when all of them are to be gone."""

    began: float
    until: float
    sessions: int

    def may_stay(self, now: float) -> int:
        """How many sessions may be there still. Those that end by themselves count as gone."""
        whole, left = self.until - self.began, self.until - now
        return min(self.sessions, math.ceil(self.sessions * left / whole)) if left > 0 else 0


def hurried(before: Departure | None, now: Departure) -> Departure:
    """What holds when one is told again: it may be hurried by that, and never put off."""
    return now if before is None or now.until < before.until else before
