"""How a cluster is judged, as configurations say it: the router's and the publisher's in the same words.

Owns those options' names, units, defaults and reasons. Must not know who judges.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import Field

from cluster.evidence import LagLimits, LagPolicy, Policy, QuorumPolicy
from cluster.flavours import Flavour
from srv.documents import Table


class FlavourName(Enum):
    """How a cluster replicates, as it is set."""

    AUTO = "auto"
    GROUP_REPLICATION = "group-replication"
    GALERA = "galera"
    REPLICATION = "replication"


class PolicyTable(Table):
    """The keys of `[clusters.NAME]` that say how its members' reports are judged."""

    flavour: FlavourName = FlavourName.AUTO
    """How the members replicate: `auto` has it told from what they report."""
    quorum_policy: QuorumPolicy = QuorumPolicy.NONE
    """What members are used for that answer without a majority of their group: `none`, `read` (what they have may be
    old), or `all` (writes wait in the server)."""
    lag_limit: Annotated[float, Field(ge=0, le=86400)] = 60.0
    """Seconds by which a member that is read from may be late; 0: no limit. One that was too late is read from again
    below half of that."""
    lag_limit_transactions: Annotated[int, Field(ge=0)] = 0
    """The same in transactions that it has not applied yet."""
    lag_policy: LagPolicy = LagPolicy.FRESHEST
    """Who is read from while all are beyond the limit: `freshest` (the least late), `all`, or `none`."""

    def judging(self, max_age: float) -> Policy:
        """The policy, for observations that count for so many seconds."""
        return Policy(
            max_age=max_age,
            flavour=None if self.flavour is FlavourName.AUTO else Flavour(self.flavour.value),
            quorum=self.quorum_policy,
            lag=LagLimits(
                seconds=self.lag_limit or None,
                queued=self.lag_limit_transactions or None,
                when_all=self.lag_policy,
            ),
        )


def max_age_of(timeout: float, interval: float) -> float:
    """Seconds for which an observation counts: as long as two looks take, or are apart, so that one may be lost.

    Args:
        timeout: of one look, in seconds.
        interval: between looks, in seconds.
    """
    return 2 * max(timeout, interval)
