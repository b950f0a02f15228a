"""A probed group as a source, with a watch that the test moves, a controller, and real sockets towards clients."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from cluster.members import Member, Role, State
from cluster.observations import Observation
from cluster.observations import Outcome as Look
from cluster.topology import MemberStatus, Topology, Trust, UnlistedMember
from srv import probed
from srv.controller import Controller
from srv.hosts import locate
from srv.lookup import Lookup, Outcome
from srv.probed import ProbedGroup, Settings
from srv.publication import Known
from srv.resolver import Resolver
from srv.server import ListenError, Server
from srv.zone import KEEP_ROLES

DOMAIN = "demo.fairlead.test"
PATIENCE = 10.0


class ScriptedWatch:
    """Holds the topology that the test gives it."""

    def __init__(self) -> None:
        self.topology = Topology()
        self.members: tuple[Member, ...] = ()
        self.on_observation: Callable[[Observation], None] | None = None
        self._subscribers: list[Callable[[Topology, Topology], None]] = []

    def subscribe(self, subscriber: Callable[[Topology, Topology], None]) -> None:
        self._subscribers.append(subscriber)

    def set_members(self, members: Iterable[Member]) -> None:
        self.members = tuple(members)

    async def run(self) -> None:
        await asyncio.Event().wait()

    def becomes(self, trust: Trust = Trust.QUORUM, unlisted: tuple[UnlistedMember, ...] = (), **roles: Any) -> None:
        """Take a topology of the members with these roles by label, and tell of it."""
        statuses = []
        for member in self.members:
            role = roles.get(member.name.partition(".")[0])
            state = State.ONLINE if role else State.OFFLINE
            statuses.append(MemberStatus(member, "uuid", role or Role.UNKNOWN, state, role))
        old = self.topology
        self.topology = Topology(old.version + 1, trust=trust, members=tuple(statuses), unlisted=unlisted)
        for subscriber in self._subscribers:
            subscriber(old, self.topology)


class Names:
    """Hosts and their addresses; what is not here does not resolve."""

    def __init__(self, **hosts: str) -> None:
        self.hosts = hosts
        self.asked: list[str] = []

    async def locate(self, host: str) -> tuple[str, ...]:
        self.asked.append(host)
        return tuple(self.hosts.get(host, "").split())


class Publisher:
    """A running controller."""

    def __init__(self, watch: ScriptedWatch, server: Server) -> None:
        self.watch = watch
        self.server = server
        self.time = 0.0
        self.reviews = 0

    def look_at(self, label: str) -> None:
        """Have a member looked at, with whatever outcome."""
        member = next(one for one in self.watch.members if one.name == f"{label}.{DOMAIN}")
        assert self.watch.on_observation is not None
        self.watch.on_observation(Observation(member, 0.0, Look.TIMEOUT))

    async def look(self, name: str) -> Lookup:
        return await Resolver(self.server.addresses, timeout=5.0).srv(f"{name}.{DOMAIN}")

    async def targets(self, name: str) -> list[str] | Outcome:
        """What stands at a name, as `label:port`, or why nothing does."""
        lookup = await self.look(name)
        if lookup.answer is None:
            return lookup.outcome
        return [f"{target.name.partition('.')[0]}:{target.port}" for target in lookup.answer.targets]

    async def reviewed(self) -> None:
        """Wait for two more reviews of the roles, so that one whole one lies between."""
        self.reviews = 0
        async with asyncio.timeout(PATIENCE):
            while self.reviews < 2:  # noqa: ASYNC110 - the controller's clock counts them
                await asyncio.sleep(0.001)

    def clock(self) -> float:
        self.reviews += 1
        return self.time

    @property
    def serial(self) -> int:
        return self.server.zones[0].serial


@contextlib.asynccontextmanager
async def publishing(names: Names, *members: Known, adopt: bool = True) -> AsyncIterator[Publisher]:
    watch, server = ScriptedWatch(), Server([("127.0.0.1", 0)])
    publisher = Publisher(watch, server)
    group = ProbedGroup(
        Settings(DOMAIN, members, adopt=adopt),
        watch,  # type: ignore[arg-type]
        locate=names.locate,
        clock=publisher.clock,
    )
    one = Controller([group], [server], now=lambda: 1000.0)
    task = asyncio.create_task(one.run(), name="controller")
    try:
        async with asyncio.timeout(PATIENCE):
            while not (watch.members and server.addresses):
                assert not task.done(), task.result()
                await asyncio.sleep(0)
            yield publisher
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert server.addresses == ()


M1, M2 = Known("m1", "db1", 3306, 33060), Known("m2", "db2", 3307, 33070)
NAMES = {"db1": "192.0.2.1", "db2": "192.0.2.2 2001:db8::2"}


async def test_members_first_and_roles_when_they_are_known() -> None:
    async with publishing(Names(**NAMES), M1, M2) as one:
        assert await one.targets("_mysql._tcp") == ["m1:3306", "m2:3307"]
        assert await one.targets("_mysql._tcp.primary") is Outcome.SERVFAIL
        one.watch.becomes(m1=Role.PRIMARY, m2=Role.SECONDARY)
        assert await one.targets("_mysql._tcp.primary") == ["m1:3306"]
        assert await one.targets("_mysqlx._tcp.replicas") == ["m2:33070"]
        lookup = await one.look("_mysql._tcp.replicas")
        assert lookup.answer
        assert lookup.answer.targets[0].addresses == ("192.0.2.2", "2001:db8::2")


async def test_a_first_look_that_shows_no_primary_does_not_empty_its_name(until: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(probed, "REVIEW_INTERVAL", 0.01)
    async with publishing(Names(**NAMES), M1, M2) as one:
        one.look_at("m2")
        one.watch.becomes(m2=Role.SECONDARY)
        for name in ("primary", "replicas"):
            assert await one.targets(f"_mysql._tcp.{name}") is Outcome.SERVFAIL
        one.look_at("m1")  # and the topology stays as it was
        await until(lambda: not one.server.zones[0].withheld)
        assert await one.targets("_mysql._tcp.primary") is Outcome.EMPTY
        assert await one.targets("_mysql._tcp.replicas") == ["m2:3307"]


async def test_a_switchover_moves_the_roles_and_the_serial_once() -> None:
    async with publishing(Names(**NAMES), M1, M2) as one:
        one.watch.becomes(m1=Role.PRIMARY, m2=Role.SECONDARY)
        serial = one.serial
        one.watch.becomes(m1=Role.PRIMARY, m2=Role.SECONDARY)
        assert one.serial == serial
        one.watch.becomes(m1=Role.SECONDARY, m2=Role.PRIMARY)
        assert one.serial == serial + 1
        assert await one.targets("_mysql._tcp.primary") == ["m2:3307"]


async def test_blindness_keeps_the_roles_and_a_lost_majority_empties_them() -> None:
    async with publishing(Names(**NAMES), M1, M2) as one:
        one.watch.becomes(m1=Role.PRIMARY, m2=Role.SECONDARY)
        serial = one.serial
        one.watch.becomes(Trust.BLIND)
        assert (await one.targets("_mysql._tcp.primary"), one.serial) == (["m1:3306"], serial)
        one.watch.becomes(Trust.NO_QUORUM)
        assert await one.targets("_mysql._tcp.primary") is Outcome.EMPTY
        assert await one.targets("_mysql._tcp") == ["m1:3306", "m2:3307"]


async def test_a_blindness_that_lasts_withholds_the_roles(until: Any, monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setattr(probed, "REVIEW_INTERVAL", 0.01)
    async with publishing(Names(**NAMES), M1, M2) as one:
        one.look_at("m1")
        one.look_at("m2")
        one.watch.becomes(m1=Role.PRIMARY, m2=Role.SECONDARY)
        one.watch.becomes(Trust.BLIND)
        one.time = KEEP_ROLES - 1
        await one.reviewed()
        assert await one.targets("_mysql._tcp.primary") == ["m1:3306"]
        one.time = KEEP_ROLES
        await until(lambda: bool(one.server.zones[0].withheld))
        assert await one.targets("_mysql._tcp.primary") is Outcome.SERVFAIL
        assert await one.targets("_mysql._tcp") == ["m1:3306", "m2:3307"]
        await one.reviewed()
        one.watch.becomes(m2=Role.SECONDARY)  # the first to answer again
        assert await one.targets("_mysql._tcp.primary") is Outcome.SERVFAIL
        one.watch.becomes(m1=Role.PRIMARY, m2=Role.SECONDARY)
        assert await one.targets("_mysql._tcp.primary") == ["m1:3306"]
    warnings = [record.getMessage() for record in caplog.records if "roles-withheld" in record.getMessage()]
    assert len(warnings) == 1


async def test_a_strained_member_weighs_less_without_a_change_of_the_topology(until: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(probed, "REVIEW_INTERVAL", 0.01)
    async with publishing(Names(**NAMES), M1, M2) as one:
        one.watch.becomes(m1=Role.PRIMARY, m2=Role.SECONDARY)
        serial = one.serial
        members = tuple(replace(status, lag=30.0) for status in one.watch.topology.members)
        one.watch.topology = replace(one.watch.topology, members=members)  # nobody is told of measurements
        await until(lambda: one.serial == serial + 1)
        lookup = await one.look("_mysql._tcp")
        assert lookup.answer
        weights = {target.name.partition(".")[0]: target.weight for target in lookup.answer.targets}
        assert weights == {"m1": 100, "m2": 10}


async def test_hints_do_not_put_off_the_look_at_all_hosts(until: Any, monkeypatch: Any) -> None:
    names = Names(**NAMES)
    monkeypatch.setattr(probed, "HOST_INTERVAL", 0.1)
    async with publishing(names, M1) as one:
        seen = (UnlistedMember("abcdef0123", "nowhere", 3310, Role.SECONDARY, State.ONLINE),)

        async def hint() -> None:
            while True:
                one.watch.becomes(m1=Role.PRIMARY, unlisted=seen)
                await asyncio.sleep(0.01)

        hinting = asyncio.create_task(hint(), name="hints")
        await until(lambda: names.asked.count("db1") > 2)
        hinting.cancel()


async def test_members_that_cannot_be_named_are_skipped_and_told_of_once(until: Any, caplog: Any) -> None:
    names = Names(**NAMES, db9="192.0.2.9")
    async with publishing(names, M1) as one:
        seen = tuple(
            UnlistedMember(uuid, host, 3306, Role.SECONDARY, State.ONLINE)
            for uuid, host in (("", "192.0.2.7"), ("abcdef0123", "db9"))
        )
        one.watch.becomes(m1=Role.PRIMARY, unlisted=seen)
        await until(lambda: len(one.watch.members) == 2)
        assert await one.targets("_mysql._tcp") == ["db9:3306", "m1:3306"]
    skipped = [record.getMessage() for record in caplog.records if "member-skipped" in record.getMessage()]
    assert skipped == ["member-skipped host='192.0.2.7' port=3306 uuid='' reason=no-usable-label"]


async def test_a_member_of_the_view_is_adopted_when_its_host_resolves(until: Any, monkeypatch: Any) -> None:
    names = Names(**NAMES)
    monkeypatch.setattr(probed, "HOST_INTERVAL", 0.01)
    async with publishing(names, M1) as one:
        seen = (UnlistedMember("abcdef0123", "db9.example.com", 3310, Role.SECONDARY, State.ONLINE),)
        one.watch.becomes(m1=Role.PRIMARY, unlisted=seen)
        await until(lambda: "db9.example.com" in names.asked)
        assert await one.targets("_mysql._tcp") == ["m1:3306"]
        names.hosts["db9.example.com"] = "192.0.2.9"
        await until(lambda: len(one.watch.members) == 2)
        assert await one.targets("_mysqlx._tcp") == ["db9:33060", "m1:33060"]
        one.watch.becomes(m1=Role.PRIMARY, db9=Role.SECONDARY)
        assert await one.targets("_mysql._tcp.replicas") == ["db9:3310"]

        one.watch.becomes(m1=Role.PRIMARY)  # it has left
        one.time = probed.FORGET_AFTER - 1
        asked = len(names.asked)
        await until(lambda: len(names.asked) > asked + 6)
        assert len(one.watch.members) == 2
        one.time = probed.FORGET_AFTER
        await until(lambda: len(one.watch.members) == 1)
        await until(lambda: len(one.server.zones[0].addresses_of(f"db9.{DOMAIN}")) == 0)


async def test_nobody_is_adopted_where_only_listed_members_are_wanted() -> None:
    names = Names(**NAMES, db9="192.0.2.9")
    async with publishing(names, M1, adopt=False) as one:
        seen = (UnlistedMember("abcdef0123", "db9", 3310, Role.SECONDARY, State.ONLINE),)
        one.watch.becomes(m1=Role.PRIMARY, unlisted=seen)
        await asyncio.sleep(0)
        assert "db9" not in names.asked
        assert len(one.watch.members) == 1


async def test_a_host_that_stops_resolving_keeps_its_address(until: Any, monkeypatch: Any) -> None:
    names = Names(**NAMES)
    monkeypatch.setattr(probed, "HOST_INTERVAL", 0.01)
    async with publishing(names, M1, M2) as one:
        names.hosts["db1"] = ""
        names.hosts["db2"] = "192.0.2.22"
        asked = len(names.asked)
        await until(lambda: len(names.asked) >= asked + 4)
        lookup = await one.look("_mysql._tcp")
        assert lookup.answer
        assert [target.addresses for target in lookup.answer.targets] == [("192.0.2.1",), ("192.0.2.22",)]


async def test_a_port_in_use_ends_it() -> None:
    async with publishing(Names(**NAMES), M1) as one:
        group = ProbedGroup(Settings(DOMAIN, (M1,)), ScriptedWatch(), locate=Names(**NAMES).locate)  # type: ignore[arg-type]
        other = Controller([group], [Server(one.server.addresses)])
        with pytest.raises(ListenError):
            await other.run()


async def test_locating_a_literal_and_a_name_that_cannot_be() -> None:
    assert await locate("192.0.2.1") == ("192.0.2.1",)
    assert await locate("2001:db8::1") == ("2001:db8::1",)
    assert await locate("a..b") == ()
    assert await locate("a\0b") == ()
