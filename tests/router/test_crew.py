"""Worker processes on loopback: real ones, with members that a test makes up."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from cluster.members import Endpoint, Role
from cluster.topology import Topology
from router.counts import Place, SharedCounts, SharedMemory
from router.crew import Crew
from router.draining import Stop, drain
from router.link import Link, make_pair
from router.listener import open_socket
from router.messages import Configure, DialFailure, Message, Retire, RouteOrder, Serving, Sockets, View
from router.reports import RouteReport, WorkerReport
from router.routes import Leave, Route, Wire
from router.sockets import SO_ATTACH_FILTER, ListeningSockets, hush
from router.worker import Worker
from tests.router.conftest import Run
from tests.router.fakes import Cluster, member, route, until

P = Role.PRIMARY
DRAIN = 1.0  # seconds that sessions of a route that is gone have


class Bench:
    """A crew, its one cluster, and its listening sockets by address."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.cluster = Cluster()
        self.sockets: dict[str, socket.socket] = {}

    def listen(self) -> str:
        sock = open_socket(Endpoint("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        self.sockets[address] = sock
        return address

    def serve(self, *routes: tuple[Route, str]) -> None:
        orders = tuple(RouteOrder(one, "main", at, self.crew.rows.row_of(one.name)) for one, at in routes)
        self.crew.configure(Configure(orders, DRAIN), {at: self.sockets[at].fileno() for _, at in routes})

    def show(self, topology: Topology) -> None:
        self.crew.orders.show("main", topology)

    async def report(self, name: str = "test") -> RouteReport:
        await self.crew.refresh()
        return self.crew.routes().get(name, RouteReport(name))

    def pids(self) -> list[int]:
        return [hand.pid for hand in self.crew.hands.values()]


@asynccontextmanager
async def a_crew(workers: int) -> AsyncIterator[Bench]:
    memory = SharedMemory.make()
    bench = Bench(Crew(memory, {}, lambda *_: None))
    at = bench.listen()
    try:
        bench.serve((route(), at))
        bench.crew.man(workers)
        async with asyncio.timeout(15):
            await bench.crew.wait_serving()
        yield bench
    finally:
        bench.crew.retire_all(Retire(0.0, queued=False))
        bench.crew.close()
        bench.crew.kill_all()
        async with asyncio.timeout(10):
            await bench.crew.wait_gone()
        for sock in bench.sockets.values():
            sock.close()
        memory.close()


class Client:
    """A connection through the router that greets at once, and says what became of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, address: str) -> Client:
        host, port = address.split(":")
        client = cls(*await asyncio.open_connection(host, int(port)))
        async with asyncio.timeout(5):
            assert await client.reader.readexactly(6) == b"hello "
        return client

    async def works(self) -> bool:
        self.writer.write(b"ping")
        try:
            async with asyncio.timeout(5):
                return await self.reader.readexactly(4) == b"ping"
        except (OSError, asyncio.IncompleteReadError):
            return False

    async def ended(self) -> bool:
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.writer.transport.abort()


def test_sessions_are_carried_by_several_workers_and_add_up(run: Run) -> None:
    async def scenario() -> None:
        async with member() as one, a_crew(2) as bench:
            bench.cluster.set((one, P))
            bench.show(bench.cluster.topology)
            [at] = bench.sockets
            clients = [await Client.open(at) for _ in range(40)]
            report = await bench.report()
            assert (report.started, report.sessions, report.listening) == (40, 40, 2)
            assert report.attached == {one.name: 40}
            assert bench.crew.memory.sum(0) == bench.crew.memory.sum(bench.crew.rows.rows["test"]) == 40
            shown = await bench.crew.list_sessions(100)
            assert len({session.id for session in shown}) == 40, "no two sessions have the same number"
            chosen = [shown[0].id, shown[-1].id]
            assert sorted(await bench.crew.kill_sessions(chosen)) == sorted(chosen)
            for client in clients:
                client.close()
            async with asyncio.timeout(5):
                while (await bench.report()).sessions:
                    pass
            assert bench.crew.memory.sum(0) == 0

    run(scenario())


def test_a_change_of_the_primary_ends_sessions_in_all_workers(run: Run) -> None:
    async def scenario() -> None:
        async with member("a") as a, member("b") as b, a_crew(2) as bench:
            [at] = bench.sockets
            bench.cluster.set((a, P), (b, Role.SECONDARY))
            bench.show(bench.cluster.topology)
            clients = [await Client.open(at) for _ in range(20)]
            bench.cluster.set((b, P), (a, Role.SECONDARY))
            bench.show(bench.cluster.topology)
            async with asyncio.timeout(5):
                assert all([await client.ended() for client in clients])
            assert (await bench.report()).cut == 20
            again = await Client.open(at)
            assert (await bench.report()).attached == {"b": 1}
            for client in (*clients, again):
                client.close()

    run(scenario())


def test_a_worker_that_is_killed_is_replaced_and_the_others_do_not_notice(run: Run) -> None:
    async def scenario() -> None:
        async with member() as one, a_crew(2) as bench:
            bench.cluster.set((one, P))
            bench.show(bench.cluster.topology)
            [at] = bench.sockets
            clients = [await Client.open(at) for _ in range(30)]
            before = await bench.report()
            victim, other = bench.crew.hands.values()
            lost, kept = victim.report.sessions, other.report.sessions
            os.kill(victim.pid, signal.SIGKILL)
            began = time.monotonic()
            await until(lambda: victim.serial not in bench.crew.hands, "its death is noticed")
            async with asyncio.timeout(5):
                await bench.crew.wait_serving()
                assert time.monotonic() - began < 2, "another serves in its place"
            works = [await client.works() for client in clients]
            assert (works.count(False), works.count(True)) == (lost, kept)
            after = await bench.report()
            assert after.started >= before.started
            assert after.joined[one.name] >= before.joined[one.name]
            assert after.sessions == kept
            assert bench.crew.memory.sum(0) == kept, "what the dead one counted is forgotten"
            clients.append(await Client.open(at))
            for client in clients:
                client.close()

    run(scenario())


def test_workers_whose_main_process_is_gone_end(run: Run) -> None:
    async def scenario() -> None:
        async with member() as one, a_crew(2) as bench:
            bench.cluster.set((one, P))
            bench.show(bench.cluster.topology)
            [at] = bench.sockets
            client = await Client.open(at)
            hands = list(bench.crew.hands.values())
            began = time.monotonic()
            for hand in hands:
                hand.link.close()  # as the kernel does when the main process dies
            assert await client.works(), "its sessions have the drain's time"
            assert await client.ended()
            assert DRAIN / 2 < time.monotonic() - began < DRAIN + 2
            for hand in hands:
                await asyncio.to_thread(os.waitpid, hand.pid, 0)
                del bench.crew.hands[hand.serial]
            client.close()

    run(scenario())


def test_a_route_that_changes_its_limits_keeps_its_sessions_and_one_that_is_gone_drains(run: Run) -> None:
    async def scenario() -> None:
        async with member() as one, a_crew(2) as bench:
            bench.cluster.set((one, P))
            bench.show(bench.cluster.topology)
            [first] = bench.sockets
            second = bench.listen()
            other = route(name="other")
            bench.serve((route(), first), (other, second))
            kept, gone = [await Client.open(first) for _ in range(4)], [await Client.open(second) for _ in range(4)]
            bench.serve((route(parking_limit=1), first))
            began = time.monotonic()
            assert all([await client.works() for client in gone]), "they have the drain's time"
            async with asyncio.timeout(5):
                assert all([await client.ended() for client in gone])
            assert time.monotonic() - began > DRAIN / 2
            assert all([await client.works() for client in kept])
            report = await bench.report("other")
            assert (report.started, report.sessions, report.cut, report.listening) == (4, 0, 4, 0)
            bench.serve((route(parking_limit=1), first), (other, second))
            again = await Client.open(second)
            assert (await bench.report("other")).started == 5, "its counters go on where they were"
            for client in (*kept, *gone, again):
                client.close()

    run(scenario())


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_queued_when_accepting_ends_is_served(run: Run, workers: int) -> None:
    async def scenario() -> None:
        async with member() as one, a_crew(workers) as bench:
            bench.cluster.set((one, P))
            bench.show(bench.cluster.topology)
            [at] = bench.sockets
            host, port = at.split(":")
            for pid in bench.pids():
                os.kill(pid, signal.SIGSTOP)
            queued = [socket.create_connection((host, int(port))) for _ in range(50)]
            hush(bench.sockets[at])
            bench.crew.retire_all(Retire(5.0, queued=True))
            bench.sockets[at].close()
            for pid in bench.pids():
                os.kill(pid, signal.SIGCONT)
            for sock in queued:
                sock.settimeout(5)
                assert await asyncio.to_thread(sock.recv, 6) == b"hello "
                sock.close()
            async with asyncio.timeout(5):
                await bench.crew.wait_gone()

    run(scenario())


def test_a_worker_that_does_not_start_is_tried_again_ever_more_slowly(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with a_crew(1) as bench:
            monkeypatch.setattr("router.hands.sys.executable", "/bin/false")
            for pid in bench.pids():
                os.kill(pid, signal.SIGKILL)
            began = time.monotonic()
            await until(lambda: bench.crew.next_serial == 6, "four were tried")
            assert 0.1 + 0.2 + 0.4 < time.monotonic() - began < 5
            monkeypatch.undo()
            async with asyncio.timeout(10):
                await bench.crew.wait_serving()

    run(scenario())
    assert sum("exit status 1" in record.getMessage() for record in caplog.records) >= 3


def test_a_main_process_that_falls_silent_is_not_believed_for_ever(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.worker.SILENCE_LIMIT", 0.5)

    async def scenario() -> None:
        memory, rows = SharedMemory.make(), dict[str, int]()
        memory.use(0)
        ours, theirs = make_pair()
        heard: list[Message] = []
        async with member() as one, asyncio.timeout(20):
            worker = asyncio.create_task(Worker(1, SharedCounts(memory, 0, rows), rows, Place(memory, 0)).run(theirs))
            link = Link(ours, lambda message, _: heard.append(message), lambda: None)
            cluster = Cluster()
            cluster.set((one, P))
            with open_socket(Endpoint("127.0.0.1", 0)) as sock:
                at = f"127.0.0.1:{sock.getsockname()[1]}"
                chosen = route(topology_max_age=1.0, parking_timeout=0.2)
                link.send(View("main", cluster.topology))
                link.send(Sockets((at,)), [sock.fileno()])
                link.send(Configure((RouteOrder(chosen, "main", at, 1),), 0.1))
                await until(lambda: Serving() in heard, "it serves")
                client = await Client.open(at)
                host, port = at.split(":")
                answer, deadline = b"hello ", time.monotonic() + 5
                while answer == b"hello " and time.monotonic() < deadline:
                    reader, writer = await asyncio.open_connection(host, int(port))
                    answer = await reader.readexactly(6)
                    writer.transport.abort()
                    await asyncio.sleep(0.02)
                assert answer[4:6] == b"\xff\xd3", "error 2003"
                assert await client.works(), "nothing is known against the member"
                link.send(View("main", replace(cluster.topology, taken_at=time.monotonic())))
                again = await Client.open(at)
            link.close()
            await worker
            for one_client in (client, again):
                one_client.close()
            memory.close()

    run(scenario())


def test_a_hushed_socket_takes_nothing_new_and_loses_nothing_old() -> None:
    with open_socket(Endpoint("127.0.0.1", 0)) as sock:
        address = sock.getsockname()
        with socket.create_connection(address) as before:
            hush(sock)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.3)
            accepted, _ = sock.accept()
            accepted.send(b"here")
            assert before.recv(4) == b"here"
            accepted.close()


def test_fewer_workers_let_their_sessions_be(run: Run) -> None:
    async def scenario() -> None:
        async with member() as one, a_crew(3) as bench:
            bench.cluster.set((one, P))
            bench.show(bench.cluster.topology)
            [at] = bench.sockets
            clients = [await Client.open(at) for _ in range(12)]
            bench.crew.man(1)
            await until(lambda: sum(not hand.retired for hand in bench.crew.hands.values()) == 1, "two are retired")
            late = [await Client.open(at) for _ in range(5)]
            assert all([await client.works() for client in clients])
            for client in (*clients, *late):
                client.close()
            await until(lambda: len(bench.crew.hands) == 1, "they end with their last session")

    run(scenario())


def test_sessions_are_evened_out_and_nobody_waits_for_a_worker_that_stands_still(run: Run) -> None:
    async def scenario() -> None:
        async with member() as one, a_crew(2) as bench:
            bench.cluster.set((one, P))
            bench.show(bench.cluster.topology)
            [at] = bench.sockets
            clients = []
            for _ in range(64):
                clients.append(await Client.open(at))
                await asyncio.sleep(0.002)  # what a login takes: a worker cannot look more often than it is let run

            async def sessions() -> list[int]:
                await bench.crew.refresh()
                return [report.sessions for report in bench.crew.reports()]

            spread = await sessions()
            assert sum(spread) == 64
            assert all(24 <= each <= 40 for each in spread), spread
            still, _ = bench.crew.hands.values()
            os.kill(still.pid, signal.SIGSTOP)
            try:
                began = time.monotonic()
                clients += [await Client.open(at) for _ in range(64)]
                assert time.monotonic() - began < 5, "nobody waits for it for long"
            finally:
                os.kill(still.pid, signal.SIGCONT)
            spread = await sessions()
            assert spread[1] - spread[0] >= 50, "the other took what it left"
            while spread[0] < spread[1] - 16:
                clients.append(await Client.open(at))
                spread = await sessions()
                assert len(clients) < 300, f"what comes then is not made up for: {spread}"
            for client in clients:
                client.close()

    run(scenario())


@pytest.mark.parametrize("gone", ["route", "cluster"])
def test_sessions_of_workers_that_drain_end_with_their_route_or_its_cluster(run: Run, gone: str) -> None:
    async def scenario() -> None:
        async with member() as one, a_crew(1) as bench:
            [first] = bench.sockets
            second = bench.listen()
            other = route(name="other")
            bench.serve((route(), first), (other, second))
            bench.cluster.set((one, P))
            bench.show(bench.cluster.topology)
            bench.crew.orders.show("elsewhere", bench.cluster.topology)
            kept, left = await Client.open(first), await Client.open(second)
            [old] = bench.crew.hands.values()
            bench.crew.retire(old, Retire(None, queued=False))
            bench.crew.man(1)
            await bench.crew.wait_serving()
            if gone == "route":
                bench.serve((route(), first))
            else:
                rows = bench.crew.rows
                orders = (
                    RouteOrder(route(), "main", first, rows.row_of("test")),
                    RouteOrder(other, "elsewhere", second, rows.row_of("other")),
                )
                bench.crew.configure(
                    Configure(orders, DRAIN), {at: bench.sockets[at].fileno() for at in (first, second)}
                )
            began = time.monotonic()
            assert await left.works(), "it has the drain's time"
            async with asyncio.timeout(5):
                assert await left.ended()
            assert time.monotonic() - began > DRAIN / 2
            assert await kept.works()
            late = await Client.open(first)
            for client in (kept, left, late):
                client.close()
            await until(lambda: old.serial not in bench.crew.hands, "it ends with its last session")

    run(scenario())


def test_a_hushed_socket_that_is_handed_on_takes_new_connections() -> None:
    with open_socket(Endpoint("127.0.0.1", 0)) as sock:
        address = sock.getsockname()
        hush(sock)
        sockets = ListeningSockets()
        sockets.offer([os.dup(sock.fileno())], stored=False)
        with socket.create_connection(address, timeout=2):
            sockets.settle()


def test_a_worker_that_hangs_is_killed_and_a_pause_of_our_own_kills_nobody(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.crew.PULSE", 0.2)
    monkeypatch.setattr("router.crew.HANG_LIMIT", 1.0)

    async def scenario() -> None:
        async with a_crew(2) as bench:
            hangs, works = bench.crew.hands.values()
            time.sleep(1.5)  # noqa: ASYNC251 as when the machine stands still, or SIGSTOP comes to us alone
            await bench.crew.refresh()
            await bench.crew.refresh()
            await asyncio.sleep(1.5)  # answers count, too: nobody is killed meanwhile
            assert list(bench.crew.hands.values()) == [hangs, works]
            assert bench.crew.died == 0
            os.kill(hangs.pid, signal.SIGSTOP)
            began = time.monotonic()
            await until(lambda: hangs.serial not in bench.crew.hands, "it is given up", timeout=10)
            assert time.monotonic() - began > 0.8
            assert bench.crew.died == 1
            assert works.serial in bench.crew.hands
            async with asyncio.timeout(10):
                await bench.crew.wait_serving()

    run(scenario())


def test_a_worker_whose_line_has_ended_and_that_lives_on_is_killed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.link.WAITING_LIMIT", 1 << 20)

    async def scenario() -> None:
        async with a_crew(1) as bench:
            [hand] = bench.crew.hands.values()
            os.kill(hand.pid, signal.SIGSTOP)
            hand.send(DialFailure("main", "x" * (2 << 20)))
            assert not hand.link.open, "it does not read"
            await until(lambda: hand.serial not in bench.crew.hands, "it is given up")
            async with asyncio.timeout(10):
                await bench.crew.wait_serving()

    run(scenario())


def test_a_worker_imports_nothing_from_where_the_user_happens_to_be(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "router").mkdir()
    (tmp_path / "router" / "__init__.py").write_text("raise SystemExit(3)")
    (tmp_path / "uvloop.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)

    async def scenario() -> None:
        async with a_crew(1) as bench:
            assert bench.crew.died == 0

    run(scenario())


def test_what_is_wanted_of_members_goes_with_their_cluster(run: Run) -> None:
    async def scenario() -> None:
        async with member("a") as one, a_crew(1) as bench:
            [at] = bench.sockets
            bench.cluster.set((one, P))
            bench.show(bench.cluster.topology)
            bench.crew.orders.set_member_modes("main", {"a": Leave(None, "drained")})
            bench.crew.orders.forget("main")
            bench.crew.configure(Configure((), DRAIN), {})
            bench.serve((route(parking_timeout=0.5), at))
            bench.show(bench.cluster.topology)
            client = await Client.open(at)
            client.close()

    run(scenario())


def test_fewer_workers_are_wanted_while_others_wait_for_their_start(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.crew.LAST_WAIT", 0.3)

    async def scenario() -> None:
        async with a_crew(1) as bench:
            with monkeypatch.context() as broken:
                broken.setattr("router.hands.sys.executable", "/nonexistent")
                bench.crew.man(4)
            began = bench.crew.next_serial
            bench.crew.man(2)
            await until(lambda: len(bench.crew.hands) == 2, "one comes, when its time is there")
            await asyncio.sleep(0.5)  # the time of the others, too
            assert bench.crew.next_serial == began + 1

    run(scenario())


def test_a_route_that_is_gone_serves_first_what_is_queued(run: Run) -> None:
    async def scenario() -> None:
        async with member() as one, a_crew(1) as bench:
            bench.cluster.set((one, P))
            bench.show(bench.cluster.topology)
            [at] = bench.sockets
            host, port = at.split(":")
            [pid] = bench.pids()
            os.kill(pid, signal.SIGSTOP)
            queued = [socket.create_connection((host, int(port))) for _ in range(20)]
            bench.serve()
            bench.sockets[at].close()
            os.kill(pid, signal.SIGCONT)
            for sock in queued:
                sock.settimeout(5)
                assert await asyncio.to_thread(sock.recv, 6) == b"hello "
                sock.close()

    run(scenario())


@pytest.mark.parametrize("stored", [False, True])
def test_a_drain_hushes_a_socket_before_it_is_closed(stored: bool) -> None:
    """Whatever comes between the last accept and the close would be reset."""

    class Told:
        cut_at_end = 0

        def retire_all(self, _: Retire) -> None:
            hushed.append(bool(sock.getsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, 64)))

        async def refresh(self) -> None:
            pass

        def reports(self) -> list[WorkerReport]:
            return []

        async def wait_gone(self) -> None:
            pass

    hushed: list[bool] = []
    with open_socket(Endpoint("127.0.0.1", 0)) as sock:
        at = Endpoint(*sock.getsockname())
        sockets = ListeningSockets()
        sockets.offer([os.dup(sock.fileno())], stored=stored)
        sockets.open({"routes.rw.listen": (at, Wire())})
        asyncio.run(drain(cast("Crew", Told()), sockets, [str(at)], 1.0, Stop()))
        assert hushed == [not stored], "systemd's goes on taking connections, for the next start"


def test_a_worker_that_is_out_of_descriptors_serves_what_it_can_and_takes_up_the_rest_later(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.crew.PULSE", 0.1)

    async def scenario() -> None:
        async with member() as one, a_crew(1) as bench:
            [first] = bench.sockets
            bench.cluster.set((one, P))
            bench.show(bench.cluster.topology)
            client = await Client.open(first)
            [pid] = bench.pids()
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            for free in range(3):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free(pid) + free, before[1]))
                bench.serve((route(parking_limit=7), first))
                second = bench.listen()
                bench.serve((route(parking_limit=7), first), (route(name="other"), second))
                await bench.crew.refresh()
                await bench.crew.refresh()
                assert await client.works()
                resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
                late = await Client.open(second)
                late.close()
            assert bench.pids() == [pid]
            assert bench.crew.died == 0
            client.close()

    def lowest_free(pid: int) -> int:
        used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}  # noqa: PTH208 names alone
        return min(set(range(len(used) + 1)) - used)

    run(scenario())


def test_a_client_that_waits_for_a_member_is_told_when_its_route_is_gone(run: Run) -> None:
    async def scenario() -> None:
        async with a_crew(1) as bench:
            [at] = bench.sockets
            host, port = at.split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            async with asyncio.timeout(5):
                while not (await bench.report()).parked_now:
                    pass
            bench.serve()
            said = await reader.read()
            assert said[4:7] == b"\xff\xd3\x07", "error 2003"
            assert b"its route is gone" in said
            writer.close()
            async with asyncio.timeout(5):
                while (report := await bench.report()).sessions:
                    pass
            assert (report.parked_now, report.cut, report.refused) == (0, 0, {2003: 1})

    run(scenario())
