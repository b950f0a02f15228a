"""Watching a group of fakes: when looks happen, and that topologies follow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace

import pytest

from cluster.access import Access
from cluster.evidence import Policy
from cluster.gtids import GtidSet
from cluster.members import Endpoint, Member, Role
from cluster.observations import Observation, Outcome, Replication
from cluster.questions import ASK_GROUP, ASK_SERVER
from cluster.topology import Topology, Trust
from cluster.watch import Timing, Watch
from cluster.x_probe import XProbe
from tests.cluster.fake_group import FakeGroupMember
from tests.xproto.fake_member import FakeMember
from xproto.errors import ServerError
from xproto.notices import GroupChange, GroupReplicationStateChanged
from xproto.session import Login

ACCESS = Access(Login(FakeMember.user, FakeMember.password))
SLOW = Timing(poll=30.0, notice_interval=30.0)  # only notices can make it quick
NOTICE = GroupReplicationStateChanged(GroupChange.MEMBER_ROLE_CHANGE, "v:1")
UP0 = [("PRIMARY", "ONLINE"), ("SECONDARY", "ONLINE"), ("SECONDARY", "ONLINE")]
UP1 = [("SECONDARY", "ONLINE"), ("PRIMARY", "ONLINE"), ("SECONDARY", "ONLINE")]


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        await asyncio.sleep(0.002)


@asynccontextmanager
async def group(timing: Timing) -> AsyncIterator[tuple[Watch, list[FakeGroupMember]]]:
    """Three members, mysql-0 the primary, and a watch that has seen them."""
    async with AsyncExitStack() as stack:
        members = [await stack.enter_async_context(FakeGroupMember(n)) for n in range(3)]
        for one in members:
            one.say(UP0, writable=one.number == 0)
        watch = Watch(ACCESS, timing=timing)
        watch.set_members([one.member for one in members])
        task = asyncio.create_task(watch.run())
        try:
            await until(lambda: names(watch.topology) == (["mysql-0"], ["mysql-1", "mysql-2"]), "all are offered")
            yield watch, members
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def names(topology: Topology) -> tuple[list[str], list[str]]:
    writers, readers = topology.primaries(), topology.secondaries()
    return [one.member.name for one in writers], [one.member.name for one in readers]


@pytest.mark.parametrize("change", GroupChange)
async def test_a_notice_from_one_member_has_all_looked_at(change: GroupChange) -> None:
    async with group(SLOW) as (watch, members):
        for one in members:
            one.say(UP1, writable=one.number == 1)
        members[2].notify(GroupReplicationStateChanged(change, "v:1"))
        await until(lambda: names(watch.topology)[0] == ["mysql-1"], "the new primary is offered")


async def test_a_flood_of_notices_is_one_hint() -> None:
    async with group(SLOW) as (_, members):
        before = members[0].looks
        began = time.monotonic()
        for _ in range(2000):
            members[0].notify(NOTICE)
        await until(lambda: members[0].looks > before + 2, "it is looked at again and again for a while")
        seconds = time.monotonic() - began
        assert members[0].looks - before <= seconds / SLOW.burst_interval + 3


async def test_a_role_that_shows_before_the_member_is_writable_is_waited_for() -> None:
    async with group(SLOW) as (watch, members):
        seen: list[Topology] = []
        watch.subscribe(lambda _, new: seen.append(new))
        for one in members:
            one.say(UP1)
        members[0].notify(NOTICE)

        def risen() -> bool:
            status = watch.topology.status_of("mysql-1")
            told = status and (status.role, status.offered, status.reason)
            return told == (Role.PRIMARY, None, "not writable yet") and watch.topology.primaries() == ()

        await until(risen, "its role shows, and nobody is offered meanwhile")
        members[1].say(UP1, writable=True)
        await until(lambda: names(watch.topology)[0] == ["mysql-1"], "it is offered as soon as it is writable")
        assert [one.version for one in seen] == sorted({one.version for one in seen})


async def test_members_are_nudged_so_that_notices_come_early() -> None:
    async with group(Timing(poll=30.0, notice_interval=0.005)) as (_, members):
        await until(lambda: all(one.pings > 2 for one in members), "every member is nudged")
        assert sum(one.looks for one in members) < 20


@pytest.mark.parametrize("has_plugin", [False, True])
async def test_a_server_without_a_group_is_asked_as_a_source_or_replica(has_plugin: bool) -> None:
    async with FakeGroupMember(0) as fake:
        assert isinstance(fake, FakeGroupMember)
        fake.is_plain_server(has_plugin=has_plugin)
        probe = XProbe(fake.member, ACCESS, timeout=5.0)
        seen = await probe.look()
        assert seen.outcome is Outcome.ANSWERED
        assert seen.report is not None
        assert (seen.report.rows, seen.report.load) == ((), 2)
        assert seen.report.replication == Replication(executed=GtidSet())
        assert not probe.hears_notices
        looks = fake.looks
        again = (await probe.look()).report
        assert (again, fake.looks) == (seen.report, looks + 1), "it went on asking what does not suit"
        await probe.close()


async def test_a_server_that_joins_a_group_is_asked_as_its_member_from_then_on() -> None:
    async with FakeGroupMember(0) as fake:
        assert isinstance(fake, FakeGroupMember)
        fake.is_plain_server(has_plugin=True)
        probe = XProbe(fake.member, ACCESS, timeout=5.0)
        await probe.look()
        fake.say(UP0)
        fake.answers[ASK_SERVER] = fake.answers[ASK_GROUP]  # its rows show that it is in one now
        seen = await probe.look()
        assert seen.report is not None
        assert seen.report.group_name == "g"
        assert probe.hears_notices
        await probe.close()


async def test_a_session_that_ended_while_idle_is_opened_again_in_the_same_look() -> None:
    async with FakeGroupMember(0) as fake:
        assert isinstance(fake, FakeGroupMember)
        fake.say(UP0, writable=True)
        probe = XProbe(fake.member, ACCESS, timeout=5.0)
        assert (await probe.look()).outcome is Outcome.ANSWERED
        for wire in fake.wires:
            wire.abort()
        assert (await probe.look()).outcome is Outcome.ANSWERED
        assert len(fake.wires) == 2
        await probe.close()


async def test_each_failure_has_its_name() -> None:
    async def look(access: Access = ACCESS, timeout: float = 5.0, **options: object) -> Outcome:
        async with FakeGroupMember(0) as fake:
            assert isinstance(fake, FakeGroupMember)
            fake.say(UP0)
            for name, value in options.items():
                setattr(fake, name, value)
            probe = XProbe(fake.member, access, timeout=timeout)
            try:
                return (await probe.look()).outcome
            finally:
                await probe.close()

    async def silent(wire: object) -> None:
        await asyncio.sleep(60)

    async def garbage(wire: object) -> None:
        wire.send_bytes(b"GET / HTTP/1.1\r\n\r\n")  # type: ignore[attr-defined]

    def answering(code: int) -> dict[str, ServerError]:
        return {ASK_GROUP: ServerError(code, "HY000", "no")}

    assert await look() is Outcome.ANSWERED
    assert await look(Access(None)) is Outcome.ALIVE
    assert await look(Access(Login("probe", "wrong"))) is Outcome.DENIED
    assert await look(answers=answering(1142)) is Outcome.DENIED
    assert await look(answers=answering(1040)) is Outcome.TOO_MANY
    assert await look(answers=answering(3032)) is Outcome.OFFLINE_MODE
    assert await look(answers=answering(9999)) is Outcome.BROKEN
    assert await look(timeout=0.1, _script=silent) is Outcome.TIMEOUT
    assert await look(_script=garbage) is Outcome.BROKEN
    nobody = XProbe(Member("gone", None, Endpoint("127.0.0.1", 1)), ACCESS, timeout=5.0)
    assert (await nobody.look()).outcome is Outcome.REFUSED
    no_port = XProbe(Member("classic-only", Endpoint("127.0.0.1", 3306), None), ACCESS, timeout=5.0)
    assert (await no_port.look()).outcome is Outcome.REFUSED


async def test_one_lost_look_does_not_make_a_member_unknown() -> None:
    timing = Timing(poll=0.02, timeout=0.05, notice_interval=30.0)
    async with group(timing) as (watch, members):
        watch._policy = Policy(max_age=1.0)
        outcomes: list[Outcome] = []
        watch.on_observation = lambda seen: outcomes.append(seen.outcome)
        versions = watch.topology.version
        members[2].silent = True
        await until(lambda: Outcome.TIMEOUT in outcomes, "a look has been lost")
        assert watch.topology.version == versions
        await until(lambda: Outcome.TIMEOUT in {one.outcome for one in watch._observations.values()}, "it ages out")


async def test_a_fault_with_one_members_answer_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty:
        hears_notices = False
        closed = 0

        async def look(self) -> Observation:
            raise ZeroDivisionError

        def nudge(self) -> bool:
            return True

        async def close(self) -> None:
            self.closed += 1

    faulty, outcomes = Faulty(), []
    watch = Watch(
        ACCESS,
        timing=Timing(reconnect_ceiling=0.01),
        make_probe=lambda *_, **__: faulty,
        on_observation=lambda seen: outcomes.append(seen.outcome),
    )
    watch.set_members([Member("odd", None, Endpoint("127.0.0.1", 1))])
    task = asyncio.create_task(watch.run())
    await until(lambda: len(outcomes) > 2, "it is looked at again")
    assert set(outcomes) == {Outcome.BROKEN}
    assert faulty.closed > 1
    assert "a fault in reading its answer" in caplog.text
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_members_come_and_go() -> None:
    async with group(SLOW) as (watch, members):
        watch.set_members([members[0].member, members[1].member])
        assert watch.topology.status_of("mysql-2") is None
        assert [one.host for one in watch.topology.unlisted] == ["mysql-2"]
        watch.set_members([one.member for one in members])
        await until(lambda: names(watch.topology)[1] == ["mysql-1", "mysql-2"], "it is offered again")


async def test_a_weight_that_moves_is_in_the_topology_and_disturbs_no_probe() -> None:
    async with group(SLOW) as (watch, members):
        before = dict(watch._tasks)
        watch.set_members([replace(one.member, weight=7) for one in members])
        assert [status.member.weight for status in watch.topology.members] == [7, 7, 7]
        assert watch._tasks == before


async def test_a_watch_that_can_ask_nobody_says_so() -> None:
    watch = Watch(ACCESS, timing=Timing(poll=0.01, timeout=0.2))
    assert not watch.seen
    watch.set_members([Member("gone", None, Endpoint("127.0.0.1", 1))])
    task = asyncio.create_task(watch.run())
    await until(lambda: watch.seen, "it has been tried")
    assert watch.topology.trust is Trust.BLIND
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
