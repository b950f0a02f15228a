"""One source floods the DNS server for real, from processes of its own; everybody else still gets answers in time."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import dns.message
import pytest

from bench.peers.nameservers import free_address

pytestmark = pytest.mark.sandbox

HONEST = "127.0.0.1"
FLOODER = "127.0.0.2"  # in the same network
DOMAIN = "c0.demo.fairlead.test"
QUESTIONS = 200
TRY = 1.0  # second that a resolver waits before it asks again; it asks three times
TRIES = 3
PATIENCE = 20.0  # seconds until a test gives up
SHED = 1_000  # packets of a flood that have to be turned away before the honest client asks

SERVER = """
import asyncio, json, signal, sys, uvloop
from bench.peers.dns_answers import zone
from srv.server import Server
async def serve():
    server = Server([("127.0.0.1", int(sys.argv[1]))], [zone(0)])
    await server.start()
    ended, told = asyncio.Event(), lambda: print(json.dumps(server.counts), flush=True)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGUSR1, told)
    told()
    await ended.wait()
    await server.close()
uvloop.run(serve())
"""
DATAGRAMS = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[2], 0))
sock.connect(("127.0.0.1", int(sys.argv[1])))
wire = bytes.fromhex(sys.argv[3])
while True:
    try:
        sock.send(wire)
    except OSError:
        pass
"""
CONNECTIONS = """
import contextlib, socket, sys
kept = []
wire = bytes.fromhex(sys.argv[3])
while True:
    sock = socket.socket()
    sock.settimeout(0.5)
    with contextlib.suppress(OSError):
        sock.bind((sys.argv[2], 0))
        sock.connect(("127.0.0.1", int(sys.argv[1])))
        sock.sendall(wire)
    kept.append(sock)
    if len(kept) > 200:
        kept.pop(0).close()
"""


def query() -> bytes:
    return dns.message.make_query(f"_mysql._tcp.primary.{DOMAIN}", "SRV", use_edns=0, payload=1232).to_wire()


class Flooded:
    """A server, and those that flood it."""

    def __init__(self) -> None:
        self.port = free_address(HONEST)[1]
        self._flood: list[subprocess.Popen[bytes]] = []
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # complaints about junk
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self._read_counts()

    def counts(self) -> dict[str, int]:
        """What the server has counted so far."""
        self._server.send_signal(signal.SIGUSR1)
        return self._read_counts()

    def _read_counts(self) -> dict[str, int]:
        assert self._server.stdout is not None
        assert select.select([self._server.stdout], [], [], PATIENCE)[0], "the server does not react any more"
        found: dict[str, int] = json.loads(self._server.stdout.readline())
        return found

    def flood(self, program: str, wire: bytes, processes: int = 1) -> None:
        """Begin to flood."""
        for _ in range(processes):
            argv = [sys.executable, "-c", program, str(self.port), FLOODER, wire.hex()]
            self._flood.append(subprocess.Popen(argv))

    def until(self, wanted: Callable[[dict[str, int]], bool]) -> dict[str, int]:
        """Wait for what the server counts."""
        deadline = time.monotonic() + PATIENCE
        while not wanted(counts := self.counts()):
            assert time.monotonic() < deadline, counts
            time.sleep(0.05)
        return counts

    def close(self) -> None:
        """End all processes."""
        for process in self._flood:
            process.kill()
        self._server.terminate()
        for process in (*self._flood, self._server):
            process.wait()
        if self._server.stdout is not None:
            self._server.stdout.close()


@pytest.fixture
def flooded() -> Iterator[Flooded]:
    one = Flooded()
    yield one
    one.close()


def ask_over_udp(port: int) -> bool:
    """Ask as a resolver does, and say whether an answer came."""
    wire = query()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HONEST, 0))
        sock.connect((HONEST, port))
        sock.settimeout(TRY)
        for _ in range(TRIES):
            sock.send(wire)
            with contextlib.suppress(TimeoutError):
                return bool(dns.message.from_wire(sock.recv(4096)).answer)
    return False


def ask_over_tcp(port: int) -> bool:
    wire = query()
    with socket.create_connection((HONEST, port), TRY * TRIES, (HONEST, 0)) as sock:
        sock.sendall(len(wire).to_bytes(2, "big") + wire)
        length = int.from_bytes(sock.recv(2, socket.MSG_WAITALL), "big")
        return bool(dns.message.from_wire(sock.recv(length, socket.MSG_WAITALL)).answer)


def served_in_time(port: int) -> None:
    """Everybody else is answered before a resolver gives up, whatever the machine has to do besides."""
    assert all(ask_over_udp(port) for _ in range(QUESTIONS))
    assert all(ask_over_tcp(port) for _ in range(20))


@pytest.mark.parametrize("wire", [query(), b"\x00" * 40], ids=["questions", "junk"])
def test_a_flood_of_datagrams(flooded: Flooded, wire: bytes) -> None:
    flooded.flood(DATAGRAMS, wire, processes=2)
    flooded.until(lambda counts: counts.get("udp shed", 0) > SHED)
    served_in_time(flooded.port)


@pytest.mark.parametrize(
    "wire", [b"\x00", (len(query()).to_bytes(2, "big") + query()) * 50], ids=["that are slow", "that ask a lot"]
)
def test_a_flood_of_connections(flooded: Flooded, wire: bytes) -> None:
    flooded.flood(CONNECTIONS, wire, processes=2)
    flooded.until(lambda counts: counts.get("tcp shed", 0) > 100)
    served_in_time(flooded.port)
