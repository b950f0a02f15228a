"""The router's processes on a real group: what clients notice of reloads, upgrades, deaths and drains. Nothing."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.demo.drivers import BlockingConnection, DriverError
from bench.demo.run import DOMAIN
from bench.demo.stage import arrange, start_publisher
from bench.sandbox.processes import Process, resident_bytes, send
from bench.sandbox.sandbox import Sandbox
from router.api import NoRouterError, fetch
from tests.e2e.routing import RW_PORT, Stage, until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]

RATE = 200  # connections a second that arrive throughout
THREADS = 4
EXTRA_PORT = 6456


class Arrivals(threading.Thread):
    """Clients that come all the time, read the server's greeting, and go. What went wrong is noted."""

    def __init__(self, address: str, port: int) -> None:
        super().__init__(daemon=True)
        self._where = address, port
        self._ending = threading.Event()
        self.served = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        due = time.monotonic()
        while not self._ending.is_set():
            try:
                with socket.create_connection(self._where, timeout=10) as sock:
                    greeting = sock.recv(5)
                    if len(greeting) == 5 and greeting[4] == 10:
                        self.served += 1
                    else:
                        self.wrong.append(f"greeting {greeting!r}")
            except OSError as exc:
                self.wrong.append(repr(exc))
            due += 1 / (RATE / THREADS)
            self._ending.wait(max(0.0, due - time.monotonic()))

    def __enter__(self) -> Arrivals:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self.join(30)


class Routed:
    """A router by a configuration file, which a test may write again."""

    def __init__(self, stage: Stage, file: Path) -> None:
        self.stage, self.file = stage, file

    def write(self, *, workers: int = 2, extra: bool = False, drain_timeout: float = 10.0, more: str = "") -> None:
        probe = self.stage.sandbox.accounts["probe"]
        text = (
            f"workers = {workers}\ndrain_timeout = {drain_timeout}\n"
            f'[clusters.main]\nsrv = "{DOMAIN}"\nresolvers = ["{self.stage.resolver}"]\n'
            f'probe_user = "{probe.user}"\nprobe_password_file = "{probe.password_file}"\n'
            f'[admin]\nlisten = "{self.stage.admin}"\n'
            f'[routes.rw]\nlisten = "{self.stage.address}:{RW_PORT}"\nprotocol = "classic"\ndestination = "PRIMARY"\n'
            f"{more}\n"
        )
        if extra:
            text += (
                f'[routes.extra]\nlisten = "{self.stage.address}:{EXTRA_PORT}"\n'
                'protocol = "classic"\ndestination = "SECONDARY"\n'
            )
        self.file.write_text(text)

    def start(self) -> None:
        self.stage.children.start("router", ["router", "--config", str(self.file)])
        until(self.offers_all, "it offers every member")

    def offers_all(self) -> bool:
        assert self.stage.children.alive("router"), self.log
        try:
            members = fetch(self.stage.admin, "/api/v1/topology")["clusters"]["main"]["members"]
        except NoRouterError:
            return False
        return len(members) == 3 and all(one["offered"] for one in members)

    @property
    def main(self) -> Process:
        return self.stage.children.running["router"]

    @property
    def log(self) -> str:
        return self.stage.children.log("router").read_text()

    def workers(self) -> list[dict[str, Any]]:
        shown: list[dict[str, Any]] = fetch(self.stage.admin, "/api/v1/workers")["workers"]
        return shown

    def route(self, name: str = "rw") -> dict[str, Any]:
        routes = fetch(self.stage.admin, "/api/v1/routes")["routes"]
        return next((one for one in routes if one["name"] == name), {})

    def connect(self, port: int = RW_PORT) -> BlockingConnection:
        return BlockingConnection(self.stage.address, port, self.stage.account)

    def tell(self, number: int, word: str) -> None:
        """Send a signal, and wait until the log has the word once more."""
        before = self.log.count(word)
        send(self.main, number)
        try:
            until(lambda: self.log.count(word) > before, f"it says {word!r}", 30)
        except AssertionError as late:
            raise AssertionError(f"{late}; its log ends: {self.log[-2000:]}") from late


@pytest.fixture(scope="module")
def published(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    sandbox.restore()
    stage = arrange(sandbox, tmp_path_factory.mktemp("processes"))
    try:
        start_publisher(stage)
        yield stage
    finally:
        stage.children.end()


def elsewhere(stage: Stage) -> Stage:
    """The stage with an address that nobody else has: others look for free ones from 127.0.0.1 on."""
    return replace(stage, address=".".join(["127", *(str(random.randint(1, 254)) for _ in range(3))]))


@pytest.fixture
def routed(published: Stage, tmp_path: Path) -> Iterator[Routed]:
    published.sandbox.restore()
    one = Routed(elsewhere(published), tmp_path / "router.toml")
    one.write()
    try:
        one.start()
        yield one
    finally:
        router = published.children.running.get("router")
        if router is not None:
            send(router, signal.SIGTERM)
            send(router, signal.SIGTERM)
            until(lambda: not published.children.alive("router"), "it ends")
        published.children.log("router").unlink(missing_ok=True)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_reloads_and_upgrades_refuse_and_reset_no_connection(routed: Routed) -> None:
    stage = routed.stage
    with ExitStack() as stack:
        held = [routed.connect() for _ in range(8)]
        for connection in held:
            stack.callback(connection.close)
        first = {worker["pid"] for worker in routed.workers()}
        arrivals = [stack.enter_context(Arrivals(stage.address, RW_PORT)) for _ in range(THREADS)]

        def served() -> int:
            return sum(one.served for one in arrivals)

        until(lambda: served() > RATE, "clients are served")
        for number in range(3):
            routed.write(extra=number % 2 == 0)
            routed.tell(signal.SIGHUP, "reload: route extra")
            began = time.monotonic()
            routed.tell(signal.SIGUSR2, "route rw listens on")
            print(f"upgrade {number + 1} took {time.monotonic() - began:.2f} s")
            assert get_ready(stage) == 200
        assert [connection.run("SELECT 1 + 1") for connection in held] == [((2,),)] * len(held), (
            "their sessions were kept"
        )
        before = served()
        until(lambda: served() > before + RATE, "clients are still served")
    assert [wrong for one in arrivals for wrong in one.wrong] == [], f"of {served()} connections"
    print(f"{served()} connections, none refused, reset or left without a greeting")
    until(lambda: len(routed.workers()) == 2, "the workers of before end with their last session")
    assert not first & {worker["pid"] for worker in routed.workers()}
    assert routed.route()["accepted_total"] >= served() + len(held), "counters went on"
    assert "Traceback" not in routed.log


def get_ready(stage: Stage) -> int:
    with socket.create_connection((stage.address, 8443), timeout=5) as sock:
        sock.sendall(b"GET /readyz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        return int(sock.recv(64).split()[1])


def test_a_killed_worker_takes_no_other_sessions_along(routed: Routed) -> None:
    def serving_besides(pid: int) -> int:
        return sum(one["state"] == "serving" and one["pid"] != pid for one in routed.workers())

    held = [routed.connect() for _ in range(12)]
    try:
        before = routed.route()
        victim, other = sorted(routed.workers(), key=lambda one: int(one["sessions"]))
        os.kill(victim["pid"], signal.SIGKILL)
        began = time.monotonic()
        until(lambda: serving_besides(victim["pid"]) == 2, "another serves")
        took = time.monotonic() - began
        alive = sum(works(one) for one in held)
        assert alive == other["sessions"]
        routed.connect().close()
        # A report may be a tenth of a second old.
        until(lambda: routed.route()["accepted_total"] > before["accepted_total"], "nothing that was counted is lost")
        assert f"worker {victim['serial']}: died" in routed.log
        assert took < 1.5, f"it took {took:.2f} s"
        print(f"another worker served after {took:.2f} s; memory of main {resident_bytes(routed.main) >> 20} MiB,")
        for worker in routed.workers():
            print(f"of worker {worker['serial']} {worker['resident_bytes'] / (1 << 20):.1f} MiB")
            assert worker["resident_bytes"] < 32 << 20
    finally:
        for one in held:
            one.close()


def works(connection: BlockingConnection) -> bool:
    try:
        return connection.run("SELECT 1") == ((1,),)
    except DriverError:
        return False


def test_without_the_main_process_workers_end_and_another_router_may_begin_at_once(routed: Routed) -> None:
    routed.write(drain_timeout=1.0)
    routed.tell(signal.SIGHUP, "drain_timeout 10.0 -> 1.0")
    held = routed.connect()
    pids = [one["pid"] for one in routed.workers()]
    send(routed.main, signal.SIGKILL)
    assert works(held), "sessions have the drain's time"
    routed.start()
    routed.connect().close()
    until(lambda: all(gone(pid) for pid in pids), "workers end", 10)
    assert not works(held)
    held.close()


def test_a_reload_that_cannot_be_changes_nothing(routed: Routed) -> None:
    held = routed.connect()
    try:
        routed.file.write_text(routed.file.read_text().replace('"PRIMARY"', '"PRIMRAY"'))
        routed.tell(signal.SIGHUP, "reload: nothing is changed: routes.rw.destination")
        routed.tell(signal.SIGUSR2, "upgrade: everything stays as it is: routes.rw.destination")
        with socket.socket() as taken:
            taken.bind((routed.stage.address, EXTRA_PORT))
            taken.listen()
            routed.write(extra=True, workers=3)
            routed.tell(signal.SIGHUP, "reload: nothing is changed: routes.extra.listen")
            assert len(routed.workers()) == 2
        routed.tell(signal.SIGHUP, "reload: route extra added; workers 2 -> 3")
        until(lambda: len(routed.workers()) == 3, "there are three workers")
        routed.connect(EXTRA_PORT).close()
        routed.write(more="parking_limit = 5")
        routed.tell(signal.SIGHUP, "route rw: parking_limit 1024 -> 5")
        assert works(held)
        with pytest.raises(DriverError):
            routed.connect(EXTRA_PORT)
        routed.file.write_text(routed.file.read_text().replace("[admin]", "[admin]\nenabled = false"))
        routed.tell(signal.SIGHUP, "nothing is changed: admin.enabled cannot change by a reload")
    finally:
        held.close()


def test_sigterm_serves_what_is_queued(routed: Routed) -> None:
    pids = [one["pid"] for one in routed.workers()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    queued = [socket.create_connection((routed.stage.address, RW_PORT), timeout=10) for _ in range(30)]
    send(routed.main, signal.SIGTERM)
    until(lambda: "draining" in routed.log, "it drains")
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    for sock in queued:
        assert sock.recv(5)[4:] == b"\x0a", "queued connections are served"
        sock.close()
    until(lambda: not routed.stage.children.alive("router"), "it ends with them")
    del routed.stage.children.running["router"]


def test_sessions_in_all_workers_follow_a_failover(routed: Routed) -> None:
    held = []
    pids = [one["pid"] for one in routed.workers()]
    for pid in pids:  # the one that stands still leaves the other what comes
        os.kill(pid, signal.SIGSTOP)
        try:
            held += [routed.connect() for _ in range(8)]
        finally:
            os.kill(pid, signal.SIGCONT)
    try:
        assert [one["sessions"] for one in routed.workers()] == [8, 8], "both workers have some"
        routed.stage.sandbox.switch("mysql-1")
        until(lambda: not any(works(one) for one in held), "none is left on the old primary", 20)
        uuid = next(one.uuid for one in routed.stage.sandbox.status().members if one.name == "mysql-1")
        for _ in range(4):
            again = routed.connect()
            assert again.run("SELECT @@server_uuid") == ((uuid,),)
            again.close()
        assert routed.route()["cut_total"] == len(held)
    finally:
        for one in held:
            one.close()


LAUNCHER = """
import os, sys
fds = [int(one) for one in sys.argv[1].split(",")]
for at, fd in enumerate(fds):
    os.dup2(fd, 3 + at)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)))
os.execv(sys.executable, [sys.executable, "-m", "router.cli", *sys.argv[2:]])
"""


def test_a_socket_that_systemd_holds_is_used(published: Stage, tmp_path: Path) -> None:
    published = elsewhere(published)
    one = Routed(published, tmp_path / "router.toml")
    one.write(workers=1)
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(tmp_path / "notify"))
    told.settimeout(20)
    listening = socket.create_server((published.address, RW_PORT), backlog=64)
    early = socket.create_connection((published.address, RW_PORT), timeout=20)
    high = os.dup(listening.fileno()) + 20
    os.dup2(listening.fileno(), high)
    router = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(high), "router", "--config", str(one.file)],
        pass_fds=[high],
        env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
    )
    os.close(high)
    try:
        heard = hear(told, lambda text: "READY=1" in text)
        assert any("FDSTORE=1" in text and "8443" in text for text in heard), "its own sockets are kept, too"
        assert not any("FDSTORE=1" in text and str(RW_PORT) in text for text in heard), "systemd has that already"
        assert early.recv(5)[4:] == b"\x0a", "who came before the router is served"
        router.send_signal(signal.SIGHUP)
        assert "RELOADING=1" in hear(told, lambda text: "READY=1" in text)[0]
        router.terminate()
        early.close()
        hear(told, lambda text: "STOPPING=1" in text)
        assert router.wait(20) == 0
        with socket.create_connection((published.address, RW_PORT), timeout=5) as late:
            assert late.getpeername()[1] == RW_PORT, "the socket is still systemd's, for the next start"
    finally:
        router.kill()
        router.wait()
        for sock in (early, listening, told):
            sock.close()


def hear(told: socket.socket, last: Callable[[str], bool]) -> list[str]:
    """What is told, up to the one that is waited for; descriptors that come along are closed."""
    heard: list[str] = []
    while not heard or not last(heard[-1]):
        data, fds, _, _ = socket.recv_fds(told, 4096, 8)
        for fd in fds:
            os.close(fd)
        heard.append(data.decode())
    return heard
