"""A session's way to a member: pick, dial, park, and then join or refuse.

Owns the order of the tries and their times. Must not know bytes, nor how members are found.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from cluster.members import Member
from cluster.topology import Topology
from router.dialing import ExhaustedError, NoPortError, connect, tell_late
from router.refusals import TOO_MANY, no_member, parking_full
from router.routes import Candidate, may_stay
from router.splice import End, Side
from router.words import ProxyProtocol

if TYPE_CHECKING:
    from router.sessions import Session

log = logging.getLogger("fairlead.router")

# Seconds between tries to dial members that refuse while the topology still offers them: doubled from the first to the
# last. A new topology interrupts the wait, so this matters only for members that come back unchanged.
FIRST_RETRY = 0.1
LAST_RETRY = 1.0


class Attaching:
    """One session on its way, from its admission until it is joined or refused, or its client is gone.

    A task and no more: `asyncio.timeout` and a task group would cost as much again as the rest of it.
    """

    __slots__ = ("_dialed", "_has_begun", "_is_late", "_port", "_session", "_task")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._port = session.port
        self._dialed: Member | None = None  # while it is
        self._is_late = False
        self._has_begun = False
        self._port.descriptors.owed += 1
        self._task = session.loop.create_task(self._attach())  # held by the session, and the session by its port

    def cancel(self) -> None:
        """The client is gone."""
        self._task.cancel()
        if not self._has_begun:  # nor does it ever: a task that is cancelled so soon runs no line
            self._leave()

    def end_dial(self) -> None:
        """The member that is dialled has no more time."""
        self._is_late = True
        self._task.cancel()

    def topology_changed(self, new: Topology) -> None:
        """Do not wait for a member that the session could not stay with."""
        port = self._port
        if self._dialed is not None and not self._is_late and not may_stay(new, port.route, self._dialed):
            port.dials.forget(self)
            self.end_dial()

    def _leave(self) -> None:
        self._port.descriptors.owed -= 1
        self._session.attached()

    async def _attach(self) -> None:
        session = self._session
        self._has_begun = True
        try:
            await self._find_member()
        except ExhaustedError as error:
            log.warning("session %d: no connection can be made: %s; raise the limit", session.id, error)
            session.refuse(TOO_MANY)
        except Exception:  # a fault here must end one session, not the router
            log.exception("session %d: ended by a fault of the router, client %s", session.id, session.peer)
            session.abort()
        finally:
            self._leave()

    async def _find_member(self) -> None:
        session, port, tally = self._session, self._port, self._port.tally
        route = port.route
        last_dial = session.since + max(route.parking_timeout, route.connect_timeout)
        turn, retry, parked_at = next(port.turns), FIRST_RETRY, 0.0
        try:
            while True:
                topology = port.topology()
                choice = port.pick(turn)
                reason, no_port = choice.reason, 0
                for candidate in choice.candidates:
                    left = last_dial - time.monotonic()
                    if left <= 0 or port.topology().version != topology.version:
                        break
                    try:
                        failure = await self._dial(candidate, left)
                    except NoPortError as error:  # another may be reachable still
                        failure, no_port = str(error), no_port + 1
                    if not failure:
                        return
                    reason = failure
                if choice.candidates and no_port == len(choice.candidates):
                    raise ExhaustedError(reason)
                now, deadline = time.monotonic(), session.since + route.parking_timeout
                if now >= deadline:
                    session.refuse(no_member(route.name, reason, now - session.since))
                    return
                if not parked_at:
                    if port.parked_now >= route.parking_limit:
                        session.refuse(parking_full(route.name, route.parking_limit))
                        return
                    parked_at = now
                    session.park(reason)
                if port.topology().version != topology.version:
                    continue
                # A candidate that would not have it is tried again; where there is none, only a topology helps.
                await port.wait_for_change(min(deadline - now, retry) if choice.candidates else deadline - now)
                retry = min(retry * 2, LAST_RETRY)
        finally:
            if parked_at:
                port.parked_now -= 1
                tally.parked_seconds += time.monotonic() - parked_at

    async def _dial(self, candidate: Candidate, left: float) -> str:
        """Connect and join; return why that failed, or an empty text.

        Args:
            candidate: who and where.
            left: seconds that the session has for it.
        """
        session, port, member = self._session, self._port, candidate.member
        end = End(session, Side.MEMBER, session.loop)
        chosen_by, began = (port.topology(), port.modes), time.monotonic()
        is_joined = False
        port.loads.take(member.name)
        self._dialed, self._is_late = member, False
        port.dials.begin(self, left)
        try:
            introduced = port.route.send_proxy is not ProxyProtocol.OFF
            source, destination = (session.source, session.destination) if introduced else (None, None)
            await connect(lambda: end, candidate, port.route, port.names, source=source, destination=destination)
            # The topology may have moved on while the connection was made.
            if end.transport is not None and self._still_wanted(candidate, chosen_by):
                session.join(member, end, time.monotonic() - began)
                is_joined = True
                return ""
            failure = f"{member.name} closed the connection"
        except asyncio.CancelledError:
            if not self._is_late or self._task.uncancel() > 0:  # the client is gone
                raise
            failure = tell_late(candidate, port.names, time.monotonic() - began)
        except OSError as error:
            failure = f"{_where(candidate)}: {error.strerror or error}"
        finally:
            self._dialed = None
            port.dials.forget(self)
            if not is_joined:
                port.loads.release(member.name)
                end.abort()
        if not self._still_wanted(candidate, chosen_by):
            return f"{member.name} is no longer offered"
        port.dial_failed(candidate, failure)
        return failure

    def _still_wanted(self, candidate: Candidate, chosen_by: tuple[Topology, object]) -> bool:
        if chosen_by[0] is self._port.topology() and chosen_by[1] is self._port.modes:
            return True
        return candidate in self._port.pick(0).candidates


def _where(candidate: Candidate) -> str:
    name, where = candidate.member.name, str(candidate.endpoint)
    return name if name == where else f"{name} at {where}"
