"""The proxies that are compared, each before the same server: how each is configured, started and ended.

Owns an entry in `PROXIES` for each. All stand on one core of their own with one thread for connections, so that what is
compared is what each does with that core. Must not know what is measured.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.peers.root import enter
from bench.sandbox.deadlines import wait_until
from bench.sandbox.errors import SandboxError
from bench.sandbox.layout import cache_dir
from bench.sandbox.processes import Process, is_alive, send, spawn, wait_gone
from bench.sandbox.programs import need_program
from bench.sandbox.server_root import ensure_root
from bench.sandbox.servers import PRIVATE_HOME, SERVER_ID, PrivateRoot
from bench.speed.cases import DIRECT, HAPROXY, OURS, OURS_TWICE, ROUTER
from router.settings import RouteSettings, Settings

HOST = "127.0.0.1"
LOAD_CORE, PROXY_CORE = 0, 1
"""The server and the load generator stand on the first, the proxy on the second: beside a proxy that has a core to
itself nothing else varies. Each variant has the same."""
START_TIMEOUT = 20.0  # seconds until the server's greeting comes through; several times what the slowest takes
STOP_TIMEOUT = 5.0  # seconds until a proxy that does not end is killed
LOOK_TIMEOUT = 1.0  # seconds for one greeting
ROOM = 20_000  # sessions that a proxy is to allow: more than are ever opened here
FOR_EVER = 31_536_000  # seconds: the longest that MySQL Router takes, for sessions that are meant to wait
NO_BLOCK = 4_294_967_295  # errors of a client host until MySQL Router blocks it: the clients of a load are all one host

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Discovery:
    """Where Fairlead learns of the server, while it cannot be given an address alone."""

    domain: str
    resolver: str
    probe_user: str
    probe_password_file: Path


@dataclass(frozen=True, slots=True)
class Upstream:
    """The server that all lead to."""

    address: Address
    discovery: Discovery | None = None


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


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def can_have_workers() -> bool:
    """Whether Fairlead can be told to have several workers."""
    return "workers" in Settings.model_fields


def can_be_static() -> bool:
    """Whether a route of Fairlead can be given its members' addresses."""
    return "members" in RouteSettings.model_fields


def available() -> list[str]:
    """The variants that can be had now."""
    return [name for name in PROXIES if name != OURS_TWICE or can_have_workers()]


def start(name: str, directory: Path, upstream: Upstream) -> Proxy:
    """Start one, in a directory of its own, and return when the server's greeting comes through.

    Raises:
        SandboxError: it does not come to that.
    """
    proxy = PROXIES[name](directory, upstream)
    try:
        proxy.wait_ready()
    except BaseException:
        proxy.stop()
        raise
    return proxy


def _direct(_: Path, upstream: Upstream) -> Proxy:
    return Proxy(DIRECT, upstream.address)


def _fairlead(directory: Path, upstream: Upstream) -> Proxy:
    return _start_fairlead(OURS, directory, upstream, workers=1, cores=(PROXY_CORE,))


def _fairlead_twice(directory: Path, upstream: Upstream) -> Proxy:
    return _start_fairlead(OURS_TWICE, directory, upstream, workers=2, cores=(LOAD_CORE, PROXY_CORE))


def _start_fairlead(name: str, directory: Path, upstream: Upstream, workers: int, cores: Sequence[int]) -> Proxy:
    port = free_port()
    directory.mkdir()
    config = directory / "router.toml"
    config.write_text(fairlead_text(upstream, port, free_port(), workers))
    argv = [sys.executable, "-m", "router.cli", "router", "--config", str(config), "--log-level", "WARNING"]
    return _spawn(name, port, argv, directory, cores)


def fairlead_text(upstream: Upstream, port: int, admin: int, workers: int) -> str:
    """Fairlead's configuration, as far as it has the options: the server's address given, or found by SRV records."""
    static = can_be_static()
    if not static and upstream.discovery is None:
        raise SandboxError("this Fairlead cannot be given a server's address: it needs SRV records and a probe account")
    lines = ["drain_timeout = 0"]
    if can_have_workers():
        lines.append(f"workers = {workers}")
    if not static and upstream.discovery is not None:
        found = upstream.discovery
        lines += [
            "[clusters.main]",
            f'srv = "{found.domain}"',
            f'resolvers = ["{found.resolver}"]',
            f'probe_user = "{found.probe_user}"',
            f'probe_password_file = "{found.probe_password_file}"',
        ]
    lines += ["[routes.rw]", f'listen = "{HOST}:{port}"', 'protocol = "classic"']
    lines.append(f'members = ["{upstream.address[0]}:{upstream.address[1]}"]' if static else 'destination = "PRIMARY"')
    lines += ["[admin]", f'listen = "{HOST}:{admin}"']
    return "\n".join(lines) + "\n"


def _mysqlrouter(directory: Path, upstream: Upstream) -> Proxy:
    port = free_port()
    directory.mkdir()
    os.chown(directory, SERVER_ID, SERVER_ID)
    (directory / "router.conf").write_text(mysqlrouter_text(upstream, port))
    # It reads the server's root as the server does, with this directory as its home.
    root = PrivateRoot(ensure_root(cache_dir(), print))
    hosts = directory / "hosts"
    hosts.write_text(f"{HOST} localhost\n")
    argv = root.launch(directory, hosts, [f"--config={PRIVATE_HOME}/router.conf"])
    program = ["/usr/bin/mysqlrouter" if word == "/usr/sbin/mysqld" else word for word in argv]
    return _spawn(ROUTER, port, program, directory, (PROXY_CORE,))


def mysqlrouter_text(upstream: Upstream, port: int) -> str:
    """MySQL Router's configuration: a static route that leaves TLS alone, one thread for connections."""
    sections: Mapping[str, Mapping[str, object]] = {
        "DEFAULT": {
            "logging_folder": "",
            "runtime_folder": PRIVATE_HOME,
            "data_folder": PRIVATE_HOME,
            "max_total_connections": ROOM,
        },
        "logger": {"level": "ERROR"},
        "io": {"backend": "linux_epoll", "threads": 1},
        "routing:rw": {
            "bind_address": HOST,
            "bind_port": port,
            "destinations": f"{upstream.address[0]}:{upstream.address[1]}",
            "routing_strategy": "first-available",
            "protocol": "classic",
            "client_ssl_mode": "PASSTHROUGH",
            "server_ssl_mode": "AS_CLIENT",
            "client_connect_timeout": FOR_EVER,
            "max_connect_errors": NO_BLOCK,
        },
    }
    return "".join(
        f"[{name}]\n" + "".join(f"{option} = {value}\n" for option, value in options.items())
        for name, options in sections.items()
    )


def forward(directory: Path, address: Address) -> Proxy:
    """Something that passes connections on to an address which greets nobody; it is up a moment later."""
    return _haproxy(directory, Upstream(address))


def _haproxy(directory: Path, upstream: Upstream) -> Proxy:
    port = free_port()
    directory.mkdir()
    (directory / "haproxy.cfg").write_text(haproxy_text(upstream, port))
    argv = [*enter(directory), "/usr/sbin/haproxy", "-db", "-f", "/srv/haproxy.cfg"]
    return _spawn(HAPROXY, port, argv, directory, (PROXY_CORE,))


def haproxy_text(upstream: Upstream, port: int) -> str:
    """HAProxy's configuration: TCP mode, one thread, no more sessions than its descriptors are for."""
    # Two descriptors a session and a few of its own, as it reckons itself; it refuses to start with more.
    room = min(ROOM, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100) // 2)
    return f"""global
    nbthread 1
    maxconn {room}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1d
    timeout server 1d
listen rw
    bind {HOST}:{port}
    server one {upstream.address[0]}:{upstream.address[1]}
"""


def _spawn(name: str, port: int, argv: Sequence[str], directory: Path, cores: Sequence[int]) -> Proxy:
    pin = [need_program("taskset", "util-linux"), "--cpu-list", ",".join(map(str, cores))]
    log = directory / "log"
    return Proxy(name, (HOST, port), spawn([*pin, *argv], dict(os.environ), log), log)


PROXIES: Mapping[str, Callable[[Path, Upstream], Proxy]] = {
    DIRECT: _direct,
    OURS: _fairlead,
    OURS_TWICE: _fairlead_twice,
    ROUTER: _mysqlrouter,
    HAPROXY: _haproxy,
}
