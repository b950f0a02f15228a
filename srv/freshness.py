"""What is still believed of a name, and when to look again. Owns the rules; time, chance and lookups are given.

The last good answer outlives an empty set, a vanished name and a silent server for a bounded time: none of them proves
that a member is gone. Only the explicit "no such service" (target ".") ends it at once.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum

from srv.lookup import Answer, Lookup, Outcome, Target

JITTER = 0.1  # share of the wait; keeps many routers from asking in step
RETRY_CEILING = 5.0  # seconds between two looks at a name that was never answered, as long as the TTL that we publish


@dataclass(frozen=True, slots=True)
class Policy:
    """How long things are good for, all in seconds.

    floor: between two looks, whatever the TTL. ceiling: a change is seen within this, whatever the TTL.
    keep_last_good: an answer that cannot be renewed is believed for so long, counted from when it was last heard.
    """

    floor: float = 1.0
    ceiling: float = 60.0
    keep_last_good: float = 3600.0

    def __post_init__(self) -> None:
        if not 0 < self.floor <= self.ceiling:
            raise ValueError(f"floor {self.floor} s and ceiling {self.ceiling} s: wanted 0 < floor <= ceiling")
        if self.keep_last_good < 0:
            raise ValueError(f"keep_last_good {self.keep_last_good} s is below zero")


@dataclass(frozen=True, slots=True)
class Followed:
    """What is known of a name. `answer` is the last good one, None where there is none or it is too old.

    `answered_at` is monotonic seconds; `outcome` is the latest look's, None before the first; `failures` counts the
    looks in a row that brought no answer; `good_for` is the latest look's TTL, in seconds.
    `located_at` says of each target that has addresses when they were last heard, as `answered_at` does.
    """

    name: str
    answer: Answer | None = None
    answered_at: float | None = None
    outcome: Outcome | None = None
    detail: str = ""
    failures: int = 0
    good_for: float | None = None
    located_at: tuple[tuple[str, float], ...] = ()

    @property
    def targets(self) -> tuple[Target, ...]:
        """The last good answer's targets; none where there is no such answer."""
        return self.answer.targets if self.answer else ()

    @property
    def is_stale(self) -> bool:
        """Whether `answer` is an earlier look's, kept because the latest brought none."""
        return self.answer is not None and self.outcome is not Outcome.ANSWER

    def age(self, now: float) -> float | None:
        """Seconds since the answer was last heard."""
        return None if self.answered_at is None else now - self.answered_at

    def differs_from(self, other: Followed) -> bool:
        """Whether something changed that is worth telling: the targets or the outcome, not TTLs and counters."""
        ours, theirs = (each.answer.targets if each.answer else None for each in (self, other))
        return (ours, self.outcome) != (theirs, other.outcome)


def advance(before: Followed, lookup: Lookup, now: float, policy: Policy) -> Followed:
    """Say what is known after one more look."""
    looked = replace(before, outcome=lookup.outcome, detail=lookup.detail)
    if lookup.outcome is Outcome.ANSWER and lookup.answer is not None:
        heard = {target.name: now for target in lookup.answer.targets if target.addresses}
        kept = {
            name: at
            for name, at in before.located_at
            if name not in heard and name not in lookup.nowhere and now - at < policy.keep_last_good
        }
        answer = _with_known_addresses(lookup.answer, before.answer, kept.keys())
        named = {target.name for target in answer.targets if target.addresses}
        located_at = tuple(sorted((name, at) for name, at in {**kept, **heard}.items() if name in named))
        return replace(
            looked, answer=answer, answered_at=now, failures=0, good_for=lookup.answer.ttl, located_at=located_at
        )
    failed = replace(looked, failures=before.failures + 1, good_for=lookup.negative_ttl)
    return forget(failed) if lookup.outcome is Outcome.UNAVAILABLE or is_too_old(before, now, policy) else failed


def is_too_old(state: Followed, now: float, policy: Policy) -> bool:
    """Whether the last good answer, if there is one, may stand in no longer."""
    age = state.age(now)
    return age is None or age >= policy.keep_last_good


def forget(state: Followed) -> Followed:
    """What is known without the last good answer."""
    return replace(state, answer=None, answered_at=None, located_at=())


class News(Enum):
    """What a look brought that an operator should read of."""

    FOUND = "found"  # the first answer, or another one than before
    KEPT = "kept"  # no answer: the last good one stands in from now on
    RENEWED = "renewed"  # answered again, after an earlier answer stood in
    EXPIRED = "expired"  # the answer that stood in is too old, or the service is decidedly not available
    UNKNOWN = "unknown"  # there is no answer, nor an earlier one


def news(before: Followed, after: Followed) -> News | None:
    """Say what is new, if anything: while an answer stands in, it is not news that it still does, nor why."""
    if after.is_stale:
        return None if before.is_stale else News.KEPT
    if after.answer is None:
        if before.answer is not None:
            return News.EXPIRED
        return News.UNKNOWN if after.outcome is not before.outcome else None
    if before.is_stale:
        return News.RENEWED
    return News.FOUND if after.targets != before.targets or before.answer is None else None


def wait_until_next(state: Followed, now: float, policy: Policy, rng: random.Random) -> float:
    """Seconds from `now` to the next look.

    After an answer its TTL, after a negative one the TTL it came with; after a failure twice as long each time, up to
    `RETRY_CEILING`. While an earlier answer stands in, never longer than the TTL that it came with: what a name server
    tells when it is back is followed as soon as if it had not been away. Between floor and ceiling, and not past the
    moment when the last good answer expires.
    """
    if state.failures and state.good_for is None:
        wanted = min(policy.floor * 2.0 ** min(state.failures - 1, 16), RETRY_CEILING)
    else:
        wanted = state.good_for or 0.0
    if state.is_stale and state.answer is not None:
        wanted = min(wanted, state.answer.ttl)
    wait = min(max(wanted, policy.floor), policy.ceiling)
    # Late rather than early, so that a cache on the way has let go of the old answer; the ceiling stays one.
    wait = min(wait * (1 + JITTER * rng.random()), policy.ceiling * (1 - JITTER * rng.random()))
    age = state.age(now)
    if state.is_stale and age is not None:
        wait = min(wait, policy.keep_last_good - age)
    return max(wait, policy.floor)


def _with_known_addresses(answer: Answer, known: Answer | None, kept: Collection[str]) -> Answer:
    """The answer, with earlier addresses for those of the targets named in `kept` that come without any."""
    earlier = {target.name: target.addresses for target in known.targets if target.name in kept} if known else {}
    return replace(answer, targets=tuple(_with_addresses(target, earlier) for target in answer.targets))


def _with_addresses(target: Target, earlier: dict[str, tuple[str, ...]]) -> Target:
    return target if target.addresses else replace(target, addresses=earlier.get(target.name, ()))
