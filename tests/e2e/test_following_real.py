"""The router on a real group while real DNS fails, changes and comes back."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.demo.drivers import BlockingConnection, DriverError
from bench.demo.stage import arrange
from bench.peers.nameservers import Address, NameServer, free_address, start
from bench.sandbox.processes import spawn
from bench.sandbox.sandbox import Sandbox
from router.api import NoRouterError, fetch
from tests.e2e.routing import RO_PORT, RW_PORT, Stage, until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(120)]

ZONE = "following.test"
# Seconds that stand for ten minutes, with TTLs of one. Looks that were spaced out more and more would not be due again
# for some seconds at its end.
OUTAGE = 5.0
# Seconds that a router may need beyond a TTL or a refusal: one floor, one look and one probe.
PROMPT = 1.0


class Relay:
    """Stands in for a member at another address; closed, it refuses, as the address of a deleted pod does."""

    def __init__(self, address: Address, target: Address) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._target = target
        self._ends: list[socket.socket] = []
        self._closed = False
        self._listener = socket.create_server(address, family=family)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closed = True
        for one in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
                member = socket.create_connection(self._target, timeout=5)
            except OSError:
                continue
            self._ends += [client, member]
            for source, sink in ((client, member), (member, client)):
                threading.Thread(target=_pour, args=(source, sink), daemon=True).start()


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


class Dns:
    """The zone of a group, in a real name server that can be stopped and started at the same address."""

    def __init__(self, directory: Path, stage: Stage, ttl: int, address: Address) -> None:
        self._directory, self._ttl = directory, ttl
        self.address = address
        self.records: dict[str, list[str]] = {one.name: [one.host] for one in stage.sandbox.members}
        self.ports = {one.name: (one.port, one.x_port) for one in stage.sandbox.members}
        self._serial = 0
        self._server: NameServer | None = None

    def start(self) -> None:
        directory = self._directory / f"dns-{self._serial}"
        self._server = start("knot", directory, {ZONE: self._text()}, address=self.address)

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()

    def change(self, **records: list[str]) -> None:
        """Give members (`mysql_1=[…]`) other addresses, and return when the server answers with them."""
        assert self._server is not None
        self.records |= {name.replace("_", "-"): addresses for name, addresses in records.items()}
        self._server.rewrite(ZONE, self._text())
        until(lambda: self._loaded() == self._serial, "the new zone is served")

    def _text(self) -> str:
        self._serial += 1
        lines = [f"$ORIGIN {ZONE}.", f"$TTL {self._ttl}", f"@ SOA ns h {self._serial} 60 60 60 60", "@ NS ns"]
        lines.append("ns A 127.0.0.1")
        for name, addresses in self.records.items():
            for service, port in zip(("_mysql", "_mysqlx"), self.ports[name], strict=True):
                lines.append(f"{service}._tcp SRV 0 100 {port} {name}")
            lines += [f"{name} {'AAAA' if ':' in address else 'A'} {address}" for address in addresses]
        return "\n".join([*lines, ""])

    def _loaded(self) -> int:
        assert self._server is not None
        said = re.findall(r"zone file parsed, serial (\d+)|loaded, serial \S+ -> (\d+)", self._server.log.read_text())
        return max(int(serial) for found in said for serial in found if serial)


@pytest.fixture
def stage(group: Sandbox, peers: Path, tmp_path: Path) -> Iterator[Stage]:
    """A group and addresses for a router; nothing runs yet."""
    one = arrange(group, tmp_path)
    try:
        yield one
    finally:
        one.children.end()


@contextlib.contextmanager
def named(stage: Stage, directory: Path, *, ttl: int, address: Address | None = None) -> Iterator[Dns]:
    one = Dns(directory, stage, ttl, address or free_address())
    try:
        yield one
    finally:
        one.stop()


def start_router(stage: Stage, directory: Path, dns: Dns, **options: object) -> None:
    """A router with these options for its cluster, that offers every member."""
    launch_router(stage, directory, srv=f'"{ZONE}"', resolvers=f'["{dns.address[0]}:{dns.address[1]}"]', **options)
    until(lambda: len(offered(stage)) == len(stage.sandbox.members), "every member is offered")


def launch_router(stage: Stage, directory: Path, *before: str, **options: object) -> None:
    """A router with these options for its cluster; what stands before its command becomes it."""
    probe = stage.sandbox.accounts["probe"]
    settings = {"probe_user": f'"{probe.user}"', "probe_password_file": f'"{probe.password_file}"', **options}
    file = directory / "router.toml"
    file.write_text("\n".join(["[clusters.main]", *(f"{key} = {value}" for key, value in settings.items()), ""]))
    where = ["--bind", stage.address, "--admin", stage.admin]
    argv = [*before, sys.executable, "-m", "router.cli", "router", "--config", str(file), *where]
    stage.children.running["router"] = spawn(argv, dict(os.environ), stage.children.log("router"))


def cluster(stage: Stage) -> dict[str, Any]:
    try:
        found: dict[str, Any] = fetch(stage.admin, "/api/v1/topology")["clusters"]["main"]
    except NoRouterError:
        return {"members": [], "dns": []}
    return found


def offered(stage: Stage) -> dict[str, str]:
    """Where each offered member is met by classic sessions, by its label."""
    members = cluster(stage)["members"]
    return {
        one["name"].partition(".")[0]: one["classic"].rpartition(":")[0]
        for one in members
        if one["offered"] and one["classic"]
    }


def metric(stage: Stage, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    host, _, port = stage.admin.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := sock.recv(65536):
            answer += data
    lines = [line for line in answer.decode().splitlines() if line.startswith(f"{name}{{")]
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(label in line for label in wanted))


def connect(stage: Stage, port: int) -> BlockingConnection:
    return BlockingConnection(stage.address, port, stage.account)


def served_by(stage: Stage, port: int) -> str:
    """The server UUID that a new connection gets."""
    connection = connect(stage, port)
    try:
        return str(connection.run("SELECT @@server_uuid")[0][0])
    finally:
        connection.close()


def uuid(stage: Stage, name: str) -> str:
    return next(row.uuid for row in stage.sandbox.status().members if row.name == name)


def news(stage: Stage) -> list[str]:
    """What the router's log tells of its names, in order."""
    return re.findall(r"srv-name name=\S+ news=(\w+)", stage.children.log("router").read_text())


def since(began: float) -> float:
    return time.monotonic() - began


def test_dns_is_away_for_long_and_comes_back_with_another_set(stage: Stage, tmp_path: Path) -> None:
    with named(stage, tmp_path, ttl=1) as dns:
        dns.start()
        start_router(stage, tmp_path, dns, dns_keep_last_good=60)
        held = connect(stage, RW_PORT)
        try:
            before = held.run("SELECT CONNECTION_ID()")
            dns.stop()
            stopped = time.monotonic()
            until(lambda: metric(stage, "fairlead_dns_stale") == 2, "both names are answered from memory")
            served = set()
            while since(stopped) < OUTAGE:
                assert served_by(stage, RW_PORT) == uuid(stage, "mysql-0")
                served.add(served_by(stage, RO_PORT))
                assert held.run("SELECT CONNECTION_ID()") == before
            assert served == {uuid(stage, "mysql-1"), uuid(stage, "mysql-2")}
            assert metric(stage, "fairlead_dns_answer_age_seconds") > 2 * (OUTAGE - 2)
            assert metric(stage, "fairlead_dns_lookups_total", outcome="timeout") >= 2
            del dns.records["mysql-2"]
            dns.start()
            back = time.monotonic()
            until(lambda: set(offered(stage)) == {"mysql-0", "mysql-1"}, "the new set is followed", timeout=10)
            assert since(back) < 1.1 + PROMPT
            assert held.run("SELECT CONNECTION_ID()") == before
            until(lambda: metric(stage, "fairlead_dns_stale") == 0, "both names are answered")
        finally:
            held.close()
        assert sorted(news(stage)) == ["found"] * 2 + ["kept"] * 2 + ["renewed"] * 2


def test_the_last_good_answer_ends_when_its_time_is_over(stage: Stage, tmp_path: Path) -> None:
    with named(stage, tmp_path, ttl=1) as dns:
        dns.start()
        start_router(stage, tmp_path, dns, dns_keep_last_good=3)
        dns.stop()
        stopped = time.monotonic()
        until(lambda: not cluster(stage)["members"], "nobody is known any more")
        assert 1 < since(stopped) < 3 + 1.1 + PROMPT
        assert sorted(news(stage)) == ["expired"] * 2 + ["found"] * 2 + ["kept"] * 2
        assert {one["outcome"] for one in cluster(stage)["dns"]} == {"timeout"}
        dns.start()
        back = time.monotonic()
        until(lambda: len(offered(stage)) == 3, "all are offered again")
        assert since(back) < 5 + 1.5 + PROMPT  # asked again each five seconds, where nothing is known
        assert served_by(stage, RW_PORT) == uuid(stage, "mysql-0")


@contextlib.contextmanager
def moved(stage: Stage, name: str, *addresses: str) -> Iterator[dict[str, list[Relay]]]:
    """Relays to a member at these addresses, at the same two ports; `ports` of the DNS are to be set to these."""
    member = stage.sandbox.member(name)
    relays: dict[str, list[Relay]] = {}
    ports = [0, 0]
    try:
        for address in addresses:
            relays[address] = []
            for index, port in enumerate((member.port, member.x_port)):
                relays[address].append(Relay((address, ports[index]), (member.host, port)))
                ports[index] = relays[address][-1].port
        yield relays
    finally:
        for each in relays.values():
            for one in each:
                one.close()


def ports_of(relays: list[Relay]) -> tuple[int, int]:
    return relays[0].port, relays[1].port


@pytest.mark.parametrize("refusing", [2, 1], ids=["both-ports", "classic-port"])
def test_a_recreated_member_is_followed_at_once_when_the_old_address_refuses(
    stage: Stage, tmp_path: Path, refusing: int
) -> None:
    """Whether the probe finds that out, or, where the X port still answers, a session that cannot connect."""
    old, new = "127.0.9.1", "127.0.9.2"
    with named(stage, tmp_path, ttl=60) as dns, moved(stage, "mysql-1", old, new) as relays:
        dns.records["mysql-1"], dns.ports["mysql-1"] = [old], ports_of(relays[old])
        dns.start()
        start_router(stage, tmp_path, dns)
        assert offered(stage)["mysql-1"] == old
        held = connect(stage, RW_PORT)
        try:
            before = held.run("SELECT CONNECTION_ID()")
            dns.change(mysql_1=[new])
            asked = metric(stage, "fairlead_dns_lookups_total")
            for one in relays[old][:refusing]:
                one.close()
            refused = time.monotonic()
            until(lambda: _met_by_sessions(stage, "mysql-1", new), "the new address is found", timeout=20)
            assert since(refused) < 2 * PROMPT
            found = {served_by(stage, RO_PORT) for _ in range(4)}
            assert found == {uuid(stage, "mysql-1"), uuid(stage, "mysql-2")}
            assert held.run("SELECT CONNECTION_ID()") == before  # the others are left alone
            assert metric(stage, "fairlead_dns_lookups_total") - asked <= 6
        finally:
            held.close()


def _met_by_sessions(stage: Stage, name: str, address: str) -> bool:
    served_by(stage, RO_PORT)
    return offered(stage).get(name) == address


def test_a_member_that_moves_while_its_old_address_answers_is_followed_within_the_ttl(
    stage: Stage, tmp_path: Path
) -> None:
    old, new = "127.0.9.3", "127.0.9.4"
    with named(stage, tmp_path, ttl=2) as dns, moved(stage, "mysql-1", old, new) as relays:
        dns.records["mysql-1"], dns.ports["mysql-1"] = [old], ports_of(relays[old])
        dns.start()
        start_router(stage, tmp_path, dns)
        dns.change(mysql_1=[old, new])
        asked = metric(stage, "fairlead_dns_lookups_total", outcome="answer")
        until(lambda: metric(stage, "fairlead_dns_lookups_total", outcome="answer") >= asked + 4, "both are known")
        assert offered(stage)["mysql-1"] == old  # it stays where it is while DNS names that
        dns.change(mysql_1=[new])
        changed = time.monotonic()
        until(lambda: offered(stage).get("mysql-1") == new, "the new address is met", timeout=20)
        assert since(changed) < 2.2 + PROMPT


def test_members_at_ipv6_addresses(stage: Stage, tmp_path: Path) -> None:
    """One with nothing but an IPv6 address, and one whose IPv4 address leads nowhere."""
    with (
        named(stage, tmp_path, ttl=60) as dns,
        moved(stage, "mysql-1", "::1") as six,
        moved(stage, "mysql-2", "::1") as both,
    ):
        dns.records |= {"mysql-1": ["::1"], "mysql-2": ["127.0.9.5", "::1"]}
        dns.ports |= {"mysql-1": ports_of(six["::1"]), "mysql-2": ports_of(both["::1"])}
        dns.start()
        start_router(stage, tmp_path, dns)
        assert offered(stage)["mysql-1"] == offered(stage)["mysql-2"] == "[::1]"
        found = {served_by(stage, RO_PORT) for _ in range(4)}
        assert found == {uuid(stage, "mysql-1"), uuid(stage, "mysql-2")}
        assert "member mysql-2.following.test: met at ::1 from now on" in stage.children.log("router").read_text()
        stage.sandbox.switch("mysql-1")
        until(lambda: _writes_at(stage, "mysql-1"), "the primary at an IPv6 address takes writes")


def _writes_at(stage: Stage, name: str) -> bool:
    try:
        return served_by(stage, RW_PORT) == uuid(stage, name)
    except DriverError:
        return False


def test_a_frozen_name_server_is_an_outage_like_any_other(stage: Stage, tmp_path: Path) -> None:
    """It neither refuses nor answers; a look at it ends with its timeouts, and the router serves meanwhile."""
    with named(stage, tmp_path, ttl=1) as dns:
        dns.start()
        start_router(stage, tmp_path, dns, dns_timeout=0.3, dns_attempts=1)
        assert dns._server is not None
        dns._server.freeze()
        until(lambda: metric(stage, "fairlead_dns_stale") == 2, "both names are answered from memory")
        assert served_by(stage, RW_PORT) == uuid(stage, "mysql-0")
        dns._server.thaw()
        thawed = time.monotonic()
        until(lambda: metric(stage, "fairlead_dns_stale") == 0, "both names are answered", timeout=10)
        assert since(thawed) < 1.1 + PROMPT
        assert sorted(news(stage)) == ["found"] * 2 + ["kept"] * 2 + ["renewed"] * 2


def test_a_relative_name_is_found_as_resolv_conf_says_also_when_that_changes(stage: Stage, tmp_path: Path) -> None:
    domain, suffix = ZONE.split(".")
    conf = tmp_path / "resolv.conf"
    mounted = 'mount --bind "$1" /etc/resolv.conf; shift; exec "$@"'
    unshare = shutil.which("unshare")
    assert unshare
    with named(stage, tmp_path, ttl=1, address=("127.0.53.54", 53)) as dns:
        dns.start()
        conf.write_text(f"nameserver {dns.address[0]}\nsearch elsewhere.{ZONE}\noptions ndots:5 timeout:1\n")
        before = (unshare, "--mount", "sh", "-ec", mounted, "sh", str(conf))
        launch_router(stage, tmp_path, *before, srv=f'"{domain}"', dns_ttl_ceiling=1)
        until(lambda: {one["outcome"] for one in cluster(stage)["dns"]} == {"refused"}, "it is searched for in vain")
        conf.write_text(f"nameserver {dns.address[0]}\nsearch elsewhere.{ZONE} {suffix}\noptions ndots:5 timeout:1\n")
        until(lambda: len(offered(stage)) == 3, "every member is offered")
        assert served_by(stage, RW_PORT) == uuid(stage, "mysql-0")
        assert {one["name"] for one in cluster(stage)["dns"]} == {f"_mysql._tcp.{domain}", f"_mysqlx._tcp.{domain}"}
        assert {one["name"] for one in cluster(stage)["members"]} == {f"mysql-{number}.{ZONE}" for number in range(3)}
