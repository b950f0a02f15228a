"""The resolver against a scripted server on loopback."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import pytest

from srv import resolvconf, resolver
from srv.resolver import Answer, Lookup, Outcome, Resolver, Target
from tests.srv.conftest import rrsets

DOMAIN = "demo.fairlead.test"
NAME = f"_mysql._tcp.{DOMAIN}"
SRV = [f"{NAME} 30 SRV 0 100 3306 m1.{DOMAIN}.", f"{NAME} 30 SRV 1 50 3307 m2.{DOMAIN}."]
ADDRESSES = [f"m1.{DOMAIN} 20 A 192.0.2.1", f"m2.{DOMAIN} 25 A 192.0.2.2", f"m2.{DOMAIN} 10 AAAA 2001:db8::2"]
M1 = Target(f"m1.{DOMAIN}", 3306, 0, 100, ("192.0.2.1",))
M2 = Target(f"m2.{DOMAIN}", 3307, 1, 50, ("192.0.2.2", "2001:db8::2"))


async def look(*servers: Any, name: str = NAME, timeout: float = 5.0, attempts: int = 1) -> Lookup:
    """Look up through the servers; the timeout is far away unless the test is about it."""
    addresses = [server if isinstance(server, tuple) else server.address for server in servers]
    return await Resolver(addresses, timeout=timeout, attempts=attempts, rng=random.Random(1)).srv(name)


@pytest.fixture
def nobody() -> Iterator[tuple[str, int]]:
    """An address where nobody listens: another socket's, which is connected and so refuses ours."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(("127.0.0.1", 9))
        yield sock.getsockname()


async def test_an_answer_with_additional_addresses_takes_one_question(scripted: Any) -> None:
    scripted.answers(*SRV, additional=ADDRESSES)
    assert await look(scripted) == Lookup(NAME, Outcome.ANSWER, Answer((M1, M2), 10))
    assert scripted.questions() == [f"{NAME}. SRV"]
    assert scripted.asked[0].payload == 1232
    assert scripted.asked[0].flags & dns.flags.RD


async def test_missing_addresses_are_asked_for(scripted: Any) -> None:
    scripted.answers(*SRV, *ADDRESSES[1:], additional=ADDRESSES[:1])
    assert await look(scripted) == Lookup(NAME, Outcome.ANSWER, Answer((M1, M2), 10))
    assert sorted(scripted.questions()) == [f"{NAME}. SRV", f"m2.{DOMAIN}. A", f"m2.{DOMAIN}. AAAA"]


async def test_a_target_that_is_an_alias_is_followed(scripted: Any) -> None:
    scripted.answers(SRV[0], f"m1.{DOMAIN} 3 CNAME real.test.", "real.test 9 A 192.0.2.1")
    assert await look(scripted) == Lookup(NAME, Outcome.ANSWER, Answer((M1,), 3))


async def test_a_response_with_only_the_alias_is_followed_by_another_question(scripted: Any) -> None:
    """What an authoritative server sends whose alias leads out of its zones."""
    scripted.answers(*SRV, additional=ADDRESSES)
    whole = scripted.udp
    aliases = {"_mysql._tcp.one.test.": "_mysql._tcp.two.test", "_mysql._tcp.two.test.": NAME}

    def only_the_alias(query: dns.message.Message) -> list[bytes]:
        owner = str(query.question[0].name)
        if owner not in aliases:
            return list(whole(query))
        reply = scripted.reply_to(query)
        reply.answer = rrsets([f"{owner} 7 CNAME {aliases[owner]}."])
        return [reply.to_wire()]

    scripted.udp = only_the_alias
    lookup = await look(scripted, name="_mysql._tcp.one.test")
    assert lookup == Lookup("_mysql._tcp.one.test", Outcome.ANSWER, Answer((M1, M2), 7), found_at=NAME)
    assert scripted.questions() == ["_mysql._tcp.one.test. SRV", "_mysql._tcp.two.test. SRV", f"{NAME}. SRV"]


async def test_aliases_in_a_circle_of_responses_end(scripted: Any) -> None:
    def circle(query: dns.message.Message) -> list[bytes]:
        owner = str(query.question[0].name)
        reply = scripted.reply_to(query)
        reply.answer = rrsets([f"{owner} 7 CNAME {'b' if owner == 'a.test.' else 'a'}.test."])
        return [reply.to_wire()]

    scripted.udp = circle
    lookup = await look(scripted, name="a.test")
    assert (lookup.outcome, lookup.detail) == (Outcome.SERVFAIL, "more than 8 aliases, or a loop")
    assert len(scripted.asked) == 9


async def test_where_an_alias_leads_and_nobody_tells_is_said(scripted: Any) -> None:
    def refuses_strangers(query: dns.message.Message) -> list[bytes]:
        if str(query.question[0].name) != "a.test.":
            return [scripted.reply_to(query, rcode=5).to_wire()]
        reply = scripted.reply_to(query)
        reply.answer = rrsets(["a.test 7 CNAME b.other."])
        return [reply.to_wire()]

    scripted.udp = refuses_strangers
    lookup = await look(scripted, name="a.test")
    assert lookup.outcome is Outcome.REFUSED
    assert lookup.detail == f"an alias leads to b.other: 127.0.0.1 port {scripted.address[1]}: refused"


async def test_an_address_that_is_good_for_less_shortens_the_whole(scripted: Any) -> None:
    scripted.answers(f"{NAME} 300 SRV 0 100 3306 m1.{DOMAIN}.", f"m1.{DOMAIN} 5 A 192.0.2.1")
    lookup = await look(scripted)
    assert lookup.answer
    assert lookup.answer.ttl == 5


@pytest.fixture
def system(scripted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Writes a resolv.conf of the test's own; its name server is the scripted one."""
    file = tmp_path / "resolv.conf"
    monkeypatch.setattr(resolvconf, "PATH", file)
    monkeypatch.setattr(resolvconf, "DNS_PORT", scripted.address[1])
    return file.write_text


async def test_a_relative_name_is_found_under_the_search_list(scripted: Any, system: Any) -> None:
    """Read again at each look; the final dot and the number of dots count as resolv.conf(5) says."""
    system("search no.test fairlead.test\nnameserver 127.0.0.1\noptions ndots:5\n")
    scripted.udp = lambda query: [
        scripted.reply_to(
            query, SRV, additional=ADDRESSES, rcode=0 if str(query.question[0].name) == f"{NAME}." else 3
        ).to_wire()
    ]
    one = Resolver(timeout=5, attempts=1)
    relative = "_mysql._tcp.demo"
    assert await one.srv(relative) == Lookup(relative, Outcome.ANSWER, Answer((M1, M2), 10), found_at=NAME)
    assert scripted.questions() == [f"{relative}.no.test. SRV", f"{NAME}. SRV"]
    assert (await one.srv(f"{relative}.")).outcome is Outcome.NXDOMAIN
    assert scripted.questions()[2:] == [f"{relative}. SRV"]
    system("search fairlead.test\nnameserver 127.0.0.1\noptions ndots:1\n")
    assert (await one.srv(relative)).outcome is Outcome.ANSWER
    assert scripted.questions()[3:] == [f"{relative}. SRV", f"{NAME}. SRV"]


async def test_a_suffix_that_cannot_be_told_of_ends_the_search(scripted: Any, system: Any) -> None:
    """The same short name under the next suffix may be another cluster's."""
    system("search broken.test fairlead.test\nnameserver 127.0.0.1\noptions ndots:5\n")
    scripted.udp = lambda query: [
        scripted.reply_to(query, SRV, rcode=2 if "broken" in str(query.question[0].name) else 0).to_wire()
    ]
    lookup = await Resolver(timeout=5, attempts=1).srv("_mysql._tcp.demo")
    assert lookup.outcome is Outcome.SERVFAIL
    assert lookup.detail.startswith("_mysql._tcp.demo.broken.test: ")


async def test_a_name_found_nowhere_is_empty_if_it_exists_somewhere(scripted: Any, system: Any) -> None:
    system("search a.test b.test\nnameserver 127.0.0.1\noptions ndots:5\n")
    soa = "test 60 SOA ns.test. h.test. 1 2 3 4 5"

    def exists_under_a(query: dns.message.Message) -> list[bytes]:
        known = "a.test" in str(query.question[0].name)
        return [scripted.reply_to(query, authority=[soa], rcode=0 if known else 3).to_wire()]

    scripted.udp = exists_under_a
    lookup = await Resolver(timeout=5, attempts=1).srv("_mysql._tcp.demo")
    assert (lookup.outcome, lookup.negative_ttl) == (Outcome.EMPTY, 5)
    assert len(scripted.asked) == 3


async def test_resolv_conf_says_how_long_and_how_often(scripted: Any, system: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(resolver, "TIMEOUT", 0.05)
    system("nameserver 127.0.0.1\noptions attempts:3\n")
    assert (await Resolver().srv(NAME)).outcome is Outcome.TIMEOUT
    assert len(scripted.asked) == 3
    system("nameserver 127.0.0.1\noptions timeout:1 attempts:3\n")
    lookup = await Resolver(attempts=1).srv(NAME)
    assert "no answer within 1 s" in lookup.detail
    assert len(scripted.asked) == 4


@pytest.mark.parametrize(("remembered", "asked"), [(60.0, 1), (0.0, 5)])
async def test_a_server_that_was_silent_is_asked_last_for_a_while(
    scripted: Any, second: Any, monkeypatch: Any, remembered: float, asked: int
) -> None:
    monkeypatch.setattr(resolver, "SILENCE_REMEMBERED", remembered)
    second.answers(*SRV, *ADDRESSES)
    assert (await look(scripted, second, timeout=0.1)).outcome is Outcome.ANSWER
    assert len(scripted.asked) == asked
    assert len(second.asked) == 5


async def test_servers_take_turns_where_resolv_conf_says_so(scripted: Any, system: Any) -> None:
    system("nameserver 127.0.0.1\nnameserver 127.0.0.2\noptions rotate\n")
    one = Resolver()
    conf = resolvconf.read_resolv_conf()
    assert conf.rotate
    assert [one._in_turn(conf)[0][0] for _ in range(4)] == ["127.0.0.1", "127.0.0.2"] * 2


async def test_names_are_asked_in_lower_case_as_they_stand(scripted: Any) -> None:
    scripted.answers(*SRV, additional=ADDRESSES)
    assert (await look(scripted, name=NAME.upper() + ".")).name == NAME
    assert scripted.questions() == [f"{NAME}. SRV"]


async def test_an_impossible_name_is_the_callers_mistake(scripted: Any) -> None:
    with pytest.raises(ValueError, match="empty label"):
        await look(scripted, name="a..b")


@pytest.mark.parametrize(
    ("rcode", "outcome"),
    [(0, Outcome.EMPTY), (2, Outcome.SERVFAIL), (3, Outcome.NXDOMAIN), (5, Outcome.REFUSED), (9, Outcome.SERVFAIL)],
)
async def test_outcomes_without_an_answer(scripted: Any, rcode: int, outcome: Outcome) -> None:
    soa = f"{DOMAIN} 60 SOA ns.{DOMAIN}. h.{DOMAIN}. 1 2 3 4 5"
    scripted.answers(authority=[soa], rcode=rcode)
    lookup = await look(scripted)
    assert (lookup.outcome, lookup.answer) == (outcome, None)
    assert lookup.negative_ttl == (5 if outcome.is_decided else None)


async def test_the_root_as_target(scripted: Any) -> None:
    scripted.answers(f"{NAME} 30 SRV 0 0 0 .")
    lookup = await look(scripted)
    assert (lookup.outcome, lookup.answer, lookup.negative_ttl) == (Outcome.UNAVAILABLE, None, 30)


async def test_the_root_among_others_is_left_out(scripted: Any) -> None:
    scripted.answers(f"{NAME} 30 SRV 0 0 0 .", SRV[0], additional=ADDRESSES)
    assert await look(scripted) == Lookup(NAME, Outcome.ANSWER, Answer((M1,), 20))


async def test_a_target_without_address_is_named_and_asked_again_when_its_denial_ends(scripted: Any) -> None:
    soa = f"{DOMAIN} 60 SOA ns.{DOMAIN}. h.{DOMAIN}. 1 2 3 4 5"
    scripted.answers(SRV[0], authority=[soa])
    lookup = await look(scripted)
    assert lookup.answer == Answer((Target(f"m1.{DOMAIN}", 3306, 0, 100, ()),), 5)
    assert lookup.detail == f"no address for m1.{DOMAIN}: empty"
    assert lookup.nowhere == {f"m1.{DOMAIN}"}


async def test_addresses_that_nobody_can_tell_make_the_answer_good_for_nothing(scripted: Any) -> None:
    def only_srv(query: dns.message.Message) -> list[bytes]:
        failing = query.question[0].rdtype != dns.rdatatype.SRV
        return [scripted.reply_to(query, SRV[:1], rcode=2 if failing else 0).to_wire()]

    scripted.udp = only_srv
    lookup = await look(scripted)
    assert lookup.answer == Answer((Target(f"m1.{DOMAIN}", 3306, 0, 100, ()),), 0)
    assert "servfail" in lookup.detail
    assert lookup.nowhere == frozenset()


async def test_known_addresses_do_not_wait_for_those_that_do_not_come(scripted: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(resolver, "ADDRESSES_TIMEOUT", 0.2)

    def without_m2_and_ipv6(query: dns.message.Message) -> list[bytes]:
        asked = f"{query.question[0].name} {query.question[0].rdtype.name}"
        if asked in (f"{NAME}. SRV", f"m1.{DOMAIN}. A"):
            return [scripted.reply_to(query, [*SRV, *ADDRESSES]).to_wire()]
        return []

    scripted.udp = without_m2_and_ipv6
    async with asyncio.timeout(5):
        lookup = await look(scripted, timeout=30)
    assert lookup.answer == Answer((M1, Target(f"m2.{DOMAIN}", 3307, 1, 50, ())), 0)
    assert lookup.detail == f"no address for m2.{DOMAIN}: not found within 0.2 s"
    assert lookup.nowhere == frozenset()


async def test_only_so_many_targets_are_taken(scripted: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(resolver, "TARGETS", 1)
    scripted.answers(*SRV[::-1], additional=ADDRESSES)
    lookup = await look(scripted)
    assert lookup.answer
    assert lookup.answer.targets == (M1,)
    assert lookup.detail == "2 targets, of which only the first 1 by priority are taken"


async def test_silence_is_a_timeout(scripted: Any) -> None:
    lookup = await look(scripted, timeout=0.05, attempts=2)
    assert lookup.outcome is Outcome.TIMEOUT
    assert "no answer within 0.05 s" in lookup.detail
    assert len(scripted.asked) == 2


async def test_a_port_where_nobody_listens_is_known_at_once(nobody: tuple[str, int]) -> None:
    lookup = await asyncio.wait_for(look(nobody, timeout=30), 5)
    assert lookup.outcome is Outcome.TIMEOUT
    assert "refused" in lookup.detail.lower()


async def test_replies_to_something_else_are_passed_over(scripted: Any) -> None:
    def noise_first(query: dns.message.Message) -> list[bytes]:
        right = scripted.reply_to(query, SRV, additional=ADDRESSES)
        wrong_id = struct.pack("!H", query.id ^ 1) + right.to_wire()[2:]
        other = scripted.reply_to(dns.message.make_query("other.test", "SRV", id=query.id)).to_wire()
        return [b"", b"x", wrong_id, other, query.to_wire(), right.to_wire()]

    scripted.udp = noise_first
    assert (await look(scripted)).outcome is Outcome.ANSWER


async def test_only_noise_is_a_timeout_that_says_so(scripted: Any) -> None:
    scripted.udp = lambda query: [struct.pack("!H", query.id ^ 1) + query.to_wire()[2:]]
    lookup = await look(scripted, timeout=0.05)
    assert lookup.outcome is Outcome.TIMEOUT
    assert "1 replies to something else" in lookup.detail


async def test_a_reply_from_elsewhere_is_never_seen(scripted: Any) -> None:
    """A stranger who knows number, question and port still cannot answer for the server, though it comes first."""
    reached: list[int] = []

    def forge(query: dns.message.Message) -> list[bytes]:
        forged = scripted.reply_to(query, rcode=3).to_wire()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            ports = _udp_ports_connected_to(scripted.address[1])
            reached.extend(stranger.sendto(forged, ("127.0.0.1", port)) for port in ports)
        return [scripted.reply_to(query, rcode=5).to_wire()]

    scripted.udp = forge
    assert (await look(scripted)).outcome is Outcome.REFUSED
    assert reached


def _udp_ports_connected_to(port: int) -> list[int]:
    with open("/proc/net/udp", encoding="ascii") as table:  # noqa: PTH123 - a table of the kernel's
        rows = [line.split() for line in table.readlines()[1:]]
    return [int(row[1].split(":")[1], 16) for row in rows if row[2] == f"0100007F:{port:04X}"]


async def test_a_malformed_reply_is_named(scripted: Any) -> None:
    scripted.udp = lambda query: [struct.pack("!HHHHHH", query.id, 0x8180, 1, 1, 0, 0) + b"\x3fjunk"]
    lookup = await look(scripted, timeout=0.05)
    assert lookup.outcome is Outcome.MALFORMED
    assert "not a DNS message" in lookup.detail


async def test_a_malformed_datagram_does_not_end_the_question(scripted: Any) -> None:
    junk = struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + b"\x3fjunk"
    scripted.udp = lambda query: [struct.pack("!H", query.id) + junk, scripted.reply_to(query, rcode=3).to_wire()]
    assert (await look(scripted)).outcome is Outcome.NXDOMAIN


@pytest.mark.parametrize("rcode", [1, 4])
async def test_a_server_without_edns_is_asked_without(scripted: Any, rcode: int) -> None:
    def old(query: dns.message.Message) -> list[bytes]:
        if query.edns >= 0:
            return [struct.pack("!HHHHHH", query.id, 0x8180 | rcode, 0, 0, 0, 0)]
        return [scripted.reply_to(query, SRV, additional=ADDRESSES).to_wire()]

    scripted.udp = old
    assert (await look(scripted)).outcome is Outcome.ANSWER


async def test_a_truncated_answer_is_fetched_over_tcp(scripted: Any) -> None:
    scripted.answers(*SRV, additional=ADDRESSES)
    scripted.udp = lambda query: [scripted.reply_to(query, SRV[:1], flags=dns.flags.TC).to_wire()]
    assert await look(scripted) == Lookup(NAME, Outcome.ANSWER, Answer((M1, M2), 10))
    assert scripted.questions() == [f"{NAME}. SRV"] * 2


async def test_an_answer_cut_within_a_record_is_fetched_over_tcp(scripted: Any) -> None:
    scripted.answers(*SRV, additional=ADDRESSES)
    scripted.udp = lambda query: [scripted.reply_to(query, SRV, flags=dns.flags.TC).to_wire()[:-15]]
    assert await look(scripted) == Lookup(NAME, Outcome.ANSWER, Answer((M1, M2), 10))


@pytest.mark.parametrize("tcp", ["closed", "silent", "other", "truncated"])
async def test_a_truncated_answer_alone_is_no_answer(scripted: Any, tcp: str) -> None:
    truncated = lambda query: [scripted.reply_to(query, SRV[:1], flags=dns.flags.TC).to_wire()]  # noqa: E731
    scripted.udp = truncated
    scripted.tcp = {
        "closed": lambda _: (),
        "silent": lambda _: (),
        "other": lambda query: [query.to_wire()],
        "truncated": truncated,
    }[tcp]
    lookup = await look(scripted)
    assert lookup.outcome is (Outcome.TIMEOUT if tcp in ("closed", "silent") else Outcome.MALFORMED)


@pytest.mark.parametrize("first", ["silent", "servfail", "refused", "malformed", "referral", "nobody"])
async def test_the_next_server_is_asked_when_the_first_cannot_tell(
    scripted: Any, second: Any, nobody: tuple[str, int], first: str
) -> None:
    match first:
        case "servfail":
            scripted.answers(rcode=2)
        case "refused":
            scripted.answers(rcode=5)
        case "malformed":
            scripted.udp = lambda query: [query.to_wire()[:2]]
        case "referral":
            scripted.answers(authority=["test 60 NS ns.elsewhere."])
    second.answers(*SRV, additional=ADDRESSES)
    lookup = await look(
        nobody if first == "nobody" else scripted, second, timeout=0.05 if first in ("silent", "malformed") else 5
    )
    assert lookup.outcome is Outcome.ANSWER


async def test_a_decided_answer_ends_the_round(scripted: Any, second: Any) -> None:
    scripted.answers(rcode=3)
    second.answers(*SRV, additional=ADDRESSES)
    assert (await look(scripted, second)).outcome is Outcome.NXDOMAIN
    assert not second.asked


async def test_what_one_server_says_of_itself_outranks_anothers_silence(scripted: Any, second: Any) -> None:
    scripted.answers(rcode=5)
    lookup = await look(scripted, second, timeout=0.05)
    assert lookup.outcome is Outcome.REFUSED
    assert f"port {scripted.address[1]}: refused" in lookup.detail
    assert f"port {second.address[1]}: no answer" in lookup.detail


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="no name server"):
        Resolver([])
    with pytest.raises(ValueError, match="timeout 0"):
        Resolver([("127.0.0.1", 53)], timeout=0)
