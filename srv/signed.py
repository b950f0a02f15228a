"""Signed DNS messages (TSIG, RFC 8945): updates and questions to bytes, and what comes back to plain values.

Owns signatures and the form of updates (RFC 2136). Must not know sockets, nor what is to be changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import dns.exception
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update

from srv.names import ROOT
from srv.records import AddressRecord, Record, RRset, SrvRecord
from srv.wire import MESSAGE_LIMIT, MalformedError, Query, Reply, read_header, read_reply, write_query

FUDGE = 300  # seconds by which the two clocks may differ; what RFC 8945, 10 recommends
NOERROR, NXDOMAIN = int(dns.rcode.NOERROR), int(dns.rcode.NXDOMAIN)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A TSIG key; the name is canonical, the algorithm as `hmac-sha256`."""

    name: str
    algorithm: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Signed:
    """A message to send, its number, and its signature, which the answer's covers."""

    wire: bytes
    id: int
    mac: bytes = field(repr=False)


class SignatureError(Exception):
    """A signature was not accepted, ours by the server or the server's by us; the class says which and why."""


class BadKeyError(SignatureError):
    """The server does not know the key."""


class BadSignatureError(SignatureError):
    """The server finds another signature than ours: another secret, or another algorithm."""


class BadTimeError(SignatureError):
    """The two clocks differ by more than `FUDGE`."""


class OversizeError(Exception):
    """It does not fit into one message."""


class UnsignedError(SignatureError):
    """The answer says that all is well, and nobody signed it, or it is signed wrongly."""


# Most specific first: `Peer…` are what the server says of our signature, the others what is wrong with its own.
_FAULTS: dict[type[dns.exception.DNSException], type[SignatureError]] = {
    dns.tsig.PeerBadKey: BadKeyError,
    dns.tsig.PeerBadTime: BadTimeError,
    dns.tsig.PeerError: BadSignatureError,
    dns.tsig.BadTime: BadTimeError,
    dns.tsig.BadKey: UnsignedError,
    dns.tsig.BadAlgorithm: UnsignedError,
    dns.tsig.BadSignature: UnsignedError,
}


def sign_query(query: Query, key: SigningKey) -> Signed:
    """Write a question, signed, so that a server which picks its view by key shows the one that it updates."""
    return _signed(dns.message.from_wire(write_query(query)), key)


def sign_update(identity: int, zone: str, changes: Iterable[RRset], key: SigningKey) -> Signed:
    """Write an update that replaces whole RRsets; those without records are deleted (RFC 2136, 2.5.2 and 2.5.1).

    The server makes all of it or nothing. No prerequisites: the last one to say what is wanted is right.

    Args:
        identity: the message's number.
        zone: the zone that the server is to change.
        changes: SRV, A and AAAA sets.
        key: signs it.

    Raises:
        OversizeError: one message has no room for it.
    """
    message = dns.update.UpdateMessage(_absolute(zone), id=identity)
    for change in changes:
        name, kind = _absolute(change.name), dns.rdatatype.RdataType.make(int(change.kind))
        message.delete(name, kind)
        for record in change.records:
            message.add(name, change.ttl, kind, _text(record))
    return _signed(message, key)


def read_signed_reply(wire: bytes, query: Query, signed: Signed, key: SigningKey) -> Reply | None:
    """Read the response to a signed question, or None where it answers something else.

    A bare refusal may come unsigned (RFC 8945, 5.3.2).

    Raises:
        MalformedError: it bears the question's number and cannot be read.
        SignatureError: see there.
    """
    if not _is_for(wire, signed):
        return None
    _verify(wire, signed, key)
    return read_reply(wire, query)


def read_update_reply(wire: bytes, signed: Signed, key: SigningKey) -> int | None:
    """Read the response code for an update, or None where it answers something else.

    Raises:
        MalformedError: it bears the update's number and cannot be read.
        SignatureError: see there.
    """
    if not _is_for(wire, signed) or read_header(wire).opcode != dns.opcode.UPDATE:
        return None
    return _verify(wire, signed, key)


def _signed(message: dns.message.Message, key: SigningKey) -> Signed:
    message.use_tsig(_tsig_key(key), fudge=FUDGE)
    try:
        wire = message.to_wire(max_size=MESSAGE_LIMIT)
    except dns.exception.TooBig as exc:
        raise OversizeError(f"more than {MESSAGE_LIMIT} octets") from exc
    return Signed(wire, message.id, message.mac or b"")


@lru_cache(maxsize=16)  # keys; a process has one or two
def _tsig_key(key: SigningKey) -> dns.tsig.Key:
    return dns.tsig.Key(_absolute(key.name), key.secret, key.algorithm)


def _is_for(wire: bytes, signed: Signed) -> bool:
    header = read_header(wire)
    return header.is_response and header.id == signed.id


def _verify(wire: bytes, signed: Signed, key: SigningKey) -> int:
    """Return the response code of what the key has signed, or of a refusal that nobody has signed."""
    try:
        return int(dns.message.from_wire(wire, keyring=_tsig_key(key), request_mac=signed.mac).rcode())
    except tuple(_FAULTS) as exc:
        raise next(fault for cause, fault in _FAULTS.items() if isinstance(exc, cause)) from exc
    except (dns.exception.DNSException, ValueError) as exc:  # dnspython lets values' own complaints through
        rcode = _unsigned_rcode(wire)
        if rcode is None:
            raise MalformedError(f"not a DNS message: {exc}") from exc
        if rcode in (NOERROR, NXDOMAIN):
            raise UnsignedError from exc
        return rcode


def _unsigned_rcode(wire: bytes) -> int | None:
    """The response code of a readable message without a signature."""
    try:
        message = dns.message.from_wire(wire, keyring=False)
    except (dns.exception.DNSException, ValueError):
        return None
    return None if message.had_tsig else int(message.rcode())


def _absolute(name: str) -> str:
    return name if name == ROOT else f"{name}."


def _text(record: Record) -> str:
    """The record's data as in a zone file."""
    match record:
        case SrvRecord(priority, weight, port, target):
            return f"{priority} {weight} {port} {_absolute(target)}"
        case AddressRecord(address):
            return address
        case other:
            raise ValueError(f"{type(other).__name__}: only SRV, A and AAAA are sent")
