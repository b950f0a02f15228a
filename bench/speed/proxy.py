"""One proxy that runs between the load and the server, or the server itself: where it is, and how it ends.

Must not know the programs: how each is configured and started is in `proxies`.
"""

from __future__ import annotations

import random
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.sandbox.deadlines import wait_until
from bench.sandbox.errors import SandboxError
from bench.sandbox.processes import Process, is_alive, send, wait_gone

HOST = "127.0.0.1"
LOAD_CORE, PROXY_CORE = 0, 1
"""The server and the load generator stand on the first, the proxy on the second: beside a proxy that has a core to
itself nothing else varies. Each variant has the same."""
START_TIMEOUT = 20.0  # seconds until the server's greeting comes through; several times what the slowest takes
STOP_TIMEOUT = 5.0  # seconds until a proxy that does not end is killed
LOOK_TIMEOUT = 1.0  # seconds for one greeting
PORTS = range(12_000, 30_000)

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Discovery:
    """Where Fairlead learns of the server, as one of a group."""

    domain: str
    resolver: str
    probe_user: str
    probe_password_file: Path


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """An account that MySQL Router bootstraps with, on a group that has metadata; and what it shows its clients.

    Attributes:
        certificate: of the authority that the clients believe, PEM.
        key: its key.
    """

    user: str
    password: str
    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Upstream:
    """The server that all lead to.

    Attributes:
        discovery: how Fairlead finds it; None where it is given the address.
        bootstrap: how MySQL Router finds it; None where it can only be given the address.
    """

    address: Address
    discovery: Discovery | None = None
    bootstrap: Bootstrap | None = None


class Proxy:
    """One that runs, or the server itself.

    Args:
        name: of the variant.
        address: where clients connect.
        process: that serves there; None where clients go to the server itself.
        log: what it says.
    """

    def __init__(self, name: str, address: Address, process: Process | None = None, log: Path | None = None) -> None:
        self.name = name
        self.address = address
        self._process = process
        self._log = log

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Its first process; None where there is no proxy."""
        return self._process.pid if self._process else None

    def wait_ready(self) -> None:
        """Return when the server's greeting comes through.

        Raises:
            SandboxError: it does not; with the end of the proxy's log.
        """
        wait_until(lambda: greets(self.address) or not self._lives(), START_TIMEOUT)
        if not (self._lives() and greets(self.address)):
            self.stop()
            lines = self._log.read_text(errors="replace").splitlines()[-20:] if self._log else []
            raise SandboxError(
                "\n  ".join([f"{self.name}: no greeting at {self.address[0]}:{self.address[1]}", *lines])
            )

    def stop(self) -> None:
        """End it; it is gone when this returns. May be called again."""
        for number, patience in ((signal.SIGTERM, STOP_TIMEOUT), (signal.SIGKILL, STOP_TIMEOUT)):
            if self._process is None:
                return
            send(self._process, number)
            if wait_gone(self._process, patience):
                self._process = None

    def _lives(self) -> bool:
        return self._process is None or is_alive(self._process)


def greets(address: Address) -> bool:
    """Whether a server's greeting, and no error packet, is the first thing at an address."""
    try:
        with socket.create_connection(address, LOOK_TIMEOUT) as sock:
            head = sock.recv(5)
            return len(head) == 5 and head[4] == 10  # the protocol's version; an error packet has 255 there
    except OSError:
        return False


def free_port(count: int = 1) -> int:
    """The first of so many ports of loopback in a row that nobody listens on now.

    Below those that the kernel gives to clients (ip_local_port_range), of which there are thousands here.

    Raises:
        SandboxError: there is no such row.
    """
    for port in random.sample(PORTS, len(PORTS)):
        if all(_is_free(port + step) for step in range(count)):
            return port
    raise SandboxError(f"no {count} ports of {HOST} in a row are free from {PORTS.start} to {PORTS.stop}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
