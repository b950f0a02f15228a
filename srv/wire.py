"""DNS messages on the wire: bytes to plain values and back. The one import site of dnspython.

Owns encoding and decoding. Must not know sockets, nor what the right answer to a question is.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from functools import lru_cache

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.NS
import dns.rdtypes.ANY.SOA
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.SRV
import dns.rrset

from srv.names import spell
from srv.records import AddressRecord, Kind, NameRecord, Rcode, Record, RRset, SoaRecord, SrvRecord

HEADER = struct.Struct("!HHHHHH")
IN = int(dns.rdataclass.IN)
QR, AA, TC, RD = 0x8000, 0x0400, 0x0200, 0x0100
OPCODE_QUERY = 0
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
    """A standard query with one question. `payload` is None where the asker does not speak EDNS."""

    id: int
    question: Question
    recursion_desired: bool
    payload: int | None = None
    edns_version: int = 0


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
    identity, flags, questions, _, _, _ = HEADER.unpack_from(wire)
    return Header(identity, flags, questions)


def read_query(wire: bytes) -> Query:
    """Read a standard query; the caller has looked at the header first.

    Raises:
        MalformedError: it is something else.
    """
    message = _parsed(wire)
    question = _question(message)
    has_edns = message.edns >= 0
    return Query(
        id=message.id,
        question=question,
        recursion_desired=bool(message.flags & dns.flags.RD),
        payload=message.payload if has_edns else None,
        edns_version=max(message.edns, 0),
    )


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


def write_reply(query: Query, reply: Reply, limit: int) -> bytes:
    """Write a response of at most `limit` octets.

    What does not fit is left out, whole RRsets at a time; the TC bit tells of it where answers or authority are
    missing, not where only additional records are (RFC 2181, 9).
    """
    message = dns.message.QueryMessage(id=query.id)
    flags = dns.flags.QR
    if query.recursion_desired:
        flags |= dns.flags.RD
    if reply.authoritative:
        flags |= dns.flags.AA
    message.flags = flags
    message.question = [_question_rrset(query.question)]
    message.answer = [_rrset(rrset) for rrset in reply.answer]
    message.authority = [_rrset(rrset) for rrset in reply.authority]
    message.additional = [_rrset(rrset) for rrset in reply.additional]
    if query.payload is not None:
        message.use_edns(0, payload=UDP_PAYLOAD)
    message.set_rcode(dns.rcode.Rcode.make(reply.rcode))
    return message.to_wire(max_size=limit, prefer_truncation=True)


def write_bare_reply(header: Header, rcode: Rcode) -> bytes:
    """Write a response without a question, to a message that was understood no further than its header."""
    return HEADER.pack(header.id, QR | (header.flags & (0x7800 | RD)) | rcode, 0, 0, 0, 0)


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


@lru_cache(maxsize=4096)  # RRsets; a large zone has some hundreds, and is written again for every query
def _rrset(rrset: RRset) -> dns.rrset.RRset:
    rdtype = dns.rdatatype.RdataType.make(int(rrset.kind))
    rdatas = []
    for record in rrset.records:
        data = _data(record)
        rdatas.append(dns.rdata.from_wire(dns.rdataclass.IN, rdtype, data, 0, len(data)))
    return dns.rrset.from_rdata_list(_name(rrset.name), rrset.ttl, rdatas)


def _data(record: Record) -> bytes:
    match record:
        case SrvRecord(priority, weight, port, target):
            return struct.pack("!HHH", priority, weight, port) + _name_data(target)
        case AddressRecord(address):
            return ipaddress.ip_address(address).packed
        case NameRecord(target):
            return _name_data(target)
        case SoaRecord():
            times = (record.serial, record.refresh, record.retry, record.expire, record.minimum)
            return _name_data(record.primary_server) + _name_data(record.mailbox) + struct.pack("!IIIII", *times)


def _name_data(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in _name(text).labels)


def _rrsets(section: list[dns.rrset.RRset]) -> tuple[RRset, ...]:
    known = []
    for rrset in section:
        if int(rrset.rdclass) == IN and int(rrset.rdtype) in Kind._value2member_map_:
            records = tuple(record for rdata in rrset if (record := _record(rdata)) is not None)
            known.append(RRset(spell(rrset.name.labels).lower(), Kind(int(rrset.rdtype)), rrset.ttl, records))
    return tuple(known)


def _record(rdata: dns.rdata.Rdata) -> Record | None:
    match rdata:
        case dns.rdtypes.IN.SRV.SRV():
            return SrvRecord(rdata.priority, rdata.weight, rdata.port, spell(rdata.target.labels).lower())
        case dns.rdtypes.IN.A.A() | dns.rdtypes.IN.AAAA.AAAA():
            return AddressRecord(rdata.address)
        case dns.rdtypes.ANY.NS.NS() | dns.rdtypes.ANY.CNAME.CNAME():
            return NameRecord(spell(rdata.target.labels).lower())
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
