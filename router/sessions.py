"""One client connection and what it is attached to.

Owns a session's states, its end, and what is counted of it. Must not know how it comes to its member.
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
from router.attaching import Attaching
from router.listening import notice_dead_peers
from router.refusals import Refusal, encode, no_member
from router.routes import Candidate, endpoint_of, may_stay
from router.splice import End, Side
from router.words import Protocol

if TYPE_CHECKING:
    from router.port import Port

log = logging.getLogger("fairlead.router")


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
        "_destination",
        "_is_counted",
        "_is_introduced",
        "_member_end",
        "_refusal",
        "bytes_seen",
        "client",
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
        self.client = End(self, Side.CLIENT, loop)
        self._is_introduced = False
        self._is_counted = False
        self._refusal: Refusal | None = None
        self._member_end: End | None = None
        self._destination: Endpoint | None = None
        self._attaching: Attaching | None = None

    @property
    def peer(self) -> str:
        """The client's address, as text."""
        return str(self.source) if self.source is not None else UNIX

    @property
    def destination(self) -> Endpoint | None:
        """What the client connected to, as a trusted proxy says or as it is; None for a Unix socket."""
        transport = self.client.transport
        if self._is_introduced or transport is None:
            return self._destination
        return peer_of(transport.get_extra_info("sockname"))

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
        self.source, self._destination, self._is_introduced = source, destination, True

    def end_connected(self, side: Side) -> None:
        """Start looking for a member once the client is there, if it is admitted."""
        transport = self.client.transport
        if side is not Side.CLIENT or transport is None:
            return
        if not self._is_introduced:
            self.source = peer_of(transport.get_extra_info("peername"))
        port = self.port
        port.sessions[self.id] = self
        port.tally.started += 1
        if self._is_counted:  # by what came before its header
            port.descriptors.owed -= 1
        self._count()
        refusal = self._refusal or port.admit(self.source, transport.get_extra_info("socket").fileno())
        if refusal is not None:
            self.refuse(refusal)
            return
        self._attaching = Attaching(self)

    def attached(self) -> None:
        """It has got a member, or an answer instead: nobody is on the way any more."""
        self._attaching = None

    def settle(self) -> None:
        """Have the kernel watch over the member's side, too: its options are not passed on from a listening socket.

        Not before the handshake is done, for which there is a limit anyway: short sessions do without these calls.
        """
        end = self._member_end
        if end is not None and end.transport is not None:
            notice_dead_peers(end.transport.get_extra_info("socket"), self.port.route.wire)

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
        self.abort()

    def part(self, why: str) -> bool:
        """End for good; a client that has no member yet is told why. Return whether it had not ended before."""
        had_ended = self.phase is Phase.ENDED
        if not had_ended and self._attaching is not None:
            self._attaching.cancel()
            self.refuse(no_member(self.port.route.name, why, time.monotonic() - self.since))
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
        self.port.tally.ended[word] += 1
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
        self.port.tally.ended["silent member"] += 1  # it had a member, and is refused all the same: both are counted
        self.refuse(no_member(self.port.route.name, why, time.monotonic() - self.since))

    def abort(self) -> None:
        """Close both sides at once."""
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
        if not log.isEnabledFor(level):
            return
        ended_by = self.member.name if by_member and self.member else "its client"
        age = time.monotonic() - self.since
        words = "session %d: ended by %s, client %s, route %s, %d bytes in, %d out, %.1f s"
        log.log(level, words, self.id, ended_by, self.peer, self.port.route.name, self.bytes_in, self.bytes_out, age)

    def topology_changed(self, new: Topology) -> None:
        """End the session, or its attempt to connect, where its member is no longer fit for the route."""
        if self.member is not None:
            if not may_stay(new, self.port.route, self.member):
                self.cut(f"{self.member.name} is no longer offered as {self.port.route.destination.value}")
        elif self._attaching is not None:
            self._attaching.topology_changed(new)

    def park(self, reason: str) -> None:
        """Wait for a member."""
        self.phase = Phase.PARKED
        self.port.parked_now += 1
        self.port.tally.parked += 1
        log.debug("session %d: parked, client %s, route %s: %s", self.id, self.peer, self.port.route.name, reason)

    def join(self, member: Member, end: End, took: float) -> None:
        """Pass bytes between the client and a member from now on.

        Args:
            member: who it is.
            end: the connection to it.
            took: seconds in which that was made.
        """
        self.member, self._member_end, self.phase = member, end, Phase.JOINED
        self.joined_at = self.quiet_since = time.monotonic()
        tally, name = self.port.tally, member.name
        tally.joined[name] += 1
        tally.connect_seconds[name] = tally.connect_seconds.get(name, 0.0) + took
        durations.count(tally.connect_times.setdefault(name, {}), durations.CONNECT_BOUNDS, took)
        self.client.join(end)
        self.port.sweeps.joined(self)

    def refuse(self, refusal: Refusal) -> None:
        """Answer with an error, and end."""
        route = self.port.route
        self._uncount()
        self.port.refused(refusal)
        log.info("session %d: refused, client %s: %d %s", self.id, self.peer, refusal.code, refusal.message)
        self.phase = Phase.ENDED
        self.client.say_last(encode(refusal, route.protocol))
