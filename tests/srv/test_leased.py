"""Following leased keys, over a store that fails as the test wants. The real one is in `tests/e2e`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from cluster.members import Role
from srv import leased
from srv.desired import Desired
from srv.etcd_answers import Batch, EtcdError, Event, RevisionGoneError
from srv.leased import LeasedClusters
from srv.leaseholders import Settings
from srv.leases import write
from tests.srv.test_leaseholders import lease

P, S = Role.PRIMARY, Role.SECONDARY


class FakeStore:
    """Keys at a revision, and what goes wrong."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[bytes, int]] = {}
        self.revision = 1
        self.trouble: EtcdError | None = None
        self.asked: list[str] = []
        self._log: list[Event] = []
        self._changed = asyncio.Event()
        self._cut: EtcdError | None = None

    def put(self, label: str, value: bytes | None, domain: str = "db.test") -> None:
        self.revision += 1
        self._log.append(Event(f"/f/{domain}/{label}", value, self.revision))
        if value is None:
            self.keys.pop(f"/f/{domain}/{label}")
        else:
            self.keys[f"/f/{domain}/{label}"] = value, self.revision
        self._changed.set()

    def cut(self, error: EtcdError) -> None:
        """End the watch."""
        self._cut = error
        self._changed.set()

    async def close(self) -> None:
        self.asked.append("close")

    async def read(self, prefix: str) -> Batch:
        self.asked.append("read")
        if self.trouble:
            raise self.trouble
        return Batch(self.revision, tuple(Event(key, *at, is_past=True) for key, at in self.keys.items()))

    async def watch(self, prefix: str, start: int) -> AsyncIterator[Batch]:
        self.asked.append(f"watch {start}")
        if self.trouble:
            raise self.trouble
        now = self.revision
        yield Batch(start - 1, ())
        while True:
            for event in [event for event in self._log if event.revision >= start]:
                start = event.revision + 1
                yield Batch(event.revision, (replace(event, is_past=event.revision <= now),))
            if self._cut:
                error, self._cut = self._cut, None
                raise error
            self._changed.clear()
            await self._changed.wait()


class Heard:
    """What the source wants."""

    def __init__(self) -> None:
        self.last: dict[str, Desired] = {}

    def want(self, desired: Desired) -> None:
        self.last[desired.domain] = desired

    def drop(self, domain: str) -> None:
        del self.last[domain]

    def labels(self, domain: str = "db.test") -> list[str]:
        return [one.label for one in self.last[domain].members] if domain in self.last else []


@contextlib.asynccontextmanager
async def following(store: FakeStore, *, keep_roles: float = 30.0) -> AsyncIterator[Heard]:
    heard = Heard()
    source = LeasedClusters(store, "/f", [Settings("db.test", keep_roles=keep_roles)])  # type: ignore[arg-type]
    task = asyncio.create_task(source.run(heard), name="source")
    try:
        yield heard
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert store.asked[-1] == "close"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leased, "BACKOFF", (0.001, 0.01))


def value(n: int) -> bytes:
    return write(lease(n, [P, S, S]))


async def test_what_stands_there_and_what_changes(until: Callable[..., Any]) -> None:
    store = FakeStore()
    store.put("m0", value(0))
    store.put("m9", value(1), domain="other.test")
    async with following(store) as heard:
        await until(lambda: heard.labels() == ["m0"])
        store.put("m1", value(1))
        await until(lambda: heard.labels() == ["m0", "m1"])
        store.put("m0", None)
        await until(lambda: heard.labels() == ["m1"])
        assert heard.last.keys() == {"db.test"}
    assert store.asked == ["read", "watch 4", "close"]


async def test_a_lost_store_is_told_of_once_and_the_watch_goes_on_where_it_was(
    until: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fairlead")
    store = FakeStore()
    store.put("m0", value(0))
    async with following(store) as heard:
        await until(lambda: heard.labels() == ["m0"] and store.asked[-1] == "watch 3")
        store.trouble = EtcdError("nobody answers")
        store.cut(store.trouble)
        await until(lambda: len(store.asked) > 10)
        assert heard.labels() == ["m0"]
        store.put("m1", value(1))
        store.trouble = None
        await until(lambda: heard.labels() == ["m0", "m1"])
    assert store.asked.count("read") == 1
    assert caplog.text.count("etcd-lost reason='nobody answers'") == 1
    assert caplog.text.count("etcd-back") == 1


async def test_where_the_past_is_gone_everything_is_read_anew(until: Callable[..., Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(leased, "REVIEW_INTERVAL", 0.01)
    store = FakeStore()
    store.put("m0", value(0))
    store.put("m1", value(1))
    async with following(store, keep_roles=0.3) as heard:
        await until(lambda: heard.labels() == ["m0", "m1"] and store.asked[-1] == "watch 4")
        store.keys.pop("/f/db.test/m0")  # and nobody tells
        store.revision = 90
        store.cut(RevisionGoneError("compacted"))
        await until(lambda: store.asked[-1] == "watch 91")
        assert heard.labels() == ["m0", "m1"]  # another store says nothing of it
        await until(lambda: heard.labels() == ["m1"])
        assert store.asked.count("read") == 2


async def test_without_a_store_nothing_is_known_of_a_cluster(until: Callable[..., Any]) -> None:
    store = FakeStore()
    store.trouble = EtcdError("nobody answers")
    async with following(store) as heard:
        await until(lambda: bool(heard.last))
        assert heard.last["db.test"] == Desired("db.test", (), 5, roles_known=False, members_known=False)


async def test_what_was_missed_is_no_older_than_what_was_heard_last(until: Callable[..., Any]) -> None:
    store, heard, time = FakeStore(), Heard(), 0.0
    source = LeasedClusters(store, "/f", [Settings("db.test")], clock=lambda: time)  # type: ignore[arg-type]
    task = asyncio.create_task(source.run(heard), name="source")
    try:
        await until(lambda: store.asked[-1:] == ["watch 2"])
        store.put("m0", value(0))
        await until(lambda: heard.labels() == ["m0"] and heard.last["db.test"].roles_known)
        store.trouble = EtcdError("nobody answers")
        store.cut(store.trouble)
        await until(lambda: len(store.asked) > 5)
        store.put("m1", value(1))
        time, store.trouble = 8.0, None
        await until(lambda: heard.labels() == ["m0", "m1"])
        assert source._clusters["db.test"].topology.status_of("m1.db.test") is not None
        assert {seen.taken_at for seen in source._clusters["db.test"]._observations.values()} == {0.0}
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_many_clusters_are_reviewed_for_their_age(until: Callable[..., Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(leased, "REVIEW_INTERVAL", 0.01)
    store = FakeStore()
    domains = [f"c{n}.test" for n in range(2 * leased.AT_ONCE + 1)]
    for domain in domains:
        store.put("m0", value(0), domain)
    time = 0.0
    heard = Heard()
    source = LeasedClusters(store, "/f", [Settings(one) for one in domains], clock=lambda: time)  # type: ignore[arg-type]
    task = asyncio.create_task(source.run(heard), name="source")
    try:
        await until(lambda: "read" in store.asked and store.asked[-1] != "read")
        assert not any(one.roles_known for one in heard.last.values())  # who knows how old they are
        for domain in domains:
            store.put("m0", value(0), domain)
        await until(lambda: all(one.roles_known for one in heard.last.values()))
        time = 100.0
        await until(lambda: not any(one.roles_known for one in heard.last.values()))
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_without_a_store_to_read_anew_what_is_known_grows_old_all_the_same(
    until: Callable[..., Any], monkeypatch: Any
) -> None:
    monkeypatch.setattr(leased, "REVIEW_INTERVAL", 0.01)
    store, heard, time = FakeStore(), Heard(), 0.0
    store.put("m0", value(0))
    source = LeasedClusters(store, "/f", [Settings("db.test")], clock=lambda: time)  # type: ignore[arg-type]
    task = asyncio.create_task(source.run(heard), name="source")
    try:
        await until(lambda: heard.labels() == ["m0"] and store.asked[-1] == "watch 3")
        store.trouble = EtcdError("nobody answers")
        store.cut(RevisionGoneError("compacted"))
        await until(lambda: store.asked.count("read") > 1)
        time = 100.0
        await until(lambda: not heard.last["db.test"].roles_known)
        assert heard.labels() == ["m0"]
    finally:
        task.cancel()
        await asyncio.wait([task])
