"""Members and topologies for fault injection on loopback: what a real server would never do on demand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from cluster.members import Endpoint, Member, Role, State
from cluster.topology import MemberStatus, Topology, Trust
from router.listener import Listener
from router.listening import open_socket
from router.port import Port
from router.routes import Route
from router.words import Destination, Protocol, StrategyName

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greet, then send back what comes."""
    writer.write(b"hello ")
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def member(name: str = "mysql-0", handler: Handler = echo) -> AsyncIterator[Member]:
    """A listening fake; both protocols lead to the same handler."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        yield Member(name, endpoint, endpoint)
    finally:
        server.close()


class Cluster:
    """A topology that a test sets by hand."""

    def __init__(self) -> None:
        self.topology = Topology()
        self.ports: list[Port] = []

    def set(self, *members: tuple[Member, Role | None], trust: Trust = Trust.QUORUM) -> None:
        """Publish a topology: members and the role each is offered for, None where the majority has lost it."""
        self.topology = Topology(
            version=self.topology.version + 1,
            taken_at=time.monotonic(),
            trust=trust,
            reason="" if trust is Trust.QUORUM else "no majority of the group answers",
            members=tuple(
                MemberStatus(one, one.name, role or Role.UNKNOWN, State.ONLINE if role else State.UNREACHABLE, role)
                for one, role in members
            ),
        )
        for port in self.ports:
            port.topology_changed(self.topology)


def route(
    destination: Destination = Destination.PRIMARY,
    protocol: Protocol = Protocol.CLASSIC,
    *,
    name: str = "test",
    strategy: StrategyName = StrategyName.ROUND_ROBIN,
    fallback_to_primary: bool = False,
    topology_max_age: float = 30.0,
    parking_timeout: float = 5.0,
    parking_limit: int = 100,
    connect_timeout: float = 1.0,
) -> Route:
    """A route with short times."""
    return Route(
        name,
        protocol,
        destination,
        strategy,
        fallback_to_primary,
        topology_max_age,
        parking_timeout,
        parking_limit,
        connect_timeout,
    )


@asynccontextmanager
async def listening(cluster: Cluster, chosen: Route) -> AsyncIterator[Listener]:
    """A port of that route at work on loopback."""
    async with asyncio.TaskGroup() as tasks:
        port = Port(chosen, lambda: cluster.topology, tasks)
        cluster.ports.append(port)
        listener = Listener(port, open_socket(Endpoint("127.0.0.1", 0)))
        await listener.start()
        try:
            yield listener
        finally:
            listener.close()
            for session in list(port.sessions.values()):
                session.cut("the test ends")
            await until(lambda: not port.sessions, "every session is accounted for")


async def until(condition: Callable[[], bool], what: str, timeout: float = 5.0) -> None:
    """Wait for a condition with a deadline."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        await asyncio.sleep(0.005)
