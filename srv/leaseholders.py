"""One cluster as its members' leased keys tell of it. Decides; time is given. Must not know where keys are kept.

How members stand is told by the same diagnosis as for a probed group, over what all the agents report: no member's own
word makes it the primary.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from cluster.diagnosis import diagnose
from cluster.evidence import Policy
from cluster.observations import Observation
from cluster.topology import Topology, changes
from srv import leases
from srv.desired import Desired
from srv.judgement import Judgement
from srv.leases import Lease
from srv.weights import scaled
from srv.zone import Part, ZoneMember

log = logging.getLogger("fairlead.srv")

MEMBER_LIMIT = 64  # of one cluster; a group has nine
# Seconds for which a report counts: an agent writes one every five, or when anything but measurements differs. This
# limit is for reports that are not renewed although their lease is, and for the time without etcd.
MAX_AGE = 12.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What to publish of one cluster; `ttl` and `keep_roles` are seconds, as of a probed group."""

    domain: str
    ttl: int = 5
    keep_roles: float = 30.0
    policy: Policy = Policy(max_age=MAX_AGE)  # noqa: RUF009 - frozen


class LeasedCluster:
    """One cluster's keys, and what follows from them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topology = Topology()
        self._leases: dict[str, Lease] = {}
        self._observations: dict[str, Observation] = {}
        self._revisions: dict[str, int] = {}
        self._skipped: dict[str, str] = {}
        self._judgement = Judgement(settings.domain, settings.keep_roles)

    @property
    def labels(self) -> frozenset[str]:
        """The members that have a key."""
        return frozenset(self._leases)

    def put(self, label: str, value: bytes, revision: int, *, now: float) -> None:
        """A member's key has this value. One that cannot be read is no key; said once for each thing wrong."""
        if self._revisions.get(label) == revision:
            return  # read anew, and as old as it was
        try:
            if len(self._leases) >= MEMBER_LIMIT and label not in self._leases:
                raise ValueError(f"more than {MEMBER_LIMIT} members")
            lease = leases.read(value)
        except ValueError as exc:
            self.remove(label)
            if self._skipped.get(label) != str(exc):
                self._skipped[label] = str(exc)
                log.warning("member-skipped domain=%s label=%s reason=%r", self.settings.domain, label, str(exc))
            return
        self._skipped.pop(label, None)
        if label not in self._leases:
            log.info("member-leased domain=%s label=%s", self.settings.domain, label)
        name = self._name(label)
        self._leases[label], self._revisions[label] = lease, revision
        self._observations[name] = lease.observation(name, now)
        self._judgement.note(name)

    def remove(self, label: str) -> None:
        """A member's key is gone."""
        if self._leases.pop(label, None) is not None:
            log.info("member-gone domain=%s label=%s", self.settings.domain, label)
        self._observations.pop(self._name(label), None)
        self._revisions.pop(label, None)

    def review(self, *, now: float) -> Desired:
        """Judge anew, and say what to publish."""
        members = [seen.member for seen in self._observations.values()]
        old, policy = self.topology, self.settings.policy
        self.topology = diagnose(members, self._observations, now=now, previous=old, policy=policy)
        if self.topology.version != old.version:
            for line in changes(old, self.topology):
                log.info("topology v%d: %s", self.topology.version, line)
        self._judgement.review(self.topology, self._observations.keys(), now=now)
        return self._desired()

    def _desired(self) -> Desired:
        parts = self._judgement.parts or {}
        sole = {label for label, of in parts.items() if Part.PRIMARY in of}
        published = [
            ZoneMember(
                label,
                lease.addresses,
                lease.port,
                lease.x_port,
                parts.get(label, frozenset()),
                lease.priority,
                scaled(lease.weight, self._judgement.weighings.get(label)),
            )
            for label, lease in sorted(self._leases.items())
            # One that drains is gone; the only primary once there is another, for nobody else takes writes.
            if not lease.draining or sole == {label}
        ]
        known = self._judgement.parts is not None
        return Desired(self.settings.domain, tuple(published), self.settings.ttl, roles_known=known)

    def _name(self, label: str) -> str:
        return f"{label}.{self.settings.domain}"
