"""The order in which a client uses SRV records (RFC 2782). Owns the rule; randomness is given, nothing is awaited."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import groupby
from typing import Protocol, TypeVar


class Weighted(Protocol):
    """What has a priority (lower is sooner) and a weight (higher is more often first)."""

    @property
    def priority(self) -> int:
        """Lower numbers are tried first."""

    @property
    def weight(self) -> int:
        """The share of its priority's clients; 0 is a very small one."""


T = TypeVar("T", bound=Weighted)


def in_order_of_use(records: Iterable[T], rng: random.Random) -> list[T]:
    """Return the records in the order to try them, drawn anew at each call.

    RFC 2782: by priority, ascending. Among equals: those of weight 0 to the front, a running sum over the weights, a
    random whole number from 0 to the sum, and the first record whose running sum reaches it comes next; repeat.
    The RFC leaves the order before the sums open; it is shuffled, so that records that all have weight 0 share alike.
    """
    ordered: list[T] = []
    for _, group in groupby(sorted(records, key=lambda record: record.priority), key=lambda record: record.priority):
        left = list(group)
        rng.shuffle(left)
        left.sort(key=lambda record: record.weight > 0)  # stable: only brings weight 0 to the front
        while left:
            ordered.append(left.pop(_drawn([record.weight for record in left], rng)))
    return ordered


def _drawn(weights: list[int], rng: random.Random) -> int:
    """The index of the record to use next."""
    mark = rng.randint(0, sum(weights))
    running = 0
    for index, weight in enumerate(weights):
        running += weight
        if running >= mark:
            return index
    raise AssertionError("the last running sum is the sum")
