"""Keeps one SRV name fresh for as long as it runs. Owns the loop; what to believe and when to look is `freshness`'s."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Never, Protocol

from srv.freshness import Followed, News, Policy, advance, forget, is_too_old, news, wait_until_next
from srv.lookup import Lookup, Outcome
from srv.names import canonical

log = logging.getLogger("fairlead.srv")

DEFAULTS = Policy()
TIMER_SLACK = 0.01  # seconds; uvloop's timers fire up to a millisecond early
LEVELS = {
    News.FOUND: logging.INFO,
    News.KEPT: logging.WARNING,
    News.RENEWED: logging.INFO,
    News.EXPIRED: logging.ERROR,
    News.UNKNOWN: logging.WARNING,
}


class Looks(Protocol):
    """What can look a name up: a `Resolver`."""

    async def srv(self, name: str) -> Lookup:
        """Return the outcome; raise for nothing that DNS does."""


class Following:
    """Looks a name up again and again.

    Args:
        resolver: does the looking up.
        name: the SRV name; with a final dot it is never searched for under other domains.
        on_change: called in the event loop with each state whose targets or outcome differ from those before.
        floor: seconds between two looks, whatever the TTL says.
        ceiling: seconds between two looks at most.
        keep_last_good: seconds for which the last good answer is believed while no new one comes.
        clock: monotonic seconds.
        rng: draws the jitter.

    Raises:
        ValueError: an impossible name or limit.
    """

    def __init__(
        self,
        resolver: Looks,
        name: str,
        *,
        on_change: Callable[[Followed], None],
        floor: float = DEFAULTS.floor,
        ceiling: float = DEFAULTS.ceiling,
        keep_last_good: float = DEFAULTS.keep_last_good,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._resolver = resolver
        self._policy = Policy(floor, ceiling, keep_last_good)
        self._on_change = on_change
        self._clock = clock
        self._rng = rng if rng is not None else random.Random()
        self._hint = asyncio.Event()
        self._state = Followed(canonical(name))
        self._asked = self._state.name + ("." if name.endswith(".") else "")
        self.counts = dict.fromkeys(Outcome, 0)
        """How many looks ended how."""

    @property
    def name(self) -> str:
        """The name that is followed."""
        return self._state.name

    @property
    def state(self) -> Followed:
        """What is known now."""
        return self._state

    def refresh_soon(self) -> None:
        """Look again as soon as the floor allows, for instance because a member stopped answering."""
        self._hint.set()

    async def run(self) -> Never:
        """Look up and wait, until cancelled."""
        while True:
            self._hint.clear()
            lookup = await self._look()
            self.counts[lookup.outcome] += 1
            self._publish(advance(self._state, lookup, self._clock(), self._policy))
            wait = wait_until_next(self._state, self._clock(), self._policy, self._rng)
            await asyncio.sleep(self._policy.floor)
            await _until_set(self._hint, wait - self._policy.floor)

    async def _look(self) -> Lookup:
        """Look, but let no answer that stands in outlive its time meanwhile: several silent servers take seconds."""
        now = self._clock()
        if self._state.is_stale and is_too_old(self._state, now, self._policy):
            self._publish(forget(self._state))
        age = self._state.age(now)
        left = None if age is None or age >= self._policy.keep_last_good else self._policy.keep_last_good - age
        try:
            async with asyncio.timeout(left and left + TIMER_SLACK):
                return await self._resolver.srv(self._asked)
        except TimeoutError:
            return Lookup(self._state.name, Outcome.TIMEOUT, detail="no answer before the last good one was too old")

    def _publish(self, after: Followed) -> None:
        before, self._state = self._state, after
        told = news(before, after)
        if told is not None:
            _log(told, after, self._clock() - before.answered_at if before.is_stale and before.answered_at else 0.0)
        if after.differs_from(before):
            self._on_change(after)


async def _until_set(event: asyncio.Event, timeout: float) -> None:
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        return


def _log(told: News, state: Followed, kept_for: float) -> None:
    """One line where an earlier answer begins to stand in, one where that ends: by an answer, or by its age."""
    log.log(
        LEVELS[told],
        "srv-name name=%s news=%s outcome=%s targets=%d kept_for=%.0fs detail=%r",
        state.name,
        told.value,
        state.outcome.value if state.outcome else "unknown",
        len(state.targets),
        kept_for,
        state.detail,
    )
