"""Publishers for tests of those who read SRV records: ours over a real group, and one of made-up records."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from srv.server import Server
from srv.zone import Part, ZoneMember, build_zone

DOMAIN = "demo.fairlead.test"
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


def uuids(group: Any, role: str | None = None) -> set[str]:
    return {row.uuid for row in group.status().members if role in (None, row.role)}


def names(group: Any, role: str) -> list[str]:
    return sorted(row.name for row in group.status().members if row.role == role)


class Publisher:
    """`fairlead srv serve` for a sandbox, on the address that members and clients see this machine at."""

    def __init__(
        self, group: Any, log: Path, *, listed: int | None = None, hosts: Path | None = None, port: int = 53
    ) -> None:
        account = group.accounts["probe"]
        members = [f"{member.name}={member.host}:{member.port}/{member.x_port}" for member in group.members[:listed]]
        self.address = group.host_address
        self._where = f"{self.address}:{port}"
        self._log = log
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                [
                    *((*WITH_MOUNT, str(hosts), "/etc/hosts") if hosts else ()),
                    *(str(FAIRLEAD), "srv", "serve", "--domain", DOMAIN, "--listen", self._where),
                    *(word for member in members for word in ("--member", member)),
                    *("--probe-user", account.user, "--probe-password-file", str(account.password_file)),
                ],
                stderr=stderr,
            )

    def targets(self, name: str) -> list[str]:
        """The labels at a name, as `fairlead resolve` has them."""
        done = subprocess.run(
            [str(FAIRLEAD), "resolve", name, "--resolver", self._where, "--json"],
            check=False,
            capture_output=True,
            timeout=PATIENCE,
        )
        (lookup,) = json.loads(done.stdout)
        assert lookup["outcome"] in ("answer", "empty", "servfail", "timeout"), lookup
        return sorted(target["name"].partition(".")[0] for target in lookup["targets"])

    def wait_for(self, group: Any) -> None:
        """Wait until the role names say of every member what the group says."""
        for part, role in ((Part.PRIMARY, "PRIMARY"), (Part.REPLICAS, "SECONDARY")):
            wanted = names(group, role)
            until(lambda name=f"_mysql._tcp.{part.value}.{DOMAIN}": self.targets(name), wanted.__eq__)  # type: ignore[misc]

    def stop(self) -> tuple[int, str]:
        """End it, and return its status and log."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(PATIENCE), self._log.read_text()


@contextmanager
def published(group: Any, directory: Path) -> Iterator[Publisher]:
    """A publisher of the group that has found its roles; it must not have stumbled when it ends."""
    one = Publisher(group, directory / "publisher.log")
    try:
        one.wait_for(group)
        yield one
    finally:
        status, log = one.stop()
    assert status == 0, log
    assert "Traceback" not in log, log


@contextmanager
def made_up(address: str, domain: str, members: Sequence[ZoneMember]) -> Iterator[Server]:
    """The built-in server with records that no group has, on port 53 of a loopback address. All are replicas."""
    loop = asyncio.new_event_loop()
    server = Server([(address, 53)], [build_zone(domain, members, serial=1, nameserver_addresses=(address,))])
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(PATIENCE)
        yield server
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(PATIENCE)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()


def replica(label: str, address: str, *, priority: int = 0, weight: int = 100) -> ZoneMember:
    """A member for `made_up`, with MySQL's usual ports."""
    return ZoneMember(label, (address,), 3306, 33060, frozenset({Part.REPLICAS}), priority, weight)
