"""Where dials fail for reasons of this machine, of a name server, and of one address alone."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.members import Endpoint, Member, Role
from router import dialing
from router.dialing import ExhaustedError, Names, NoPortError, connect
from router.listener import Listener
from router.listening import open_socket
from router.port import Port
from router.routes import Candidate, static_topology
from router.words import Destination, StrategyName
from tests.router.conftest import Run
from tests.router.fakes import Cluster, listening, member, route, until
from tests.router.test_sessions import Clients, error_of

S = Role.SECONDARY
SPENT = errno.EADDRNOTAVAIL


class Failing:
    """An event loop of which some connects fail: what a real one does without IPv6, or without a free port."""

    def __init__(self, failures: dict[tuple[str, int] | str, int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._failures = failures

    async def create_connection(self, make: Callable[[], asyncio.Protocol], host: str, port: int) -> Any:
        failure = self._failures.get((host, port)) or self._failures.get(host)
        if failure is not None:
            raise OSError(failure, os.strerror(failure))  # one of its own: a traceback keeps what it saw
        return await self._loop.create_connection(make, host, port)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


def fail(monkeypatch: pytest.MonkeyPatch, failures: dict[tuple[str, int] | str, int]) -> None:
    """Event loops of C cannot be patched; what `dialing` asks for one can."""
    loop = Failing(failures)
    names = {name: getattr(asyncio, name) for name in ("timeout", "shield", "Protocol", "TimeoutError")}
    monkeypatch.setattr(dialing, "asyncio", SimpleNamespace(**names, get_running_loop=lambda: loop))


def test_an_address_that_cannot_be_reached_from_here_is_not_the_last_word(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async def locate(host: str) -> tuple[str, ...]:
            return ("2001:db8::1", "127.0.0.1", "2001:db8::2")

        async with member() as one, asyncio.TaskGroup() as tasks:
            assert one.classic is not None
            at = Endpoint("db.example.com", one.classic.port)
            candidate = Candidate(Member("m", at, at), at)

            async def dial() -> None:
                (await connect(asyncio.Protocol, candidate, route(), Names(tasks, locate))).abort()  # type: ignore[attr-defined]

            fail(monkeypatch, {"2001:db8::1": SPENT})
            await dial()
            fail(monkeypatch, {"2001:db8::1": SPENT, "127.0.0.1": errno.ECONNREFUSED, "2001:db8::2": SPENT})
            with pytest.raises(ConnectionRefusedError):
                await dial()
            fail(monkeypatch, {"2001:db8::1": SPENT, "127.0.0.1": SPENT, "2001:db8::2": SPENT})
            with pytest.raises(NoPortError, match=r"db\.example\.com:.*Cannot assign"):
                await dial()
            fail(monkeypatch, {"2001:db8::1": errno.EMFILE})
            with pytest.raises(ExhaustedError):
                await dial()
            monkeypatch.undo()

    run(scenario())


def test_a_session_goes_on_to_the_next_member_and_is_refused_when_none_can_be_reached_from_here(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        cluster = Cluster()
        chosen = route(Destination.SECONDARY, strategy=StrategyName.FIRST_AVAILABLE)
        async with Clients() as clients, member("a") as a, member("b") as b, listening(cluster, chosen) as listener:
            assert a.classic is not None
            assert b.classic is not None
            cluster.set((a, S), (b, S))
            failures: dict[tuple[str, int] | str, int] = {(a.classic.host, a.classic.port): SPENT}
            fail(monkeypatch, failures)
            reader, _ = await clients.connect(listener.endpoint)
            assert await reader.readexactly(6) == b"hello "
            assert (listener.port.tally.joined, list(listener.port.quarantine.held)) == ({"b": 1}, [])
            failures[b.classic.host, b.classic.port] = SPENT
            reader, _ = await clients.connect(listener.endpoint)
            assert error_of(await reader.read())[0] == 1040
            monkeypatch.undo()

    run(scenario())


@asynccontextmanager
async def a_list(*members: Endpoint, parking: float) -> AsyncIterator[Listener]:
    chosen = replace(route(parking_timeout=parking, connect_timeout=0.3), members=members)
    known = static_topology(members)
    async with asyncio.TaskGroup() as tasks:
        listener = Listener(Port(chosen, lambda: known, tasks), open_socket(Endpoint("127.0.0.1", 0)))
        await listener.start()
        try:
            yield listener
        finally:
            listener.close()
            await until(lambda: not listener.port.sessions, "every session is accounted for")


def test_a_name_server_that_is_silent_is_told_as_such(run: Run) -> None:
    async def scenario() -> None:
        answered = asyncio.Event()

        async def locate(host: str) -> tuple[str, ...]:
            await answered.wait()
            return ()

        async with Clients() as clients, a_list(Endpoint("db.example.com", 3306), parking=0.2) as listener:
            listener.port.names = Names(listener.port.tasks, locate)
            reader, _ = await clients.connect(listener.endpoint)
            assert "db.example.com cannot be resolved: no answer within" in error_of(await reader.read())[2]
            answered.set()

    run(scenario())


def test_a_lookup_that_cannot_begin_costs_a_session_and_not_the_worker(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def scenario() -> None:
        async with Clients() as clients, a_list(Endpoint("localhost", 1), parking=0.2) as listener:
            monkeypatch.setattr(threading.Thread, "start", start)
            reader, _ = await clients.connect(listener.endpoint)
            assert "localhost cannot be resolved" in error_of(await reader.read())[2]
            monkeypatch.undo()

            async def fault(host: str) -> tuple[str, ...]:
                raise ValueError(host)

            listener.port.names = Names(listener.port.tasks, fault)
            reader, _ = await clients.connect(listener.endpoint)
            assert "localhost cannot be resolved" in error_of(await reader.read())[2]

    run(scenario())
