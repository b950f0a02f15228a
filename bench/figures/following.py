"""How soon a role change that the majority of a group shows is in the topology, with notices and by polls alone.

`python -m bench.figures.following [SWITCHOVERS]`: a sandbox of three members, its primary moved again and again. A
process of its own reads every member's `replication_group_members` as fast as it can, by the same monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from bench.sandbox.sandbox import Sandbox
from cluster.access import Access
from cluster.members import Endpoint, Member, Role
from cluster.topology import Topology
from cluster.watch import Timing, Watch
from cluster.x_probe import XProbe
from xproto.session import Login, Session

READ = "SELECT MEMBER_ID FROM performance_schema.replication_group_members WHERE MEMBER_ROLE = 'PRIMARY'"
PACE = 0.002  # seconds between two readings of one member
REST = 1.5  # seconds between switchovers, so that each begins in calm
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Way:
    """One way of watching."""

    words: str
    notices: bool


WAYS = (Way("with notices", notices=True), Way("by polls alone", notices=False))


@dataclass
class Following(threading.Thread):
    """A watch on a loop of its own, which remembers when each member came to be shown as primary."""

    sandbox: Sandbox
    way: Way
    shown: list[tuple[float, str]] = field(default_factory=list)  # when, and the primary's UUID
    settled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def run(self) -> None:
        uvloop.run(self._watch())

    async def _watch(self) -> None:
        account = self.sandbox.accounts["probe"]
        access = Access(Login(account.user, account.password))
        if self.way.notices:
            watch = Watch(access)
        else:
            watch = Watch(access, timing=Timing(notice_interval=PATIENCE), make_probe=deaf)
        watch.subscribe(self._note)
        watch.set_members(members(self.sandbox))
        self._loop, self._task = asyncio.get_running_loop(), asyncio.create_task(watch.run(), name="watch")
        with suppress(asyncio.CancelledError):
            await self._task

    def _note(self, _: Topology, new: Topology) -> None:
        at = time.monotonic()
        primaries = [status.uuid for status in new.members if status.role is Role.PRIMARY and status.uuid]
        if len(primaries) == 1 and (not self.shown or self.shown[-1][1] != primaries[0]):
            self.shown.append((at, primaries[0]))
        if new.primaries():
            self.settled.set()

    def __hash__(self) -> int:
        return id(self)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self.join(PATIENCE)


def deaf(
    member: Member,
    access: Access,
    *,
    timeout: float,
    on_notice: object = None,
    clock: Callable[[], float] = time.monotonic,
) -> XProbe:
    """A probe that tells nobody of notices."""
    return XProbe(member, access, timeout=timeout, clock=clock)


def members(sandbox: Sandbox) -> list[Member]:
    """The sandbox's members as a watch knows them."""
    return [Member(one.name, Endpoint(one.host, one.port), Endpoint(one.host, one.x_port)) for one in sandbox.members]


async def read_along(document: dict[str, object]) -> None:
    """Print a line whenever a member's own view shows another primary: when, which member, which primary."""

    async def read(host: str, port: int) -> None:
        login = Login(str(document["user"]), str(document["password"]))
        session = await Session.open(host, port, login, timeout=PATIENCE)
        before = None
        while True:
            rows = (await session.execute(READ, timeout=PATIENCE)).rows
            at, now = time.monotonic(), str(rows[0][0]) if len(rows) == 1 else None
            if now is not None and now != before:
                print(json.dumps([at, f"{host}:{port}", now]), flush=True)
                before = now
            await asyncio.sleep(PACE)

    where = document["members"]
    assert isinstance(where, list)  # noqa: S101 - written below
    async with asyncio.TaskGroup() as tasks:
        for host, port in where:
            tasks.create_task(read(host, port), name=f"read {host}")


@contextmanager
def reader(sandbox: Sandbox) -> Iterator[list[tuple[float, str, str]]]:
    """What `read_along` prints, as it comes."""
    account = sandbox.accounts["probe"]
    document = {
        "user": account.user,
        "password": account.password,
        "members": [[one.host, one.x_port] for one in sandbox.members],
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.figures.following", "read"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(json.dumps(document))
    process.stdin.close()
    lines: list[tuple[float, str, str]] = []
    thread = threading.Thread(target=lambda: lines.extend(json.loads(line) for line in process.stdout or ()))
    thread.start()
    try:
        yield lines
    finally:
        process.terminate()
        process.wait(PATIENCE)
        thread.join(PATIENCE)
        process.stdout.close()


def delays(sandbox: Sandbox, way: Way, switchovers: int) -> list[float]:
    """Move the primary around; return the seconds from the majority's views to the topology, one a switchover."""
    names = [one.name for one in sandbox.members]
    following = Following(sandbox, way)
    following.start()
    try:
        if not following.settled.wait(PATIENCE):
            raise SystemExit("no primary was seen")
        with reader(sandbox) as lines:
            time.sleep(REST)
            for turn in range(switchovers):
                sandbox.switch(names[(turn + 1) % len(names)])
                time.sleep(REST)
    finally:
        following.end()
    return [at - majority for at, majority in zip(*moments(following, lines, len(names)), strict=True)]


def moments(following: Following, lines: list[tuple[float, str, str]], count: int) -> tuple[list[float], list[float]]:
    """When each change was shown by the topology, and when by the views of more than half of the members."""
    shown = following.shown[1:]  # the first is the primary that was there
    majorities = []
    for at, primary in shown:
        near = sorted(when for when, _, now in lines if now == primary and abs(when - at) < REST)
        if len(near) <= count // 2:
            raise SystemExit("the views were not read in time: the machine is too busy to measure")
        majorities.append(near[count // 2])
    return [at for at, _ in shown], majorities


def main() -> None:
    """Measure both ways, and print a line for each."""
    if sys.argv[1:] == ["read"]:
        uvloop.run(read_along(json.load(sys.stdin)))
        return
    switchovers = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    poll = Timing().poll
    with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as directory:
        sandbox = Sandbox(Path(directory) / "s", members=3, progress=print)
        try:
            sandbox.up()
            for way in WAYS:
                found = sorted(delays(sandbox, way, switchovers))
                limit = "20 ms" if way.notices else f"{poll * 1000 + 50:.0f} ms"
                print(
                    f"{way.words}: median {statistics.median(found) * 1000:.1f} ms (wanted: at most {limit}), "
                    f"{found[0] * 1000:.1f} to {found[-1] * 1000:.1f} ms, {len(found)} switchovers"
                )
        finally:
            sandbox.down(purge=True)


if __name__ == "__main__":
    main()
