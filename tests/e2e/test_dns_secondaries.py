"""Real Knot and BIND beside our server: as its secondaries, and as primaries of the same zone to compare it with."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode
import pytest

from bench.peers.root import ensure_peers
from bench.peers.zone_servers import KINDS, NameServer, Place, running
from bench.sandbox.errors import SandboxError
from srv.notification import write_notify
from srv.server import Server
from srv.zone import Part, Zone, ZoneMember, build_zone

pytestmark = pytest.mark.sandbox

DOMAIN = "demo.fairlead.test"
PATIENCE = 20.0  # seconds until a test gives up
FOLLOWED = 1.0  # second within which a secondary has a change that it is told of
LARGE = 100  # members; BIND 9.18 takes no more records in one set (max-records-per-type)
KINDS_ASKED = ("SRV", "A", "AAAA", "NS", "SOA", "TXT", "CNAME", "MX")


@pytest.fixture(scope="module")
def peers() -> Path:
    """The root with the programs."""
    try:
        return ensure_peers()
    except SandboxError as exc:
        pytest.skip(str(exc))


def zone(serial: int = 1, primary: str | None = "m1", members: int = 3, *, withheld: bool = False) -> Zone:
    published = []
    for number in range(1, members + 1):
        label = f"m{number}"
        part = Part.PRIMARY if label == primary else Part.REPLICAS
        addresses = (f"192.0.2.{number % 250 + 1}", f"2001:db8::{number:x}")
        published.append(ZoneMember(label, addresses, 3306, 33060, frozenset({part}) if primary else frozenset()))
    return build_zone(DOMAIN, published, serial=serial, nameserver_addresses=("192.0.2.53",), withhold_parts=withheld)


async def ask(place: Place, name: str, kind: str, *, tcp: bool = False, timeout: float = 2.0) -> dns.message.Message:
    query = dns.message.make_query(name, kind, use_edns=0, payload=1232)
    asking = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await asking(query, place.host, port=place.port, timeout=timeout)


def lines(section: list[Any]) -> list[str]:
    return sorted(line.lower() for rrset in section for line in rrset.to_text().splitlines())


async def serial_at(place: Place) -> int:
    try:
        reply = await ask(place, DOMAIN, "SOA")
    except dns.exception.Timeout:
        return 0
    return reply.answer[0][0].serial if reply.answer else 0


async def follows(place: Place, serial: int, within: float = PATIENCE) -> float:
    """Wait until the secondary has the serial, and return after how many seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while await serial_at(place) != serial:
        assert loop.time() - began < within, f"serial {serial} is not there after {within} s"
        await asyncio.sleep(0.01)
    return loop.time() - began


def names_of(one: Zone) -> list[str]:
    return sorted({*one.names, f"nobody.{DOMAIN}", f"x.m1.{DOMAIN}", f"_mysql._udp.{DOMAIN}"})


class Pair:
    """Our server, and a secondary of it."""

    def __init__(self, server: Server, secondary: NameServer) -> None:
        self.server = server
        self._serving = asyncio.create_task(server.run())
        self.ours = Place(*server.addresses[0])
        self.secondary = secondary
        self.theirs = secondary.place

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


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def pair(kind: str, peers: Path, tmp_path: Path) -> AsyncIterator[Pair]:
    """The secondary's address is another than ours; it may have the zone, and is told of changes."""
    server = Server([("127.0.0.1", 0)], [zone()], transfer_to=["127.0.0.0/30"])
    await server.start()
    primary = Place(*server.addresses[0])
    running_peer = running(kind, peers, tmp_path / kind, origins=[DOMAIN], primary=primary)
    secondary = await asyncio.to_thread(running_peer.__enter__)
    try:
        # Only now is it known where the secondary listens.
        await server.close()
        server = Server(
            [(primary.host, primary.port)],
            [zone()],
            transfer_to=["127.0.0.0/30"],
            notify=[(secondary.place.host, secondary.place.port)],
        )
        await server.start()
        one = Pair(server, secondary)
        try:
            await follows(secondary.place, 1)
            yield one
        finally:
            await one.stop()
    finally:
        await asyncio.to_thread(running_peer.__exit__, None, None, None)


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
        told.bind((pair.ours.host, 0))
        told.sendto(write_notify(withheld, 7), (pair.theirs.host, pair.theirs.port))
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
