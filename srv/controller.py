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
from srv.names import canonical
from srv.publisher import Publisher
from srv.source import Source, Wants
from srv.zone import SERIAL_MODULUS, Zone, is_newer, next_serial

log = logging.getLogger("fairlead.srv")

# A zone's first serial is read off the clock, and each change adds one. After a restart it must be beyond all that were
# used, or secondaries keep what they have: so the clock has to run ahead of the changes, of which a zone has fewer than
# ten a second in the long run, restart included. And it must not run by half of all serials (RFC 1982) while one
# process serves: at ten a second that takes 6.8 years; in milliseconds it would be 25 days.
SERIALS_A_SECOND = 10
FIRST_WORD = 5.0  # seconds for the sources to say something before publishers start; as long as a host name may take


class Controller:
    """Keeps publishers in step with sources.

    Args:
        sources: where two speak of one domain, the first word counts.
        publishers: each gets every zone.
        nameserver_addresses: where the zones are served, for their `ns` names.
        now: seconds since the epoch, for first serials, see `SERIALS_A_SECOND`.
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
        self._now = now
        self._zones: dict[str, Zone] = {}
        self._desired: dict[str, Desired] = {}
        self._speakers: dict[str, object] = {}
        self._refused: set[tuple[str, object]] = set()
        self._last_serials: dict[str, int] = {}  # of zones that were dropped, where they are ahead of the clock
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
            serial = self._first_serial(desired.domain)
            zone = desired.zone(serial=serial, nameserver_addresses=self._nameserver_addresses)
        except ValueError as exc:
            log.error("zone-refused domain=%s reason=%r", desired.domain, str(exc))  # what stands there stays
            return
        self._desired[desired.domain] = desired
        self._speakers[desired.domain] = by
        before = self._zones.get(zone.origin)
        if before is not None:
            zone = zone.after(before)
        if zone is before:
            return
        self._zones[zone.origin] = zone
        log.info("zone domain=%s serial=%d %s", zone.origin, zone.serial, desired.describe())
        for publisher in self._publishers:
            publisher.publish(zone)

    def drop(self, domain: str, *, by: Source | None = None) -> None:
        """Publish nothing of the cluster any more."""
        domain = canonical(domain)
        if domain not in self._zones or not self._may_speak(domain, by):
            return
        self._last_serials[domain] = self._zones.pop(domain).serial
        clock = self._clock_serial()
        self._last_serials = {each: last for each, last in self._last_serials.items() if not is_newer(clock, last)}
        del self._desired[domain], self._speakers[domain]
        log.info("zone-dropped domain=%s", domain)
        for publisher in self._publishers:
            publisher.withdraw(domain)

    def _clock_serial(self) -> int:
        return int(self._now() * SERIALS_A_SECOND) % SERIAL_MODULUS or 1

    def _first_serial(self, domain: str) -> int:
        """The clock's, or the one that follows where that was used for a zone of the domain before."""
        clock, last = self._clock_serial(), self._last_serials.get(domain)
        return clock if last is None or is_newer(clock, last) else next_serial(last)

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
    """Run until SIGTERM or SIGINT and return which it was. A second one does not disturb the ending.

    Raises:
        PublishError: a publisher cannot start.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine that runs has one
    stopping: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        if not stopping:
            task.cancel()
        stopping.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        await service.run()
    except asyncio.CancelledError:
        if not stopping:
            raise
    return stopping[0] if stopping else None
