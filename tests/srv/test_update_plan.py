"""The difference between what is wanted on another name server and what stands there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srv.records import AddressRecord, Kind, RRset, SrvRecord
from srv.update_plan import Place, batches, emptied, places_of, plan, targets_in
from srv.zone import Part, Zone, ZoneMember, build_zone

DOMAIN = "orders.db.test"
PRIMARY = f"_mysql._tcp.primary.{DOMAIN}"
REPLICAS = f"_mysql._tcp.replicas.{DOMAIN}"
MEMBERS = f"_mysql._tcp.{DOMAIN}"
Held = dict[Place, RRset]


def zone_of(*members: ZoneMember, withhold: bool = False) -> Zone:
    return build_zone(DOMAIN, members, serial=1, nameserver_addresses=("192.0.2.53",), withhold_parts=withhold)


def member(index: int, *parts: Part) -> ZoneMember:
    return ZoneMember(f"m{index}", (f"192.0.2.{index}",), 3306, 33060, frozenset(parts))


ZONE = zone_of(member(1, Part.PRIMARY), member(2, Part.REPLICAS))


def address(name: str, text: str = "192.0.2.99") -> RRset:
    return RRset(name, Kind.A, 5, (AddressRecord(text),))


def pointing(name: str, *targets: str) -> RRset:
    return RRset(name, Kind.SRV, 5, tuple(SrvRecord(0, 100, 3306, target) for target in targets))


def held(*rrsets: RRset) -> Held:
    return {(rrset.name, rrset.kind): rrset for rrset in rrsets}


def applied(changes: Iterable[RRset], standing: Held) -> Held:
    """What a server has after an update (RFC 2136, 3.4.2)."""
    after = dict(standing)
    for change in changes:
        after.pop((change.name, change.kind), None)
        if change.records:
            after[change.name, change.kind] = change
    return after


def sent(zone: Zone) -> Held:
    return held(
        *(
            rrset
            for rrset in zone.rrsets
            if rrset.kind in (Kind.SRV, Kind.A, Kind.AAAA) and rrset.records and not rrset.name.startswith("ns.")
        )
    )


def test_an_empty_server_gets_everything_but_what_is_its_own() -> None:
    after = applied(plan(ZONE, {}), {})
    assert after == sent(ZONE)
    assert {name for name, _ in after} == {
        f"m1.{DOMAIN}",
        f"m2.{DOMAIN}",
        *(f"_{x}._tcp.{part}{DOMAIN}" for x in ("mysql", "mysqlx") for part in ("", "primary.", "replicas.")),
    }


def test_nothing_is_sent_where_nothing_differs_but_the_order() -> None:
    standing = {place: replace(rrset, records=rrset.records[::-1]) for place, rrset in sent(ZONE).items()}
    assert plan(ZONE, standing) == ()


def test_an_address_may_be_spelled_in_another_way() -> None:
    zone = zone_of(ZoneMember("m1", ("::ffff:192.0.2.1",), 3306, None))
    place = (f"m1.{DOMAIN}", Kind.AAAA)
    for text in ("::ffff:192.0.2.1", "::ffff:c000:201"):
        assert plan(zone, sent(zone) | held(RRset(*place, 5, (AddressRecord(text),)))) == ()


@pytest.mark.parametrize("wrong", [{"ttl": 6}, {"records": (AddressRecord("192.0.2.9"),)}, {"records": ()}])
def test_a_set_that_differs_in_anything_is_replaced_whole(wrong: dict[str, object]) -> None:
    place = (f"m1.{DOMAIN}", Kind.A)
    standing = sent(ZONE)
    standing[place] = replace(standing[place], **wrong)  # type: ignore[arg-type]
    assert plan(ZONE, standing) == (sent(ZONE)[place],)


def test_a_role_that_nobody_has_loses_its_names() -> None:
    changes = plan(zone_of(member(1), member(2, Part.REPLICAS)), sent(ZONE))
    assert [(change.name, change.records) for change in changes] == [
        (PRIMARY, ()),
        (PRIMARY.replace("mysql", "mysqlx"), ()),
    ]


def test_former_targets_lose_their_addresses_and_others_keep_theirs() -> None:
    gone, deep, elsewhere, nameserver = f"m9.{DOMAIN}", f"a.m9.{DOMAIN}", "www.db.test", f"ns.{DOMAIN}"
    srv = pointing(MEMBERS, gone, deep, elsewhere, nameserver, DOMAIN, ".")
    standing = held(srv, *map(address, (gone, deep, elsewhere, nameserver, DOMAIN)))
    assert targets_in(standing.values(), DOMAIN) == {gone}
    after = applied(plan(ZONE, standing), standing)
    assert after == sent(ZONE) | held(*map(address, (deep, elsewhere, nameserver, DOMAIN)))


def test_only_the_clusters_own_sets_name_targets() -> None:
    assert targets_in([pointing(f"_ldap._tcp.{DOMAIN}", f"m9.{DOMAIN}")], DOMAIN) == frozenset()


def test_withheld_roles_are_left_alone_with_the_addresses_that_they_need() -> None:
    before = sent(zone_of(member(1, Part.PRIMARY), member(2, Part.REPLICAS), member(3)))
    unknown = zone_of(member(1), withhold=True)
    after = applied(plan(unknown, before), before)
    assert after[PRIMARY, Kind.SRV] == before[PRIMARY, Kind.SRV]
    assert after[REPLICAS, Kind.SRV] == before[REPLICAS, Kind.SRV]
    assert (f"m2.{DOMAIN}", Kind.A) in after  # a replica still, as far as is known
    assert (f"m3.{DOMAIN}", Kind.A) not in after
    assert applied(plan(zone_of(member(1)), after), after) == sent(zone_of(member(1)))


def test_a_withheld_role_does_not_keep_a_members_other_address() -> None:
    six = RRset(f"m1.{DOMAIN}", Kind.AAAA, 5, (AddressRecord("2001:db8::1"),))
    standing = sent(ZONE) | held(six)
    assert plan(zone_of(member(1), member(2), withhold=True), standing) == (replace(six, records=()),)


def test_where_to_look() -> None:
    places = places_of(ZONE, {f"m9.{DOMAIN}"})
    assert len(places) == len(set(places)) == 6 + 3 * 2
    assert (f"m9.{DOMAIN}", Kind.AAAA) in places


def test_what_is_to_be_withdrawn_leaves_nothing() -> None:
    standing = sent(ZONE) | held(address("www.db.test"))
    assert applied(plan(emptied(DOMAIN), standing), standing) == held(address("www.db.test"))


def test_addresses_come_before_the_names_that_need_them_and_go_after() -> None:
    changes = plan(zone_of(member(3, Part.PRIMARY)), sent(ZONE))
    ranks = [{(Kind.A, True): 0, (Kind.A, False): 2}.get((one.kind, bool(one.records)), 1) for one in changes]
    assert ranks == sorted(ranks)
    assert set(ranks) == {0, 1, 2}


def test_changes_are_parted_between_sets_and_nothing_is_lost() -> None:
    changes = plan(ZONE, {})
    assert batches((), 1000) == []
    assert batches(changes, 60_000) == [changes]
    parts = batches(changes, 300)
    assert len(parts) > 2
    assert tuple(change for part in parts for change in part) == changes
    assert [len(part) for part in batches(changes, 1)] == [1] * len(changes)  # a set is never cut


LABELS = st.sampled_from(["m1", "m2", "m3", "m4", "primary", "www", "ns", "_tcp", "a.m1"])
NAMES = st.one_of(
    LABELS.map(lambda label: f"{label}.{DOMAIN}"),
    st.sampled_from(
        [DOMAIN, "db.test", "www.db.test", f"x{DOMAIN}", PRIMARY, REPLICAS, MEMBERS, f"_ldap._tcp.{DOMAIN}"]
    ),
)
ADDRESSES = st.integers(1, 9).map(lambda last: AddressRecord(f"192.0.2.{last}"))
SRVS = st.builds(SrvRecord, st.integers(0, 2), st.just(100), st.just(3306), NAMES)
STANDING = st.lists(
    st.one_of(
        st.builds(
            RRset, NAMES, st.just(Kind.SRV), st.integers(4, 6), st.lists(SRVS, min_size=1, max_size=4).map(tuple)
        ),
        st.builds(
            RRset, NAMES, st.just(Kind.A), st.integers(4, 6), st.lists(ADDRESSES, min_size=1, max_size=3).map(tuple)
        ),
    ),
    max_size=12,
).map(lambda rrsets: held(*rrsets))
ZONES = st.builds(
    lambda indexes, primary, withhold: zone_of(
        *(member(i, Part.PRIMARY if i == primary else Part.REPLICAS) for i in sorted(indexes)), withhold=withhold
    ),
    st.sets(st.integers(1, 4)),
    st.integers(0, 4),
    st.booleans(),
)


FORMER = st.sets(st.sampled_from(["m3", "m4", "www"])).map(lambda labels: {f"{label}.{DOMAIN}" for label in labels})


@given(ZONES, STANDING, FORMER)
def test_whatever_stands_the_plan_makes_it_as_wanted_and_touches_nothing_foreign(
    zone: Zone, standing: Held, former: set[str]
) -> None:
    changes = plan(zone, standing, former)
    after = applied(changes, standing)
    wanted = sent(zone)
    own = {*places_of(zone, former | targets_in(standing.values(), DOMAIN))}
    withheld = {place for place in own if place[0] in zone.withheld}
    kept = {
        (target, Kind.A) for target in targets_in([standing[place] for place in withheld if place in standing], DOMAIN)
    }
    for place in own - withheld - kept:
        there, want = after.get(place), wanted.get(place)
        assert (there and (there.ttl, set(there.records))) == (want and (want.ttl, set(want.records)))
    for place in withheld:
        assert after.get(place) == standing.get(place)
    for place in kept:
        assert place in after or place not in standing
    assert {(change.name, change.kind) for change in changes} <= own
    for place in standing.keys() - own:
        assert after[place] == standing[place]
    assert plan(zone, after, former) == ()
    assert len({(change.name, change.kind) for change in changes}) == len(changes)
