"""Records kept on BIND, Knot and PowerDNS by updates: what each of them really does with them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
import types
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import dns.asyncquery
import dns.message
import dns.rcode
import dns.tsig
import dns.update
import pytest

from bench.peers.dynamic_dns import PROGRAMS, DynamicServer, Key
from srv.desired import Desired
from srv.server import Server
from srv.update_settings import UpdateSettings
from srv.updates import UpdatePublisher
from srv.zone import Part, Zone, ZoneMember

pytestmark = pytest.mark.sandbox

FAIRLEAD = Path(sys.executable).with_name("fairlead")
ZONE = "db.fairlead.test"
ORDERS = f"orders.{ZONE}"
KEY = Key("fairlead.updates", base64.b64encode(b"k" * 32).decode())
OUTSIDER = Key("outsider", base64.b64encode(b"o" * 32).decode())
OTHER_SECRET = base64.b64encode(b"?" * 32).decode()
PATIENCE = 20.0  # seconds until a test gives up
# Seconds within which a change shows, in the median of some: Knot 3.2 leaves an update that arrives in the first 20 ms
# of a second of the clock to the next second.
SOON = 1.0
# Of the zone as it is at first: nobody's to touch.
FOREIGN = {(ZONE, "NS"), (ZONE, "TXT"), (f"ns.{ZONE}", "A"), (f"www.{ZONE}", "A")}


@pytest.fixture(params=PROGRAMS)
def server(request: pytest.FixtureRequest, peers: Path) -> Iterator[DynamicServer]:
    """One of the three, running, with its zone as an administrator made it."""
    with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as name:
        one = DynamicServer(request.param, Path(name) / "s", ZONE, key=KEY, outsider=OUTSIDER)
        one.start()
        try:
            yield one
        finally:
            one.stop()


def member(index: int, *parts: Part, label: str = "", six: bool = False) -> ZoneMember:
    addresses = (f"192.0.2.{index}", f"2001:db8::{index}") if six else (f"192.0.2.{index}",)
    return ZoneMember(label or f"m{index}", addresses, 3306, 33060, frozenset(parts))


def cluster(*members: ZoneMember, domain: str = ORDERS, roles_known: bool = True) -> Zone:
    return Desired(domain, members, roles_known=roles_known).zone(serial=1, nameserver_addresses=("192.0.2.99",))


def with_primary(index: int, count: int = 3) -> Zone:
    """Members of which one is the primary."""
    return cluster(*(member(i, Part.PRIMARY if i == index else Part.REPLICAS) for i in range(1, count + 1)))


def records_of(zone: Zone) -> dict[tuple[str, str], set[str]]:
    """What should stand there of the zone: all but SOA, NS and `ns`."""
    found: dict[tuple[str, str], set[str]] = {}
    for rrset in zone.rrsets:
        if rrset.kind.name in ("SRV", "A", "AAAA") and rrset.records and not rrset.name.startswith("ns."):
            found[rrset.name, rrset.kind.name] = {
                f"{one.priority} {one.weight} {one.port} {one.target}." if hasattr(one, "target") else one.address  # type: ignore[union-attr]
                for one in rrset.records
            }
    return found


@dataclass
class Client:
    """Asks the server, with nothing of ours between."""

    server: DynamicServer

    async def ask(self, name: str, kind: str) -> set[str]:
        query = dns.message.make_query(name, kind, flags=0, use_edns=0, payload=1232)
        host, port = self.server.address
        reply, _ = await dns.asyncquery.udp_with_fallback(query, host, port=port, timeout=5)
        assert reply.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN), reply
        return {record.to_text() for rrset in reply.answer for record in rrset}

    async def has(self, zone: Zone) -> bool:
        """Whether exactly the zone's records stand at all names that tests use."""
        wanted = records_of(zone)
        return all([await self.ask(*place) == wanted.get(place, set()) for place in PLACES | wanted.keys()])

    async def foreign(self) -> dict[tuple[str, str], set[str]]:
        return {place: await self.ask(*place) for place in FOREIGN}

    async def change(self, edit: Callable[[dns.update.UpdateMessage], None]) -> None:
        """Update as somebody else does."""
        message = dns.update.UpdateMessage(ZONE)
        edit(message)
        message.use_tsig(dns.tsig.Key(KEY.name, KEY.secret, KEY.algorithm))
        host, port = self.server.address
        assert (await dns.asyncquery.tcp(message, host, port=port, timeout=2)).rcode() == 0


# All names of one cluster with members m1 to m9, and its `ns`, which nobody ever makes.
PLACES = {
    *records_of(cluster(*(member(i, *Part, six=True) for i in range(1, 10)))),
    (f"ns.{ORDERS}", "A"),
    (ORDERS, "A"),
    (ORDERS, "NS"),
}


async def until(condition: Callable[[], object], within: float = PATIENCE) -> float:
    """Wait for a condition, plain or asynchronous; return the seconds that it took."""
    began = time.monotonic()
    while True:
        held = condition()
        if asyncio.iscoroutine(held):
            held = await held
        if held:
            return time.monotonic() - began
        assert time.monotonic() - began < within, f"not within {within} s"
        await asyncio.sleep(0.01)


@pytest.fixture
def client(server: DynamicServer) -> Client:
    return Client(server)


@pytest.fixture
def settings(server: DynamicServer, tmp_path: Path) -> UpdateSettings:
    """Looks often and tries often, so that tests need not wait."""
    secret = tmp_path / "secret"
    secret.write_text(f"{KEY.secret}\n")
    return UpdateSettings(
        server.address, ZONE, KEY.name, secret, timeout=2.0, check_interval=0.3, retry_first=0.1, retry_limit=0.4
    )


@contextlib.asynccontextmanager
async def running(settings: UpdateSettings) -> AsyncIterator[UpdatePublisher]:
    publisher = UpdatePublisher(settings, rng=random.Random(1))
    await publisher.start()
    task = asyncio.create_task(publisher.run(), name="publisher")
    try:
        yield publisher
        assert not task.done(), await task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await publisher.close()


@pytest.fixture
async def publisher(settings: UpdateSettings) -> AsyncIterator[UpdatePublisher]:
    async with running(settings) as one:
        yield one


async def test_records_appear_and_the_server_raises_the_serial(
    server: DynamicServer, client: Client, publisher: UpdatePublisher
) -> None:
    foreign, serials, took = await client.foreign(), [server.serial()], []
    for index in (1, 2, 3, 1, 2):
        zone = with_primary(index)
        place = (f"_mysql._tcp.primary.{ORDERS}", "SRV")
        publisher.publish(zone)
        took.append(await until(lambda place=place, zone=zone: _is(client, place, records_of(zone)[place])))  # type: ignore[misc]
        await until(lambda: publisher.behind_since is None)
        assert await client.has(zone)
        serials.append(server.serial())
    assert statistics.median(took) < SOON, took
    assert None not in serials
    assert sorted(set(serials)) == serials  # type: ignore[type-var]
    assert await client.foreign() == foreign
    assert publisher.counts["applied"] == 5


async def test_nobody_sees_a_role_without_its_records(client: Client, publisher: UpdatePublisher) -> None:
    zones = [with_primary(1), with_primary(2)]
    allowed = {place: [records_of(zone)[place] for zone in zones] for place in records_of(zones[0])}
    publisher.publish(zones[0])
    await until(lambda: client.has(zones[0]))
    seen: Counter[str] = Counter()
    done = asyncio.Event()

    async def observe(part: str) -> None:
        place = (f"_mysql._tcp.{part}.{ORDERS}", "SRV")
        while not done.is_set():
            assert await client.ask(*place) in allowed[place]
            seen[part] += 1

    observers = [asyncio.create_task(observe(part.value)) for part in Part]
    for change in range(1, 51):
        applied = publisher.counts["applied"]
        publisher.publish(zones[change % 2])
        await until(lambda applied=applied: publisher.counts["applied"] > applied)  # type: ignore[misc]
        assert not any(observer.done() for observer in observers), [observer.exception() for observer in observers]
    done.set()
    await asyncio.gather(*observers)
    assert min(seen.values()) > 50, seen


@pytest.mark.parametrize("fault", ["key", "secret", "zone", "rights", "clock"])
async def test_what_is_set_wrong_is_said_clearly_and_changes_nothing(
    server: DynamicServer,
    client: Client,
    settings: UpdateSettings,
    fault: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent = server.program == "pdns"  # it does not tell what is wrong with a signature
    before = server.serial()
    zone = with_primary(1)
    match fault:
        case "key":
            settings = replace(settings, key_name="nobody")
            outcome, words = "notauth" if silent else "badkey", ["nobody"]
        case "secret":
            settings.secret_file.write_text(f"{OTHER_SECRET}\n")
            outcome, words = "notauth" if silent else "badsig", [KEY.name, str(settings.secret_file)]
        case "zone":
            settings = replace(settings, zone="other.test")
            zone = cluster(member(1), domain="orders.other.test")
            outcome, words = "refused", ["other.test", "zone"]
        case "rights":
            settings = replace(settings, key_name=OUTSIDER.name)
            settings.secret_file.write_text(f"{OUTSIDER.secret}\n")
            # To Knot, a key without a rule in the zone is none.
            outcome, words = "badkey" if server.program == "knot" else "refused", [OUTSIDER.name, ZONE]
        case _:
            slow = types.SimpleNamespace(time=lambda: time.time() - 1000)
            monkeypatch.setattr("dns.message.time", slow)
            outcome, words = "notauth" if silent else "badtime", ["clock"]
    async with running(settings) as publisher:
        publisher.publish(zone)
        await until(lambda: publisher.counts[outcome] >= 3)
        assert set(publisher.counts) == {outcome}
        assert publisher.behind_since is not None
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(lines) == 1, lines
    assert all(word in lines[0] for word in (f"server={settings.server_text}", f"outcome={outcome}", *words)), lines
    monkeypatch.undo()
    assert KEY.secret not in caplog.text
    assert OTHER_SECRET not in caplog.text
    assert server.serial() == before
    assert await client.has(cluster())


async def test_a_key_that_is_put_right_is_read_again(
    client: Client, settings: UpdateSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    settings.secret_file.write_text(f"{OTHER_SECRET}\n")
    async with running(settings) as publisher:
        publisher.publish(with_primary(1))
        await until(lambda: publisher.behind_since is not None and publisher.counts.total() >= 2)
        settings.secret_file.write_text(f"{KEY.secret}\n")
        await until(lambda: client.has(with_primary(1)))
        await until(lambda: publisher.behind_since is None)
    assert caplog.text.count("update-failing") == caplog.text.count("update-recovered") == 1


@pytest.mark.parametrize("loses", [False, True], ids=["journal-kept", "journal-lost"])
async def test_a_server_that_was_down_gets_what_it_missed(
    server: DynamicServer,
    client: Client,
    publisher: UpdatePublisher,
    loses: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    other = cluster(member(7, Part.PRIMARY), domain=f"parts.{ZONE}")
    publisher.publish(with_primary(1))
    publisher.publish(other)
    await until(lambda: publisher.behind_since is None)
    await asyncio.to_thread(server.stop)
    if loses:
        server.lose_updates()
    publisher.publish(with_primary(2))
    publisher.publish(with_primary(3))
    await until(lambda: publisher.counts["unreachable"] >= 5)
    assert publisher.behind_since is not None
    await asyncio.to_thread(server.start)
    await until(lambda: client.has(with_primary(3)))
    await until(lambda: publisher.behind_since is None)
    for place, records in records_of(other).items():
        await until(lambda place=place, records=records: _is(client, place, records))  # type: ignore[misc]
    assert caplog.text.count("update-failing") == caplog.text.count("update-recovered") == 1


async def _is(client: Client, place: tuple[str, str], records: set[str]) -> bool:
    return await client.ask(*place) == records


async def test_what_another_changes_is_put_right(
    client: Client, publisher: UpdatePublisher, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.publish(with_primary(1))
    await until(lambda: publisher.behind_since is None)

    def edit(message: dns.update.UpdateMessage) -> None:
        message.delete(f"m1.{ORDERS}.")
        message.replace(f"_mysql._tcp.primary.{ORDERS}.", 60, "SRV", f"0 1 1 evil.{ORDERS}.")
        message.add(f"evil.{ORDERS}.", 60, "A", "192.0.2.66")
        message.add(f"note.{ORDERS}.", 60, "TXT", "not-ours")

    await client.change(edit)
    await until(lambda: publisher.counts["repaired"])
    await until(lambda: client.has(with_primary(1)))
    assert await client.ask(f"evil.{ORDERS}", "A") == set()
    assert await client.ask(f"note.{ORDERS}", "TXT") == {'"not-ours"'}
    assert publisher.counts["repaired"] == 1
    assert "update-repaired" in caplog.text


async def test_a_withdrawn_cluster_leaves_nothing_and_takes_nothing_along(
    client: Client, publisher: UpdatePublisher
) -> None:
    foreign = await client.foreign()
    other = cluster(member(7, Part.PRIMARY), domain=f"parts.{ZONE}")
    publisher.publish(with_primary(1))
    publisher.publish(other)
    await until(lambda: publisher.behind_since is None)
    publisher.withdraw(ORDERS)
    await until(lambda: publisher.behind_since is None)
    assert await client.has(cluster())
    assert await client.foreign() == foreign
    for place, records in records_of(other).items():
        assert await client.ask(*place) == records
    publisher.publish(with_primary(2))
    await until(lambda: client.has(with_primary(2)))


async def test_nine_members_with_both_kinds_of_address(client: Client, publisher: UpdatePublisher) -> None:
    nine = cluster(*(member(i, Part.REPLICAS if i > 1 else Part.PRIMARY, six=True) for i in range(1, 10)))
    publisher.publish(nine)
    await until(lambda: client.has(nine))
    publisher.publish(with_primary(1))
    await until(lambda: client.has(with_primary(1)))  # no address of the other six is left


async def test_roles_that_are_not_known_are_left_alone(client: Client, publisher: UpdatePublisher) -> None:
    publisher.publish(with_primary(1))
    await until(lambda: publisher.behind_since is None)
    unknown = cluster(member(1), member(2), member(4), roles_known=False)
    publisher.publish(unknown)
    roles = {place: at for place, at in records_of(with_primary(1)).items() if "primary" in place[0]}
    await until(lambda: publisher.behind_since is None)
    for place, records in (records_of(unknown) | roles).items():
        assert await client.ask(*place) == records
    assert await client.ask(f"m3.{ORDERS}", "A") == {"192.0.2.3"}  # a replica still, as far as is known
    after = cluster(member(1), member(2), member(4))
    publisher.publish(after)
    await until(lambda: client.has(after))


async def test_targets_that_left_while_nobody_kept_the_records_go(client: Client, settings: UpdateSettings) -> None:
    async with running(settings) as first:
        first.publish(cluster(member(1, Part.PRIMARY, six=True), member(2, Part.REPLICAS), member(3, Part.REPLICAS)))
        await until(lambda: first.behind_since is None)
    async with running(settings) as second:
        second.publish(cluster(member(2, Part.PRIMARY)))
        await until(lambda: second.behind_since is None)
    assert await client.has(cluster(member(2, Part.PRIMARY)))


async def test_a_frozen_server_ends_with_the_last_word(
    server: DynamicServer, client: Client, settings: UpdateSettings
) -> None:
    async with running(replace(settings, timeout=1.0)) as publisher:
        publisher.publish(with_primary(1))
        await until(lambda: publisher.behind_since is None)
        server.freeze()
        try:
            publisher.publish(with_primary(2))
            await until(lambda: publisher.counts["timeout"])
            for index in (1, 2, 3):
                publisher.publish(with_primary(index))
        finally:
            server.thaw()
        await until(lambda: client.has(with_primary(3)))
        await until(lambda: publisher.behind_since is None)
        seen = publisher.counts["unchanged"]
        await until(lambda: publisher.counts["unchanged"] >= seen + 3)
        assert await client.has(with_primary(3))
        assert publisher.counts["repaired"] == 0


async def test_publishers_that_agree_do_not_disturb_each_other(
    server: DynamicServer, client: Client, settings: UpdateSettings
) -> None:
    async with running(settings) as one, running(settings) as other:
        for index in (1, 2):
            one.publish(with_primary(index))
            other.publish(with_primary(index))
            await until(lambda index=index: client.has(with_primary(index)))  # type: ignore[misc]
        await until(lambda: one.behind_since is None and other.behind_since is None)
        serial = server.serial()
        seen = one.counts["unchanged"], other.counts["unchanged"]
        await until(lambda: one.counts["unchanged"] > seen[0] + 2 and other.counts["unchanged"] > seen[1] + 2)
        assert server.serial() == serial
        assert one.counts["repaired"] == other.counts["repaired"] == 0


async def test_a_cluster_may_have_the_whole_zone(client: Client, publisher: UpdatePublisher) -> None:
    foreign = await client.foreign()
    whole = cluster(member(1, Part.PRIMARY), domain=ZONE)
    publisher.publish(whole)
    await until(lambda: publisher.behind_since is None)
    for place, records in records_of(whole).items():
        assert await client.ask(*place) == records
    publisher.withdraw(ZONE)
    await until(lambda: publisher.behind_since is None)
    for place in records_of(whole):
        assert await client.ask(*place) == set()
    assert await client.foreign() == foreign


async def test_an_alias_in_the_way_is_named(
    client: Client, publisher: UpdatePublisher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await client.change(lambda message: message.add(f"m1.{ORDERS}.", 60, "CNAME", f"www.{ZONE}."))
    other = cluster(member(7, Part.PRIMARY), domain=f"parts.{ZONE}")
    publisher.publish(with_primary(1))
    publisher.publish(other)
    await until(lambda: publisher.counts["conflict"] >= 2 and publisher.counts["applied"] == 1)
    assert f"an alias (CNAME) stands at m1.{ORDERS}" in caplog.text
    assert caplog.text.count("update-failing") == 1
    await client.change(lambda message: message.delete(f"m1.{ORDERS}.", "CNAME"))
    await until(lambda: client.has(with_primary(1)))
    await until(lambda: publisher.behind_since is None)
    assert f"update-recovered domain={ORDERS}" in caplog.text


async def test_a_cluster_that_is_delegated_away_holds_up_nobody(
    client: Client, publisher: UpdatePublisher, caplog: pytest.LogCaptureFixture
) -> None:
    await client.change(lambda message: message.add(f"away.{ZONE}.", 300, "NS", "ns.elsewhere.test."))
    publisher.publish(cluster(member(7, Part.PRIMARY), domain=f"away.{ZONE}"))
    for primary in (1, 2):
        publisher.publish(with_primary(primary))
        await until(lambda primary=primary: client.has(with_primary(primary)))
    await until(lambda: publisher.counts["delegated"] >= 2)
    assert f"away.{ZONE} is delegated (NS)" in caplog.text
    await client.change(lambda message: message.delete(f"away.{ZONE}.", "NS"))


async def resolved(host: str, port: int) -> list[dict[str, object]]:
    """What `fairlead resolve` finds at all names of the cluster."""
    process = await asyncio.create_subprocess_exec(
        *(str(FAIRLEAD), "resolve", ORDERS, "--resolver", f"{host}:{port}", "--json"),
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    lookups: list[dict[str, object]] = json.loads(output)
    for lookup in lookups:
        lookup["targets"] = sorted(lookup["targets"], key=str)  # type: ignore[call-overload]
    return lookups


async def test_resolve_finds_the_same_as_at_the_built_in_server(client: Client, publisher: UpdatePublisher) -> None:
    zone = cluster(*(member(i, Part.REPLICAS if i > 1 else Part.PRIMARY, six=True) for i in range(1, 5)))
    publisher.publish(zone)
    await until(lambda: publisher.behind_since is None)
    built_in = Server([("127.0.0.1", 0)], [zone])
    await built_in.start()
    try:
        assert await resolved(*client.server.address) == await resolved(*built_in.addresses[0])
    finally:
        await built_in.close()
