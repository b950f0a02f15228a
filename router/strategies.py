"""The strategies: in which order a new session tries the members that it may use.

Each is a pure function from members to all of the same members, in a table by name. What it may go by is handed to it.
Must not know roles, health checks or sockets.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from router.words import StrategyName
from srv.order import in_order_of_use


@dataclass(frozen=True, slots=True)
class Contender:
    """A member as strategies see it.

    priority and weight: its SRV record's (RFC 2782). share: of that weight, in a hundred; less where it bears up badly.
    """

    name: str
    priority: int = 0
    weight: int = 1
    share: int = 100


@dataclass(frozen=True, slots=True)
class Draw:
    """What one choice may go by.

    turn: counts the route's sessions. sessions: by member, those of all routes and workers. failures: by member, the
    number of its latest failed dial; later ones have higher numbers. rng: the source of chance.
    """

    turn: int = 0
    sessions: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    rng: random.Random = field(default_factory=random.Random)


Members = Sequence[Contender]
Strategy = Callable[[Members, Draw], list[Contender]]


def first_available(members: Members, draw: Draw) -> list[Contender]:
    """Always in the same order: the first that accepts gets everything."""
    return list(members)


def next_available(members: Members, draw: Draw) -> list[Contender]:
    """As the first available, but one that failed goes to the end of the line and does not come back before its turn.

    MySQL Router never uses such a member again before it is restarted; here it is left when the others fail, too.
    """
    return sorted(members, key=lambda one: draw.failures.get(one.name, 0))


def round_robin(members: Members, draw: Draw) -> list[Contender]:
    """Each in its turn."""
    start = draw.turn % len(members) if members else 0
    return [*members[start:], *members[:start]]


def least_connections(members: Members, draw: Draw) -> list[Contender]:
    """By sessions, the fewest first; those that have as many take turns, so that short sessions spread too."""
    return sorted(round_robin(members, draw), key=lambda one: draw.sessions.get(one.name, 0))


def weighted(members: Members, draw: Draw) -> list[Contender]:
    """By the records' priority, then drawn by their weight (RFC 2782), of which a member in trouble has a share."""
    return [each.contender for each in in_order_of_use([_Drawn(one) for one in members], draw.rng)]


def random_two_choices(members: Members, draw: Draw) -> list[Contender]:
    """Of two members drawn by chance the one with fewer sessions first, then the other, then the rest by chance.

    Nearly as even as least-connections, and many routers that do not know of each other do not all choose alike.
    """
    drawn = draw.rng.sample(members, len(members))
    drawn[:2] = sorted(drawn[:2], key=lambda one: draw.sessions.get(one.name, 0))
    return drawn


STRATEGIES: Mapping[StrategyName, Strategy] = {
    StrategyName.FIRST_AVAILABLE: first_available,
    StrategyName.NEXT_AVAILABLE: next_available,
    StrategyName.ROUND_ROBIN: round_robin,
    StrategyName.ROUND_ROBIN_WITH_FALLBACK: round_robin,  # whom it falls back to stands behind all of these
    StrategyName.LEAST_CONNECTIONS: least_connections,
    StrategyName.WEIGHTED: weighted,
    StrategyName.RANDOM_TWO_CHOICES: random_two_choices,
}


class _Drawn:
    """A contender as a record of its effective weight."""

    __slots__ = ("contender",)

    def __init__(self, contender: Contender) -> None:
        self.contender = contender

    @property
    def priority(self) -> int:
        return self.contender.priority

    @property
    def weight(self) -> int:
        return self.contender.weight * self.contender.share
