"""The agent beside one member: looks at it and keeps its leased key in etcd.

Owns the lease, and when the key is written. What the key says is `leases`' form; how to look is `cluster.watch`'s.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Never

from cluster.evidence import Policy
from cluster.members import Member
from cluster.observations import Observation
from cluster.watch import Watch
from srv import leases
from srv.etcd import BACKOFF, Etcd
from srv.etcd_answers import EtcdError, LeaseGoneError
from srv.hosts import HOST_INTERVAL, Locate, locate
from srv.leases import Lease
from srv.names import is_address
from srv.publication import Known
from srv.setbacks import Setback
from srv.zone import DEFAULT_WEIGHT

log = logging.getLogger("fairlead.srv")

KEEPALIVE_INTERVAL = 3.0  # seconds: two may be lost before the lease of ten seconds is
REWRITE_INTERVAL = 5.0  # seconds between writes of what differs in measurements only: a store is no place for metrics
REVOKE_TIMEOUT = 2.0  # seconds that etcd has to take the key away when the agent ends; the lease does it later


@dataclass(frozen=True, slots=True)
class Settings:
    """Whose agent it is, and how its member is published.

    `member`: as others reach it. `probe`: as it is reached from here. A name in `member` is looked up here.
    `tell_within`: seconds for which a look may be told of, as long as a watch goes by it: a process that was stopped
    and goes on must not tell what it saw before.
    """

    domain: str
    member: Known
    probe: Member
    prefix: str
    weight: int = DEFAULT_WEIGHT
    priority: int = 0
    draining: bool = False
    tell_within: float = Policy().max_age


class Agent:
    """Keeps one member's key.

    Args:
        settings: whose.
        etcd: where the key stands.
        watch: looks at the member; it is given it.
        locate: finds a host's addresses.
        clock: monotonic seconds.
        rng: spreads what is tried again.
    """

    def __init__(
        self,
        settings: Settings,
        etcd: Etcd,
        watch: Watch,
        *,
        locate: Locate = locate,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._key = leases.key_of(settings.prefix, settings.domain, settings.member.label)
        self._etcd = etcd
        self._watch = watch
        self._locate = locate
        self._clock = clock
        self._rng = rng or random.Random()
        self._addresses: tuple[str, ...] = ()
        self._draining = settings.draining
        self._seen: Observation | None = None
        self._lease: int | None = None
        self._written: Lease | None = None
        self._written_at = self._kept_at = float("-inf")
        self._hint = asyncio.Event()

    def drain(self, draining: bool) -> None:
        """Have the member's records go, or come back."""
        if draining != self._draining:
            log.info("draining key=%s draining=%s", self._key, str(draining).lower())
        self._draining = draining
        self._hint.set()

    async def run(self) -> Never:
        """Keep the key until cancelled; then it is taken away."""
        self._watch.on_observation = self._note
        self._watch.set_members([self._settings.probe])
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_addresses(), name="member host")
                tasks.create_task(self._keep_key(), name="leased key")
                await self._watch.run()
        finally:
            await self._give_back()
            await self._etcd.close()
        raise AssertionError("unreachable")

    def _note(self, seen: Observation) -> None:
        before = self._seen
        if before is not None and before.outlasts(seen, now=self._clock(), max_age=self._settings.tell_within):
            return
        self._seen = seen
        self._hint.set()

    async def _keep_addresses(self) -> Never:
        host = self._settings.member.host
        while True:
            found = await self._locate(host)
            if not is_address(host):  # Debian's /etc/hosts has a machine's own name at 127.0.1.1
                found = tuple(one for one in found if not ipaddress.ip_address(one).is_loopback)
            if found:
                self._addresses = found
            else:
                kept = ",".join(self._addresses) or "none"
                log.warning("host-unresolved host=%s kept=%s reason='no address that others could reach'", host, kept)
            self._hint.set()
            await asyncio.sleep(HOST_INTERVAL)

    async def _keep_key(self) -> Never:
        """Write the key where that is due, and keep its lease; one task, so that the two are never at odds."""
        setback = Setback(*BACKOFF, self._rng)
        while True:
            self._hint.clear()
            began = self._clock()
            try:
                await self._renew()
                if setback.failures:
                    log.info("etcd-back endpoints=%s", self._etcd)
                setback.end()
            except LeaseGoneError:
                log.warning("lease-lost key=%s: a new one follows", self._key)
                self._lease = self._written = None
                continue
            except EtcdError as exc:
                if not setback.failures:
                    log.warning("etcd-lost reason=%r", str(exc))
                now = self._clock()
                setback.add(str(exc), began=began, now=now)
                self._written = None  # whoever reads after the outage does not know how old the key is: write at once
                await asyncio.sleep(setback.due - now)
                continue
            try:
                async with asyncio.timeout(max(0.0, self._kept_at + KEEPALIVE_INTERVAL - self._clock())):
                    await self._hint.wait()
            except TimeoutError:
                pass

    async def _renew(self) -> None:
        now = self._clock()
        if self._lease is None:
            self._lease, self._kept_at = await self._etcd.grant(leases.LEASE_TTL), now
            log.info("lease id=%x ttl=%ds key=%s", self._lease, leases.LEASE_TTL, self._key)
        elif now - self._kept_at >= KEEPALIVE_INTERVAL:
            await self._etcd.keep_alive(self._lease)
            self._kept_at = now
        told = self._telling()
        if told is not None and self._is_due(told):
            self._written = None  # should no answer come, nobody knows what stands there
            await self._etcd.put(self._key, leases.write(told), self._lease)
            self._written, self._written_at = told, self._clock()

    def _telling(self) -> Lease | None:
        """What the key should say; None where nothing was seen of late, or nobody could be sent there."""
        seen, member = self._seen, self._settings.member
        if seen is None or not self._addresses or not self._is_young(seen):
            return None
        return Lease(
            self._addresses[: leases.ADDRESS_LIMIT],
            member.classic_port,
            member.x_port,
            seen.outcome,
            seen.detail,
            seen.report,
            self._draining,
            self._settings.weight,
            self._settings.priority,
        )

    def _is_young(self, seen: Observation) -> bool:
        return self._clock() - seen.taken_at <= self._settings.tell_within

    def _is_due(self, told: Lease) -> bool:
        if self._written is None or _facts(told) != _facts(self._written):
            return True
        return self._clock() - self._written_at >= REWRITE_INTERVAL

    async def _give_back(self) -> None:
        if self._lease is None:
            return
        try:
            async with asyncio.timeout(REVOKE_TIMEOUT):
                await self._etcd.revoke(self._lease)
            log.info("lease-revoked key=%s", self._key)
        except (EtcdError, TimeoutError) as exc:
            log.warning("lease-not-revoked key=%s reason=%r: it expires by itself", self._key, str(exc))


def _facts(lease: Lease) -> tuple[object, ...]:
    return replace(lease, report=None), lease.report.facts if lease.report else None
