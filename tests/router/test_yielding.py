"""Workers that leave connections to each other, as far as one process can play them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from router.counts import Place, SharedCounts, SharedMemory
from router.evenness import MARGIN, SHARE, is_ahead, is_level
from router.yielding import AWAKE, Yielding
from tests.router.conftest import Run
from tests.router.fakes import until


def test_the_rule() -> None:
    assert not is_ahead(1000, []), "nobody else accepts"
    assert not is_ahead(MARGIN, [0])
    assert is_ahead(MARGIN + 1, [0])
    assert is_ahead(MARGIN + 1, [90, 0]), "one that has fewer is enough"
    assert not is_ahead(1600 + 1600 // SHARE, [1600])
    assert is_ahead(1601 + 1600 // SHARE, [1600])
    assert is_level(5, [])
    assert is_level(5, [5, 9])
    assert not is_level(5, [4, 9])


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    made = SharedMemory.make()
    made.use(1)
    yield made
    made.close()


class Player:
    """A worker that has sessions and accepts or does not."""

    def __init__(self, memory: SharedMemory, column: int) -> None:
        self.counts = SharedCounts(memory, column, {"rw": 1})
        self.accepts = True
        self.failures = 0
        self.yielding = Yielding(Place(memory, column), self.step_back, self.step_forward)
        self.yielding.tick()

    def take(self, number: int) -> None:
        for _ in range(number):
            self.yielding.accepted()
            self.counts.enter("rw")

    def step_back(self) -> None:
        self.accepts = False

    async def step_forward(self) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("no descriptor")
        self.accepts = True


def test_who_is_ahead_steps_back_until_the_other_has_as_many(run: Run, memory: SharedMemory) -> None:
    async def scenario() -> None:
        one, other = Player(memory, 0), Player(memory, 1)
        one.yielding.tick()
        one.take(MARGIN + 1)
        await asyncio.sleep(0.02)
        assert one.accepts
        one.take(1)
        await until(lambda: not one.accepts, "it steps back")
        one.failures = 2
        for left in range(MARGIN + 1, -1, -1):
            assert not one.accepts, f"the other has {left + 1} fewer"
            other.take(1)
            other.yielding.tick()
            await asyncio.sleep(0.02)
        await until(lambda: one.accepts, "it comes forward again, and is not put off by a failure")
        other.take(3 * MARGIN)
        await until(lambda: not other.accepts, "and the other steps back for it")
        for player in (one, other):
            player.yielding.end()

    run(scenario())


def test_nobody_steps_back_for_one_that_is_back_or_asleep_or_gone(run: Run, memory: SharedMemory) -> None:
    async def scenario() -> None:
        one, other = Player(memory, 0), Player(memory, 1)
        one.yielding.tick()
        one.take(MARGIN + 2)
        await until(lambda: not one.accepts, "it steps back")
        other.take(10 * MARGIN)
        await asyncio.sleep(0.01)
        assert other.accepts, "somebody must"
        await until(lambda: one.accepts, "it comes forward")
        one.take(20 * MARGIN)
        began = time.monotonic()
        await until(lambda: not one.accepts, "for the other was awake just now")
        await until(lambda: one.accepts, "but says nothing more")
        assert time.monotonic() - began < AWAKE + 0.2
        one.yielding.tick()
        one.take(20 * MARGIN)
        await asyncio.sleep(0.02)
        assert one.accepts, "nobody else is awake"
        other.yielding.tick()
        one.yielding.tick()
        one.take(1)
        await until(lambda: not one.accepts, "it is awake again")
        other.yielding.end()
        other.yielding.tick()
        await until(lambda: one.accepts, "one that retires does not accept")
        one.yielding.end()

    run(scenario())


def test_one_that_retires_while_it_is_back_stays_so(run: Run, memory: SharedMemory) -> None:
    async def scenario() -> None:
        one, other = Player(memory, 0), Player(memory, 1)
        one.yielding.tick()
        one.take(MARGIN + 2)
        await until(lambda: not one.accepts, "it steps back")
        one.yielding.end()
        other.take(10 * MARGIN)
        await asyncio.sleep(0.05)
        one.yielding.tick()
        assert not one.accepts
        assert Place(memory, 1).others(0.0) == []
        other.yielding.end()

    run(scenario())
