"""Work that nobody waits for any more: it comes to its end, and what goes wrong is told."""

from __future__ import annotations

import asyncio

import pytest

from router.undertakings import Undertakings
from tests.router.conftest import Run
from tests.router.fakes import until


@pytest.mark.parametrize(
    ("error", "words"), [(ValueError("no\nway"), "no; way"), (KeyError("x"), "a fault of the router"), (None, "")]
)
def test_what_was_begun_is_ended_without_its_asker(
    run: Run, caplog: pytest.LogCaptureFixture, error: Exception | None, words: str
) -> None:
    async def scenario() -> None:
        undertakings, ready, ended = Undertakings(refusal=ValueError), asyncio.Event(), asyncio.Event()

        async def work() -> None:
            await ready.wait()
            ended.set()
            if error is not None:
                raise error

        asker = asyncio.create_task(undertakings.see_through(work(), "change"))
        await asyncio.sleep(0)
        asker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asker
        assert not ended.is_set()
        ready.set()
        await until(lambda: not undertakings._tasks, "it is done")
        assert ended.is_set()
        told = [(record.getMessage(), bool(record.exc_info)) for record in caplog.records]
        assert told == ([(f"change, whose asker left: {words}", isinstance(error, KeyError))] if error else [])

    run(scenario())


def test_who_waits_has_the_answer_or_the_error(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async def work(error: Exception | None) -> int:
            if error is not None:
                raise error
            return 7

        undertakings = Undertakings(refusal=ValueError)
        assert await undertakings.see_through(work(None), "change") == 7
        with pytest.raises(ValueError, match="no"):
            await undertakings.see_through(work(ValueError("no")), "change")
        assert not caplog.records

    run(scenario())
