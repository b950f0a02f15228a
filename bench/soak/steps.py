"""What is done to the group and to the router while it is under load, drawn from a seed. Pure.

Owns which trouble there is, and how often each comes. Must not know how any of it is done.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What may be done."""

    SWITCH = "switch"  # another member becomes the primary, in order
    KILL = "kill"  # kill -9 of a member's server
    CUT = "cut"  # a member's packets are dropped
    FREEZE = "freeze"  # a member stands still, and its kernel goes on
    RELOAD = "reload"  # SIGHUP with a changed configuration
    UPGRADE = "upgrade"  # SIGUSR2


BAG: Sequence[Kind] = (Kind.SWITCH, Kind.SWITCH, Kind.KILL, Kind.CUT, Kind.CUT, Kind.FREEZE, Kind.RELOAD, Kind.RELOAD)
"""Drawn from until it is empty, then filled again: so that each kind comes in a run that is long enough."""
UPGRADES_AT: Sequence[float] = (0.1, 0.15, 0.55)
"""Shares of the time at which an upgrade is due. Few and fixed: a process that leaks must live on to show it."""
SIDES: Sequence[str] = ("peers", "clients", "all")
DIRECTIONS: Sequence[str] = ("in", "out", "both")
SHORTEST_HOLD, LONGEST_HOLD = 2.0, 8.0
"""Seconds that a trouble lasts: on both sides of the five that a group needs until it suspects a member."""
SHORTEST_REST, LONGEST_REST = 2.0, 6.0
"""Seconds of ordinary work before the next."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do.

    member: which one, by its place; of a switch, which of those that are not the primary. hold: seconds until it is
    undone. rest: seconds of ordinary work before it. side, direction: of a cut.
    """

    kind: Kind
    member: int
    hold: float
    rest: float
    side: str
    direction: str

    @property
    def words(self) -> str:
        """As it is told."""
        match self.kind:
            case Kind.CUT:
                return f"cut from {self.side}, {self.direction}, for {self.hold:.1f} s"
            case Kind.KILL | Kind.FREEZE:
                return f"{self.kind.value} for {self.hold:.1f} s"
            case _:
                return self.kind.value


def draw_steps(seed: int, members: int, kinds: Sequence[Kind] = BAG) -> Iterator[Step]:
    """Draw steps without end; the same seed gives the same.

    Args:
        seed: whatever it is.
        members: how many there are.
        kinds: the bag.
    """
    rng = random.Random(seed)
    for _ in itertools.count():
        bag = list(kinds)
        rng.shuffle(bag)
        for kind in bag:
            yield Step(
                kind,
                member=rng.randrange(members),
                hold=rng.uniform(SHORTEST_HOLD, LONGEST_HOLD),
                rest=rng.uniform(SHORTEST_REST, LONGEST_REST),
                side=rng.choice(SIDES),
                direction=rng.choice(DIRECTIONS),
            )


def upgrades_due(seconds: float) -> list[float]:
    """When upgrades are due, in seconds from the beginning of a run that lasts so long; the soonest first."""
    return [share * seconds for share in UPGRADES_AT]
