"""Name servers that nobody here wrote, on loopback: BIND, Knot and PowerDNS, from the private root of the peers.

Owns how each is configured, started and ended, an entry in `KINDS` for each. Each has a directory of its own, which
it sees as `/srv`, and no privileges. Must not know what is asked of them.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bench.peers.root import PEERS
from bench.sandbox.errors import SandboxError
from bench.sandbox.processes import Process, is_alive, send, spawn, wait_gone
from bench.sandbox.programs import need_program, run_program
from bench.sandbox.servers import SERVER_ID
from srv.records import Kind, Rcode, SoaRecord
from srv.wire import MalformedError, Query, Question, Reply, read_reply, write_query

HOME = "/srv"  # the server's directory, as it sees it
START_TIMEOUT = 15.0  # seconds, several times what the slowest takes on a busy machine
STOP_TIMEOUT = 5.0  # seconds until a server that does not end is killed
REPLY_TIMEOUT = 0.2  # seconds; a server on loopback that is up answers within a millisecond

Address = tuple[str, int]


class NameServer:
    """A running name server.

    Args:
        directory: its own.
        argv: the program, as the root has it, and its arguments.
        address: where it will listen.
        core: of the processor, to stay on; None for any.
    """

    def __init__(self, directory: Path, argv: Sequence[str], address: Address, core: int | None = None) -> None:
        self.directory = directory
        self.address = address
        self.log = directory / "log"
        pin = [] if core is None else [need_program("taskset", "util-linux"), "--cpu-list", str(core)]
        self._argv = [*pin, *_entered(directory, argv)]
        self._process: Process = self._spawn()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def stop(self) -> None:
        """End it; it is gone when this returns."""
        for number, patience in ((signal.SIGTERM, STOP_TIMEOUT), (signal.SIGKILL, STOP_TIMEOUT)):
            self.thaw()
            send(self._process, number)
            if wait_gone(self._process, patience):
                return

    def start_again(self, zone: str) -> None:
        """Start it after `stop`, with what it left in its directory, and return when it answers for a zone.

        Raises:
            SandboxError: it does not; with the end of its log.
        """
        self._process = self._spawn()
        self.wait_ready(zone)

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

    def serial(self, zone: str) -> int | None:
        """A zone's serial; None where it does not answer for it."""
        reply = _asked(self.address, zone)
        records = [record for rrset in reply.answer for record in rrset.records] if reply else []
        return next((record.serial for record in records if isinstance(record, SoaRecord)), None)

    def wait_ready(self, zone: str) -> None:
        """Return when it answers for a zone, or, where that is empty, when it answers at all.

        Raises:
            SandboxError: it does not come to that; with the end of its log.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and is_alive(self._process):
            reply = _asked(self.address, zone or "ready.invalid")
            if reply is not None and (not zone or reply.rcode == Rcode.NOERROR):
                return
            time.sleep(0.02)
        self.stop()
        end = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
        raise SandboxError(
            f"{self.directory}: no answer for {zone} at {self.address[0]} port {self.address[1]}:\n{end}"
        )

    def _spawn(self) -> Process:
        return spawn(self._argv, dict(os.environ), self.log)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a server is to hold, and where it listens; see `start`."""

    host: str
    port: int
    zones: Mapping[str, str]
    config: str
    options: str
    each: str
    primary: Address | None
    secondary_of: Sequence[str]
    tool: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Program:
    """One name server program: its arguments, its configuration's file and text, and what is to be run before it."""

    argv: Sequence[str]
    file: str
    configure: Callable[[Setup], str]
    before: Callable[[Setup], Sequence[Sequence[str]]] = lambda _: ()


def start(
    kind: str,
    directory: Path,
    zones: Mapping[str, str] = MappingProxyType({}),
    *,
    config: str = "",
    options: str = "recursion no;",
    each: str = "",
    primary: Address | None = None,
    secondary_of: Sequence[str] = (),
    tool: Sequence[Sequence[str]] = (),
    address: Address | None = None,
    ready: str = "",
    core: int | None = None,
) -> NameServer:
    """Start a name server, and return when it answers.

    Args:
        kind: one of `KINDS`.
        directory: its own; what it needs is written there.
        zones: the text of each primary zone's file, by name. One that cannot be read is answered with SERVFAIL.
        config: more of the configuration: statements (BIND), sections (Knot) or lines (PowerDNS).
        options: what stands in the block of that name besides address, paths and what makes it like others (BIND).
        each: what stands in the configuration of each primary zone (BIND and Knot).
        primary: whom to transfer zones from, and be told of changes by (BIND and Knot).
        secondary_of: the zones that it has from there.
        tool: what `pdnsutil` is to do before (PowerDNS).
        address: where to listen; else a free port of loopback.
        ready: the zone to wait for; else the first of `zones`. A secondary is waited for until it says anything.
        core: of the processor, to stay on.

    Raises:
        SandboxError: it does not come up; with the end of its log.
    """
    where = address or free_address()
    program, setup = KINDS[kind], Setup(*where, zones, config, options, each, primary, secondary_of, tool)
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / program.file, program.configure(setup))
    for zone, text in zones.items():
        _write(directory / f"{zone}.zone", text)
    os.chown(directory, SERVER_ID, SERVER_ID)
    for argv in program.before(setup):
        run_program(_entered(directory, argv))
    server = NameServer(directory, program.argv, where, core)
    server.wait_ready(ready or next(iter(zones), ""))
    return server


def _configure_bind(setup: Setup) -> str:
    """Its own minima for refresh and retry are minutes, which would overrule a zone's SOA.

    By default it says TTL 0 where an SOA is asked for at a name that has none, as nobody else does, and names the
    zone's servers beside each answer.
    """
    here, not_here = ("listen-on-v6", "listen-on") if ":" in setup.host else ("listen-on", "listen-on-v6")
    lines = [
        setup.options,
        f"{here} port {setup.port} {{ {setup.host}; }}; {not_here} {{ none; }};",
        f'directory "{HOME}"; managed-keys-directory "{HOME}"; pid-file none; session-keyfile none;',
        "dnssec-validation no; notify no; allow-transfer { none; }; min-refresh-time 1; min-retry-time 1;",
        "zero-no-soa-ttl no; minimal-responses no-auth;",
    ]
    zones = [f'zone "{zone}" {{ type primary; file "{zone}.zone"; {setup.each} }};' for zone in setup.zones]
    if setup.primary is not None:
        host, port = setup.primary
        told = f"primaries port {port} {{ {host}; }}; allow-notify {{ {host}; }};"
        kind = f"type secondary; masterfile-format text; {told}"
        zones += [f'zone "{zone}" {{ {kind} file "{zone}.zone"; }};' for zone in setup.secondary_of]
    return "\n".join(["options {", *lines, "};", "controls {};", setup.config, *zones, ""])


def _configure_knot(setup: Setup) -> str:
    lines = ["server:", f"  rundir: {HOME}", f"  listen: {setup.host}@{setup.port}"]
    lines += ["  udp-workers: 1", "  tcp-workers: 1", "  background-workers: 1"]
    lines += ["log:", "  - target: stderr", "    any: info"]
    lines += ["database:", f"  storage: {HOME}", "  journal-db-max-size: 8M", setup.config]
    if setup.primary is not None:
        host, port = setup.primary
        lines += ["remote:", "  - id: primary", f"    address: {host}@{port}"]
        lines += ["acl:", "  - id: told", f"    address: {host}", "    action: notify"]
    lines += ["template:", "  - id: default", f"    storage: {HOME}", '    file: "%s.zone"']
    if not setup.each:  # whose zones may be updated; then it has to keep the changes somewhere
        lines += ["    zonefile-sync: -1", "    journal-content: none"]
    lines += ["zone:"] if setup.zones or setup.secondary_of else []
    for zone in setup.zones:
        lines += [f"  - domain: {zone}", *([f"    {setup.each}"] if setup.each else [])]
    for zone in setup.secondary_of:
        lines += [f"  - domain: {zone}", "    master: primary", "    acl: told"]
    return "\n".join([*lines, ""])


def _configure_pdns(setup: Setup) -> str:
    lines = [
        "launch=gsqlite3",
        f"gsqlite3-database={HOME}/zones.sqlite3",
        "gsqlite3-pragma-synchronous=0",
        f"local-address={setup.host}",
        f"local-port={setup.port}",
        f"socket-dir={HOME}",
        "guardian=no",
        "disable-syslog=yes",
        "security-poll-suffix=",
        # Answers from memory would outlive what a test puts into the database.
        "cache-ttl=0",
        "query-cache-ttl=0",
        "negquery-cache-ttl=0",
        "zone-cache-refresh-interval=0",
        setup.config,
    ]
    return "\n".join([*lines, ""])


def _fill_pdns(setup: Setup) -> Sequence[Sequence[str]]:
    schema = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"
    words = [*(("load-zone", zone, f"{HOME}/{zone}.zone") for zone in setup.zones), *setup.tool]
    pdnsutil = ("/usr/bin/pdnsutil", f"--config-dir={HOME}")
    return [("/usr/bin/sqlite3", f"{HOME}/zones.sqlite3", f".read {schema}"), *((*pdnsutil, *one) for one in words)]


KINDS = {
    "bind": Program(("/usr/sbin/named", "-g", "-n", "1", "-c", f"{HOME}/named.conf"), "named.conf", _configure_bind),
    "knot": Program(("/usr/sbin/knotd", "-c", f"{HOME}/knot.conf"), "knot.conf", _configure_knot),
    "pdns": Program(
        ("/usr/sbin/pdns_server", f"--config-dir={HOME}", "--daemon=no"), "pdns.conf", _configure_pdns, _fill_pdns
    ),
}


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


def _write(file: Path, text: str) -> None:
    """Put a file in place whole, readable for the server: it may be looking at it now."""
    new = file.with_suffix(".new")
    new.write_text(text, encoding="ascii")
    os.chown(new, SERVER_ID, SERVER_ID)
    new.replace(file)


def _entered(directory: Path, argv: Sequence[str]) -> list[str]:
    become = ["/usr/bin/setpriv", f"--reuid={SERVER_ID}", f"--regid={SERVER_ID}", "--clear-groups"]
    become += [f"--{kind}-caps=-all,+net_bind_service" for kind in ("inh", "ambient")]  # for port 53
    return [*PEERS.enter(directory), *become, *argv]


def _asked(address: Address, zone: str) -> Reply | None:
    """What it says to a question for a zone's SOA, if it says anything."""
    query = Query(os.getpid() & 0xFFFF, Question(zone, Kind.SOA), recursion_desired=True)
    with socket.socket(_family(address[0]), socket.SOCK_DGRAM) as sock:
        sock.settimeout(REPLY_TIMEOUT)
        try:
            sock.connect(address)
            sock.send(write_query(query))
            return read_reply(sock.recv(65535), query)
        except (OSError, MalformedError):
            return None
