"""Zones as master files (RFC 1035, 5), which every name server reads. Owns their text alone."""

from __future__ import annotations

from srv.records import AddressRecord, NameRecord, Record, SoaRecord, SrvRecord, TextRecord
from srv.zone import Zone


def zone_text(zone: Zone) -> str:
    """A zone as a master file."""
    lines = []
    for rrset in (zone.soa, *zone.rrsets):
        lines += [f"{rrset.name}. {rrset.ttl} IN {rrset.kind.name} {_data_text(record)}" for record in rrset.records]
    return "\n".join([*lines, ""])


def _data_text(record: Record) -> str:
    match record:
        case SrvRecord(priority, weight, port, target):
            return f"{priority} {weight} {port} {target}."
        case AddressRecord(address):
            return address
        case NameRecord(target):
            return f"{target}."
        case TextRecord(text):
            return f'"{text}"'
        case SoaRecord():
            times = f"{record.refresh} {record.retry} {record.expire} {record.minimum}"
            return f"{record.primary_server}. {record.mailbox}. {record.serial} {times}"
