"""What counts across worker processes: sessions, errors of client hosts, members that are left."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from cluster.members import Endpoint, Role
from router.host_errors import HostBlocks, HostNews
from router.messages import Blocked, Retire
from router.routes import Leave, Limits
from router.words import Destination
from tests.router.conftest import Run
from tests.router.fakes import member, route, until
from tests.router.test_crew import Client, a_crew
from tests.router.test_port import ELSEWHERE, aloof, proxied
from tests.router.test_sessions import Clients, error_of

P, S = Role.PRIMARY, Role.SECONDARY


async def attempt(clients: Clients, address: str, header: bytes = b"") -> tuple[bytes, asyncio.StreamWriter]:
    """What a client reads first."""
    host, port = address.split(":")
    reader, writer = await clients.connect(Endpoint(host, int(port)))
    writer.write(header)
    async with asyncio.timeout(10):
        return await reader.read(4096), writer


def test_a_limit_is_never_exceeded_by_workers_together(run: Run) -> None:
    async def scenario() -> None:
        async with Clients() as clients, member() as one, a_crew(2) as bench:
            [at] = bench.sockets
            bench.serve((replace(route(), limits=Limits(max_connections=5)), at))
            bench.cluster.set((one, P))
            bench.show(bench.cluster.topology)
            await bench.report()
            writers = []
            for _ in range(3):
                outcomes = await asyncio.gather(*(attempt(clients, at) for _ in range(20)))
                for said, writer in outcomes:
                    if said == b"hello ":
                        writers.append(writer)
                    else:
                        assert error_of(said) == (1040, b"#08004", "Too many connections")
                        writer.close()
            assert 1 <= len(writers) <= 5
            while len(writers) < 5:  # two that come at the same moment may both be refused for the last place
                said, writer = await attempt(clients, at)
                if said == b"hello ":
                    writers.append(writer)
            assert error_of((await attempt(clients, at))[0])[0] == 1040

    run(scenario())


def test_a_host_is_blocked_for_what_it_did_to_all_workers(run: Run) -> None:
    async def scenario() -> None:
        async with Clients() as clients, member(handler=aloof) as one, a_crew(2) as bench:
            [at] = bench.sockets
            old = list(bench.crew.hands.values())
            bench.serve((replace(proxied(route()), limits=Limits(max_connect_errors=6)), at))
            bench.cluster.set((one, P))
            bench.show(bench.cluster.topology)
            await bench.report()
            for hand in old:  # a route behind proxies is another port: wait until it is held
                assert hand.serving
            hung_up = 0
            async with asyncio.timeout(20):
                while not bench.crew.orders.blocks.stand("test")[0]:
                    said, writer = await attempt(clients, at, ELSEWHERE)
                    hung_up += said == b"hello "
                    writer.close()
                    await asyncio.sleep(0.02)
            assert bench.crew.orders.blocks.stand("test") == (("192.0.2.7",), False)
            assert hung_up >= 6
            await bench.report()  # what was told before it has been heard by all
            for _ in range(8):
                assert error_of((await attempt(clients, at, ELSEWHERE))[0])[0] == 1129
            for hand in old:
                bench.crew.retire(hand, Retire(0.0, queued=False))
            serials = {hand.serial for hand in old}
            await until(lambda: not serials & bench.crew.hands.keys(), "others are in their place")
            async with asyncio.timeout(10):
                await bench.crew.wait_serving()
            await bench.report()
            for _ in range(4):
                assert error_of((await attempt(clients, at, ELSEWHERE))[0])[0] == 1129, "new workers know"
            assert bench.crew.orders.reset_hosts("test", "192.0.2.7") == ("192.0.2.7",)
            await bench.report()
            said, writer = await attempt(clients, at, ELSEWHERE)
            assert said == b"hello "
            writer.close()

    run(scenario())


def test_blocks_are_lifted_in_workers_with_the_limit_and_with_the_route(run: Run) -> None:
    async def scenario() -> None:
        async with Clients() as clients, member(handler=aloof) as one, a_crew(1) as bench:
            [at] = bench.sockets
            limited = replace(proxied(route()), limits=Limits(max_connect_errors=6))
            bench.cluster.set((one, P))
            bench.show(bench.cluster.topology)

            async def said_to_a_blocked_one() -> bytes:
                bench.serve((limited, at))
                bench.crew.orders.blocks.hear("test", {"192.0.2.7": 6}, ())
                bench.crew.tell(Blocked("test", *bench.crew.orders.blocks.stand("test")))
                await bench.report()
                return (await attempt(clients, at, ELSEWHERE))[0]

            assert error_of(await said_to_a_blocked_one())[0] == 1129
            bench.serve((replace(limited, limits=Limits(max_connect_errors=0)), at))
            await bench.report()
            said, writer = await attempt(clients, at, ELSEWHERE)
            assert said == b"hello ", "none is blocked"
            writer.close()
            assert error_of(await said_to_a_blocked_one())[0] == 1129
            bench.serve((replace(limited, name="another"), at))
            bench.serve((limited, at))
            await bench.report()
            said, writer = await attempt(clients, at, ELSEWHERE)
            assert said == b"hello ", "it was forgotten with the route"
            writer.close()

    run(scenario())


def test_a_member_is_left_by_all_workers(run: Run) -> None:
    async def scenario() -> None:
        async with member("a") as a, member("b") as b, a_crew(2) as bench:
            [at] = bench.sockets
            bench.serve((route(Destination.SECONDARY), at))
            bench.cluster.set((a, S), (b, S))
            bench.show(bench.cluster.topology)
            await bench.report()
            clients = [await Client.open(at) for _ in range(12)]
            assert (await bench.report()).attached.get("a", 0) > 0
            bench.crew.orders.set_member_modes("main", {"a": Leave(0.0, "hidden")})
            async with asyncio.timeout(5):
                while (await bench.report()).attached.get("a", 0):
                    pass
            before = (await bench.report()).joined["a"]
            clients += [await Client.open(at) for _ in range(8)]
            report = await bench.report()
            assert report.joined["a"] == before
            assert report.ended["hidden"] > 0
            for client in clients:
                client.close()

    run(scenario())


def test_handshakes_are_told_only_while_they_matter() -> None:
    news, blocks = HostNews(), HostBlocks()
    blocks.configure({"one": 3})
    news.succeeded("a")
    assert news.take() == ({}, ()), "nobody errs"
    assert not news.failed("a")
    news.succeeded("b")
    failed, done = news.take()
    assert (failed, done) == ({"a": 1}, ("b",))
    assert blocks.hear("one", failed, done), "some err: that is news"
    assert not blocks.hear("one", {"a": 1}, ())
    news.hear(*blocks.stand("one")[:1], some_err=True)
    news.succeeded("a")
    assert blocks.hear("one", *news.take()), "nobody errs any more"
    assert blocks.stand("one") == ((), False)
    assert blocks.hear("one", {"a": 99}, ())
    assert blocks.stand("one") == (("a",), False)
    news.hear(("a",), some_err=False)
    assert news.is_blocked("a")
    assert not blocks.hear("two", {"a": 99}, ())
    blocks.configure({"one": 3, "two": 1})
    assert blocks.stand("one") == (("a",), False), "a reload forgets nothing"
    assert blocks.reset("one") == ("a",)
    blocks.configure({})
    assert blocks.stand("one") == ((), False)
