"""One client connection and what it is attached to.

Owns a session's states and its way to a member: pick, dial, park, join or refuse. Must not know how members are found.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from cluster.members import Endpoint, Member
from cluster.topology import Topology
from router import durations
from router.addresses import UNIX, peer_of
from router.dialing import ExhaustedError, NoPortError, connect, tell_late
from router.refusals import TOO_MANY, Refusal, encode, no_member, parking_full
from router.routes import Candidate, endpoint_of, may_stay
from router.splice import End, Side
from router.words import Protocol

if TYPE_CHECKING:
    from router.port import Port

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


def number_sessions_from(first: int) -> None:
    """Give sessions numbers from there on, so that those of several workers differ."""
    Session.ids = itertools.count(first)


class Session:
    """One client's connection through a port.

    `source`: the client's address, as a trusted proxy says or as the network has it; None through a Unix socket.
    `bytes_seen` and `quiet_since` are the sweeps' notes of when a byte was last seen to have moved.
    """

    __slots__ = (
        "_attaching",
        "_dialing",
        "_is_counted",
        "_is_introduced",
        "_member_end",
        "_refusal",
        "bytes_seen",
        "client",
        "destination",
        "id",
        "joined_at",
        "loop",
        "member",
        "phase",
        "port",
        "quiet_since",
        "since",
        "source",
    )
    ids: ClassVar[Iterator[int]] = itertools.count(1)

    def __init__(self, port: Port, loop: asyncio.AbstractEventLoop) -> None:
        self.id = next(Session.ids)
        self.port = port
        self.loop = loop
        self.phase = Phase.CONNECTING
        self.since = self.joined_at = self.quiet_since = time.monotonic()
        self.bytes_seen = 0
        self.member: Member | None = None
        self.source: Endpoint | None = None
        self.destination: Endpoint | None = None
        self.client = End(self, Side.CLIENT, loop)
        self._is_introduced = False
        self._is_counted = False
        self._refusal: Refusal | None = None
        self._member_end: End | None = None
        self._attaching: asyncio.Task[None] | None = None
        self._dialing: tuple[Member, asyncio.Timeout] | None = None

    @property
    def peer(self) -> str:
        """The client's address, as text."""
        return str(self.source) if self.source is not None else UNIX

    @property
    def bytes_in(self) -> int:
        """Bytes received from the client."""
        return self.client.received

    @property
    def bytes_out(self) -> int:
        """Bytes received from the member."""
        return self._member_end.received if self._member_end is not None else 0

    @property
    def has_shaken_hands(self) -> bool:
        """Whether both sides have spoken: of an opaque session nothing more can be told."""
        return bool(self.bytes_in and self.bytes_out)

    @property
    def _awaits_client(self) -> bool:
        """Whether it is the client's turn to speak, and it has not: X clients speak first, others are greeted."""
        return not self.bytes_in and (self.port.route.protocol is Protocol.X or bool(self.bytes_out))

    def announce(self, descriptor: int) -> bool:
        """Its connection is there and its client not known yet: it counts from now on. Whether there is room for it.

        Args:
            descriptor: the number of its socket.
        """
        self._count()
        self.port.descriptors.owed += 1
        self._refusal = self.port.admit(None, descriptor)
        return self._refusal is None

    def withdraw(self) -> None:
        """It does not begin after all."""
        self.port.descriptors.owed -= 1
        self._uncount()

    def introduce(self, source: Endpoint, destination: Endpoint) -> None:
        """A trusted proxy says who the client is, and what it connected to."""
        self.source, self.destination, self._is_introduced = source, destination, True

    def end_connected(self, side: Side) -> None:
        """Start looking for a member once the client is there, if it is admitted."""
        transport = self.client.transport
        if side is not Side.CLIENT or transport is None:
            return
        if not self._is_introduced:
            self.source = peer_of(transport.get_extra_info("peername"))
            self.destination = peer_of(transport.get_extra_info("sockname"))
        port = self.port
        port.sessions[self.id] = self
        port.tally.started += 1
        if self._is_counted:  # by what came before its header
            port.descriptors.owed -= 1
        self._count()
        refusal = self._refusal or port.admit(self.source, transport.get_extra_info("socket").fileno())
        if refusal is not None:
            self._refuse(refusal)
            return
        port.descriptors.owed += 1
        self._attaching = port.tasks.create_task(self._attach(), name=f"session {self.id}")

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

    def part(self, why: str) -> bool:
        """End for good; a client that has no member yet is told why. Return whether it had not ended before."""
        had_ended = self.phase is Phase.ENDED
        if not had_ended and self._attaching is not None:
            self._attaching.cancel()
            self._refuse(no_member(self.port.route.name, why, time.monotonic() - self.since))
        elif not had_ended or self.member is not None:  # one that was refused has a second to read why
            self.cut(why)
        return not had_ended

    def end(self, word: str, why: str) -> None:
        """Close both sides, what is on its way included.

        Args:
            word: for the count of sessions that ended so.
            why: for the log.
        """
        if self.phase is Phase.ENDED:
            return
        log.info("session %d: ended, client %s, route %s: %s", self.id, self.peer, self.port.route.name, why)
        ended = self.port.tally.ended
        ended[word] = ended.get(word, 0) + 1
        self.phase = Phase.ENDED
        for end in (self._member_end, self.client):
            if end is not None:
                end.close()

    def give_up(self) -> None:
        """End a session whose handshake takes too long, at the cost of whoever should have spoken."""
        waited = time.monotonic() - self.joined_at
        member, end = self.member, self._member_end
        if self._awaits_client or member is None or end is None:
            self.port.hung_up(self.source)
            self.end("silent client", f"the client said nothing for {waited:.1f} s")
            return
        endpoint, why = endpoint_of(member, self.port.route), f"{member.name} accepted and said nothing"
        if endpoint is not None:
            self.port.dial_failed(Candidate(member, endpoint), why)
        end.peer = None
        end.abort()
        ended = self.port.tally.ended  # it had a member, and is refused all the same: both are counted
        ended["silent member"] = ended.get("silent member", 0) + 1
        self._refuse(no_member(self.port.route.name, why, time.monotonic() - self.since))

    def _abort(self) -> None:
        for end in (self._member_end, self.client):
            if end is not None:
                end.abort()

    def _count(self) -> None:
        if not self._is_counted:
            self._is_counted = True
            self.port.counts.enter(self.port.route.name)

    def _uncount(self) -> None:
        if self._is_counted:
            self._is_counted = False
            self.port.counts.leave(self.port.route.name)

    def _forget(self) -> None:
        told, self.phase = self.phase is Phase.ENDED, Phase.ENDED
        if self.port.sessions.pop(self.id, None) is None:
            return
        self._uncount()
        if self.member is not None:
            self.port.loads.release(self.member.name)
        if self.port.sweeps.forget(self):
            if self.has_shaken_hands:
                self.port.shook_hands(self.source)
            elif not told and self.client.ended_first and self._awaits_client:
                self.port.hung_up(self.source)
        self.port.tally.bytes_in += self.bytes_in
        self.port.tally.bytes_out += self.bytes_out
        if told:
            return
        if self.member is None:
            self.port.tally.abandoned += 1
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
        except ExhaustedError as error:
            log.warning("session %d: no connection can be made: %s; raise the limit", self.id, error)
            self._refuse(TOO_MANY)
        except Exception:  # a fault here must end one session, not the router
            log.exception("session %d: ended by a fault of the router, client %s", self.id, self.peer)
            self._abort()
        finally:
            self.port.descriptors.owed -= 1
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
                reason, no_port = choice.reason, 0
                for candidate in choice.candidates:
                    left = last_dial - time.monotonic()
                    if left <= 0 or self.port.topology().version != topology.version:
                        break
                    try:
                        failure = await self._dial(candidate, min(route.connect_timeout, left))
                    except NoPortError as error:  # another may be reachable still
                        failure, no_port = str(error), no_port + 1
                    if not failure:
                        return
                    reason = failure
                if choice.candidates and no_port == len(choice.candidates):
                    raise ExhaustedError(reason)
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
        end, port, member = End(self, Side.MEMBER, self.loop), self.port, candidate.member
        where = member.name if member.name == str(candidate.endpoint) else f"{member.name} at {candidate.endpoint}"
        chosen_by, began = (port.topology(), port.modes), time.monotonic()
        port.loads.take(member.name)
        try:
            async with asyncio.timeout(timeout) as bound:
                self._dialing = member, bound
                source, destination = self.source, self.destination
                await connect(lambda: end, candidate, port.route, port.names, source=source, destination=destination)
            # The topology may have moved on while the connection was made.
            if end.transport is not None and self._still_wanted(candidate, chosen_by):
                self._join(member, end, time.monotonic() - began)
                return ""
            failure = f"{member.name} closed the connection"
        except TimeoutError:
            failure = tell_late(candidate, port.names, timeout)
        except OSError as error:
            failure = f"{where}: {error.strerror or error}"
        finally:
            self._dialing = None
            if self._member_end is not end:
                port.loads.release(member.name)
                end.abort()
        if not self._still_wanted(candidate, chosen_by):
            return f"{member.name} is no longer offered"
        port.dial_failed(candidate, failure)
        return failure

    def _still_wanted(self, candidate: Candidate, chosen_by: tuple[Topology, object]) -> bool:
        if chosen_by[0] is self.port.topology() and chosen_by[1] is self.port.modes:
            return True
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
        self.joined_at = self.quiet_since = time.monotonic()
        tally, name = self.port.tally, member.name
        tally.joined[name] = tally.joined.get(name, 0) + 1
        tally.connect_seconds[name] = tally.connect_seconds.get(name, 0.0) + took
        durations.count(tally.connect_times.setdefault(name, {}), durations.CONNECT_BOUNDS, took)
        self.client.join(end)
        self.port.sweeps.joined(self)

    def _refuse(self, refusal: Refusal) -> None:
        route = self.port.route
        self._uncount()
        self.port.refused(refusal)
        log.info("session %d: refused, client %s: %d %s", self.id, self.peer, refusal.code, refusal.message)
        self.phase = Phase.ENDED
        self.client.say_last(encode(refusal, route.protocol))
