"""Which members have become primary, for routes whose readers leave such a member. Pure; topologies are given.

Owns the roles that were known last: a member of which nothing was known for a while is compared with what it was then,
so that a primary that is lost from sight and comes back was not promoted.
"""

from __future__ import annotations

from cluster.members import Role
from cluster.topology import Topology


class Promotions:
    """The roles of a cluster's members, as they were known last.

    Args:
        topology: the first one.
    """

    def __init__(self, topology: Topology) -> None:
        self._roles: dict[str, Role] = {}
        self.see(topology)

    def see(self, topology: Topology) -> frozenset[str]:
        """Names of the members that are primary now and were known as secondaries."""
        promoted = set()
        for status in topology.members:
            name = status.member.name
            if status.role is Role.PRIMARY and self._roles.get(name) is Role.SECONDARY:
                promoted.add(name)
            if status.role is not Role.UNKNOWN:
                self._roles[name] = status.role
        listed = {status.member.name for status in topology.members}
        for name in self._roles.keys() - listed:
            del self._roles[name]
        return frozenset(promoted)
