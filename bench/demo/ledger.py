"""What happened, written down: acknowledged writes, errors, reads, and the gaps that failovers left.

Pure: times are given, in monotonic seconds. Must not know connections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Ack:
    """An acknowledged write: when (monotonic seconds), and by which member."""

    at: float
    member: str


@dataclass(slots=True)
class Ledger:
    """One run's account."""

    acknowledged: set[int] = field(default_factory=set)  # ids of writes that the server confirmed
    routed: list[Ack] = field(default_factory=list)  # through the router
    direct: list[Ack] = field(default_factory=list)  # the prober's, straight to the members
    errors: Counter[str] = field(default_factory=Counter)
    reads: Counter[str] = field(default_factory=Counter)  # by member

    def wrote(self, identity: int, ack: Ack) -> None:
        """A write through the router was acknowledged."""
        self.acknowledged.add(identity)
        self.routed.append(ack)


@dataclass(frozen=True, slots=True)
class Gap:
    """One failover. Seconds.

    gap: without an acknowledged write through the router.
    group: the same for writes straight to the members.
    added: from the first direct acknowledgement by the new primary to the first through the router.
    """

    gap: float
    group: float
    added: float


def measure(routed: Iterable[Ack], direct: Iterable[Ack], began: float, old: str) -> Gap:
    """Find the gap that a change of the primary left.

    Args:
        routed, direct: acknowledged writes of the whole run, in any order.
        began: when the change was set off.
        old: the primary before it.

    Raises:
        ValueError: there is no acknowledged write by a primary before or after the change.
    """
    group_from, group_to = _gap(direct, began, old, "straight to the members")
    gap_from, gap_to = _gap(routed, began, old, "through the router")
    return Gap(gap_to - gap_from, group_to - group_from, gap_to - group_to)


def _gap(acks: Iterable[Ack], began: float, old: str, where: str) -> tuple[float, float]:
    acks = list(acks)
    by_new = [ack.at for ack in acks if ack.at > began and ack.member != old]
    if not by_new:
        raise ValueError(f"no write {where} was acknowledged by a new primary")
    before = [ack.at for ack in acks if ack.at < min(by_new)]
    if not before:
        raise ValueError(f"no write {where} was acknowledged before the change")
    return max(before), min(by_new)


def summarise(gaps: Iterable[Gap]) -> dict[str, Any]:
    """The medians, and every single event."""
    each = list(gaps)
    if not each:
        return {"events": 0, "gap_s": None, "group_s": None, "added_s": None, "each": []}
    return {
        "events": len(each),
        "gap_s": round(median(one.gap for one in each), 4),
        "group_s": round(median(one.group for one in each), 4),
        "added_s": round(median(one.added for one in each), 4),
        "each": [
            {"gap_s": round(one.gap, 4), "group_s": round(one.group, 4), "added_s": round(one.added, 4)} for one in each
        ],
    }
