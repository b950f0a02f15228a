"""Keeps one SRV name fresh for as long as it runs. Owns the loop; what to believe and when to look is `freshness`'s."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Never, Protocol

from srv.freshness import Followed, Policy, advance, wait_until_next
from srv.lookup import Lookup
from srv.names import canonical

log = logging.getLogger("fairlead.srv")

DEFAULTS = Policy()


class Looks(Protocol):
    """What can look a name up: a `Resolver`."""

    async def srv(self, name: str) -> Lookup:
        """Return the outcome; raise for nothing that DNS does."""


class Following:
    """Looks a name up again and again.

    Args:
        resolver: does the looking up.
        name: the whole SRV name.
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
            lookup = await self._resolver.srv(self._state.name)
            self._publish(advance(self._state, lookup, self._clock(), self._policy))
            wait = wait_until_next(self._state, self._clock(), self._policy, self._rng)
            await asyncio.sleep(self._policy.floor)
            await _until_set(self._hint, wait - self._policy.floor)

    def _publish(self, after: Followed) -> None:
        before, self._state = self._state, after
        if after.differs_from(before):
            _log_change(after, self._clock())
            self._on_change(after)


async def _until_set(event: asyncio.Event, timeout: float) -> None:
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        return


def _log_change(state: Followed, now: float) -> None:
    outcome = state.outcome.value if state.outcome else "unknown"
    log.log(
        logging.WARNING if state.failures else logging.INFO,
        "srv-name name=%s outcome=%s targets=%d kept_for=%.0fs detail=%r",
        state.name,
        outcome,
        len(state.targets),
        (state.age(now) or 0.0) if state.is_stale else 0.0,
        state.detail,
    )
