"""Whole zones as messages; dnspython is the secondary."""

from __future__ import annotations

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.zone
import pytest

from srv.answers import Reaction, react
from srv.records import Rcode
from srv.transfer import MESSAGE_OCTETS
from srv.zone import Zone, ZoneMember, build_zone

DOMAIN = "demo.fairlead.test"


def query(kind: str, name: str = DOMAIN, *, serial: int | None = None) -> dns.message.Message:
    message = dns.message.make_query(name, kind)
    if serial is not None:
        soa = f"ns.{name}. hostmaster.{name}. {serial} 1 1 1 1"
        message.authority = [dns.rrset.from_text(f"{name}.", 0, "IN", "SOA", soa)]
    return message


def ask(zone: Zone, message: dns.message.Message, *, over_tcp: bool = True, may_transfer: bool = True) -> Reaction:
    return react({zone.origin: zone}, message.to_wire(), over_tcp=over_tcp, may_transfer=may_transfer)


def messages(reaction: Reaction) -> list[dns.message.Message]:
    assert reaction.reply is not None
    return [dns.message.from_wire(wire, one_rr_per_rrset=True) for wire in (reaction.reply, *reaction.rest)]


def records(zone: Zone) -> list[str]:
    """All of the zone's records, the SOA once."""
    found = []
    for rrset in (zone.soa, *zone.rrsets):
        reply = messages(ask(zone, query(rrset.kind.name, rrset.name)))[0]
        found += [line for each in reply.answer for line in each.to_text().splitlines()]
    return sorted(found)


@pytest.mark.parametrize("kind", ["AXFR", "IXFR"])
def test_a_zone_is_all_records_between_two_soas(zone: Zone, kind: str) -> None:
    asked = query(kind, serial=zone.serial - 1 if kind == "IXFR" else None)
    reaction = ask(zone, asked)
    (message,) = messages(reaction)
    lines = [rrset.to_text() for rrset in message.answer]
    assert reaction.rcode is Rcode.NOERROR
    assert lines[0] == lines[-1]
    assert " SOA " in lines[0]
    assert sorted(lines[1:]) == records(zone)
    assert asked.is_response(message)


def test_a_large_zone_takes_several_messages_which_dnspython_joins() -> None:
    members = [ZoneMember(f"m{n}", (f"10.0.{n >> 8}.{n & 255}",), 3306, 33060) for n in range(900)]
    zone = build_zone(DOMAIN, members, serial=1)
    reaction = ask(zone, query("AXFR"))
    all_ = messages(reaction)
    assert len(all_) > 3
    assert all(len(wire) <= MESSAGE_OCTETS for wire in (reaction.reply or b"", *reaction.rest))
    assert {message.rcode() for message in all_} == {dns.rcode.NOERROR}
    lines = [rrset.to_text() for message in all_ for rrset in message.answer]
    assert lines[0] == lines[-1]
    assert sum(" SOA " in line for line in lines) == 2
    assert len(set(lines)) == len(lines) - 1 == 1 + sum(len(rrset.records) for rrset in zone.rrsets)


@pytest.mark.parametrize("kind", ["AXFR", "IXFR"])
@pytest.mark.parametrize("over_tcp", [True, False])
def test_nobody_else_gets_one(zone: Zone, kind: str, over_tcp: bool) -> None:
    reaction = ask(zone, query(kind, serial=1), over_tcp=over_tcp, may_transfer=False)
    assert reaction.rcode is Rcode.REFUSED
    assert not list(reaction.rest)


def test_axfr_over_udp_is_refused(zone: Zone) -> None:
    assert ask(zone, query("AXFR"), over_tcp=False).rcode is Rcode.REFUSED


@pytest.mark.parametrize(
    ("serial", "over_tcp"),
    [(7, True), (8, True), (7, False), (6, False)],
)
def test_ixfr_is_the_soa_alone_where_there_is_no_news_or_over_udp(zone: Zone, serial: int, over_tcp: bool) -> None:
    (message,) = messages(ask(zone, query("IXFR", serial=serial), over_tcp=over_tcp))
    assert [rrset.rdtype for rrset in message.answer] == [dns.rdatatype.SOA]
    assert message.answer[0][0].serial == 7


def test_ixfr_compares_serials_as_rfc_1982_does(zone: Zone) -> None:
    (message,) = messages(ask(zone, query("IXFR", serial=2**32 - 5)))
    assert len(message.answer) > 1


def test_a_zone_with_withheld_names_is_not_handed_out() -> None:
    zone = build_zone(DOMAIN, [], serial=2, withhold_parts=True)
    for asked in (query("AXFR"), query("IXFR", serial=1), query("IXFR", serial=2)):
        assert ask(zone, asked).rcode is Rcode.SERVFAIL


def test_other_mistakes(zone: Zone) -> None:
    assert ask(zone, query("AXFR", f"m1.{DOMAIN}")).rcode is Rcode.NOTAUTH
    assert ask(zone, query("AXFR", "example.org")).rcode is Rcode.REFUSED
    assert ask(zone, query("IXFR")).rcode is Rcode.FORMERR
    signed = query("AXFR")
    signed.use_tsig({dns.name.from_text("key"): b"secret" * 6})
    assert ask(zone, signed).rcode is Rcode.NOTAUTH
