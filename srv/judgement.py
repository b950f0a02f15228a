"""What one cluster's records say of roles and weights, kept from one topology to the next.

Owns that memory: for how long roles are believed, and how damped weights are. Must not know sockets or names of hosts;
the rules are `publication`'s and `weights`'; time is given.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from cluster.topology import Topology, Trust
from srv.publication import Parts, parts_by_label, strains_by_label
from srv.weights import Weighing, weigh

log = logging.getLogger("fairlead.srv")


class Judgement:
    """Who stands in the role names, and with which weight.

    Args:
        domain: the cluster's, for the log.
        keep_roles: seconds for which roles are believed while no member can be asked.
    """

    def __init__(self, domain: str, keep_roles: float) -> None:
        self.parts: Parts | None = None
        """By label; None where the roles are not known."""
        self._domain = domain
        self._keep_roles = keep_roles
        self._weighings: dict[str, Weighing] = {}
        self._looked_at: set[str] = set()

    @property
    def weighings(self) -> Mapping[str, Weighing]:
        """Of the replicas that are offered, by label."""
        return self._weighings

    def note(self, name: str) -> None:
        """A member has been looked at, with whatever outcome."""
        self._looked_at.add(name)

    def review(self, topology: Topology, members: Collection[str], *, now: float) -> bool:
        """Judge anew, and say whether anything differs.

        Args:
            topology: how the cluster stands.
            members: the names of all its members.
            now: monotonic seconds, the clock of `Topology.taken_at`.
        """
        before = self.parts
        self.parts = parts_by_label(
            topology, before, all_seen=self._looked_at.issuperset(members), now=now, keep_roles=self._keep_roles
        )
        if before is not None and self.parts is None:
            self._withhold(f"{topology.reason} for {now - topology.taken_at:.0f} s")
        return self._weigh(topology, now) or self.parts != before

    def withhold(self, reason: str) -> None:
        """There is nobody to judge by."""
        if self.parts is not None:
            self.parts = None
            self._withhold(reason)

    def _withhold(self, reason: str) -> None:
        self._looked_at.clear()  # back to where it began: the first member to answer need not know the primary
        log.warning("roles-withheld domain=%s reason=%r", self._domain, reason)

    def _weigh(self, topology: Topology, now: float) -> bool:
        if topology.trust is Trust.BLIND:
            return False  # what was measured is as old as the roles that stay
        before = self._weighings
        strains = strains_by_label(topology)
        self._weighings = {label: weigh(before.get(label), strain, now=now) for label, strain in strains.items()}
        return {label: one.share for label, one in before.items()} != {
            label: one.share for label, one in self._weighings.items()
        }
