"""Members cut off, one-way and both ways, frozen and thawed, for half a minute under write load: never two primaries.

Four groups at once, each with a publisher, a router and writers of its own, so that the waiting is done side by side.
Beside each router a watcher in this process keeps every topology that it publishes: not a sample, all of them.
"""

from __future__ import annotations

import asyncio
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import uvloop

from bench.demo.run import DOMAIN
from bench.sandbox.group import in_parallel
from bench.sandbox.packet_filter import Direction, Side
from bench.sandbox.sandbox import Sandbox
from cluster.access import Access
from cluster.evidence import Policy, QuorumPolicy
from cluster.members import Role
from cluster.topology import Topology, Trust
from cluster.watch import Watch
from router.api import fetch
from router.watcher import Watcher
from srv.resolver import Resolver
from tests.e2e.routing import RO_PORT, RW_PORT, Stage, Writer, routed, until
from xproto.session import Login

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(1200)]
GROUPS = 4  # side by side; each takes some 1.2 GB
CUT_FOR = 30.0  # seconds
PATIENCE_VARIABLE = "group_replication_unreachable_majority_timeout"
RECOVERY = 60.0  # seconds until writes flow and every member is offered again


class Watching(threading.Thread):
    """A watcher as the router has it, on a loop of its own; every topology it publishes is kept."""

    def __init__(self, stage: Stage, quorum: QuorumPolicy = QuorumPolicy.NONE) -> None:
        super().__init__(daemon=True)
        self._stage, self._policy = stage, Policy(quorum=quorum)
        self.topologies: list[Topology] = []
        self._ready = threading.Event()

    def run(self) -> None:
        uvloop.run(self._watch())

    async def _watch(self) -> None:
        probe = self._stage.sandbox.accounts["probe"]
        watch = Watch(Access(Login(probe.user, probe.password)), policy=self._policy)
        watch.subscribe(lambda _, new: self.topologies.append(new))
        host, _, port = self._stage.resolver.rpartition(":")
        resolver = Resolver([(host, int(port))])
        watcher = Watcher(DOMAIN, resolver, watch, keep_last_good=3600.0, floor=1.0, ceiling=60.0)
        self._loop, self._task = asyncio.get_running_loop(), asyncio.create_task(watcher.run(), name="watcher")
        self._ready.set()
        with pytest.raises(asyncio.CancelledError):
            await self._task

    def __enter__(self) -> Watching:
        self.start()
        assert self._ready.wait(10)
        until(lambda: bool(self.topologies) and len(offered(self.topologies[-1])) == 3, "all members are offered")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self.join(10)


def offered(topology: Topology) -> dict[str, Role]:
    return {one.member.name.partition(".")[0]: one.offered for one in topology.members if one.offered is not None}


@dataclass
class Seen:
    """What came of one scenario."""

    topologies: list[Topology] = field(default_factory=list)
    acknowledged: list[tuple[int, float, str]] = field(default_factory=list)
    missing: dict[str, set[int]] = field(default_factory=dict)
    own_transactions: dict[str, str] = field(default_factory=dict)
    during: dict[str, Role] = field(default_factory=dict)
    writes_during: int = 0
    by_policy: dict[QuorumPolicy, dict[str, Role]] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)


Harm = Callable[[Sandbox], None]


def cut(name: str, side: Side, direction: Direction, group: Sandbox) -> None:
    group.cut(name, side, direction)


def freeze(name: str, group: Sandbox) -> None:
    group.freeze(name)


def scenarios() -> dict[str, tuple[str, Harm]]:
    """Every way of losing touch, for every member; mysql-0 is the primary."""
    harms = {
        "cut from all": partial(cut, side=Side.ALL, direction=Direction.BOTH),
        "cut from its peers": partial(cut, side=Side.PEERS, direction=Direction.BOTH),
        "deaf": partial(cut, side=Side.ALL, direction=Direction.IN),
        "mute": partial(cut, side=Side.ALL, direction=Direction.OUT),
        "frozen": freeze,
    }
    return {
        f"mysql-{n} {words}": (f"mysql-{n}", lambda group, harm=harm, n=n: harm(f"mysql-{n}", group=group))  # type: ignore[misc]
        for words, harm in harms.items()
        for n in range(3)
    }


def lose_touch(stage: Stage, number: int, victim: str, harm: Harm) -> Seen:
    """One member loses touch for a while, under load; then it is healed."""
    group, seen = stage.sandbox, Seen()
    group.restore()
    with Watching(stage) as watching, Writer(stage, f"lost_touch_{number}") as writer:
        harm(group)
        began = time.monotonic()
        time.sleep(CUT_FOR)  # the subject of the test, not a wait for something
        seen.during = offered(watching.topologies[-1])
        seen.writes_during = sum(at > began + CUT_FOR / 2 for _, at, _ in writer.acknowledged)
        group.heal(victim)
        healed = len(writer.acknowledged)
        until(lambda: len(writer.acknowledged) > healed + 10, "writes flow after the heal", RECOVERY)
        until(lambda: len(offered(watching.topologies[-1])) == 3, "all members are offered again", RECOVERY)
        until(lambda: route_members(stage) == 3, "the router offers all members again", RECOVERY)
    seen.topologies, seen.acknowledged = watching.topologies, writer.acknowledged
    names = [member.name for member in group.members]
    until(lambda: not any(writer.missing(name) for name in names), "every member has every acknowledged row", 30)
    seen.missing = {name: writer.missing(name) for name in names}
    [(everywhere,)] = group.sql(group.status().primary or "mysql-0", "SELECT @@gtid_executed").rows
    for name in names:
        [(own,)] = group.sql(name, f"SELECT GTID_SUBTRACT(@@gtid_executed, '{everywhere}')").rows
        seen.own_transactions[name] = str(own) if name == victim else ""
    return seen


def lose_quorum(stage: Stage, number: int) -> Seen:
    """Two of three are cut off from everybody: nobody has a majority, and what is done then is a policy.

    The members wait for a majority without end, as servers do by default; a sandbox's give up after some seconds.
    """
    group, seen = stage.sandbox, Seen()
    group.restore()
    [(patience,)] = group.sql("mysql-0", f"SELECT @@{PATIENCE_VARIABLE}").rows
    for member in group.members:
        group.sql(member.name, f"SET GLOBAL {PATIENCE_VARIABLE} = 0")
    with ExitStack() as stack:
        watchings = {policy: stack.enter_context(Watching(stage, policy)) for policy in QuorumPolicy}
        writer = stack.enter_context(Writer(stage, f"lost_quorum_{number}"))
        began = time.monotonic()
        for name in ("mysql-1", "mysql-2"):
            group.cut(name, Side.ALL)
        until(lambda: watchings[QuorumPolicy.NONE].topologies[-1].trust is Trust.NO_QUORUM, "the majority is lost")
        time.sleep(CUT_FOR - (time.monotonic() - began))
        seen.by_policy = {policy: offered(one.topologies[-1]) for policy, one in watchings.items()}
        seen.writes_during = sum(at > began + CUT_FOR / 2 for _, at, _ in writer.acknowledged)
        seen.refused = [refusal(stage, port) for port in (RW_PORT, RO_PORT)]
        for name in ("mysql-1", "mysql-2"):
            group.heal(name, wait=False)
        healed = len(writer.acknowledged)
        for member in group.members:
            group.sql(member.name, f"SET GLOBAL {PATIENCE_VARIABLE} = {patience}")
        group.restore()
        until(lambda: len(writer.acknowledged) > healed + 10, "writes flow after the heal", RECOVERY)
        until(lambda: route_members(stage) == 3, "the router offers all members again", RECOVERY)
    for one in watchings.values():
        seen.topologies += one.topologies
    seen.acknowledged = writer.acknowledged
    names = [member.name for member in group.members]
    until(lambda: not any(writer.missing(name) for name in names), "every member has every acknowledged row", 30)
    return seen


def refusal(stage: Stage, port: int) -> int:
    """The error number that a new connection gets; 0 where it gets a member."""
    from bench.demo.drivers import BlockingConnection, DriverError

    try:
        BlockingConnection(stage.address, port, stage.account).close()
    except DriverError as error:
        return error.code
    return 0


def route_members(stage: Stage) -> int:
    members = fetch(stage.admin, "/api/v1/topology")["clusters"]["main"]["members"]
    return sum(one["offered"] is not None for one in members)


@contextmanager
def stages(directory: Path, count: int) -> Iterator[list[Stage]]:
    """Groups with their routers; they are brought up side by side."""
    groups = [Sandbox(directory / f"g{number}", members=3) for number in range(count)]
    with ExitStack() as stack:
        for group in groups:
            stack.callback(group.down, purge=True)
        groups[0].up()  # the first fetches the server, where it is not there yet
        in_parallel(lambda group: group.up(), groups[1:])
        running = []
        for number, group in enumerate(groups):
            home = directory / f"r{number}"
            home.mkdir()
            running.append(stack.enter_context(routed(group, home)))
        yield running


@pytest.fixture(scope="module")
def results(possible: None) -> Iterator[dict[str, Seen | BaseException]]:
    """Every scenario's outcome, by name."""
    todo: queue.SimpleQueue[tuple[str, Callable[[Stage, int], Seen]]] = queue.SimpleQueue()
    todo.put(("quorum lost", lose_quorum))
    for name, (victim, harm) in scenarios().items():
        todo.put((name, partial(lose_touch, victim=victim, harm=harm)))
    found: dict[str, Seen | BaseException] = {}

    def work(stage: Stage) -> None:
        while True:
            try:
                name, scenario = todo.get_nowait()
            except queue.Empty:
                return
            try:
                found[name] = scenario(stage, len(found))
            except BaseException as exc:  # it belongs to its own test, not to this fixture
                found[name] = exc

    with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as name, stages(Path(name), GROUPS) as running:
        in_parallel(work, running)
        yield found


def outcome(results: dict[str, Seen | BaseException], name: str) -> Seen:
    found = results[name]
    if isinstance(found, BaseException):
        raise found
    return found


def assert_one_writer_at_a_time(seen: Seen) -> None:
    assert seen.topologies
    for topology in seen.topologies:
        assert len(topology.primaries()) <= 1, f"two primaries in topology {topology.version}"
    writers = [server for _, _, server in seen.acknowledged]
    turns = [server for before, server in zip([None, *writers], writers, strict=False) if server != before]
    assert len(turns) == len(set(turns)), f"a former primary acknowledged again after its successor: {turns}"


@pytest.mark.parametrize("name", scenarios())
def test_a_member_that_loses_touch_costs_no_write_and_makes_no_second_primary(
    results: dict[str, Seen | BaseException], name: str
) -> None:
    seen, victim = outcome(results, name), name.partition(" ")[0]
    assert_one_writer_at_a_time(seen)
    assert victim not in seen.during, "it was offered after half a minute without touch"
    assert sorted(seen.during.values(), key=lambda role: role.value) == [Role.PRIMARY, Role.SECONDARY]
    assert seen.writes_during > 10, "writes did not flow on the majority's side"
    assert not any(seen.missing.values())
    assert not any(seen.own_transactions.values()), "it has transactions that nobody else has"


def test_without_a_majority_the_policy_holds(results: dict[str, Seen | BaseException]) -> None:
    seen = outcome(results, "quorum lost")
    for topology in seen.topologies:
        assert len(topology.primaries()) <= 1
    assert seen.by_policy[QuorumPolicy.NONE] == {}
    assert seen.by_policy[QuorumPolicy.READ] == {"mysql-0": Role.SECONDARY}
    assert seen.by_policy[QuorumPolicy.ALL] == {"mysql-0": Role.PRIMARY}
    assert seen.refused == [2003, 2003], "the routes of the default policy let somebody in"
    assert seen.writes_during == 0


def test_one_that_founds_a_group_of_its_own_is_not_believed(group: Sandbox, tmp_path: Path) -> None:
    """The others cannot be asked meanwhile; once they can, the majority is followed, whoever was trusted."""
    with routed(group, tmp_path) as stage, Watching(stage) as watching:
        group.sql("mysql-0", "STOP GROUP_REPLICATION")
        until(lambda: Role.PRIMARY in offered(watching.topologies[-1]).values(), "another is the primary")
        for name in ("mysql-1", "mysql-2"):
            group.cut(name, Side.CLIENTS)
        until(lambda: watching.topologies[-1].trust is Trust.BLIND, "the majority cannot be asked")
        for statement in FOUND_A_GROUP:
            group.sql("mysql-0", statement)
        until(lambda: group.sql("mysql-0", "SELECT @@read_only").rows == ((0,),), "it takes writes")
        until(lambda: "most members do not confirm" in reason_of("mysql-0", watching), "it is told why it is not used")
        for name in ("mysql-1", "mysql-2"):
            group.heal(name, wait=False)
        until(lambda: watching.topologies[-1].trust is Trust.QUORUM, "the majority is followed again")
        assert all("mysql-0" not in offered(topology) for topology in watching.topologies[-5:])
        assert sorted(offered(watching.topologies[-1])) == ["mysql-1", "mysql-2"]


FOUND_A_GROUP = (
    "SET GLOBAL group_replication_bootstrap_group = ON",
    "START GROUP_REPLICATION",
    "SET GLOBAL group_replication_bootstrap_group = OFF",
)


def reason_of(name: str, watching: Watching) -> str:
    return next(one.reason for one in watching.topologies[-1].members if one.member.name.startswith(f"{name}."))
