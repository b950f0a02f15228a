"""Knot and BIND from the peers' root, each in a directory of its own: as primaries of given zones, or as secondaries.

Owns their configuration and processes. One shape for both, so that the next one is a class and an entry in `KINDS`.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.sandbox.errors import SandboxError
from bench.sandbox.programs import need_program
from srv.records import AddressRecord, NameRecord, Record, SoaRecord, SrvRecord, TextRecord
from srv.zone import Zone

START_TIMEOUT = 20.0  # seconds
STOP_TIMEOUT = 10.0
LOG_LINES = 12
# $0 is the server's directory, $1 the root to see it in at /srv.
ENTER = 'mount --bind "$0" "$1/srv" && root="$1" && shift && exec chroot "$root" "$@"'


@dataclass(frozen=True, slots=True)
class Place:
    """An IP address and a port, as the configurations want them."""

    host: str
    port: int


class Kind(Protocol):
    """How one program is configured and started; paths are as it sees them."""

    def configuration(self, place: Place, origins: Sequence[str], primary: Place | None) -> str:
        """Text of the configuration: primary of the zones, whose files are in `zones`, or secondary of `primary`."""

    def arguments(self) -> list[str]:
        """The program, in the foreground, with one worker."""


class Knot:
    """Knot DNS 3."""

    def configuration(self, place: Place, origins: Sequence[str], primary: Place | None) -> str:
        lines = [
            "server:",
            '    rundir: "/srv"',
            f"    listen: {place.host}@{place.port}",
            "    udp-workers: 1",
            "    tcp-workers: 1",
            "    background-workers: 1",
            "log:",
            "  - target: stderr",
            "    any: info",
            "database:",
            '    storage: "/srv/db"',
        ]
        if primary is not None:
            lines += ["remote:", "  - id: primary", f"    address: {primary.host}@{primary.port}"]
            lines += ["acl:", "  - id: told", f"    address: {primary.host}", "    action: notify"]
        lines += ["template:", "  - id: default", '    storage: "/srv/zones"', '    file: "%s.zone"']
        if primary is not None:
            lines += ["    master: primary", "    acl: told"]
        return "\n".join([*lines, "zone:", *(f"  - domain: {origin}." for origin in origins), ""])

    def arguments(self) -> list[str]:
        return ["/usr/sbin/knotd", "--config", "/srv/configuration"]


class Bind:
    """BIND 9. Its own minima for refresh and retry are minutes, which would overrule the zone's SOA.

    By default it says TTL 0 where an SOA is asked for at a name that has none, as nobody else does,
    and names the zone's servers beside each answer.
    """

    def configuration(self, place: Place, origins: Sequence[str], primary: Place | None) -> str:
        options = (
            'options { directory "/srv"; pid-file none; session-keyfile none; recursion no; notify no;'
            f" listen-on port {place.port} {{ {place.host}; }}; listen-on-v6 {{ none; }};"
            " dnssec-validation no; allow-transfer { none; }; min-refresh-time 1; min-retry-time 1;"
            " zero-no-soa-ttl no; minimal-responses no-auth; };\n"
            "controls { };\n"
        )
        kind = "type primary;"
        if primary is not None:
            told = f"primaries port {primary.port} {{ {primary.host}; }}; allow-notify {{ {primary.host}; }};"
            kind = f"type secondary; masterfile-format text; {told}"
        zones = (f'zone "{origin}" {{ {kind} file "zones/{origin}.zone"; }};\n' for origin in origins)
        return options + "".join(zones)

    def arguments(self) -> list[str]:
        return ["/usr/sbin/named", "-g", "-n", "1", "-c", "/srv/configuration"]


KINDS: Mapping[str, Kind] = {"knot": Knot(), "bind": Bind()}


class NameServer:
    """A running one. `log` is what it wrote so far."""

    def __init__(self, process: subprocess.Popen[bytes], place: Place, log: Path) -> None:
        self.process = process
        self.place = place
        self._log = log

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self._log.read_text(errors="replace")


@contextlib.contextmanager
def running(
    kind: str,
    root: Path,
    directory: Path,
    *,
    zones: Sequence[Zone] = (),
    origins: Sequence[str] = (),
    primary: Place | None = None,
    host: str = "127.0.0.1",
    core: int | None = None,
) -> Iterator[NameServer]:
    """Start a name server, and end it afterwards.

    Args:
        kind: one of `KINDS`.
        root: the peers' root.
        directory: for its files; is made.
        zones: those that it is the primary of.
        origins: those that it is a secondary of, with `primary` to ask.
        host: to listen on; the port is drawn.
        core: of the processor, to stay on.

    Raises:
        SandboxError: it does not come up; has the end of its log.
    """
    program = KINDS[kind]
    place = Place(host, free_port(host))
    (directory / "zones").mkdir(parents=True)
    (directory / "db").mkdir()
    for zone in zones:
        (directory / "zones" / f"{zone.origin}.zone").write_text(zone_text(zone))
    names = [*(zone.origin for zone in zones), *origins]
    (directory / "configuration").write_text(program.configuration(place, names, primary))
    pin = [need_program("taskset", "util-linux"), "--cpu-list", str(core)] if core is not None else []
    unshare = [need_program("unshare", "util-linux"), "--mount", "--propagation", "slave", "--"]
    log = directory / "log"
    with log.open("wb") as output:
        enter = ["sh", "-c", ENTER, str(directory), str(root), *program.arguments()]
        process = subprocess.Popen([*pin, *unshare, *enter], stdout=output, stderr=output, start_new_session=True)
    server = NameServer(process, place, log)
    try:
        _wait_listening(server, kind)
        yield server
    finally:
        _end(process)


def free_port(host: str) -> int:
    """A port that is free for both UDP and TCP now."""
    while True:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind((host, 0))
            port: int = tcp.getsockname()[1]
            with contextlib.suppress(OSError):
                udp.bind((host, port))
                return port


def zone_text(zone: Zone) -> str:
    """A zone as a master file (RFC 1035, 5)."""
    lines = []
    for rrset in (zone.soa, *zone.rrsets):
        lines += [f"{rrset.name}. {rrset.ttl} IN {rrset.kind.name} {_data_text(record)}" for record in rrset.records]
    return "\n".join([*lines, ""])


def _data_text(record: Record) -> str:
    match record:
        case SrvRecord(priority, weight, port, target):
            return f"{priority} {weight} {port} {target}."
        case AddressRecord(address):
            return address
        case NameRecord(target):
            return f"{target}."
        case TextRecord(text):
            return f'"{text}"'
        case SoaRecord():
            times = f"{record.refresh} {record.retry} {record.expire} {record.minimum}"
            return f"{record.primary_server}. {record.mailbox}. {record.serial} {times}"


def _wait_listening(server: NameServer, kind: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with contextlib.suppress(OSError), socket.create_connection((server.place.host, server.place.port), 1.0):
            return
        if server.process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(server.log.splitlines()[-LOG_LINES:])
            raise SandboxError(f"{kind} does not come up; the end of its log:\n{tail}")
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
