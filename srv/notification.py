"""Which secondary is to be told of which zone, and when: retried until acknowledged or superseded, and bounded.

Owns that reckoning (RFC 1996) and its messages' form. Must not know sockets; time and randomness are given.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from srv.records import Rcode
from srv.replies import assemble, pack_question, places_of, render
from srv.wire import HEADER, PLAIN_UDP_LIMIT, Header, MalformedError, Question, Reply, read_header
from srv.zone import Zone

OPCODE_NOTIFY = 4
FIRST_RETRY = 0.5  # seconds; doubled each time. A round trip is a thousandth of it, so what is not answered is lost
# 31 s in all, which is longer than a secondary's restart; by then one that lives has asked by itself (zone.REFRESH).
# RFC 1996, 3.6 has 5 retries, too, a minute apart, for zones that seldom change.
TRIES = 6
GAP = 0.1  # seconds between two of one zone: changes that come faster are told together


@dataclass(slots=True)
class _Owed:
    id: int
    tries: int = 0
    told_at: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Notice:
    """One NOTIFY to be sent now."""

    origin: str
    id: int


class Agenda:
    """What one secondary has to be told.

    Args:
        draw: gives a number of 16 bits for a message's id.
    """

    def __init__(self, draw: Callable[[], int]) -> None:
        self._draw = draw
        self._owed: dict[str, _Owed] = {}
        self._by_id: dict[int, str] = {}
        self._told_at: dict[str, float] = {}
        self._times: list[tuple[float, str, int]] = []  # a heap; of those superseded only the first is looked at
        self.given_up: list[str] = []
        """Origins that were told of `TRIES` times without an answer, since this was last emptied."""

    def owe(self, origin: str, now: float) -> None:
        """A zone has changed: tell of it as soon as `GAP` allows; what is under way is superseded."""
        before = self._owed.pop(origin, None)
        if before is not None:
            self._by_id.pop(before.id, None)
        identity = self._draw()
        while identity in self._by_id:
            identity = self._draw()
        told_at = before.told_at if before is not None else self._told_at.get(origin, float("-inf"))
        self._owed[origin] = _Owed(identity, told_at=told_at)
        self._by_id[identity] = origin
        heapq.heappush(self._times, (max(now, told_at + GAP), origin, identity))

    def drop(self, origin: str) -> None:
        """The zone is gone, or not for secondaries now."""
        owed = self._owed.pop(origin, None)
        if owed is not None:
            self._by_id.pop(owed.id, None)
        self._told_at.pop(origin, None)

    def due(self, now: float, limit: int) -> list[Notice]:
        """What to send at `now` (monotonic seconds), at most `limit`; each is due again later until settled."""
        notices: list[Notice] = []
        while self._times and self._times[0][0] <= now and len(notices) < limit:
            _, origin, identity = heapq.heappop(self._times)
            owed = self._owed.get(origin)
            if owed is None or owed.id != identity:
                continue
            if owed.tries == TRIES:
                self._settle(origin, owed)
                self.given_up.append(origin)
                continue
            heapq.heappush(self._times, (now + FIRST_RETRY * 2**owed.tries, origin, identity))
            owed.tries += 1
            owed.told_at = now
            notices.append(Notice(origin, identity))
        return notices

    def next_at(self) -> float | None:
        """When something is due next, or nothing."""
        while self._times:
            at, origin, identity = self._times[0]
            owed = self._owed.get(origin)
            if owed is not None and owed.id == identity:
                return at
            heapq.heappop(self._times)
        return None

    def settle(self, identity: int) -> str | None:
        """The secondary has answered a message; return the zone, or nothing where the answer comes too late."""
        origin = self._by_id.get(identity)
        if origin is not None:
            self._settle(origin, self._owed[origin])
        return origin

    def _settle(self, origin: str, owed: _Owed) -> None:
        del self._owed[origin], self._by_id[owed.id]
        self._told_at[origin] = owed.told_at


def write_notify(zone: Zone, identity: int) -> bytes:
    """Write "this zone has changed", with its SOA as a hint (RFC 1996, 3.7)."""
    soa = Question(zone.origin, int(zone.soa.kind))
    question = pack_question(soa)
    reply = Reply(Rcode.NOERROR, answer=(zone.soa,), authoritative=True)
    body = render(reply, HEADER.size + len(question), places_of(zone.origin))
    wire = bytearray(identity.to_bytes(2, "big") + assemble(body, question, 0, PLAIN_UDP_LIMIT, b""))
    wire[2] = (wire[2] & 0x07) | OPCODE_NOTIFY << 3  # a request, not a response
    return bytes(wire)


def read_acknowledgement(wire: bytes) -> Header | None:
    """A response to a NOTIFY; whatever its code, it was heard (RFC 1996, 4.8). Nothing where it is something else."""
    try:
        header = read_header(wire)
    except MalformedError:
        return None
    return header if header.is_response and header.opcode == OPCODE_NOTIFY else None
