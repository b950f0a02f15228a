"""The resolver against name servers that nobody here wrote: BIND, Knot and PowerDNS, as Debian has them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import pytest

from bench.peers.nameservers import KINDS, NameServer, free_address, start
from srv.lookup import Answer, Lookup, Outcome, Target
from srv.resolver import Resolver

pytestmark = pytest.mark.sandbox

ZONE = "d.test"
OTHER = "other.test"
NAME = f"_mysql._tcp.{ZONE}"
MANY = 60
PATIENCE = 20.0  # seconds; nothing waits for it to pass

RECORDS = f"""
$ORIGIN {ZONE}.
$TTL 30
@ SOA ns h 1 60 60 60 5
@ NS ns
ns A 127.0.0.1
m1 A 192.0.2.1
m2 A 192.0.2.2
m2 AAAA 2001:db8::2
m6 AAAA 2001:db8::6
moving 7 A 192.0.2.9
aliased CNAME m1
nowhere TXT "a name without an address"
_mysql._tcp SRV 0 100 3306 m1
_mysql._tcp SRV 1 50 3307 m2
_mysql._tcp.six SRV 0 100 3306 m6
_mysql._tcp.short 300 SRV 0 100 3306 moving
_mysql._tcp.lost SRV 0 100 3306 nowhere
_mysql._tcp.lost SRV 0 100 3306 m1
_mysql._tcp.closed SRV 0 0 0 .
_mysql._tcp.exists TXT "no SRV here"
_mysql._tcp.alias 9 CNAME _mysql._tcp
_mysql._tcp.alias2 CNAME _mysql._tcp.alias
_mysql._tcp.dangling CNAME _mysql._tcp.nothing
_mysql._tcp.out CNAME _mysql._tcp.{OTHER}.
_mysql._tcp.loop1 CNAME _mysql._tcp.loop2
_mysql._tcp.loop2 CNAME _mysql._tcp.loop1
""" + "\n".join(
    [
        *(f"_mysql._tcp.many SRV 0 100 3306 n{number}" for number in range(MANY)),
        *(f"n{number} A 192.0.2.{100 + number}" for number in range(MANY)),
        *(f"_mysql._tcp.chain{number} CNAME _mysql._tcp.chain{number + 1}" for number in range(12)),
        "_mysql._tcp.chain12 SRV 0 100 3306 m1",
        "",
    ]
)
OTHER_RECORDS = f"""
$ORIGIN {OTHER}.
$TTL 20
@ SOA ns h 1 60 60 60 5
@ NS ns
ns A 127.0.0.1
far A 192.0.2.77
_mysql._tcp SRV 0 100 3306 far
"""
M1 = Target(f"m1.{ZONE}", 3306, 0, 100, ("192.0.2.1",))
M2 = Target(f"m2.{ZONE}", 3307, 1, 50, ("192.0.2.2", "2001:db8::2"))
FAR = Target(f"far.{OTHER}", 3306, 0, 100, ("192.0.2.77",))


@pytest.fixture(scope="session")
def servers(peers: Path) -> Iterator[dict[str, NameServer]]:
    """One of each kind with the zone; one with another zone; a recursive one before them, and one that is broken."""
    running: dict[str, NameServer] = {}
    with tempfile.TemporaryDirectory(prefix="fl-dns-", dir="/tmp") as name:
        directory = Path(name)
        try:
            for kind in KINDS:
                running[kind] = start(kind, directory / kind, {ZONE: RECORDS})
            running["other"] = start("knot", directory / "other", {OTHER: OTHER_RECORDS})
            forwards = {ZONE: running["knot"].address, OTHER: running["other"].address, "dead.test": free_address()}
            running["recursive"] = start(
                "bind",
                directory / "recursive",
                options="recursion yes; allow-query { any; }; empty-zones-enable no; resolver-query-timeout 1000;",
                config="\n".join(
                    f'zone "{zone}" {{ type forward; forward only; forwarders {{ {host} port {port}; }}; }};'
                    for zone, (host, port) in forwards.items()
                ),
                ready=ZONE,
            )
            broken = {"ok.test": OTHER_RECORDS.replace(OTHER, "ok.test"), "broken.test": "this is no zone\n"}
            for kind in ("bind", "knot"):
                running[f"broken {kind}"] = start(kind, directory / f"broken-{kind}", broken, ready="ok.test")
            yield running
        finally:
            for one in running.values():
                one.stop()


@pytest.fixture(params=[*KINDS, "recursive"])
def server(request: pytest.FixtureRequest, servers: dict[str, NameServer]) -> NameServer:
    return servers[request.param]


@pytest.fixture(params=list(KINDS))
def authority(request: pytest.FixtureRequest, servers: dict[str, NameServer]) -> NameServer:
    return servers[request.param]


def look(name: str, *asked: NameServer, timeout: float = 3.0, attempts: int = 1) -> Lookup:
    """One look, through these servers in this order."""
    resolver = Resolver([one.address for one in asked], timeout=timeout, attempts=attempts)

    async def bounded() -> Lookup:
        return await asyncio.wait_for(resolver.srv(name), PATIENCE)

    return asyncio.run(bounded())


def targets(lookup: Lookup) -> tuple[Target, ...]:
    assert lookup.answer is not None, lookup
    return lookup.answer.targets


def test_targets_with_addresses_of_both_kinds(server: NameServer) -> None:
    lookup = look(NAME, server)
    assert (lookup.outcome, targets(lookup)) == (Outcome.ANSWER, (M1, M2))
    assert lookup.answer
    assert 0 < lookup.answer.ttl <= 30


def test_a_target_with_an_ipv6_address_alone(server: NameServer) -> None:
    assert targets(look(f"_mysql._tcp.six.{ZONE}", server))[0].addresses == ("2001:db8::6",)


def test_an_address_that_is_good_for_less_than_its_srv_record(authority: NameServer) -> None:
    lookup = look(f"_mysql._tcp.short.{ZONE}", authority)
    assert lookup.answer == Answer((Target(f"moving.{ZONE}", 3306, 0, 100, ("192.0.2.9",)),), 7)


def test_a_target_that_has_no_address(server: NameServer) -> None:
    lookup = look(f"_mysql._tcp.lost.{ZONE}", server)
    assert [one.addresses for one in targets(lookup)] == [("192.0.2.1",), ()]
    assert lookup.nowhere == {f"nowhere.{ZONE}"}
    assert lookup.detail == f"no address for nowhere.{ZONE}: empty"


def test_a_large_set_comes_over_tcp(server: NameServer) -> None:
    name = f"_mysql._tcp.many.{ZONE}"
    query = dns.message.make_query(name, "SRV", use_edns=0, payload=1232)
    over_udp = dns.query.udp(query, server.address[0], PATIENCE, server.address[1])
    assert over_udp.flags & dns.flags.TC
    found = targets(look(name, server))
    assert len(found) == MANY
    assert {one.addresses for one in found} == {(f"192.0.2.{100 + number}",) for number in range(MANY)}


@pytest.mark.parametrize(
    ("name", "outcome", "negative_ttl"),
    [
        (f"_mysql._tcp.exists.{ZONE}", Outcome.EMPTY, 5),
        (f"_mysql._tcp.absent.{ZONE}", Outcome.NXDOMAIN, 5),
        (f"_mysql._tcp.dangling.{ZONE}", Outcome.NXDOMAIN, 5),
        (f"_mysql._tcp.closed.{ZONE}", Outcome.UNAVAILABLE, 30),
    ],
)
def test_each_negative_answer_has_its_name(
    server: NameServer, name: str, outcome: Outcome, negative_ttl: float
) -> None:
    lookup = look(name, server)
    assert (lookup.outcome, lookup.answer) == (outcome, None)
    assert lookup.negative_ttl is not None
    assert 0 < lookup.negative_ttl <= negative_ttl


def test_a_zone_of_others_is_refused(authority: NameServer) -> None:
    assert look("_mysql._tcp.elsewhere.test", authority).outcome is Outcome.REFUSED


@pytest.mark.parametrize("kind", ["bind", "knot"])
def test_a_zone_that_could_not_be_loaded_is_a_failure_and_the_next_server_is_asked(
    servers: dict[str, NameServer], kind: str
) -> None:
    broken = servers[f"broken {kind}"]
    assert look("_mysql._tcp.broken.test", broken).outcome is Outcome.SERVFAIL
    assert look(NAME, broken, servers["knot"]).outcome is Outcome.ANSWER


def test_a_recursive_server_that_finds_nobody_to_ask_is_a_failure(servers: dict[str, NameServer]) -> None:
    assert look("_mysql._tcp.dead.test", servers["recursive"], timeout=15).outcome is Outcome.SERVFAIL


def test_an_alias_and_a_chain_of_them(server: NameServer) -> None:
    for name in ("alias", "alias2"):
        lookup = look(f"_mysql._tcp.{name}.{ZONE}", server)
        assert (targets(lookup), lookup.found_at) == ((M1, M2), NAME)
        assert lookup.answer
        assert lookup.answer.ttl <= 9


def test_an_alias_into_another_servers_zone(servers: dict[str, NameServer], authority: NameServer) -> None:
    """The first server has nothing but the alias, and refuses to tell what is there; the second can."""
    name = f"_mysql._tcp.out.{ZONE}"
    lookup = look(name, authority, servers["other"])
    assert (targets(lookup), lookup.found_at) == ((FAR,), f"_mysql._tcp.{OTHER}")
    alone = look(name, authority)
    assert alone.outcome is Outcome.REFUSED
    assert alone.detail.startswith(f"an alias leads to _mysql._tcp.{OTHER}: ")
    assert targets(look(name, servers["recursive"])) == (FAR,)


@pytest.mark.parametrize("name", ["loop1", "chain0"])
def test_aliases_without_end_are_a_failure_in_bounded_time(server: NameServer, name: str) -> None:
    lookup = look(f"_mysql._tcp.{name}.{ZONE}", server)
    assert lookup.answer is None
    assert lookup.outcome is Outcome.SERVFAIL


def test_a_frozen_server_beside_one_that_answers(servers: dict[str, NameServer], authority: NameServer) -> None:
    """Its silence costs one timeout, not one for each of the hundred and more questions of a large set."""
    silent = servers["broken bind"]
    silent.freeze()
    try:
        for name, count in ((NAME, 2), (f"_mysql._tcp.many.{ZONE}", MANY)):
            began = time.monotonic()
            lookup = look(name, silent, authority, timeout=0.5)
            assert len(targets(lookup)) == count
            assert all(one.addresses for one in targets(lookup)), lookup.detail
            assert 0.5 <= time.monotonic() - began < 2.0
        alone = look(NAME, silent, timeout=0.2, attempts=2)
        assert alone.outcome is Outcome.TIMEOUT
        assert "no answer within 0.2 s" in alone.detail
    finally:
        silent.thaw()


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_name_server_at_an_ipv6_address(tmp_path: Path, servers: dict[str, NameServer], kind: str) -> None:
    there = start(kind, tmp_path / kind, {ZONE: RECORDS}, address=free_address("::1"))
    try:
        assert len(targets(look(f"_mysql._tcp.many.{ZONE}", there))) == MANY
    finally:
        there.stop()


def test_a_server_that_is_gone_is_known_at_once_and_the_next_is_asked(servers: dict[str, NameServer]) -> None:
    with tempfile.TemporaryDirectory(prefix="fl-dns-", dir="/tmp") as directory:
        gone = start("knot", Path(directory) / "gone", {ZONE: RECORDS})
        assert look(NAME, gone).outcome is Outcome.ANSWER
        gone.stop()
    began = time.monotonic()
    assert look(NAME, gone, timeout=10).outcome is Outcome.TIMEOUT
    assert look(NAME, gone, servers["knot"], timeout=10).outcome is Outcome.ANSWER
    assert time.monotonic() - began < 5


def test_the_command_searches_as_resolv_conf_says(servers: dict[str, NameServer], tmp_path: Path) -> None:
    """`fairlead resolve` on a machine whose resolv.conf names a real server on port 53."""
    address = ("127.0.53.53", 53)
    knot = start(
        "knot", tmp_path / "knot", {ZONE: RECORDS.replace("_mysql._tcp ", "_mysql._tcp.orders ")}, address=address
    )
    conf = tmp_path / "resolv.conf"

    def resolve(name: str, *options: str) -> subprocess.CompletedProcess[str]:
        mounted = 'mount --bind "$1" /etc/resolv.conf; shift; exec "$@"'
        command = ["-m", "router.cli", "resolve", name, *options]
        return subprocess.run(
            ["unshare", "--mount", "sh", "-ec", mounted, "sh", str(conf), sys.executable, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    try:
        conf.write_text(f"nameserver 127.0.53.52\nnameserver 127.0.53.53\nsearch {OTHER} {ZONE}\noptions ndots:5\n")
        # Knot refuses what is not its own, which decides nothing: the search must not go on to another cluster.
        stopped = resolve("_mysql._tcp.orders", "--json")
        (document,) = json.loads(stopped.stdout)
        assert (stopped.returncode, document["outcome"]) == (2, "refused")
        conf.write_text(f"nameserver 127.0.53.52\nnameserver 127.0.53.53\nsearch no.{ZONE} {ZONE}\noptions ndots:5\n")
        found = resolve("_mysql._tcp.orders")
        assert found.returncode == 0, found.stderr
        heading, *rest = found.stdout.splitlines()
        assert heading == f"_mysql._tcp.orders: answer, TTL 30 s, found at _mysql._tcp.orders.{ZONE}"
        assert rest[0].split() == [f"m1.{ZONE}:3306", "priority", "0", "weight", "100", "192.0.2.1"]
        whole = resolve(f"_mysql._tcp.exists.{ZONE}.")
        assert (whole.returncode, whole.stdout) == (
            1,
            f"_mysql._tcp.exists.{ZONE}: empty, TTL 5 s: the name exists, with no target\n",
        )
    finally:
        knot.stop()


def test_dig_sees_what_we_see(peers: Path, authority: NameServer) -> None:
    """A client that nobody here wrote, as the judge of how the tests' servers are set up."""
    host, port = authority.address
    said = subprocess.run(
        ["chroot", str(peers), "/usr/bin/dig", f"@{host}", "-p", str(port), "+short", NAME, "SRV"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    ).stdout
    assert sorted(said.split("\n")[:-1]) == [f"0 100 3306 m1.{ZONE}.", f"1 50 3307 m2.{ZONE}."]
