"""From a query's bytes to a response's bytes. Owns what an authoritative server says; must not know sockets or time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from srv.plain import read_plain
from srv.records import Kind, NameRecord, Rcode, RRset, SrvRecord
from srv.replies import OPT_KIND, question_of, write_bare_reply, write_reply
from srv.transfer import TRANSFERS, transfer
from srv.wire import (
    IN,
    MESSAGE_LIMIT,
    OPCODE_QUERY,
    PLAIN_UDP_LIMIT,
    UDP_PAYLOAD,
    MalformedError,
    Query,
    Reply,
    read_header,
    read_query,
)
from srv.zone import Foreign, Found, NoData, NxDomain, Withheld, Zone

ANY_KIND = 255
META_KINDS = frozenset(range(128, 255)) - TRANSFERS  # RFC 6895, 3.1: types that no record can have

Zones = Mapping[str, Zone]  # by origin


@dataclass(frozen=True, slots=True)
class Reaction:
    """What to do about a packet. `reply` is None where silence is right; `complaint` is for the log.

    `rest` is what follows the reply over TCP, where a zone needs several messages. `query` is what was asked, where
    that could be read, and `is_plain` says whether it could be read the short way.
    """

    reply: bytes | None
    rcode: Rcode | None
    complaint: str = ""
    rest: Iterable[bytes] = ()
    query: Query | None = None
    is_plain: bool = False


def react(
    zones: Zones, wire: bytes, *, over_tcp: bool, may_transfer: bool = False, rng: random.Random | None = None
) -> Reaction:
    """Answer one packet.

    Responses and what is too short for a header are dropped: answering them could set two servers on each other.

    Args:
        zones: what is known, by origin.
        wire: the packet.
        over_tcp: else over UDP.
        may_transfer: whether whole zones are for this peer.
        rng: draws the order of the members in each answer; without it that is the zone's.
    """
    plain = read_plain(wire)
    if plain is not None:
        return _respond(zones, plain, over_tcp=over_tcp, may_transfer=may_transfer, rng=rng, is_plain=True)
    try:
        header = read_header(wire)
    except MalformedError as exc:
        return Reaction(None, None, str(exc))
    if header.is_response:
        return Reaction(None, None, "a response, where only queries belong")
    if header.opcode != OPCODE_QUERY:
        return Reaction(write_bare_reply(header, Rcode.NOTIMP), Rcode.NOTIMP)
    try:
        query = read_query(wire)
    except MalformedError as exc:
        question = question_of(wire)
        return Reaction(write_bare_reply(header, Rcode.FORMERR, question), Rcode.FORMERR, str(exc))
    return _respond(zones, query, over_tcp=over_tcp, may_transfer=may_transfer, rng=rng, is_plain=False)


def _respond(
    zones: Zones, query: Query, *, over_tcp: bool, may_transfer: bool, rng: random.Random | None, is_plain: bool
) -> Reaction:
    if (
        query.question.kind in TRANSFERS
        and not (query.edns_version or query.is_signed)
        and query.question.rdclass == IN
    ):
        zone = responsible(zones, query.question.name.lower()) if may_transfer else None
        rcode, messages = transfer(zone, query, over_tcp=over_tcp)
        first, *rest = messages
        return Reaction(first, rcode, rest=rest, query=query, is_plain=is_plain)
    reply = answer(zones, query, rng)
    wire = write_reply(query, reply, size_limit(query.payload, over_tcp=over_tcp))
    return Reaction(wire, Rcode(reply.rcode), query=query, is_plain=is_plain)


def answer(zones: Zones, query: Query, rng: random.Random | None = None) -> Reply:
    """Say what the zones know about a question; see `react`."""
    question = query.question
    if query.edns_version > 0:
        return Reply(Rcode.BADVERS)
    if query.is_signed:
        return Reply(Rcode.NOTAUTH)  # RFC 8945, 5.2.1: we know no keys, and whoever signs wants it checked
    if question.kind in META_KINDS or question.kind == OPT_KIND:
        return Reply(Rcode.NOTIMP)
    zone = responsible(zones, question.name.lower())
    if zone is None or question.rdclass != IN or question.kind in TRANSFERS:
        return Reply(Rcode.REFUSED)
    return _tell(zone, question.name, question.kind, rng)


def _tell(zone: Zone, name: str, kind: int, rng: random.Random | None) -> Reply:
    """Say what a zone knows about a name and an ordinary type."""
    standing = zone.lookup(name, kind)
    if kind == ANY_KIND and isinstance(standing, NoData):
        # RFC 8482, 4.1: one of the sets, whichever, is answer enough to "everything".
        sets = zone.rrsets_at(name)
        standing = Found(sets[0]) if sets else standing
    match standing:
        case Found(rrset):
            if rng is not None:
                rrset = _shuffled(rrset, rng)
            return Reply(
                Rcode.NOERROR,
                answer=(rrset,),  # written as a pointer to the question, so in the asker's case
                additional=_addresses(zone, rrset),
                authoritative=True,
            )
        case NoData():
            return Reply(Rcode.NOERROR, authority=(_negative_soa(zone),), authoritative=True)
        case NxDomain():
            return Reply(Rcode.NXDOMAIN, authority=(_negative_soa(zone),), authoritative=True)
        case Withheld():
            return Reply(Rcode.SERVFAIL)
        case Foreign():
            return Reply(Rcode.REFUSED)


def responsible(zones: Zones, name: str) -> Zone | None:
    """The zone that the lower-case name lies in; where zones lie in one another, the innermost."""
    while name:
        zone = zones.get(name)
        if zone is not None:
            return zone
        name = name.partition(".")[2]
    return None


def size_limit(payload: int | None, *, over_tcp: bool) -> int:
    """How many octets a response may have; `payload` is what the asker said that it takes over UDP."""
    if over_tcp:
        return MESSAGE_LIMIT
    if payload is None:
        return PLAIN_UDP_LIMIT
    return min(max(payload, PLAIN_UDP_LIMIT), UDP_PAYLOAD)


def _shuffled(rrset: RRset, rng: random.Random) -> RRset:
    """Members in another order each time: the mysql client takes the first of those that are alike.

    By chance and not in turn: whoever asks a fixed number of things a connection would meet the same turn each time.
    """
    if rrset.kind is not Kind.SRV or len(rrset.records) < 2:
        return rrset
    return RRset(rrset.name, rrset.kind, rrset.ttl, tuple(rng.sample(rrset.records, len(rrset.records))))


def _addresses(zone: Zone, rrset: RRset) -> tuple[RRset, ...]:
    """The addresses of the targets that an SRV or NS set names, each once."""
    if rrset.kind not in (Kind.SRV, Kind.NS):
        return ()
    targets = dict.fromkeys(record.target for record in rrset.records if isinstance(record, SrvRecord | NameRecord))
    return tuple(found for target in targets for found in zone.addresses_of(target))


def _negative_soa(zone: Zone) -> RRset:
    return replace(zone.soa, ttl=zone.negative_ttl)
