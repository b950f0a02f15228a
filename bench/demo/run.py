"""The demonstration's course: bring all up, let it work, switch over, kill, repair, count, and end in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.demo.children import Children
from bench.demo.drivers import Account, AsyncConnection, DriverError
from bench.demo.ledger import Ack, Gap, Ledger, measure, summarise
from bench.demo.load import TABLES, BlockingWriter, probe, read, write
from bench.demo.show import Show, Snapshot
from bench.sandbox.report import Status
from bench.sandbox.sandbox import Sandbox
from router.admin_settings import ADMIN_PORT
from router.api import NoRouterError, fetch
from router.settings import DEFAULT_ROUTES

DOMAIN = "demo.fairlead.test"
RW_PORT, RO_PORT = (int(str(DEFAULT_ROUTES[name]["port"])) for name in ("classic_rw", "classic_ro"))
WRITERS, READERS = 2, 2  # with asyncmy; one more writer uses PyMySQL
# Seconds.
START_TIMEOUT = 30.0
RECOVER_TIMEOUT = 60.0
CALM = 1.0  # of ordinary work before and after each event
LOOK_EVERY = 0.5


class DemoError(Exception):
    """The demonstration cannot go on; the message says what to look at."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. `keep` leaves all running at the end."""

    switchovers: int = 1
    kills: int = 1
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """What is running: addresses are the same for every client."""

    sandbox: Sandbox
    children: Children
    address: str
    resolver: str

    @property
    def admin(self) -> str:
        return f"{self.address}:{ADMIN_PORT}"

    @property
    def account(self) -> Account:
        """The application's."""
        app = self.sandbox.accounts["app"]
        return Account(app.user, app.password, app.database or "", str(self.sandbox.ca_file))


async def perform(stage: Stage, plan: Plan, show: Show) -> dict[str, Any]:
    """Run the plan on a stage that is set, and return the summary.

    Raises:
        DemoError: routing did not recover, or a process ended that should not.
        SandboxError: a member could not be handled.
    """
    ledger = Ledger()
    switchovers: list[Gap] = []
    kills: list[Gap] = []
    names = {one.uuid: one.name for one in (await asyncio.to_thread(stage.sandbox.status)).members}
    async with _at_work(stage, ledger, names, show):
        show.event(f"writers on {stage.address}:{RW_PORT}, readers on {stage.address}:{RO_PORT}")
        await asyncio.sleep(CALM)
        for _ in range(plan.switchovers):
            status = await asyncio.to_thread(stage.sandbox.status)
            old = _one_primary(status)
            new = next(one.name for one in status.members if one.name != old and one.state == "ONLINE")
            show.event(f"switchover: {old} -> {new}")
            gap = await _through(stage, ledger, old, lambda new=new: stage.sandbox.switch(new))  # type: ignore[misc]
            show.event(_told(gap))
            switchovers.append(gap)
            await _until_all_offered(stage)
        for _ in range(plan.kills):
            old = _one_primary(await asyncio.to_thread(stage.sandbox.status))
            show.event(f"kill -9 of the primary, {old}")
            gap = await _through(stage, ledger, old, lambda old=old: stage.sandbox.kill(old))  # type: ignore[misc]
            show.event(_told(gap))
            kills.append(gap)
            await asyncio.to_thread(stage.sandbox.start, old)
            await _until_all_offered(stage)
            show.event(f"{old} has rejoined")
        await asyncio.sleep(CALM)
    missing = await _missing(stage, ledger)
    return {
        "writes_acknowledged": len(ledger.acknowledged),
        "writes_missing": len(missing),
        "errors": dict(ledger.errors.most_common()),
        "switchover": summarise(switchovers),
        "kill": summarise(kills),
        "reads_by_member": dict(sorted(ledger.reads.items())),
    }


@asynccontextmanager
async def _at_work(stage: Stage, ledger: Ledger, names: dict[str, str], show: Show) -> AsyncIterator[None]:
    loop, account = asyncio.get_running_loop(), stage.account
    first = await _first_connection(stage)
    for statement in TABLES:
        await first.run(statement)
    first.close()

    def wrote(identity: int, ack: Ack) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody counts any more
            loop.call_soon_threadsafe(ledger.wrote, identity, ack)

    def failed(kind: str) -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(ledger.errors.update, {kind: 1})

    blocking = BlockingWriter(0, stage.address, RW_PORT, account, names, wrote, failed)
    async with asyncio.TaskGroup() as tasks:
        owned = [
            tasks.create_task(write(1 + n, stage.address, RW_PORT, account, names, ledger), name=f"writer {1 + n}")
            for n in range(WRITERS)
        ]
        owned += [
            tasks.create_task(read(stage.address, RO_PORT, account, names, ledger), name=f"reader {n}")
            for n in range(READERS)
        ]
        owned.append(tasks.create_task(_keep_showing(stage, ledger, show), name="show"))
        blocking.start()
        try:
            yield
        finally:
            blocking.stop()
            for task in owned:
                task.cancel()
            await asyncio.to_thread(blocking.join, RECOVER_TIMEOUT)


async def _first_connection(stage: Stage) -> AsyncConnection:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            return await AsyncConnection.open(stage.address, RW_PORT, stage.account)
        except DriverError as error:
            if time.monotonic() > deadline:
                raise DemoError(f"no write connection through the router: {error.message}") from error
            await asyncio.sleep(0.1)


async def _keep_showing(stage: Stage, ledger: Ledger, show: Show) -> None:
    while True:
        for name in stage.children.running:
            if not stage.children.alive(name):
                raise DemoError(f"the {name} has ended; see {stage.children.log(name)}")
        with contextlib.suppress(NoRouterError):
            members = await asyncio.to_thread(_members, stage)
            routes = (await asyncio.to_thread(fetch, stage.admin, "/api/v1/routes"))["routes"]
            errors = ledger.errors.total()
            show.state(Snapshot(members, routes, len(ledger.acknowledged), ledger.reads.total(), errors))
        await asyncio.sleep(LOOK_EVERY)


def _members(stage: Stage) -> list[dict[str, Any]]:
    document = fetch(stage.admin, "/api/v1/topology")
    members: list[dict[str, Any]] = document["clusters"]["main"]["members"]
    return members


async def _through(stage: Stage, ledger: Ledger, old: str, event: Callable[[], None]) -> Gap:
    """Set an event off while the prober watches, and measure the gap once both write again."""
    ledger.direct.clear()
    async with asyncio.TaskGroup() as tasks:
        probers = [
            tasks.create_task(
                probe(member.name, member.host, member.port, stage.account, ledger), name=f"prober of {member.name}"
            )
            for member in stage.sandbox.members
        ]
        try:
            await _until(lambda: len(ledger.direct) > 20, "the prober writes directly")
            began = time.monotonic()
            await asyncio.to_thread(event)
            await _until(
                lambda: _flowing(ledger.direct, old) and _flowing(ledger.routed, old),
                "writes go on, directly and through the router",
            )
        finally:
            for prober in probers:
                prober.cancel()
    try:
        return measure(ledger.routed, ledger.direct, began, old)
    except ValueError as error:
        raise DemoError(str(error)) from error


def _flowing(acks: list[Ack], old: str) -> bool:
    """Whether another than the old primary has acknowledged several writes just now."""
    recent = acks[-10:]
    return len(recent) == 10 and all(ack.member != old for ack in recent) and time.monotonic() - recent[0].at < CALM


async def _until_all_offered(stage: Stage) -> None:
    def all_offered() -> bool:
        try:
            return all(one["offered"] for one in _members(stage))
        except NoRouterError:
            return False

    deadline = time.monotonic() + RECOVER_TIMEOUT
    while not await asyncio.to_thread(all_offered):
        if time.monotonic() > deadline:
            raise DemoError(f"the router does not use all members again; see {stage.children.log('router')}")
        await asyncio.sleep(0.1)


async def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + RECOVER_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise DemoError(f"not within {RECOVER_TIMEOUT:g} s: {what}")
        await asyncio.sleep(0.02)


async def _missing(stage: Stage, ledger: Ledger) -> set[int]:
    """Acknowledged writes that are not in the table, asked of the primary itself."""
    member = stage.sandbox.member(_one_primary(await asyncio.to_thread(stage.sandbox.status)))
    connection = await AsyncConnection.open(member.host, member.port, stage.account)
    try:
        found = {int(row[0]) for row in await connection.run("SELECT id FROM writes")}
    finally:
        connection.close()
    return ledger.acknowledged - found


def _one_primary(status: Status) -> str:
    if status.primary is None:
        raise DemoError("the group has no primary now; see `fairlead sandbox status`")
    return status.primary


def _told(gap: Gap) -> str:
    return (
        f"writes were interrupted for {gap.gap * 1000:.0f} ms; the group itself needed {gap.group * 1000:.0f} ms,"
        f" the router added {gap.added * 1000:.0f} ms"
    )


def summary_lines(summary: dict[str, Any]) -> str:
    """The summary for people."""
    lines = [
        f"acknowledged writes   {summary['writes_acknowledged']}",
        f"of these missing      {summary['writes_missing']}",
        f"errors                {', '.join(f'{kind}: {n}' for kind, n in summary['errors'].items()) or 'none'}",
    ]
    for event in ("switchover", "kill"):
        one = summary[event]
        if one["events"]:
            lines.append(
                f"{event:<21} write gap {one['gap_s'] * 1000:.0f} ms, the group {one['group_s'] * 1000:.0f} ms,"
                f" router added {one['added_s'] * 1000:.0f} ms (median of {one['events']})"
            )
    reads = ", ".join(f"{name}: {count}" for name, count in summary["reads_by_member"].items())
    lines.append(f"reads by member       {reads}")
    return "\n".join(lines)


def save(summary: dict[str, Any], file: Path) -> None:
    """Write the summary as JSON."""
    file.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
