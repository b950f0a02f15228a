"""Galera: a real cluster of three MariaDB servers, judged by what its nodes say, and routed to by their records."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from bench.demo.children import Children
from bench.demo.drivers import Account, BlockingConnection, DriverError
from bench.peers.galera import APP, DATABASE, DOMAIN, PROBE, Galera
from bench.sandbox.errors import SandboxError
from bench.sandbox.statements import StatementError
from cluster.access import Access
from cluster.classic_probe import ClassicProbe
from cluster.evidence import Policy, QuorumPolicy
from cluster.flavours import Flavour
from cluster.galera_rules import DONOR_GRACE
from cluster.members import Endpoint, Member, Role, State
from cluster.observations import Outcome
from cluster.server_status import STATUS, VARIABLES
from cluster.topology import MemberStatus, Topology, Trust
from cluster.watch import Timing, Watch
from router.api import NoRouterError, fetch
from srv.server import Server
from srv.zone import ZoneMember, build_zone
from tests.e2e.routing import until
from xproto.session import Login
from xproto.tls import TlsMode, make_context

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]
LOGIN = Login(*PROBE)
POLL = 0.5
LATEST = 1.1 * POLL + 0.2  # seconds to see that a node is gone: polls are spread by a tenth, and machines are busy
RW_PORT, RO_PORT, ADMIN_PORT = 6446, 6447, 8443


@pytest.fixture(scope="session")
def cluster(possible: None) -> Iterator[Galera]:
    """Three nodes, for as long as the tests run. A test that changes them takes `galera`."""
    with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as name:
        try:
            with Galera(Path(name) / "g") as running:
                yield running
        except SandboxError as exc:
            if "can only be unpacked" in str(exc):
                pytest.skip(str(exc))
            raise


@pytest.fixture
def galera(cluster: Galera) -> Iterator[Galera]:
    """The cluster whole; whatever a test does to it is undone."""
    yield cluster
    cluster.restore()


def members(cluster: Galera, count: int = 3) -> list[Member]:
    return [Member(f"{one.name}.{DOMAIN}", Endpoint(one.host, one.port), None) for one in cluster.members[:count]]


def names(statuses: Iterable[MemberStatus]) -> list[str]:
    return [one.member.name.partition(".")[0] for one in statuses]


class Seen:
    """A watch, and every topology that it published, with the time."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.topologies: list[tuple[float, Topology]] = []
        watch.subscribe(lambda _, new: self.topologies.append((time.monotonic(), new)))

    @property
    def topology(self) -> Topology:
        return self.watch.topology

    def writers(self) -> list[str]:
        return names(self.topology.primaries())

    def readers(self) -> list[str]:
        return names(self.topology.secondaries())

    def reason(self, name: str) -> str:
        status = self.topology.status_of(f"{name}.{DOMAIN}")
        return status.reason if status else ""

    def offered_since(self, count: int) -> set[str]:
        """Who was offered as PRIMARY by any topology from the `count`th on."""
        return {name for _, topology in self.topologies[count:] for name in names(topology.primaries())}

    async def until(self, condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}: {self.topology}"
            await asyncio.sleep(0.005)

    async def calm(self) -> str:
        """Wait until one is written to and two are read from; return the writer."""
        await self.until(lambda: len(self.writers()) == 1 and len(self.readers()) == 2, "all are offered")
        return self.writers()[0]


@asynccontextmanager
async def watching(cluster: Galera, *, poll: float = 0.1, count: int = 3, **policy: object) -> AsyncIterator[Seen]:
    watch = Watch(Access(LOGIN), timing=Timing(poll=poll, timeout=1.0), policy=Policy(**policy))  # type: ignore[arg-type]
    seen = Seen(watch)
    watch.set_members(members(cluster, count))
    task = asyncio.create_task(watch.run())
    try:
        yield seen
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert all(len(topology.primaries()) <= 1 for _, topology in seen.topologies), "two were offered as PRIMARY"


async def test_told_by_itself_one_is_written_to_and_the_others_are_read_from(cluster: Galera) -> None:
    async with watching(cluster) as seen:
        writer = await seen.calm()
        assert seen.topology.flavour is Flavour.GALERA
        assert seen.topology.trust is Trust.QUORUM
        assert seen.topology.unlisted == ()
        assert {one.state for one in seen.topology.members} == {State.ONLINE}
        async with watching(cluster) as other:
            assert await other.calm() == writer, "two routers chose two writers"
    async with watching(cluster, count=2) as fewer:
        await fewer.until(lambda: bool(fewer.topology.unlisted), "the node that is not ours is told")
        third = cluster.members[2]
        assert [(one.host, one.port) for one in fewer.topology.unlisted] == [(third.host, third.port)]


async def test_a_killed_writer_is_replaced_within_a_poll_and_does_not_take_the_role_back(galera: Galera) -> None:
    async with watching(galera, poll=POLL) as seen:
        writer = await seen.calm()
        await asyncio.to_thread(galera.kill, writer)
        gone = time.monotonic()
        await seen.until(lambda: seen.writers() not in ([], [writer]), "another is written to")
        at = next(
            at for at, one in seen.topologies if at >= gone - POLL and names(one.primaries()) not in ([], [writer])
        )
        assert at - gone <= LATEST
        before = len(seen.topologies)
        await asyncio.to_thread(galera.start, writer)
        await seen.until(lambda: writer in seen.readers(), "the returned node is read from")
        assert writer not in seen.offered_since(before)
        assert all(one.primaries() for at, one in seen.topologies if at > gone + LATEST)


async def test_a_donor_and_a_joiner_are_excluded_while_one_is_sent_to_the_other(galera: Galera) -> None:
    async with watching(galera) as seen:
        await seen.calm()
        joiner = seen.readers()[-1]
        await asyncio.to_thread(galera.kill, joiner)
        galera.wipe(joiner)
        galera.start(joiner, wait=False)
        donors = lambda: [one for one in seen.topology.members if "Donor" in one.reason]  # noqa: E731
        await seen.until(lambda: bool(donors()), "a donor shows")
        fed = donors()[0]
        assert fed.offered is (Role.PRIMARY if fed.uuid == seen.topology.last_primary else None)
        assert fed.state is State.RECOVERING
        assert len(seen.writers()) == 1
        await seen.until(lambda: len(seen.readers()) == 2 and not donors(), "the donor and the new node are read from")


async def test_a_reader_that_is_desynced_or_rejects_statements_is_excluded(galera: Galera) -> None:
    async with watching(galera) as seen:
        await seen.calm()
        name = seen.readers()[0]
        for variable, on, off in (("wsrep_desync", "ON", "OFF"), ("wsrep_reject_queries", "ALL", "NONE")):
            galera.sql(name, f"SET GLOBAL {variable} = {on}")
            await seen.until(lambda: name not in seen.readers(), "it is withdrawn")
            assert variable in seen.reason(name)
            galera.sql(name, f"SET GLOBAL {variable} = {off}")
            await seen.until(lambda: name in seen.readers(), "it is read from again")


async def test_a_writer_that_is_desynced_stays_for_a_while_and_who_starts_later_prefers_the_one_that_is_written_to(
    galera: Galera,
) -> None:
    async with watching(galera) as seen:
        writer = await seen.calm()
        galera.sql(writer, "SET GLOBAL wsrep_desync = ON")
        started = time.monotonic()
        await seen.until(lambda: "wsrep_desync" in seen.reason(writer), "it is seen")
        assert seen.writers() == [writer]
        await seen.until(lambda: seen.writers() not in ([], [writer]), "the role moves")
        assert time.monotonic() - started > DONOR_GRACE - 0.2
        galera.sql(writer, "SET GLOBAL wsrep_desync = OFF")
        moved = await seen.calm()
        with writing(galera, moved):
            async with watching(galera) as later:
                assert await later.calm() == moved
        assert seen.writers() == [moved]


async def test_a_node_that_returns_does_not_move_the_writer_that_feeds_it(galera: Galera) -> None:
    async with watching(galera, poll=0.02) as seen:
        writer = await seen.calm()
        joiner, other = seen.readers()
        galera.sql(other, "SET GLOBAL wsrep_desync = ON")  # so that only the writer can feed it
        await asyncio.to_thread(galera.kill, joiner)
        before = len(seen.topologies)
        with writing(galera, writer):
            await asyncio.to_thread(galera.start, joiner)
            await seen.until(lambda: joiner in seen.readers(), "the returned node is read from")
        assert seen.offered_since(before) == {writer}
        fed = [one for _, topology in seen.topologies[before:] if (one := topology.status_of(f"{writer}.{DOMAIN}"))]
        assert any("Donor" in one.reason for one in fed), "it fed nobody: this test shows nothing"


async def test_a_read_only_node_is_not_written_to(galera: Galera) -> None:
    async with watching(galera) as seen:
        writer = await seen.calm()
        galera.sql(writer, "SET GLOBAL read_only = ON")
        await seen.until(lambda: writer in seen.readers() and len(seen.writers()) == 1, "the role moves")


async def test_a_writer_cut_from_its_peers_is_not_offered(galera: Galera) -> None:
    async with watching(galera) as seen:
        writer = await seen.calm()
        galera.cut(writer, "peers")
        await seen.until(lambda: seen.writers() not in ([], [writer]), "the two that see each other go on")
        assert seen.topology.trust is Trust.QUORUM
        await seen.until(lambda: "it belongs to no primary component" in seen.reason(writer), "it says so itself")
        before = len(seen.topologies)
        galera.heal(writer)
        await seen.until(lambda: writer in seen.readers(), "it is read from again")
        assert writer not in seen.offered_since(before)


async def test_a_thawed_writer_is_not_offered_by_what_it_still_claims(galera: Galera) -> None:
    async with watching(galera) as seen:
        writer = await seen.calm()
        with writing(galera, writer):
            galera.freeze(writer)
            await seen.until(lambda: seen.writers() not in ([], [writer]), "another is written to")
            before = len(seen.topologies)
            galera.thaw(writer)
            await seen.until(lambda: "speaks of an earlier one" in seen.reason(writer), "it claims what was true")
            await seen.until(lambda: writer in seen.readers(), "it has joined again")
        assert writer not in seen.offered_since(before)


async def test_with_two_of_three_killed_the_last_is_used_as_the_policy_says(galera: Galera) -> None:
    async with watching(galera) as seen, watching(galera, quorum=QuorumPolicy.READ) as reading:
        writer = await seen.calm()
        await reading.calm()
        galera.sql(writer, f"CREATE TABLE IF NOT EXISTS {DATABASE}.lost (id INT PRIMARY KEY)")
        survivor = seen.readers()[0]
        galera.kill(*[one for one in (writer, *seen.readers()) if one != survivor])
        await seen.until(lambda: seen.topology.trust is Trust.NO_QUORUM, "quorum is lost")
        assert (seen.writers(), seen.readers()) == ([], [])
        with pytest.raises(StatementError) as refused:
            galera.sql(survivor, f"SELECT * FROM {DATABASE}.lost")
        assert refused.value.code == 1047
        assert "wsrep_dirty_reads = OFF" in seen.reason(survivor)
        await reading.until(lambda: reading.topology.trust is Trust.NO_QUORUM, "quorum is lost")
        assert reading.readers() == []
        galera.sql(survivor, "SET GLOBAL wsrep_dirty_reads = ON")
        await reading.until(lambda: reading.readers() == [survivor], "it is read from, as the policy has it")
        assert galera.sql(survivor, f"SELECT * FROM {DATABASE}.lost") == ()
        assert seen.readers() == []


async def test_after_a_crash_of_all_the_cluster_is_believed_though_it_counts_from_zero(galera: Galera) -> None:
    async with watching(galera) as seen:
        await seen.calm()
        every = [one.name for one in galera.members[:3]]
        galera.kill(*every)
        await seen.until(lambda: seen.topology.trust is Trust.BLIND, "nobody answers")
        await asyncio.to_thread(galera.recover, every)
        await seen.until(lambda: seen.topology.trust is Trust.QUORUM, "it is trusted again")
        await seen.calm()
        assert seen.topology.view_id is not None
        assert seen.topology.view_id.counter == 0


@contextmanager
def writing(cluster: Galera, name: str) -> Iterator[None]:
    """Write on one node for as long as it lets us."""
    where, begun, ending = cluster.member(name), threading.Event(), threading.Event()
    account = Account(*APP, DATABASE, str(cluster.ca_file))
    cluster.sql(name, f"CREATE OR REPLACE TABLE {DATABASE}.load_here (id BIGINT PRIMARY KEY AUTO_INCREMENT)")

    def write() -> None:
        with suppress(DriverError):
            connection = BlockingConnection(where.host, where.port, account)
            try:
                while not ending.wait(0.003):
                    connection.run("INSERT INTO load_here VALUES ()")
                    begun.set()
            finally:
                connection.close()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        assert begun.wait(30), f"no write on {name}"
        yield
    finally:
        ending.set()
        if cluster.running(name):
            cluster.thaw(name)
        thread.join(30)


async def look(cluster: Galera, access: Access, name: str = "galera-0", host_name: str = "") -> tuple[Outcome, str]:
    where = cluster.member(name)
    member = Member(host_name or f"{name}.{DOMAIN}", Endpoint(where.host, where.port), None)
    probe = ClassicProbe(member, access, timeout=3.0)
    try:
        seen = await probe.look()
        return seen.outcome, seen.detail
    finally:
        await probe.close()


async def test_a_node_tells_its_own_counts(cluster: Galera) -> None:
    where = cluster.member("galera-0")
    member = Member(f"galera-0.{DOMAIN}", Endpoint(where.host, where.port), None)
    probe = ClassicProbe(member, Access(LOGIN), timeout=3.0)
    try:
        assert await probe.read_status(1.0) is None, "no session is opened for it"
        assert (await probe.look()).outcome is Outcome.ANSWERED
        status = await probe.read_status(3.0)
        assert (await probe.look()).outcome is Outcome.ANSWERED, "the same session goes on"
    finally:
        await probe.close()
    assert status is not None, status
    told = {f"global_status_{name.lower()}" for name in STATUS} | {f"global_variables_{name}" for name in VARIABLES}
    assert status.values.keys() == told, status.detail
    assert status.values["global_variables_max_connections"] > 0


async def test_what_a_probe_is_refused_for_has_its_name(cluster: Galera) -> None:
    assert (await look(cluster, Access(None)))[0] is Outcome.ALIVE
    assert (await look(cluster, Access(Login(PROBE[0], "wrong"))))[0] is Outcome.DENIED
    for mode in (TlsMode.DISABLED, TlsMode.PREFERRED, TlsMode.REQUIRED):
        assert await look(cluster, Access(LOGIN, mode)) == (Outcome.ANSWERED, "")
    mode = TlsMode.VERIFY_IDENTITY
    checked = Access(LOGIN, mode, make_context(mode, ca_file=cluster.ca_file))
    assert await look(cluster, checked) == (Outcome.ANSWERED, "")
    outcome, detail = await look(cluster, checked, host_name=f"galera-1.{DOMAIN}")
    assert (outcome, detail.startswith("TLS: ")) == (Outcome.TLS, True), "galera-0 passed for galera-1"
    nobodys = ssl.create_default_context()
    assert (await look(cluster, Access(LOGIN, TlsMode.VERIFY_CA, nobodys)))[0] is Outcome.TLS


async def test_looks_without_an_account_do_not_have_a_node_block_this_host(cluster: Galera) -> None:
    where = cluster.member("galera-0")
    cluster.sql("galera-0", "SET GLOBAL max_connect_errors = 3")
    try:
        for _ in range(6):
            assert (await look(cluster, Access(None)))[0] is Outcome.ALIVE
        assert await look(cluster, Access(LOGIN)) == (Outcome.ANSWERED, "")
        for _ in range(6):  # what would have come of hanging up on its greeting
            reader, writer = await asyncio.open_connection(where.host, where.port)
            await reader.read(16)
            writer.close()
            await writer.wait_closed()
        deadline = time.monotonic() + 5
        while (await look(cluster, Access(LOGIN)))[0] is Outcome.ANSWERED:
            assert time.monotonic() < deadline, "it was not blocked: this test shows nothing"
        outcome, detail = await look(cluster, Access(LOGIN))
        assert (outcome, "error 1129" in detail) == (Outcome.DENIED, True)
        assert (await look(cluster, Access(None)))[0] is Outcome.DENIED
    finally:
        cluster.sql("galera-0", "SET GLOBAL max_connect_errors = DEFAULT", "FLUSH HOSTS")


class Records:
    """A name server with the nodes' classic records, on a loop of its own."""

    def __init__(self, cluster: Galera) -> None:
        published = [ZoneMember(one.name, (one.host,), one.port, None) for one in cluster.members[:3]]
        self._server = Server([("127.0.0.1", 0)], [build_zone(DOMAIN, published, serial=1)])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(10)
        host, port = self._server.addresses[0]
        return f"{host}:{port}"

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._server.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextmanager
def routed(cluster: Galera, directory: Path) -> Iterator[str]:
    """A router that knows nothing but the domain, where to ask for it, and the probe account; yields its address."""
    password = directory / "probe.password"
    directory.mkdir(exist_ok=True)
    password.write_text(PROBE[1])
    address = free_address()
    children = Children(directory)
    with Records(cluster) as resolver:
        found = ["--srv", DOMAIN, "--resolver", resolver, "--bind", address, "--admin", f"{address}:{ADMIN_PORT}"]
        children.start("router", ["router", *found, "--probe-user", PROBE[0], "--probe-password-file", str(password)])
        try:
            until(lambda: sorted(offered(address).values()) == ["PRIMARY", "SECONDARY", "SECONDARY"], "all are offered")
            yield address
        finally:
            children.end()


def free_address() -> str:
    for last in range(100, 250):
        with suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind((f"127.0.1.{last}", RW_PORT))
            other.bind((f"127.0.1.{last}", ADMIN_PORT))
            return f"127.0.1.{last}"
    raise AssertionError("no free loopback address")


def offered(address: str) -> dict[str, str]:
    try:
        found = fetch(f"{address}:{ADMIN_PORT}", "/api/v1/topology")["clusters"]["main"]["members"]
    except NoRouterError:
        return {}
    return {one["name"].partition(".")[0]: str(one["offered"]) for one in found}


class Writer(threading.Thread):
    """Writes numbers through the read-write port and remembers what was acknowledged, and by whom."""

    def __init__(self, address: str, account: Account) -> None:
        super().__init__(daemon=True)
        self._address, self._account = address, account
        self._ending = threading.Event()
        self.acknowledged: list[tuple[int, float, str]] = []

    def run(self) -> None:
        number = 0
        while not self._ending.is_set():
            with suppress(DriverError):
                connection = BlockingConnection(self._address, RW_PORT, self._account)
                try:
                    node = str(connection.run("SELECT @@wsrep_node_name")[0][0])
                    while not self._ending.wait(0.003):
                        number += 1
                        connection.run("INSERT INTO numbers VALUES (%s)", number)
                        self.acknowledged.append((number, time.monotonic(), node))
                finally:
                    connection.close()
            self._ending.wait(0.01)

    def __enter__(self) -> Writer:
        connection = BlockingConnection(self._address, RW_PORT, self._account)
        connection.run("CREATE OR REPLACE TABLE numbers (id BIGINT PRIMARY KEY)")
        connection.close()
        self.start()
        until(lambda: len(self.acknowledged) > 10, "writes flow")
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self.join(60)


def test_writes_go_to_one_node_follow_a_kill_and_none_that_was_acknowledged_is_lost(
    galera: Galera, tmp_path: Path
) -> None:
    account = Account(*APP, DATABASE, str(galera.ca_file))
    with routed(galera, tmp_path) as address:
        [writer] = [name for name, role in offered(address).items() if role == "PRIMARY"]

        def reads_from() -> str:
            connection = BlockingConnection(address, RO_PORT, account)
            try:
                return str(connection.run("SELECT @@wsrep_node_name")[0][0])
            finally:
                connection.close()

        assert {reads_from() for _ in range(4)} == {
            name for name, role in offered(address).items() if role != "PRIMARY"
        }
        with Writer(address, account) as load:
            assert {node for _, _, node in load.acknowledged} == {writer}
            galera.kill(writer)
            gone = time.monotonic()
            until(lambda: load.acknowledged[-1][2] != writer, "another takes writes")
            galera.start(writer)
            until(lambda: offered(address)[writer] == "SECONDARY", "the returned node is read from")
            count = len(load.acknowledged)
            until(lambda: len(load.acknowledged) > count + 50, "writes go on")
        late = {node for _, at, node in load.acknowledged if at > gone}
        assert len(late) == 1, f"writes went to several nodes: {late}"
        assert writer not in late
        numbers = {number for number, _, _ in load.acknowledged}
        for one in galera.members[:3]:

            def missing(name: str = one.name) -> set[int]:
                rows = galera.sql(name, f"SELECT id FROM {DATABASE}.numbers")
                return numbers - {int(str(row[0])) for row in rows}

            until(lambda missing=missing: not missing(), f"{one.name} has every acknowledged write")  # type: ignore[misc]
        pause = min(at for _, at, _ in load.acknowledged if at > gone) - gone
        print(f"writes went on {pause:.3f} s after the writer was gone; {len(numbers)} acknowledged")
