"""One timer for many bounds."""

from __future__ import annotations

import asyncio
import time

from router.patience import Patience
from tests.router.conftest import Run
from tests.router.fakes import until


def test_each_has_its_time_and_who_is_done_is_left_alone(run: Run) -> None:
    async def scenario() -> None:
        late: dict[str, float] = {}
        began = time.monotonic()
        patience: Patience[str] = Patience(0.2, lambda one: late.setdefault(one, time.monotonic() - began))
        patience.begin("first", 9.0)
        patience.begin("done", 9.0)
        patience.begin("sooner", 0.05)
        patience.begin("done sooner", 0.15)
        await asyncio.sleep(0.1)
        patience.begin("last", 9.0)
        for one in ("done", "done sooner", "done", "nobody"):
            patience.forget(one)
        await until(lambda: len(late) == 3, "three are late")
        assert list(late) == ["sooner", "first", "last"]
        for one, due in (("sooner", 0.05), ("first", 0.2), ("last", 0.3)):
            assert due - 0.001 <= late[one] < due + 0.09, "no sooner, and not with the next"
        patience.begin("again", 9.0)
        await until(lambda: "again" in late, "it goes on after all were done")

    run(scenario())


def test_another_time_is_for_those_that_begin_after(run: Run) -> None:
    async def scenario() -> None:
        late: list[str] = []
        patience = Patience(0.2, late.append)
        patience.begin("before", 9.0)
        patience.seconds = 0.0
        patience.begin("after", 9.0)
        await asyncio.sleep(0.1)
        assert late == [], "it waits for the one before"
        await until(lambda: late == ["before", "after"], "both are late")

    run(scenario())
