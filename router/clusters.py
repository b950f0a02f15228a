"""The clusters that are followed, and what workers are shown of each.

Owns watchers' starts and ends, and that a watcher which has just started takes nothing back: until it has asked every
member once, workers keep the roles that were known before. Must not know workers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from cluster.access import Access
from cluster.observations import Observation, Outcome
from cluster.topology import Topology, Trust
from cluster.watch import Timing, Watch
from router.settings import ClusterSettings
from router.watcher import Watcher
from srv.resolver import Resolver

JUST_STARTED = "the router looks at the members anew; until it has, what was last known stands"


class Looks:
    """How many looks at each member ended how; for metrics."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, Outcome]] = Counter()

    def add(self, seen: Observation) -> None:
        """Count one."""
        self.counts[seen.member.name, seen.outcome] += 1


class Followed:
    """One cluster, and what was known of it before this watcher."""

    def __init__(self, settings: ClusterSettings, access: Access, before: Topology | None) -> None:
        self.settings, self.access = settings, access
        self.looks = Looks()
        self.watcher = _watcher(settings, access, self.looks)
        self.task: asyncio.Task[None] | None = None
        self._before = before

    @property
    def seen(self) -> bool:
        """Whether a topology stands: this watcher's first, or one of before."""
        return self._before is not None or self.watcher.watch.seen

    def topology(self) -> Topology:
        """What workers are shown."""
        if self._before is not None and not self.watcher.watch.asked_all:
            return replace(self._before, trust=Trust.BLIND, reason=JUST_STARTED)
        self._before = None
        return self.watcher.watch.topology


class Clusters:
    """All clusters of a configuration.

    Args:
        tasks: owns the watchers' tasks.
        show: told of each cluster's topology whenever a fact of it changes.
        forget: told of a cluster that is followed no more.
    """

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        show: Callable[[str, Topology], None],
        forget: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._tasks = tasks
        self._show = show
        self._forget = forget
        self._leaving: dict[str, tuple[Followed, asyncio.TimerHandle]] = {}  # wanted no more, and still followed
        self.followed: dict[str, Followed] = {}

    def follow(
        self,
        wanted: Mapping[str, ClusterSettings],
        accesses: Mapping[str, Access],
        known: Mapping[str, Topology],
        linger: float = 0.0,
    ) -> None:
        """Follow these clusters; those that are asked as before go on undisturbed, others end.

        Args:
            wanted: by name.
            accesses: how members are asked; what is not here is asked without an account.
            known: what is known of those that are new here.
            linger: seconds for which those that are wanted no more are followed still: their sessions have that time to
                end, and in it they must not stay with a member that is no primary any more.
        """
        for name in [name for name in self.followed if name not in wanted]:
            later = asyncio.get_running_loop().call_later(linger, self._leave, name)
            self._leaving[name] = self.followed.pop(name), later
        for name, settings in wanted.items():
            if name in self._leaving:
                self.followed[name], later = self._leaving.pop(name)
                later.cancel()
            access, before = accesses.get(name, Access(None)), self.followed.get(name)
            if before is not None:
                if before.settings == settings and before.access.login == access.login:
                    continue
                self._end(before)
            last = before.topology() if before is not None and before.seen else known.get(name)
            self._begin(name, Followed(settings, access, last))

    def suspect(self, cluster: str, member: str) -> None:
        """Look at DNS again soon, for a member does not accept connections."""
        followed = self.followed.get(cluster)
        status = followed.watcher.watch.topology.status_of(member) if followed is not None else None
        if followed is not None and status is not None:
            followed.watcher.suspect(status.member)

    def show_all(self) -> None:
        """Show how all stand now, with what was measured since."""
        leaving = {name: followed for name, (followed, _) in self._leaving.items()}
        for name, followed in (self.followed | leaving).items():
            self._show(name, followed.topology())

    def end(self) -> None:
        """Follow none."""
        for followed in self.followed.values():
            self._end(followed)
        for followed, later in self._leaving.values():
            later.cancel()
            self._end(followed)

    def _leave(self, name: str) -> None:
        followed, _ = self._leaving.pop(name)
        self._end(followed)
        self._forget(name)

    def _begin(self, name: str, followed: Followed) -> None:
        self.followed[name] = followed
        followed.watcher.watch.subscribe(lambda _, __: self._show(name, followed.topology()))
        followed.task = self._tasks.create_task(followed.watcher.run(), name=f"cluster {name}")
        self._show(name, followed.topology())

    def _end(self, followed: Followed) -> None:
        if followed.task is not None:
            followed.task.cancel()


def _watcher(cluster: ClusterSettings, access: Access, looks: Looks) -> Watcher:
    def observed(seen: Observation) -> None:
        looks.add(seen)
        watcher.observed(seen)

    watch = Watch(
        access,
        timing=Timing(
            poll=cluster.poll_interval,
            timeout=cluster.probe_timeout,
            status_interval=cluster.server_metrics_interval if cluster.server_metrics else 0.0,
        ),
        policy=cluster.policy,
        on_observation=observed,
    )
    nameservers = [(server.host, server.port) for server in cluster.resolvers] or None
    resolver = Resolver(nameservers, timeout=cluster.dns_timeout, attempts=cluster.dns_attempts)
    watcher = Watcher(
        cluster.srv,
        resolver,
        watch,
        floor=cluster.dns_ttl_floor,
        ceiling=cluster.dns_ttl_ceiling,
        keep_last_good=cluster.dns_keep_last_good,
    )
    return watcher
