"""The joint of sources and publishers, with sources and publishers that the test moves."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Never

import pytest

from srv.controller import Controller, run_until_stopped
from srv.desired import Desired
from srv.publisher import PublishError
from srv.source import Wants
from srv.zone import SERIAL_MODULUS, Part, Zone, ZoneMember, is_newer

M1 = ZoneMember("m1", ("192.0.2.1",), 3306, 33060, frozenset({Part.PRIMARY}))
ORDERS, PARTS = Desired("orders.test", (M1,)), Desired("parts.test", (M1,))


class Recorder:
    """A publisher that remembers what it was told."""

    def __init__(self, trouble: str = "") -> None:
        self.told: list[tuple[str, int | None]] = []
        self.trouble = trouble
        self.started = self.ended = False

    def publish(self, zone: Zone) -> None:
        self.told.append((zone.origin, zone.serial))

    def withdraw(self, origin: str) -> None:
        self.told.append((origin, None))

    async def start(self) -> None:
        if self.trouble:
            raise PublishError(self.trouble)
        self.started = True

    async def run(self) -> Never:
        while True:
            await asyncio.Event().wait()

    async def close(self) -> None:
        self.ended = True


class Says:
    """A source that says its piece and then nothing, or fails."""

    def __init__(self, *pieces: Desired, fault: Exception | None = None) -> None:
        self.pieces = pieces
        self.fault = fault
        self.ended = False

    async def run(self, wants: Wants) -> Never:
        for piece in self.pieces:
            wants.want(piece)
        if self.fault:
            raise self.fault
        try:
            while True:
                await asyncio.Event().wait()
        finally:
            self.ended = True


def test_each_change_is_published_once_and_raises_that_zones_serial() -> None:
    one, other = Recorder(), Recorder()
    controller = Controller([], [one, other], now=lambda: 1000.0)
    for desired in (ORDERS, ORDERS, PARTS, replace(ORDERS, ttl=9), replace(ORDERS, ttl=9)):
        controller.want(desired)
    assert one.told == other.told == [("orders.test", 10000), ("parts.test", 10000), ("orders.test", 10001)]
    assert [zone.origin for zone in controller.zones] == ["orders.test", "parts.test"]


def test_a_cluster_that_comes_back_does_not_use_a_serial_again() -> None:
    one = Recorder()
    controller = Controller([], [one], now=lambda: 1000.0)
    controller.want(ORDERS)
    controller.drop("orders.test")
    controller.drop("orders.test")
    assert controller.zones == ()
    controller.want(replace(ORDERS, ttl=9))
    assert one.told == [("orders.test", 10000), ("orders.test", None), ("orders.test", 10001)]


def test_a_restart_soon_after_some_changes_does_not_go_back() -> None:
    one, clock = Recorder(), 1.8e9
    before = Controller([], [one], now=lambda: clock)
    for ttl in range(1, 7):
        before.want(replace(ORDERS, ttl=ttl))
    clock += 3
    Controller([], [one], now=lambda: clock).want(replace(ORDERS, ttl=3))
    serials = [serial for _, serial in one.told if serial is not None]
    assert len(serials) == 7
    assert all(is_newer(later, earlier) for earlier, later in itertools.pairwise(serials))
    assert all(0 < serial < SERIAL_MODULUS for serial in serials)


def test_dropped_clusters_are_remembered_only_while_their_serials_are_ahead() -> None:
    clock = 1000.0
    controller = Controller([], [Recorder()], now=lambda: clock)
    for number in range(100):
        controller.want(replace(ORDERS, domain=f"c{number}.test"))
        controller.drop(f"c{number}.test")
        clock += 1
    assert len(controller._last_serials) == 1


def test_a_domain_is_dropped_however_it_is_spelled() -> None:
    one = Recorder()
    controller = Controller([], [one], now=lambda: 1000.0)
    controller.want(replace(ORDERS, domain="Orders.Test."))
    controller.drop("ORDERS.test.")
    assert controller.zones == ()
    assert one.told == [("orders.test", 10000), ("orders.test", None)]


def test_what_cannot_be_published_leaves_what_was(caplog: pytest.LogCaptureFixture) -> None:
    one = Recorder()
    controller = Controller([], [one], now=lambda: 1000.0)
    controller.want(ORDERS)
    controller.want(replace(ORDERS, members=(M1, M1)))
    assert one.told == [("orders.test", 10000)]
    assert "zone-refused domain=orders.test" in caplog.text


async def test_publishers_start_after_the_first_word_and_all_ends_together() -> None:
    source, one = Says(ORDERS), Recorder()
    task = asyncio.create_task(Controller([source], [one]).run(), name="controller")
    async with asyncio.timeout(10):
        while not one.started:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert one.told[0][0] == "orders.test"
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert source.ended
    assert one.ended


async def test_a_publisher_that_cannot_start_and_a_source_that_fails_end_it() -> None:
    async with asyncio.timeout(10):
        with pytest.raises(PublishError, match="no port"):
            await Controller([Says(ORDERS)], [Recorder("no port")]).run()
        with pytest.raises(ZeroDivisionError):
            await Controller([Says(fault=ZeroDivisionError())], [Recorder()]).run()


def test_a_domain_is_its_first_speakers_until_it_drops_it(caplog: pytest.LogCaptureFixture) -> None:
    first, second, one = Says(), Says(), Recorder()
    controller = Controller([first, second], [one], now=lambda: 1000.0)
    controller.voice(first).want(ORDERS)
    for _ in range(3):
        controller.voice(second).want(replace(ORDERS, ttl=9))
    controller.voice(second).drop("orders.test")
    assert one.told == [("orders.test", 10000)]
    assert caplog.text.count("zone-refused domain=orders.test") == 1
    controller.voice(first).drop("orders.test")
    controller.voice(second).want(replace(ORDERS, ttl=9))
    assert one.told == [("orders.test", 10000), ("orders.test", None), ("orders.test", 10001)]


async def test_publishers_wait_for_all_sources_that_have_something_to_say() -> None:
    quiet, one = Says(), Recorder()
    controller = Controller([Says(ORDERS), quiet], [one])
    task = asyncio.create_task(controller.run(), name="controller")
    for _ in range(50):
        await asyncio.sleep(0)
    assert one.told
    assert not one.started
    controller.voice(quiet).want(PARTS)
    async with asyncio.timeout(10):
        while not one.started:  # noqa: ASYNC110
            await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_second_signal_does_not_disturb_the_ending(until: Callable[..., Any]) -> None:
    class Careful(Recorder):
        closing = False

        async def close(self) -> None:
            self.closing = True
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.05)  # the signal comes meanwhile
            await super().close()

    one = Careful()
    task = asyncio.create_task(run_until_stopped(Controller([Says(ORDERS)], [one])))
    await until(lambda: one.started)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(task, 10) is signal.SIGTERM
    assert one.closing
    assert one.ended
