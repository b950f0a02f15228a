"""Static routes before a real MariaDB: limits as PyMySQL sees them, and PROXY headers with HAProxy on either side."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.e2e.lone_server import free_port
from tests.e2e.mariadb_server import MariaDb
from tests.e2e.publishing import WITH_MOUNT
from tests.e2e.running import PATIENCE, accepts, router, until

pytestmark = pytest.mark.sandbox

HERE = "127.0.0.42"  # where clients come from, to be told from the router


@pytest.fixture(scope="module")
def mariadb(possible: None, peers: Path) -> Iterator[MariaDb]:
    with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as name:
        server = MariaDb(peers, Path(name) / "m")
        try:
            server.start("--proxy-protocol-networks=127.0.0.0/8")
            yield server
        finally:
            server.stop()


def connect(port: int, user: str = "app", sock: socket.socket | None = None, **options: Any) -> Any:
    connection = pymysql.connect(
        host="127.0.0.1",
        port=port,
        user=user,
        password=f"{user}-secret",
        bind_address=HERE,
        connect_timeout=10,
        read_timeout=10,
        defer_connect=True,
        **options,
    )
    connection.connect(sock)
    return connection


def error_of(port: int, *header: bytes) -> tuple[int, str]:
    with pytest.raises(pymysql.err.OperationalError) as caught:
        connect(port, sock=introduced(port, *header) if header else None)
    return caught.value.args[0], caught.value.args[1]


def introduced(port: int, header: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.sendall(header)
    return sock


def seen_as(connection: Any) -> str:
    """The client's address and port, as the server has them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT HOST FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID()")
        return str(cursor.fetchone()[0])


def own_address(connection: Any) -> str:
    host, port = connection._sock.getsockname()
    return f"{host}:{port}"


def test_limits_as_a_driver_sees_them(mariadb: MariaDb, tmp_path: Path) -> None:
    one, two, blocking = free_port(), free_port(), free_port()
    usual = {"members": [f"127.0.0.1:{mariadb.port}"]}
    behind = {"proxy_protocol": True, "proxy_networks": ["127.0.0.0/8"], "max_connect_errors": 3}
    routes = {
        "one": {**usual, "listen": f"127.0.0.1:{one}", "max_connections": 2},
        "two": {**usual, "listen": f"127.0.0.1:{two}"},
        "blocking": {**usual, **behind, "listen": f"127.0.0.1:{blocking}"},
    }
    with router(tmp_path, routes, "max_total_connections = 3") as running, ExitStack() as opened:
        opened.enter_context(closing(connect(one)))
        last = connect(one)
        assert error_of(one) == (1040, "Too many connections"), "of the route"
        opened.enter_context(closing(connect(two)))
        assert error_of(two) == (1040, "Too many connections"), "in total"
        last.close()
        until(lambda: running.route()["sessions"] == 1, "one is gone")
        with closing(connect(one)) as again:
            again.ping()
        until(lambda: running.route()["sessions"] == 1, "it is gone, too")

        rude = b"PROXY TCP4 192.0.2.9 192.0.2.1 1000 3306\r\n"
        for number in range(3):
            with introduced(blocking, rude) as sock:
                assert sock.recv(4096), "the greeting"
            until(lambda n=number: running.route("blocking")["accepted_total"] == n + 1, "it is counted")
            until(lambda: running.route("blocking")["sessions"] == 0, "it is gone")
        words = "Host '192.0.2.9' is blocked because of many connection errors"
        until(lambda: "host 192.0.2.9 is blocked" in running.log.read_text(), "the workers' errors are added up")
        running.route()  # so that all have heard
        assert error_of(blocking, rude) == (1129, words)
        polite = introduced(blocking, rude.replace(b"192.0.2.9", b"192.0.2.8"))
        with closing(connect(blocking, sock=polite)) as welcome:
            welcome.ping()


def test_a_frozen_server_costs_a_bounded_time_and_is_tried_last_then(mariadb: MariaDb, tmp_path: Path) -> None:
    """It accepts, since the kernel does so for it, and never speaks."""
    port, silent = free_port(), free_port()
    with socket.create_server(("127.0.0.1", silent)) as mute:  # as the kernel of a frozen server: accepts, and no more
        mute.listen(100)
        members = [f"127.0.0.1:{silent}", f"127.0.0.1:{mariadb.port}"]
        options = {"members": members, "client_connect_timeout": 1.0, "connect_timeout": 0.5}
        with router(tmp_path, {"one": {**options, "listen": f"127.0.0.1:{port}"}}):
            began = time.monotonic()
            code, message = error_of(port)
            assert (code, f"127.0.0.1:{silent} accepted and said nothing" in message) == (2003, True)
            assert 1.0 <= time.monotonic() - began < 4.0
            for _ in range(5):
                began = time.monotonic()
                with closing(connect(port)) as connection:
                    connection.ping()
                assert time.monotonic() - began < 1.0
                time.sleep(0.3)  # it is looked at meanwhile, and still says nothing


def test_a_member_that_drops_packets_costs_one_connect_timeout(mariadb: MariaDb, tmp_path: Path) -> None:
    port = free_port()
    with socket.socket() as full:  # whose queue is full: the kernel drops what comes, as a blackhole does
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            members = [f"127.0.0.1:{full.getsockname()[1]}", f"127.0.0.1:{mariadb.port}"]
            options = {"members": members, "connect_timeout": 0.5}
            with router(tmp_path, {"one": {**options, "listen": f"127.0.0.1:{port}"}}) as running:
                times = []
                for _ in range(5):
                    began = time.monotonic()
                    with closing(connect(port)) as connection:
                        connection.ping()
                    times.append(time.monotonic() - began)
                assert 0.5 <= times[0] < 2.0
                assert max(times[1:]) < 0.5
                assert running.log.read_text().count("is tried last from now on") == 1


def test_a_router_out_of_descriptors_refuses_politely_and_recovers(mariadb: MariaDb, tmp_path: Path) -> None:
    port, files = free_port(), 160
    options = {"members": [f"127.0.0.1:{mariadb.port}"], "listen": f"127.0.0.1:{port}"}
    with router(tmp_path, {"one": options}, files=files) as running, ExitStack() as opened:

        def resident() -> int:
            return sum(one.resident for one in running.look())

        outcomes: list[Any] = []
        waited: list[float] = []  # for an error
        guard = threading.Lock()

        def open_some() -> None:
            for _ in range(25):
                began = time.monotonic()
                try:
                    connection = connect(port)
                except pymysql.err.OperationalError as error:
                    with guard:
                        outcomes.append(error.args)
                        waited.append(time.monotonic() - began)
                else:
                    with guard:
                        opened.callback(connection.close)
                        outcomes.append(connection)

        before = resident()
        threads = [threading.Thread(target=open_some) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        errors = [one for one in outcomes if isinstance(one, tuple)]
        assert len(outcomes) == 100
        assert 30 <= len(outcomes) - len(errors) <= files // 2
        assert set(errors) == {(1040, "Too many connections")}
        assert max(waited) < 2.0
        assert resident() - before < 16 << 20
        for connection in outcomes:
            if not isinstance(connection, tuple):
                connection.ping()
        assert running.get("/api/v1/sessions")["total"] > 0, "HTTP still answers"
        opened.close()
        until(lambda: running.route()["sessions"] == 0, "all are gone")
        with closing(connect(port)) as connection:
            connection.ping()
        assert "tried last" not in running.log.read_text(), "the member is not to blame"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_mariadb_is_told_who_the_client_is(mariadb: MariaDb, tmp_path: Path, version: str) -> None:
    told, plain, path = free_port(), free_port(), tmp_path / "rw.sock"
    usual = {"members": [f"127.0.0.1:{mariadb.port}"]}
    routes = {
        "told": {**usual, "listen": f"127.0.0.1:{told}", "send_proxy_protocol": version},
        "plain": {**usual, "listen": f"127.0.0.1:{plain}"},
        "file": {**usual, "listen": f"unix:{path}", "send_proxy_protocol": version},
    }
    with router(tmp_path, routes):
        with closing(connect(told, "near")) as connection:  # an account for that address alone
            assert seen_as(connection) == own_address(connection)
        assert error_of_login(plain, "near") == 1045
        with closing(connect(plain)) as connection:
            assert seen_as(connection).startswith("127.0.0.1:")
        with closing(pymysql.connect(unix_socket=str(path), user="app", password="app-secret")) as connection:
            connection.ping()
    assert not path.exists()


def error_of_login(port: int, user: str) -> int:
    with pytest.raises(pymysql.err.OperationalError) as caught:
        connect(port, user)
    return int(caught.value.args[0])


@contextmanager
def haproxy(peers: Path, directory: Path, *proxies: str) -> Iterator[Path]:
    """One that runs with these sections; its admin socket."""
    directory.mkdir()
    usual = "defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 30s\n    timeout server 30s\n"
    text = "global\n    stats socket /srv/admin.sock mode 600 level admin\n" + usual + "\n".join(proxies) + "\n"
    (directory / "haproxy.cfg").write_text(text)
    program = ("chroot", str(peers), "/usr/sbin/haproxy", "-db", "-f", "/srv/haproxy.cfg")
    with (directory / "log").open("w") as log:
        process = subprocess.Popen((*WITH_MOUNT, str(directory), str(peers / "srv"), *program), stderr=log)
    try:
        until(lambda: process.poll() is not None or (directory / "admin.sock").exists(), "HAProxy runs")
        assert process.poll() is None, (directory / "log").read_text()
        yield directory / "admin.sock"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


@pytest.mark.parametrize("sent", ["send-proxy", "send-proxy-v2"])
def test_the_client_behind_haproxy_is_handed_on_to_mariadb(
    mariadb: MariaDb, peers: Path, tmp_path: Path, sent: str
) -> None:
    front, port = free_port(), free_port()
    options = {
        "listen": f"127.0.0.1:{port}",
        "members": [f"127.0.0.1:{mariadb.port}"],
        "proxy_protocol": True,
        "proxy_networks": ["127.0.0.1/32"],
        "send_proxy_protocol": "v2",
    }
    section = f"listen front\n    bind 127.0.0.1:{front}\n    server fairlead 127.0.0.1:{port} {sent} check inter 200"
    with router(tmp_path, {"one": options}) as running, haproxy(peers, tmp_path / "haproxy", section):
        until(lambda: accepts(front), "HAProxy listens")
        with closing(connect(front, "near")) as connection:
            assert seen_as(connection) == own_address(connection)
            [session] = [one for one in running.get("/api/v1/sessions")["sessions"] if one["bytes_in"]]
            assert session["client"] == own_address(connection)
        # Its health checks hang up after the greeting, and speak for themselves: nobody is blocked for them.
        until(lambda: running.route()["accepted_total"] > 5, "it is checked")
        with closing(connect(port, "near")) as connection:  # not from a trusted network: no header is wanted
            assert seen_as(connection) == own_address(connection)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_behind_reads_what_is_sent(mariadb: MariaDb, peers: Path, tmp_path: Path, version: str) -> None:
    behind, port = free_port(), free_port()
    section = (
        f"listen behind\n    bind 127.0.0.1:{behind} accept-proxy\n"
        f"    server mariadb 127.0.0.1:{mariadb.port} send-proxy-v2"
    )
    options = {"listen": f"127.0.0.1:{port}", "members": [f"127.0.0.1:{behind}"], "send_proxy_protocol": version}
    with (
        haproxy(peers, tmp_path / "haproxy", section),
        router(tmp_path, {"one": options}),
        closing(connect(port, "near")) as connection,
    ):
        assert seen_as(connection) == own_address(connection)
