"""What the rounds come to: figures of each variant in each case, verdicts on the targets, and both as tables. Pure."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from bench.speed.cases import DIRECT, NOISE, OURS, TARGETS, VARIANTS, Round, Target
from bench.speed.intervals import Interval, Outcome, difference_interval, judge, ratio_interval

COLUMNS = (
    *("way", "rounds", "queries/s", "of direct", "+p50 ms", "+p95 ms", "+p99 ms"),
    *("CPU µs/query", "memory MiB", "others' cores"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One variant in one case; times added are beside direct, in milliseconds."""

    case: str
    variant: str
    rounds: int
    throughput: float
    of_direct: Interval | None
    added: tuple[Interval, Interval, Interval] | None
    cpu_per_query: float
    memory: int
    others: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target in one case."""

    case: str
    target: Target
    found: Interval
    outcome: Outcome

    @property
    def words(self) -> str:
        """The verdict as a line."""
        return f"{self.outcome.value.upper():9}  {self.case}: {self.target.words}: {show(self.found)}"


def pairs(rounds: Iterable[Round], case: str, one: str, other: str) -> list[tuple[Round, Round]]:
    """Rounds of two variants with the same number, in one case."""
    found = {(each.variant, each.number): each for each in rounds if each.case == case}
    numbers = sorted(number for variant, number in found if variant == one and (other, number) in found)
    return [(found[one, number], found[other, number]) for number in numbers]


def names_of(rounds: Sequence[Round]) -> list[str]:
    """The cases that there are rounds of, in the order in which they came."""
    return list(dict.fromkeys(each.case for each in rounds))


def lines(rounds: Sequence[Round]) -> Iterator[Line]:
    """What each variant did in each case."""
    for case in names_of(rounds):
        for variant in VARIANTS:
            own = [each for each in rounds if (each.case, each.variant) == (case, variant)]
            if not own:
                continue
            beside = pairs(rounds, case, variant, DIRECT) if variant != DIRECT else []
            yield Line(
                case,
                variant,
                len(own),
                statistics.median(each.throughput for each in own),
                _ratio(beside, lambda one: one.throughput) if beside else None,
                _added(beside) if beside else None,
                statistics.median(each.cpu_per_query for each in own),
                max(each.memory for each in own),
                statistics.median(each.others for each in own),
            )


def verdicts(rounds: Sequence[Round], targets: Sequence[Target] = TARGETS) -> Iterator[Verdict]:
    """Each target in each case, as far as both have been measured there."""
    for target in targets:
        for case in filter(target.applies, names_of(rounds)):
            beside = [
                pair
                for pair in pairs(rounds, case, OURS, target.rival)
                if all(target.figure(one) > 0 for one in pair)  # a clock that did not tick says nothing
            ]
            if beside:
                found = _ratio(beside, target.figure)
                yield Verdict(case, target, found, judge(found, target.bound, at_least=target.at_least))


def cost_beside(rounds: Sequence[Round], case: str, one: str, other: str) -> Interval | None:
    """A variant's processor time per query by another's; None where either has none to tell of."""
    beside = [pair for pair in pairs(rounds, case, one, other) if all(each.cpu > 0 for each in pair)]
    return _ratio(beside, lambda each: each.cpu_per_query) if beside else None


def cells(line: Line) -> list[str]:
    """A line of the table."""
    added = [f"{one.mean:+.3f} ±{one.high - one.mean:.3f}" for one in line.added] if line.added else ["", "", ""]
    own = line.variant != DIRECT
    return [
        *(line.variant, str(line.rounds), f"{line.throughput:.0f}"),
        *(show(line.of_direct) if line.of_direct else "", *added),
        f"{line.cpu_per_query:.1f}" if own else "",
        f"{line.memory / 2**20:.1f}" if own else "",
        f"{line.others:.2f}{' (!)' if line.others > NOISE else ''}",
    ]


def show(found: Interval) -> str:
    """Such as `1.18 (1.15 to 1.21)`."""
    return f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f})" if found.known else f"{found.mean:.2f} (one round)"


def terminal(rounds: Sequence[Round]) -> str:
    """Tables and verdicts for a terminal."""
    found = list(lines(rounds))
    parts = []
    for case in names_of(rounds):
        rows = [list(COLUMNS), *(cells(line) for line in found if line.case == case)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        body = ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        parts += [case, *(line.rstrip() for line in body), ""]
    return "\n".join([*parts, *closing(rounds)])


def markdown(rounds: Sequence[Round], preface: Sequence[str] = ()) -> str:
    """The same as a document."""
    found = list(lines(rounds))
    parts = ["# Speed beside peers", "", *preface, ""]
    for case in names_of(rounds):
        parts += [f"## {case}", "", _row(COLUMNS), _row(["---"] * len(COLUMNS))]
        parts += [*(_row(cells(line)) for line in found if line.case == case), ""]
    return "\n".join([*parts, "## Targets", "", "```", *closing(rounds), "```", ""])


def closing(rounds: Sequence[Round]) -> list[str]:
    """A verdict a line, then each target over all cases."""
    found = list(verdicts(rounds))
    total = []
    for target in TARGETS:
        own = [verdict for verdict in found if verdict.target is target]
        if own:
            cases = {outcome: [each.case for each in own if each.outcome is outcome] for outcome in Outcome}
            words = [f"{outcome.value} in {', '.join(names)}" for outcome, names in cases.items() if names]
            if len(cases[Outcome.MET]) == len(own):
                words = [f"met in all {len(own)} cases"]
            total.append(f"{target.words}: {'; '.join(words)}")
    return [*(verdict.words for verdict in found), "", *total]


def encode(rounds: Sequence[Round]) -> str:
    """All rounds as a JSON document."""
    return json.dumps([asdict(each) for each in rounds], indent=1) + "\n"


def decode(text: str) -> list[Round]:
    """Read rounds back.

    Raises:
        ValueError: it is no such document.
    """
    try:
        return [Round(**each) for each in json.loads(text)]
    except TypeError as exc:
        raise ValueError(f"not a document of rounds: {exc}") from exc


def _ratio(beside: Sequence[tuple[Round, Round]], figure: Callable[[Round], float]) -> Interval:
    return ratio_interval([figure(one) for one, _ in beside], [figure(other) for _, other in beside])


def _added(beside: Sequence[tuple[Round, Round]]) -> tuple[Interval, Interval, Interval]:
    figures: tuple[Callable[[Round], float], ...] = (lambda one: one.p50, lambda one: one.p95, lambda one: one.p99)
    first, second, third = (
        difference_interval([figure(one) for one, _ in beside], [figure(other) for _, other in beside])
        for figure in figures
    )
    return first, second, third


def _row(cells_of: Sequence[str]) -> str:
    return f"| {' | '.join(cells_of)} |"
