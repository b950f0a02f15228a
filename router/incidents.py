"""What a change of topology means to people: who became what, and how long there was nobody to write to.

Pure: topologies and times are given. Must not know how events are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cluster.members import Role
from cluster.topology import MemberStatus, Topology
from router.events import Kind


@dataclass(frozen=True, slots=True)
class Incident:
    """An event to be."""

    kind: Kind
    text: str
    more: dict[str, Any] = field(default_factory=dict)


class Incidents:
    """Tells the changes of one cluster's topologies, in order."""

    def __init__(self) -> None:
        self._without_primary_since: float | None = None
        self._had_primary = ""

    def tell(self, old: Topology, new: Topology, now: float) -> list[Incident]:
        """What changed.

        Args:
            old: the topology before.
            new: the one now.
            now: monotonic seconds.
        """
        return [*_trust(old, new), *_members(old, new), *self._failover(old, new, now)]

    def _failover(self, old: Topology, new: Topology, now: float) -> Iterator[Incident]:
        before, after = _primaries(old), _primaries(new)
        if before and not after:
            self._without_primary_since, self._had_primary = now, before
            yield Incident(Kind.FAILOVER_BEGUN, f"no primary: {before} is not offered any more", {"was": before})
        elif after and self._without_primary_since is not None:
            took, was = now - self._without_primary_since, self._had_primary
            self._without_primary_since = None
            yield _ended(was, after, took)
        elif before and after and not set(before.split(", ")) & set(after.split(", ")):
            yield _ended(before, after, 0.0)


def _ended(was: str, now: str, took: float) -> Incident:
    words = f"{now} takes writes again" if was == now else f"{now} takes writes, {was} did before"
    more = {"was": was, "member": now, "seconds": round(took, 3)}
    return Incident(Kind.FAILOVER_ENDED, f"{words}; without a primary for {took:.3f} s", more)


def _primaries(topology: Topology) -> str:
    return ", ".join(status.member.name for status in topology.primaries())


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
