"""Clusters whose members' agents keep leased keys in etcd, as a source.

Owns following the keys, and what becomes of it when etcd is lost. What the keys say is `leaseholders`' to judge.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Never, TypeVar

from srv import leases
from srv.etcd import BACKOFF, Etcd
from srv.etcd_answers import EtcdError, Event, RevisionGoneError
from srv.leaseholders import LeasedCluster, Settings
from srv.setbacks import Setback
from srv.source import Wants

log = logging.getLogger("fairlead.srv")

Item = TypeVar("Item")

REVIEW_INTERVAL = 1.0  # seconds between reviews for what no key tells: age, and weights
AT_ONCE = 20  # clusters judged or keys read, some milliseconds of work; then answers have their turn


class LeasedClusters:
    """Says what is to be published of the clusters under one prefix.

    Args:
        etcd: where the keys are.
        prefix: what they begin with, without a slash at the end.
        clusters: those to publish; keys of others are left alone, whoever writes them.
        clock: monotonic seconds.
        rng: spreads what is tried again.
    """

    def __init__(
        self,
        etcd: Etcd,
        prefix: str,
        clusters: Iterable[Settings],
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._etcd = etcd
        self._prefix = prefix
        self._clusters = {settings.domain: LeasedCluster(settings) for settings in clusters}
        self._clock = clock
        self._rng = rng or random.Random()
        self._revision: int | None = None
        self._heard_at: float | None = None  # since when the store is at that revision, or was

    def __str__(self) -> str:
        return f"etcd {self._etcd}{self._prefix}"

    async def run(self, wants: Wants) -> Never:
        """Say what is wanted until cancelled."""
        try:
            await self._say_in_turns(
                wants
            )  # that nothing is known yet, so that nobody is told there is no such cluster
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(wants), name="leases")
                tasks.create_task(self._keep_reviewing(wants), name="reviews")
        finally:
            await self._etcd.close()
        raise AssertionError("unreachable")

    async def _follow(self, wants: Wants) -> Never:
        setback = Setback(*BACKOFF, self._rng)
        while True:
            began = self._clock()
            try:
                revision = await self._read_anew(wants) if self._revision is None else self._revision
                before = self._heard_at  # what was missed was written later
                async for batch in self._etcd.watch(f"{self._prefix}/", revision + 1):
                    if setback.failures:
                        log.info("etcd-back endpoints=%s revision=%d", self._etcd, batch.revision)
                    setback.end()
                    touched = self._take(batch.events, since=before)
                    self._revision = batch.revision
                    if not all(event.is_past for event in batch.events):
                        self._heard_at = self._clock()
                    self._say(touched, wants)
            except RevisionGoneError as exc:
                log.info("etcd-read-anew reason=%r", str(exc))
                self._revision = None
            except EtcdError as exc:
                if not setback.failures:
                    log.warning("etcd-lost reason=%r published=as-before", str(exc))
                now = self._clock()
                setback.add(str(exc), began=began, now=now)
                await asyncio.sleep(setback.due - now)

    async def _read_anew(self, wants: Wants) -> int:
        """Take what stands there for all there is."""
        began = self._clock()
        batch = await self._etcd.read(f"{self._prefix}/")
        there = {leases.read_key(self._prefix, event.key) for event in batch.events}
        for domain, cluster in self._clusters.items():
            for label in cluster.labels:
                if (domain, label) not in there:
                    cluster.miss(label, now=began)
        for events in _slices(batch.events):
            self._take(events, since=None)
            await asyncio.sleep(0)
        self._revision, self._heard_at = batch.revision, began
        await self._say_in_turns(wants)
        log.info("etcd-read endpoints=%s keys=%d revision=%d", self._etcd, len(batch.events), batch.revision)
        return batch.revision

    def _take(self, events: Iterable[Event], *, since: float | None) -> list[LeasedCluster]:
        """Put keys where they belong, and say whose they were; `since`: before what is past was written, if known."""
        now = self._clock()
        touched: dict[str, LeasedCluster] = {}
        for event in events:
            domain, label = leases.read_key(self._prefix, event.key) or ("", "")
            cluster = self._clusters.get(domain)
            if cluster is None:
                continue
            touched[domain] = cluster
            if event.value is None:
                cluster.remove(label, now=now)
            else:
                written_after = since if event.is_past else now
                cluster.put(label, event.value, now=now, since=written_after)
        return list(touched.values())

    def _say(self, clusters: Iterable[LeasedCluster], wants: Wants) -> None:
        now = self._clock()
        for cluster in clusters:
            wants.want(cluster.review(now=now))

    async def _say_in_turns(self, wants: Wants) -> None:
        for clusters in _slices(list(self._clusters.values())):
            self._say(clusters, wants)
            await asyncio.sleep(0)

    async def _keep_reviewing(self, wants: Wants) -> Never:
        while True:
            await asyncio.sleep(REVIEW_INTERVAL)
            await self._say_in_turns(wants)


def _slices(what: Sequence[Item]) -> Iterable[Sequence[Item]]:
    return (what[first : first + AT_ONCE] for first in range(0, len(what), AT_ONCE))
