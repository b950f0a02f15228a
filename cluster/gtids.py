"""Sets of global transaction identifiers and their arithmetic. Pure; knows the text form, not what the sets are of.

The form is MySQL's, with the tags of 8.3 and newer: `uuid:1-5:7:tag:1-3,uuid:1` (Reference Manual, "GTID Sets").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

Interval = tuple[int, int]  # first and last, both in it

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}")
INTERVAL = re.compile(r"([0-9]{1,19})(?:-([0-9]{1,19}))?")
#: Characters of a part that is kept once read. One of a cluster in order has 60; read, the longest that are kept take
#: 16 KiB each, and 256 of them 4 MiB at most, where 256 sets of a thousand intervals would take twenty times that.
LONGEST_KEPT = 256


@dataclass(frozen=True, slots=True)
class GtidSet:
    """A set in its one normal form: sources in order, intervals in order and as few as may be.

    `sources` pairs each `uuid` or `uuid:tag` that has transactions with their intervals.
    """

    sources: tuple[tuple[str, tuple[Interval, ...]], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.sources)

    def __str__(self) -> str:
        return ",".join(f"{source}:{_text(intervals)}" for source, intervals in self.sources)

    def __sub__(self, other: GtidSet) -> GtidSet:
        """What is in this set and not in the other."""
        taken = dict(other.sources)
        left = (
            (source, intervals if source not in taken else _subtract(intervals, taken[source]))
            for source, intervals in self.sources
            if taken.get(source) != intervals  # of most sources two servers have the same
        )
        return GtidSet(tuple((source, intervals) for source, intervals in left if intervals))

    @property
    def count(self) -> int:
        """How many transactions there are."""
        return sum(last - first + 1 for _, intervals in self.sources for first, last in intervals)

    def without(self, uuid: str) -> GtidSet:
        """The set without the transactions, tagged or not, that one server has begun."""
        own = uuid.lower()
        return GtidSet(tuple(pair for pair in self.sources if pair[0].partition(":")[0] != own))

    @property
    def uuids(self) -> tuple[str, ...]:
        """The servers on which its transactions were begun, in order."""
        return tuple(dict.fromkeys(source.partition(":")[0] for source, _ in self.sources))


def parse(text: str) -> GtidSet:
    """Read a set as servers write it; white space, order, overlaps and upper case do no harm.

    Raises:
        ValueError: it is none; the message names the part that is wrong.
    """
    found: dict[str, list[Interval]] = {}
    for part in "".join(text.split()).lower().split(","):
        for source, intervals in _intervals(part) if part else ():
            found.setdefault(source, []).extend(intervals)
    return GtidSet(tuple((source, _normal(intervals)) for source, intervals in sorted(found.items())))


def _intervals(part: str) -> tuple[tuple[str, list[Interval]], ...]:
    return _parse_short_part(part) if len(part) <= LONGEST_KEPT else _parse_part(part)


@lru_cache(maxsize=256)  # of the servers that a cluster once had, all but one have stopped adding to their part
def _parse_short_part(part: str) -> tuple[tuple[str, list[Interval]], ...]:
    return _parse_part(part)


def _parse_part(part: str) -> tuple[tuple[str, list[Interval]], ...]:
    uuid, *pieces = part.split(":")
    if not UUID.fullmatch(uuid) or not pieces:
        raise ValueError(f"not a GTID set: {part[:80]!r}")
    found: dict[str, list[Interval]] = {}
    source = uuid
    for piece in pieces:
        if match := INTERVAL.fullmatch(piece):
            first = int(match[1])
            last = int(match[2] or first)
            if not 0 < first <= last:
                raise ValueError(f"not an interval of a GTID set: {piece!r}")
            found.setdefault(source, []).append((first, last))
        elif TAG.fullmatch(piece):
            source = f"{uuid}:{piece}"
        else:
            raise ValueError(f"not a part of a GTID set: {piece[:80]!r}")
    return tuple(found.items())


def _normal(intervals: list[Interval]) -> tuple[Interval, ...]:
    merged: list[Interval] = []
    for first, last in sorted(intervals):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return tuple(merged)


def _subtract(intervals: tuple[Interval, ...], taken: tuple[Interval, ...]) -> tuple[Interval, ...]:
    left: list[Interval] = []
    at = 0
    for first, last in intervals:
        while at < len(taken) and taken[at][1] < first:
            at += 1
        cut = at
        while cut < len(taken) and taken[cut][0] <= last:
            if first < taken[cut][0]:
                left.append((first, taken[cut][0] - 1))
            first = taken[cut][1] + 1
            cut += 1
        if first <= last:
            left.append((first, last))
    return tuple(left)


def _text(intervals: tuple[Interval, ...]) -> str:
    return ":".join(str(first) if first == last else f"{first}-{last}" for first, last in intervals)
