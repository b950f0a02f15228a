"""Which sources flood, and the filter that keeps the kernel from queueing all of their packets.

Owns the reckoning and the filter's program; must not know sockets. Turning a packet away costs this process as much as
reading it, and a flood that comes faster fills the socket's queue, where the packets of others are lost with its own.
So most of it has to go before the queue: a classic BPF program (socket(7), SO_ATTACH_FILTER) needs no privilege.
"""

from __future__ import annotations

import ipaddress
import struct
from collections import Counter
from dataclasses import dataclass, replace

SOURCES = 16  # at once; the program compares with one after the other
SHARE_LIMIT = 2**16  # of a source's packets one in so many is let through at least, or nobody would see the flood's end

_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _AND, _EQUALS, _RETURN = 0x20, 0x54, 0x15, 0x06  # bpf_common.h: LD|W|ABS, ALU|AND|K, JMP|JEQ|K, RET|K
_NETWORK_HEADER = 0xFFF00000  # filter.h: SKF_NET_OFF
_RANDOM = 0xFFFFF000 + 56  # filter.h: SKF_AD_OFF + SKF_AD_RANDOM
_V4_SOURCE, _V6_SOURCE = 12, 8  # octets into the network header
_WHOLE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Sieve:
    """Of these sources' packets one in `share`, a power of two, is let through."""

    sources: tuple[str, ...] = ()
    share: int = 1


class Floods:
    """Finds the sources that flood from the packets that still come.

    Args:
        allowed: packets a second of one source, see `allowance.Limits`.
    """

    def __init__(self, allowed: float) -> None:
        self._allowed = allowed
        self._seen: Counter[str] = Counter()
        self.sieve = Sieve()

    def note(self, source: str) -> None:
        """Count a packet: each of a source that is sieved, else each that is beyond its allowance."""
        self._seen[source] += 1

    def unsieved(self) -> None:
        """The sieve could not be put in place: all packets come through."""
        self.sieve = replace(self.sieve, share=1)

    def review(self, seconds: float) -> dict[str, int]:
        """Decide anew after so many seconds; return the packets a second of the sources that flood now."""
        before = self.sieve
        rates = {
            source: int(count * (before.share if source in before.sources else 1) / seconds)
            for source, count in self._seen.items()
        }
        self._seen.clear()
        flooding = sorted((source for source, rate in rates.items() if rate > self._allowed), key=rates.__getitem__)
        worst = tuple(sorted(flooding[-SOURCES:]))
        share = 1
        while worst and share < SHARE_LIMIT and max(rates[source] for source in worst) > share * self._allowed:
            share *= 2
        self.sieve = Sieve(worst, share)
        return {source: rates[source] for source in worst}


def program(sieve: Sieve) -> bytes:
    """The sieve as a classic BPF program for a UDP socket: one `struct sock_filter` after another.

    All sources are of the socket's family. Each that fits goes on to the draw: one packet in `share` is kept.
    """
    checks = [_words(source) for source in sieve.sources]
    # The draw stands behind all comparisons, of two instructions a word, and the return that keeps what fits none.
    draw = 2 * sum(map(len, checks)) + 1
    lines: list[tuple[int, int, int, int]] = []
    for words in checks:
        following = len(lines) + 2 * len(words)
        for number, (offset, value) in enumerate(words, 1):
            behind = len(lines) + 2
            matches = draw if number == len(words) else behind
            lines += [
                (_LOAD, 0, 0, _NETWORK_HEADER + offset),
                (_EQUALS, matches - behind, following - behind, value),
            ]
    lines += [
        (_RETURN, 0, 0, _WHOLE),
        (_LOAD, 0, 0, _RANDOM),
        (_AND, 0, 0, sieve.share - 1),
        (_EQUALS, 0, 1, 0),
        (_RETURN, 0, 0, _WHOLE),
        (_RETURN, 0, 0, 0),
    ]
    return b"".join(_INSTRUCTION.pack(*line) for line in lines)


def _words(source: str) -> list[tuple[int, int]]:
    """Where the network header has a source, see `allowance.source_of`, and what stands there, a word each."""
    if "." in source:
        return [(_V4_SOURCE, int(ipaddress.IPv4Address(source)))]
    octets = bytes.fromhex(source)
    return [(_V6_SOURCE + at, int.from_bytes(octets[at : at + 4], "big")) for at in range(0, len(octets), 4)]
