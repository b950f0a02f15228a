"""Relays between bare sockets: a test holds both ends of each session, and nothing buffers for it on the way."""

from __future__ import annotations

import asyncio
import random
import resource
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.members import Endpoint, Member, Role
from router.listener import Listener
from router.port import Port
from router.routes import Route
from router.sessions import Phase, Session
from tests.router.fakes import Cluster, listening, route

SMALL = 4096
"""Bytes of a socket's buffer that makes a slow reader felt at once; the kernel doubles it."""


@dataclass
class Wire:
    """One session: the client's socket, the member's, and what joins them."""

    client: socket.socket
    member: socket.socket
    session: Session

    def ends(self, side: str) -> tuple[socket.socket, socket.socket]:
        """The socket of that side (`client` or `member`), and the other's."""
        return (self.client, self.member) if side == "client" else (self.member, self.client)


class Wires:
    """A listener before one member, which is a listening socket of the test's own."""

    def __init__(self, cluster: Cluster, listener: Listener, server: socket.socket) -> None:
        self.cluster = cluster
        self.listener = listener
        self.server = server
        self.endpoint = Endpoint(*server.getsockname())
        self.opened: list[socket.socket] = []

    @property
    def port(self) -> Port:
        return self.listener.port

    def offer(self) -> None:
        """Let the member be the primary."""
        self.cluster.set((Member("mysql-0", self.endpoint, self.endpoint), Role.PRIMARY))

    async def connect(self, receive_buffer: int = 0) -> socket.socket:
        """A client, connected to the router."""
        client = socket.socket()
        self.opened.append(client)
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        address = self.listener.endpoint.host, self.listener.endpoint.port
        await asyncio.get_running_loop().sock_connect(client, address)
        return client

    async def take(self) -> socket.socket:
        """The router's next connection to the member."""
        member, _ = await asyncio.get_running_loop().sock_accept(self.server)
        self.opened.append(member)
        member.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return member

    async def open(self, buffer: int = 0) -> Wire:
        """One session, joined; its ends receive into buffers of that size, and the router sends from such."""
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer or 131072)
        before = set(self.port.sessions)
        client = await self.connect(buffer)
        member = await self.take()
        [new] = set(self.port.sessions) - before
        session = self.port.sessions[new]
        async with asyncio.timeout(5):
            while session.phase is not Phase.JOINED:  # noqa: ASYNC110
                await asyncio.sleep(0)  # a few turns of the loop: this is done a thousand times
        for end in (session.client, session.client.peer):
            if buffer and end is not None and end.transport is not None:
                sock = end.transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        return Wire(client, member, session)


@asynccontextmanager
async def wires(chosen: Route | None = None, *, offered: bool = True) -> AsyncIterator[Wires]:
    """A port at work; whatever was opened is closed at the end, and every session accounted for."""
    cluster = Cluster()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as server:
        server.setblocking(False)
        async with listening(cluster, chosen or route()) as listener:
            made = Wires(cluster, listener, server)
            if offered:
                made.offer()
            try:
                yield made
            finally:
                for sock in made.opened:
                    sock.close()


def noise(size: int, seed: object) -> bytes:
    """Bytes that no other seed has, in no other place."""
    return random.Random(str(seed)).randbytes(size)


async def send(sock: socket.socket, data: bytes, pieces: random.Random | None = None, largest: int = 1 << 18) -> None:
    """Send all, in pieces of random sizes where a source of those is given."""
    loop = asyncio.get_running_loop()
    if pieces is None:
        await loop.sock_sendall(sock, data)
        return
    at = 0
    while at < len(data):
        size = pieces.randint(1, 1 << pieces.randint(0, largest.bit_length() - 1))
        await loop.sock_sendall(sock, data[at : at + size])
        at += size


async def receive(sock: socket.socket, size: int, most: int = 1 << 18) -> bytes:
    """Exactly so many bytes, or fewer where the other side ends before that."""
    loop = asyncio.get_running_loop()
    got = bytearray()
    while len(got) < size:
        data = await loop.sock_recv(sock, min(most, size - len(got)))
        if not data:
            break
        got += data
    return bytes(got)


async def ended(sock: socket.socket) -> bool:
    """Wait for the other side's end: whether it was an orderly one, and not a reset."""
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(sock, 1 << 18):
            pass
    except ConnectionError:
        return False
    return True


def reset(sock: socket.socket) -> None:
    """Close so that the other side sees a reset, and what was not sent is lost."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def need_descriptors(count: int) -> None:
    """Allow so many open descriptors, or skip the test where the system does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            pytest.skip(f"needs {count} open descriptors, the limit is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
