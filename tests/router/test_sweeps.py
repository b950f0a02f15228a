"""Idle times that change, members that are left, and sessions that are moved, on loopback."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from cluster.members import Role
from router import sweeps
from router.port import Port
from router.routes import Leave, Limits
from router.words import Destination, Protocol, StrategyName
from tests.router.conftest import Run
from tests.router.fakes import Cluster, Handler, echo, listening, member, route, until
from tests.router.test_port import Silent
from tests.router.test_sessions import Clients

P, S = Role.PRIMARY, Role.SECONDARY
READERS = replace(route(Destination.SECONDARY), rebalance_rate=1000.0)


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "TICK", 0.05)


async def open_some(clients: Clients, port_at: object, number: int) -> list[asyncio.StreamReader]:
    readers = []
    for _ in range(number):
        reader, _ = await clients.connect(port_at)  # type: ignore[arg-type]
        assert await reader.readexactly(6) == b"hello "
        readers.append(reader)
    return readers


def now_at(port: Port) -> dict[str, int]:
    return dict(port.loads.by_member())


def test_an_idle_timeout_that_is_lifted_ends_nobody_and_one_that_is_lowered_holds_for_all(run: Run) -> None:
    async def scenario() -> None:
        cluster, chosen = Cluster(), replace(route(), limits=Limits(idle_timeout=0.2))
        async with Clients() as clients, member() as one, listening(cluster, chosen) as listener:
            cluster.set((one, P))
            port = listener.port
            [first] = await open_some(clients, listener.endpoint, 1)
            port.route = replace(chosen, limits=Limits(idle_timeout=0.0))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(first.read(), 0.6)
            port.route = replace(chosen, limits=Limits(idle_timeout=3600.0))
            [second] = await open_some(clients, listener.endpoint, 1)
            port.route = replace(chosen, limits=Limits(idle_timeout=0.3))
            [third] = await open_some(clients, listener.endpoint, 1)
            for reader in (first, second, third):
                assert await asyncio.wait_for(reader.read(), 3) == b""
            assert port.tally.ended == {"idle": 3}

    run(scenario())


def test_one_that_was_busy_while_nobody_looked_is_not_taken_for_idle(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, member() as one, listening(cluster, route()) as listener:
            cluster.set((one, P))
            await open_some(clients, listener.endpoint, 1)
            [session] = listener.port.sessions.values()
            session.quiet_since -= 1000
            listener.port.route = replace(route(), limits=Limits(idle_timeout=100.0))
            assert session.quiet_since >= session.joined_at

    run(scenario())


def test_few_sessions_leave_as_evenly_as_many_however_often_it_is_said(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        chosen = replace(route(Destination.SECONDARY), limits=Limits(client_connect_timeout=3600.0))
        async with Clients() as clients, member("a") as a, listening(cluster, chosen) as listener:
            cluster.set((a, S))
            port = listener.port
            await open_some(clients, listener.endpoint, 4)
            for _ in range(3):
                port.set_member_modes({"a": Leave(600.0)})
            [(_, departure)] = port.sweeps._leaving.items()
            for after, left in ((0, 4), (149, 4), (151, 3), (301, 2), (303, 2), (599, 1), (601, 0)):
                port.sweeps.sweep(departure.began + after)
                await until(lambda left=left: now_at(port).get("a", 0) == left, f"{left} after {after} s", 2)  # type: ignore[misc]

    run(scenario())


def test_a_drain_can_be_hurried_and_is_not_put_off(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, member("a") as a, listening(cluster, route(Destination.SECONDARY)) as listener:
            cluster.set((a, S))
            port = listener.port
            await open_some(clients, listener.endpoint, 5)
            port.set_member_modes({"a": Leave(600.0)})
            port.set_member_modes({"a": Leave(0.3)})
            port.set_member_modes({"a": Leave(600.0)})
            await until(lambda: not port.sessions, "now", 3)

    run(scenario())


def test_sessions_that_end_already_do_not_count(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, member("a") as a, listening(cluster, route(Destination.SECONDARY)) as listener:
            cluster.set((a, S))
            await open_some(clients, listener.endpoint, 3)
            port = listener.port
            first, *_ = port.sessions.values()
            first.end("drained", "it lingers")
            assert len(port.sessions) == 3
            port.set_member_modes({"a": Leave(600.0)})
            assert port.sweeps._leaving["a"].sessions == 2

    run(scenario())


async def come_back(clients: Clients, at: object, reader: asyncio.StreamReader) -> None:
    while True:
        await reader.read()
        reader, _ = await clients.connect(at)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["late", "backup"])
def test_nobody_is_ended_who_would_come_straight_back(run: Run, how: str) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        strategy = StrategyName.WEIGHTED if how == "backup" else StrategyName.ROUND_ROBIN
        async with (
            Clients() as clients,
            member("a") as a,
            member("b") as other,
            listening(cluster, replace(READERS, strategy=strategy)) as listener,
        ):
            b = replace(other, priority=a.priority + 10) if how == "backup" else other
            port = listener.port
            cluster.set((a, S), (b, None))
            readers = await open_some(clients, listener.endpoint, 10)
            returning = [asyncio.create_task(come_back(clients, listener.endpoint, one)) for one in readers]
            cluster.ports = []
            cluster.set((a, S), (b, S))
            late = tuple(replace(one, behind=how == "late" and one.member is b) for one in cluster.topology.members)
            cluster.topology = replace(cluster.topology, members=late)
            port.topology_changed(cluster.topology)
            for _ in range(5):
                await asyncio.sleep(0.05)
            assert (port.tally.ended, now_at(port)) == ({}, {"a": 10})
            if how == "late":
                cluster.ports = [port]
                cluster.set((a, S), (b, S))
                await until(lambda: port.tally.ended == {"rebalanced": 5}, "it has caught up", 3)
            for task in returning:
                task.cancel()
            await asyncio.gather(*returning, return_exceptions=True)

    run(scenario())


def test_sessions_leave_the_primary_that_stood_in_when_a_reader_is_back(run: Run) -> None:
    async def scenario() -> None:
        cluster, chosen = Cluster(), replace(READERS, fallback_to_primary=True)
        async with Clients() as clients, member("a") as a, member("p") as p, listening(cluster, chosen) as listener:
            cluster.set((a, S), (p, P))
            cluster.set((a, None), (p, P))
            await open_some(clients, listener.endpoint, 10)
            assert now_at(listener.port) == {"p": 10}
            cluster.set((a, S), (p, P))
            await until(lambda: listener.port.tally.ended == {"rebalanced": 10}, "the reader is back", 3)

    run(scenario())


def test_a_port_that_began_while_a_member_was_down_knows_that_it_is_back(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, member("a") as a, member("b") as b:
            cluster.set((a, S), (b, None))
            async with listening(cluster, READERS) as listener:
                await open_some(clients, listener.endpoint, 10)
                cluster.set((a, S), (b, S))
                await until(lambda: listener.port.tally.ended == {"rebalanced": 5}, "b is back", 3)

    run(scenario())


def test_a_member_that_is_put_back_gets_its_part(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, member("a") as a, member("b") as b, listening(cluster, READERS) as listener:
            cluster.set((a, S), (b, S))
            listener.port.set_member_modes({"b": Leave(0.0)})
            await open_some(clients, listener.endpoint, 10)
            listener.port.set_member_modes({})
            await until(lambda: listener.port.tally.ended == {"rebalanced": 5}, "b is back", 3)

    run(scenario())


def test_nobody_is_moved_to_a_member_in_quarantine_before_it_is_out(run: Run) -> None:
    async def scenario() -> None:
        cluster, chosen = Cluster(), replace(READERS, limits=Limits(quarantine_interval=3600.0))
        async with Clients() as clients, member("a") as a, member("b") as b, listening(cluster, chosen) as listener:
            port = listener.port
            cluster.set((a, S), (b, S))
            port.dial_failed(next(one for one in port.pick(0).candidates if one.member is b), "a test")
            cluster.set((a, S), (b, S))
            await open_some(clients, listener.endpoint, 10)
            assert now_at(port) == {"a": 10}
            port.set_member_modes({"b": Leave()})
            port.set_member_modes({})
            for _ in range(3):
                port.sweeps.sweep(time.monotonic())
            assert port.tally.ended == {}
            port.dial_succeeded("b")
            await until(lambda: port.tally.ended == {"rebalanced": 5}, "it is out", 3)

    run(scenario())


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say something once the client has, as X servers do."""
    writer.write(await reader.read(100))
    await reader.read()


class Moody(Silent):
    """Accepts, and speaks when it wants to."""

    speaks_by: Handler | None = None

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (self.speaks_by or super().__call__)(reader, writer)


@pytest.mark.parametrize("protocol", list(Protocol))
def test_a_member_that_accepts_and_says_nothing_stays_in_quarantine(run: Run, protocol: Protocol) -> None:
    async def scenario() -> None:
        cluster, moody = Cluster(), Moody()
        chosen = replace(
            route(Destination.SECONDARY, protocol, connect_timeout=0.1, strategy=StrategyName.FIRST_AVAILABLE),
            limits=Limits(client_connect_timeout=0.2, quarantine_interval=0.1, quarantine_threshold=2),
        )
        handler = echo if protocol is Protocol.CLASSIC else answer
        async with (
            Clients() as clients,
            member("a-mute", moody) as mute,
            member("well", handler) as well,
            listening(cluster, chosen) as listener,
        ):
            port: Port = listener.port
            cluster.set((mute, S), (well, S))

            async def try_one() -> bool:
                reader, writer = await clients.connect(listener.endpoint)
                writer.write(b"first")
                return (await reader.read(5))[:5] in (b"hello", b"first")

            assert [await try_one() for _ in range(2)] == [False, False]
            assert list(port.quarantine.held) == ["a-mute"], "that it accepted the second was no success"
            looks = moody.accepted
            await until(lambda: moody.accepted >= looks + 2, "it is looked at, twice")
            assert await try_one()
            assert list(port.quarantine.held) == ["a-mute"]
            moody.speaks_by = handler
            await until(lambda: not port.quarantine.held, "it speaks when it is looked at")
            port.dial_failed(port.pick(0).candidates[0], "once")
            assert await try_one()
            assert port.tally.joined["a-mute"] == 3
            await until(lambda: not port.quarantine.doubts("a-mute"), "it spoke to a session")

    run(scenario())
