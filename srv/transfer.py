"""Whole zones for secondaries: AXFR (RFC 5936), and IXFR answered the plain way (RFC 1995). Owns what they are sent.

Must not know sockets, nor who is a secondary. A zone with withheld names is not handed out: a secondary would say "no
such name" where we say that we do not know. It gets SERVFAIL, keeps the zone that it has, and asks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from srv.records import Rcode, Record, RRset
from srv.replies import Page, assemble, pack_opt, pack_question, places_of, render, write_reply
from srv.wire import HEADER, PLAIN_UDP_LIMIT, RD, Query, Reply
from srv.zone import Zone, is_newer

IXFR_KIND, AXFR_KIND = 251, 252
TRANSFERS = frozenset({IXFR_KIND, AXFR_KIND})
# Octets a message: below this every name can still be pointed to (RFC 1035, 4.1.4), and a slow secondary is not sent
# much more than the kernel holds for it.
MESSAGE_OCTETS = 16_384


def transfer(zone: Zone | None, query: Query, *, over_tcp: bool) -> tuple[Rcode, Iterable[bytes]]:
    """The messages that answer a query for a transfer, one at least, and their response code.

    Args:
        zone: the zone that the name lies in; None where there is none, or where it is not for this peer.
        query: of a type in `TRANSFERS` and class IN.
        over_tcp: else over UDP, where only an incremental transfer can be asked for.
    """
    incremental = query.question.kind == IXFR_KIND
    if zone is None or not (over_tcp or incremental):
        return _only(query, Reply(Rcode.REFUSED))
    if query.question.name.lower() != zone.origin:
        return _only(query, Reply(Rcode.NOTAUTH))  # RFC 5936, 2.2.1
    if incremental and query.serial is None:
        return _only(query, Reply(Rcode.FORMERR))
    if zone.withheld:
        return _only(query, Reply(Rcode.SERVFAIL))
    if query.serial is not None and incremental and not (over_tcp and is_newer(zone.serial, query.serial)):
        # RFC 1995, 2: the SOA alone says "you have it all", and over UDP "come over TCP" where the serial is news.
        return _only(query, Reply(Rcode.NOERROR, answer=(zone.soa,), authoritative=True))
    return Rcode.NOERROR, _messages(zone, query)


def _only(query: Query, reply: Reply) -> tuple[Rcode, Iterable[bytes]]:
    return Rcode(reply.rcode), (write_reply(query, reply, PLAIN_UDP_LIMIT),)


def _messages(zone: Zone, query: Query) -> Iterator[bytes]:
    """SOA, everything else, SOA; each record whole, as many a message as fit."""
    question = pack_question(query.question)
    opt = b"" if query.payload is None else pack_opt(Rcode.NOERROR, dnssec_ok=query.dnssec_ok)
    start = HEADER.size + len(question)
    places = places_of(query.question.name)
    flags = RD if query.recursion_desired else 0

    def message(batch: list[RRset]) -> bytes:
        body = render(Reply(Rcode.NOERROR, answer=tuple(batch), authoritative=True), start, places)
        return query.id.to_bytes(2, "big") + assemble(body, question, flags, 2 * MESSAGE_OCTETS, opt)

    batch: list[RRset] = []
    room = MESSAGE_OCTETS - start - len(opt)
    page = Page(start, places)
    for one, record in _records(zone):
        page.write(one.name, one.kind, one.ttl, record)
        if batch and len(page.octets) > room:
            yield message(batch)
            batch, page = [], Page(start, places)
            page.write(one.name, one.kind, one.ttl, record)
        batch.append(one)
    yield message(batch)


def _records(zone: Zone) -> Iterator[tuple[RRset, Record]]:
    """Each record as a set of its own, with the SOA first and last."""
    for rrset in (zone.soa, *zone.rrsets, zone.soa):
        for record in rrset.records:
            yield RRset(rrset.name, rrset.kind, rrset.ttl, (record,)), record
