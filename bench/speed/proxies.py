"""The proxies that are compared, each before the same server: how each is configured, started and ended.

Owns an entry in `PROXIES` for each. All stand on one core of their own with one thread for connections, so that what is
compared is what each does with that core. Must not know what is measured.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.peers.root import PEERS
from bench.sandbox.errors import SandboxError
from bench.sandbox.layout import cache_dir
from bench.sandbox.processes import spawn
from bench.sandbox.programs import need_program, run_program
from bench.sandbox.server_root import ensure_root
from bench.sandbox.servers import PRIVATE_HOME, SERVER_ID, PrivateRoot
from bench.speed.cases import BOOTSTRAPPED, DIRECT, HAPROXY, OURS, OURS_TWICE, ROUTER
from bench.speed.proxy import HOST, LOAD_CORE, PROXY_CORE, Proxy, Upstream, free_port

ROOM = 20_000  # sessions that a proxy is to allow: more than are ever opened here
FOR_EVER = 31_536_000  # seconds: the longest that MySQL Router takes, for sessions that are meant to wait
NO_BLOCK = 4_294_967_295  # errors of a client host until MySQL Router blocks it: the clients of a load are all one host

IO_THREADS = 1  # of MySQL Router for connections: as many as the others have
BOOTSTRAP_OPTIONS = {
    "io.threads": IO_THREADS,
    "DEFAULT.max_total_connections": ROOM,
    "DEFAULT.logging_folder": "",
    "logger.level": "ERROR",
}
"""What is not as MySQL Router's bootstrap writes it."""
BOOTSTRAP_PORTS = 5  # that it takes, the first for reading and writing


def available(*, group: bool = False) -> list[str]:
    """The variants that can be had now, before a lone server or a group."""
    return [name for name in PROXIES if group or name != BOOTSTRAPPED]


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
    """Fairlead's configuration: a static route, or a cluster that is found by SRV records."""
    lines = ["drain_timeout = 0", f"workers = {workers}"]
    leads_to = f'members = ["{upstream.address[0]}:{upstream.address[1]}"]'
    if upstream.discovery is not None:
        leads_to = 'destination = "PRIMARY"'
        found = upstream.discovery
        lines += [
            "[clusters.main]",
            f'srv = "{found.domain}"',
            f'resolvers = ["{found.resolver}"]',
            f'probe_user = "{found.probe_user}"',
            f'probe_password_file = "{found.probe_password_file}"',
        ]
    lines += ["[routes.rw]", f'listen = "{HOST}:{port}"', 'protocol = "classic"', leads_to]
    lines += ["[admin]", f'listen = "{HOST}:{admin}"']
    return "\n".join(lines) + "\n"


def _mysqlrouter(directory: Path, upstream: Upstream) -> Proxy:
    port = free_port()
    directory.mkdir()
    os.chown(directory, SERVER_ID, SERVER_ID)
    (directory / "router.conf").write_text(mysqlrouter_text(upstream, port))
    return _spawn(
        ROUTER, port, router_argv(directory, f"--config={PRIVATE_HOME}/router.conf"), directory, (PROXY_CORE,)
    )


def router_argv(directory: Path, *arguments: str, program: str = "/usr/bin/mysqlrouter") -> list[str]:
    """MySQL Router in the root that the server has too, with this directory as its home, without privileges.

    Args:
        directory: which it sees as its home.
        arguments: its own.
        program: another of its programs, by its path there.
    """
    hosts = directory / "hosts"
    hosts.write_text(f"{HOST} localhost\n")
    argv = PrivateRoot(ensure_root(cache_dir(), print)).launch(directory, hosts, arguments)
    return [program if word == "/usr/sbin/mysqld" else word for word in argv]


def _bootstrapped(directory: Path, upstream: Upstream) -> Proxy:
    if upstream.bootstrap is None:
        raise SandboxError(f"{BOOTSTRAPPED} needs a group with metadata: ask for one with --group")
    port = free_port(BOOTSTRAP_PORTS)
    directory.mkdir()
    os.chown(directory, SERVER_ID, SERVER_ID)
    account, (host, server_port) = upstream.bootstrap, upstream.address
    options = [f"--bootstrap={account.user}@{host}:{server_port}", f"--directory={PRIVATE_HOME}/r", "--name=speed"]
    options += [f"--conf-bind-address={HOST}", f"--conf-base-port={port}", "--conf-use-gr-notifications=1"]
    options += ["--disable-rest", f"--report-host={HOST}"]
    for option, text in (("cert", account.certificate), ("key", account.key)):
        path = directory / f"{option}.pem"
        path.touch(mode=0o600)
        path.write_text(text)
        os.chown(path, SERVER_ID, SERVER_ID)
        options.append(f"--client-ssl-{option}={PRIVATE_HOME}/{path.name}")
    for name, value in BOOTSTRAP_OPTIONS.items():
        options.append(f"--conf-set-option={name}={value}")
    run_program(router_argv(directory, *options), text=f"{account.password}\n")
    argv = router_argv(directory, f"--config={PRIVATE_HOME}/r/mysqlrouter.conf")
    return _spawn(BOOTSTRAPPED, port, argv, directory, (PROXY_CORE,))


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
        "io": {"backend": "linux_epoll", "threads": IO_THREADS},
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


def _haproxy(directory: Path, upstream: Upstream) -> Proxy:
    port = free_port()
    directory.mkdir()
    (directory / "haproxy.cfg").write_text(haproxy_text(upstream, port))
    argv = [*PEERS.enter(directory), "/usr/sbin/haproxy", "-db", "-f", "/srv/haproxy.cfg"]
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
    BOOTSTRAPPED: _bootstrapped,
}
