"""What an idle session costs: bytes of the router's own memory for each of many, against a server that does nothing.

`python -m bench.figures.idle_sessions [SESSIONS]`: a null server, a port with its relay, and the clients, each in a
process of its own. Told are the port's private bytes a session: fresh, after each has carried a result of 1 MiB, and
what is still held when all are gone; and, apart, the kernel's for the four sockets of a session.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import uvloop

from cluster.members import Endpoint, Member, Role, State
from cluster.topology import MemberStatus, Topology, Trust
from router.listener import Listener, open_socket
from router.port import Port
from router.routes import Route
from router.sessions import Phase
from router.words import Destination, Protocol, StrategyName

GREETING = bytes(80)  # as long as a MySQL server's
LOGIN = b"login".ljust(100, b"\0")
OK = bytes(11)
FETCH = b"fetch".ljust(40, b"\0")
RESULT = bytes(1 << 20)
LIMIT = 24 * 1024
"""Bytes a session that are thought enough."""
AT_ONCE = 100
"""Clients that connect or fetch at the same time: as with a pool that fills, and not what is measured."""
SPARE = 200
"""Descriptors that a process needs besides its sockets."""
LOOPBACK = "127.0.0.1"


def need_descriptors(count: int) -> None:
    """Allow this process so many open descriptors.

    Raises:
        SystemExit: the system does not let us; says what to do.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(hard, count)))
    except (ValueError, OSError):
        raise SystemExit(f"{count} open descriptors are needed and {hard} allowed: raise it (ulimit -Hn)") from None


def private_bytes() -> int:
    """The memory of this process that no other shares (proc(5), smaps_rollup)."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean:", "Private_Dirty:"))) * 1024


def kernel_bytes() -> int:
    """The kernel's objects and socket buffers, of the whole machine."""
    slab = next(
        line for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines() if line.startswith("Slab")
    )
    tcp = next(line for line in Path("/proc/net/sockstat").read_text(encoding="ascii").splitlines() if "TCP" in line)
    words = tcp.split()
    return int(slab.split()[1]) * 1024 + int(words[words.index("mem") + 1]) * resource.getpagesize()


class Null(asyncio.Protocol):
    """A server that greets, lets everybody in, and has one result."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        self.transport.write(RESULT if data == FETCH else OK)


async def orders(loop: asyncio.AbstractEventLoop, obey: Callable[[], object]) -> None:
    """Answer each line of the standard input with what `obey` returns, as JSON, until it ends: with our parent."""
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        print(json.dumps(obey()), flush=True)


async def serve_null() -> None:
    """Be the server; the first line told is its port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Null, LOOPBACK, 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await orders(loop, lambda: None)


async def serve_port(behind: int) -> None:
    """Be the router's part that carries bytes; the first line told is its port."""
    loop = asyncio.get_running_loop()
    member = Member("null", Endpoint(LOOPBACK, behind), None)
    status = MemberStatus(member, "uuid", Role.PRIMARY, State.ONLINE, Role.PRIMARY)
    topology = Topology(1, time.monotonic(), Trust.QUORUM, "", members=(status,))
    route = Route(
        name="idle",
        protocol=Protocol.CLASSIC,
        destination=Destination.PRIMARY,
        strategy=StrategyName.FIRST_AVAILABLE,
        fallback_to_primary=False,
        topology_max_age=30.0,
        parking_timeout=9.0,
        parking_limit=1024,
        connect_timeout=2.0,
    )
    async with asyncio.TaskGroup() as attaching:
        port = Port(route, lambda: topology, attaching)
        listener = Listener(port, open_socket(Endpoint(LOOPBACK, 0)))
        await listener.start()
        print(listener.endpoint.port, flush=True)

        def tell() -> object:
            joined = sum(session.phase is Phase.JOINED for session in port.sessions.values())
            return {"private": private_bytes(), "sessions": joined}

        await orders(loop, tell)
        listener.close()
        for session in list(port.sessions.values()):
            session.cut("the measurement is over")


class Part:
    """A process of ours, which ends when this one does."""

    def __init__(self, stack: ExitStack, *arguments: str) -> None:
        argv = [sys.executable, "-m", "bench.figures.idle_sessions", *arguments]
        self._process = stack.enter_context(
            subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        )
        stack.callback(self._process.stdin.close)  # type: ignore[union-attr]
        self.port = int(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None  # noqa: S101
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a part of the measurement has ended by itself")
        return line

    def ask(self) -> dict[str, int]:
        """Have it tell how it stands."""
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write("\n")
        return cast(dict[str, int], json.loads(self._read()))


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(port: int) -> Streams:
    """Open a session and log in."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    await reader.readexactly(len(GREETING))
    writer.write(LOGIN)
    await reader.readexactly(len(OK))
    return reader, writer


async def fetch(streams: Streams) -> None:
    """Have the session carry a result."""
    reader, writer = streams
    writer.write(FETCH)
    await reader.readexactly(len(RESULT))


async def measure(router: Part, sessions: int) -> tuple[list[tuple[str, int]], int]:
    """Open, use and close so many sessions; return the router's bytes a session at each step, and the kernel's."""
    for _ in range(AT_ONCE):  # what the first sessions need is needed once
        _, writer = await connect(router.port)
        writer.close()
    before, kernel = router.ask()["private"], kernel_bytes()
    clients: list[Streams] = []
    for _ in range(0, sessions, AT_ONCE):
        clients += await asyncio.gather(*(connect(router.port) for _ in range(min(AT_ONCE, sessions - len(clients)))))
    told = router.ask()
    if told["sessions"] != sessions:
        raise SystemExit(f"{told['sessions']} sessions were joined, not {sessions}")
    figures = [("idle, fresh", told["private"] - before)]
    of_kernel = kernel_bytes() - kernel
    for first in range(0, sessions, AT_ONCE):
        await asyncio.gather(*(fetch(one) for one in clients[first : first + AT_ONCE]))
    figures.append(("idle, after a result of 1 MiB each", router.ask()["private"] - before))
    for _, writer in clients:
        writer.transport.abort()
    async with asyncio.timeout(30):
        while router.ask()["sessions"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    figures.append(("all closed", router.ask()["private"] - before))
    return [(words, each // sessions) for words, each in figures], of_kernel // sessions


def main() -> None:
    """Measure, and print a line for each step."""
    match sys.argv[1:]:
        case ["server"]:
            uvloop.run(serve_null())
            return
        case ["router", behind]:
            uvloop.run(serve_port(int(behind)))
            return
    sessions = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    need_descriptors(2 * sessions + SPARE)  # the router's need; children inherit it
    with ExitStack() as stack:
        server = Part(stack, "server")
        router = Part(stack, "router", str(server.port))
        figures, of_kernel = uvloop.run(measure(router, sessions))
    for words, each in figures:
        print(f"{sessions} sessions, {words}: {each / 1024:.1f} KiB each of the router's own memory")
    print(f"the kernel, for both ends of both connections: {of_kernel / 1024:.1f} KiB each, fresh")
    most = max(each for _, each in figures)
    print(f"target {LIMIT / 1024:.0f} KiB: {'met' if most <= LIMIT else 'missed'}")


if __name__ == "__main__":
    main()
