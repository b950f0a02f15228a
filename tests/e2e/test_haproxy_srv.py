"""HAProxy with server templates before a real group, configured as docs/clients.md says."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.e2e.publishing import (
    DOMAIN,
    PATIENCE,
    WITH_MOUNT,
    Publisher,
    made_up,
    names,
    published,
    replica,
    until,
    uuids,
)

pytestmark = pytest.mark.sandbox

GUIDE = Path(__file__).parents[2] / "docs" / "clients.md"
NAMESERVER = "127.80.0.54"
ADMIN = "global\n    stats socket /srv/admin.sock mode 600 level admin\n\n"
LONG_DOMAIN = "orders-production.databases.example.test"
# What HAProxy makes of an SRV weight.
WEIGHTS = {0: 0, 1: 1, 100: 1, 255: 1, 256: 1, 257: 2, 1000: 4, 5000: 20, 65535: 256}


@pytest.fixture
def publisher(group: Any, tmp_path: Path) -> Iterator[Publisher]:
    with published(group, tmp_path) as one:
        yield one


class Haproxy:
    """One that runs: where it listens, and what it says of its servers."""

    def __init__(self, directory: Path, ports: dict[str, int]) -> None:
        self.ports = ports
        self._socket = directory / "admin.sock"

    def servers(self, proxy: str) -> dict[str, int]:
        """Weight by label of those that are up."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(PATIENCE)
            try:
                admin.connect(str(self._socket))
            except OSError:
                return {}  # not yet
            admin.sendall(b"show servers state\n")
            text = b"".join(iter(lambda: admin.recv(65536), b"")).decode()
        rows = [line.split() for line in text.splitlines() if line[:1].isdigit() and " " in line]
        # Its manual, 9.3: srv_op_state 2 is running; srv_admin_state has 0x20 while the name is not resolved.
        up = [row for row in rows if row[1] == proxy and row[5] == "2" and not int(row[6]) & 0x20]
        return {row[17].partition(".")[0]: int(row[7]) for row in up}

    def connect(self, group: Any, proxy: str) -> pymysql.Connection[Any]:
        account = group.accounts["app"]
        return pymysql.connect(
            host="127.0.0.1",
            port=self.ports[proxy],
            user=account.user,
            password=account.password,
            connect_timeout=5,
            read_timeout=5,
            ssl_ca=str(group.ca_file),
            ssl_verify_cert=True,
        )

    def served_by(self, group: Any, proxy: str) -> str:
        with closing(self.connect(group, proxy)) as connection:
            return uuid_of(connection)


def uuid_of(connection: pymysql.Connection[Any]) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@server_uuid")
        return str(cursor.fetchone()[0])


def guide(domain: str, nameserver: str, *, without: str = "") -> tuple[str, dict[str, int]]:
    """The configuration of the guide for another place, and the port of each of its proxies."""
    found = re.search(r"```haproxy\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert found
    text = found[1].replace("192.0.2.53", nameserver).replace("orders.db.example.com", domain)
    assert without in text
    text = re.sub(rf"^ *{without}.*\n", "", text, flags=re.MULTILINE) if without else text
    ports = {}
    for proxy in re.findall(r"^listen (\w+)", text, re.MULTILINE):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports[proxy] = free.getsockname()[1]
        text = re.sub(rf"(listen {proxy}\n    bind 127\.0\.0\.1:)\d+", rf"\g<1>{ports[proxy]}", text)
    return ADMIN + text, ports


@contextmanager
def running(peers: Path, directory: Path, configuration: tuple[str, dict[str, int]]) -> Iterator[Haproxy]:
    text, ports = configuration
    directory.mkdir()
    (directory / "haproxy.cfg").write_text(text)
    program = ("chroot", str(peers), "/usr/sbin/haproxy", "-db", "-f", "/srv/haproxy.cfg")
    with (directory / "log").open("w") as log:
        process = subprocess.Popen((*WITH_MOUNT, str(directory), str(peers / "srv"), *program), stderr=log)
    try:
        yield Haproxy(directory, ports)
        assert process.poll() is None, (directory / "log").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def test_sessions_reach_their_role_and_follow_a_switchover(
    group: Any, publisher: Publisher, peers: Path, tmp_path: Path
) -> None:
    (old,), (new, *_) = names(group, "PRIMARY"), names(group, "SECONDARY")
    with running(peers, tmp_path / "haproxy", guide(DOMAIN, publisher.address)) as haproxy:
        until(lambda: haproxy.servers("primary"), lambda up: set(up) == {old})
        until(lambda: haproxy.servers("replicas"), lambda up: sorted(up) == names(group, "SECONDARY"))
        assert {haproxy.served_by(group, "primary") for _ in range(3)} == uuids(group, "PRIMARY")
        with ExitStack() as open_ones:  # so that the least loaded one is the other one
            held = [open_ones.enter_context(closing(haproxy.connect(group, "replicas"))) for _ in range(4)]
            assert {uuid_of(one) for one in held} == uuids(group, "SECONDARY")

        with closing(haproxy.connect(group, "primary")) as session:
            group.switch(new)
            until(lambda: haproxy.servers("primary"), lambda up: set(up) == {new})
            with pytest.raises(pymysql.err.OperationalError) as cut:
                uuid_of(session)
        assert cut.value.args[0] in (2006, 2013), cut.value
        assert {haproxy.served_by(group, "primary") for _ in range(3)} == uuids(group, "PRIMARY")
        until(lambda: haproxy.servers("replicas"), lambda up: sorted(up) == names(group, "SECONDARY"))


def test_large_sets_and_weights(possible: None, peers: Path, tmp_path: Path) -> None:
    members = [
        replica(f"mysql-{number}", f"192.0.2.{number}", priority=number, weight=weight)
        for number, weight in enumerate(WEIGHTS)
    ]
    wanted = {f"mysql-{number}": weight for number, weight in enumerate(WEIGHTS.values())}
    with made_up(NAMESERVER, LONG_DOMAIN, members) as server, ExitStack() as stack:
        small = guide(LONG_DOMAIN, NAMESERVER, without="accepted_payload_size")
        deaf = stack.enter_context(running(peers, tmp_path / "small", small))
        until(lambda: server.counts["udp NOERROR"], lambda count: count >= 6)  # each of its two names more than once
        assert deaf.servers("replicas") == {}
        assert server.counts["tcp NOERROR"] == 0
        whole = stack.enter_context(running(peers, tmp_path / "whole", guide(LONG_DOMAIN, NAMESERVER)))
        until(lambda: whole.servers("replicas"), lambda up: up == wanted)
        assert deaf.servers("replicas") == {}
