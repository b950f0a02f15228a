"""A route at work: its sessions and counts, whom it admits, and which members it leaves alone.

Owns admission and what an operator sets of members. Must not know bytes, nor how members are found.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from cluster.members import Endpoint, Member
from cluster.topology import Topology
from router.addresses import Networks, is_loopback
from router.attaching import Attaching
from router.counts import Counts, LocalCounts
from router.descriptors import Descriptors
from router.dialing import Names
from router.host_errors import HostErrors, Hosts
from router.loads import Loads
from router.patience import Patience
from router.promotions import Promotions
from router.proxied import Preface
from router.quarantine import Quarantine
from router.refusals import TOO_MANY, Refusal, host_blocked
from router.routes import Candidate, Leave, Lineup, Pick, Route
from router.sessions import Session
from router.strategies import Draw
from router.sweeps import Sweeps

log = logging.getLogger("fairlead.router")


class Tally:
    """What a route has counted since the router started."""

    __slots__ = (
        "abandoned",
        "bytes_in",
        "bytes_out",
        "connect_seconds",
        "connect_times",
        "cut",
        "dial_failures",
        "ended",
        "joined",
        "parked",
        "parked_seconds",
        "refused",
        "started",
    )

    def __init__(self) -> None:
        self.started = 0  # sessions accepted
        self.refused: Counter[int] = Counter()  # sessions answered with an error, by its code
        self.abandoned = 0  # sessions whose client left before they had a member
        self.parked = 0  # sessions that had to wait
        self.parked_seconds = 0.0  # the time they waited, summed
        self.cut = 0  # sessions ended because their member was demoted or lost
        self.ended: Counter[str] = Counter()  # sessions ended by a limit or an operator, by `Session.end`'s words
        self.joined: Counter[str] = Counter()  # sessions, by member
        self.connect_seconds: dict[str, float] = {}  # how long their members took to accept, summed, by member
        self.connect_times: dict[str, dict[int, int]] = {}  # the same in buckets, by member and upper bound
        self.dial_failures: Counter[str] = Counter()  # by member
        self.bytes_in = 0  # client to member, of ended sessions
        self.bytes_out = 0


class Port:
    """A route at work.

    Args:
        route: what the port stands for.
        topology: gives the cluster's latest topology; for a static list `routes.static_topology`.
        tasks: owns lookups of names, and looks at members in quarantine.
        on_dial_failure: told of each member that is offered and cannot be connected to.
        counts: of sessions, all workers together.
        loads: sessions by member, of all routes and workers.
        descriptors: of this process.
        hosts: the errors of clients' hosts.
        rng: the source of chance.
    """

    def __init__(
        self,
        route: Route,
        topology: Callable[[], Topology],
        tasks: asyncio.TaskGroup,
        on_dial_failure: Callable[[Member], None] = lambda _: None,
        counts: Counts | None = None,
        *,
        loads: Loads | None = None,
        descriptors: Descriptors | None = None,
        hosts: Hosts | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._route = route
        self.tasks = tasks
        self.topology = topology
        self.on_dial_failure = on_dial_failure
        self.counts = counts or LocalCounts()
        self.loads = loads or Loads()
        self.descriptors = descriptors or Descriptors(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self.hosts: Hosts = hosts or HostErrors(route.limits.max_connect_errors)
        self.quarantine = Quarantine(route.limits.quarantine_threshold, route.limits.quarantine_interval)
        self.names = Names(tasks)
        self.sessions: dict[int, Session] = {}
        self.prefaces: set[Preface] = set()
        """Connections that are to be sessions once a PROXY header has come."""
        self.tally = Tally()
        self.parked_now = 0
        self.turns: Iterator[int] = itertools.count()
        self.modes: Mapping[str, Leave] = {}
        """What is wanted of members, by name."""
        self.sweeps = Sweeps(self)
        self._promotions = Promotions(topology())
        self.dials: Patience[Attaching] = Patience(route.connect_timeout, Attaching.end_dial)
        self._proxies = _proxies_of(route)
        self._rng = rng or random.Random()
        self._changed = asyncio.Event()
        self._lineup = Lineup(topology(), route)

    @property
    def route(self) -> Route:
        """What the port stands for. Another may take its place while sessions live on: it applies to what comes."""
        return self._route

    @route.setter
    def route(self, route: Route) -> None:
        limits, before = route.limits, self._route.limits
        self._route, self._proxies = route, _proxies_of(route)
        if limits.idle_timeout != before.idle_timeout:
            self.sweeps.route_changed()
        self.hosts.limit = limits.max_connect_errors
        self.dials.seconds = route.connect_timeout
        if (limits.quarantine_threshold, limits.quarantine_interval) != (
            before.quarantine_threshold,
            before.quarantine_interval,
        ):
            self.quarantine = Quarantine(limits.quarantine_threshold, limits.quarantine_interval)

    def accept(self) -> asyncio.BaseProtocol:
        """A protocol for one new connection, for `loop.create_server`."""
        loop = asyncio.get_running_loop()
        session = Session(self, loop)
        if self._proxies is None:
            return session.client
        return Preface(session, self._proxies, loop, self.route.limits.client_connect_timeout, self.prefaces)

    @property
    def is_empty(self) -> bool:
        """Whether it has no session, and nothing that may become one."""
        return not self.sessions and not self.prefaces

    def cut(self, why: str) -> int:
        """End all sessions at once, and what may become one; return how many sessions there were."""
        for preface in list(self.prefaces):
            preface.abort()
        return sum(session.part(why) for session in list(self.sessions.values()))

    def admit(self, client: Endpoint | None, descriptor: int) -> Refusal | None:
        """Why a session that has just entered is refused, or None. It has been counted already.

        Args:
            client: where it comes from; None through a Unix socket.
            descriptor: the number of its socket.
        """
        if client is not None and self.hosts.is_blocked(client.host):
            return host_blocked(client.host)
        limits, total = self.route.limits, self.counts.total
        if (
            self.descriptors.are_short(descriptor)
            or 0 < limits.max_total_connections < total()
            or 0 < limits.max_connections < self.counts.sessions(self.route.name)
        ):
            return TOO_MANY
        return None

    def pick(self, turn: int) -> Pick:
        """The members that a session may try now, in order."""
        known = self.topology(), self._route, self.modes, self.quarantine.held
        if not self._lineup.is_of(*known):
            self._lineup = Lineup(*known)
        if self._lineup.only is not None:
            return self._lineup.only
        return self._lineup.pick(Draw(turn, self.loads.by_member(), self.quarantine.order, self._rng), time.monotonic())

    def dial_failed(self, candidate: Candidate, why: str) -> None:
        """A member that is offered could not be connected to, or did not greet."""
        member = candidate.member
        self.tally.dial_failures[member.name] += 1
        self.names.doubt(candidate.endpoint.host)
        if self.quarantine.failed(candidate, time.monotonic()):
            log.warning("route %s: %s is tried last from now on: %s", self.route.name, member.name, why)
        self.on_dial_failure(member)

    def dial_succeeded(self, name: str) -> None:
        """A member could be connected to."""
        if self.quarantine.succeeded(name):
            log.info("route %s: %s is in turn again", self.route.name, name)

    def shook_hands(self, client: Endpoint | None) -> None:
        """A client and its member have both spoken."""
        if client is not None:
            self.hosts.succeeded(client.host)

    def hung_up(self, client: Endpoint | None) -> None:
        """A client ended, or let pass its time, without answering its member."""
        if client is None or is_loopback(client):
            return
        if self.hosts.failed(client.host):
            log.warning(
                "route %s: host %s is blocked: %d sessions in a row ended before the handshake was done",
                self.route.name,
                client.host,
                self.route.limits.max_connect_errors,
            )

    def refused(self, refusal: Refusal) -> None:
        """Count a session that was answered with an error."""
        self.tally.refused[refusal.code] += 1

    def set_member_modes(self, modes: Mapping[str, Leave]) -> None:
        """Say which members are to be left; the others, and those that were and are no more, are used as before."""
        before, self.modes = self.modes, dict(modes)
        for name in sorted(modes.keys() - before.keys()):
            log.info("route %s: %s gets no new sessions: %s", self.route.name, name, modes[name].why)
        for name in sorted(before.keys() - modes.keys()):
            log.info("route %s: %s gets sessions again", self.route.name, name)
        self.sweeps.leave(modes)
        self._wake()

    def topology_changed(self, new: Topology) -> None:
        """Cut the sessions that may not stay, and let the waiting ones look again."""
        promoted = self._promotions.see(new)
        if not self.route.leaves_promoted:
            promoted = frozenset()
        for session in list(self.sessions.values()):
            try:
                session.topology_changed(new)
                if session.member is not None and session.member.name in promoted:
                    session.cut(f"{session.member.name} is the primary now")
            except Exception:  # a fault in one must not keep the others on a demoted member
                log.exception("session %d: ended by a fault of the router, client %s", session.id, session.peer)
                session.cut("a fault of the router")
        self.quarantine.keep(status.member for status in new.members)
        self.sweeps.topology_changed(new)
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def wait_for_change(self, timeout: float) -> None:
        """Return at the next topology, or after `timeout` seconds."""
        changed = self._changed
        try:
            async with asyncio.timeout(timeout):
                await changed.wait()
        except TimeoutError:
            return


def _proxies_of(route: Route) -> Networks | None:
    return Networks(route.proxy_networks) if route.proxy_networks else None
