"""One cluster as its members' leased keys tell of it. Decides; time is given. Must not know where keys are kept.

How members stand is told by the same diagnosis as for a probed group, over what all the agents report: no member's own
word makes it the primary. A key that is gone while others stay is a fact. That a store is empty, or another, is none:
what was said before stays for a time. A key has no age, so one that was there before us counts when it is rewritten.
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
from srv.names import NAME_CHARACTERS
from srv.weights import scaled
from srv.zone import KEEP_ROLES, Part, ZoneMember

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
    keep_roles: float = KEEP_ROLES
    policy: Policy = Policy(max_age=MAX_AGE)  # noqa: RUF009 - frozen


class LeasedCluster:
    """One cluster's keys, and what follows from them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topology = Topology()
        self._leases: dict[str, Lease] = {}
        self._missing: dict[str, float] = {}  # since when a store that was read anew lacks them; they stay for now
        self._gone: dict[str, tuple[Lease, float]] = {}  # and since when
        self._observations: dict[str, Observation] = {}
        self._skipped: dict[str, str] = {}
        self._judgement = Judgement(settings.domain, settings.keep_roles)

    @property
    def labels(self) -> frozenset[str]:
        """The members that have a key."""
        return frozenset(self._leases)

    def put(self, label: str, value: bytes, *, now: float, since: float | None) -> None:
        """A member's key has this value. One that cannot be read is no key; said once for each thing wrong.

        Args:
            label: the member's.
            value: the key's.
            now: monotonic seconds.
            since: a time before it was written; None where there is no telling, so that it is not judged by; what
                was judged by before grows old.
        """
        self._missing.pop(label, None)
        try:
            if len(self._name(label)) > NAME_CHARACTERS:
                raise ValueError(f"the name is longer than {NAME_CHARACTERS} characters")
            if len(self._leases) >= MEMBER_LIMIT and label not in self._leases:
                raise ValueError(f"more than {MEMBER_LIMIT} members")
            lease = leases.read(value)
        except ValueError as exc:
            self.remove(label, now=now)
            if self._skipped.get(label) != str(exc):
                self._skipped[label] = str(exc)
                log.warning("member-skipped domain=%s label=%s reason=%r", self.settings.domain, label, str(exc))
            return
        self._skipped.pop(label, None)
        if label not in self._leases:
            log.info("member-leased domain=%s label=%s", self.settings.domain, label)
        name = self._name(label)
        self._leases[label] = lease
        self._gone.pop(label, None)
        if since is not None:
            self._observations[name] = lease.observation(name, since)
            self._judgement.note(name)

    def miss(self, label: str, *, now: float) -> None:
        """A store that was read anew lacks a member's key: it stays for as long as roles are kept."""
        self._missing.setdefault(label, now)

    def remove(self, label: str, *, now: float) -> None:
        """A member's key is gone."""
        lease = self._leases.pop(label, None)
        if lease is not None:
            log.info("member-gone domain=%s label=%s", self.settings.domain, label)
            self._gone[label] = lease, now
        self._missing.pop(label, None)
        self._observations.pop(self._name(label), None)

    def review(self, *, now: float) -> Desired:
        """Judge anew, and say what to publish."""
        self._forget(now)
        if not self._leases:
            self._judgement.withhold("no member has a key")
            return self._desired()
        members = [lease.member(self._name(label)) for label, lease in self._leases.items()]
        old, policy = self.topology, self.settings.policy
        self.topology = diagnose(members, self._observations, now=now, previous=old, policy=policy)
        if self.topology.version != old.version:
            for line in changes(old, self.topology):
                log.info("topology v%d: %s", self.topology.version, line)
        expected = {self._name(label) for label in (*self._leases, *self._gone)}
        self._judgement.review(self.topology, expected, now=now)
        return self._desired()

    def _forget(self, now: float) -> None:
        """What is gone for longer than roles are kept does not come back by itself."""
        oldest = now - self.settings.keep_roles
        for label in [label for label, since in self._missing.items() if since <= oldest]:
            self.remove(label, now=now)
        self._gone = {label: (lease, since) for label, (lease, since) in self._gone.items() if since > oldest}

    def _desired(self) -> Desired:
        parts = self._judgement.parts or {}
        sole = {label for label, of in parts.items() if Part.PRIMARY in of}
        present = self._leases or {label: lease for label, (lease, _) in self._gone.items()}
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
            for label, lease in sorted(present.items())
            # One that drains is gone; the only primary once there is another, for nobody else takes writes.
            if not lease.draining or sole == {label}
        ]
        known = self._judgement.parts is not None
        return Desired(
            self.settings.domain, tuple(published), self.settings.ttl, roles_known=known, members_known=bool(present)
        )

    def _name(self, label: str) -> str:
        return f"{label}.{self.settings.domain}"
