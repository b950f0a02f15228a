"""The agent's key: when it is written, and what becomes of it, over a store and a watch that the test moves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from cluster.evidence import Policy
from cluster.members import Member, Role
from cluster.observations import Observation, Outcome, Report
from srv import agent
from srv.agent import Agent, Settings
from srv.etcd_answers import EtcdError, LeaseGoneError
from srv.leases import Lease, read
from srv.publication import Known
from tests.srv.test_leaseholders import report
from tests.srv.test_probed import ScriptedWatch

P, S = Role.PRIMARY, Role.SECONDARY
KEY = "/f/db.test/m0"
PATIENCE = 10.0
TELL_WITHIN = Policy().max_age


class FakeStore:
    """Remembers leases and what is under them."""

    def __init__(self) -> None:
        self.trouble: EtcdError | None = None
        self.leases: dict[int, dict[str, bytes]] = {}
        self.kept = self.granted = self.puts = 0
        self.closed = False

    async def close(self) -> None:
        self.closed = True

    async def grant(self, ttl: int) -> int:
        self._fail()
        self.granted += 1
        self.leases[self.granted] = {}
        return self.granted

    async def keep_alive(self, lease: int) -> None:
        self._fail(lease)
        self.kept += 1

    async def put(self, key: str, value: bytes, lease: int) -> None:
        self._fail(lease)
        self.puts += 1
        self.leases[lease][key] = value

    async def revoke(self, lease: int) -> None:
        self._fail()
        del self.leases[lease]

    def lease(self) -> Lease | None:
        found = [value for keys in self.leases.values() for key, value in keys.items() if key == KEY]
        return read(found[0]) if found else None

    def _fail(self, lease: int | None = None) -> None:
        if self.trouble:
            raise self.trouble
        if lease is not None and lease not in self.leases:
            raise LeaseGoneError("requested lease not found")


class Stand:
    """An agent at work, its clock, and what its member is seen to say."""

    def __init__(self) -> None:
        self.store, self.watch, self.time = FakeStore(), ScriptedWatch(), 0.0
        self.known = Known("m0", "db0.test")
        settings = Settings("db.test", self.known, self.known.member("db.test"), "/f", weight=50, priority=3)
        self.agent = Agent(settings, self.store, self.watch, locate=self.locate, clock=lambda: self.time)  # type: ignore[arg-type]

    async def locate(self, host: str) -> tuple[str, ...]:
        return ("127.0.1.1", "192.0.2.1", "::1")  # as Debian's own /etc/hosts has it, among others

    @property
    def member(self) -> Member:
        return self.known.member("db.test")

    def see(self, what: Report | None, outcome: Outcome = Outcome.ANSWERED, *, age: float = 0.0) -> None:
        assert self.watch.on_observation is not None
        self.watch.on_observation(Observation(self.member, self.time - age, outcome, what))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "BACKOFF", (0.001, 0.01))


@contextlib.asynccontextmanager
async def standing(until: Callable[..., Any]) -> AsyncIterator[Stand]:
    one = Stand()
    task = asyncio.create_task(one.agent.run(), name="agent")
    try:
        await until(lambda: one.store.granted == 1 and bool(one.watch.members))
        yield one
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert one.store.closed


async def settle() -> None:
    """Let what is ready run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_key_says_what_is_seen_and_goes_with_the_agent(until: Callable[..., Any]) -> None:
    async with standing(until) as one:
        await settle()
        assert one.store.lease() is None  # nothing was seen yet
        one.see(report(0, [P, S]))
        await until(lambda: one.store.lease() is not None)
        assert one.store.lease() == Lease(
            ("192.0.2.1",), 3306, 33060, Outcome.ANSWERED, report=report(0, [P, S]), weight=50, priority=3
        )
    assert one.store.leases == {}


async def test_a_change_is_written_at_once_and_measurements_in_their_rhythm(until: Callable[..., Any]) -> None:
    async with standing(until) as one:
        one.see(report(0, [P, S]))
        await until(lambda: one.store.puts == 1)
        one.see(replace(report(0, [P, S]), queued=9, lag=1.0, load=4))
        await settle()
        assert one.store.puts == 1
        one.see(report(0, [S, P]))
        await until(lambda: one.store.puts == 2)
        one.see(None, Outcome.REFUSED)
        await until(lambda: one.store.puts == 3)
        one.time = agent.REWRITE_INTERVAL
        one.see(None, Outcome.REFUSED)
        await until(lambda: one.store.puts == 4)
        one.agent.drain(True)
        await until(lambda: one.store.puts == 5)
        found = one.store.lease()
        assert found is not None
        assert (found.draining, found.outcome) == (True, Outcome.REFUSED)


async def test_the_lease_is_kept_alive(until: Callable[..., Any]) -> None:
    async with standing(until) as one:
        one.see(report(0, [P, S]))
        await until(lambda: one.store.puts == 1)
        for kept in (1, 2):
            one.time += agent.KEEPALIVE_INTERVAL
            one.see(report(0, [P, S]))
            await until(lambda kept=kept: one.store.kept == kept)
        assert one.store.granted == 1


async def test_a_lost_lease_is_replaced_and_the_key_written_again(until: Callable[..., Any]) -> None:
    async with standing(until) as one:
        one.see(report(0, [P, S]))
        await until(lambda: one.store.lease() is not None)
        one.store.leases.clear()
        one.time += agent.KEEPALIVE_INTERVAL
        one.see(report(0, [P, S]))
        await until(lambda: one.store.lease() is not None)
        assert one.store.granted == 2


async def test_what_was_seen_too_long_ago_is_not_told(until: Callable[..., Any]) -> None:
    async with standing(until) as one:
        one.see(report(0, [P, S]), age=TELL_WITHIN + 0.1)
        await settle()
        assert one.store.puts == 0


async def test_a_look_that_times_out_is_no_evidence_until_what_was_said_is_old(until: Callable[..., Any]) -> None:
    async with standing(until) as one:
        one.see(report(0, [P, S]))
        await until(lambda: one.store.puts == 1)
        one.time += TELL_WITHIN - 0.5
        one.see(None, Outcome.TIMEOUT)
        await settle()
        assert one.store.puts == 1
        one.time += 1.0
        one.see(None, Outcome.TIMEOUT)
        await until(lambda: one.store.puts == 2)
        found = one.store.lease()
        assert found is not None
        assert (found.outcome, found.report) == (Outcome.TIMEOUT, None)


async def test_a_store_that_is_lost_is_told_of_once(until: Callable[..., Any], caplog: Any) -> None:
    caplog.set_level("INFO", "fairlead")
    async with standing(until) as one:
        one.store.trouble = EtcdError("nobody answers")
        for _ in range(5):
            one.see(report(0, [P, S]))
            await settle()
        await until(lambda: "etcd-lost" in caplog.text)
        one.store.trouble = None
        await until(lambda: one.store.lease() is not None)
    assert caplog.text.count("etcd-lost") == 1
    assert caplog.text.count("etcd-back") == 1


async def test_after_an_outage_the_key_is_written_at_once(until: Callable[..., Any]) -> None:
    """A publisher that came up meanwhile does not know how old a key is that it finds."""
    async with standing(until) as one:
        one.see(report(0, [P, S]))
        await until(lambda: one.store.puts == 1)
        one.store.trouble = EtcdError("nobody answers")
        one.time += agent.KEEPALIVE_INTERVAL
        one.see(report(0, [P, S]))
        await until(lambda: one.agent._written is None)
        one.store.trouble = None
        await until(lambda: one.store.puts == 2)


async def test_a_write_whose_answer_is_lost_is_not_relied_upon(until: Callable[..., Any]) -> None:
    async with standing(until) as one:
        one.see(report(0, [P, S]))
        await until(lambda: one.store.puts == 1)
        put = one.store.put

        async def lossy(key: str, value: bytes, lease: int) -> None:
            await put(key, value, lease)
            one.store.put = put  # type: ignore[method-assign]
            one.see(report(0, [P, S]))  # back to what was written and acknowledged
            raise EtcdError("no answer")

        one.store.put = lossy  # type: ignore[method-assign]
        one.see(report(0, [S, P]))
        await until(lambda: one.store.puts == 3)
        found = one.store.lease()
        assert found is not None
        assert found.report == report(0, [P, S])


async def test_a_lease_that_cannot_be_given_back_is_left_to_expire(until: Callable[..., Any], caplog: Any) -> None:
    async with standing(until) as one:
        one.store.trouble = EtcdError("nobody answers")
    assert "lease-not-revoked" in caplog.text
