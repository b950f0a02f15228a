"""What a cluster is judged by: the evidence, and the policies that are a matter of taste. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from cluster.flavours import Flavour
from cluster.members import Member
from cluster.observations import Observation, Report
from cluster.topology import Topology


class QuorumPolicy(Enum):
    """What members are used for while they answer and belong to no majority (NO_QUORUM)."""

    NONE = "none"  # for nothing
    READ = "read"  # for reading: what they have may be old
    ALL = "all"  # as before: writes wait in the server until there is a majority again


class LagPolicy(Enum):
    """Which members are read from when all of them are beyond the limit."""

    FRESHEST = "freshest"  # the least late, and those that are hardly later
    ALL = "all"  # all, as if there were no limit
    NONE = "none"  # none; a route may still fall back to the primary


@dataclass(frozen=True, slots=True)
class LagLimits:
    """How late a member may be that is read from; None sets no limit.

    seconds: a minute is what a person would call a replica that is behind, and far above what a healthy one shows.
    queued: transactions not yet applied. No limit by default: how long they take depends on what they are.
    resume: share of the limits below which a member is read from again, and above which one comes after those that
        are fresher. Half: a member at its limit must not come and go with each look.
    """

    seconds: float | None = 60.0
    queued: int | None = None
    resume: float = 0.5
    when_all: LagPolicy = LagPolicy.FRESHEST

    def __post_init__(self) -> None:
        if any(limit is not None and limit <= 0 for limit in (self.seconds, self.queued)):
            raise ValueError(f"lag limits {self.seconds} s and {self.queued} transactions: wanted more than 0, or none")
        if not 0 < self.resume <= 1:
            raise ValueError(f"resume {self.resume}: wanted a share above 0, at most 1")


@dataclass(frozen=True, slots=True)
class Policy:
    """How observations are judged.

    max_age: seconds for which an observation counts. Six default polls: a member that is slow under load must not look
        gone, and one that hangs must be forgotten before an application's own patience ends.
    flavour: how the cluster replicates; None has it told from what the members report.
    """

    max_age: float = 3.0
    flavour: Flavour | None = None
    quorum: QuorumPolicy = QuorumPolicy.NONE
    lag: LagLimits = field(default_factory=LagLimits)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the rules of a flavour go by.

    Args:
        listed: the members to speak of, by name.
        fresh: the observations that are young enough to count, by member name.
        reports: what those report that answered.
        previous: the topology before.
        now: monotonic seconds, the clock of `Observation.taken_at`.
    """

    listed: tuple[Member, ...]
    fresh: Mapping[str, Observation]
    reports: Mapping[str, Report]
    previous: Topology
    policy: Policy
    now: float
