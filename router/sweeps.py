"""What a route does once a second for all of its sessions, so that no session needs a timer of its own.

Owns the rhythm: handshakes that are overdue, sessions that are idle, members that are left, sessions that are moved,
members in quarantine. Each look takes from the front of a queue in the order of time, so that a route with ten
thousand sessions at rest costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cluster.topology import Topology
from router.dialing import answers
from router.rebalancing import Attached, bounded, choose, surplus
from router.routes import Candidate, Leave, pools_of
from router.words import StrategyName

if TYPE_CHECKING:
    from router.port import Port
    from router.sessions import Session

log = logging.getLogger("fairlead.router")

TICK = 1.0
"""Seconds between sweeps: what limits in seconds need."""
IDLE_LOOKS = 4
"""Looks at a session within its idle timeout: it ends a quarter of that late at most."""


class Sweeps:
    """The sweeps of one port."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._fresh: dict[int, Session] = {}  # handshake not known to be done; the oldest first
        self._resting: dict[int, tuple[float, Session]] = {}  # when to look whether it is idle; the soonest first
        self._leaving: dict[str, float] = {}  # members whose sessions are to be gone, and by when
        self._budget: dict[str, int] = {}  # sessions that are to be moved off each member
        self._readers: frozenset[str] = frozenset()  # who had the route's role at the latest topology
        self._moved: dict[int, int] = {}  # bytes of sessions a sweep ago, while some are moved
        self._owed = 0.0  # parts of a session that the pace allows by now
        self._timer: asyncio.TimerHandle | None = None
        self._is_ending = False
        self._looking: set[str] = set()

    def start(self) -> None:
        """Sweep from now on."""
        self._is_ending = False
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def end_with_sessions(self) -> None:
        """The port accepts no more: sweep while it has sessions."""
        self._is_ending = True
        if self._timer is not None and not self._port.sessions:
            self._timer.cancel()
            self._timer = None

    def joined(self, session: Session) -> None:
        """A session has got its member."""
        self._fresh[session.id] = session
        if self._port.route.limits.idle_timeout:
            self._rest(session)

    def forget(self, session: Session) -> bool:
        """A session is gone; whether its handshake was not known to be done."""
        self._resting.pop(session.id, None)
        return self._fresh.pop(session.id, None) is not None

    def leave(self, modes: Mapping[str, Leave]) -> None:
        """End the sessions of members that are to be left by a time."""
        now = time.monotonic()
        self._leaving = {
            name: self._leaving.get(name, now + mode.end_within)
            for name, mode in modes.items()
            if mode.end_within is not None
        }
        self._end_leaving(now)

    def topology_changed(self, new: Topology) -> None:
        """Plan to move sessions where a member has come back."""
        if not self._port.route.rebalance_rate:
            return
        before, self._readers = self._readers, frozenset(self._weights(new))
        if before and self._readers - before:
            self._budget = surplus(self._counts(), self._weights(new))
            for name, many in self._budget.items():
                log.info("route %s: %d sessions are moved off %s", self._port.route.name, many, name)

    def sweep(self, now: float) -> None:
        """Do all of it once.

        Args:
            now: monotonic seconds.
        """
        self._end_overdue(now)
        self._end_idle(now)
        self._end_leaving(now)
        self._move()
        if not self._is_ending:
            for candidate in self._port.quarantine.due(now):
                self._look_at(candidate)

    def _tick(self) -> None:
        self._timer = None
        if self._is_ending and not self._port.sessions:
            return
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)
        try:
            self.sweep(time.monotonic())
        except Exception:  # a fault in one sweep must not be the last
            log.exception("route %s: a fault of the router", self._port.route.name)

    def _end_overdue(self, now: float) -> None:
        before = now - self._port.route.limits.client_connect_timeout
        for session in list(self._fresh.values()):
            if session.has_shaken_hands:
                del self._fresh[session.id]
                self._port.shook_hands(session.source)
                session.settle()
            elif session.joined_at <= before:
                del self._fresh[session.id]
                session.give_up()

    def _rest(self, session: Session) -> None:
        session.bytes_seen = session.bytes_in + session.bytes_out
        self._resting[session.id] = time.monotonic() + self._port.route.limits.idle_timeout / IDLE_LOOKS, session

    def _end_idle(self, now: float) -> None:
        timeout = self._port.route.limits.idle_timeout
        while self._resting:
            due, session = next(iter(self._resting.values()))
            if due > now:
                return
            del self._resting[session.id]
            if session.bytes_in + session.bytes_out != session.bytes_seen:
                session.quiet_since = now
            elif now - session.quiet_since >= timeout:
                session.end("idle", f"no byte for {now - session.quiet_since:.0f} s")
                continue
            self._rest(session)

    def _end_leaving(self, now: float) -> None:
        for name, until in self._leaving.items():
            sessions = [one for one in self._port.sessions.values() if one.member and one.member.name == name]
            sweeps_left = max(1.0, (until - now) / TICK)
            sessions.sort(key=lambda one: one.since)
            why = self._port.modes[name].why
            for session in sessions[: math.ceil(len(sessions) / sweeps_left)]:
                session.end(why, f"{name} is {why}")

    def _weights(self, topology: Topology) -> dict[str, int]:
        """What sessions should be parted by: those whom the route prefers, without who only stands in."""
        route = self._port.route
        pools = pools_of(topology, route)[: -1 if route.fallback_to_primary else None]
        weighs = route.strategy is StrategyName.WEIGHTED
        names = [one for pool in pools for one in pool if one.member.name not in self._port.modes]
        return {one.member.name: one.member.weight if weighs else 1 for one in names}

    def _counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for session in self._port.sessions.values():
            if session.member is not None:
                counts[session.member.name] = counts.get(session.member.name, 0) + 1
        return counts

    def _move(self) -> None:
        if self._budget:
            self._budget = bounded(self._budget, surplus(self._counts(), self._weights(self._port.topology())))
        if not self._budget:
            self._moved, self._owed = {}, 0.0
            return
        before, self._moved = self._moved, {}
        attached = []
        for session in self._port.sessions.values():
            if session.member is not None and session.member.name in self._budget:
                carried = self._moved[session.id] = session.bytes_in + session.bytes_out
                quiet = before.get(session.id) == carried
                attached.append(Attached(session.id, session.member.name, session.since, quiet))
        if not before:
            return  # a second from now it is known who is quiet
        self._owed += self._port.route.rebalance_rate * TICK
        for one in choose(attached, self._budget, int(self._owed)):
            self._owed -= 1
            self._budget[one.member] -= 1
            self._port.sessions[one.id].end("rebalanced", f"{one.member} has more sessions than others")
        self._owed %= 1.0

    def _look_at(self, candidate: Candidate) -> None:
        name = candidate.member.name
        if name not in self._looking:
            self._looking.add(name)
            self._port.tasks.create_task(self._look(candidate), name=f"look whether {name} accepts")

    async def _look(self, candidate: Candidate) -> None:
        try:
            if await answers(candidate, self._port.route, self._port.names):
                self._port.dial_succeeded(candidate.member.name)
        finally:
            self._looking.discard(candidate.member.name)
