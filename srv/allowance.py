"""How much each source may ask, so that one of them cannot starve the others. Owns the reckoning; time is given.

A source is one address of IPv4, and a /64 of IPv6, where a host may take any address that it likes. No more than that:
who floods, or has its address forged, must not cost its neighbours their answers.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache

V6_OCTETS = 8  # a /64
ODD_PACKET = (
    20.0  # ordinary ones; as many times longer it takes to read what may be junk. 500 a second are enough of it
)
SOURCES_REMEMBERED = 16_384  # in each of two generations; 150 octets each
ROUNDING = 0.001  # of one; the last of a burst must not be refused because adding up in binary fractions is inexact


@dataclass(frozen=True, slots=True)
class Limits:
    """What one source may do.

    The busiest honest source is a resolver before a whole site. It asks once a TTL of 5 s for each name and way to ask:
    for 1,000 clusters of six names that is 1,200 a second. The server answers several times `packets` on one core.

    Attributes:
        packets: a second, over UDP; one that is no ordinary question counts as `ODD_PACKET`.
        packet_burst: at once, over UDP: one second's.
        slip: of the packets beyond, each so many-th is answered by "come over TCP" (TC), so that an honest client of a
            flooding network, or one whose address is forged, is not left without; the rest are dropped. 2 as in BIND.
        large_factor: an answer that is so many times longer than its question is worth forging an address for. Of three
            members it is four times as long; of nine, with addresses of both kinds, sixteen times.
        large: of those a second, over UDP, and at once; beyond, "come over TCP" is the answer. So no more than 4 Mbit/s
            can be turned on anybody, while a resolver asks for 300 clusters of nine in each TTL without a detour.
        queries: a second, over TCP; beyond, its connections wait. Those who come over TCP come for large answers.
        connections: new ones a second, over TCP; each costs ten times a query. Beyond, they are cut at once.
        connections_open: at the same time.
    """

    packets: float = 10_000.0
    packet_burst: float = 10_000.0
    slip: int = 2
    large_factor: float = 5.0
    large: float = 400.0
    queries: float = 2_000.0
    connections: float = 200.0
    connections_open: int = 16


class Allowance:
    """So much a second for each source, and so much at once (GCRA: one number a source says when it is even again).

    Args:
        rate: a second.
        burst: at once, after a pause.
        remembered: sources, see `SOURCES_REMEMBERED`; of those beyond the longest silent are forgotten.
    """

    def __init__(self, rate: float, burst: float, *, remembered: int = SOURCES_REMEMBERED) -> None:
        self._step = 1.0 / rate
        self._span = (burst - 1.0) / rate
        self._remembered = remembered
        self._young: dict[str, float] = {}
        self._old: dict[str, float] = {}

    def admits(self, source: str, now: float) -> bool:
        """Whether one more is within the allowance at `now` (monotonic seconds); if so it is counted."""
        even = self._even(source)
        if even is None or even < now:
            even = now
        elif even - now > self._span + ROUNDING * self._step:
            return False
        self._young[source] = even + self._step
        return True

    def charge(self, source: str, more: float) -> None:
        """Count so many more for one that was admitted a moment ago."""
        self._young[source] = self._young.get(source, 0.0) + more * self._step

    def delay(self, source: str, now: float) -> float:
        """Count one more, and return for how many seconds it has to wait."""
        even = max(self._even(source) or now, now)
        self._young[source] = even + self._step
        return max(even - now - self._span, 0.0)

    def _even(self, source: str) -> float | None:
        even = self._young.get(source)
        if even is None:
            if len(self._young) >= self._remembered:
                self._old, self._young = self._young, {}
            even = self._old.get(source)
            if even is not None:
                self._young[source] = even  # heard of again, even where it gets nothing
        return even

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


@lru_cache(maxsize=4096)
def source_of(address: str) -> str:
    """The source that an IP address belongs to."""
    if ":" not in address:
        return address
    return ipaddress.IPv6Address(address).packed[:V6_OCTETS].hex()
