"""The zone as a value."""

from __future__ import annotations

from dataclasses import replace

import pytest

from srv.records import AddressRecord, Kind, SoaRecord, SrvRecord
from srv.zone import (
    Foreign,
    Found,
    NoData,
    NxDomain,
    Part,
    Withheld,
    Zone,
    ZoneMember,
    build_zone,
    next_serial,
    service_names,
)

DOMAIN = "demo.fairlead.test"


def targets(zone: Zone, name: str) -> list[str]:
    standing = zone.lookup(name, Kind.SRV)
    assert isinstance(standing, Found)
    records = [record for record in standing.rrset.records if isinstance(record, SrvRecord)]
    return [f"{record.target.removesuffix('.' + DOMAIN)}:{record.port}" for record in records]


def test_names_of_a_cluster(zone: Zone) -> None:
    assert targets(zone, f"_mysql._tcp.{DOMAIN}") == ["m1:3306", "m2:3306", "m3:3310"]
    assert targets(zone, f"_mysqlx._tcp.{DOMAIN}") == ["m1:33060", "m2:33060"]
    assert targets(zone, f"_mysql._tcp.primary.{DOMAIN}") == ["m1:3306"]
    assert targets(zone, f"_mysqlx._tcp.primary.{DOMAIN}") == ["m1:33060"]
    assert targets(zone, f"_mysql._tcp.replicas.{DOMAIN}") == ["m2:3306", "m3:3310"]
    assert targets(zone, f"_mysqlx._tcp.replicas.{DOMAIN}") == ["m2:33060"]
    assert zone.lookup(f"m3.{DOMAIN}", Kind.AAAA) == Found(zone.addresses_of(f"m3.{DOMAIN}")[1])
    assert zone.addresses_of(f"m1.{DOMAIN}")[0].records == (AddressRecord("192.0.2.1"),)
    assert isinstance(zone.lookup(DOMAIN, Kind.SOA), Found)
    assert isinstance(zone.lookup(DOMAIN, Kind.NS), Found)
    assert isinstance(zone.lookup(f"ns.{DOMAIN}", Kind.A), Found)


def test_case_does_not_matter(zone: Zone) -> None:
    assert targets(zone, "_MySQL._TCP.Demo.Fairlead.Test") == ["m1:3306", "m2:3306", "m3:3310"]


@pytest.mark.parametrize("between", ["_tcp", "primary", "replicas", "_tcp.primary", "_tcp.replicas"])
def test_empty_non_terminals_exist(zone: Zone, between: str) -> None:
    assert zone.lookup(f"{between}.{DOMAIN}", Kind.SRV) == NoData()


@pytest.mark.parametrize("name", ["m4", "_mysql", "_mysql._udp", "x.m1", "x._mysql._tcp", "_mysql._tcp.m1"])
def test_unknown_names_do_not_exist(zone: Zone, name: str) -> None:
    assert zone.lookup(f"{name}.{DOMAIN}", Kind.SRV) == NxDomain()


def test_other_types_at_a_known_name_have_no_data(zone: Zone) -> None:
    assert zone.lookup(f"_mysql._tcp.{DOMAIN}", Kind.A) == NoData()
    assert zone.lookup(f"m1.{DOMAIN}", 16) == NoData()


@pytest.mark.parametrize("name", ["fairlead.test", "xdemo.fairlead.test", "example.org", "."])
def test_names_outside_are_foreign(zone: Zone, name: str) -> None:
    assert zone.lookup(name, Kind.SRV) == Foreign()


def test_without_a_primary_its_name_stays_known_and_empty() -> None:
    zone = build_zone(DOMAIN, [ZoneMember("m1", ("192.0.2.1",), 3306, 33060)], serial=1)
    assert zone.lookup(f"_mysql._tcp.primary.{DOMAIN}", Kind.SRV) == NoData()
    assert build_zone(DOMAIN, [], serial=1).lookup(f"_mysql._tcp.{DOMAIN}", Kind.SRV) == NoData()


def test_unknown_roles_are_withheld_and_members_are_not() -> None:
    zone = build_zone(DOMAIN, [ZoneMember("m1", ("192.0.2.1",), 3306, 33060)], serial=1, withhold_parts=True)
    assert zone.lookup(f"_mysql._tcp.Primary.{DOMAIN}", Kind.SRV) == Withheld()
    assert zone.lookup(f"_tcp.primary.{DOMAIN}", Kind.SRV) == NoData()
    assert targets(zone, f"_mysql._tcp.{DOMAIN}") == ["m1:3306"]


def test_priorities_stay_where_connectors_take_them(zone: Zone) -> None:
    published = [record for rrset in zone.rrsets for record in rrset.records if isinstance(record, SrvRecord)]
    assert published
    assert all(record.priority <= 100 for record in published)
    with pytest.raises(ValueError, match="priority 101"):
        ZoneMember("m1", ("192.0.2.1",), 3306, 33060, priority=101)


def test_members_may_share_an_address() -> None:
    members = [ZoneMember(f"m{number}", ("192.0.2.1",), 24800 + number, None) for number in (1, 2)]
    assert targets(build_zone(DOMAIN, members, serial=1), f"_mysql._tcp.{DOMAIN}") == ["m1:24801", "m2:24802"]


def test_serial_moves_only_when_records_do(zone: Zone) -> None:
    member = ZoneMember("m1", ("192.0.2.1",), 3306, 33060)
    first = build_zone(DOMAIN, [member], serial=41)
    same = build_zone(DOMAIN, [member], serial=1)
    other = build_zone(DOMAIN, [member], serial=1, ttl=6)
    withheld = build_zone(DOMAIN, [member], serial=1, withhold_parts=True)
    assert same.after(first) is first
    assert other.after(first).serial == 42
    assert other.after(first).rrsets == other.rrsets
    assert withheld.after(first).serial == 42


def test_order_of_members_makes_no_difference() -> None:
    members = [ZoneMember(f"m{number}", ("192.0.2.1",), 24800 + number, None) for number in range(5)]
    assert build_zone(DOMAIN, members, serial=1) == build_zone(DOMAIN, reversed(members), serial=1)


def test_serials_wrap_and_avoid_0() -> None:
    assert next_serial(1) == 2
    assert next_serial(2**32 - 1) == 1


def test_negative_ttl_is_short(zone: Zone) -> None:
    record = zone.soa.records[0]
    assert isinstance(record, SoaRecord)
    assert zone.negative_ttl == record.minimum == 1


@pytest.mark.parametrize(
    ("label", "addresses", "complaint"),
    [
        ("ns", ("192.0.2.1",), "taken by the name server"),
        ("a_b", ("192.0.2.1",), "letters, digits"),
        ("m1", (), "has no address"),
    ],
)
def test_impossible_members(label: str, addresses: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ZoneMember(label, addresses, 3306, None)


@pytest.mark.parametrize(
    ("numbers", "complaint"),
    [
        ({"classic_port": 65536}, "port 65536"),
        ({"classic_port": 0}, "port 0"),
        ({"x_port": -1}, "port -1"),
        ({"weight": 65536}, "weight 65536"),
        ({"weight": -1}, "weight -1"),
        ({"priority": -1}, "priority -1"),
    ],
)
def test_numbers_that_no_record_can_have(numbers: dict[str, int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(ZoneMember("m1", ("192.0.2.1",), 3306, 33060), **numbers)


def test_sets_without_records_are_not_there(zone: Zone) -> None:
    assert all(rrset.records for rrset in (*zone.rrsets, *build_zone(DOMAIN, [], serial=1).rrsets))


def test_impossible_zones() -> None:
    twins = [ZoneMember("m1", ("192.0.2.1",), 3306, None), ZoneMember("M1", ("192.0.2.2",), 3306, None)]
    with pytest.raises(ValueError, match="two members"):
        build_zone(DOMAIN, twins, serial=1)
    with pytest.raises(ValueError, match="TTL 0"):
        build_zone(DOMAIN, [], serial=1, ttl=0)
    with pytest.raises(ValueError, match="serial"):
        build_zone(DOMAIN, [], serial=2**32)


def test_names_that_do_not_fit_are_refused() -> None:
    domain = ".".join(["d" * 63] * 3 + ["d" * 39])
    assert build_zone(domain, [], serial=1).lookup(f"_mysqlx._tcp.replicas.{domain}", Kind.SRV) == NoData()
    with pytest.raises(ValueError, match="must be 1 shorter"):
        build_zone(f"{domain}d", [], serial=1)
    with pytest.raises(ValueError, match="must be 3 shorter"):
        build_zone(domain, [ZoneMember("m" * 24, ("192.0.2.1",), 3306, None)], serial=1)


def test_six_service_names() -> None:
    assert service_names("d")["_mysqlx._tcp", Part.REPLICAS] == "_mysqlx._tcp.replicas.d"
    assert len(service_names("d")) == 6
