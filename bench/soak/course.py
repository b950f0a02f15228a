"""The soak's course: at rest, under load and trouble, at rest again; and what was seen of it all the while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from bench.demo.drivers import AsyncConnection, DriverError
from bench.demo.run import RW_PORT, DemoError, Stage
from bench.soak import sampling
from bench.soak.clients import TABLES, Crowd
from bench.soak.record import Done, Plan, Record
from bench.soak.routed import Routed
from bench.soak.steps import Kind, draw_steps, upgrades_due
from bench.soak.trouble import Trouble
from bench.soak.visits import account_of
from router.api import NoRouterError

Progress = Callable[[str], None]
# Seconds.
LEAVE_TIMEOUT = 60.0  # for the last statements of the crowd
SETTLE = 2.0  # at rest before the first look at it: what starting left behind is gone
START_TIMEOUT = 30.0
PAGE = 100_000  # numbers read at once, when what was written is looked for


FAULTS = ("Traceback", "a fault of the router", ": died, ")


async def perform(stage: Stage, plan: Plan, tell: Progress) -> Record:
    """Run the plan on a group that is up.

    Args:
        stage: where; its router and publisher are started here, and are its children to end.
        plan: what.
        tell: is told of each step.

    Raises:
        DemoError: routing did not recover, or a process ended that should not.
        SandboxError: a member could not be handled.
    """
    record = Record(plan)
    routed = Routed(stage, stage.children.log("router").with_name("router.toml"))
    await asyncio.to_thread(routed.start)
    record.extra += await _make_table(stage)
    await asyncio.to_thread(routed.wait_rest)
    await asyncio.sleep(SETTLE)
    began, signals = time.monotonic(), asyncio.Lock()
    record.before = await asyncio.to_thread(sampling.look, stage.admin, 0.0, routed.generation)
    crowd = Crowd(stage.address, stage.account, plan.seed)
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(crowd.work(), name="crowd")
        looking = tasks.create_task(_keep_looking(record, routed, began, signals), name="samples")
        await _trouble(record, Trouble(stage.sandbox, routed, signals), began, tell)
        await asyncio.to_thread(routed.reload, extra=False)
        record.seconds = time.monotonic() - began
        tell("the clients leave")
        crowd.end()
        async with asyncio.timeout(LEAVE_TIMEOUT):
            await working
        looking.cancel()
    await asyncio.to_thread(routed.wait_rest)
    await asyncio.sleep(SETTLE)
    at = time.monotonic() - began
    record.after = await asyncio.to_thread(sampling.look, stage.admin, at, routed.generation)
    record.visits = crowd.visits
    record.accounts = {one["name"]: account_of(one) for one in await asyncio.to_thread(routed.routes)}
    record.acknowledged = len(crowd.ledger.acknowledged)
    record.errors = dict(crowd.ledger.errors.most_common())
    record.missing = len(crowd.ledger.acknowledged - await _written(stage))
    record.faults = [line for line in routed.log().splitlines() if any(words in line for words in FAULTS)]
    return record


async def _trouble(record: Record, trouble: Trouble, began: float, tell: Progress) -> None:
    plan = record.plan
    steps = draw_steps(plan.seed, trouble.members, plan.kinds)
    upgrades = upgrades_due(plan.seconds)
    while (now := time.monotonic() - began) < plan.seconds:
        step = next(steps)
        if upgrades and now >= upgrades[0]:
            del upgrades[0]
            step = replace(step, kind=Kind.UPGRADE)
        await asyncio.sleep(min(step.rest, max(0.0, plan.seconds - now)))
        started = time.monotonic() - began
        tell(f"[{started:6.1f} s] {step.words}")
        whom = await trouble.do(step)
        record.steps.append(Done(started, time.monotonic() - began, f"{step.words} {whom}".strip()))


async def _keep_looking(record: Record, routed: Routed, began: float, signals: asyncio.Lock) -> None:
    due = time.monotonic()
    while True:
        due += sampling.EVERY
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        async with signals:
            at = time.monotonic() - began
            try:
                seen = await asyncio.to_thread(sampling.look, routed.stage.admin, at, routed.generation)
            except NoRouterError:
                record.unanswered += 1
                continue
        record.samples += seen


async def _make_table(stage: Stage) -> int:
    """Make the table; return how many connections that took."""
    deadline = time.monotonic() + START_TIMEOUT
    for number in range(1, 1_000):
        try:
            connection = await AsyncConnection.open(stage.address, RW_PORT, stage.account)
        except DriverError as error:
            if time.monotonic() > deadline:
                raise DemoError(f"no write connection through the router: {error}") from error
            await asyncio.sleep(0.1)
            continue
        try:
            for statement in TABLES:
                await connection.run(statement)
        finally:
            connection.close()
        return number
    raise AssertionError("unreachable")


async def _written(stage: Stage) -> set[int]:
    """What is in the table, asked of the primary itself."""
    primary = (await asyncio.to_thread(stage.sandbox.status)).primary
    if primary is None:
        raise DemoError("the group has no primary now; see `fairlead sandbox status`")
    member = stage.sandbox.member(primary)
    connection = await AsyncConnection.open(member.host, member.port, stage.account)
    found: set[int] = set()
    try:
        last = -1
        while True:
            statement = "SELECT id FROM writes WHERE id > %s ORDER BY id LIMIT %s"
            page = [int(row[0]) for row in await connection.run(statement, last, PAGE)]
            found.update(page)
            if len(page) < PAGE:
                return found
            last = page[-1]
    finally:
        connection.close()
