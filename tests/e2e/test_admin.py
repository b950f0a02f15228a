"""Members drained, hidden and put back, and sessions killed, on a real group; and the API beside MySQL Router's."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bench.demo.drivers import BlockingConnection, DriverError
from bench.demo.run import DOMAIN
from bench.demo.stage import arrange, start_publisher
from bench.sandbox.sandbox import Sandbox
from router.api import Door, NoRouterError, ask, bearer
from tests.e2e.mysql_router import MySqlRouter, mysql_router
from tests.e2e.routing import RO_PORT, RW_PORT, Stage, Writer, until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]
TOKEN = "0123456789abcdef"


class Steered:
    """A router with two workers whose API takes a token over TLS, and a publisher before it."""

    def __init__(self, stage: Stage, directory: Path) -> None:
        self.stage = stage
        (directory / "tokens").write_text(f"test:{TOKEN}\n")
        probe = stage.sandbox.accounts["probe"]
        self._config = directory / "fairlead.toml"
        self._config.write_text(f'''
workers = 2
[clusters.main]
srv = "{DOMAIN}"
resolvers = ["{stage.resolver}"]
probe_user = "{probe.user}"
probe_password_file = "{probe.password_file}"
[admin]
listen = "{stage.admin}"
self_signed = true
tokens_file = "{directory / "tokens"}"
''')
        stage.children.start("router", ["router", "--config", str(self._config), "--bind", stage.address])
        log = stage.children.log("router")
        until(lambda: "fingerprint" in log.read_text(), "it listens")
        line = next(line for line in log.read_text().splitlines() if "fingerprint" in line)
        self.fingerprint = line.split()[-1]
        self.door = Door(f"https://{stage.admin}", bearer(TOKEN), fingerprint=self.fingerprint)
        until(lambda: sorted(map(str, self.offered().values())) == ["PRIMARY", "SECONDARY", "SECONDARY"], "it is ready")

    def ask(self, path: str, method: str = "GET", body: object = None) -> dict[str, Any]:
        return ask(self.door, path, method, body)

    def members(self) -> list[dict[str, Any]]:
        return list(self.ask("/api/v1/topology")["clusters"]["main"]["members"])

    def offered(self) -> dict[str, str | None]:
        try:
            return {one["name"].partition(".")[0]: one["offered"] for one in self.members()}
        except NoRouterError:
            return {}

    def steer(self, member: str, verb: str, **body: object) -> dict[str, Any]:
        return self.ask(f"/api/v1/members/{member}/{verb}", "POST", body)

    def sessions_of(self, member: str) -> int:
        by_member = [route["by_member"] for route in self.ask("/api/v1/routes")["routes"]]
        return sum(count for one in by_member for name, count in one.items() if name.startswith(f"{member}."))

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.ask("/api/v1/events")["events"]]


@pytest.fixture
def steered(group: Sandbox, tmp_path: Path) -> Iterator[Steered]:
    stage = arrange(group, tmp_path)
    try:
        start_publisher(stage)
        yield Steered(stage, tmp_path)
    finally:
        stage.children.end()


class Readers:
    """Clients that read through the read-only port, connecting anew each time, until the block ends."""

    def __init__(self, stage: Stage, count: int) -> None:
        self._stage = stage
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._read, daemon=True) for _ in range(count)]
        self.served: list[str] = []
        self.errors: list[DriverError] = []

    def _read(self) -> None:
        while not self._ending.is_set():
            try:
                connection = BlockingConnection(self._stage.address, RO_PORT, self._stage.account)
                try:
                    self.served.append(str(connection.run("SELECT @@server_uuid")[0][0]))
                finally:
                    connection.close()
            except DriverError as error:
                self.errors.append(error)

    def __enter__(self) -> Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(30)


def test_a_drained_member_gets_nothing_new_and_loses_nothing(steered: Steered) -> None:
    stage = steered.stage
    uuid = stage.sandbox.status().member("mysql-1").uuid
    with ExitStack() as held:
        connections = [BlockingConnection(stage.address, RO_PORT, stage.account) for _ in range(6)]
        for one in connections:
            held.callback(one.close)
        live = [one for one in connections if one.run("SELECT @@server_uuid")[0][0] == uuid]
        assert live
        with Readers(stage, 2) as readers, Writer(stage, "drained") as writer:
            until(lambda: uuid in readers.served, "it is read from")
            assert steered.steer("mysql-1", "drain") == {
                "cluster": "main",
                "member": f"mysql-1.{DOMAIN}",
                "mode": "drained",
            }
            # A reader may be on its way when the word comes; the one that begins after that is not.
            mark = len(readers.served)
            until(lambda: len(readers.served) > mark + 5, "reads go on")
            mark = len(readers.served)
            until(lambda: len(readers.served) > mark + 50, "reads go on")
            assert uuid not in readers.served[mark:]
            for one in live:
                assert one.run("SELECT @@server_uuid")[0][0] == uuid
            assert next(one["mode"] for one in steered.members() if one["uuid"] == uuid) == "drained"
            steered.steer("mysql-1", "undrain")
            mark = len(readers.served)
            until(lambda: uuid in readers.served[mark:], "it is read from again")
            before = len(writer.acknowledged)
            until(lambda: len(writer.acknowledged) > before + 5, "writes went on")
        assert readers.errors == []
        assert writer.errors == []
        assert writer.missing("mysql-0") == set()
    assert steered.kinds().count("mode") == 2


def test_a_hidden_member_is_left_by_all_and_a_drain_may_have_an_end(steered: Steered) -> None:
    stage = steered.stage
    with ExitStack() as held:
        connections = [BlockingConnection(stage.address, RO_PORT, stage.account) for _ in range(8)]
        for one in connections:
            held.callback(one.close)
        assert steered.sessions_of("mysql-1")
        others = steered.sessions_of("mysql-2")
        assert others
        steered.steer("mysql-1", "hide")
        until(lambda: steered.sessions_of("mysql-1") == 0, "its sessions are ended")
        assert steered.sessions_of("mysql-2") == others
        steered.steer("mysql-2", "drain", end_within=0.2)
        until(lambda: steered.sessions_of("mysql-2") == 0, "the drain has an end")
    steered.steer("mysql-2", "undrain")
    with pytest.raises(NoRouterError, match=r"409 Conflict: mysql-1\..* is hidden"):
        steered.steer("mysql-1", "undrain")
    # A hidden primary: writers wait for it, and are answered when it is back.
    steered.steer("mysql-0", "hide")
    answer: list[object] = []

    def write() -> None:
        connection = BlockingConnection(stage.address, RW_PORT, stage.account)
        answer.append(connection.run("SELECT 1"))
        connection.close()

    waiting = threading.Thread(target=write, daemon=True)
    waiting.start()
    until(lambda: sum(route["parked"] for route in steered.ask("/api/v1/routes")["routes"]) == 1, "it waits")
    steered.steer("mysql-0", "unhide")
    waiting.join(10)
    assert answer
    until(lambda: "sessions-cut" in steered.kinds(), "the cut sessions are told of")


def test_one_session_is_killed_and_the_others_do_not_notice(steered: Steered) -> None:
    stage = steered.stage
    with ExitStack() as held:
        connections = [BlockingConnection(stage.address, RW_PORT, stage.account) for _ in range(4)]
        for one in connections:
            held.callback(one.close)
        sessions = steered.ask("/api/v1/sessions?route=classic_rw")["sessions"]
        assert len(sessions) == 4
        assert steered.ask(f"/api/v1/sessions/{sessions[0]['id']}", "DELETE") == {"killed": sessions[0]["id"]}
        until(lambda: len(steered.ask("/api/v1/sessions")["sessions"]) == 3, "it is gone")
        alive = 0
        for one in connections:
            try:
                one.run("SELECT 1")
            except DriverError:
                continue
            alive += 1
        assert alive == 3


def test_a_switchover_is_told_with_its_time(steered: Steered) -> None:
    steered.stage.sandbox.switch("mysql-1")
    until(lambda: steered.offered().get("mysql-1") == "PRIMARY", "the roles are followed")
    events = steered.ask("/api/v1/events")["events"]
    [ended] = [event for event in events if event["kind"] == "failover-ended"]
    assert ended["member"].startswith("mysql-1.")
    assert 0 <= ended["seconds"] < 30
    where = ["--admin", steered.door.url, "--fingerprint", steered.fingerprint]
    shown = subprocess.run(
        [sys.executable, "-m", "router.cli", "top", "--once", "--interval", "0.2", *where],
        capture_output=True,
        text=True,
        check=True,
        env={"FAIRLEAD_ADMIN_TOKEN": TOKEN, "PATH": "/usr/bin:/bin"},
        cwd=Path(__file__).parents[2],
    ).stdout
    assert "takes writes" in shown
    assert "classic_rw" in shown


def keys(document: object) -> object:
    """What a document has, without its values."""
    if isinstance(document, dict):
        return {key: keys(value) for key, value in document.items()}
    if isinstance(document, list):
        return [keys(document[0])] if document else []
    return type(document).__name__


def test_documents_have_what_those_of_mysql_router_have(steered: Steered, tmp_path: Path) -> None:
    stage = steered.stage
    primary = stage.sandbox.member("mysql-0")
    host = stage.address
    with mysql_router(tmp_path / "router", f"{primary.host}:{primary.port}") as peer:
        assert isinstance(peer, MySqlRouter)
        ours = BlockingConnection(host, RW_PORT, stage.account)
        theirs = BlockingConnection("127.0.0.1", peer.route_port, stage.account)
        try:
            for one in (ours, theirs):
                one.run("SELECT REPEAT('x', 100000)")
            for name in ("config", "status", "health", "destinations", "connections", "blockedHosts"):
                mine = steered.ask(f"/api/20190715/routes/classic_rw/{name}")
                its = peer.get(f"/routes/rw/{name}")
                if name == "connections":
                    # When bytes passed last is not kept: it would cost a clock's reading for each.
                    for item in its["items"]:
                        del item["timeLastSentToServer"], item["timeLastReceivedFromServer"]
                    for item in (*mine["items"], *its["items"]):
                        assert item["bytesFromServer"] > 100_000 > item["bytesToServer"] > 0
                assert keys(mine) == keys(its), name
            for path in ("/router/status", "/routing/status", "/routes", *HOST_CACHE):
                assert keys(steered.ask(f"/api/20190715{path}")) == keys(peer.get(path)), path
            entries = "/host_cache/entries"
            assert steered.ask(f"/api/20190715{entries}").keys() == peer.get(entries).keys()
            paths = set(steered.ask("/api/20190715/swagger.json")["paths"])
            assert set(peer.get("/swagger.json")["paths"]) - paths == {
                "/routing/guidelines",
                "/routing/guidelines/schema",
            }
        finally:
            ours.close()
            theirs.close()


HOST_CACHE = ("/host_cache/config", "/host_cache/status")
