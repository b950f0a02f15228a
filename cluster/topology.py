"""The frozen snapshot that routes and records are made from.

Owns its words and the difference of two; must not know how it came about.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cluster.flavours import Flavour
from cluster.gtids import GtidSet
from cluster.members import Member, Role, State
from cluster.observations import ViewId


class Trust(Enum):
    """How far a topology can be relied upon."""

    QUORUM = "quorum"  # a view with a majority speaks: roles are facts
    NO_QUORUM = "no-quorum"  # members answer, and none of them belongs to a majority: `QuorumPolicy` says what is done
    BLIND = "blind"  # no member could be asked: what was last known is neither confirmed nor refuted


@dataclass(frozen=True, slots=True)
class Surplus:
    """Transactions that a replica had at `since` (monotonic seconds) and its source, as asked before, had not."""

    gtids: GtidSet
    since: float


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """One member in a topology. `offered` is the role for which routes may use it, None where for none.

    `queued`, `lag` and `load` are as in a `Report`. `lagging`: it is beyond the limit and not offered for reading until
    it has caught up well. `behind`: it is offered, after those that are fresher. `errant`: the UUIDs of the servers on
    which its errant transactions were begun; `surplus`: what may prove errant at the source's next look.
    """

    member: Member
    uuid: str | None = None
    role: Role = Role.UNKNOWN
    state: State = State.UNKNOWN
    offered: Role | None = None
    queued: int = 0
    reason: str = ""  # why it is not offered, or why with reservations; for people
    lag: float | None = None
    load: int | None = None
    lagging: bool = False
    behind: bool = False
    errant: tuple[str, ...] = ()
    surplus: Surplus | None = None


@dataclass(frozen=True, slots=True)
class UnlistedMember:
    """A server that the group's view names and that is not among the members we were given."""

    uuid: str
    host: str
    port: int
    role: Role
    state: State


@dataclass(frozen=True, slots=True)
class Topology:
    """A cluster as it stood at `taken_at` (monotonic seconds)."""

    version: int = 0
    taken_at: float = 0.0
    trust: Trust = Trust.BLIND
    reason: str = "no member has answered yet"
    view_id: ViewId | None = None
    members: tuple[MemberStatus, ...] = ()
    unlisted: tuple[UnlistedMember, ...] = ()
    flavour: Flavour | None = None  # None while too few have answered to tell
    last_primary: str | None = None  # UUID of who was PRIMARY last, where no view of a majority says it

    def primaries(self) -> tuple[MemberStatus, ...]:
        """The members that may be written to; at most one where the group is in single-primary mode."""
        return tuple(status for status in self.members if status.offered is Role.PRIMARY)

    def secondaries(self) -> tuple[MemberStatus, ...]:
        """The members that may be read from, besides primaries."""
        return tuple(status for status in self.members if status.offered is Role.SECONDARY)

    def status_of(self, name: str) -> MemberStatus | None:
        """The member of that name."""
        return next((status for status in self.members if status.member.name == name), None)

    def same_facts(self, other: Topology) -> bool:
        """Whether the two differ in nothing but version, time and measurements."""
        return (self.trust, self.reason, self.view_id, self.unlisted, self.flavour) == (
            other.trust,
            other.reason,
            other.view_id,
            other.unlisted,
            other.flavour,
        ) and [_facts(status) for status in self.members] == [_facts(status) for status in other.members]


def _facts(status: MemberStatus) -> tuple[object, ...]:
    return (
        *(status.member, status.uuid, status.role, status.state, status.offered, status.reason),
        *(status.lagging, status.behind),
    )


def changes(old: Topology, new: Topology) -> list[str]:
    """Say in words what is different, one line a fact, for logs and events."""
    lines: list[str] = []
    if old.trust is not new.trust:
        lines.append(f"trust {old.trust.value} -> {new.trust.value}: {new.reason or 'a majority answers'}")
    before = {status.member.name: status for status in old.members}
    after = {status.member.name: status for status in new.members}
    lines.extend(f"member {name} left" for name in before.keys() - after.keys())
    for name, status in after.items():
        was = before.get(name)
        if was is None:
            lines.append(f"member {name} joined: {_describe(status)}")
        elif _facts(was) != _facts(status):
            lines.append(f"member {name}: {_describe(was)} -> {_describe(status)}")
    return lines


def _describe(status: MemberStatus) -> str:
    words = f"{status.role.value}/{status.state.value}"
    if status.offered is None:
        words += " not offered"
    return f"{words} ({status.reason})" if status.reason else words
