"""A probed group as a source: asks its members and says what is to be published of them.

Owns the loop from topology to records, and when member hosts are looked up. What follows is `publication`'s to decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Never

from cluster.observations import Observation
from cluster.topology import Topology
from cluster.watch import Watch
from srv.hosts import HOST_INTERVAL, HOST_RETRY, Addresses, Locate, locate
from srv.judgement import Judgement
from srv.publication import Known, Newcomers, departed, desired_of, newcomers
from srv.source import Wants
from srv.zone import KEEP_ROLES

log = logging.getLogger("fairlead.srv")

FORGET_AFTER = 60.0  # seconds out of the group, after which an adopted member is not published any more
REVIEW_INTERVAL = 1.0  # seconds between reviews for what no change of the topology tells: its age, and weights
SPREAD = 0.2  # share of an interval that chance takes off, so that a thousand clusters do not all have theirs at once


@dataclass(frozen=True, slots=True)
class Settings:
    """What to publish. `adopt` takes up members that only the group's view names.

    `ttl` is seconds. `keep_roles` too: for so long roles are published while no member can be asked.
    """

    domain: str
    members: tuple[Known, ...]
    ttl: int = 5
    adopt: bool = True
    keep_roles: float = KEEP_ROLES


class ProbedGroup:
    """Says what is to be published of a watched cluster.

    Args:
        settings: what to publish.
        watch: is given the members, and has the topology.
        locate: finds a host's addresses.
        clock: monotonic seconds.
        rng: spreads lookups and reviews.
    """

    def __init__(
        self,
        settings: Settings,
        watch: Watch,
        *,
        locate: Locate = locate,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._watch = watch
        self._wants: Wants | None = None
        self._judgement = Judgement(settings.domain, settings.keep_roles)
        self._review_asked = False
        self._clock = clock
        self._rng = rng or random.Random()
        self._known: dict[str, Known] = {one.label: one for one in settings.members}
        self._names: frozenset[str] = frozenset()
        self._addresses = Addresses(locate)
        self._gone_since: dict[str, float] = {}
        self._new_hosts: set[str] = set()
        self._unnameable: set[str] = set()
        self._hosts_hint = asyncio.Event()

    def __str__(self) -> str:
        return f"group {self._settings.domain}"

    async def run(self, wants: Wants) -> Never:
        """Say what is wanted until cancelled."""
        self._wants = wants
        await self._addresses.find(one.host for one in self._settings.members)
        self._publish()
        self._watch.subscribe(self._on_topology)
        self._watch.on_observation = self._note
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_hosts(), name="member hosts")
            tasks.create_task(self._keep_reviewing(), name="reviews")
            self._hand_over_members()
            await self._watch.run()
        raise AssertionError("unreachable")

    def _note(self, seen: Observation) -> None:
        self._judgement.note(seen.member.name)
        if self._judgement.parts is None and not self._review_asked:
            self._review_asked = True
            asyncio.get_running_loop().call_soon(self._review_now)  # the topology that follows from it comes first

    def _review_now(self) -> None:
        self._review_asked = False
        if self._review(self._watch.topology):
            self._publish()

    def _on_topology(self, old: Topology, new: Topology) -> None:
        self._review(new)
        if self._settings.adopt:
            self._note_departures(departed(new, self._known.values()))
            self._new_hosts = {one.host for one in self._newcomers(new).adoptable}
            if self._new_hosts:
                self._hosts_hint.set()
        self._publish()

    async def _keep_reviewing(self) -> Never:
        """Judge anew in a rhythm: a topology that stays the same grows old untold, and members slow."""
        while True:
            await asyncio.sleep(self._spread(REVIEW_INTERVAL))
            self._review_now()

    def _review(self, topology: Topology) -> bool:
        return self._judgement.review(topology, self._names, now=self._clock())

    def _newcomers(self, topology: Topology) -> Newcomers:
        found = newcomers(self._settings.domain, topology, self._known.values(), self._addresses)
        for seen in found.unnameable:
            if seen.uuid not in self._unnameable:
                log.warning(
                    "member-skipped host=%r port=%d uuid=%r reason=no-usable-label", seen.host, seen.port, seen.uuid
                )
        self._unnameable = {seen.uuid for seen in found.unnameable}
        return found

    def _publish(self) -> None:
        """Say what is known now."""
        if self._wants is not None:
            settings = self._settings
            desired = desired_of(
                settings.domain,
                self._known.values(),
                self._addresses,
                self._judgement.parts,
                ttl=settings.ttl,
                weighings=self._judgement.weighings,
            )
            self._wants.want(desired)

    async def _keep_hosts(self) -> Never:
        """Look host names up in a rhythm, and at once where a member wants adopting; that does not put the rest off."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._spread(HOST_INTERVAL)
        while True:
            hosts: Iterable[str] = {one.host for one in self._known.values()} - self._addresses.keys()
            retry = loop.time() + self._spread(HOST_RETRY)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(due, retry) if hosts else due):
                    await self._hosts_hint.wait()
            if loop.time() >= due:
                hosts = [one.host for one in self._known.values()]
                due = loop.time() + self._spread(HOST_INTERVAL)
            self._hosts_hint.clear()
            await self._addresses.find({*hosts, *self._new_hosts})
            self._adopt()
            self._forget()
            self._publish()

    def _spread(self, interval: float) -> float:
        return interval * (1 - SPREAD * self._rng.random())

    def _adopt(self) -> None:
        """Take up members of the view whose hosts resolve to places that no known member has."""
        if not self._settings.adopt:
            return
        adopted = [one for one in self._newcomers(self._watch.topology).adoptable if self._addresses.get(one.host)]
        for one in adopted:
            self._known[one.label] = one
            log.info("member-adopted label=%s host=%s port=%d uuid=%s", one.label, one.host, one.classic_port, one.uuid)
        if adopted:
            self._hand_over_members()

    def _note_departures(self, labels: set[str]) -> None:
        now = self._clock()
        self._gone_since = {label: self._gone_since.get(label, now) for label in labels}

    def _forget(self) -> None:
        now = self._clock()
        gone = [label for label, since in self._gone_since.items() if now - since >= FORGET_AFTER]
        for label in gone:
            del self._gone_since[label]
            self._known.pop(label, None)
            log.info("member-forgotten label=%s reason=left-the-group", label)
        if gone:
            self._hand_over_members()

    def _hand_over_members(self) -> None:
        members = [one.member(self._settings.domain) for one in self._known.values()]
        self._names = frozenset(member.name for member in members)
        self._watch.set_members(members)
