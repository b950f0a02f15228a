"""Responses on the wire: plain values to bytes, written by hand since a library takes ten times as long.

Owns encoding, name compression and truncation. Must not know sockets, nor what the right answer to a question is.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from srv.names import ROOT
from srv.records import AddressRecord, Kind, NameRecord, Rcode, Record, RRset, SoaRecord, SrvRecord, TextRecord
from srv.wire import AA, HEADER, IN, QR, RD, TC, UDP_PAYLOAD, Header, Query, Question, Reply, name_end, read_header

OPT_KIND = 41
DNSSEC_OK = 0x8000  # in the OPT record's flags (RFC 3225, 3)
POINTER_REACH = 0x3FFF  # octets from a message's beginning that a pointer can name (RFC 1035, 4.1.4)
POINTER = 0xC000

_BEHIND_ID = struct.Struct("!HHHHH")
_QUESTION_END = struct.Struct("!HH")
_FIXED = struct.Struct("!HHIH")
_SRV = struct.Struct("!HHH")
_SOA_NUMBERS = struct.Struct("!IIIII")


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a message may be cut: behind an RRset. `octets` of the sections, and how many records those are."""

    octets: int
    answers: int
    authorities: int
    additionals: int


@dataclass(frozen=True, slots=True)
class Body:
    """All that stands behind the question.

    `essential` is the mark that a message must reach to be whole: additional records may be missing (RFC 2181, 9).
    """

    rcode: int
    authoritative: bool
    sections: bytes
    marks: tuple[Mark, ...]
    essential: Mark


def pack_name(name: str) -> bytes:
    """Write a name, whatever its case, without compression; `names` says how octets are spelled."""
    if name == ROOT:
        return b"\0"
    if "\\" in name:
        return b"".join(map(_pack_label, name.split("."))) + b"\0"
    octets = bytearray()
    for label in name.encode("ascii").split(b"."):
        octets.append(len(label))
        octets += label
    return bytes(octets) + b"\0"


def pack_question(question: Question) -> bytes:
    """Write the question section."""
    return pack_name(question.name) + _QUESTION_END.pack(question.kind, question.rdclass)


def places_of(name: str) -> dict[str, int]:
    """The question's name and those that it ends with, by where in the message each begins."""
    places: dict[str, int] = {}
    rest, at = name.lower(), HEADER.size
    while rest and rest != ROOT:
        places[rest] = at
        label, _, rest = rest.partition(".")
        at += len(_pack_label(label))
    return places


class Page:
    """Records as they are written, one behind the other.

    Args:
        start: octets of the message before the first record.
        places: names that stand there already, see `places_of`.
    """

    def __init__(self, start: int, places: Mapping[str, int]) -> None:
        self.octets = bytearray()
        self._start = start
        self._places = dict(places)

    def write(self, name: str, kind: Kind, ttl: int, record: Record) -> None:
        """Add one record."""
        self._write_name(name)
        self.octets += _FIXED.pack(kind, IN, ttl, 0)
        before = len(self.octets)
        self._write_data(record)
        struct.pack_into("!H", self.octets, before - 2, len(self.octets) - before)

    def write_set(self, rrset: RRset) -> int:
        """Add a set's records, and return how many they are."""
        for record in rrset.records:
            self.write(rrset.name, rrset.kind, rrset.ttl, record)
        return len(rrset.records)

    def _write_name(self, name: str) -> None:
        rest = "" if name == ROOT else name
        while rest:
            place = self._places.get(rest)
            if place is not None:
                self.octets += (POINTER | place).to_bytes(2, "big")
                return
            here = self._start + len(self.octets)
            if here <= POINTER_REACH:
                self._places[rest] = here
            label, _, rest = rest.partition(".")
            self.octets += _pack_label(label)
        self.octets.append(0)

    def _write_data(self, record: Record) -> None:
        match record:
            case SrvRecord(priority, weight, port, target):
                # RFC 2782: the target is not compressed.
                self.octets += _SRV.pack(priority, weight, port) + pack_name(target)
            case AddressRecord(address):
                self.octets += _pack_address(address)
            case NameRecord(target):
                self._write_name(target)
            case SoaRecord():
                self._write_name(record.primary_server)
                self._write_name(record.mailbox)
                times = (record.refresh, record.retry, record.expire, record.minimum)
                self.octets += _SOA_NUMBERS.pack(record.serial, *times)
            case TextRecord(text):
                octets = text.encode("latin-1")
                self.octets += bytes([len(octets)]) + octets


def render(reply: Reply, start: int, places: Mapping[str, int]) -> Body:
    """Write a reply's sections.

    Args:
        reply: what to say.
        start: octets of header and question.
        places: the names in the question that may be pointed to.
    """
    page = Page(start, places)
    counts = [0, 0, 0]
    marks = [Mark(0, 0, 0, 0)]
    essential = marks[0]
    for which, section in enumerate((reply.answer, reply.authority, reply.additional)):
        for rrset in section:
            counts[which] += page.write_set(rrset)
            marks.append(Mark(len(page.octets), *counts))
        if which == 1:
            essential = marks[-1]
    return Body(reply.rcode, reply.authoritative, bytes(page.octets), tuple(marks), essential)


def assemble(body: Body, question: bytes, flags: int, limit: int, opt: bytes) -> bytes:
    """Join a response of at most `limit` octets, without the two of the id.

    What does not fit is left out, whole RRsets at a time; the TC bit tells of it where answers or authority are
    missing.

    Args:
        body: what stands behind the question.
        question: the question section as it came.
        flags: the query's.
        limit: octets, the id's included.
        opt: the OPT record, or nothing.
    """
    room = limit - HEADER.size - len(question) - len(opt)
    mark = body.marks[-1]
    sections = body.sections
    flags = QR | (flags & RD) | (body.rcode & 0xF)
    if body.authoritative:
        flags |= AA
    if mark.octets > room:
        mark = max((one for one in body.marks if one.octets <= room), key=lambda one: one.octets, default=body.marks[0])
        sections = sections[: mark.octets]
        if mark.octets < body.essential.octets:
            flags |= TC
    counts = (1, mark.answers, mark.authorities, mark.additionals + (1 if opt else 0))
    return _BEHIND_ID.pack(flags, *counts) + question + sections + opt


def pack_opt(rcode: int, *, dnssec_ok: bool) -> bytes:
    """Write our OPT record: the upper bits of the response code, and the DO bit as it came (RFC 3225, 3)."""
    return b"\0" + struct.pack("!HHBBHH", OPT_KIND, UDP_PAYLOAD, rcode >> 4, 0, DNSSEC_OK if dnssec_ok else 0, 0)


def write_reply(query: Query, reply: Reply, limit: int) -> bytes:
    """Write a response of at most `limit` octets; see `assemble` for what does not fit."""
    question = pack_question(query.question)
    body = render(reply, HEADER.size + len(question), places_of(query.question.name))
    opt = b"" if query.payload is None else pack_opt(reply.rcode, dnssec_ok=query.dnssec_ok)
    flags = RD if query.recursion_desired else 0
    return query.id.to_bytes(2, "big") + assemble(body, question, flags, limit, opt)


def write_truncated(query: Query) -> bytes:
    """Write "come over TCP" (TC), which is no longer than the query."""
    opt = b"" if query.payload is None else pack_opt(0, dnssec_ok=query.dnssec_ok)
    flags = QR | TC | (RD if query.recursion_desired else 0)
    head = HEADER.pack(query.id, flags, 1, 0, 0, 1 if opt else 0)
    return head + pack_question(query.question) + opt


def write_bare_reply(header: Header, rcode: Rcode, question: bytes = b"") -> bytes:
    """Write a response to a message that was understood no further than its header, or its question section."""
    flags = QR | (header.flags & (0x7800 | RD)) | rcode
    return HEADER.pack(header.id, flags, 1 if question else 0, 0, 0, 0) + question


def question_of(wire: bytes) -> bytes:
    """The question section of a message that cannot be read further; empty where there is not one whole question."""
    end = name_end(wire)
    if end is None or end + _QUESTION_END.size > len(wire) or read_header(wire).questions != 1:
        return b""
    return wire[HEADER.size : end + _QUESTION_END.size]


def _pack_address(address: str) -> bytes:
    """The octets of an address, which was checked when it came into its zone."""
    if ":" in address:
        return ipaddress.IPv6Address(address).packed
    return bytes(map(int, address.split(".")))  # the library takes ten times as long


def _pack_label(label: str) -> bytes:
    octets = label.encode("ascii") if "\\" not in label else _unescaped(label)
    return bytes([len(octets)]) + octets


def _unescaped(label: str) -> bytes:
    octets = bytearray()
    at = 0
    while at < len(label):
        if label[at] == "\\":
            octets.append(int(label[at + 1 : at + 4]))
            at += 4
        else:
            octets.append(ord(label[at]))
            at += 1
    return bytes(octets)
