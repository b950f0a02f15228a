"""From a topology to what is published."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.members import Endpoint, Member, Role, State
from cluster.topology import MemberStatus, Topology, Trust, UnlistedMember
from srv.publication import Known, Newcomers, Parts, departed, desired_of, newcomers, parse_known, strains_by_label
from srv.publication import parts_by_label as judge
from srv.records import Kind, SrvRecord
from srv.weights import Strain
from srv.zone import Found, NoData, Part, Standing, Withheld

DOMAIN = "demo.fairlead.test"
M1, M2 = Known("m1", "192.0.2.1"), Known("m2", "192.0.2.2")
ADDRESSES = {"192.0.2.1": ("192.0.2.1",), "192.0.2.2": ("192.0.2.2",)}


def status(known: Known, offered: Role | None, state: State = State.ONLINE) -> MemberStatus:
    return MemberStatus(known.member(DOMAIN), f"uuid-{known.label}", offered or Role.UNKNOWN, state, offered)


def topology(
    *members: MemberStatus, trust: Trust = Trust.QUORUM, unlisted: tuple[UnlistedMember, ...] = ()
) -> Topology:
    return Topology(trust=trust, members=members, unlisted=unlisted)


def unlisted(
    host: str, port: int = 3306, *, state: State = State.ONLINE, uuid: str = "ABCDEF01-2345-6789"
) -> UnlistedMember:
    return UnlistedMember(uuid, host, port, Role.SECONDARY, state)


def parts_by_label(
    seen: Topology, before: Parts | None, *, all_seen: bool = True, now: float = 0.0, keep_roles: float = 30.0
) -> Parts | None:
    return judge(seen, before, all_seen=all_seen, now=now, keep_roles=keep_roles)


def targets(standing: Standing) -> list[str]:
    assert isinstance(standing, Found)
    records = [record for record in standing.rrset.records if isinstance(record, SrvRecord)]
    return [f"{record.target.partition('.')[0]}:{record.port}" for record in records]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("m1=192.0.2.1", Known("m1", "192.0.2.1", 3306, 33060)),
        ("M1=db1.example.com:3310", Known("m1", "db1.example.com", 3310, 33060)),
        ("m1=[2001:db8::1]:3310/33070", Known("m1", "2001:db8::1", 3310, 33070)),
        ("m1=2001:db8::1", Known("m1", "2001:db8::1", 3306, 33060)),
        ("m1=db1/33070", Known("m1", "db1", 3306, 33070)),
        ("m1=db1:3310/0", Known("m1", "db1", 3310, None)),
    ],
)
def test_members_as_text(text: str, wanted: Known) -> None:
    assert parse_known(text) == wanted


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("192.0.2.1", "wanted NAME=HOST"),
        ("m.1=192.0.2.1", "wanted NAME=HOST"),
        ("ns=192.0.2.1", "taken by the name server"),
        ("m1=", "host is missing"),
        ("m1=db1:x", "port must be a number"),
        ("m1=db1:3306/", "X port must be"),
        ("m1=db1:3306/99999", "X port must be"),
    ],
)
def test_members_as_wrong_text(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_known(text)


def test_a_member_as_probes_know_it() -> None:
    known = Known("m1", "192.0.2.1", 3310, 33070)
    assert known.member(DOMAIN) == Member(f"m1.{DOMAIN}", Endpoint("192.0.2.1", 3310), Endpoint("192.0.2.1", 33070))


def test_a_member_without_x_is_asked_over_the_classic_protocol_and_published_for_it_alone() -> None:
    known = parse_known("m1=192.0.2.1:3310/0")
    assert known.member(DOMAIN) == Member(f"m1.{DOMAIN}", Endpoint("192.0.2.1", 3310), None)
    zone = desired_of(DOMAIN, [known], ADDRESSES, {}, ttl=5).zone(serial=1)
    assert targets(zone.lookup(f"_mysql._tcp.{DOMAIN}", Kind.SRV)) == ["m1:3310"]
    assert zone.lookup(f"_mysqlx._tcp.{DOMAIN}", Kind.SRV) == NoData()
    [adopted] = newcomers(DOMAIN, topology(unlisted=(unlisted("db7"),)), [known], ADDRESSES).adoptable
    assert adopted.x_port is None


def test_roles_are_those_that_the_topology_offers() -> None:
    seen = topology(status(M1, Role.PRIMARY), status(M2, Role.SECONDARY), status(Known("m3", "h"), None))
    assert parts_by_label(seen, None) == {"m1": {Part.PRIMARY}, "m2": {Part.REPLICAS}}


def test_without_quorum_nobody_is_offered_and_blind_nothing_changes() -> None:
    before = parts_by_label(topology(status(M1, Role.PRIMARY)), None)
    assert parts_by_label(topology(status(M1, None), trust=Trust.BLIND), before) == before
    assert parts_by_label(topology(trust=Trust.BLIND), None) is None
    assert parts_by_label(topology(status(M1, None), trust=Trust.NO_QUORUM), before) == {}


def test_roles_are_unknown_until_a_primary_is_seen_or_all_were_asked() -> None:
    secondary = topology(status(M1, None), status(M2, Role.SECONDARY))
    minority = topology(status(M1, None), trust=Trust.NO_QUORUM)
    for seen in (secondary, minority):
        assert parts_by_label(seen, None, all_seen=False) is None
    assert parts_by_label(secondary, None) == {"m2": {Part.REPLICAS}}
    assert parts_by_label(minority, None) == {}
    assert parts_by_label(secondary, {}, all_seen=False) == {"m2": {Part.REPLICAS}}  # known once is known
    assert parts_by_label(topology(status(M1, Role.PRIMARY)), None, all_seen=False) == {"m1": {Part.PRIMARY}}


def test_roles_are_not_believed_for_ever_while_blind() -> None:
    before: Parts = {"m1": frozenset({Part.PRIMARY})}
    blind = Topology(taken_at=100.0, trust=Trust.BLIND)
    assert parts_by_label(blind, before, now=129.9) == before
    assert parts_by_label(blind, before, now=130.0) is None


def test_zone_lists_all_members_and_roles_by_name() -> None:
    zone = desired_of(DOMAIN, [M1, M2], ADDRESSES, {"m1": frozenset({Part.PRIMARY})}, ttl=5).zone(serial=1)
    assert targets(zone.lookup(f"_mysql._tcp.{DOMAIN}", Kind.SRV)) == ["m1:3306", "m2:3306"]
    assert targets(zone.lookup(f"_mysqlx._tcp.primary.{DOMAIN}", Kind.SRV)) == ["m1:33060"]
    assert zone.lookup(f"_mysql._tcp.replicas.{DOMAIN}", Kind.SRV) == NoData()


def test_unknown_roles_are_withheld() -> None:
    zone = desired_of(DOMAIN, [M1], ADDRESSES, None, ttl=5).zone(serial=1)
    assert zone.lookup(f"_mysql._tcp.primary.{DOMAIN}", Kind.SRV) == Withheld()


def test_a_member_without_an_address_is_left_out() -> None:
    zone = desired_of(DOMAIN, [M1, Known("m9", "unknown.example")], ADDRESSES, {}, ttl=5).zone(serial=1)
    assert targets(zone.lookup(f"_mysql._tcp.{DOMAIN}", Kind.SRV)) == ["m1:3306"]


@pytest.mark.parametrize(
    ("host", "label"),
    [
        ("db3.example.com", "db3"),
        ("DB3", "db3"),
        ("192.0.2.3", "member-abcdef01"),
        ("m1.example.com", "member-abcdef01"),  # taken
        ("ns.example.com", "member-abcdef01"),  # the name server's
        ("db_3", "member-abcdef01"),  # not a host's label
    ],
)
def test_a_member_that_only_the_view_names_is_adopted(host: str, label: str) -> None:
    (one,) = newcomers(DOMAIN, topology(unlisted=(unlisted(host, 3310),)), [M1, M2], ADDRESSES).adoptable
    assert one == Known(label, host, 3310, 33060, "ABCDEF01-2345-6789")


def test_members_alike_in_the_short_uuid_are_told_apart_by_the_whole_one() -> None:
    alike = [unlisted(f"192.0.2.{last}", uuid=f"00000000-0000-000{last}") for last in (3, 4)]
    found = newcomers(DOMAIN, topology(unlisted=tuple(alike)), [M1], ADDRESSES)
    assert [one.label for one in found.adoptable] == ["member-00000000", "member-00000000-0000-0004"]


@pytest.mark.parametrize("uuid", ["", "a b", "00000000-", "f" * 64])
def test_a_member_without_a_usable_uuid_is_not_adopted(uuid: str) -> None:
    odd = unlisted("db3", uuid=uuid)
    assert newcomers(DOMAIN, topology(unlisted=(odd,)), [M1], ADDRESSES) == Newcomers(unnameable=(odd,))


def test_a_label_that_makes_the_name_too_long_is_not_taken() -> None:
    domain = ".".join(["d" * 63] * 3)
    (one,) = newcomers(domain, topology(unlisted=(unlisted("m" * 62),)), [M1], ADDRESSES).adoptable
    assert one.label == "member-abcdef01"


def test_who_is_not_adopted() -> None:
    known = [M1, Known("m3", "db3.example.com")]
    addresses = ADDRESSES | {"db1": ("192.0.2.1",)}
    for seen in (
        unlisted("192.0.2.1"),  # a known member's place
        unlisted("db1"),  # the same by another name
        unlisted("DB3.example.com"),  # known by name, address or none
        unlisted("db4", state=State.UNREACHABLE),
        unlisted("", 3306),
        unlisted("db4", 0),
    ):
        assert newcomers(DOMAIN, topology(unlisted=(seen,)), known, addresses) == Newcomers()
    for trust in (Trust.BLIND, Trust.NO_QUORUM):
        seen_there = topology(trust=trust, unlisted=(unlisted("db4"),))
        assert newcomers(DOMAIN, seen_there, known, addresses) == Newcomers()


def test_another_port_on_a_known_host_is_another_member() -> None:
    (one,) = newcomers(DOMAIN, topology(unlisted=(unlisted("192.0.2.1", 3307),)), [M1], ADDRESSES).adoptable
    assert one.classic_port == 3307


def test_only_adopted_members_depart_and_only_on_the_majoritys_word() -> None:
    listed, adopted = M1, Known("m2", "192.0.2.2", uuid="uuid-m2")
    known = [listed, adopted]
    gone = [status(listed, None, State.OFFLINE), status(adopted, None, State.OFFLINE)]
    assert departed(topology(*gone), known) == {"m2"}
    assert departed(topology(*gone, trust=Trust.BLIND), known) == set()
    assert departed(topology(status(adopted, None, State.UNREACHABLE)), known) == set()
    assert departed(topology(), known) == set()  # not probed yet
    still_seen = (unlisted("192.0.2.2", uuid="uuid-m2"),)
    assert departed(topology(*gone, unlisted=still_seen), known) == set()


def test_strains_are_those_of_offered_replicas_beside_each_other() -> None:
    one, other = status(M1, Role.PRIMARY), status(M2, Role.SECONDARY)
    seen = [replace(each, lag=9.0, queued=7, load=3) for each in (one, other)]
    assert strains_by_label(topology(*seen)) == {"m2": Strain(9.0, 7, 3, None)}
    more = [replace(status(Known(f"m{n}", "h"), Role.SECONDARY), load=n) for n in (10, 20)]
    loads = {label: (strain.load, strain.others) for label, strain in strains_by_label(topology(*seen, *more)).items()}
    assert loads == {"m2": (3, 15.0), "m10": (10, 11.5), "m20": (20, 6.5)}
    assert strains_by_label(topology(status(M1, None))) == {}


def test_a_role_whose_member_has_no_address_is_not_nobodys() -> None:
    parts = {"m1": frozenset({Part.PRIMARY}), "m2": frozenset({Part.REPLICAS}), "m3": frozenset({Part.REPLICAS})}
    known = [M1, M2, Known("m3", "nowhere")]
    assert desired_of(DOMAIN, known, ADDRESSES, parts, ttl=5).roles_known
    without_primary = {"192.0.2.2": ("192.0.2.2",)}
    assert not desired_of(DOMAIN, known, without_primary, parts, ttl=5).roles_known
