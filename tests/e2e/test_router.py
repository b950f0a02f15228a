"""The router on a real group: the right member, bounded waits, and nothing acknowledged that is not kept."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.demo.drivers import AsyncConnection, BlockingConnection, DriverError
from bench.demo.run import DOMAIN
from bench.demo.stage import arrange, start_publisher, start_router
from bench.sandbox.processes import resident_bytes, send
from bench.sandbox.sandbox import Sandbox
from router.api import fetch
from tests.e2e.routing import RO_PORT, RW_PORT, Stage, Writer, routed, until
from xproto.errors import ServerError
from xproto.session import Login, Session

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]
X_RW_PORT, X_RO_PORT = 6448, 6449


@pytest.fixture
def stage(group: Sandbox, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    with routed(group, tmp_path, workers=getattr(request, "param", 1)) as one:
        yield one


def served_by(stage: Stage, port: int) -> str:
    """The name of the member that a new classic connection gets."""
    connection = BlockingConnection(stage.address, port, stage.account)
    try:
        uuid = connection.run("SELECT @@server_uuid")[0][0]
    finally:
        connection.close()
    return next(one.name for one in stage.sandbox.status().members if one.uuid == uuid)


def x_served_by(stage: Stage, port: int) -> str:
    async def ask() -> object:
        login = Login(stage.account.user, stage.account.password)
        session = await Session.open(stage.address, port, login, timeout=15)
        try:
            return (await session.execute("SELECT @@server_uuid", timeout=5)).rows[0][0]
        finally:
            await session.close()

    uuid = asyncio.run(ask())
    return next(one.name for one in stage.sandbox.status().members if one.uuid == uuid)


def offered(stage: Stage) -> dict[str, str | None]:
    members = fetch(stage.admin, "/api/v1/topology")["clusters"]["main"]["members"]
    return {one["name"].partition(".")[0]: one["offered"] for one in members}


def get(stage: Stage, path: str) -> tuple[int, str]:
    """Status and body of a page of the admin listener."""
    with socket.create_connection((stage.address, 8443), timeout=5) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while data := sock.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def test_each_port_leads_to_its_role(stage: Stage) -> None:
    assert served_by(stage, RW_PORT) == "mysql-0"
    assert {served_by(stage, RO_PORT) for _ in range(4)} == {"mysql-1", "mysql-2"}
    assert x_served_by(stage, X_RW_PORT) == "mysql-0"
    assert {x_served_by(stage, X_RO_PORT) for _ in range(4)} == {"mysql-1", "mysql-2"}
    status, text = get(stage, "/metrics")
    assert status == 200
    assert 'fairlead_member_offered{cluster="main",member="mysql-0.demo.fairlead.test",role="PRIMARY"} 1.0' in text
    assert 'fairlead_sessions_joined_total{member="mysql-0.demo.fairlead.test",route="classic_rw"} 1.0' in text
    assert get(stage, "/readyz") == (200, "ready\n")
    assert get(stage, "/livez")[0] == 200
    with BlockingConnectionHeld(stage) as _:
        sessions = fetch(stage.admin, "/api/v1/sessions")
        assert [one["route"] for one in sessions["sessions"]] == ["classic_rw"]
    shown = subprocess.run(
        [sys.executable, "-m", "router.cli", "status", "--admin", stage.admin],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "mysql-2" in shown
    assert "classic_rw" in shown


def test_health_takes_one_connection_a_member(stage: Stage) -> None:
    sessions = "SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_USER = 'probe'"
    for member in stage.sandbox.members:
        # The publisher's and the router's.
        assert stage.sandbox.sql(member.name, sessions).rows == ((2,),)


def mysql_client(stage: Stage, port: int) -> list[str]:
    """MySQL's own client, to be run with `client_environment`."""
    where = ["--protocol=tcp", f"--host={stage.address}", f"--port={port}", f"--user={stage.account.user}"]
    return [*stage.sandbox.env()["mysql_client"], "--no-defaults", *where]


def client_environment(stage: Stage) -> dict[str, str]:
    return {**os.environ, "MYSQL_PWD": stage.account.password}


def sent(stage: Stage) -> int:
    """Bytes that went to the clients of all live sessions."""
    return sum(one["bytes_out"] for one in fetch(stage.admin, "/api/v1/sessions")["sessions"])


class BlockingConnectionHeld:
    """A connection through the read-write port, for the length of a block."""

    def __init__(self, stage: Stage) -> None:
        self._connection = BlockingConnection(stage.address, RW_PORT, stage.account)

    def __enter__(self) -> BlockingConnection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


@pytest.mark.parametrize(("stage", "side"), [(1, "peers"), (2, "all")], indirect=["stage"])
def test_a_primary_that_is_cut_off_gets_no_writes_and_nothing_acknowledged_is_lost(stage: Stage, side: str) -> None:
    sandbox = stage.sandbox
    old_uuid = sandbox.status().member("mysql-0").uuid
    with Writer(stage, f"cut_{side}") as writer:
        sandbox.cut("mysql-0", side)
        until(lambda: any(uuid != old_uuid for _, _, uuid in list(writer.acknowledged)), "the new primary takes writes")
        first_new = min(at for _, at, uuid in list(writer.acknowledged) if uuid != old_uuid)
        assert offered(stage)["mysql-0"] is None
        before = len(writer.acknowledged)
        until(lambda: len(writer.acknowledged) > before + 50, "writes go on")
        sandbox.heal("mysql-0")
        until(lambda: offered(stage)["mysql-0"] == "SECONDARY", "the healed member serves reads again")
        before = len(writer.acknowledged)
        until(lambda: len(writer.acknowledged) > before + 50, "writes go on")
    late = [number for number, at, uuid in writer.acknowledged if uuid == old_uuid and at > first_new]
    assert not late, "the old primary acknowledged writes after a new one did"
    assert writer.longest_connect < 12, "a client hung"
    for name in ("mysql-0", "mysql-1", "mysql-2"):
        until(lambda name=name: not writer.missing(name), f"{name} has every acknowledged write")  # type: ignore[misc]
    kept = sandbox.sql("mysql-1", "SELECT @@GLOBAL.gtid_executed").rows[0][0]
    own = sandbox.sql("mysql-0", f"SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, '{kept}')").rows[0][0]
    assert own == "", "the cut-off primary kept transactions of its own"


def test_with_every_member_down_each_client_gets_a_mysql_error_in_time(stage: Stage) -> None:
    sandbox = stage.sandbox
    for member in sandbox.members:
        sandbox.kill(member.name)
    until(lambda: all(one.process == "stopped" for one in sandbox.status().members), "all are dead")
    began = time.monotonic()
    with pytest.raises(DriverError) as caught:
        BlockingConnection(stage.address, RW_PORT, stage.account)
    assert caught.value.code == 2003, caught.value
    assert "no server for route classic_rw" in caught.value.message
    assert time.monotonic() - began < 10

    async def with_asyncmy() -> None:
        await AsyncConnection.open(stage.address, RO_PORT, stage.account)

    with pytest.raises(DriverError) as caught:
        asyncio.run(with_asyncmy())
    assert caught.value.code == 2003, caught.value

    async def with_x() -> None:
        login = Login(stage.account.user, stage.account.password)
        await Session.open(stage.address, X_RW_PORT, login, timeout=15)

    with pytest.raises(ServerError) as refused:
        asyncio.run(with_x())
    assert refused.value.code == 2003

    argv = [*mysql_client(stage, RW_PORT), "--connect-timeout=10", "-e", "SELECT 1"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, env=client_environment(stage))
    assert done.returncode == 1
    assert "ERROR 2003 (HY000)" in done.stderr
    assert "no server for route classic_rw" in done.stderr
    assert get(stage, "/readyz")[0] == 200, "a router without a primary must stay in its Service, for it parks"


@pytest.mark.parametrize("stage", [2], indirect=True)
def test_a_router_that_is_killed_disturbs_nobody_and_its_clients_come_back(stage: Stage) -> None:
    before = [(one.name, one.role, one.uuid) for one in stage.sandbox.status().members]
    with Writer(stage, "router_killed") as writer:
        workers = [one["pid"] for one in fetch(stage.admin, "/api/v1/workers")["workers"]]
        send(stage.children.running["router"], signal.SIGKILL)
        for pid in workers:  # which would else have given their sessions the drain's time
            os.kill(pid, signal.SIGKILL)
        until(lambda: bool(writer.errors), "clients notice")
        start_router(stage)
        count = len(writer.acknowledged)
        until(lambda: len(writer.acknowledged) > count + 50, "writes go on")
    assert not writer.missing("mysql-0")
    assert [(one.name, one.role, one.uuid) for one in stage.sandbox.status().members] == before


def test_bad_input_is_answered_or_closed_and_told_and_the_router_serves_on(stage: Stage) -> None:
    garbage = os.urandom(4096)
    peers: list[str] = []
    for port in (RW_PORT, RO_PORT, X_RW_PORT, X_RO_PORT, 8443):
        with socket.create_connection((stage.address, port), timeout=10) as sock:
            sock.settimeout(40)
            host, own_port = sock.getsockname()
            peers.append(f"{host}:{own_port}")
            sock.sendall(garbage)
            try:
                while sock.recv(65536):
                    pass
            except ConnectionError:
                pass  # a reset is an answer, too
    with socket.create_connection((stage.address, RW_PORT), timeout=10) as silent:
        silent.settimeout(40)
        while silent.recv(65536):  # the member's greeting, then its patience ends
            pass
    with socket.create_connection((stage.address, X_RW_PORT), timeout=10) as half:
        half.settimeout(40)
        half.shutdown(socket.SHUT_WR)
        while half.recv(65536):
            pass
    resolver_host, resolver_port = stage.resolver.split(":")
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        malformed = b"\x12\x34\x00\x00\x00\x05" + bytes(6) + b"\xff" * 20  # five questions that are none
        datagrams.settimeout(10)
        datagrams.sendto(malformed, (resolver_host, int(resolver_port)))
        assert datagrams.recv(512)[:2] == malformed[:2], "it answers: malformed"
    assert served_by(stage, RW_PORT) == "mysql-0"
    log = stage.children.log("router").read_text()
    for peer in peers[:4]:
        assert log.count(peer) == 1, f"{peer} is told of once"
    assert log.count("client 127.0.0.1 sent what is not HTTP") == 1
    assert "Traceback" not in log
    publisher = stage.children.log("publisher").read_text()
    assert publisher.count("bad-packet peer=127.0.0.1") == 1
    assert "Traceback" not in publisher
    until(lambda: fetch(stage.admin, "/api/v1/sessions")["total"] == 0, "every session is accounted for")


@pytest.mark.parametrize("stage", [2], indirect=True)
def test_a_client_that_stops_reading_costs_bounded_memory(stage: Stage) -> None:

    def memory() -> int:
        workers = sum(one["resident_bytes"] for one in fetch(stage.admin, "/api/v1/workers")["workers"])
        return resident_bytes(stage.children.running["router"]) + int(workers)

    connection = BlockingConnection(stage.address, RW_PORT, stage.account)
    connection.run("CREATE TABLE IF NOT EXISTS wide (id INT PRIMARY KEY, filler LONGBLOB)")
    connection.run("REPLACE INTO wide VALUES (1, REPEAT('x', 4000000))")
    connection.close()
    before = memory()
    result = "SELECT filler FROM wide a, (SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4) b"
    stuck: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(10):  # clients that print into a pipe which nobody reads
            argv = [*mysql_client(stage, RW_PORT), "--quick", f"--database={stage.account.database}", "-e", result]
            stuck.append(subprocess.Popen(argv, stdout=subprocess.PIPE, env=client_environment(stage)))
        until(lambda: sent(stage) > 10 << 20, "results are under way")
        last = -1
        while last != (last := sent(stage)):  # until every buffer on the way is full
            time.sleep(0.5)
        assert all(one.poll() is None for one in stuck)
        assert served_by(stage, RW_PORT) == "mysql-0", "others are served meanwhile"
        grown = memory() - before
        assert grown < 10 * (1 << 20), f"the router grew by {grown >> 10} KiB for ten stuck readers"
    finally:
        for one in stuck:
            one.kill()
            one.communicate()


def test_sigterm_lets_sessions_end(stage: Stage) -> None:
    with BlockingConnectionHeld(stage) as connection:
        send(stage.children.running["router"], signal.SIGTERM)

        def refused() -> bool:
            try:
                socket.create_connection((stage.address, RW_PORT), timeout=1).close()
            except ConnectionRefusedError:
                return True
            except TimeoutError:  # it came while the router let those in that had begun, and dropped what began then
                return False
            return False

        until(refused, "new connections are refused")
        assert get(stage, "/readyz") == (503, "draining\n")
        assert connection.run("SELECT 1 + 1") == ((2,),)
    until(lambda: not stage.children.alive("router"), "it ends once its last session has")
    assert "0 sessions had to be cut" in stage.children.log("router").read_text()


def test_a_router_without_dns_is_not_ready_and_becomes_so(group: Sandbox, tmp_path: Path) -> None:
    stage = arrange(group, tmp_path)
    try:
        start_router(stage, wait=False)

        def answers() -> bool:
            try:
                return get(stage, "/readyz") == (503, "no topology seen yet of main\n")
            except OSError:
                return False

        until(answers, "it says that it is not ready")
        start_publisher(stage)
        until(lambda: get(stage, "/readyz")[0] == 200, "it finds the cluster once DNS answers")
        send(stage.children.running["publisher"], signal.SIGKILL)
        assert served_by(stage, RW_PORT) == "mysql-0"
    finally:
        stage.children.end()


def test_the_command_line_refuses_what_it_cannot_do(group: Sandbox, tmp_path: Path) -> None:
    def router(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "router.cli", "router", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30)

    checked = router("--check", "--srv", DOMAIN, "--resolver", "127.0.0.1:5353")
    assert checked.returncode == 0, checked.stderr
    assert "route x_ro: 127.0.0.1:6449" in checked.stdout
    nothing = router("--check")
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        file = tmp_path / "taken.toml"
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        file.write_text(
            f'[clusters.main]\nsrv = "{DOMAIN}"\n[admin]\nenabled = false\n'
            f'[routes.rw]\nlisten = "{listen}"\nprotocol = "classic"\ndestination = "PRIMARY"\n'
        )
        busy = router("--config", str(file))
    assert busy.returncode == 1
    assert "routes.rw.listen: 127.0.0.1:" in busy.stderr
    assert "Address already in use" in busy.stderr
    assert "Traceback" not in busy.stderr


def test_probe_tells_a_members_health(group: Sandbox, tmp_path: Path) -> None:
    account, member = group.accounts["probe"], group.member("mysql-1")

    def probe(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "router.cli", "probe", f"{member.host}:{member.x_port}", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30)

    healthy = probe("--user", account.user, "--password-file", str(account.password_file))
    assert (healthy.returncode, "SECONDARY ONLINE, read-only" in healthy.stdout) == (0, True), healthy
    alive = probe()
    assert (alive.returncode, "role unknown" in alive.stdout) == (2, True), alive
    wrong = tmp_path / "wrong"
    wrong.write_text("not the password\n")
    denied = probe("--user", account.user, "--password-file", str(wrong), "--json")
    assert denied.returncode == 2
    assert '"outcome": "denied"' in denied.stdout
    group.stop("mysql-1")
    gone = probe("--user", account.user, "--password-file", str(account.password_file))
    assert (gone.returncode, "refused" in gone.stdout) == (1, True), gone
