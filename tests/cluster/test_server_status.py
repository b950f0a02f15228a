"""What servers count of themselves: how it is read, and when they are asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress

import pytest

from cluster.questions import AnswerError
from cluster.server_status import ASK_STATUS, read_mariadb_status, read_status
from cluster.watch import Timing, Watch
from tests.cluster.fake_group import FakeGroupMember
from tests.cluster.test_watch import ACCESS, UP0, until
from tests.xproto.fake_member import Wire, text_result
from xproto.errors import ServerError

SAID = {
    "global_status": {"Threads_connected": "7"},
    "global_variables": {"max_connections": "151"},
    "perf_schema": None,
}
READ = {"global_status_threads_connected": 7.0, "global_variables_max_connections": 151.0}


def test_an_answer_is_read_by_name() -> None:
    assert read_status([(json.dumps(SAID),)]) == READ
    assert read_mariadb_status([("global_status.THREADS_CONNECTED", "7")]) == {"global_status_threads_connected": 7.0}


@pytest.mark.parametrize("rows", [[], [()], [("",)], [("[]",)], [('{"global_status": {"a": "b"}}',)], [(None,)]])
def test_what_is_no_answer_is_said(rows: list[tuple[object, ...]]) -> None:
    with pytest.raises(AnswerError):
        read_status(rows)


async def say_nothing(wire: Wire) -> None:
    """Take the question, and hang."""


async def watched(timing: Timing, scenario: Callable[[Watch, FakeGroupMember], object]) -> None:
    """Run a scenario with one member that tells its counts."""
    async with FakeGroupMember(0) as one:
        one.say(UP0[:1], writable=True)
        one.answers[ASK_STATUS] = text_result(answer=json.dumps(SAID))
        watch = Watch(ACCESS, timing=timing)
        watch.set_members([one.member])
        task = asyncio.create_task(watch.run())
        try:
            await scenario(watch, one)  # type: ignore[misc]
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_a_server_is_asked_once_an_interval() -> None:
    async def scenario(watch: Watch, one: FakeGroupMember) -> None:
        await until(lambda: "mysql-0" in watch.statuses, "it tells its counts")
        first = watch.statuses["mysql-0"]
        assert first.values == READ
        looks = one.looks
        await until(lambda: one.looks > looks + 5, "looks go on")
        assert watch.statuses["mysql-0"] is first

    await watched(Timing(poll=0.01, burst=0.0, status_interval=60), scenario)


async def test_nobody_is_asked_where_it_is_not_wanted() -> None:
    async def scenario(watch: Watch, one: FakeGroupMember) -> None:
        await until(lambda: one.looks > 5, "looks go on")
        assert watch.statuses == {}

    await watched(Timing(poll=0.01, burst=0.0), scenario)


async def test_a_server_that_refuses_is_told_of_once_and_looked_at_as_before(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(watch: Watch, one: FakeGroupMember) -> None:
        one.answers[ASK_STATUS] = ServerError(1142, "42000", "SELECT command denied")
        await until(lambda: "mysql-0" in watch.statuses, "it is asked")
        first = watch.statuses["mysql-0"]
        assert "SELECT command denied" in first.detail
        await until(lambda: watch.statuses["mysql-0"] is not first, "it is asked again")
        assert watch.topology.primaries(), "and is offered all the same"

    await watched(Timing(poll=0.01, burst=0.0, status_interval=0.05), scenario)
    assert len([one for one in caplog.records if "does not tell its own counts" in one.getMessage()]) == 1


async def test_a_server_that_hangs_over_it_is_looked_at_at_once() -> None:
    async def scenario(watch: Watch, one: FakeGroupMember) -> None:
        one.answers[ASK_STATUS] = say_nothing
        await until(lambda: "mysql-0" in watch.statuses, "it is asked")
        await until(lambda: one.looks == 2, "it is looked at again, long before the poll's turn")
        assert "no answer within" in watch.statuses["mysql-0"].detail

    await watched(Timing(poll=30, notice_interval=30, burst=0.0, status_interval=60, status_timeout=0.1), scenario)
