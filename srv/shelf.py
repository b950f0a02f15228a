"""Ordinary questions answered from what is ready: the zones, and responses to them that were written before.

Owns the zones, and how long a response stands. Must not know sockets, nor what the right answer is (`answers`). Most
packets cost one look into a dictionary; the next cost some comparisons of octets. Anything out of the ordinary is left
to `answers.react`, which reads all there is to a message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from types import MappingProxyType

from srv.answers import ANY_KIND, META_KINDS, Zones, size_limit, tell
from srv.records import Kind, Rcode
from srv.replies import DNSSEC_OK, OPT_KIND, Body, assemble, pack_name, pack_opt, places_of, render
from srv.transfer import TRANSFERS
from srv.wire import HEADER, IN, QR, QUERY_OCTETS, RD, TC, Reply, name_end
from srv.zone import Zone

# Responses kept ready in each of two generations. A thousand clusters of six service names, asked by clients with two
# or three ways to say what they can take, need 18,000; ordinary sets take 700 octets, so both come to 25 MB then.
READY_LIMIT = 16_384
READY_OCTETS = 16 * 1024 * 1024  # in each generation: the same bound where responses are large
NOT_ORDINARY = META_KINDS | TRANSFERS | {OPT_KIND}

_OPT = struct.Struct("!HHBBHH")
_OPTION = struct.Struct("!HH")
_OPT_SIZE = 1 + _OPT.size
_QUESTION_END = struct.Struct("!HH")
_ORDINARY_FLAGS = 0x8000 | 0x7800  # QR and opcode: all 0
_OPTS = {True: pack_opt(0, dnssec_ok=True), False: pack_opt(0, dnssec_ok=False), None: b""}
_REFUSED = render(Reply(Rcode.REFUSED), 0, {})
_KINDS = frozenset(int(kind) for kind in Kind) | {ANY_KIND}


class _Stock:
    """One zone as it stands, and the bodies that were written from it."""

    __slots__ = ("bodies", "current", "names", "negatives", "origin_octets", "zone")

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.current = True
        self.origin_octets = len(pack_name(zone.origin))
        self.names: dict[bytes, str] | None = None  # those that exist; spelled out when the first question comes
        self.bodies: dict[tuple[bytes, int], Body] = {}
        self.negatives: dict[tuple[int, bool], Body] = {}

    def retire(self) -> None:
        """Let go of what was written: responses that are still kept hold on to nothing else."""
        self.current = False
        self.names, self.bodies, self.negatives = None, {}, {}

    def body(self, name: bytes, kind: int) -> Body:
        """What stands behind a question for a lower-case name in the zone."""
        if self.names is None:
            self.names = {pack_name(text): text for text in self.zone.names}
        text = self.names.get(name)
        if text is not None and (kind in _KINDS or text in self.zone.withheld):
            key = (name, kind if kind in _KINDS else ANY_KIND)
            body = self.bodies.get(key)
            if body is None:
                body = self.bodies[key] = render(tell(self.zone, text, kind), _start(name), places_of(text))
            return body
        # A negative answer is the same for all names of one length: nothing but the zone's origin is pointed to.
        shape = (len(name), text is not None)
        body = self.negatives.get(shape)
        if body is None:
            origin, at = self.zone.origin, HEADER.size + len(name) - self.origin_octets
            # A label that no zone of ours has; where the name exists, a type that it has not.
            reply = tell(self.zone, text if text is not None else f"\\000.{origin}", kind)
            body = self.negatives[shape] = render(reply, _start(name), places_of(origin, at))
        return body


_Ready = tuple[_Stock, bytes, int]  # what it was made from, the response without its id, its response code


class Shelf:
    """The zones by origin, and responses at hand. Publishing costs the same however many zones there are.

    Args:
        zones: those to begin with.
        limit: responses in each generation, see `READY_LIMIT`.
    """

    def __init__(self, zones: Iterable[Zone] = (), *, limit: int = READY_LIMIT) -> None:
        self._limit = limit
        self._zones: dict[str, Zone] = {}
        self._stocks: dict[bytes, _Stock] = {}
        self._young: dict[bytes, _Ready] = {}
        self._old: dict[bytes, _Ready] = {}
        self._octets = 0
        for zone in zones:
            self.publish(zone)

    @property
    def zones(self) -> Zones:
        """The zones by origin, as they stand."""
        return MappingProxyType(self._zones)

    def publish(self, zone: Zone) -> None:
        """Answer from this zone, in the place of one with its origin."""
        key = pack_name(zone.origin)
        before = self._stocks.get(key)
        if before is None:
            self._clear()  # names of a zone around it may be this one's now
        else:
            before.retire()
        self._zones[zone.origin] = zone
        self._stocks[key] = _Stock(zone)

    def withdraw(self, origin: str) -> None:
        """Forget a zone; nothing happens where there is none."""
        if self._zones.pop(origin, None) is not None:
            self._stocks.pop(pack_name(origin)).retire()

    def take(self, wire: bytes) -> tuple[bytes, int] | None:
        """The response to an ordinary question over UDP, without its id, and its response code; else None."""
        key = wire[2:]
        kept = self._young.get(key)
        if kept is None:
            kept = self._old.get(key)
            if kept is not None and kept[0].current:
                self._keep(key, kept)
        if kept is not None and kept[0].current:
            return kept[1], kept[2]
        return self.compose(wire, over_tcp=False)

    def compose(self, wire: bytes, *, over_tcp: bool) -> tuple[bytes, int] | None:
        """The same without a look at what was written before; over UDP it is kept for the next time."""
        read = _read(wire)
        if read is None:
            return None
        name, kind, end, payload, dnssec_ok = read
        lower = name.lower()  # the octets that tell a label's length are no letters
        stock = self._find(lower)
        body = _REFUSED if stock is None else stock.body(lower, kind)
        limit = size_limit(payload, over_tcp=over_tcp)
        opt = _OPTS[None if payload is None else dnssec_ok]
        tail = assemble(body, wire[HEADER.size : end], wire[2] << 8, limit, opt)
        if stock is not None and not over_tcp:
            self._keep(wire[2:], (stock, tail, body.rcode))
        return tail, body.rcode

    def _find(self, name: bytes) -> _Stock | None:
        stocks = self._stocks
        at = 0
        while (stock := stocks.get(name[at:])) is None:
            length = name[at]
            if length == 0:
                return None
            at += length + 1
        return stock

    def _keep(self, key: bytes, kept: _Ready) -> None:
        if len(self._young) >= self._limit or self._octets >= READY_OCTETS:
            self._old, self._young, self._octets = self._young, {}, 0
        self._young[key] = kept
        self._octets += len(key) + len(kept[1])

    def _clear(self) -> None:
        self._young, self._old, self._octets = {}, {}, 0


def slip(wire: bytes) -> bytes | None:
    """The shortest response to an ordinary question, "come over TCP"; to anything else nothing."""
    read = _read(wire)
    if read is None:
        return None
    _, _, end, payload, dnssec_ok = read
    opt = _OPTS[None if payload is None else dnssec_ok]
    head = HEADER.pack(int.from_bytes(wire[:2], "big"), QR | TC | (wire[2] << 8 & RD), 1, 0, 0, 1 if opt else 0)
    return head + wire[HEADER.size : end] + opt


def _start(name: bytes) -> int:
    return HEADER.size + len(name) + _QUESTION_END.size


def _read(wire: bytes) -> tuple[bytes, int, int, int | None, bool] | None:
    """An ordinary query's name, type, end of the question, payload and DO bit; None for whatever is not ordinary."""
    try:
        _, flags, questions, answers, authorities, additionals = HEADER.unpack_from(wire)
        if flags & _ORDINARY_FLAGS or questions != 1 or answers or authorities or additionals > 1:
            return None
        at = name_end(wire)
        if at is None or len(wire) > QUERY_OCTETS:
            return None
        name = wire[HEADER.size : at]
        kind, rdclass = _QUESTION_END.unpack_from(wire, at)
        end = at + _QUESTION_END.size
        if rdclass != IN or kind in NOT_ORDINARY:
            return None
        if additionals == 0:
            return (name, kind, end, None, False) if end == len(wire) else None
        opt_kind, payload, _, version, opt_flags, size = _OPT.unpack_from(wire, end + 1)
    except struct.error:
        return None
    options = end + _OPT_SIZE
    if wire[end] or opt_kind != OPT_KIND or version or options + size != len(wire):
        return None
    return (name, kind, end, payload, bool(opt_flags & DNSSEC_OK)) if _are_options(wire, options) else None


def _are_options(wire: bytes, at: int) -> bool:
    """Whether the rest of the packet is EDNS options of any kind; what is in them is not looked at."""
    while at + _OPTION.size <= len(wire):
        at += _OPTION.size + int.from_bytes(wire[at + 2 : at + 4], "big")
    return at == len(wire)
