"""The loop that keeps records on another name server, against one on loopback that can be made to fail."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rrset
import dns.tsig
import dns.update
import pytest

from srv.publisher import Publisher, PublishError
from srv.update_settings import UpdateSettings
from srv.updates import CONVERSATIONS, UpdatePublisher
from srv.zone import Part, Zone, ZoneMember, build_zone

ZONE = "db.test"
ORDERS = f"orders.{ZONE}"
PRIMARY = f"_mysql._tcp.primary.{ORDERS}"
SECRET = b"k" * 32
KEY = dns.tsig.Key("fairlead.", SECRET, "hmac-sha256")
Until = Callable[[Callable[[], bool]], Awaitable[None]]


class NameServer:
    """Takes signed questions and updates over TCP, and keeps what it is given."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], dns.rrset.RRset] = {}
        self.updates: list[dns.message.Message] = []
        self.late: list[dns.message.Message] = []
        self.address = ("127.0.0.1", 0)
        self.rcode = dns.rcode.NOERROR
        self.is_authoritative = True
        self.delegated = "?"
        self.patience = 1000  # updates that it takes before it fails
        self.forgets = False
        self.is_silent = self.loses_answers = self.is_unsigned = self.is_noise = False
        self.reads = asyncio.Event()
        self.reads.set()
        self.connections = self.most_connections = self.accepted = 0

    def make(self, message: dns.message.Message) -> None:
        """Do what an update says."""
        assert isinstance(message, dns.update.UpdateMessage)
        for change in message.update:
            place = (change.name.to_text(omit_final_dot=True), change.rdtype.name)
            if change.deleting == dns.rdataclass.ANY:
                self.records.pop(place, None)
            elif place in self.records:
                self.records[place].update(change)
            else:
                self.records[place] = dns.rrset.from_rdata_list(change.name, change.ttl, list(change))

    def targets(self, name: str) -> list[str]:
        return sorted(str(record.target).partition(".")[0] for record in self.records.get((name, "SRV"), ()))

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.accepted += 1
        self.most_connections = max(self.connections, self.most_connections)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                wire = await reader.readexactly(length)
                await self.reads.wait()
                answer = self.answer(dns.message.from_wire(wire, keyring=KEY))
                if answer is None:
                    await reader.read()
                    break
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
        self.connections -= 1
        writer.close()

    def answer(self, message: dns.message.Message) -> bytes | None:
        if self.is_silent:
            return None
        reply = dns.message.make_response(message)
        reply.set_rcode(self.rcode)
        if self.is_unsigned:
            reply.tsig, reply.want_tsig_sign = None, False
        if message.opcode() == dns.opcode.UPDATE:
            self.updates.append(message)
            if self.loses_answers:
                self.late.append(message)
                return None
            if len(self.updates) > self.patience:
                reply.set_rcode(dns.rcode.SERVFAIL)
            elif self.rcode == dns.rcode.NOERROR and not self.forgets:
                self.make(message)
        else:
            asked = message.question[0]
            found = self.records.get((asked.name.to_text(omit_final_dot=True), asked.rdtype.name))
            reply.answer = [found] if found else []
            if self.delegated in asked.name.to_text():  # a referral, as BIND's
                reply.authority = [
                    dns.rrset.from_text(f"{self.delegated}.{ZONE}.", 5, "IN", "NS", "ns.elsewhere.test.")
                ]
            elif self.is_authoritative:
                reply.flags |= dns.flags.AA
        return b"noise" if self.is_noise else reply.to_wire()


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    one = NameServer()
    tcp = await asyncio.start_server(one.converse, "127.0.0.1", 0)
    one.address = tcp.sockets[0].getsockname()[:2]
    yield one
    tcp.close()
    one.reads.set()


def settings_of(server: NameServer, tmp_path: Path, **changes: Any) -> UpdateSettings:
    secret = tmp_path / "secret"
    secret.write_text(base64.b64encode(SECRET).decode())
    given: dict[str, Any] = {"timeout": 5.0, "check_interval": 60.0, "retry_first": 0.02, "retry_limit": 0.05}
    return UpdateSettings(server.address, ZONE, "fairlead", secret, **given | changes)


@contextlib.asynccontextmanager
async def running(publisher: UpdatePublisher) -> AsyncIterator[UpdatePublisher]:
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
async def hasty(server: NameServer, tmp_path: Path) -> AsyncIterator[UpdatePublisher]:
    """One that does not wait long for an answer."""
    async with running(UpdatePublisher(settings_of(server, tmp_path, timeout=1.0), rng=random.Random(1))) as one:
        yield one


@pytest.fixture
async def publisher(server: NameServer, tmp_path: Path) -> AsyncIterator[UpdatePublisher]:
    async with running(UpdatePublisher(settings_of(server, tmp_path), rng=random.Random(1))) as one:
        yield one


def zone_of(primary: int = 1, domain: str = ORDERS) -> Zone:
    members = [
        ZoneMember(
            f"m{i}", (f"192.0.2.{i}",), 3306, 33060, frozenset({Part.PRIMARY if i == primary else Part.REPLICAS})
        )
        for i in (1, 2)
    ]
    return build_zone(domain, members, serial=1)


def is_in_step(publisher: UpdatePublisher) -> Callable[[], bool]:
    return lambda: publisher.behind_since is None


def test_it_has_the_shape_of_a_publisher(tmp_path: Path) -> None:
    server = NameServer.__new__(NameServer)
    server.address = ("127.0.0.1", 53)
    shape: Publisher = UpdatePublisher(settings_of(server, tmp_path))
    assert str(shape) == "updates of 127.0.0.1:53"


async def test_a_change_is_one_update_and_the_same_again_is_none(
    server: NameServer, publisher: UpdatePublisher, until: Until
) -> None:
    for primary in (1, 2, 2):
        publisher.publish(zone_of(primary))
        assert publisher.behind_since is not None
        await until(is_in_step(publisher))
        assert server.targets(PRIMARY) == [f"m{primary}"]
    assert len(server.updates) == 2
    assert publisher.counts == {"applied": 2, "unchanged": 1}


async def test_what_is_wanted_meanwhile_follows_and_only_the_last_of_it(
    server: NameServer, publisher: UpdatePublisher, until: Until
) -> None:
    server.reads.clear()
    publisher.publish(zone_of(1))
    await until(lambda: server.connections == 1)
    for primary in (2, 1, 2):
        publisher.publish(zone_of(primary))
    server.reads.set()
    await until(is_in_step(publisher))
    assert server.targets(PRIMARY) == ["m2"]
    assert server.accepted == 2


async def test_a_cluster_is_in_one_conversation_at_a_time_and_all_in_a_bounded_number(
    server: NameServer, publisher: UpdatePublisher, until: Until
) -> None:
    server.reads.clear()
    for index in range(3 * CONVERSATIONS):
        publisher.publish(zone_of(1, f"c{index}.{ZONE}"))
    await until(lambda: server.connections == CONVERSATIONS)
    server.reads.set()
    await until(is_in_step(publisher))
    assert server.most_connections == CONVERSATIONS
    assert publisher.counts == {"applied": 3 * CONVERSATIONS}


async def test_of_a_server_in_trouble_one_cluster_asks_and_one_line_tells(
    server: NameServer, hasty: UpdatePublisher, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    publisher, server.is_silent = hasty, True
    for index in range(3 * CONVERSATIONS):
        publisher.publish(zone_of(1, f"c{index}.{ZONE}"))
    await until(lambda: publisher.counts["timeout"] >= CONVERSATIONS + 1)
    server.most_connections = 0
    await until(lambda: publisher.counts["timeout"] >= CONVERSATIONS + 2)
    assert server.most_connections == 1
    server.is_silent = False
    await until(is_in_step(publisher))
    assert publisher.counts["applied"] == 3 * CONVERSATIONS
    told = [record.getMessage().partition(" ")[0] for record in caplog.records if "update-" in record.getMessage()]
    assert told == ["update-failing", "update-recovered"]


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"rcode": dns.rcode.SERVFAIL}, "servfail"),
        ({"rcode": dns.rcode.REFUSED}, "refused"),
        ({"rcode": dns.rcode.NOTIMP}, "rejected"),
        ({"is_unsigned": True}, "unsigned"),
        ({"is_noise": True}, "malformed"),
        ({"is_authoritative": False}, "notauth"),
    ],
)
async def test_each_failure_has_its_name_and_ends(
    server: NameServer,
    publisher: UpdatePublisher,
    until: Until,
    fault: dict[str, Any],
    outcome: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    well = {name: getattr(server, name) for name in fault}
    vars(server).update(fault)
    publisher.publish(zone_of(1))
    await until(lambda: publisher.counts[outcome] >= 3)
    assert server.updates == []
    assert publisher.behind_since is not None
    vars(server).update(well)
    await until(is_in_step(publisher))
    assert server.targets(PRIMARY) == ["m1"]
    assert set(publisher.counts) == {outcome, "applied"}
    assert f"outcome={outcome} " in caplog.text
    assert caplog.text.count("update-failing") == caplog.text.count("update-recovered") == 1


async def test_one_clusters_failure_does_not_hold_up_another(
    server: NameServer, publisher: UpdatePublisher, until: Until
) -> None:
    server.records[f"m1.{ORDERS}", "A"] = dns.rrset.from_text(f"m1.{ORDERS}.", 5, "IN", "CNAME", "www.db.test.")
    publisher.publish(zone_of(1))
    publisher.publish(zone_of(1, f"parts.{ZONE}"))
    await until(lambda: publisher.counts["conflict"] >= 2)
    assert server.targets(f"_mysql._tcp.primary.parts.{ZONE}") == ["m1"]
    assert publisher.behind_since is not None


async def test_a_cluster_that_is_delegated_away_starves_nobody(
    server: NameServer, publisher: UpdatePublisher, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    server.delegated = "away"
    publisher.publish(zone_of(1, f"away.{ZONE}"))
    others = [f"c{number}.{ZONE}" for number in range(5)]
    for primary in (1, 2):
        for domain in others:
            publisher.publish(zone_of(primary, domain))
        await until(
            lambda primary=primary: all(  # type: ignore[misc]
                server.targets(f"_mysql._tcp.primary.{domain}") == [f"m{primary}"] for domain in others
            )
        )
    await until(lambda: publisher.counts["delegated"] >= 2)
    assert f"reason='away.{ZONE} is delegated (NS)" in caplog.text


async def test_in_trouble_clusters_take_turns(server: NameServer, publisher: UpdatePublisher, until: Until) -> None:
    """One whose looks alone fail as if the server were in trouble: the others are served in between."""
    answer = server.answer

    def choosy(message: dns.message.Message) -> bytes | None:
        reply = answer(message)
        is_bad = message.opcode() == dns.opcode.QUERY and "bad." in message.question[0].name.to_text()
        return b"noise" if is_bad else reply

    server.answer = choosy  # type: ignore[method-assign]
    publisher.publish(zone_of(1, f"bad.{ZONE}"))
    await until(lambda: publisher.counts["malformed"] >= 2)
    others = [f"c{number}.{ZONE}" for number in range(3)]
    for domain in others:
        publisher.publish(zone_of(1, domain))
    await until(lambda: all(server.targets(f"_mysql._tcp.primary.{domain}") == ["m1"] for domain in others))


async def test_what_fits_no_message_is_said_and_ends_nothing(
    server: NameServer, publisher: UpdatePublisher, until: Until
) -> None:
    many = [
        ZoneMember(f"member-{n}-{'x' * 50}", ("192.0.2.1",), 3306, None, frozenset({Part.REPLICAS})) for n in range(900)
    ]
    publisher.publish(build_zone(ORDERS, many, serial=1))
    await until(lambda: publisher.counts["too-large"] >= 2)
    publisher.publish(zone_of(1))
    await until(is_in_step(publisher))


async def test_two_that_disagree_say_so_and_slow_down(
    server: NameServer, tmp_path: Path, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    settings = settings_of(server, tmp_path, check_interval=1.0, retry_limit=60.0)
    async with running(UpdatePublisher(settings, clock=lambda: now)) as one:
        one.publish(zone_of(1))
        await until(is_in_step(one))
        for times in range(1, 6):
            server.records[PRIMARY, "SRV"] = dns.rrset.from_text(
                f"{PRIMARY}.", 5, "IN", "SRV", f"0 9 3306 m2.{ORDERS}."
            )
            now = one._clusters[ORDERS].due
            one._hint.set()
            await until(lambda times=times: one.counts["repaired"] == times)  # type: ignore[misc]
        assert one._clusters[ORDERS].due - now > 40
    assert caplog.text.count("update-disputed") == 1
    assert f"{PRIMARY} SRV: 0 9 3306 m2.{ORDERS}" in caplog.text


async def test_an_update_that_comes_late_is_put_right(
    server: NameServer, tmp_path: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer was lost, and it is made after a newer one: nobody but a further look can tell."""
    monkeypatch.setattr("srv.updates.EARLY_LOOKS", (0.05, 0.05, 0.05))
    async with running(UpdatePublisher(settings_of(server, tmp_path, timeout=0.5))) as publisher:
        publisher.publish(zone_of(1))
        await until(is_in_step(publisher))
        server.loses_answers = True
        publisher.publish(zone_of(2))
        await until(lambda: publisher.counts["timeout"] >= 1)
        server.loses_answers = False
        publisher.publish(zone_of(1))
        await until(lambda: publisher.counts["unchanged"] >= 1)
        for message in server.late:
            server.make(message)
        assert server.targets(PRIMARY) == ["m2"]
        await until(lambda: server.targets(PRIMARY) == ["m1"])
        looks = publisher.counts["unchanged"] + publisher.counts["applied"]
        await until(lambda: publisher._clusters[ORDERS].early == ())
        assert publisher.counts["unchanged"] + publisher.counts["applied"] <= looks + 3


async def test_what_is_changed_there_is_put_right_and_told_once(
    server: NameServer, tmp_path: Path, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(UpdatePublisher(settings_of(server, tmp_path, check_interval=0.02))) as publisher:
        publisher.publish(zone_of(1))
        await until(is_in_step(publisher))
        for times in (1, 2):
            server.records.clear()
            server.forgets = True  # whatever it takes, as where a wildcard stands
            repaired = publisher.counts["repaired"]
            await until(lambda repaired=repaired: publisher.counts["repaired"] >= repaired + 3)  # type: ignore[misc]
            assert caplog.text.count("update-repaired") == times
            server.forgets = False
            looks = publisher.counts["unchanged"]
            await until(lambda looks=looks: publisher.counts["unchanged"] > looks)  # type: ignore[misc]
            assert server.targets(PRIMARY) == ["m1"]


async def test_while_a_server_is_in_trouble_it_is_left_in_peace(
    server: NameServer, tmp_path: Path, until: Until
) -> None:
    now = 1000.0
    settings = settings_of(server, tmp_path, retry_first=10.0, retry_limit=10.0)
    async with running(UpdatePublisher(settings, clock=lambda: now)) as publisher:
        server.is_noise = True
        publisher.publish(zone_of(1))
        await until(lambda: publisher.counts["malformed"] == 1)
        for domain in ("a", "b"):
            publisher.publish(zone_of(1, f"{domain}.{ZONE}"))
            for _ in range(20):
                await asyncio.sleep(0)
        assert server.accepted == 1
        now += 10.0
        publisher.publish(zone_of(2))
        await until(lambda: server.accepted == 2)


async def test_what_is_new_does_not_wait_for_what_failed(server: NameServer, tmp_path: Path, until: Until) -> None:
    settings = settings_of(server, tmp_path, retry_first=60.0, retry_limit=60.0)
    async with running(UpdatePublisher(settings)) as publisher:
        server.rcode = dns.rcode.REFUSED
        server.reads.clear()
        publisher.publish(zone_of(1))
        await until(lambda: server.connections == 1)
        publisher.publish(zone_of(2))
        server.reads.set()
        await until(lambda: publisher.counts["refused"] == 2)
        publisher.publish(zone_of(1))
        await until(lambda: publisher.counts["refused"] == 3)


def add(server: NameServer, kind: str, name: str, data: str) -> None:
    server.records[name, kind] = dns.rrset.from_text(f"{name}.", 5, "IN", kind, data)


async def test_former_targets_are_found_by_the_names_that_named_them(
    server: NameServer, publisher: UpdatePublisher, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the server fails between the message that renames and the one that would have taken the address."""
    monkeypatch.setattr("srv.updates.UPDATE_LIMIT", 1)
    add(server, "SRV", PRIMARY, f"0 100 3306 m9.{ORDERS}.")
    add(server, "A", f"m9.{ORDERS}", "192.0.2.9")
    add(server, "A", f"m8.{ORDERS}", "192.0.2.8")
    server.patience = 8  # two addresses, six names
    publisher.publish(zone_of(1))
    await until(lambda: publisher.counts["servfail"] >= 2)
    assert server.targets(PRIMARY) == ["m1"]
    assert (f"m9.{ORDERS}", "A") in server.records
    server.patience = 1000
    await until(is_in_step(publisher))
    assert (f"m9.{ORDERS}", "A") not in server.records
    assert (f"m8.{ORDERS}", "A") in server.records


async def test_former_members_are_remembered(server: NameServer, publisher: UpdatePublisher, until: Until) -> None:
    publisher.publish(zone_of(1))
    await until(is_in_step(publisher))
    for place in [place for place in server.records if place[1] == "SRV"]:
        del server.records[place]
    publisher.publish(build_zone(ORDERS, [ZoneMember("m1", ("192.0.2.1",), 3306, None)], serial=1))
    await until(is_in_step(publisher))
    assert [name for name, kind in server.records if kind == "A"] == [f"m1.{ORDERS}"]


async def test_a_withdrawn_cluster_is_forgotten_and_may_come_back(
    server: NameServer, publisher: UpdatePublisher, until: Until
) -> None:
    add(server, "A", "www.db.test", "192.0.2.80")
    publisher.withdraw(ORDERS)  # never published: nothing to do
    await until(is_in_step(publisher))
    assert server.updates == []
    publisher.publish(zone_of(1))
    await until(is_in_step(publisher))
    publisher.withdraw(ORDERS)
    await until(is_in_step(publisher))
    assert list(server.records) == [("www.db.test", "A")]
    assert publisher._clusters == {}
    publisher.publish(zone_of(2))
    await until(is_in_step(publisher))
    assert server.targets(PRIMARY) == ["m2"]


async def test_a_domain_outside_the_zone_is_never_sent(
    server: NameServer, publisher: UpdatePublisher, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.publish(zone_of(1, "orders.elsewhere.test"))
    publisher.withdraw("orders.elsewhere.test")
    publisher.publish(zone_of(1))
    await until(is_in_step(publisher))
    assert server.accepted == 1
    assert publisher.counts == {"notzone": 1, "applied": 1}
    assert "update-impossible domain=orders.elsewhere.test" in caplog.text
    assert "zone db.test" in caplog.text


async def test_what_does_not_fit_one_message_is_parted(
    server: NameServer, publisher: UpdatePublisher, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("srv.updates.UPDATE_LIMIT", 300)
    publisher.publish(zone_of(1))
    await until(is_in_step(publisher))
    assert len(server.updates) > 1
    assert server.accepted == 1
    assert server.targets(PRIMARY) == ["m1"]


async def test_without_a_secret_it_does_not_start(server: NameServer, tmp_path: Path) -> None:
    settings = settings_of(server, tmp_path)
    settings.secret_file.unlink()
    with pytest.raises(PublishError, match=r"cannot update 127.0.0.1:\d+: secret file .*No such file"):
        await UpdatePublisher(settings).start()


async def test_nobody_listens(tmp_path: Path, until: Until, caplog: pytest.LogCaptureFixture) -> None:
    server = NameServer()
    server.address = ("127.0.0.1", 1)
    async with running(UpdatePublisher(settings_of(server, tmp_path))) as publisher:
        publisher.publish(zone_of(1))
        await until(lambda: publisher.counts["unreachable"] >= 2)
    assert "it cannot be reached over TCP (Connect call failed" in caplog.text or "refused" in caplog.text
