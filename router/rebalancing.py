"""Which sessions to end so that members have as many as they should, when one of them comes back.

Owns the rule; pure. Must not know sockets, nor how a session is ended.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attached:
    """A session as it is chosen by: `since` in monotonic seconds; `is_quiet`: it carried no byte in the last second."""

    id: int
    member: str
    since: float
    is_quiet: bool


def surplus(counts: Mapping[str, int], weights: Mapping[str, int]) -> dict[str, int]:
    """How many sessions each member has too many: what is above its even part, rounded up.

    Args:
        counts: sessions by member. One without a weight should have none: a primary that stood in for readers.
        weights: of the members that sessions should be on; all of them 0 counts as all equal.
    """
    whole = sum(weights.values())
    parts = weights if whole else dict.fromkeys(weights, 1)
    whole = whole or len(parts)
    total = sum(counts.values())
    if not parts:
        return {}
    over = {name: count - math.ceil(total * parts.get(name, 0) / whole) for name, count in counts.items()}
    return {name: many for name, many in over.items() if many > 0}


def bounded(budget: Mapping[str, int], over: Mapping[str, int]) -> dict[str, int]:
    """What is left to be ended: of each member no more than was planned at first, nor than it has too many now."""
    left = {name: min(many, over.get(name, 0)) for name, many in budget.items()}
    return {name: many for name, many in left.items() if many > 0}


def choose(sessions: Iterable[Attached], budget: Mapping[str, int], limit: int) -> list[Attached]:
    """The sessions to end now: quiet ones first, of these the oldest first.

    Args:
        sessions: all of the route.
        budget: how many of each member may go.
        limit: how many in all.
    """
    left = dict(budget)
    chosen: list[Attached] = []
    for one in sorted(sessions, key=lambda one: (not one.is_quiet, one.since, one.id)):
        if len(chosen) >= limit:
            break
        if left.get(one.member, 0) > 0:
            left[one.member] -= 1
            chosen.append(one)
    return chosen
