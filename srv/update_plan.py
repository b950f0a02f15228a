"""What to change on another name server, so that a cluster's names there are as wanted.

Owns which names there are a cluster's own, and the difference between what is wanted and what stands. Must not know
messages, sockets or time.

A cluster's own are its SRV names, and the addresses of `<label>.<domain>` for its members and for whatever its SRV
names named before. The domain itself and `ns.<domain>` are the server's business, like SOA and NS.

One thing differs from the built-in server: a role that nobody has is a name without records, so it does not exist
there (NXDOMAIN, or NODATA where names lie below it), while the built-in server always answers NODATA.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from srv.names import is_host_label
from srv.records import AddressRecord, Kind, Record, RRset, SrvRecord
from srv.zone import NAMESERVER_LABEL, Zone, build_zone, service_names

Place = tuple[str, Kind]
"""A name and a type: where one RRset may stand."""
Standing = Mapping[Place, RRset]
"""What stands on the server, as far as it was asked. A place that is missing has no records."""

ADDRESS_KINDS = (Kind.A, Kind.AAAA)
# octets of a record besides its names: type, class, TTL and length, an SRV's three numbers or an IPv6 address, and the
# first length and the root of its one or two names
RECORD_OCTETS = 10 + 16 + 4
TOLD = 3  # sets, and records of each, named on a log line of what stands there


def emptied(origin: str) -> Zone:
    """What is wanted of a cluster that is not to be published any more."""
    return build_zone(origin, (), serial=1)


def places_of(zone: Zone, former: Iterable[str] = ()) -> tuple[Place, ...]:
    """Where to look: the SRV names, and the addresses of the zone's members and of `former` targets."""
    services = [(name, Kind.SRV) for name in service_names(zone.origin).values()]
    targets = sorted({rrset.name for rrset in _wanted(zone).values() if rrset.kind in ADDRESS_KINDS} | set(former))
    return (*services, *((target, kind) for target in targets for kind in ADDRESS_KINDS))


def targets_in(rrsets: Iterable[RRset], origin: str) -> frozenset[str]:
    """The names that SRV sets of the cluster send to, where they may be its members': `<label>.<origin>`."""
    named = {
        record.target
        for rrset in rrsets
        if (rrset.name, rrset.kind) in _services(origin)
        for record in rrset.records
        if isinstance(record, SrvRecord)
    }
    return frozenset(name for name in named if _is_targets_name(name, origin))


def plan(zone: Zone, standing: Standing, former: Iterable[str] = ()) -> tuple[RRset, ...]:
    """Say which sets to replace whole; one without records is to be deleted.

    In an order that leaves no name without its records, should they not fit into one message: addresses come before
    the SRV sets that name them, and go after those that named them. Where a role is withheld, its names are left
    alone, and so are the addresses of those whom they name.

    Args:
        zone: what is wanted.
        standing: what the server has, at least at `places_of(zone, former)` and at the addresses of `targets_in` that.
        former: targets that were the cluster's before.
    """
    origin, wanted = zone.origin, _wanted(zone)
    members = {name for name, kind in wanted if kind in ADDRESS_KINDS}
    needed = targets_in((rrset for rrset in standing.values() if rrset.name in zone.withheld), origin)
    ours = members | targets_in(standing.values(), origin) | {name for name in former if _is_targets_name(name, origin)}
    own = {*_services(origin), *((name, kind) for name in ours for kind in ADDRESS_KINDS)}
    put = [rrset for place, rrset in wanted.items() if rrset.records and not _same(rrset, standing.get(place))]
    gone = [
        replace(rrset, records=())
        for place, rrset in standing.items()
        if rrset.records
        and place in own
        and not (place in wanted and wanted[place].records)
        and rrset.name not in zone.withheld
        and (rrset.name in members or rrset.name not in needed)
    ]
    return tuple(sorted((*put, *gone), key=_order))


def batches(changes: Sequence[RRset], limit: int) -> list[tuple[RRset, ...]]:
    """Part changes, in their order, into what fits into messages of at most `limit` octets each; whole sets always."""
    parts: list[tuple[RRset, ...]] = []
    room = 0
    for change in changes:
        octets = _octets(change)
        if not parts or octets > room:
            parts.append(())
            room = limit
        parts[-1] = (*parts[-1], change)
        room -= octets
    return parts


def told(changes: Sequence[RRset], standing: Standing) -> str:
    """What stands where something else is wanted, on a log line."""
    words = []
    for change in changes[:TOLD]:
        there = standing.get((change.name, change.kind))
        records = ", ".join(map(_data, there.records[:TOLD])) if there else "nothing"
        words.append(f"{change.name} {change.kind.name}: {records}")
    return "; ".join(words) + (" and more" if len(changes) > TOLD else "")


def _data(record: Record) -> str:
    match record:
        case SrvRecord(priority, weight, port, target):
            return f"{priority} {weight} {port} {target}"
        case AddressRecord(address):
            return address
        case _:
            return type(record).__name__


def _wanted(zone: Zone) -> dict[Place, RRset]:
    services = _services(zone.origin)
    return {
        (rrset.name, rrset.kind): rrset
        for rrset in zone.rrsets
        if (rrset.name, rrset.kind) in services
        or (rrset.kind in ADDRESS_KINDS and _is_targets_name(rrset.name, zone.origin))
    }


def _services(origin: str) -> frozenset[Place]:
    return frozenset((name, Kind.SRV) for name in service_names(origin).values())


def _is_targets_name(name: str, origin: str) -> bool:
    label, _, rest = name.partition(".")
    return rest == origin and is_host_label(label) and label != NAMESERVER_LABEL


def _same(wanted: RRset, standing: RRset | None) -> bool:
    if standing is None or wanted.ttl != standing.ttl:
        return False
    return {*map(_comparable, wanted.records)} == {*map(_comparable, standing.records)}


def _comparable(record: Record) -> object:
    """An IPv6 address has more than one spelling."""
    return ipaddress.ip_address(record.address) if isinstance(record, AddressRecord) else record


def _order(change: RRset) -> tuple[int, str, Kind]:
    if change.kind is Kind.SRV:
        return 1, change.name, change.kind
    return 0 if change.records else 2, change.name, change.kind


def _octets(change: RRset) -> int:
    """No fewer than the change takes: names are counted as if none were compressed. One more record deletes."""
    return sum(
        len(change.name) + RECORD_OCTETS + (len(record.target) if isinstance(record, SrvRecord) else 0)
        for record in (None, *change.records)
    )
