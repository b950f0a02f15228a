"""The zone of one cluster: an immutable value that names can be looked up in.

Owns which names a cluster has and what stands at them. Must not know packets, sockets, or where members come from.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from srv.names import NAME_CHARACTERS, canonical, is_host_label, is_within
from srv.records import TTL_LIMIT, AddressRecord, Kind, NameRecord, Record, RRset, SoaRecord, SrvRecord, TextRecord

SERVICES = ("_mysql._tcp", "_mysqlx._tcp")
NAMESERVER_LABEL = "ns"
PRIORITY_LIMIT = 100  # Connector/Python refuses an X Protocol priority above it
DEFAULT_WEIGHT = 100  # all alike; the number leaves room below and above
WEIGHT_LIMIT = PORT_LIMIT = 65535  # 16 bits (RFC 2782)
SERIAL_MODULUS = 2**32
# seconds; while the primary moves its name is empty for some milliseconds, which no cache should keep alive for long
NEGATIVE_TTL = 1
# For secondaries, in seconds. They hear of changes by NOTIFY. One that misses all of them asks after REFRESH: records
# that are good for 5 s must not lag for long, and one small question in 20 s is nothing even for a thousand zones. A
# transfer that failed (roles withheld) is tried again after RETRY. EXPIRE is how long a secondary goes on with the last
# roles that it heard of while we withhold them or are gone: KEEP_ROLES, for which we believe in them ourselves, and a
# minute for a restart of ours. After that it answers SERVFAIL, as we do.
KEEP_ROLES = 30.0
REFRESH, RETRY, EXPIRE = 20, 5, round(KEEP_ROLES) + 60
SERIAL_HALF = 2**31

# At each service name, with one empty string, the least that a TXT record may have (RFC 1035, 3.3.14). It is why a name
# exists while nobody stands there, at a secondary too: a set without records cannot be transferred.
PLACEHOLDER = (TextRecord(""),)


class Part(Enum):
    """The role names, by their label between the service and the cluster's domain."""

    PRIMARY = "primary"
    REPLICAS = "replicas"


@dataclass(frozen=True, slots=True)
class ZoneMember:
    """One member to publish. Its target is `<label>.<domain>`; a port is None where the protocol is not offered."""

    label: str
    addresses: tuple[str, ...]
    classic_port: int | None
    x_port: int | None
    parts: frozenset[Part] = frozenset()
    priority: int = 0
    weight: int = DEFAULT_WEIGHT

    def __post_init__(self) -> None:
        if not is_host_label(self.label):
            raise ValueError(f"member label {self.label!r}: letters, digits and inner hyphens only, 63 at most")
        if self.label.lower() == NAMESERVER_LABEL:
            raise ValueError(f"member label {self.label!r} is taken by the name server; choose another")
        if not self.addresses:
            raise ValueError(f"member {self.label!r} has no address")
        if not 0 <= self.priority <= PRIORITY_LIMIT:
            raise ValueError(f"member {self.label!r}: priority {self.priority} is not between 0 and {PRIORITY_LIMIT}")
        if not 0 <= self.weight <= WEIGHT_LIMIT:
            raise ValueError(f"member {self.label!r}: weight {self.weight} is not between 0 and {WEIGHT_LIMIT}")
        for port in (self.classic_port, self.x_port):
            if port is not None and not 0 < port <= PORT_LIMIT:
                raise ValueError(f"member {self.label!r}: port {port} is not between 1 and {PORT_LIMIT}")


@dataclass(frozen=True, slots=True)
class Found:
    """The name has records of the type (of any type, where ANY was asked)."""

    rrset: RRset


@dataclass(frozen=True, slots=True)
class NoData:
    """The name exists, without records of the type."""


@dataclass(frozen=True, slots=True)
class NxDomain:
    """The name does not exist in the zone."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """What stands at the name is not known yet. Neither an answer nor an empty one."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """The name lies outside the zone."""


Standing = Found | NoData | NxDomain | Withheld | Foreign


@dataclass(frozen=True, slots=True)
class Zone:
    """Names and their records under one origin, at one serial. Compares by its content."""

    origin: str
    soa: RRset
    rrsets: tuple[RRset, ...]  # without the SOA
    withheld: frozenset[str] = frozenset()
    _at: Mapping[tuple[str, int], RRset] = field(init=False, repr=False, compare=False, default_factory=dict)
    _names: frozenset[str] = field(init=False, repr=False, compare=False, default=frozenset())

    def __post_init__(self) -> None:
        everything = (self.soa, *self.rrsets)
        at = {(rrset.name, int(rrset.kind)): rrset for rrset in everything}
        if len(at) != len(everything):
            raise ValueError(f"zone {self.origin}: two RRsets have one name and type")
        owners = {rrset.name for rrset in everything} | self.withheld
        if outside := sorted(name for name in owners if not is_within(name, self.origin)):
            raise ValueError(f"zone {self.origin}: {outside[0]} lies outside")
        object.__setattr__(self, "_at", at)
        object.__setattr__(self, "_names", frozenset(_with_parents(owners, self.origin)))

    @property
    def names(self) -> frozenset[str]:
        """Every name that exists, those without records and those withheld among them."""
        return self._names

    @property
    def serial(self) -> int:
        """The SOA's serial number."""
        return self._soa_record.serial

    @property
    def negative_ttl(self) -> int:
        """How long a negative answer may be kept, in seconds (RFC 2308, 5)."""
        return min(self.soa.ttl, self._soa_record.minimum)

    @property
    def _soa_record(self) -> SoaRecord:
        record = self.soa.records[0]
        assert isinstance(record, SoaRecord)  # noqa: S101 - build_zone() is the only source
        return record

    def lookup(self, name: str, kind: int) -> Standing:
        """Say what stands at a name, whatever its case; `kind` is any type's number."""
        name = name.lower()
        if not is_within(name, self.origin):
            return Foreign()
        if name in self.withheld:
            return Withheld()
        if name not in self._names:
            return NxDomain()
        rrset = self._at.get((name, kind))
        return Found(rrset) if rrset is not None else NoData()

    def rrsets_at(self, name: str) -> tuple[RRset, ...]:
        """Every RRset at the name, for a query of type ANY."""
        found = (self._at.get((name.lower(), int(kind))) for kind in Kind)
        return tuple(rrset for rrset in found if rrset is not None)

    def addresses_of(self, name: str) -> tuple[RRset, ...]:
        """The A and AAAA sets of a target, to go along with an answer."""
        found = (self._at.get((name.lower(), int(kind))) for kind in (Kind.A, Kind.AAAA))
        return tuple(rrset for rrset in found if rrset is not None)

    def after(self, previous: Zone) -> Zone:
        """Return what to serve next: `previous` if nothing differs, else this with the serial that follows it."""
        if (self.origin, self.rrsets, self.withheld) == (previous.origin, previous.rrsets, previous.withheld):
            return previous
        soa = replace(self._soa_record, serial=next_serial(previous.serial))
        return replace(self, soa=replace(self.soa, records=(soa,)))


def is_newer(serial: int, than: int) -> bool:
    """Whether a serial comes after another (RFC 1982, 3.2)."""
    return 0 < (serial - than) % SERIAL_MODULUS < SERIAL_HALF


def next_serial(serial: int) -> int:
    """The serial that follows (RFC 1982); never 0, which some servers read as "none"."""
    return (serial + 1) % SERIAL_MODULUS or 1


def service_names(domain: str) -> dict[tuple[str, Part | None], str]:
    """Every SRV name of a cluster by service and part; None stands for all members."""
    parts: tuple[Part | None, ...] = (None, *Part)
    return {
        (service, part): f"{service}.{part.value}.{domain}" if part else f"{service}.{domain}"
        for service in SERVICES
        for part in parts
    }


def build_zone(
    domain: str,
    members: Iterable[ZoneMember],
    *,
    serial: int,
    ttl: int = 5,
    nameserver_addresses: tuple[str, ...] = (),
    withhold_parts: bool = False,
    withhold_all: bool = False,
) -> Zone:
    """Lay out a cluster's names.

    Args:
        domain: the cluster's domain, the zone's origin.
        members: who to publish. The order does not matter.
        serial: the SOA serial, for a first zone; see `Zone.after`.
        ttl: seconds, for all records; negative answers are kept for `NEGATIVE_TTL` at most.
        nameserver_addresses: where the zone is served, for `ns.<domain>`.
        withhold_parts: the roles are not known yet: their names are to be answered by SERVFAIL, not by an empty set.
        withhold_all: nothing is known of the cluster: the same for all its SRV names.

    Raises:
        ValueError: an impossible domain, TTL or address, two members with one label, or a name too long for DNS.
    """
    origin = canonical(domain)
    if not 0 < ttl <= TTL_LIMIT:
        raise ValueError(f"TTL {ttl} is not between 1 and {TTL_LIMIT} seconds")
    if not 0 <= serial < SERIAL_MODULUS:
        raise ValueError(f"serial {serial} does not fit 32 bits")
    published = sorted(members, key=lambda member: member.label.lower())
    labels = [member.label.lower() for member in published]
    if doubled := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"two members are labelled {doubled[0]!r}")
    nameserver, mailbox = f"{NAMESERVER_LABEL}.{origin}", f"hostmaster.{origin}"
    targets = [f"{label}.{origin}" for label in labels]
    longest = max(nameserver, mailbox, *service_names(origin).values(), *targets, key=len)
    if (excess := len(longest) - NAME_CHARACTERS) > 0:
        raise ValueError(
            f"{longest!r} is longer than the {NAME_CHARACTERS} characters that a name may have; the domain, or what"
            f" stands before it, must be {excess} shorter"
        )
    soa = SoaRecord(nameserver, mailbox, serial, REFRESH, RETRY, EXPIRE, min(ttl, NEGATIVE_TTL))
    rrsets = [
        RRset(origin, Kind.NS, ttl, (NameRecord(nameserver),)),
        *_address_sets(nameserver, nameserver_addresses, ttl),
    ]
    withheld = {name for (_, part), name in service_names(origin).items() if withhold_all or (part and withhold_parts)}
    for (service, part), name in service_names(origin).items():
        if name not in withheld:
            rrsets.append(RRset(name, Kind.TXT, ttl, PLACEHOLDER))
            if records := _srv_records(published, service, part, origin):
                rrsets.append(RRset(name, Kind.SRV, ttl, records))
    for member, target in zip(published, targets, strict=True):
        rrsets.extend(_address_sets(target, member.addresses, ttl))
    return Zone(origin, RRset(origin, Kind.SOA, ttl, (soa,)), tuple(rrsets), frozenset(withheld))


def _srv_records(members: list[ZoneMember], service: str, part: Part | None, origin: str) -> tuple[Record, ...]:
    return tuple(
        SrvRecord(member.priority, member.weight, port, f"{member.label.lower()}.{origin}")
        for member in members
        if (port := member.classic_port if service == SERVICES[0] else member.x_port) is not None
        and (part is None or part in member.parts)
    )


def _address_sets(name: str, addresses: Iterable[str], ttl: int) -> list[RRset]:
    by_kind: dict[Kind, set[AddressRecord]] = {Kind.A: set(), Kind.AAAA: set()}
    for text in addresses:
        address = ipaddress.ip_address(text)
        by_kind[Kind.A if address.version == 4 else Kind.AAAA].add(AddressRecord(str(address)))
    return [RRset(name, kind, ttl, tuple(sorted(found))) for kind, found in by_kind.items() if found]


def _with_parents(names: Iterable[str], origin: str) -> Iterable[str]:
    """The names and the empty non-terminals between them and the origin (RFC 4592, 2.2.2)."""
    for name in names:
        while name != origin:
            yield name
            name = name.partition(".")[2]
    yield origin
