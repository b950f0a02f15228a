"""One client connection and what it is attached to.

Owns a session's states and its way to a member: pick, dial, park, join or refuse. Must not know how members are found.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from cluster.members import Member
from cluster.topology import Topology
from router import durations
from router.counts import Counts, LocalCounts
from router.refusals import Refusal, encode, no_member, parking_full
from router.routes import Candidate, Pick, Route, may_stay, pick
from router.splice import End, Side, notice_dead_peers

log = logging.getLogger("fairlead.router")

# Seconds between tries to dial members that refuse while the topology still offers them: doubled from the first to the
# last. A new topology interrupts the wait, so this matters only for members that come back unchanged.
FIRST_RETRY = 0.1
LAST_RETRY = 1.0


class Phase(Enum):
    """Where a session stands: CONNECTING -> PARKED -> JOINED -> ENDED. Any may be skipped, and none comes back."""

    CONNECTING = "connecting"
    PARKED = "parked"
    JOINED = "joined"
    ENDED = "ended"


class Tally:
    """What a route has counted since the router started."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "connect_seconds",
        "connect_times",
        "cut",
        "dial_failures",
        "joined",
        "parked",
        "parked_seconds",
        "refused",
        "started",
    )

    def __init__(self) -> None:
        self.started = 0  # sessions accepted
        self.refused: dict[int, int] = {}  # sessions answered with an error, by its code
        self.parked = 0  # sessions that had to wait
        self.parked_seconds = 0.0  # the time they waited, summed
        self.cut = 0  # sessions ended because their member was demoted or lost
        self.joined: dict[str, int] = {}  # sessions, by member
        self.connect_seconds: dict[str, float] = {}  # how long their members took to accept, summed, by member
        self.connect_times: dict[str, dict[int, int]] = {}  # the same in buckets, by member and upper bound
        self.dial_failures: dict[str, int] = {}  # by member
        self.bytes_in = 0  # client to member, of ended sessions
        self.bytes_out = 0


@dataclass(frozen=True, slots=True)
class Leave:
    """What an operator wants of a member: no new sessions, and an end of those that it has.

    end_within: seconds after which they are ended; None: they live on. why: the word for it, such as `hidden`.
    """

    end_within: float | None = None
    why: str = "drained"


class Port:
    """A route at work: its sessions and counts, and the latest topology of its cluster.

    Args:
        route: what the port stands for.
        topology: gives the cluster's latest topology.
        tasks: owns the tasks of sessions that are not attached yet.
        on_dial_failure: told of each member that is offered and cannot be connected to.
        counts: where sessions are counted, all workers together.
    """

    def __init__(
        self,
        route: Route,
        topology: Callable[[], Topology],
        tasks: asyncio.TaskGroup,
        on_dial_failure: Callable[[Member], None] = lambda _: None,
        counts: Counts | None = None,
    ) -> None:
        self.route = route
        self.tasks = tasks
        self.topology = topology
        self.on_dial_failure = on_dial_failure
        self.counts = counts or LocalCounts()
        self.sessions: dict[int, Session] = {}
        self.tally = Tally()
        self.parked_now = 0
        self.turns: Iterator[int] = itertools.count()
        self.modes: Mapping[str, Leave] = {}
        """What is wanted of members, by name."""
        self._changed = asyncio.Event()

    def accept(self) -> asyncio.Protocol:
        """A protocol for one new connection, for `loop.create_server`."""
        return Session(self, asyncio.get_running_loop()).client

    def topology_changed(self, new: Topology) -> None:
        """Cut the sessions that may not stay, and let the waiting ones look again."""
        for session in list(self.sessions.values()):
            try:
                session.topology_changed(new)
            except Exception:  # a fault in one must not keep the others on a demoted member
                log.exception("session %d: ended by a fault of the router, client %s", session.id, session.peer)
                session.cut("a fault of the router")
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def pick(self, turn: int) -> Pick:
        """The members that a session may try now, in order."""
        choice = pick(self.topology(), self.route, turn=turn, now=time.monotonic())
        if not self.modes:
            return choice
        usable = tuple(one for one in choice.candidates if one.member.name not in self.modes)
        left = [one.member.name for one in choice.candidates if one.member.name in self.modes]
        if usable or not left:
            return Pick(usable, choice.reason)
        return Pick((), ", ".join(f"{name} is {self.modes[name].why}" for name in left))

    def set_member_modes(self, modes: Mapping[str, Leave]) -> None:
        """Say which members are to be left; the others, and those that were and are no more, are used as before."""
        before, self.modes = self.modes, dict(modes)
        for name, leave in modes.items():
            if leave.end_within is not None and before.get(name) != leave:
                asyncio.get_running_loop().call_later(leave.end_within, self._end_left, name, leave)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _end_left(self, member: str, leave: Leave) -> None:
        if self.modes.get(member) == leave:
            for session in list(self.sessions.values()):
                if session.member is not None and session.member.name == member:
                    session.cut(f"{member} is {leave.why}")

    async def wait_for_change(self, timeout: float) -> None:
        """Return at the next topology, or after `timeout` seconds."""
        changed = self._changed
        try:
            async with asyncio.timeout(timeout):
                await changed.wait()
        except TimeoutError:
            return


def number_sessions_from(first: int) -> None:
    """Give sessions numbers from there on, so that those of several workers differ."""
    Session.ids = itertools.count(first)


class Session:
    """One client's connection through a port."""

    __slots__ = (
        "_attaching",
        "_client_address",
        "_dialing",
        "_member_end",
        "client",
        "id",
        "loop",
        "member",
        "phase",
        "port",
        "since",
    )
    ids: ClassVar[Iterator[int]] = itertools.count(1)

    def __init__(self, port: Port, loop: asyncio.AbstractEventLoop) -> None:
        self.id = next(Session.ids)
        self.port = port
        self.loop = loop
        self.phase = Phase.CONNECTING
        self.since = time.monotonic()
        self.member: Member | None = None
        self.client = End(self, Side.CLIENT, loop)
        self._member_end: End | None = None
        self._attaching: asyncio.Task[None] | None = None
        self._dialing: tuple[Member, asyncio.Timeout] | None = None
        self._client_address = ""

    @property
    def peer(self) -> str:
        """The client's address, as text."""
        return self._client_address

    @property
    def bytes_in(self) -> int:
        """Bytes received from the client."""
        return self.client.received

    @property
    def bytes_out(self) -> int:
        """Bytes received from the member."""
        return self._member_end.received if self._member_end is not None else 0

    def end_connected(self, side: Side) -> None:
        """Start looking for a member once the client is there."""
        if side is not Side.CLIENT or self.client.transport is None:
            return
        self._client_address = _address(self.client.transport)
        self.port.sessions[self.id] = self
        self.port.counts.enter(self.port.route.name)
        self.port.tally.started += 1
        self._attaching = self.port.tasks.create_task(self._attach(), name=f"session {self.id}")

    def end_closed(self, side: Side) -> None:
        """Account for the session once both ends are closed."""
        if self._attaching is not None and side is Side.CLIENT:
            self._attaching.cancel()
        other = self._member_end if side is Side.CLIENT else self.client
        if other is None or other.transport is None:
            self._forget()

    def cut(self, why: str) -> None:
        """End both sides at once."""
        if self.phase is not Phase.ENDED:
            log.info("session %d: cut, client %s, route %s: %s", self.id, self.peer, self.port.route.name, why)
            self.port.tally.cut += 1
        self.phase = Phase.ENDED
        self._abort()

    def _abort(self) -> None:
        for end in (self._member_end, self.client):
            if end is not None:
                end.abort()

    def _forget(self) -> None:
        told, self.phase = self.phase is Phase.ENDED, Phase.ENDED
        if self.port.sessions.pop(self.id, None) is None:
            return
        self.port.counts.leave(self.port.route.name)
        self.port.tally.bytes_in += self.bytes_in
        self.port.tally.bytes_out += self.bytes_out
        if told:
            return
        by_member = self._member_end is not None and self._member_end.ended_first
        # Clients end their sessions themselves; where the member does, somebody will ask why.
        level = logging.INFO if by_member else logging.DEBUG
        ended_by = self.member.name if by_member and self.member else "its client"
        age = time.monotonic() - self.since
        words = "session %d: ended by %s, client %s, route %s, %d bytes in, %d out, %.1f s"
        log.log(level, words, self.id, ended_by, self.peer, self.port.route.name, self.bytes_in, self.bytes_out, age)

    async def _attach(self) -> None:
        try:
            await self._find_member()
        except Exception:  # a fault here must end one session, not the router
            log.exception("session %d: ended by a fault of the router, client %s", self.id, self.peer)
            self._abort()
        finally:
            self._attaching = None

    async def _find_member(self) -> None:
        route, tally = self.port.route, self.port.tally
        deadline = self.since + route.parking_timeout
        last_dial = self.since + max(route.parking_timeout, route.connect_timeout)
        turn, retry, parked_at = next(self.port.turns), FIRST_RETRY, 0.0
        try:
            while True:
                topology = self.port.topology()
                choice = self.port.pick(turn)
                reason = choice.reason
                for candidate in choice.candidates:
                    left = last_dial - time.monotonic()
                    if left <= 0 or self.port.topology().version != topology.version:
                        break
                    failure = await self._dial(candidate, min(route.connect_timeout, left))
                    if not failure:
                        return
                    reason = failure
                now = time.monotonic()
                if now >= deadline:
                    self._refuse(no_member(route.name, reason, now - self.since))
                    return
                if not parked_at:
                    if self.port.parked_now >= route.parking_limit:
                        self._refuse(parking_full(route.name, route.parking_limit))
                        return
                    parked_at, self.phase = now, Phase.PARKED
                    self.port.parked_now += 1
                    tally.parked += 1
                    log.debug("session %d: parked, client %s, route %s: %s", self.id, self.peer, route.name, reason)
                if self.port.topology().version != topology.version:
                    continue
                # A candidate that would not have it is tried again; where there is none, only a topology helps.
                await self.port.wait_for_change(min(deadline - now, retry) if choice.candidates else deadline - now)
                retry = min(retry * 2, LAST_RETRY)
        finally:
            if parked_at:
                self.port.parked_now -= 1
                tally.parked_seconds += time.monotonic() - parked_at

    async def _dial(self, candidate: Candidate, timeout: float) -> str:
        """Connect and join; return why that failed, or an empty text."""
        end = End(self, Side.MEMBER, self.loop)
        member, endpoint = candidate.member, candidate.endpoint
        began = time.monotonic()
        try:
            async with asyncio.timeout(timeout) as bound:
                self._dialing = member, bound
                await self.loop.create_connection(lambda: end, endpoint.host, endpoint.port)
            # The topology may have moved on while the connection was made.
            if end.transport is not None and self._still_wanted(candidate):
                notice_dead_peers(end.transport.get_extra_info("socket"))
                self._join(member, end, time.monotonic() - began)
                return ""
            failure = f"{member.name} closed the connection"
        except TimeoutError:
            failure = f"{member.name} at {endpoint} did not accept within {timeout:.1f} s"
        except OSError as error:
            failure = f"{member.name} at {endpoint}: {error.strerror or error}"
        finally:
            self._dialing = None
            if self._member_end is not end:
                end.abort()
        if not self._still_wanted(candidate):
            return f"{member.name} is no longer offered"
        failures = self.port.tally.dial_failures
        failures[member.name] = failures.get(member.name, 0) + 1
        self.port.on_dial_failure(member)
        return failure

    def _still_wanted(self, candidate: Candidate) -> bool:
        return candidate in self.port.pick(0).candidates

    def topology_changed(self, new: Topology) -> None:
        """End the session, or its attempt to connect, where its member is no longer fit for the route."""
        route = self.port.route
        if self.member is not None and not may_stay(new, route, self.member):
            self.cut(f"{self.member.name} is no longer offered as {route.destination.value}")
        elif self._dialing is not None and not may_stay(new, route, self._dialing[0]):
            bound = self._dialing[1]
            if not bound.expired():
                bound.reschedule(self.loop.time())

    def _join(self, member: Member, end: End, took: float) -> None:
        self.member, self._member_end, self.phase = member, end, Phase.JOINED
        tally, name = self.port.tally, member.name
        tally.joined[name] = tally.joined.get(name, 0) + 1
        tally.connect_seconds[name] = tally.connect_seconds.get(name, 0.0) + took
        durations.count(tally.connect_times.setdefault(name, {}), durations.CONNECT_BOUNDS, took)
        self.client.join(end)

    def _refuse(self, refusal: Refusal) -> None:
        route = self.port.route
        refused = self.port.tally.refused
        refused[refusal.code] = refused.get(refusal.code, 0) + 1
        log.info("session %d: refused, client %s: %d %s", self.id, self.peer, refusal.code, refusal.message)
        self.phase = Phase.ENDED
        self.client.say_last(encode(refusal, route.protocol))


def _address(transport: asyncio.Transport) -> str:
    name = transport.get_extra_info("peername")
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else str(name or "unknown")
