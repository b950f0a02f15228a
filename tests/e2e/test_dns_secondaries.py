"""Real Knot and BIND beside our server: as its secondaries, and as primaries of the same zone to compare it with."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode
import pytest

from bench.peers.nameservers import Address, NameServer, free_address, start
from srv.controller import Controller
from srv.desired import Desired
from srv.notification import write_notify
from srv.records import SoaRecord
from srv.server import Server
from srv.zone import Part, Zone, ZoneMember, build_zone

pytestmark = pytest.mark.sandbox

DOMAIN = "demo.fairlead.test"
PATIENCE = 20.0  # seconds until a test gives up
FOLLOWED = 1.0  # second within which a secondary has a change that it is told of
LARGE = 100  # members; BIND 9.18 takes no more records in one set (max-records-per-type)
KINDS_ASKED = ("SRV", "A", "AAAA", "NS", "SOA", "TXT", "CNAME", "MX")


def published(primary: str | None, members: int = 3) -> tuple[ZoneMember, ...]:
    found = []
    for number in range(1, members + 1):
        label = f"m{number}"
        part = Part.PRIMARY if label == primary else Part.REPLICAS
        addresses = (f"192.0.2.{number % 250 + 1}", f"2001:db8::{number:x}")
        found.append(ZoneMember(label, addresses, 3306, 33060, frozenset({part}) if primary else frozenset()))
    return tuple(found)


def zone(serial: int = 1, primary: str | None = "m1", members: int = 3, *, withheld: bool = False) -> Zone:
    there = published(primary, members)
    return build_zone(DOMAIN, there, serial=serial, nameserver_addresses=("192.0.2.53",), withhold_parts=withheld)


def desired(primary: str | None) -> Desired:
    return Desired(DOMAIN, published(primary))


async def ask(place: Address, name: str, kind: str, *, tcp: bool = False, timeout: float = 2.0) -> dns.message.Message:
    query = dns.message.make_query(name, kind, use_edns=0, payload=1232)
    asking = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await asking(query, place[0], port=place[1], timeout=timeout)


def lines(section: list[Any]) -> list[str]:
    return sorted(line.lower() for rrset in section for line in rrset.to_text().splitlines())


async def serial_at(place: Address) -> int:
    try:
        reply = await ask(place, DOMAIN, "SOA")
    except dns.exception.Timeout:
        return 0
    return reply.answer[0][0].serial if reply.answer else 0


async def follows(place: Address, serial: int, within: float = PATIENCE) -> float:
    """Wait until the secondary has the serial, and return after how many seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while await serial_at(place) != serial:
        assert loop.time() - began < within, f"serial {serial} is not there after {within} s"
        await asyncio.sleep(0.01)
    return loop.time() - began


def names_of(one: Zone) -> list[str]:
    return sorted({*one.names, f"nobody.{DOMAIN}", f"x.m1.{DOMAIN}", f"_mysql._udp.{DOMAIN}"})


async def serving(address: Address, secondary: Address, *zones: Zone) -> Server:
    """Our server, which the secondary may have zones from and is told of changes by."""
    server = Server([address], zones, transfer_to=["127.0.0.0/30"], notify=[secondary])
    await server.start()
    return server


class Pair:
    """Our server, and a secondary of it."""

    def __init__(self, server: Server, secondary: NameServer) -> None:
        self.serve(server)
        self.ours = server.addresses[0]
        self.secondary = secondary
        self.theirs = secondary.address

    def serve(self, server: Server) -> None:
        """Begin with a server that has been started."""
        self.server = server
        self._serving = asyncio.create_task(server.run())

    async def stop(self) -> None:
        """End our server; the secondary stays."""
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        await self.server.close()

    async def differences(self) -> list[str]:
        found = []
        for name, kind in itertools.product(names_of(self.server.zones[0]), KINDS_ASKED):
            one, other = await ask(self.ours, name, kind), await ask(self.theirs, name, kind)
            for part in ("rcode", "answer", "authority"):
                mine, yours = (
                    message.rcode() if part == "rcode" else lines(getattr(message, part)) for message in (one, other)
                )
                # Both are right to name their servers beside an answer, or not to.
                if mine != yours and not (part == "authority" and one.answer):
                    found.append(f"{name} {kind} {part}: {mine} and {yours}")
        return found


@pytest.fixture(params=["bind", "knot"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def pair(kind: str, peers: Path, tmp_path: Path) -> AsyncIterator[Pair]:
    """The secondary's address is another than ours; it may have the zone, and is told of changes."""
    address, primary = free_address(), free_address()
    # Before the other: BIND leaves a primary that is not there alone for minutes.
    server = await serving(primary, address, zone())
    try:
        directory = tmp_path / kind
        secondary = await asyncio.to_thread(
            start, kind, directory, primary=primary, secondary_of=[DOMAIN], address=address
        )
    except BaseException:
        await server.close()
        raise
    one = Pair(server, secondary)
    try:
        await follows(address, 1)
        yield one
    finally:
        await one.stop()
        await asyncio.to_thread(secondary.stop)


async def test_a_secondary_answers_the_same(pair: Pair) -> None:
    assert await pair.differences() == []


async def test_a_secondary_follows_each_change_within_a_second(pair: Pair) -> None:
    changes: Iterator[Zone] = (zone(primary=primary) for primary in ("m2", "m3", None, "m1"))
    for changed in changes:
        following = changed.after(pair.server.zones[0])
        pair.server.publish(following)
        await follows(pair.theirs, following.serial, FOLLOWED)
        assert await pair.differences() == []
    assert pair.server.counts["notify acknowledged"] >= 4
    assert pair.server.counts["notify given up"] == 0


async def test_a_large_zone_is_transferred_in_several_messages(pair: Pair) -> None:
    large = zone(members=LARGE).after(pair.server.zones[0])
    pair.server.publish(large)
    await follows(pair.theirs, large.serial)
    one, other = [await ask(place, f"_mysql._tcp.{DOMAIN}", "SRV", tcp=True) for place in (pair.ours, pair.theirs)]
    assert len(one.answer[0]) == LARGE
    assert lines(one.answer) == lines(other.answer)


async def test_a_secondary_keeps_the_roles_while_we_do_not_know_them(pair: Pair) -> None:
    primary = f"_mysql._tcp.primary.{DOMAIN}"
    known = lines((await ask(pair.theirs, primary, "SRV")).answer)
    withheld = zone(withheld=True).after(pair.server.zones[0])
    pair.server.publish(withheld)
    # It is not told of this; it asks by itself after `zone.REFRESH`. Here it is made to ask now.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as told:
        told.bind((pair.ours[0], 0))
        told.sendto(write_notify(withheld, 7), pair.theirs)
    async with asyncio.timeout(PATIENCE):
        while pair.server.counts["tcp SERVFAIL"] == 0:  # noqa: ASYNC110 - another task's plain value
            await asyncio.sleep(0.01)
    assert (await ask(pair.ours, primary, "SRV")).rcode() == dns.rcode.SERVFAIL
    assert lines((await ask(pair.theirs, primary, "SRV")).answer) == known
    back = zone(primary="m3").after(pair.server.zones[0])
    pair.server.publish(back)
    await follows(pair.theirs, back.serial)
    assert await pair.differences() == []


async def test_a_secondary_answers_when_we_have_stopped(pair: Pair) -> None:
    before = lines((await ask(pair.ours, f"_mysql._tcp.{DOMAIN}", "SRV")).answer)
    await pair.stop()
    with pytest.raises((dns.exception.Timeout, OSError)):
        await ask(pair.ours, f"_mysql._tcp.{DOMAIN}", "SRV", timeout=0.2)
    assert lines((await ask(pair.theirs, f"_mysql._tcp.{DOMAIN}", "SRV")).answer) == before


async def test_a_secondary_follows_a_restart_soon_after_some_changes(pair: Pair) -> None:
    """The first serial of each run is read off the clock; what was counted on from it must not be ahead of that."""
    clock = 1.8e9
    before = Controller([], [pair.server], now=lambda: clock)
    for primary in ("m2", "m3", None, "m1", "m2", "m3"):
        before.want(desired(primary))
    await follows(pair.theirs, before.zones[0].serial)
    await pair.stop()
    clock += 3
    server = await serving(pair.ours, pair.theirs)
    after = Controller([], [server], now=lambda: clock)
    after.want(desired("m1"))
    pair.serve(server)
    await follows(pair.theirs, after.zones[0].serial)
    assert await pair.differences() == []


async def test_a_secondary_does_not_give_out_roles_for_long_that_we_do_not_know(pair: Pair) -> None:
    """As `zone.EXPIRE` has it, which is cut to seconds here."""
    primary = f"_mysql._tcp.primary.{DOMAIN}"

    def hasty(one: Zone) -> Zone:
        (soa,) = one.soa.records
        assert isinstance(soa, SoaRecord)
        return replace(one, soa=replace(one.soa, records=(replace(soa, refresh=1, retry=1, expire=3),)))

    known = hasty(zone(serial=2))
    pair.server.publish(known)
    await follows(pair.theirs, 2)
    pair.server.publish(hasty(zone(withheld=True).after(known)))
    assert (await ask(pair.theirs, primary, "SRV")).answer
    async with asyncio.timeout(PATIENCE):
        while (await ask(pair.theirs, primary, "SRV")).rcode() != dns.rcode.SERVFAIL:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
