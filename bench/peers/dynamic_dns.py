"""Name servers that take updates (RFC 2136) signed with TSIG, on loopback: BIND 9, Knot and PowerDNS.

Owns their configuration, and what they forget; their processes are `nameservers`'s. A server keeps all that it writes
in one directory.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.peers.nameservers import HOME, NameServer, free_address
from bench.sandbox.programs import need_program, run_program
from bench.sandbox.servers import SERVER_ID
from srv.records import Kind, Rcode
from srv.wire import MalformedError, Query, Question, read_reply, write_query

LOOK_TIMEOUT = 0.5  # seconds for one question
# $0 is the server's directory, $1 the root. The mount ends with the process.
ENTER = 'root="$1"; mount --bind "$0" "$root/srv" && shift && exec chroot "$root" "$@"'


@dataclass(frozen=True, slots=True)
class Key:
    """A TSIG key. `secret` is in base64; `algorithm` is spelled as all three servers have it (`hmac-sha256`)."""

    name: str
    secret: str
    algorithm: str = "hmac-sha256"


@dataclass(frozen=True, slots=True)
class Setup:
    """What a server is to hold. `outsider` may sign, and may not update."""

    zone: str
    host: str
    port: int
    key: Key
    outsider: Key


@dataclass(frozen=True, slots=True)
class Program:
    """One name server program. `lay_out` writes its configuration and the zone as it is at first into the directory."""

    argv: Sequence[str]
    lay_out: Callable[[Setup, Path, Callable[..., None]], None]


class DynamicServer:
    """A name server that takes updates of one zone.

    Args:
        program: which, a key of `PROGRAMS`.
        root: the private root with the peers.
        directory: an empty directory of its own.
        zone: the zone that it holds.
        key: may update the zone.
        outsider: a key that it knows, without the right to update.

    Raises:
        SandboxError: its files cannot be made.
    """

    def __init__(self, program: str, root: Path, directory: Path, zone: str, *, key: Key, outsider: Key) -> None:
        self.program = program
        self.address = free_address()
        self._root = root
        self._directory = directory
        self._setup = Setup(zone, *self.address, key, outsider)
        self._running: NameServer | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self._lay_out()

    def start(self) -> None:
        """Start it, and return when it answers.

        Raises:
            SandboxError: it does not; its log is in the text.
        """
        self._running = NameServer(self._directory, PROGRAMS[self.program].argv, self.address)
        self._running.wait_ready(self._setup.zone)

    def stop(self) -> None:
        """End it, where it runs; it is gone when this returns."""
        if self._running is not None:
            self._running.stop()

    def freeze(self) -> None:
        """Stop it without ending it: the kernel goes on taking connections and packets for it."""
        if self._running is not None:
            self._running.freeze()

    def thaw(self) -> None:
        """Let a frozen one go on."""
        if self._running is not None:
            self._running.thaw()

    def lose_updates(self) -> None:
        """Make it what it was at first, as from an old copy. It is not running."""
        for path in self._directory.iterdir():
            if path.name != "log":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._lay_out()

    def serial(self) -> int | None:
        """The zone's serial, or None where it does not answer."""
        query = Query(time.monotonic_ns() % 65536, Question(self._setup.zone, int(Kind.SOA)), recursion_desired=False)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(LOOK_TIMEOUT)
            try:
                sock.connect(self.address)
                sock.send(write_query(query))
                reply = read_reply(sock.recv(65535), query)
            except (OSError, MalformedError):
                return None
        if reply is None or reply.rcode != Rcode.NOERROR or not reply.answer:
            return None
        return getattr(reply.answer[0].records[0], "serial", None)

    def _lay_out(self) -> None:
        PROGRAMS[self.program].lay_out(self._setup, self._directory, self._run)
        for path in (self._directory, *self._directory.rglob("*")):
            os.chown(path, SERVER_ID, SERVER_ID)

    def _run(self, *argv: str) -> None:
        """Run one of the program's tools on the directory."""
        unshare = [need_program("unshare", "util-linux"), "--mount", "--propagation", "slave", "--"]
        run_program([*unshare, "sh", "-c", ENTER, str(self._directory), str(self._root), *argv])


def _zone_file(zone: str) -> str:
    """The zone as an administrator made it, with names that are nobody else's to touch."""
    return f"""$ORIGIN {zone}.
$TTL 300
@ IN SOA ns hostmaster 1 3600 600 86400 1
@ IN NS ns
@ IN TXT "kept"
ns IN A 192.0.2.53
www IN A 192.0.2.80
"""


def _bind(setup: Setup, directory: Path, run: Callable[..., None]) -> None:
    keys = "".join(
        f'key "{key.name}" {{ algorithm {key.algorithm}; secret "{key.secret}"; }};\n'
        for key in (setup.key, setup.outsider)
    )
    (directory / "zone").write_text(_zone_file(setup.zone))
    (directory / "named.conf").write_text(
        f"""{keys}
options {{
  directory "{HOME}";
  listen-on port {setup.port} {{ {setup.host}; }};
  listen-on-v6 {{ none; }};
  pid-file "{HOME}/pid";
  session-keyfile "{HOME}/session.key";
  managed-keys-directory "{HOME}";
  recursion no;
  dnssec-validation no;
  notify no;
}};
controls {{ }};
zone "{setup.zone}" {{
  type primary;
  file "{HOME}/zone";
  update-policy {{ grant {setup.key.name} zonesub ANY; }};
}};
"""
    )


def _knot(setup: Setup, directory: Path, run: Callable[..., None]) -> None:
    keys = "".join(
        f"  - id: {key.name}\n    algorithm: {key.algorithm}\n    secret: {key.secret}\n"
        for key in (setup.key, setup.outsider)
    )
    (directory / f"{setup.zone}.zone").write_text(_zone_file(setup.zone))
    (directory / "db").mkdir()
    (directory / "knot.conf").write_text(
        f"""server:
  rundir: {HOME}
  listen: {setup.host}@{setup.port}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: {HOME}/db
  journal-db-max-size: 8M
key:
{keys}acl:
  - id: updates
    key: {setup.key.name}
    action: update
zone:
  - domain: {setup.zone}
    storage: {HOME}
    acl: updates
"""
    )


def _powerdns(setup: Setup, directory: Path, run: Callable[..., None]) -> None:
    (directory / "zone").write_text(_zone_file(setup.zone))
    (directory / "pdns.conf").write_text(
        f"""launch=gsqlite3
gsqlite3-database={HOME}/pdns.db
gsqlite3-pragma-synchronous=0
local-address={setup.host}
local-port={setup.port}
socket-dir={HOME}
dnsupdate=yes
allow-dnsupdate-from=127.0.0.0/8
daemon=no
guardian=no
security-poll-suffix=
"""
    )
    schema = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"
    run("/usr/bin/sqlite3", f"{HOME}/pdns.db", f".read {schema}")
    tool = ("/usr/bin/pdnsutil", f"--config-dir={HOME}")
    run(*tool, "load-zone", setup.zone, f"{HOME}/zone")
    for key in (setup.key, setup.outsider):
        run(*tool, "import-tsig-key", key.name, key.algorithm, key.secret)
    run(*tool, "set-meta", setup.zone, "TSIG-ALLOW-DNSUPDATE", setup.key.name)


PROGRAMS = {
    "bind": Program(("/usr/sbin/named", "-g", "-n", "1", "-c", f"{HOME}/named.conf"), _bind),
    "knot": Program(("/usr/sbin/knotd", "-c", f"{HOME}/knot.conf"), _knot),
    "powerdns": Program(("/usr/sbin/pdns_server", f"--config-dir={HOME}"), _powerdns),
}
