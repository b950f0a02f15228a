"""The controller: joins sources, which say what is wanted of clusters, to publishers, which put it into DNS servers.

Owns serials and the order of starting. Must not know how a source finds out, nor how a publisher gets it across.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Never, Protocol

from srv.desired import Desired
from srv.publisher import Publisher
from srv.source import Source, Wants
from srv.zone import SERIAL_MODULUS, Zone

log = logging.getLogger("fairlead.srv")

FIRST_WORD = 5.0  # seconds for the sources to say something before publishers start; as long as a host name may take


class Controller:
    """Keeps publishers in step with sources.

    Args:
        sources: where two speak of one domain, the first word counts.
        publishers: each gets every zone.
        nameserver_addresses: where the zones are served, for their `ns` names.
        now: seconds since the epoch, for first serials, so that a restart does not go back.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        publishers: Sequence[Publisher],
        *,
        nameserver_addresses: tuple[str, ...] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._sources = tuple(sources)
        self._publishers = tuple(publishers)
        self._nameserver_addresses = nameserver_addresses
        self._first_serial = int(now()) % SERIAL_MODULUS
        self._zones: dict[str, Zone] = {}
        self._desired: dict[str, Desired] = {}
        self._speakers: dict[str, object] = {}
        self._refused: set[tuple[str, object]] = set()
        self._dropped: dict[str, Zone] = {}
        self._silent = set(map(id, self._sources))
        self._spoken = asyncio.Event()

    @property
    def zones(self) -> tuple[Zone, ...]:
        """What is published now."""
        return tuple(self._zones.values())

    def voice(self, source: Source) -> Wants:
        """What takes a source's words. A domain belongs to the source that speaks of it first, until it drops it."""
        return _Voice(self, source)

    def want(self, desired: Desired, *, by: Source | None = None) -> None:
        """Publish this of the cluster from now on; without a difference nothing changes, the serial neither."""
        self._heard_of(by)
        if not self._may_speak(desired.domain, by) or self._desired.get(desired.domain) == desired:
            return
        try:
            zone = desired.zone(serial=self._first_serial, nameserver_addresses=self._nameserver_addresses)
        except ValueError as exc:
            log.error("zone-refused domain=%s reason=%r", desired.domain, str(exc))  # what stands there stays
            return
        self._desired[desired.domain] = desired
        self._speakers[desired.domain] = by
        before = self._zones.get(zone.origin)
        previous = before or self._dropped.pop(zone.origin, None)
        if previous is not None:
            zone = zone.after(previous)
        if zone is before:
            return
        self._zones[zone.origin] = zone
        log.info("zone domain=%s serial=%d %s", zone.origin, zone.serial, desired.describe())
        for publisher in self._publishers:
            publisher.publish(zone)

    def drop(self, domain: str, *, by: Source | None = None) -> None:
        """Publish nothing of the cluster any more."""
        if domain not in self._zones or not self._may_speak(domain, by):
            return
        self._dropped[domain] = self._zones.pop(domain)  # its serial must not be used again
        del self._desired[domain], self._speakers[domain]
        log.info("zone-dropped domain=%s", domain)
        for publisher in self._publishers:
            publisher.withdraw(domain)

    def _may_speak(self, domain: str, by: Source | None) -> bool:
        speaker = self._speakers.get(domain, by)
        if speaker is by:
            return True
        if (domain, by) not in self._refused:
            self._refused.add((domain, by))
            log.error("zone-refused domain=%s source='%s' reason='published from %s already'", domain, by, speaker)
        return False

    def _heard_of(self, source: Source | None) -> None:
        self._silent.discard(id(source))
        if not self._silent or source is None:
            self._spoken.set()

    async def run(self) -> Never:
        """Publish until cancelled.

        Raises:
            PublishError: a publisher cannot start.
        """
        running: list[asyncio.Task[Never]] = []
        try:
            running.extend(
                asyncio.create_task(source.run(self.voice(source)), name=f"source {source}") for source in self._sources
            )
            await self._heard(running)
            for publisher in self._publishers:
                await publisher.start()
            running.extend(
                asyncio.create_task(publisher.run(), name=f"publisher {publisher}") for publisher in self._publishers
            )
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for publisher in self._publishers:
                await publisher.close()
        raise AssertionError("unreachable")

    async def _heard(self, sources: Sequence[asyncio.Task[Never]]) -> None:
        """Wait for first words, so that a server does not begin by disowning zones; some sources may have none yet."""
        first = asyncio.create_task(self._spoken.wait(), name="first word")
        try:
            done, _ = await asyncio.wait({first, *sources}, timeout=FIRST_WORD, return_when=asyncio.FIRST_COMPLETED)
        finally:
            first.cancel()
        for task in done - {first}:
            task.result()


@dataclass(frozen=True, slots=True)
class _Voice:
    controller: Controller
    source: Source

    def want(self, desired: Desired) -> None:
        self.controller.want(desired, by=self.source)

    def drop(self, domain: str) -> None:
        self.controller.drop(domain, by=self.source)


class Runs(Protocol):
    """Whatever runs until it is cancelled."""

    async def run(self) -> Never:
        """Run."""


async def run_until_stopped(service: Runs) -> signal.Signals | None:
    """Run until SIGTERM or SIGINT and return which it was.

    Raises:
        PublishError: a publisher cannot start.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine that runs has one
    stopping: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        stopping.append(number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        await service.run()
    except asyncio.CancelledError:
        if not stopping:
            raise
    return stopping[0] if stopping else None
