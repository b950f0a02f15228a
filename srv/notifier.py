"""Tells secondaries over UDP that zones have changed. Owns the sockets; when and what is `notification`'s to decide."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Never

from srv.complaints import Ration
from srv.desk import Address
from srv.notification import Agenda, read_acknowledgement, write_notify
from srv.records import Rcode
from srv.zone import Zone

log = logging.getLogger("fairlead.srv")

BATCH = 64  # messages at once; a thousand zones are told of in 16 times PAUSE, and no secondary's buffer runs over
PAUSE = 0.01  # seconds between batches
ANSWER_OCTETS = 512  # RFC 1035, 4.2.1


class Notifier:
    """One secondary that is kept told. Its socket is open from the beginning until `close`.

    Args:
        secondary: IP address and port.
        zone: gives the zone of an origin as it stands, if there is one.
        counts: `notify sent`, `notify acknowledged`, `notify given up` are counted here.
        sources: addresses that the zones are served from: a secondary takes a NOTIFY from its primary's alone.

    Raises:
        OSError: this machine has no such kind of address.
    """

    def __init__(
        self, secondary: Address, zone: Callable[[str], Zone | None], counts: Counter[str], sources: Sequence[str]
    ) -> None:
        self._secondary = secondary
        self._zone = zone
        self._counts = counts
        self._sock = _socket_towards(secondary, sources)
        self._agenda = Agenda(lambda: random.SystemRandom().randrange(0x10000))
        self._ration = Ration()
        self._hint = asyncio.Event()

    def owe(self, zone: Zone) -> None:
        """Tell of a zone that is new or has changed, unless it may not be transferred now."""
        if zone.withheld:
            self._agenda.drop(zone.origin)
        else:
            self._agenda.owe(zone.origin, time.monotonic())
            self._hint.set()

    def drop(self, origin: str) -> None:
        """A zone is gone."""
        self._agenda.drop(origin)

    async def run(self) -> Never:
        """Tell what is owed until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._sock, self._hear)
        try:
            while True:
                self._tell()
                await self._wait()
        finally:
            loop.remove_reader(self._sock)

    def close(self) -> None:
        """Tell nobody any more; `run` has ended."""
        self._sock.close()

    async def _wait(self) -> None:
        next_at = self._agenda.next_at()
        self._hint.clear()
        delay = None if next_at is None else max(next_at - time.monotonic(), PAUSE)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._hint.wait()

    def _tell(self) -> None:
        for notice in self._agenda.due(time.monotonic(), BATCH):
            zone = self._zone(notice.origin)
            if zone is None:
                self._agenda.drop(notice.origin)
                continue
            self._counts["notify sent"] += 1
            # Out of reach now; the next try may find it. An error of an earlier one shows here, too (ICMP).
            with contextlib.suppress(OSError):
                self._sock.sendto(write_notify(zone, notice.id), self._secondary)
        for origin in self._agenda.given_up:
            self._counts["notify given up"] += 1
            self._complain("notify-unanswered", origin)
        self._agenda.given_up.clear()

    def _hear(self) -> None:
        for _ in range(BATCH):
            try:
                wire, peer = self._sock.recvfrom(ANSWER_OCTETS)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue
            header = read_acknowledgement(wire)
            if header is None or peer[:2] != self._secondary:
                continue
            origin = self._agenda.settle(header.id)
            if origin is None:
                continue
            self._counts["notify acknowledged"] += 1
            rcode = header.flags & 0xF
            if rcode != Rcode.NOERROR:
                self._complain("notify-refused", origin, f" rcode={rcode}")

    def _complain(self, event: str, origin: str, more: str = "") -> None:
        if self._ration.admits(event, time.monotonic()):
            withheld = self._ration.take_withheld()
            host, port = self._secondary
            log.warning("%s secondary=%s port=%d domain=%s%s withheld=%d", event, host, port, origin, more, withheld)


def _socket_towards(secondary: Address, sources: Iterable[str]) -> socket.socket:
    """A UDP socket whose packets come from one of `sources`, the one that the way there begins at if it is one."""
    family = socket.AF_INET6 if ":" in secondary[0] else socket.AF_INET
    candidates = [source for source in sources if (":" in source) == (":" in secondary[0])]
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as trial:
        trial.connect(secondary)
        candidates.sort(key=lambda source: source != trial.getsockname()[0])
    for source in candidates:
        with contextlib.suppress(OSError):
            sock.bind((source, 0))
            break
    return sock
