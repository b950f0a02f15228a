"""New connections: how many a second, and how long an event loop is held while a thousand a second come.

`python -m bench.figures.accepting`: before a server that does nothing, for the router and its peers in turns. The lag
is seen from outside, by a session that asks through the proxy all the time and by one that asks the server itself at
the same time: what the first waits beyond the second is the proxy's.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.sandbox.errors import SandboxError
from bench.speed import proxies, sessions, summary
from bench.speed.cases import DIRECT, OURS, VARIANTS, Round
from bench.speed.openers import PACE, PING, Opener
from bench.speed.proxy import LOAD_CORE, Proxy, Upstream

RATE = 1_000  # new connections a second
PACERS = 4  # processes that open them: one alone would wait for each to end
LAG_LIMIT = 0.005  # seconds


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds that an answer took while connections came: through the proxy, and from the server itself."""

    through: list[float]
    beside: list[float]
    late: list[float]  # how late the new sessions were done

    @property
    def added(self) -> float:
        """Seconds that the proxy adds at the 99th percentile."""
        return at(self.through, 0.99) - at(self.beside, 0.99)


def at(times: list[float], share: float) -> float:
    """The time within which such a share of all was done."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def lag_of(way: Proxy, server: Upstream, seconds: float) -> Lag:
    """Open connections in a rhythm and ask all the while.

    Raises:
        SandboxError: a session fails.
    """
    with ExitStack() as stack:
        pacers = [Opener(PACE, way.address, LOAD_CORE, amount=RATE / PACERS, seconds=seconds) for _ in range(PACERS)]
        pings = [Opener(PING, address, LOAD_CORE, seconds=seconds) for address in (way.address, server.address)]
        for opener in (*pacers, *pings):
            stack.enter_context(opener)
        for opener in (*pacers, *pings):
            opener.wait_ready()
        for opener in (*pacers, *pings):
            opener.begin()
        late = [one for pacer in pacers for one in pacer.times()]
        through, beside = (one.times() for one in pings)
        return Lag(through, beside, late)


def measure(directory: Path, rounds: int, seconds: float) -> bool:
    """Measure, print, and say whether our lag is within its limit."""
    lags: dict[str, list[Lag]] = {}
    found: list[Round] = []
    with sessions.null_ground(directory, print) as ground:
        found += sessions.rounds_of(directory, ground, proxies.available(), rounds, seconds, print)
        with ExitStack() as stack:
            ways = [
                stack.enter_context(proxies.start(name, directory / f"lag-{name}", ground.upstream))
                for name in proxies.available()
            ]
            for _ in range(rounds):
                for way in ways:
                    lags.setdefault(way.name, []).append(lag_of(way, ground.upstream, seconds))
    print(summary.terminal(found))
    for name in VARIANTS:
        for line in [_told(name, lags[name])] if name in lags else []:
            print(line)
    worst = max(lag.added for lag in lags[OURS])
    print(
        f"event-loop lag below {1000 * LAG_LIMIT:g} ms: {'met' if worst < LAG_LIMIT else 'MISSED'} in the worst round"
    )
    return worst < LAG_LIMIT


def _told(name: str, lags: list[Lag]) -> str:
    through = [one for lag in lags for one in lag.through]
    late = [one for lag in lags for one in lag.late]
    words = f"{name}: at {RATE} connections a second an answer takes {1000 * at(through, 0.5):.2f} ms (median),"
    words += f" {1000 * at(through, 0.99):.2f} (p99), {1000 * max(through):.2f} (max); a connection is done within"
    words += f" {1000 * at(late, 0.99):.1f} ms (p99)"
    if name != DIRECT:
        words += f"; p99 beyond the server's own, in the worst round: {1000 * max(lag.added for lag in lags):.2f} ms"
    return words


def main() -> int:
    """Measure; 1 where the lag is more than wanted, 2 where it cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.figures.accepting", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="for each (default: 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="a round (default: 2)")
    args = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        print("bench-connections: one core is too few", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp") as name:
            return 0 if measure(Path(name), args.rounds, args.seconds) else 1
    except SandboxError as exc:
        print(f"bench-connections: {exc}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
