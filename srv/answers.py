"""From a query's bytes to a response's bytes. Owns what an authoritative server says; must not know sockets or time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from srv.names import is_within
from srv.records import Kind, NameRecord, Rcode, RRset, SrvRecord
from srv.wire import (
    IN,
    MESSAGE_LIMIT,
    OPCODE_QUERY,
    PLAIN_UDP_LIMIT,
    UDP_PAYLOAD,
    Header,
    MalformedError,
    Query,
    Reply,
    read_header,
    read_query,
    write_bare_reply,
    write_reply,
)
from srv.zone import Foreign, Found, NoData, NxDomain, Withheld, Zone

ANY_KIND = 255
TRANSFERS = frozenset({251, 252})  # IXFR, AXFR
META_KINDS = frozenset(range(128, 255)) - TRANSFERS  # RFC 6895, 3.1: types that no record can have, besides OPT
OPT_KIND = 41


@dataclass(frozen=True, slots=True)
class Reaction:
    """What to do about a packet. `reply` is None where silence is right; `complaint` is for the log."""

    reply: bytes | None
    rcode: Rcode | None
    complaint: str = ""


def react(zones: Sequence[Zone], wire: bytes, *, over_tcp: bool) -> Reaction:
    """Answer one packet.

    Responses and what is too short for a header are dropped: answering them could set two servers on each other.
    """
    try:
        header = read_header(wire)
    except MalformedError as exc:
        return Reaction(None, None, str(exc))
    if header.is_response:
        return Reaction(None, None, "a response, where only queries belong")
    if header.opcode != OPCODE_QUERY:
        return _bare(header, Rcode.NOTIMP)
    try:
        query = read_query(wire)
    except MalformedError as exc:
        return _bare(header, Rcode.FORMERR, str(exc))
    reply = answer(zones, query)
    return Reaction(write_reply(query, reply, _limit(query, over_tcp)), Rcode(reply.rcode))


def answer(zones: Sequence[Zone], query: Query) -> Reply:
    """Say what the zones know about a question."""
    question = query.question
    if query.edns_version > 0:
        return Reply(Rcode.BADVERS)
    if question.kind in META_KINDS or question.kind in (0, OPT_KIND):
        return Reply(Rcode.NOTIMP)
    zone = _responsible(zones, question.name.lower())
    if zone is None or question.rdclass != IN or question.kind in TRANSFERS:
        return Reply(Rcode.REFUSED)
    standing = zone.lookup(question.name, question.kind)
    if question.kind == ANY_KIND and isinstance(standing, NoData):
        # RFC 8482, 4.1: one of the sets, whichever, is answer enough to "everything".
        sets = zone.rrsets_at(question.name)
        standing = Found(sets[0]) if sets else standing
    match standing:
        case Found(rrset):
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


def _responsible(zones: Sequence[Zone], name: str) -> Zone | None:
    around = [zone for zone in zones if is_within(name, zone.origin)]
    return max(around, key=lambda zone: len(zone.origin), default=None)


def _addresses(zone: Zone, rrset: RRset) -> tuple[RRset, ...]:
    """The addresses of the targets that an SRV or NS set names, each once."""
    if rrset.kind not in (Kind.SRV, Kind.NS):
        return ()
    targets = dict.fromkeys(record.target for record in rrset.records if isinstance(record, SrvRecord | NameRecord))
    return tuple(found for target in targets for found in zone.addresses_of(target))


def _negative_soa(zone: Zone) -> RRset:
    return replace(zone.soa, ttl=zone.negative_ttl)


def _limit(query: Query, over_tcp: bool) -> int:
    if over_tcp:
        return MESSAGE_LIMIT
    if query.payload is None:
        return PLAIN_UDP_LIMIT
    return min(max(query.payload, PLAIN_UDP_LIMIT), UDP_PAYLOAD)


def _bare(header: Header, rcode: Rcode, complaint: str = "") -> Reaction:
    return Reaction(write_bare_reply(header, rcode), rcode, complaint)
