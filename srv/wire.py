"""DNS messages on the wire: bytes to plain values and back. With `signed`, the only one that knows dnspython.

Owns decoding. Must not know sockets, nor what the right answer to a question is. Responses are written by `replies`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.NS
import dns.rdtypes.ANY.SOA
import dns.rdtypes.ANY.TXT
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.SRV
import dns.rrset

from srv.names import LABEL_OCTETS, spell
from srv.records import AddressRecord, Kind, NameRecord, Rcode, Record, RRset, SoaRecord, SrvRecord, TextRecord

HEADER = struct.Struct("!HHHHHH")
IN = int(dns.rdataclass.IN)
QR, AA, TC, RD = 0x8000, 0x0400, 0x0200, 0x0100
OPCODE_QUERY = 0
NAME_OCTETS = 255  # RFC 1035, 2.3.4
# Of an honest query: it has one name, perhaps an SOA, OPT and a signature. Reading 64 KiB of records takes 100 ms.
QUERY_OCTETS, QUERY_RECORDS = 4096, 8
MESSAGE_LIMIT = 65535  # octets; the length prefix of DNS over TCP has 16 bits
PLAIN_UDP_LIMIT = 512  # octets; RFC 1035, 4.2.1
# octets; the EDNS payload that fits an IPv6 packet of 1280 and is never fragmented (DNS Flag Day 2020)
UDP_PAYLOAD = 1232


class MalformedError(Exception):
    """The peer's bytes are not a DNS message."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first twelve octets, which can be answered even where the rest cannot be read."""

    id: int
    flags: int
    questions: int
    records: int  # of the other three sections

    @property
    def is_response(self) -> bool:
        """The QR bit."""
        return bool(self.flags & QR)

    @property
    def opcode(self) -> int:
        """0 is a standard query."""
        return (self.flags >> 11) & 0xF


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked. `name` keeps the asker's case, since some check that it comes back (DNS 0x20)."""

    name: str
    kind: int
    rdclass: int = IN


@dataclass(frozen=True, slots=True)
class Query:
    """A standard query with one question. `payload` is None where the asker does not speak EDNS.

    `dnssec_ok` is the DO bit, `serial` what the asker of an incremental transfer has (RFC 1995, 3), `is_signed` whether
    there is a TSIG record, which is not checked here.
    """

    id: int
    question: Question
    recursion_desired: bool
    payload: int | None = None
    edns_version: int = 0
    dnssec_ok: bool = False
    serial: int | None = None
    is_signed: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A response. Of the record types that we do not know nothing is kept."""

    rcode: int
    answer: tuple[RRset, ...] = ()
    authority: tuple[RRset, ...] = ()
    additional: tuple[RRset, ...] = ()
    authoritative: bool = False
    truncated: bool = False


def read_header(wire: bytes) -> Header:
    """Read the first twelve octets.

    Raises:
        MalformedError: there are fewer.
    """
    if len(wire) < HEADER.size:
        raise MalformedError(f"{len(wire)} octets are too few for a header")
    identity, flags, questions, *records = HEADER.unpack_from(wire)
    return Header(identity, flags, questions, sum(records))


def read_query(wire: bytes) -> Query:
    """Read a standard query; the caller has looked at the header first, which says that it is one.

    Raises:
        MalformedError: it is something else, or longer than a query has reason to be.
    """
    if len(wire) > QUERY_OCTETS:
        raise MalformedError(f"{len(wire)} octets are too many for a query")
    header = read_header(wire)
    if header.records > QUERY_RECORDS:
        raise MalformedError(f"{header.records} records are too many for a query")
    message = _parsed(wire)
    question = _question(message)
    has_edns = message.edns >= 0
    return Query(
        id=message.id,
        question=question,
        recursion_desired=bool(message.flags & dns.flags.RD),
        payload=message.payload if has_edns else None,
        edns_version=max(message.edns, 0),
        dnssec_ok=has_edns and bool(message.ednsflags & dns.flags.DO),
        serial=next((soa.serial for soa in _records(message.authority) if isinstance(soa, SoaRecord)), None),
        is_signed=message.had_tsig,
    )


def name_end(wire: bytes) -> int | None:
    """Where the question's name ends, or nothing where it is not spelled out plainly: there is none to point to."""
    at = HEADER.size
    while at < len(wire):
        length = wire[at]
        at += length + 1
        if length == 0:
            return at if at - HEADER.size <= NAME_OCTETS else None
        if length > LABEL_OCTETS:
            return None
    return None


def read_reply(wire: bytes, query: Query) -> Reply | None:
    """Read a response to a query of ours, or None where it answers something else.

    Of a truncated one only the header and the question are read: the rest may end in the middle of a record.

    Raises:
        MalformedError: it bears the query's number and cannot be read.
    """
    if len(wire) < 2 or struct.unpack_from("!H", wire)[0] != query.id:
        return None
    header = read_header(wire)
    if not header.is_response or header.opcode != OPCODE_QUERY:
        return None
    truncated = bool(header.flags & TC)
    message = _parsed(wire, question_only=truncated)
    rcode = int(message.rcode())
    # A server that could not read the question may leave it out (RFC 1035, 4.1.1); nobody else may.
    if header.questions == 0 and rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return Reply(rcode)
    if not _same(_question(message), query.question):
        return None
    return Reply(
        rcode=rcode,
        answer=_rrsets(message.answer),
        authority=_rrsets(message.authority),
        additional=_rrsets(message.additional),
        authoritative=bool(message.flags & dns.flags.AA),
        truncated=truncated,
    )


def write_query(query: Query) -> bytes:
    """Write a query."""
    message = dns.message.QueryMessage(id=query.id)
    message.flags = dns.flags.Flag(dns.flags.RD if query.recursion_desired else 0)
    message.question = [_question_rrset(query.question)]
    if query.payload is not None:
        message.use_edns(query.edns_version, payload=query.payload)
    return message.to_wire()


def _parsed(wire: bytes, *, question_only: bool = False) -> dns.message.Message:
    try:
        # Signatures are read over, never relied upon.
        return dns.message.from_wire(wire, keyring=False, question_only=question_only, ignore_trailing=question_only)
    except dns.exception.DNSException as exc:
        raise MalformedError(f"not a DNS message: {exc}") from exc
    except ValueError as exc:  # dnspython lets some of the values' own complaints through
        raise MalformedError(f"not a DNS message: {exc}") from exc


def _question(message: dns.message.Message) -> Question:
    if len(message.question) != 1:
        raise MalformedError(f"{len(message.question)} questions instead of one")
    asked = message.question[0]
    return Question(spell(asked.name.labels), int(asked.rdtype), int(asked.rdclass))


def _same(one: Question, other: Question) -> bool:
    return (one.name.lower(), one.kind, one.rdclass) == (other.name.lower(), other.kind, other.rdclass)


def _question_rrset(question: Question) -> dns.rrset.RRset:
    rdclass = dns.rdataclass.RdataClass.make(question.rdclass)
    return dns.rrset.RRset(_name(question.name), rdclass, dns.rdatatype.RdataType.make(question.kind))


def _name(text: str) -> dns.name.Name:
    return dns.name.from_text(text)


def _rrsets(section: list[dns.rrset.RRset]) -> tuple[RRset, ...]:
    known = []
    for rrset in section:
        if int(rrset.rdclass) == IN and int(rrset.rdtype) in Kind._value2member_map_:
            records = tuple(record for rdata in rrset if (record := _record(rdata)) is not None)
            known.append(RRset(spell(rrset.name.labels).lower(), Kind(int(rrset.rdtype)), rrset.ttl, records))
    return tuple(known)


def _records(section: list[dns.rrset.RRset]) -> tuple[Record, ...]:
    return tuple(record for rrset in _rrsets(section) for record in rrset.records)


def _record(rdata: dns.rdata.Rdata) -> Record | None:
    match rdata:
        case dns.rdtypes.IN.SRV.SRV():
            return SrvRecord(rdata.priority, rdata.weight, rdata.port, spell(rdata.target.labels).lower())
        case dns.rdtypes.IN.A.A() | dns.rdtypes.IN.AAAA.AAAA():
            return AddressRecord(rdata.address)
        case dns.rdtypes.ANY.NS.NS() | dns.rdtypes.ANY.CNAME.CNAME():
            return NameRecord(spell(rdata.target.labels).lower())
        case dns.rdtypes.ANY.TXT.TXT():
            return TextRecord(b"".join(rdata.strings).decode("latin-1"))
        case dns.rdtypes.ANY.SOA.SOA():
            return SoaRecord(
                spell(rdata.mname.labels).lower(),
                spell(rdata.rname.labels).lower(),
                rdata.serial,
                rdata.refresh,
                rdata.retry,
                rdata.expire,
                rdata.minimum,
            )
        case _:
            return None
