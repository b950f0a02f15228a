"""What a response says about a name."""

from __future__ import annotations

import pytest

from srv.lookup import ALIAS_LIMIT, Outcome, addresses_given, find, is_unavailable
from srv.records import AddressRecord, Kind, NameRecord, Rcode, RRset, SoaRecord, SrvRecord
from srv.wire import Reply

NAME = "_mysql._tcp.d.test"
RECORD = SrvRecord(0, 100, 3306, "m1.d.test")
SRV = RRset(NAME, Kind.SRV, 30, (RECORD,))
SOA = RRset("d.test", Kind.SOA, 60, (SoaRecord("ns.d.test", "h.d.test", 1, 2, 3, 4, 5),))
NS = RRset("d.test", Kind.NS, 60, (NameRecord("ns.d.test"),))


def alias(owner: str, target: str, ttl: int = 60) -> RRset:
    return RRset(owner, Kind.CNAME, ttl, (NameRecord(target),))


def test_records() -> None:
    finding = find(Reply(Rcode.NOERROR, answer=(SRV,)), NAME, Kind.SRV)
    assert (finding.outcome, finding.records, finding.ttl) == (Outcome.ANSWER, (RECORD,), 30)


def test_records_of_another_name_are_none() -> None:
    assert find(Reply(Rcode.NOERROR, answer=(SRV,)), "_mysql._tcp.e.test", Kind.SRV).outcome is Outcome.EMPTY


def test_an_empty_set_is_good_for_as_long_as_the_soa_says() -> None:
    finding = find(Reply(Rcode.NOERROR, authority=(SOA,), authoritative=True), NAME, Kind.SRV)
    assert (finding.outcome, finding.ttl) == (Outcome.EMPTY, 5)


@pytest.mark.parametrize(
    ("rcode", "outcome", "detail"),
    [
        (Rcode.NXDOMAIN, Outcome.NXDOMAIN, ""),
        (Rcode.REFUSED, Outcome.REFUSED, ""),
        (Rcode.SERVFAIL, Outcome.SERVFAIL, ""),
        (Rcode.NOTIMP, Outcome.SERVFAIL, "NOTIMP"),
        (11, Outcome.SERVFAIL, "response code 11"),
    ],
)
def test_response_codes(rcode: int, outcome: Outcome, detail: str) -> None:
    finding = find(Reply(rcode, answer=(SRV,)), NAME, Kind.SRV)
    assert (finding.outcome, finding.detail) == (outcome, detail)


def test_a_referral_is_no_empty_answer() -> None:
    """RFC 2308, 2.2: an empty answer with NS and without SOA sends us elsewhere, unless an authority speaks."""
    assert find(Reply(Rcode.NOERROR, authority=(NS,)), NAME, Kind.SRV).outcome is Outcome.SERVFAIL
    assert find(Reply(Rcode.NOERROR, authority=(NS, SOA)), NAME, Kind.SRV).outcome is Outcome.EMPTY
    assert find(Reply(Rcode.NOERROR, authority=(NS,), authoritative=True), NAME, Kind.SRV).outcome is Outcome.EMPTY
    assert find(Reply(Rcode.NOERROR), NAME, Kind.SRV).outcome is Outcome.EMPTY


def test_aliases_are_followed_and_their_ttl_counts() -> None:
    answer = (alias("a.test", "b.test", 7), alias("b.test", NAME, 20), SRV)
    finding = find(Reply(Rcode.NOERROR, answer=answer), "a.test", Kind.SRV)
    assert (finding.outcome, finding.ttl, finding.owner) == (Outcome.ANSWER, 7, NAME)


def test_an_alias_to_nothing_is_empty_and_a_loop_is_a_failure() -> None:
    dangling = Reply(Rcode.NOERROR, answer=(alias("a.test", "b.d.test"),), authority=(SOA,))
    assert find(dangling, "a.test", Kind.SRV).outcome is Outcome.EMPTY
    loop = Reply(Rcode.NOERROR, answer=(alias("a.test", "b.test"), alias("b.test", "a.test")))
    assert find(loop, "a.test", Kind.SRV).outcome is Outcome.SERVFAIL
    chain = [alias(f"n{number}.test", f"n{number + 1}.test") for number in range(ALIAS_LIMIT + 1)]
    assert find(Reply(Rcode.NOERROR, answer=tuple(chain)), "n0.test", Kind.SRV).outcome is Outcome.SERVFAIL


@pytest.mark.parametrize("authority", [(), (SOA,)])
def test_an_alias_out_of_what_the_reply_speaks_for_leads_on(authority: tuple[RRset, ...]) -> None:
    answer = (alias("a.d.test", "b.d.test", 9), alias("b.d.test", "b.other", 7))
    finding = find(Reply(Rcode.NOERROR, answer=answer, authority=authority, authoritative=True), "a.d.test", Kind.A)
    assert (finding.outcome, finding.leads_on, finding.owner, finding.ttl) == (Outcome.SERVFAIL, True, "b.other", 7)
    assert "an alias leads to b.other" in finding.detail


def test_an_alias_to_nothing_is_good_for_no_longer_than_the_alias() -> None:
    reply = Reply(Rcode.NOERROR, answer=(alias("a.d.test", "b.d.test", 3),), authority=(SOA,))
    assert find(reply, "a.d.test", Kind.SRV).ttl == 3


def test_the_root_as_target_means_not_available() -> None:
    root = SrvRecord(0, 0, 0, ".")
    assert is_unavailable([root])
    assert not is_unavailable([root, RECORD])


def test_additional_addresses() -> None:
    given = Reply(
        Rcode.NOERROR,
        additional=(
            RRset("m1.d.test", Kind.AAAA, 4, (AddressRecord("2001:db8::1"),)),
            RRset("m1.d.test", Kind.A, 9, (AddressRecord("192.0.2.2"), AddressRecord("192.0.2.1"))),
            RRset("m2.d.test", Kind.A, 9, ()),
            NS,
        ),
    )
    assert addresses_given(given) == {"m1.d.test": (("192.0.2.1", "192.0.2.2", "2001:db8::1"), 4)}


def test_only_four_outcomes_are_decided() -> None:
    decided = {outcome for outcome in Outcome if outcome.is_decided}
    assert decided == {Outcome.ANSWER, Outcome.EMPTY, Outcome.NXDOMAIN, Outcome.UNAVAILABLE}
