"""What is known of a run: the plan, the steps, the samples, and what clients and router have counted. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.soak.steps import Kind
from bench.soak.visits import Account, Visits

MAIN = "main"


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one moment.

    Attributes:
        at: seconds since the run began.
        process: `main 1`, `worker 3`. An upgrade makes another main process in the same one's place.
        resident, proportional, own: memory in bytes: in all; what several share counted once between them; and what
            belongs to no file, which is what a process asks for and may leak.
        descriptors, threads: open now.
        tasks: of its event loop.
        sessions: that it carries; of the main process none.
        accepted: sessions so far, of all processes.
    """

    at: float
    process: str
    resident: int
    proportional: int
    own: int
    descriptors: int
    threads: int
    tasks: int
    sessions: int
    accepted: int

    @property
    def spare_descriptors(self) -> int:
        """Those beside two for each session."""
        return self.descriptors - 2 * self.sessions


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: for so many seconds, with such a seed, of such kinds."""

    seconds: float
    seed: int
    kinds: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """A step that was done. Seconds since the run began."""

    began: float
    ended: float
    words: str


@dataclass(slots=True)
class Record:
    """All that is known of a run."""

    plan: Plan
    seconds: float = 0.0  # under load
    steps: list[Done] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    unanswered: int = 0  # looks that the router did not answer
    before: list[Sample] = field(default_factory=list)  # at rest
    after: list[Sample] = field(default_factory=list)
    visits: dict[str, Visits] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)  # by route
    extra: int = 0  # connections of our own besides the crowd's
    acknowledged: int = 0
    missing: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)  # lines of the router's log that must not be there


def processes_of(samples: Sequence[Sample]) -> Iterator[tuple[str, list[Sample]]]:
    """Samples by process, in the order in which these came."""
    for name in dict.fromkeys(one.process for one in samples):
        yield name, [one for one in samples if one.process == name]
