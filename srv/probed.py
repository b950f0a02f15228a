"""A probed group as a source: asks its members and says what is to be published of them.

Owns the loop from topology to records, and the resolution of member hosts. What follows is `publication`'s to decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Never

from cluster.observations import Observation
from cluster.topology import Topology
from cluster.watch import Watch
from srv.publication import Known, Newcomers, Parts, departed, desired_of, newcomers, parts_by_label
from srv.source import Wants

log = logging.getLogger("fairlead.srv")

HOST_INTERVAL = 30.0  # seconds between looks at the members' host names; their addresses seldom change
HOST_TIMEOUT = 5.0  # seconds for one host name
FORGET_AFTER = 60.0  # seconds out of the group, after which an adopted member is not published any more
KEEP_ROLES = 30.0  # seconds; as long as the router goes on with a topology that cannot be renewed
REVIEW_INTERVAL = 0.25  # seconds between reviews for what no change of the topology tells: age, and first looks

Locate = Callable[[str], Awaitable[tuple[str, ...]]]


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


async def locate(host: str) -> tuple[str, ...]:
    """A host's addresses by the system's own resolution; none where that fails."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(HOST_TIMEOUT):
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # a TimeoutError is an OSError; a UnicodeError, or a NUL in the name, a ValueError
        return ()
    return tuple(sorted({str(entry[4][0]).partition("%")[0] for entry in found}))


class ProbedGroup:
    """Says what is to be published of a watched cluster.

    Args:
        settings: what to publish.
        watch: is given the members, and has the topology.
        locate: finds a host's addresses.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        watch: Watch,
        *,
        locate: Locate = locate,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._watch = watch
        self._wants: Wants | None = None
        self._looked_at: set[str] = set()
        self._locate = locate
        self._clock = clock
        self._known: dict[str, Known] = {one.label: one for one in settings.members}
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._parts: Parts | None = None
        self._gone_since: dict[str, float] = {}
        self._new_hosts: set[str] = set()
        self._unnameable: set[str] = set()
        self._hosts_hint = asyncio.Event()

    def __str__(self) -> str:
        return f"group {self._settings.domain}"

    async def run(self, wants: Wants) -> Never:
        """Say what is wanted until cancelled."""
        self._wants = wants
        await self._locate_all(one.host for one in self._settings.members)
        self._publish()
        self._watch.subscribe(self._on_topology)
        self._watch.on_observation = self._note
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_hosts(), name="member hosts")
            tasks.create_task(self._keep_roles(), name="roles")
            self._hand_over_members()
            await self._watch.run()
        raise AssertionError("unreachable")

    def _note(self, seen: Observation) -> None:
        self._looked_at.add(seen.member.name)

    def _on_topology(self, old: Topology, new: Topology) -> None:
        self._judge_roles(new)
        if self._settings.adopt:
            self._note_departures(departed(new, self._known.values()))
            self._new_hosts = {one.host for one in self._newcomers(new).adoptable}
            if self._new_hosts:
                self._hosts_hint.set()
        self._publish()

    async def _keep_roles(self) -> Never:
        """Judge anew in a rhythm: a topology that stays the same grows old untold."""
        while True:
            await asyncio.sleep(REVIEW_INTERVAL)
            before = self._parts
            self._judge_roles(self._watch.topology)
            if self._parts != before:
                self._publish()

    def _judge_roles(self, topology: Topology) -> None:
        members = {one.member(self._settings.domain).name for one in self._known.values()}
        now, keep = self._clock(), self._settings.keep_roles
        before = self._parts
        self._parts = parts_by_label(topology, before, all_seen=members <= self._looked_at, now=now, keep_roles=keep)
        if before is not None and self._parts is None:
            self._looked_at.clear()  # back to where it began: the first member to answer need not know the primary
            age = now - topology.taken_at
            log.warning("roles-withheld domain=%s age=%.0fs reason=%r", self._settings.domain, age, topology.reason)

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
            desired = desired_of(settings.domain, self._known.values(), self._addresses, self._parts, ttl=settings.ttl)
            self._wants.want(desired)

    async def _keep_hosts(self) -> Never:
        """Look host names up in a rhythm, and at once where a member wants adopting; that does not put the rest off."""
        loop = asyncio.get_running_loop()
        due = loop.time() + HOST_INTERVAL
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._hosts_hint.wait()
            hosts: Iterable[str] = ()
            if loop.time() >= due:
                hosts = [one.host for one in self._known.values()]
                due = loop.time() + HOST_INTERVAL
            self._hosts_hint.clear()
            await self._locate_all({*hosts, *self._new_hosts})
            self._adopt()
            self._forget()
            self._publish()

    async def _locate_all(self, hosts: Iterable[str]) -> None:
        wanted: Sequence[str] = sorted(set(hosts))
        for host, found in zip(wanted, await asyncio.gather(*map(self._locate, wanted)), strict=True):
            if found:
                self._addresses[host] = found
            else:
                kept = ",".join(self._addresses.get(host, ())) or "none"
                log.warning("host-unresolved host=%s kept=%s", host, kept)

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
        self._watch.set_members(one.member(self._settings.domain) for one in self._known.values())
