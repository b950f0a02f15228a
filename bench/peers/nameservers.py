"""Name servers that nobody here wrote, on loopback: BIND, Knot and PowerDNS, from the private root of the peers.

Owns how each is configured, started and ended. Each has a directory of its own, which it sees as `/srv`, and no
privileges. Must not know what is asked of them.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.peers.root import ensure_peers
from bench.sandbox.errors import SandboxError
from bench.sandbox.processes import Process, is_alive, send, spawn, wait_gone
from bench.sandbox.programs import need_program, run_program
from bench.sandbox.servers import SERVER_ID
from srv.records import Kind, Rcode
from srv.wire import MalformedError, Query, Question, read_reply, write_query

HOME = "/srv"  # the server's directory, as it sees it
START_TIMEOUT = 15.0  # seconds, several times what the slowest takes on a busy machine
STOP_TIMEOUT = 5.0  # seconds until a server that does not end is killed
REPLY_TIMEOUT = 0.2  # seconds; a server on loopback that is up answers within a millisecond
# $0 is the server's directory, $1 the root to mount it in. The mount ends with the process.
ENTER = 'root="$1"; mount --bind "$0" "$root/srv" && shift && exec "$@"'

Address = tuple[str, int]


class NameServer:
    """A running name server."""

    def __init__(self, directory: Path, argv: Sequence[str], address: Address) -> None:
        self.directory = directory
        self.address = address
        self.log = directory / "log"
        self._process: Process = spawn(_entered(directory, argv), dict(os.environ), self.log)

    def stop(self) -> None:
        """End it; it is gone when this returns."""
        for number, patience in ((signal.SIGTERM, STOP_TIMEOUT), (signal.SIGKILL, STOP_TIMEOUT)):
            self.thaw()
            send(self._process, number)
            if wait_gone(self._process, patience):
                return

    def freeze(self) -> None:
        """Let it run no further: its ports stay open, and nothing is answered."""
        send(self._process, signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        send(self._process, signal.SIGCONT)

    def rewrite(self, zone: str, text: str) -> None:
        """Put another text in the place of a zone's file and have it loaded (BIND and Knot).

        The serial must be another one. Loaded it is when the server answers with it, a moment later.
        """
        _write(self.directory / f"{zone}.zone", text)
        send(self._process, signal.SIGHUP)

    def wait_ready(self, zone: str) -> None:
        """Return when it answers for a zone.

        Raises:
            SandboxError: it does not come to that; with the end of its log.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and is_alive(self._process):
            if _answers(self.address, zone):
                return
            time.sleep(0.02)
        self.stop()
        end = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
        raise SandboxError(
            f"{self.directory}: no answer for {zone} at {self.address[0]} port {self.address[1]}:\n{end}"
        )


def start_bind(
    directory: Path,
    zones: Mapping[str, str],
    *,
    config: str = "",
    options: str = "recursion no;",
    address: Address | None = None,
    ready: str = "",
) -> NameServer:
    """Start BIND.

    Args:
        directory: its own; what it needs is written there.
        zones: the text of each primary zone's file, by name. One that cannot be read is answered with SERVFAIL.
        config: more statements for named.conf.
        options: what stands in the block `options` besides address and paths.
        address: where to listen; else a free port of loopback.
        ready: the zone to wait for; else the first.
    """
    host, port = where = address or free_address()
    statements = [f'zone "{zone}" {{ type primary; file "{zone}.zone"; }};' for zone in zones]
    here, not_here = ("listen-on-v6", "listen-on") if ":" in host else ("listen-on", "listen-on-v6")
    listen = f"{here} port {port} {{ {host}; }}; {not_here} {{ none; }};"
    paths = f'directory "{HOME}"; pid-file none; session-keyfile none; dnssec-validation no;'
    text = "\n".join([f"options {{ {listen} {paths} {options} }};", "controls {};", *statements, config])
    _prepare(directory, zones, "named.conf", text)
    argv = ["/usr/sbin/named", "-g", "-n", "1", "-c", f"{HOME}/named.conf"]
    return _started(NameServer(directory, argv, where), ready or next(iter(zones)))


def start_knot(
    directory: Path,
    zones: Mapping[str, str],
    *,
    config: str = "",
    address: Address | None = None,
    ready: str = "",
) -> NameServer:
    """Start Knot. Arguments as of `start_bind`; `config` is more sections for knot.conf."""
    host, port = where = address or free_address()
    lines = [
        "server:",
        f"  rundir: {HOME}",
        f"  listen: {host}@{port}",
        "  udp-workers: 1",
        "  tcp-workers: 1",
        "  background-workers: 1",
        "log:",
        "  - target: stderr",
        "    any: info",
        "database:",
        f"  storage: {HOME}/db",
        "template:",
        "  - id: default",
        f"    storage: {HOME}",
        '    file: "%s.zone"',
        "    zonefile-sync: -1",
        "    journal-content: none",
        *(["zone:"] if zones else []),
        *(f"  - domain: {zone}" for zone in zones),
        config,
    ]
    _prepare(directory, zones, "knot.conf", "\n".join([*lines, ""]))
    return _started(
        NameServer(directory, ["/usr/sbin/knotd", "-c", f"{HOME}/knot.conf"], where), ready or next(iter(zones))
    )


def start_pdns(
    directory: Path,
    zones: Mapping[str, str],
    *,
    config: str = "",
    address: Address | None = None,
    ready: str = "",
) -> NameServer:
    """Start PowerDNS on an SQLite database. Arguments as of `start_bind`; `config` is more lines for pdns.conf."""
    host, port = where = address or free_address()
    lines = [
        "launch=gsqlite3",
        f"gsqlite3-database={HOME}/zones.sqlite3",
        f"local-address={host}",
        f"local-port={port}",
        f"socket-dir={HOME}",
        "guardian=no",
        "disable-syslog=yes",
        # Answers from memory would outlive what a test puts into the database.
        "cache-ttl=0",
        "query-cache-ttl=0",
        "negquery-cache-ttl=0",
        "zone-cache-refresh-interval=0",
        config,
    ]
    _prepare(directory, zones, "pdns.conf", "\n".join([*lines, ""]))
    schema = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"
    _run(directory, ["/usr/bin/sqlite3", f"{HOME}/zones.sqlite3", f".read {schema}"])
    for zone in zones:
        _run(directory, ["/usr/bin/pdnsutil", f"--config-dir={HOME}", "load-zone", zone, f"{HOME}/{zone}.zone"])
    argv = ["/usr/sbin/pdns_server", f"--config-dir={HOME}", "--daemon=no"]
    return _started(NameServer(directory, argv, where), ready or next(iter(zones)))


def free_address(host: str = "127.0.0.1") -> Address:
    """A port that was free for UDP and TCP a moment ago."""
    while True:
        with socket.socket(_family(host), socket.SOCK_DGRAM) as udp, socket.socket(_family(host)) as tcp:
            udp.bind((host, 0))
            port = int(udp.getsockname()[1])
            try:
                tcp.bind((host, port))
            except OSError:
                continue
            return host, port


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _started(server: NameServer, ready: str) -> NameServer:
    server.wait_ready(ready)
    return server


def _prepare(directory: Path, zones: Mapping[str, str], name: str, text: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / name, text)
    for zone, content in zones.items():
        _write(directory / f"{zone}.zone", content)
    os.chown(directory, SERVER_ID, SERVER_ID)


def _write(file: Path, text: str) -> None:
    """Put a file in place whole, readable for the server: it may be looking at it now."""
    new = file.with_suffix(".new")
    new.write_text(text, encoding="ascii")
    os.chown(new, SERVER_ID, SERVER_ID)
    new.replace(file)


def _entered(directory: Path, argv: Sequence[str]) -> list[str]:
    root = ensure_peers()
    become = [need_program("chroot", "coreutils"), str(root), "/usr/bin/setpriv"]
    become += [f"--reuid={SERVER_ID}", f"--regid={SERVER_ID}", "--clear-groups"]
    become += [f"--{kind}-caps=-all,+net_bind_service" for kind in ("inh", "ambient")]  # for port 53
    unshare = [need_program("unshare", "util-linux"), "--mount", "--propagation", "slave", "--"]
    return [*unshare, "sh", "-c", ENTER, str(directory), str(root), *become, *argv]


def _run(directory: Path, argv: Sequence[str]) -> None:
    run_program(_entered(directory, argv))


def _answers(address: Address, zone: str) -> bool:
    query = Query(os.getpid() & 0xFFFF, Question(zone, Kind.SOA), recursion_desired=True)
    with socket.socket(_family(address[0]), socket.SOCK_DGRAM) as sock:
        sock.settimeout(REPLY_TIMEOUT)
        try:
            sock.connect(address)
            sock.send(write_query(query))
            reply = read_reply(sock.recv(65535), query)
        except (OSError, MalformedError):
            return False
    return reply is not None and reply.rcode == Rcode.NOERROR
