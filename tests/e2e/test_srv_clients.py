"""The published records as clients use them: the real mysql client, sent to members by role name alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

pytestmark = pytest.mark.sandbox

DOMAIN = "demo.fairlead.test"
PRIMARY = f"_mysql._tcp.primary.{DOMAIN}"
REPLICAS = f"_mysql._tcp.replicas.{DOMAIN}"
MEMBERS = f"_mysql._tcp.{DOMAIN}"
FAIRLEAD = Path(sys.executable).with_name("fairlead")
PATIENCE = 30.0  # seconds until a test gives up
# Puts the first path in the place of the second, for one process and its children only.
WITH_MOUNT = ("unshare", "--mount", "sh", "-ec", 'mount --bind "$1" "$2"; shift 2; exec "$@"', "sh")

Value = TypeVar("Value")


def until(read: Callable[[], Value], wanted: Callable[[Value], bool]) -> Value:
    """Read again and again until the value is as wanted; the last one is in the complaint if it never is."""
    deadline = time.monotonic() + PATIENCE
    while not wanted(value := read()):
        assert time.monotonic() < deadline, f"still {value!r} after {PATIENCE} s"
        time.sleep(0.02)
    return value


class Publisher:
    """`fairlead srv serve` for a sandbox, on port 53 of the address that members and clients see this machine at."""

    def __init__(self, group: Any, log: Path, *, listed: int | None = None, hosts: Path | None = None) -> None:
        account = group.accounts["probe"]
        members = [f"{member.name}={member.host}:{member.port}/{member.x_port}" for member in group.members[:listed]]
        self.address = group.host_address
        self._log = log
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                [
                    *((*WITH_MOUNT, str(hosts), "/etc/hosts") if hosts else ()),
                    *(str(FAIRLEAD), "srv", "serve", "--domain", DOMAIN, "--listen", f"{self.address}:53"),
                    *(word for member in members for word in ("--member", member)),
                    *("--probe-user", account.user, "--probe-password-file", str(account.password_file)),
                ],
                stderr=stderr,
            )

    def targets(self, name: str) -> list[str]:
        """The labels at a name, as `fairlead resolve` has them."""
        done = subprocess.run(
            [str(FAIRLEAD), "resolve", name, "--resolver", self.address, "--json"],
            check=False,
            capture_output=True,
            timeout=PATIENCE,
        )
        (lookup,) = json.loads(done.stdout)
        assert lookup["outcome"] in ("answer", "empty", "servfail", "timeout"), lookup
        return sorted(target["name"].partition(".")[0] for target in lookup["targets"])

    def stop(self) -> tuple[int, str]:
        """End it, and return its status and log."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(PATIENCE), self._log.read_text()


@pytest.fixture
def publisher(group: Any, tmp_path: Path) -> Iterator[Publisher]:
    """A publisher of the group that has found its roles."""
    one = Publisher(group, tmp_path / "publisher.log")
    try:
        until(lambda: one.targets(PRIMARY), lambda found: len(found) == 1)
        yield one
    finally:
        status, log = one.stop()
    assert status == 0, log
    assert "Traceback" not in log, log


@pytest.fixture
def reached(group: Any, publisher: Publisher, tmp_path: Path) -> Callable[[str], str]:
    """Connects with the mysql client to an SRV name, and returns the UUID of the server that it got to."""
    root = group.root or Path("/")
    etc = tmp_path / "etc"
    shutil.copytree(root / "etc", etc, symlinks=True, ignore_dangling_symlinks=True)
    resolv = etc / "resolv.conf"
    resolv.unlink(missing_ok=True)
    resolv.write_text(f"nameserver {publisher.address}\noptions timeout:1 attempts:2\n", encoding="ascii")
    account = group.accounts["app"]

    def connect(name: str) -> str:
        done = subprocess.run(
            [
                *WITH_MOUNT,
                *(str(etc), str(root / "etc")),
                *group.env()["mysql_client"],
                *("--no-defaults", f"--dns-srv-name={name}", f"--user={account.user}", "--connect-timeout=5"),
                *("--batch", "--skip-column-names", "--execute=SELECT @@server_uuid"),
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=os.environ | {"MYSQL_PWD": account.password},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return connect


def uuids(group: Any, role: str | None = None) -> set[str]:
    return {row.uuid for row in group.status().members if role in (None, row.role)}


def names(group: Any, role: str) -> list[str]:
    return sorted(row.name for row in group.status().members if row.role == role)


def test_the_mysql_client_finds_members_by_role_name(group: Any, reached: Callable[[str], str]) -> None:
    assert {reached(PRIMARY) for _ in range(3)} == uuids(group, "PRIMARY")
    assert {reached(REPLICAS) for _ in range(5)} <= uuids(group, "SECONDARY")
    assert {reached(MEMBERS) for _ in range(3)} <= uuids(group)


def test_a_switchover_moves_the_names(group: Any, publisher: Publisher, reached: Callable[[str], str]) -> None:
    (old,), (new, *_) = names(group, "PRIMARY"), names(group, "SECONDARY")
    group.switch(new)
    try:
        until(lambda: publisher.targets(PRIMARY), lambda found: found == [new])
        until(lambda: publisher.targets(REPLICAS), lambda found: old in found and new not in found)
        assert {reached(PRIMARY)} == uuids(group, "PRIMARY")
        assert {reached(REPLICAS) for _ in range(5)} <= uuids(group, "SECONDARY")
    finally:
        group.switch(old)
    until(lambda: publisher.targets(PRIMARY), lambda found: found == [old])
    assert {reached(PRIMARY)} == uuids(group, "PRIMARY")


def test_an_unlisted_member_is_published_from_the_groups_own_view(group: Any, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"  # the view names members by their host names, which this machine need not know
    hosts.write_text("".join(f"{member.host} {member.name}\n" for member in group.members), encoding="ascii")
    one = Publisher(group, tmp_path / "publisher.log", listed=1, hosts=hosts)
    try:
        found = until(lambda: one.targets(MEMBERS), lambda found: len(found) == len(group.members))
        assert group.members[0].name in found
        until(lambda: one.targets(PRIMARY) + one.targets(REPLICAS), lambda all_: len(all_) == len(group.members))
    finally:
        status, log = one.stop()
    assert status == 0, log
    assert log.count("member-adopted") == len(group.members) - 1, log
