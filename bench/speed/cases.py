"""What is compared: workloads, cases, the order of the rounds, and the targets. Pure; must not know how it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

DIRECT, OURS, OURS_TWICE, ROUTER, HAPROXY = "direct", "fairlead", "fairlead-2", "mysqlrouter", "haproxy"
BOOTSTRAPPED = "mysqlrouter-group"
VARIANTS = (DIRECT, OURS, OURS_TWICE, ROUTER, HAPROXY, BOOTSTRAPPED)
"""Ways to the server. `fairlead-2` has two workers and both cores: beside the others it tells nothing but what a second
core buys. `mysqlrouter-group` is as its bootstrap writes it, TLS to clients and server of its own included, and needs a
group. No target is about these two."""

THREADS = (1, 8, 64, 256)
ROUNDS, SECONDS = 15, 2
QUICK_ROUNDS, QUICK_SECONDS, QUICK_THREADS = 3, 1, (8,)
TABLE_ROWS = 10_000
"""In the one table: all of it is in the server's cache, so that the way to it is what counts."""
NOISE = 0.25
"""Cores that others kept busy, from which on a case was not measured in quiet."""
LARGE_BYTES = 1 << 20  # a large result
OPENERS = 8  # that open sessions one after the other, each
NEW_SESSIONS = "new_sessions"
"""The case of sessions that are opened, logged in and ended, before a server that does nothing else. What its rounds
call a query is such a session."""
IDLE = "idle_sessions"
IDLE_SESSIONS = 10_000
IDLE_REPEATS = 3
LAG = "loop_lag"
LAG_RATE = 1_000  # new sessions a second
LAG_ROUNDS, QUICK_LAG_ROUNDS = 5, 1


class Workload(Enum):
    """What the load generator does; the value is its script's name."""

    POINT_SELECT = "oltp_point_select"  # one row by its key
    READ_ONLY = "oltp_read_only"  # transactions of ten such, four ranges, BEGIN and COMMIT
    LARGE_RESULT = "large_result"  # one row of 1 MiB


@dataclass(frozen=True, slots=True)
class Case:
    """One workload with so many client threads, in the clear or not."""

    workload: Workload
    threads: int
    tls: bool

    @property
    def name(self) -> str:
        """As `--only` and the tables have it, such as `oltp_point_select/plain/8`."""
        return f"{self.workload.value}/{'tls' if self.tls else 'plain'}/{self.threads}"


@dataclass(frozen=True, slots=True)
class Round:
    """What one variant did in one round of a case.

    Attributes:
        number: of the round; those of one number are set against each other.
        queries: that were answered.
        seconds: for which they were asked.
        p50, p95, p99: milliseconds for one event: a query, or with `oltp_read_only` a transaction.
        cpu: seconds of processor time that the proxy's processes took; 0 for none.
        memory: bytes that are the proxy's own at the round's end (proportional set size); 0 for none.
        others: cores that anybody else on the machine kept busy meanwhile.
    """

    case: str
    variant: str
    number: int
    queries: int
    seconds: float
    p50: float
    p95: float
    p99: float
    cpu: float
    memory: int
    others: float

    @property
    def throughput(self) -> float:
        """Queries a second."""
        return self.queries / self.seconds

    @property
    def cpu_per_query(self) -> float:
        """Microseconds of the proxy's processor time."""
        return 1e6 * self.cpu / self.queries


@dataclass(frozen=True, slots=True)
class Target:
    """What our figure by a rival's is to be, in each case."""

    name: str
    figure: Callable[[Round], float]
    rival: str
    bound: float
    at_least: bool
    about_sessions: bool = False

    def applies(self, case: str) -> bool:
        """Whether it is about such a case: about new sessions, or about queries in lasting ones."""
        return case.startswith(NEW_SESSIONS) == self.about_sessions

    @property
    def words(self) -> str:
        """Such as `throughput ≥ 1.15 × mysqlrouter`."""
        return f"{self.name} {'≥' if self.at_least else '≤'} {self.bound:g} × {self.rival}"


TARGETS = (
    Target("throughput", lambda one: one.throughput, ROUTER, 1.15, True),
    Target("throughput", lambda one: one.throughput, HAPROXY, 1.0, True),
    Target("CPU per query", lambda one: one.cpu_per_query, ROUTER, 0.75, False),
    Target("p99", lambda one: one.p99, ROUTER, 1.0, False),
    Target("p99", lambda one: one.p99, HAPROXY, 1.0, False),
    Target("new sessions a second", lambda one: one.throughput, ROUTER, 1.0, True, about_sessions=True),
)
IDLE_BYTES = 24 * 1024
"""The proxy's own memory for one session that waits: the most that is wanted."""
LAG_SECONDS = 0.005
"""What an answer may wait longer for new sessions, at the 99th percentile: the most that is wanted."""


def cases(threads: Sequence[int] = THREADS, only: Sequence[str] = ()) -> list[Case]:
    """All cases with so many threads; where `only` has words, those that have one of them in their name."""
    found = [Case(workload, count, tls) for workload in Workload for tls in (False, True) for count in threads]
    return [case for case in found if not only or any(word in case.name for word in only)]


def orders(variants: Sequence[str], rounds: int) -> Iterator[list[str]]:
    """The variants of each round: each is as often first, and each comes as often before as after another.

    Every second turn goes backwards, or one would always follow the same other and have what that leaves behind.
    """
    for number in range(rounds):
        shift = (number // 2) % len(variants)
        turned = [*variants[shift:], *variants[:shift]]
        yield turned if number % 2 == 0 else turned[::-1]
