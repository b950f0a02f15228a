"""What clients did and what came of it, and whether the router has counted the same. Pure.

Every connection is noted before it is made and settled once it is over: what is noted and never settled is a defect of
the client here, and what differs from the router's own counts is one of the router.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

REFUSALS = "Fairlead:"
"""How the router's own words begin, in an error that also others give."""
TURNED_AWAY = frozenset({1040, 1129})
"""Errors that only a router gives here: the group has room for all clients."""
NO_LISTENER = "Errno 111"
"""ECONNREFUSED, as drivers tell it: nobody listens, which must not be."""


@dataclass(slots=True)
class Visits:
    """Connections of one kind of client."""

    opened: int = 0  # begun
    greeted: int = 0  # got a member's greeting, or a login by it
    refused: int = 0  # got an error of the router in its place
    lost: int = 0  # neither: closed, reset, or given up
    unreachable: int = 0  # nobody listened
    left: int = 0  # left by the client, which had not waited for a word
    asked: int = 0  # statements answered
    broken: int = 0  # sessions that ended before their client wanted
    wrong: Counter[str] = field(default_factory=Counter)  # answers that are not what was asked for

    def failed(self, code: int, message: str) -> None:
        """A connection did not come about."""
        if NO_LISTENER in message:
            self.unreachable += 1
        elif REFUSALS in message or code in TURNED_AWAY:
            self.refused += 1
        else:
            self.lost += 1

    @property
    def unsettled(self) -> int:
        """Those of which nobody knows what became of them."""
        return self.opened - self.greeted - self.refused - self.lost - self.unreachable - self.left


@dataclass(frozen=True, slots=True)
class Account:
    """One route's sessions, as the router counts them.

    accepted, joined, refused, abandoned, cut: so many in all. twice: those that are in `joined` and in `refused`, for
    their member accepted and said nothing. now, attached: so many there are, and those that have a member.
    """

    accepted: int
    joined: int
    refused: int
    abandoned: int
    cut: int
    twice: int
    now: int
    attached: int

    @property
    def unaccounted(self) -> int:
        """Sessions that were accepted and of which nothing is known: 0 where all is well.

        One that is ended before it has a member, because its route is gone or somebody kills it, is `cut` alone.
        """
        return self.accepted + self.twice - self.joined - self.refused - self.abandoned - (self.now - self.attached)


def account_of(route: Mapping[str, Any]) -> Account:
    """Read a route's document, as `/api/v1/routes` has it."""
    return Account(
        accepted=route["accepted_total"],
        joined=route["joined_total"],
        refused=route["refused_total"],
        abandoned=route["abandoned_total"],
        cut=route["cut_total"],
        twice=route["ended_total"].get("silent member", 0),
        now=route["sessions"],
        attached=sum(route["by_member"].values()),
    )


def total(accounts: Iterable[Account]) -> Account:
    """Several routes together."""
    rows = [
        (one.accepted, one.joined, one.refused, one.abandoned, one.cut, one.twice, one.now, one.attached)
        for one in accounts
    ]
    return Account(*(sum(column) for column in zip(*rows, strict=True))) if rows else Account(0, 0, 0, 0, 0, 0, 0, 0)
