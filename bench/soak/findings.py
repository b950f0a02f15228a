"""What a run comes to: each thing that must hold, what was found, and whether it does; as a table and as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from bench.soak.record import MAIN, Record, Sample, processes_of
from bench.soak.slopes import Slope, fit
from bench.soak.visits import Visits, total

MIB = 1 << 20
GROWTH = 2 * MIB
"""Bytes that a process may grow by, along its line: the least that stands out from how an allocator breathes. Of the
30,000 sessions and more that a process carries in a quarter of an hour, one that left 100 bytes each would pass it."""
SPARE_MAIN = 4
"""Descriptors, threads or tasks by which the main process at rest may differ: a lookup or a probe on its way."""
SPARE_LINE = 4.0
"""The same along a line under load, where sessions come between two looks at one process."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that must hold."""

    what: str
    found: str
    bound: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One process under load. Memory in bytes; slopes None where too little was seen of it."""

    process: str
    seconds: float
    samples: int
    sessions: int  # the most at once
    resident: int  # the most
    own: int  # the most
    memory: Slope | None
    descriptors: Slope | None
    threads: Slope | None
    tasks: Slope | None
    accepted: int  # by all processes while this one lived


def lines(samples: Sequence[Sample]) -> Iterator[Line]:
    """What was seen of each process."""
    for name, seen in processes_of(samples):

        def along(figure: Callable[[Sample], float], seen: Sequence[Sample] = seen) -> Slope | None:
            return fit([(one.at, figure(one)) for one in seen])

        yield Line(
            process=name,
            seconds=seen[-1].at - seen[0].at,
            samples=len(seen),
            sessions=max(one.sessions for one in seen),
            resident=max(one.resident for one in seen),
            own=max(one.own for one in seen),
            memory=along(lambda one: one.own),
            descriptors=along(lambda one: one.spare_descriptors),
            threads=along(lambda one: one.threads),
            tasks=along(lambda one: one.tasks),
            accepted=seen[-1].accepted - seen[0].accepted,
        )


def findings(record: Record) -> list[Finding]:
    """Everything that must hold."""
    return [*_of_writes(record), *_of_sessions(record), *_at_rest(record), *_growth(record)]


def crowd(record: Record) -> Visits:
    """All clients together."""
    every = Visits()
    for one in record.visits.values():
        for name in ("opened", "greeted", "refused", "lost", "unreachable", "left", "asked", "broken"):
            setattr(every, name, getattr(every, name) + getattr(one, name))
        every.wrong.update(one.wrong)
    return every


def _of_writes(record: Record) -> Iterator[Finding]:
    yield _none(f"of {record.acknowledged} acknowledged writes missing", record.missing)
    yield Finding("writes acknowledged", str(record.acknowledged), "> 0", record.acknowledged > 0)
    yield _none("answers that were not what was asked for", crowd(record).wrong.total())
    yield _none("faults in the router's log", len(record.faults))


def _of_sessions(record: Record) -> Iterator[Finding]:
    clients, router = crowd(record), total(record.accounts.values())
    yield _none("connections that nobody listened for", clients.unreachable)
    yield _none("connections of clients of unknown fate", clients.unsettled)
    opened, accepted = clients.opened - clients.unreachable + record.extra, router.accepted
    yield Finding("connections opened, and accepted", f"{opened}, {accepted}", "the same", opened == accepted)
    yield _none("sessions that the router cannot account for", router.unaccounted)
    yield _none("sessions left", router.now)


def _at_rest(record: Record) -> Iterator[Finding]:
    figures: Sequence[tuple[str, Callable[[Sample], int]]] = (
        ("descriptors", lambda one: one.descriptors),
        ("threads", lambda one: one.threads),
        ("tasks", lambda one: one.tasks),
    )
    for role, spare in ((MAIN, SPARE_MAIN), ("worker", 0)):
        before = [one for one in record.before if one.process.startswith(role)]
        after = [one for one in record.after if one.process.startswith(role)]
        for words, figure in figures:
            was, now = max(map(figure, before)), max(map(figure, after))
            bound = f"≤ {was + spare}"
            yield Finding(f"{words} of a {role} at rest, before and after", f"{was}, {now}", bound, now <= was + spare)


def _growth(record: Record) -> Iterator[Finding]:
    for line in lines(record.samples):
        if line.memory is not None:
            grown = line.memory.growth
            yield Finding(
                f"{line.process}: growth over {line.memory.seconds:.0f} s, {line.accepted} sessions",
                f"{grown / MIB:+.2f} MiB",
                f"≤ {GROWTH / MIB:g} MiB",
                grown <= GROWTH,
            )
        for words, slope in (
            ("descriptors", line.descriptors),
            ("threads", line.threads),
            ("tasks", line.tasks),
        ):
            if slope is not None:
                grown = slope.growth
                holds = grown <= SPARE_LINE
                yield Finding(f"{line.process}: {words} more", f"{grown:+.1f}", f"≤ {SPARE_LINE:g}", holds)


def _none(what: str, number: int) -> Finding:
    return Finding(what, str(number), "0", number == 0)


def terminal(record: Record) -> str:
    """All of it for a terminal."""
    parts = [
        f"seed {record.plan.seed}, {record.seconds:.0f} s, {len(record.steps)} steps,"
        f" {record.unanswered} looks unanswered",
        "",
        *_table(
            [
                ["clients", "opened", "greeted", "refused", "lost", "left", "statements", "broken"],
                *(
                    [name, *map(str, (v.opened, v.greeted, v.refused, v.lost, v.left, v.asked, v.broken))]
                    for name, v in record.visits.items()
                ),
            ]
        ),
        "",
        *_table(
            [
                ["route", "accepted", "joined", "refused", "abandoned", "cut", "silent members"],
                *(
                    [name, *map(str, (a.accepted, a.joined, a.refused, a.abandoned, a.cut, a.twice))]
                    for name, a in record.accounts.items()
                ),
            ]
        ),
        "",
        *_table(
            [
                ["process", "seconds", "samples", "sessions", "RSS MiB", "own MiB", "own MiB/h", "bytes a session"],
                *(_cells(line) for line in lines(record.samples)),
            ]
        ),
        "",
        "errors of clients: " + (", ".join(f"{kind}: {n}" for kind, n in record.errors.items()) or "none"),
        *record.faults[:10],
        "",
        *(
            f"{'holds ' if one.holds else 'BROKEN'}  {one.what}: {one.found} (bound: {one.bound})"
            for one in findings(record)
        ),
    ]
    return "\n".join(parts)


def encode(record: Record) -> str:
    """All of it as a JSON document."""
    document = asdict(record)
    document["findings"] = [asdict(one) for one in findings(record)]
    document["processes"] = [asdict(one) for one in lines(record.samples)]
    return json.dumps(document, indent=1) + "\n"


def _cells(line: Line) -> list[str]:
    hourly = each = ""
    if line.memory is not None:
        hourly = f"{line.memory.per_second * 3600 / MIB:+.1f}"
        each = f"{line.memory.per_second * line.seconds / line.accepted:+.0f}" if line.accepted else ""
    figures = (line.seconds, line.samples, line.sessions)
    memory = (line.resident / MIB, line.own / MIB)
    return [line.process, *(f"{one:.0f}" for one in figures), *(f"{one:.1f}" for one in memory), hourly, each]


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
