"""The sandbox itself: a real group that comes up, suffers, recovers, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from bench.sandbox.daemons import MARK
from bench.sandbox.deadlines import wait_until
from bench.sandbox.errors import NotUpError, SandboxError
from bench.sandbox.group import in_parallel
from bench.sandbox.parts import daemons_of
from bench.sandbox.processes import find_marked, resident_bytes
from bench.sandbox.programs import find_program, run_program
from bench.sandbox.sandbox import Account, Sandbox

pytestmark = pytest.mark.sandbox

MEMORY_LIMIT = 450 * 1024 * 1024
# Seconds: XCom takes 5 s to suspect a member; the rest is for a busy machine.
FAILOVER = 40.0

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(group: Sandbox) -> Command:
    """`fairlead sandbox …` on the running sandbox, as a process."""

    def run(action: str, *words: str) -> subprocess.CompletedProcess[str]:
        program = [str(Path(sys.executable).with_name("fairlead")), "sandbox", action, "--dir", str(group.dir), *words]
        return subprocess.run(program, capture_output=True, text=True, timeout=100, check=False)

    return run


def log_in(sandbox: Sandbox, name: str, account: Account) -> Any:
    """A client's connection over TCP and TLS, verified against the sandbox's authority."""
    return pymysql.connect(
        host=sandbox.member(name).host,
        port=sandbox.member(name).port,
        user=account.user,
        password=account.password,
        ssl_ca=str(sandbox.ca_file),
        ssl_verify_identity=True,
        connect_timeout=2,
        read_timeout=5,
        autocommit=True,
    )


def ask(connection: Any, statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def takes_writes(sandbox: Sandbox, name: str) -> bool:
    try:
        with log_in(sandbox, name, sandbox.accounts["app"]) as connection:
            ask(connection, "CREATE TABLE IF NOT EXISTS app.probe_of_writes (id INT AUTO_INCREMENT PRIMARY KEY)")
            ask(connection, "INSERT INTO app.probe_of_writes VALUES ()")
    except pymysql.MySQLError:
        return False
    return True


def test_all_members_are_online_with_one_primary(group: Sandbox) -> None:
    status = group.status()
    assert [member.name for member in status.members] == ["mysql-0", "mysql-1", "mysql-2"]
    assert status.all_online
    assert [member.role for member in status.members] == ["PRIMARY", "SECONDARY", "SECONDARY"]
    assert len({member.uuid for member in status.members}) == 3


def test_a_second_up_does_nothing_and_says_so(group: Sandbox, command: Command) -> None:
    before = [member.uuid for member in group.status().members]
    said = command("up")
    assert said.returncode == 0
    assert said.stdout.startswith("already up")
    assert [member.uuid for member in group.status().members] == before
    with pytest.raises(SandboxError, match="3 members"):
        Sandbox(group.dir, members=5).up()


def test_the_command_line_tells_people_and_scripts(group: Sandbox, command: Command) -> None:
    said = command("status")
    assert said.returncode == 0
    assert len(re.findall(r"\bONLINE\b", said.stdout)) == 3
    assert json.loads(command("status", "--json").stdout)["all_online"] is True

    document = json.loads(command("env", "--json").stdout)
    assert document == group.env()
    assert document["network"] == "namespaces"
    assert set(document["accounts"]) == {"app", "probe", "admin"}
    app = document["accounts"]["app"]
    assert Path(app["password_file"]).read_text() == app["password"]
    assert app["password"] not in command("env").stdout

    assert command("sql", "mysql-1", "SELECT 6*7 AS answer").stdout.split() == ["answer", "42"]
    refused = command("sql", "mysql-1", "SELECT nonsense")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("fairlead sandbox: mysql-1: ")
    unknown = command("kill", "mysql-7")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)


def test_the_mysql_client_of_the_environment_reaches_a_member(group: Sandbox) -> None:
    account, member = group.accounts["app"], group.member("mysql-2")
    client = [*group.env()["mysql_client"], "-h", member.host, "-P", str(member.port), "-u", account.user, "-sNe"]
    said = subprocess.run(
        [*client, "SELECT @@report_host"],
        env={**os.environ, "MYSQL_PWD": account.password},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "mysql-2\n"


def test_the_probe_account_sees_the_group_and_nothing_else(group: Sandbox) -> None:
    with log_in(group, "mysql-1", group.accounts["probe"]) as connection:
        assert len(ask(connection, "SELECT * FROM performance_schema.replication_group_members")) == 3
        assert len(ask(connection, "SELECT * FROM performance_schema.replication_group_member_stats")) == 3
        assert ask(connection, "SELECT @@super_read_only, @@offline_mode") == ((1, 0),)
        assert ask(connection, "SHOW GLOBAL STATUS LIKE 'Threads_connected'")
        for forbidden in ("SELECT * FROM mysql.user", "CREATE TABLE app.t (i INT)", "SELECT * FROM app.t"):
            with pytest.raises(pymysql.MySQLError):
                ask(connection, forbidden)


def test_no_session_without_tls(group: Sandbox) -> None:
    account, member = group.accounts["app"], group.member("mysql-0")
    with pytest.raises(pymysql.MySQLError):
        pymysql.connect(
            host=member.host, port=member.port, user=account.user, password=account.password, ssl_disabled=True
        )


def test_a_planned_switch_returns_when_the_new_primary_takes_writes(group: Sandbox) -> None:
    group.switch("mysql-2")
    assert group.status().primary == "mysql-2"
    assert takes_writes(group, "mysql-2")
    assert not takes_writes(group, "mysql-0")


def test_a_killed_primary_is_replaced_and_rejoins(group: Sandbox) -> None:
    group.kill("mysql-0")
    others = ("mysql-1", "mysql-2")
    assert wait_until(lambda: any(takes_writes(group, name) for name in others), FAILOVER)
    status = group.status()
    assert status.primary in others
    assert (status.member("mysql-0").process, status.member("mysql-0").state) == ("stopped", "")

    group.start("mysql-0")
    back = group.status().member("mysql-0")
    assert (back.process, back.state, back.role) == ("running", "ONLINE", "SECONDARY")


def test_a_stopped_member_leaves_in_order_and_comes_back(group: Sandbox) -> None:
    group.stop("mysql-2")
    assert group.status().member("mysql-2").process == "stopped"
    rows = group.sql("mysql-0", "SELECT COUNT(*) FROM performance_schema.replication_group_members").rows
    assert rows == ((2,),)
    group.start("mysql-2")
    assert group.status().all_online


def test_a_wiped_member_gets_its_data_from_the_others(group: Sandbox) -> None:
    assert takes_writes(group, "mysql-0")
    old = group.status().member("mysql-1").uuid
    group.stop("mysql-1")
    run_program(["rm", "-r", str(group.layout.member("mysql-1") / "data")])
    group.start("mysql-1")
    assert group.status().member("mysql-1").uuid != old
    count = "SELECT COUNT(*) FROM app.probe_of_writes"
    assert group.sql("mysql-1", count).rows == group.sql("mysql-0", count).rows


def test_a_primary_cut_from_its_peers_is_replaced_and_rejoins_once_healed(group: Sandbox) -> None:
    group.cut("mysql-0", "peers")
    others = ("mysql-1", "mysql-2")
    assert wait_until(lambda: any(takes_writes(group, name) for name in others), FAILOVER)
    # Its clients still reach it: that is the danger.
    with log_in(group, "mysql-0", group.accounts["probe"]) as connection:
        assert ask(connection, "SELECT @@report_host") == (("mysql-0",),)
    status = group.status()
    assert status.primary in others
    assert status.member("mysql-0").cut == "peers both"
    assert status.member("mysql-0").state != "ONLINE"

    group.heal("mysql-0")
    back = group.status().member("mysql-0")
    assert (back.state, back.role, back.cut) == ("ONLINE", "SECONDARY", "")


def test_two_starts_at_once_make_one_server(group: Sandbox) -> None:
    group.stop("mysql-2")
    in_parallel(group.start, ["mysql-2", "mysql-2"])
    assert group.status().all_online
    daemons = daemons_of(group.layout, group.layout.load())
    assert find_marked(MARK, daemons.mark("mysql-2")) == [daemons.process("mysql-2")]


def test_up_after_an_outage_brings_all_members_back(group: Sandbox, command: Command) -> None:
    for name in ("mysql-2", "mysql-1"):
        group.sql(name, "STOP GROUP_REPLICATION")
    group.kill("mysql-0")
    said = command("up")
    assert said.returncode == 0
    assert said.stdout.startswith("up in ")
    assert "starting mysql-0 again" in said.stderr
    assert group.status().all_online


@pytest.mark.parametrize("direction", ["in", "out", "both"])
def test_a_member_cut_from_its_clients_stays_in_the_group(group: Sandbox, direction: str) -> None:
    # The second replaces the first.
    group.cut("mysql-1", "all")
    group.cut("mysql-1", "clients", direction)
    with pytest.raises(pymysql.MySQLError):
        log_in(group, "mysql-1", group.accounts["app"])
    assert group.status().member("mysql-1").state == "ONLINE"
    group.heal("mysql-1")
    log_in(group, "mysql-1", group.accounts["app"]).close()


def test_members_stay_within_their_memory(group: Sandbox) -> None:
    daemons = daemons_of(group.layout, group.layout.load())
    for member in group.members:
        process = daemons.process(member.name)
        assert process is not None
        assert 0 < resident_bytes(process) <= MEMORY_LIMIT


def test_members_run_without_privileges_in_a_network_of_their_own(group: Sandbox) -> None:
    host = Path("/proc/self/ns/net").readlink()
    seen = {host}
    daemons = daemons_of(group.layout, group.layout.load())
    for member in group.members:
        (process,) = find_marked(MARK, daemons.mark(member.name))
        status = Path(f"/proc/{process.pid}/status").read_text()
        uids = re.search(r"^Uid:\s+(.+)$", status, re.MULTILINE)
        assert uids is not None
        assert "0" not in uids[1].split()
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        # So nothing that it listens on is this machine's.
        seen.add(Path(f"/proc/{process.pid}/ns/net").readlink())
    assert len(seen) == 4


def test_data_outlive_the_sandbox_until_they_are_purged(possible: None, directory: Path) -> None:
    sandbox = Sandbox(directory, members=1)
    try:
        assert sandbox.up()
        assert takes_writes(sandbox, "mysql-0")
        password = sandbox.accounts["app"].password
        sandbox.down()
        with pytest.raises(NotUpError):
            sandbox.status()
        assert sandbox.up()
        assert sandbox.sql("mysql-0", "SELECT COUNT(*) FROM app.probe_of_writes").rows == ((1,),)
        assert sandbox.accounts["app"].password == password
    finally:
        sandbox.down(purge=True)
    assert not directory.exists()


@pytest.mark.parametrize(
    "ending",
    [
        "in order",
        "after its processes and namespaces were destroyed",
        "after its directory was moved",
        "after its directory was deleted",
    ],
)
def test_down_leaves_the_machine_as_it_was(possible: None, directory: Path, ending: str) -> None:
    sandbox = Sandbox(directory, members=2)
    before = dict(machine())
    try:
        sandbox.up()
        tag = sandbox.layout.load().tag
        mark = daemons_of(sandbox.layout, sandbox.layout.load()).mark("mysql-1")
        assert find_marked(MARK, mark)
        assert f"fl-{tag}" in dict(machine(tag))["links"]
        if ending == "after its directory was moved":
            sandbox = Sandbox(directory.rename(directory.with_name("moved")))
        elif ending == "after its directory was deleted":
            shutil.rmtree(directory, ignore_errors=True)
        elif ending != "in order":
            sandbox.kill("mysql-0")
            run_program(["umount", "--lazy", f"/run/netns/fl-{tag}-switch"])
            run_program(["umount", "--lazy", f"/run/netns/fl-{tag}-mysql-1"])
    finally:
        sandbox.down(purge=ending != "in order")
    after = dict(machine(tag))
    sandbox.down(purge=True)
    for what, state in before.items():
        assert after[what] == state, what
    assert not find_marked(MARK, mark)


@pytest.mark.parametrize("moment", ["initialising", "starting", "forming"])
def test_an_interrupted_up_leaves_nothing(possible: None, directory: Path, moment: str) -> None:
    class InterruptError(Exception):
        pass

    def progress(text: str) -> None:
        if text.startswith(moment):
            raise InterruptError

    before = dict(machine())
    with pytest.raises(InterruptError):
        Sandbox(directory, members=2, progress=progress).up()
    assert not directory.exists()
    assert dict(machine()) == before


def machine(tag: str = "") -> Iterator[tuple[str, Any]]:
    """What a sandbox might leave on this machine; without other sandboxes, which may come and go meanwhile."""

    def ours(name: str) -> bool:
        return not name.startswith("fl-") or (tag != "" and name.startswith(f"fl-{tag}"))

    yield "links", {path.name for path in Path("/sys/class/net").iterdir() if ours(path.name)}
    yield "namespaces", {path.name for path in Path("/run/netns").glob("*") if ours(path.name)}
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    yield "mounts", sorted(mount for mount in mounts if ours(Path(mount).name))
    sysctls = {}
    for path in Path("/proc/sys/net").rglob("*"):
        if (
            all(map(ours, path.parts))
            and path.is_file()
            and os.access(path, os.R_OK)
            and "nf_conntrack" not in path.name
        ):
            try:
                sysctls[str(path)] = path.read_text()
            except OSError:
                continue
    yield "sysctls", sysctls
    yield "packages", run_program(["dpkg-query", "--show"])
    if ip := find_program("ip"):
        shown = json.loads(run_program([ip, "-json", "address"]))
        yield (
            "addresses",
            {(link["ifname"], row["local"]) for link in shown for row in link["addr_info"] if ours(link["ifname"])},
        )
        routes = json.loads(run_program([ip, "-json", "route", "show", "table", "all"]))
        yield "routes", {(row["dst"], row["dev"]) for row in routes if ours(row.get("dev", ""))}
    if nft := find_program("nft"):
        yield "packet filters", run_program([nft, "list", "ruleset"])
    wanted = {3306, 33060, 33061}
    tables = [Path(f"/proc/net/tcp{family}").read_text() for family in ("", "6")]
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    yield "listeners", {row[1] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) in wanted}
