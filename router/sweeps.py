"""What a route does once a second for all of its sessions, so that no session needs a timer of its own.

Owns the rhythm: handshakes that are overdue, sessions that are idle, members that are left, sessions that are moved,
members in quarantine. Each look takes from the front of a queue in the order of time, so that a route with ten
thousand sessions at rest costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from cluster.topology import Topology
from router.departures import Departure, hurried
from router.dialing import answers
from router.rebalancing import Attached, bounded, choose, surplus
from router.routes import Candidate, Leave, preferred
from router.sessions import Phase

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
        self._unheard: dict[int, Session] = {}  # with a member in doubt that has said nothing to them yet
        self._resting: dict[int, tuple[float, Session]] = {}  # when to look whether it is idle; the soonest first
        self._leaving: dict[str, Departure] = {}  # members whose sessions are to be gone
        self._budget: dict[str, int] = {}  # sessions that are to be moved off each member
        self._readers: frozenset[str] | None = None  # whom new sessions went to at the latest look; None before any
        self._moved: dict[int, int] = {}  # bytes of sessions a sweep ago, while some are moved
        self._owed = 0.0  # parts of a session that the pace allows by now
        self._timer: asyncio.TimerHandle | None = None
        self._is_ending = False
        self._looking: set[str] = set()

    def start(self) -> None:
        """Sweep from now on."""
        self._is_ending = False
        self._plan(self._port.topology())
        self._wind()

    def end_with_sessions(self) -> None:
        """The port accepts no more: sweep while it has sessions, be they some that were still taken from the queue."""
        self._is_ending = True
        if not self._port.is_empty:
            self._wind()
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def route_changed(self) -> None:
        """Look at sessions by the route's new idle timeout, those at rest included."""
        now = time.monotonic()
        self._resting.clear()
        if not self._port.route.limits.idle_timeout:
            return
        for session in self._port.sessions.values():
            if session.member is not None and session.phase is not Phase.ENDED:
                if session.bytes_in + session.bytes_out != session.bytes_seen:
                    session.quiet_since = now  # as far as is known: nobody has looked
                self._rest(session)

    def joined(self, session: Session) -> None:
        """A session has got its member."""
        self._fresh[session.id] = session
        if session.member is not None and self._port.quarantine.doubts(session.member.name):
            self._unheard[session.id] = session
        if self._port.route.limits.idle_timeout:
            self._rest(session)

    def forget(self, session: Session) -> bool:
        """A session is gone; whether its handshake was not known to be done."""
        self._resting.pop(session.id, None)
        if self._unheard.pop(session.id, None) is not None:
            self._hear(session)
        return self._fresh.pop(session.id, None) is not None

    def leave(self, modes: Mapping[str, Leave]) -> None:
        """End the sessions of members that are to be left by a time."""
        now, counts = time.monotonic(), self._counts()
        self._leaving = {
            name: hurried(self._leaving.get(name), Departure(now, now + mode.end_within, counts[name]))
            for name, mode in modes.items()
            if mode.end_within is not None
        }
        self._end_leaving(now)
        self._plan(self._port.topology())

    def topology_changed(self, new: Topology) -> None:
        """Plan to move sessions where a member has come back."""
        self._plan(new)

    def sweep(self, now: float) -> None:
        """Do all of it once.

        Args:
            now: monotonic seconds.
        """
        for session in list(self._unheard.values()):
            self._hear(session)
        self._end_overdue(now)
        self._end_idle(now)
        self._end_leaving(now)
        self._plan(self._port.topology())  # one may be out of quarantine, or caught up
        self._move()
        if not self._is_ending:
            for candidate in self._port.quarantine.due(now):
                self._look_at(candidate)

    def _tick(self) -> None:
        self._timer = None
        if self._is_ending and self._port.is_empty:
            return
        self._wind()
        try:
            self.sweep(time.monotonic())
        except Exception:  # a fault in one sweep must not be the last
            log.exception("route %s: a fault of the router", self._port.route.name)

    def _wind(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _hear(self, session: Session) -> None:
        """Note a member that was in doubt and speaks: that it accepts is not enough."""
        if session.bytes_out and session.member is not None:
            self._unheard.pop(session.id, None)
            self._port.dial_succeeded(session.member.name)

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
        for name, departure in self._leaving.items():
            sessions = [one for at, one in self._attached() if at == name]
            sessions.sort(key=lambda one: one.since)
            why = self._port.modes[name].why
            for session in sessions[: max(0, len(sessions) - departure.may_stay(now))]:
                session.end(why, f"{name} is {why}")

    def _plan(self, topology: Topology) -> None:
        """Count what is to be moved, if there are new members for new sessions."""
        if not self._port.route.rebalance_rate:
            self._readers = None
            return
        weights = self._weights(topology)
        before, self._readers = self._readers, frozenset(weights)
        if before is None or not self._readers - before:
            return
        self._budget = surplus(self._counts(), weights)
        for name, many in self._budget.items():
            log.info("route %s: %d sessions are moved off %s", self._port.route.name, many, name)

    def _weights(self, topology: Topology) -> dict[str, int]:
        """What sessions should be parted by: those that new ones go to, so that who is ended does not come back."""
        out = {*self._port.modes, *self._port.quarantine.held}
        return preferred(topology, self._port.route, out)

    def _attached(self) -> Iterator[tuple[str, Session]]:
        """Sessions with their members' names, without those that already end."""
        for session in self._port.sessions.values():
            if session.member is not None and session.phase is not Phase.ENDED:
                yield session.member.name, session

    def _counts(self) -> Counter[str]:
        return Counter(name for name, _ in self._attached())

    def _move(self) -> None:
        if self._budget:
            self._budget = bounded(self._budget, surplus(self._counts(), self._weights(self._port.topology())))
        if not self._budget:
            self._moved, self._owed = {}, 0.0
            return
        before, self._moved = self._moved, {}
        attached = []
        for name, session in self._attached():
            if name in self._budget:
                carried = self._moved[session.id] = session.bytes_in + session.bytes_out
                quiet = before.get(session.id) == carried
                attached.append(Attached(session.id, name, session.since, quiet))
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
        name = candidate.member.name
        try:
            if await answers(candidate, self._port.route, self._port.names):
                self._port.dial_succeeded(name)
        except Exception:  # a fault in one look must not end the router
            log.exception("route %s: %s could not be looked at, by a fault of the router", self._port.route.name, name)
        finally:
            self._looking.discard(name)
