"""The loop that keeps a name fresh."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from srv.following import Following
from srv.freshness import Followed
from srv.lookup import Answer, Lookup, Outcome, Target

NAME = "_mysql._tcp.d.test"
M1 = Target("m1.d.test", 3306, 0, 100, ("192.0.2.1",))
M2 = Target("m2.d.test", 3306, 0, 100, ("192.0.2.2",))
PATIENCE = 10.0  # seconds; never waited out


class Scripted:
    """Gives the lookups of its script, the last one for ever; `passed` is set when it is given."""

    def __init__(self, *script: Lookup) -> None:
        self._script = list(script)
        self.looks = 0
        self.asked: set[str] = set()
        self.passed = asyncio.Event()

    async def srv(self, name: str) -> Lookup:
        self.asked.add(name)
        self.looks += 1
        if len(self._script) > 1:
            return self._script.pop(0)
        self.passed.set()
        return self._script[0]


def answer(*targets: Target, ttl: float = 0) -> Lookup:
    return Lookup(NAME, Outcome.ANSWER, Answer(targets, ttl))


@contextlib.asynccontextmanager
async def following(
    resolver: Scripted, *, floor: float = 0.001, ceiling: float = 0.002, keep_last_good: float = 60.0
) -> AsyncIterator[tuple[Following, list[Followed]]]:
    seen: list[Followed] = []
    one = Following(
        resolver,
        NAME.upper(),
        on_change=seen.append,
        floor=floor,
        ceiling=ceiling,
        keep_last_good=keep_last_good,
        rng=random.Random(1),
    )
    task = asyncio.create_task(one.run(), name="following")
    try:
        async with asyncio.timeout(PATIENCE):
            yield one, seen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_changes_are_told_and_sameness_is_not(until: Any, caplog: pytest.LogCaptureFixture) -> None:
    silence = Lookup(NAME, Outcome.TIMEOUT, detail="no answer within 1 s")
    script = [answer(M1), answer(M1), answer(M1, M2), silence, silence, answer(M1, M2)]
    with caplog.at_level(logging.INFO, "fairlead.srv"):
        async with following(Scripted(*script)) as (one, seen):
            await until(lambda: len(seen) == 4)
            assert one.state.outcome is Outcome.ANSWER
            assert one.name == NAME
    assert [(state.outcome, state.targets) for state in seen] == [
        (Outcome.ANSWER, (M1,)),
        (Outcome.ANSWER, (M1, M2)),
        (Outcome.TIMEOUT, (M1, M2)),
        (Outcome.ANSWER, (M1, M2)),
    ]
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4
    assert "news=kept outcome=timeout targets=2" in lines[2]
    assert "no answer within 1 s" in lines[2]
    assert caplog.records[2].levelno == logging.WARNING
    assert "news=renewed" in lines[3]
    assert {outcome: count for outcome, count in one.counts.items() if outcome is not Outcome.ANSWER and count} == {
        Outcome.TIMEOUT: 2
    }
    assert one.counts[Outcome.ANSWER] >= 4


async def test_a_time_without_answers_is_two_lines_whatever_happens_in_it(
    until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [Lookup(NAME, outcome) for outcome in (Outcome.TIMEOUT, Outcome.SERVFAIL, Outcome.EMPTY)]
    with caplog.at_level(logging.INFO, "fairlead.srv"):
        async with following(Scripted(answer(M1), *failures * 20, answer(M2))) as (one, _):
            await until(lambda: one.state.targets == (M2,))
    news = [record.getMessage().split()[2] for record in caplog.records]
    assert news == ["news=found", "news=kept", "news=renewed"]


async def test_a_look_under_way_does_not_lengthen_the_time(until: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A resolver that asks several silent servers needs seconds to say so."""

    class Stuck(Scripted):
        async def srv(self, name: str) -> Lookup:
            if self.looks:
                await asyncio.Event().wait()
            return await super().srv(name)

    async with following(Stuck(answer(M1)), keep_last_good=0.1) as (one, seen):
        await until(lambda: one.state.outcome is Outcome.TIMEOUT)
        assert [state.targets for state in seen] == [(M1,), ()]
    assert "news=expired outcome=timeout" in caplog.text


async def test_an_answer_that_is_too_old_does_not_wait_for_the_look_that_begins(until: Any) -> None:
    class StuckAfterTwo(Scripted):
        async def srv(self, name: str) -> Lookup:
            if self.looks == 2:
                await asyncio.Event().wait()
            return await super().srv(name)

    script = [answer(M1), Lookup(NAME, Outcome.SERVFAIL)]
    async with following(StuckAfterTwo(*script), floor=0.1, ceiling=0.2, keep_last_good=0.15) as (_, seen):
        await until(lambda: len(seen) == 3)
        assert [state.targets for state in seen] == [(M1,), (M1,), ()]


@pytest.mark.parametrize("name", [NAME, f"{NAME}."])
async def test_a_final_dot_reaches_the_resolver(name: str, until: Any) -> None:
    resolver = Scripted(answer(M1))
    one = Following(resolver, name.upper(), on_change=lambda _: None)
    task = asyncio.create_task(one.run(), name="following")
    await until(lambda: bool(resolver.asked))
    task.cancel()
    assert resolver.asked == {name}
    assert one.name == NAME


async def test_the_first_outcome_is_told_even_without_an_answer(until: Any) -> None:
    async with following(Scripted(Lookup(NAME, Outcome.NXDOMAIN))) as (one, seen):
        await until(lambda: bool(seen))
        assert seen[0].outcome is Outcome.NXDOMAIN
        assert one.state.targets == ()


async def test_an_answer_that_is_not_renewed_expires(until: Any) -> None:
    async with following(Scripted(answer(M1), Lookup(NAME, Outcome.EMPTY)), keep_last_good=0.05) as (_, seen):
        await until(lambda: len(seen) == 3)
        assert [(state.outcome, state.targets) for state in seen] == [
            (Outcome.ANSWER, (M1,)),
            (Outcome.EMPTY, (M1,)),
            (Outcome.EMPTY, ()),
        ]


async def test_a_hint_shortens_the_wait(until: Any) -> None:
    resolver = Scripted(answer(M1, ttl=3600))
    async with following(resolver, floor=0.01, ceiling=3600) as (one, _):
        await resolver.passed.wait()
        for looks in range(2, 5):
            one.refresh_soon()
            await until(lambda: resolver.looks == looks)  # noqa: B023


async def test_hints_do_not_look_more_often_than_the_floor_allows() -> None:
    resolver = Scripted(answer(M1, ttl=3600))
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with following(resolver, floor=0.05, ceiling=3600) as (one, _):
        while resolver.looks < 4:
            one.refresh_soon()
            await asyncio.sleep(0)
    assert loop.time() - began >= 3 * 0.05 * 0.9


def test_impossible_names_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="empty label"):
        Following(Scripted(answer()), "a..b", on_change=lambda _: None)
