"""How long an event loop is held while sessions come in a rhythm, before a server that does nothing.

Seen from outside, by a session that asks through the proxy all the time and by one that asks the server itself at the
same time: what the first waits beyond the second is the proxy's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.speed import proxies
from bench.speed.cases import DIRECT, LAG, LAG_RATE, LAG_SECONDS, orders
from bench.speed.openers import PACE, PING, Opener
from bench.speed.proxy import LOAD_CORE, Proxy, Upstream
from bench.speed.sessions import NullGround

PACERS = 4  # processes that open sessions: one alone would wait for each to end


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds that an answer took while sessions came: through the proxy, and from the server itself.

    `late`: how late the new sessions were done.
    """

    variant: str
    through: list[float]
    beside: list[float]
    late: list[float]

    @property
    def added(self) -> float:
        """Seconds that the proxy adds at the 99th percentile."""
        return at(self.through, 0.99) - at(self.beside, 0.99)


def at(times: Sequence[float], share: float) -> float:
    """The time within which such a share of all was done."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def lags_of(
    directory: Path,
    ground: NullGround,
    variants: Sequence[str],
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> Iterator[Lag]:
    """Open sessions in a rhythm and ask all the while, in rounds; yields each as it is done.

    Raises:
        SandboxError: a proxy does not start, or a session fails.
    """
    with ExitStack() as stack:
        ways = {
            name: stack.enter_context(proxies.start(name, directory / f"lag-{name}", ground.upstream))
            for name in variants
        }
        progress(f"{LAG}: {rounds} rounds of {len(variants)} × {seconds:g} s, {LAG_RATE} new sessions a second")
        for order in orders(variants, rounds):
            for name in order:
                yield _measure(ways[name], ground.upstream, seconds)


def _measure(way: Proxy, server: Upstream, seconds: float) -> Lag:
    with ExitStack() as stack:
        pacers = [
            Opener(PACE, way.address, LOAD_CORE, amount=LAG_RATE / PACERS, seconds=seconds) for _ in range(PACERS)
        ]
        pings = [Opener(PING, address, LOAD_CORE, seconds=seconds) for address in (way.address, server.address)]
        for opener in (*pacers, *pings):
            stack.enter_context(opener)
        for opener in (*pacers, *pings):
            opener.wait_ready()
        for opener in (*pacers, *pings):
            opener.begin()
        late = [one for pacer in pacers for one in pacer.times()]
        through, beside = (one.times() for one in pings)
        return Lag(way.name, through, beside, late)


def lag_lines(found: Sequence[Lag], ours: str) -> list[str]:
    """How long answers took, a line for each variant, and the verdict on ours, which the worst round decides."""
    told = []
    for name in dict.fromkeys(one.variant for one in found):
        lags = [one for one in found if one.variant == name]
        through = [one for lag in lags for one in lag.through]
        late = [one for lag in lags for one in lag.late]
        text = f"{name}: at {LAG_RATE} new sessions a second an answer takes {1000 * at(through, 0.5):.2f} ms (median),"
        text += f" {1000 * at(through, 0.99):.2f} (p99), {1000 * max(through):.2f} (max); a session is done within"
        text += f" {1000 * at(late, 0.99):.1f} ms (p99)"
        if name != DIRECT:
            worst = max(lag.added for lag in lags)
            text += f"; p99 beyond the server's own, in the worst round: {1000 * worst:.2f} ms"
        if name == ours:
            text += f"; below {1000 * LAG_SECONDS:g} ms: {'met' if worst < LAG_SECONDS else 'MISSED'}"
        told.append(text)
    return told
