"""Resource records as plain values. Owns their shapes; must not know packets, zones or any DNS library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

TTL_LIMIT = 2**31 - 1  # seconds; RFC 2181, 8


class Kind(IntEnum):
    """The record types that we publish or read, by their numbers on the wire."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    AAAA = 28
    SRV = 33
    TXT = 16


class Rcode(IntEnum):
    """Response codes (RFC 1035, 4.1.1; RFC 2136, 2.2; RFC 6891, 9)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    NOTAUTH = 9
    BADVERS = 16


@dataclass(frozen=True, slots=True, order=True)
class SrvRecord:
    """RFC 2782. `target` is a canonical name, or "." where the service is decidedly not available."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True, slots=True, order=True)
class AddressRecord:
    """The data of an A or AAAA record, in the usual text form."""

    address: str


@dataclass(frozen=True, slots=True, order=True)
class NameRecord:
    """The data of a record that is just a name: NS or CNAME."""

    target: str


@dataclass(frozen=True, slots=True, order=True)
class SoaRecord:
    """RFC 1035, 3.3.13. Times are seconds; `minimum` is how long a negative answer may be kept (RFC 2308)."""

    primary_server: str
    mailbox: str
    serial: int
    refresh: int
    retry: int
    expire: int
    minimum: int


@dataclass(frozen=True, slots=True, order=True)
class TextRecord:
    """The data of a TXT record: at most 255 characters, each standing for one octet."""

    text: str


Record = SrvRecord | AddressRecord | NameRecord | SoaRecord | TextRecord


@dataclass(frozen=True, slots=True)
class RRset:
    """All records of one name and type. Only where a set is to be deleted (`update_plan`) it has none."""

    name: str
    kind: Kind
    ttl: int  # seconds
    records: tuple[Record, ...]
