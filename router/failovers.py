"""How long a cluster was without a primary, each time. Pure: topologies and times are given."""

from __future__ import annotations

from cluster.topology import Topology
from router.durations import FAILOVER_BOUNDS, Durations


class Failovers:
    """The times of one cluster, from the topology without a primary to the one with a primary that is writable.

    A primary that is followed by another in one step counts with no time at all; one that comes back counts too.
    """

    def __init__(self) -> None:
        self.durations = Durations(FAILOVER_BOUNDS)
        self._since: float | None = None

    def topology_changed(self, old: Topology, new: Topology, now: float) -> None:
        """Take note of a change.

        Args:
            old: the topology before.
            new: the one now.
            now: monotonic seconds.
        """
        before, after = _primaries(old), _primaries(new)
        if before and not after:
            self._since = now
        elif after and self._since is not None:
            self.durations.add(now - self._since)
            self._since = None
        elif before and after and not before & after:
            self.durations.add(0.0)

    def lasting(self, now: float) -> float:
        """Seconds for which there has been none; 0 while there is one, or never was."""
        return 0.0 if self._since is None else now - self._since


def _primaries(topology: Topology) -> frozenset[str]:
    return frozenset(status.member.name for status in topology.primaries())
