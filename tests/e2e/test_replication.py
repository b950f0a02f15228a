"""A real source with two replicas, semi-synchronous, without Group Replication: what is told of them, and followed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.sandbox.parts import daemons_of, group_of
from bench.sandbox.processes import send
from bench.sandbox.record import Mode
from bench.sandbox.sandbox import Sandbox
from cluster.access import Access
from cluster.evidence import LagLimits, Policy
from cluster.flavours import Flavour
from cluster.members import Endpoint, Member, Role, State
from cluster.topology import MemberStatus, Topology, Trust
from cluster.watch import Timing, Watch
from cluster.x_probe import XProbe
from tests.e2e.routing import Writer, routed, until
from xproto.session import Login

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]
P, S = Role.PRIMARY, Role.SECONDARY
CALM = {"mysql-0": P, "mysql-1": S, "mysql-2": S}


@pytest.fixture(scope="module")
def servers(possible: None) -> Iterator[Sandbox]:
    """A source and two replicas, for as long as these tests run."""
    with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as name:
        running = Sandbox(Path(name) / "s", members=3, mode=Mode.REPLICATION)
        try:
            running.up()
            yield running
        finally:
            running.down(purge=True)


@pytest.fixture
def replicas(servers: Sandbox) -> Iterator[Sandbox]:
    """The servers with mysql-0 the source; whatever a test does to that is undone."""
    yield servers
    servers.restore()


def run(sandbox: Sandbox, name: str, *statements: str) -> None:
    """Run statements on a member as its administrator, in one session."""
    group_of(sandbox.layout, sandbox.layout.load()).run(name, list(statements))


def members_of(sandbox: Sandbox) -> list[Member]:
    return [Member(one.name, Endpoint(one.host, one.port), Endpoint(one.host, one.x_port)) for one in sandbox.members]


def access_to(sandbox: Sandbox) -> Access:
    probe = sandbox.accounts["probe"]
    return Access(Login(probe.user, probe.password))


class Followed(threading.Thread):
    """A watch over the servers, in a thread of its own, that remembers every topology and when it came."""

    def __init__(self, sandbox: Sandbox, policy: Policy, members: list[Member] | None = None) -> None:
        super().__init__(daemon=True)
        self.history: list[tuple[float, Topology]] = []
        self._loop = asyncio.new_event_loop()
        self._watch = Watch(access_to(sandbox), policy=policy)
        self._watch.subscribe(lambda _, new: self.history.append((time.monotonic(), new)))
        self._watch.set_members(members or members_of(sandbox))
        self._task = self._loop.create_task(self._watch.run())

    def run(self) -> None:
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        finally:
            self._loop.close()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self.join(10)

    @property
    def topology(self) -> Topology:
        return self._watch.topology

    @property
    def offers(self) -> dict[str, Role]:
        return {one.member.name: one.offered for one in self.topology.members if one.offered}

    def of(self, name: str) -> MemberStatus:
        status = self.topology.status_of(name)
        assert status is not None
        return status

    def wait(self, condition: Callable[[], bool], timeout: float = 15.0) -> None:
        """Wait for a condition; when it does not come, tell what is said of the members instead."""
        deadline = time.monotonic() + timeout
        while not condition():
            told = [(one.member.name, one.offered, one.lag, one.reason) for one in self.topology.members]
            assert time.monotonic() < deadline, (self.topology.reason, told)
            time.sleep(0.005)

    def wait_offers(self, offers: dict[str, Role], timeout: float = 15.0) -> None:
        self.wait(lambda: self.offers == offers, timeout)


@contextmanager
def followed(
    sandbox: Sandbox,
    policy: Policy | None = None,
    *,
    members: list[Member] | None = None,
    offers: dict[str, Role] = CALM,
) -> Iterator[Followed]:
    watch = Followed(sandbox, policy or Policy(), members)
    watch.start()
    try:
        watch.wait_offers(offers)
        yield watch
        assert all(len(topology.primaries()) <= 1 for _, topology in watch.history), "two primaries at one time"
    finally:
        watch.end()


def promote(sandbox: Sandbox, name: str) -> float:
    """Make a replica take writes; return the moment (monotonic) when it did."""
    run(
        sandbox,
        name,
        "STOP REPLICA",
        "RESET REPLICA ALL",
        "SET GLOBAL super_read_only = OFF",
        "SET GLOBAL read_only = OFF",
    )
    return time.monotonic()


def repoint(sandbox: Sandbox, name: str, source: str) -> None:
    """Make a member replicate from another."""
    where, password = sandbox.member(source), sandbox.layout.password("replication")
    change = (
        f"CHANGE REPLICATION SOURCE TO SOURCE_HOST='{where.host}', SOURCE_PORT={where.port}, "
        f"SOURCE_USER='replication', SOURCE_PASSWORD='{password}', SOURCE_SSL=1, SOURCE_AUTO_POSITION=1, "
        "SOURCE_CONNECT_RETRY=1"
    )
    run(sandbox, name, "SET GLOBAL super_read_only = ON", "STOP REPLICA", change, "START REPLICA")


def test_it_is_detected_by_itself_with_roles_and_semi_sync(replicas: Sandbox) -> None:
    with followed(replicas) as watch:
        topology = watch.topology
        assert (topology.flavour, topology.trust) == (Flavour.REPLICATION, Trust.QUORUM)
        watch.wait(lambda: watch.of("mysql-0").reason == "semi-sync: 2 of 2 replicas acknowledge")
        run(replicas, "mysql-0", "CREATE DATABASE heard")  # the first that these replicas hear of their source
        for name in ("mysql-1", "mysql-2"):
            run(replicas, name, "STOP REPLICA IO_THREAD")
        run(replicas, "mysql-0", "CREATE DATABASE unacknowledged")
        watch.wait(lambda: "fallen back to asynchronous" in watch.of("mysql-0").reason)
        assert watch.offers == CALM, "replicas that lost their source a moment ago are read from"
        assert watch.of("mysql-1").reason == "its receiver is not connected (OFF)"


def test_at_rest_a_server_says_the_same_at_each_look(replicas: Sandbox) -> None:
    async def looks(member: Member) -> set[bool]:
        probe = XProbe(member, access_to(replicas), timeout=5.0)
        try:
            reports = [(await probe.look()).report for _ in range(5)]
            return {one is not None and one.replication == reports[0].replication for one in reports if reports[0]}
        finally:
            await probe.close()

    for member in members_of(replicas):
        assert asyncio.run(looks(member)) == {True}


def test_a_server_with_the_plugin_and_no_group_is_asked_as_a_replica(replicas: Sandbox) -> None:
    writable = ("SET GLOBAL super_read_only = OFF", "SET SESSION sql_log_bin = 0")
    run(replicas, "mysql-2", *writable, "INSTALL PLUGIN group_replication SONAME 'group_replication.so'")
    try:
        run(replicas, "mysql-2", "SET GLOBAL super_read_only = ON")
        with followed(replicas) as watch:
            assert watch.topology.flavour is Flavour.REPLICATION
    finally:
        run(replicas, "mysql-2", *writable, "UNINSTALL PLUGIN group_replication")


def test_lag_is_measured_and_a_limit_excludes_until_well_below(replicas: Sandbox) -> None:
    with followed(replicas, Policy(lag=LagLimits(seconds=2.0))) as watch:
        run(
            replicas,
            "mysql-1",
            *("STOP REPLICA SQL_THREAD", "CHANGE REPLICATION SOURCE TO SOURCE_DELAY=4", "START REPLICA SQL_THREAD"),
        )
        watch.wait_offers(CALM)
        began = time.monotonic()
        lags = []
        for number in range(3):
            run(replicas, "mysql-0", f"CREATE DATABASE late{number}")

        def excluded() -> bool:
            lags.append((time.monotonic() - began, watch.of("mysql-1").lag or 0.0))
            return watch.of("mysql-1").offered is None

        watch.wait(excluded)
        assert watch.of("mysql-1").reason == "late, beyond 2 s"
        assert 2.0 < lags[-1][1] <= lags[-1][0] + 0.5
        assert watch.of("mysql-1").queued == 3
        assert lags[-1][0] < 2.0 + Timing().poll + 1.0, "seconds of a delay are told whole"
        watch.wait_offers(CALM)
        assert time.monotonic() - began > 3.5, "it was offered before it had caught up"
        assert watch.of("mysql-1").lag == 0.0


def test_a_stopped_applier_excludes_and_one_that_an_error_stopped_is_told_with_it(replicas: Sandbox) -> None:
    with followed(replicas) as watch:
        run(replicas, "mysql-1", "STOP REPLICA SQL_THREAD")
        watch.wait_offers({"mysql-0": P, "mysql-2": S})
        assert watch.of("mysql-1").reason == "its applier is stopped"
        run(replicas, "mysql-1", "START REPLICA SQL_THREAD")
        watch.wait_offers(CALM)
        run(replicas, "mysql-0", "CREATE TABLE app.clash (id INT PRIMARY KEY)")
        watch.wait(lambda: bool(replicas.sql("mysql-2", "SHOW TABLES FROM app LIKE 'clash'").rows))
        silently = ("SET GLOBAL super_read_only = OFF", "SET SESSION sql_log_bin = 0")
        again = "SET GLOBAL super_read_only = ON"
        run(replicas, "mysql-2", *silently, "INSERT INTO app.clash VALUES (1)", again)
        run(replicas, "mysql-0", "INSERT INTO app.clash VALUES (1)")
        watch.wait_offers({"mysql-0": P, "mysql-1": S})
        assert watch.of("mysql-2").reason.startswith("its applier has stopped: error 1062: ")
        assert watch.of("mysql-2").state is State.ERROR
        run(replicas, "mysql-2", *silently, "DELETE FROM app.clash", again, "START REPLICA SQL_THREAD")
        watch.wait_offers(CALM)
        run(replicas, "mysql-0", "DROP TABLE app.clash")


def test_an_errant_transaction_excludes_a_replica_until_the_source_has_it_too(replicas: Sandbox) -> None:
    with followed(replicas) as watch:
        uuid = watch.of("mysql-2").uuid
        run(
            replicas,
            "mysql-2",
            *("SET GLOBAL super_read_only = OFF", "CREATE DATABASE stray", "SET GLOBAL super_read_only = ON"),
        )
        watch.wait_offers({"mysql-0": P, "mysql-1": S})
        watch.wait(lambda: watch.of("mysql-2").reason == f"it has transactions that mysql-0 lacks, begun on {uuid}")
        run(replicas, "mysql-0", f"SET GTID_NEXT = '{uuid}:1'", "BEGIN", "COMMIT", "SET GTID_NEXT = AUTOMATIC")
        watch.wait_offers(CALM)


def test_a_replica_of_a_source_that_replicates_itself_under_load_is_read_from(replicas: Sandbox) -> None:
    repoint(replicas, "mysql-2", "mysql-1")
    run(replicas, "mysql-1", "SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF")
    listed = [member for member in members_of(replicas) if member.name != "mysql-0"]
    offers = {"mysql-1": P, "mysql-2": S}
    run(replicas, "mysql-0", "CREATE TABLE app.load_from_afar (id INT PRIMARY KEY AUTO_INCREMENT)")
    with followed(replicas, members=listed, offers=offers) as watch:
        before, until_then = len(watch.history), time.monotonic() + 3.0
        while time.monotonic() < until_then:
            run(replicas, "mysql-0", *["INSERT INTO app.load_from_afar () VALUES ()"] * 50)
        assert [topology for _, topology in watch.history[before:]] == [], "a version for each look"
        assert watch.offers == offers
    run(replicas, "mysql-0", "DROP TABLE app.load_from_afar")


def test_the_command_tells_a_source_a_replica_and_one_that_has_stopped(replicas: Sandbox) -> None:
    probe = replicas.accounts["probe"]

    def asked(name: str) -> tuple[int, dict[str, Any]]:
        member = replicas.member(name)
        argv = ["probe", f"{member.host}:{member.x_port}", "--user", probe.user, "--json"]
        env = {**os.environ, "FAIRLEAD_PROBE_PASSWORD": probe.password}
        command = [sys.executable, "-m", "router.cli", *argv]
        ended = subprocess.run(command, env=env, capture_output=True, timeout=30, check=False)
        return ended.returncode, json.loads(ended.stdout)

    status, told = asked("mysql-0")
    assert (status, told["replication"]["roles"]) == (0, ["source"])
    assert told["reason"].startswith("source (replicas connected: 2), writable, MySQL 9.")
    status, told = asked("mysql-2")
    assert (status, told["replication"]["roles"]) == (0, ["replica"])
    run(replicas, "mysql-0", "CREATE TABLE app.clash_told (id INT PRIMARY KEY)")
    until(lambda: bool(replicas.sql("mysql-2", "SHOW TABLES FROM app LIKE 'clash_told'").rows), "it is replicated")
    silently = ("SET GLOBAL super_read_only = OFF", "SET SESSION sql_log_bin = 0")
    again = "SET GLOBAL super_read_only = ON"
    run(replicas, "mysql-2", *silently, "INSERT INTO app.clash_told VALUES (1)", again)
    run(replicas, "mysql-0", "INSERT INTO app.clash_told VALUES (1)")
    until(lambda: asked("mysql-2")[0] == 1, "its applier has stopped")
    run(replicas, "mysql-2", "STOP REPLICA IO_THREAD")
    status, told = asked("mysql-2")
    assert (status, told["verdict"]) == (1, "unhealthy")
    assert "; its applier has stopped: error 1062: " in told["reason"]
    [channel] = told["replication"]["channels"]
    assert (channel["receiver"], channel["applying"]) == ("OFF", False)
    run(replicas, "mysql-2", *silently, "DELETE FROM app.clash_told", again, "START REPLICA")
    until(lambda: asked("mysql-2")[0] == 0, "it replicates again")
    run(replicas, "mysql-0", "DROP TABLE app.clash_told")


def test_a_switchover_by_hand_is_followed_as_soon_as_the_new_source_is_writable(replicas: Sandbox) -> None:
    with followed(replicas) as watch:
        run(replicas, "mysql-0", "SET GLOBAL super_read_only = ON")
        watch.wait_offers({"mysql-0": S, "mysql-1": S, "mysql-2": S})
        assert watch.topology.reason == "no member is writable"
        writable = promote(replicas, "mysql-1")
        watch.wait(lambda: watch.offers.get("mysql-1") is P)
        seen = next(at for at, topology in watch.history if "mysql-1" in [o.member.name for o in topology.primaries()])
        assert seen - writable <= Timing().poll + 0.05
        for name in ("mysql-0", "mysql-2"):
            repoint(replicas, name, "mysql-1")
        watch.wait_offers({"mysql-0": S, "mysql-1": P, "mysql-2": S})


def test_a_frozen_source_that_thaws_still_writable_does_not_come_back(replicas: Sandbox) -> None:
    process = daemons_of(replicas.layout, replicas.layout.load()).process("mysql-0")
    assert process is not None
    with followed(replicas) as watch:
        try:
            assert send(process, signal.SIGSTOP)
            watch.wait(lambda: "cannot be asked" in watch.of("mysql-0").reason)
            assert watch.offers == CALM, "its replicas are connected to it"
            promote(replicas, "mysql-1")
            repoint(replicas, "mysql-2", "mysql-1")
            watch.wait_offers({"mysql-1": P, "mysql-2": S})
        finally:
            send(process, signal.SIGCONT)
        watch.wait(lambda: watch.of("mysql-0").reason.startswith("writable beside mysql-1, which is the primary"))
        assert watch.offers == {"mysql-1": P, "mysql-2": S}
        thawed = watch.topology.version
        repoint(replicas, "mysql-0", "mysql-1")
        watch.wait_offers({"mysql-0": S, "mysql-1": P, "mysql-2": S})
        after = [topology for _, topology in watch.history if topology.version >= thawed]
        assert all([one.member.name for one in topology.primaries()] == ["mysql-1"] for topology in after)


def test_reads_go_on_when_the_source_is_killed_and_one_that_returns_is_read_only(replicas: Sandbox) -> None:
    with followed(replicas) as watch:
        replicas.kill("mysql-0")
        watch.wait_offers({"mysql-1": S, "mysql-2": S})
        watch.wait(lambda: "error 2003" in watch.of("mysql-1").reason)
        assert (watch.of("mysql-0").role, watch.of("mysql-0").state) == (P, State.UNREACHABLE)
        promote(replicas, "mysql-1")
        repoint(replicas, "mysql-2", "mysql-1")
        watch.wait_offers({"mysql-1": P, "mysql-2": S})
        replicas.start("mysql-0")
        watch.wait_offers({"mysql-0": S, "mysql-1": P, "mysql-2": S})


def test_a_chain_of_replicas_is_read_from_as_long_as_all_of_it_runs(replicas: Sandbox) -> None:
    repoint(replicas, "mysql-2", "mysql-1")
    with followed(replicas) as watch:
        run(replicas, "mysql-1", "STOP REPLICA SQL_THREAD")
        watch.wait_offers({"mysql-0": P})
        assert watch.of("mysql-2").reason == "its source is mysql-1: its applier is stopped"
        run(replicas, "mysql-1", "START REPLICA SQL_THREAD")
        watch.wait_offers(CALM)


def test_writes_through_the_router_survive_a_promotion(replicas: Sandbox, tmp_path: Path) -> None:
    old = replicas.status().member("mysql-0").uuid
    with routed(replicas, tmp_path) as stage, Writer(stage, "promoted") as writer:
        replicas.switch("mysql-1")
        until(lambda: any(uuid != old for _, _, uuid in list(writer.acknowledged)), "the new source takes writes")
        count = len(writer.acknowledged)
        until(lambda: len(writer.acknowledged) > count + 50, "writes go on")
    assert writer.longest_connect < 5
    for name in ("mysql-0", "mysql-1", "mysql-2"):
        until(lambda name=name: not writer.missing(name), f"{name} has every acknowledged write")  # type: ignore[misc]


def test_no_acknowledged_write_is_lost_with_a_source_that_is_killed(replicas: Sandbox, tmp_path: Path) -> None:
    old = replicas.status().member("mysql-0").uuid
    with routed(replicas, tmp_path) as stage, Writer(stage, "failed_over") as writer:
        replicas.kill("mysql-0")
        until(lambda: bool(writer.errors), "clients notice")
        group_of(replicas.layout, replicas.layout.load()).form(["mysql-1", "mysql-2"], 30.0)
        until(lambda: any(uuid != old for _, _, uuid in list(writer.acknowledged)), "the new source takes writes")
        count = len(writer.acknowledged)
        until(lambda: len(writer.acknowledged) > count + 50, "writes go on")
    for name in ("mysql-1", "mysql-2"):
        until(lambda name=name: not writer.missing(name), f"{name} has every acknowledged write")  # type: ignore[misc]
