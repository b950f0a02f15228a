"""What a change of topology means to people: who became what, and how long there was nobody to write to.

The one place that knows what a failover is, for events and for metrics. Pure: topologies and times are given. Must not
know how events are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cluster.members import Role
from cluster.topology import MemberStatus, Topology
from router.durations import FAILOVER_BOUNDS, Durations
from router.events import Kind


@dataclass(frozen=True, slots=True)
class Incident:
    """An event to be."""

    kind: Kind
    text: str
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outage:
    """A time without a primary. `since`: monotonic seconds. `was`: who took writes before; nobody that we know of where
    the first topology that was seen had no primary already."""

    since: float
    was: tuple[str, ...] = ()


class Incidents:
    """Tells the changes of one cluster's topologies, in order, and counts its failovers.

    A failover takes from the topology without a primary to the one with a primary that is writable. A primary that is
    followed by another in one step counts with no time at all; one that comes back counts too. An outage that was there
    before us lasts, but its end is none of a failover: nobody knows when it began.

    Args:
        outage: that lasts, as an earlier process of this router knew it.
    """

    def __init__(self, outage: Outage | None = None) -> None:
        self.failovers = Durations(FAILOVER_BOUNDS)
        self.outage = outage

    def tell(self, old: Topology, new: Topology, now: float) -> list[Incident]:
        """What changed.

        Args:
            old: the topology before.
            new: the one now.
            now: monotonic seconds.
        """
        return [*_trust(old, new), *_members(old, new), *self._failover(old, new, now)]

    def lasting(self, now: float) -> float:
        """Seconds for which there has been no primary, from the first topology that was seen; 0 while there is one."""
        return 0.0 if self.outage is None else now - self.outage.since

    def _failover(self, old: Topology, new: Topology, now: float) -> Iterator[Incident]:
        before, after = _primaries(old), _primaries(new)
        if before and not after:
            self.outage = Outage(now, before)
            was = ", ".join(before)
            yield Incident(Kind.FAILOVER_BEGUN, f"no primary: {was} is not offered any more", {"was": was})
        elif after and self.outage is not None:
            if self.outage.was:
                yield self._ended(self.outage.was, after, now - self.outage.since)
            self.outage = None
        elif not after and new.version and self.outage is None:
            self.outage = Outage(now)
        elif before and after and not set(before) & set(after):
            yield self._ended(before, after, 0.0)

    def _ended(self, before: tuple[str, ...], after: tuple[str, ...], took: float) -> Incident:
        self.failovers.add(took)
        was, now = ", ".join(before), ", ".join(after)
        words = f"{now} takes writes again" if was == now else f"{now} takes writes, {was} did before"
        more = {"was": was, "member": now, "seconds": round(took, 3)}
        return Incident(Kind.FAILOVER_ENDED, f"{words}; without a primary for {took:.3f} s", more)


def _primaries(topology: Topology) -> tuple[str, ...]:
    return tuple(status.member.name for status in topology.primaries())


def _trust(old: Topology, new: Topology) -> Iterator[Incident]:
    if old.trust is not new.trust:
        words = f"trust {old.trust.value} -> {new.trust.value}: {new.reason or 'a majority answers'}"
        yield Incident(Kind.TRUST, words, {"trust": new.trust.value})


def _members(old: Topology, new: Topology) -> Iterator[Incident]:
    before = {status.member.name: status for status in old.members}
    after = {status.member.name: status for status in new.members}
    for name in sorted(before.keys() - after.keys()):
        yield Incident(Kind.MEMBER, f"{name} left", {"member": name})
    for name, status in after.items():
        was = before.get(name)
        if was is None:
            yield Incident(Kind.MEMBER, f"{name} joined: {_words(status)}", _facts(status))
        elif was.role is not status.role and status.role is not Role.UNKNOWN:
            yield Incident(Kind.ROLE, f"{name}: {was.role.value} -> {_words(status)}", _facts(status))
        elif (was.role, was.state, was.offered) != (status.role, status.state, status.offered):
            yield Incident(Kind.MEMBER, f"{name}: {_words(was)} -> {_words(status)}", _facts(status))


def _facts(status: MemberStatus) -> dict[str, Any]:
    offered = status.offered.value if status.offered else None
    return {"member": status.member.name, "role": status.role.value, "state": status.state.value, "offered": offered}


def _words(status: MemberStatus) -> str:
    words = f"{status.role.value} {status.state.value}" + ("" if status.offered else ", not offered")
    return f"{words} ({status.reason})" if status.reason else words
