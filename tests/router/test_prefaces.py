"""Connections that wait for their PROXY header belong to their port: counted, followed, and ended with it."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from cluster.members import Endpoint, Role
from router import sweeps
from router.listening import open_socket
from router.messages import Configure, RouteOrder
from router.port import Port
from router.ports import Ports
from router.routes import Limits, Route
from router.words import Destination
from tests.router.conftest import Run
from tests.router.fakes import Cluster, listening, member, route, until
from tests.router.test_port import ELSEWHERE, Silent, proxied
from tests.router.test_sessions import Clients, error_of

P = Role.PRIMARY


@dataclass
class Bench:
    """The ports of a worker on one socket, and each port that was ever made."""

    ports: Ports
    sock: socket.socket
    cluster: Cluster
    made: list[Port] = field(default_factory=list)
    is_closed: bool = False

    async def close(self, *, queued: bool) -> None:
        if not self.is_closed:
            self.is_closed = True
            await self.ports.close(queued=queued)

    @property
    def at(self) -> Endpoint:
        return Endpoint(*self.sock.getsockname())

    async def serve(self, *routes: Route, drain: float = 10.0) -> None:
        await self.ports.configure(Configure(tuple(RouteOrder(one, "main", str(self.at), 1) for one in routes), drain))


@asynccontextmanager
async def some_ports(cluster: Cluster) -> AsyncIterator[Bench]:
    async with asyncio.TaskGroup() as tasks:

        def make(order: RouteOrder) -> Port:
            port = Port(order.route, lambda: cluster.topology, tasks)
            cluster.ports.append(port)
            bench.made.append(port)
            return port

        with open_socket(Endpoint("127.0.0.1", 0)) as sock:
            bench = Bench(Ports(make), sock, cluster)
            bench.ports.take((str(bench.at),), [os.dup(sock.fileno())])
            try:
                yield bench
            finally:
                await bench.close(queued=False)
                for port in bench.made:
                    port.cut("the test ends")
                await until(lambda: all(port.is_empty for port in bench.made), "all is accounted for")


def test_they_count_for_every_limit_and_who_is_too_many_is_told_so(run: Run) -> None:
    async def scenario(limits: Limits) -> None:
        cluster = Cluster()
        async with (
            Clients() as clients,
            member() as one,
            listening(cluster, replace(proxied(route()), limits=limits)) as listener,
        ):
            port = listener.port
            cluster.set((one, P))
            waiting = [await clients.connect(listener.endpoint) for _ in range(2)]
            await until(lambda: len(port.prefaces) == 2, "they wait for their headers")
            assert (port.counts.total(), port.descriptors.owed) == (2, 2)
            late, _ = await clients.connect(listener.endpoint)
            assert error_of(await late.read()) == (1040, b"#08004", "Too many connections")
            assert (port.counts.total(), port.descriptors.owed) == (2, 2)
            reader, writer = waiting[0]
            writer.write(ELSEWHERE)
            assert await reader.readexactly(6) == b"hello "
            assert (port.counts.total(), port.descriptors.owed, len(port.prefaces)) == (2, 1, 1)
            for _, writer in waiting:
                writer.close()
            await until(lambda: port.is_empty, "they are gone")
            assert (port.counts.total(), port.descriptors.owed) == (0, 0)

    run(scenario(Limits(max_connections=2)))
    run(scenario(Limits(max_total_connections=2)))


def test_what_begins_after_its_route_moved_still_follows_the_topology(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, member() as one, some_ports(cluster) as bench:
            cluster.set((one, P))
            writers = proxied(route())
            await bench.serve(writers)
            reader, writer = await clients.connect(bench.at)
            await until(lambda: bool(bench.made[0].prefaces), "its header is on its way")
            await bench.serve(replace(writers, destination=Destination.PRIMARY_AND_SECONDARY))
            bench.ports.tick(time.monotonic())  # what a worker does every 0.1 s
            assert bench.made[0] in list(bench.ports)
            writer.write(ELSEWHERE)
            assert await reader.readexactly(6) == b"hello "
            cluster.topology = replace(cluster.topology, version=9, members=())
            for port in bench.ports:
                port.topology_changed(cluster.topology)
            assert await reader.read() == b""

    run(scenario())


def test_they_end_when_the_time_of_their_route_is_over(run: Run) -> None:
    async def scenario() -> None:
        async with Clients() as clients, some_ports(Cluster()) as bench:
            await bench.serve(proxied(route()))
            reader, _ = await clients.connect(bench.at)
            port = bench.made[0]
            await until(lambda: bool(port.prefaces), "its header is on its way")
            await bench.serve()
            bench.ports.tick(time.monotonic())
            assert port.prefaces
            bench.ports.tick(time.monotonic() + 11)
            assert await asyncio.wait_for(reader.read(), 3) == b"", "sooner than the header would be too late"
            await until(lambda: port.is_empty, "it is gone")
            bench.ports.tick(time.monotonic())
            assert (list(bench.ports), port.counts.total()) == ([], 0)

    run(scenario())


def test_a_route_that_is_leaving_is_told_whom_to_leave_still(run: Run) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        async with Clients() as clients, member() as one, some_ports(cluster) as bench:
            cluster.set((one, P))
            await bench.serve(route())
            reader, _ = await clients.connect(bench.at)
            assert await reader.readexactly(6) == b"hello "
            await bench.serve(route(Destination.PRIMARY_AND_SECONDARY))
            assert bench.ports.of("main") == bench.made[::-1]
            assert bench.ports.of("another") == []

    run(scenario())


def test_what_is_taken_from_the_queue_at_the_end_is_swept_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "TICK", 0.05)

    async def scenario() -> None:
        cluster = Cluster()
        async with member(handler=Silent()) as mute, some_ports(cluster) as bench:
            cluster.set((mute, P))
            await bench.serve(replace(route(), limits=Limits(client_connect_timeout=0.2)))
            with socket.create_connection((bench.at.host, bench.at.port)):  # queued, since nobody awaited
                await bench.close(queued=True)
                port = bench.made[0]
                assert not port.is_empty
                await until(lambda: port.is_empty, "its member is mute, and its time is over", 3)

    run(scenario())
