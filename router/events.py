"""What happened lately, for people who watch: a bounded ring of events, and who is told of new ones.

Owns the kinds of events and their documents. Must not know who publishes what, or how it is carried. Pure, but for the
clock: subscribers are called synchronously.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from router.moments import moment_of

KEPT = 1000
"""Events: the history of a bad hour, half a megabyte at most."""


class Kind(Enum):
    """What sort of thing happened."""

    ROLE = "role"  # a member's role changed
    MEMBER = "member"  # a member came, left, or changed its state or whether it is offered
    TRUST = "trust"  # how far a topology can be relied upon changed
    FAILOVER_BEGUN = "failover-begun"  # there is no primary to write to any more
    FAILOVER_ENDED = "failover-ended"  # there is one again; with `seconds`
    SESSIONS_CUT = "sessions-cut"  # their member is fit for them no more, or to be left; with `count` and `route`
    WORKER_DIED = "worker-died"  # with its number, and the `count` of sessions that went with it
    WORKER_STARTED = "worker-started"
    RELOADED = "reloaded"  # a configuration was read again and applied
    RELOAD_REFUSED = "reload-refused"  # one was not valid, and nothing was changed
    MODE = "mode"  # a member was drained, hidden or put back
    SESSION_KILLED = "session-killed"  # an operator ended one
    UNBLOCKED = "unblocked"  # blocked hosts were let in again
    DRAINING = "draining"  # the router ends


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `at`: monotonic seconds. `more`: what its kind has besides."""

    id: int
    at: float
    kind: Kind
    text: str
    cluster: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As a JSON document."""
        return {
            "id": self.id,
            "time": moment_of(self.at),
            "kind": self.kind.value,
            "cluster": self.cluster or None,
            "text": self.text,
            **self.more,
        }


class Events:
    """The ring of one process.

    Args:
        kept: how many to keep.
        clock: monotonic seconds.
    """

    def __init__(self, kept: int = KEPT, clock: Callable[[], float] = time.monotonic) -> None:
        self.instance = secrets.token_hex(4)  # so that a number of another process is not taken for one of ours
        self._ring: deque[Event] = deque(maxlen=kept)
        self._clock = clock
        self._last = 0
        self._told: list[Callable[[], None]] = []

    @property
    def last(self) -> int:
        """The number of the newest; 0 before the first."""
        return self._last

    def publish(self, kind: Kind, text: str, cluster: str = "", **more: Any) -> Event:
        """Keep an event and tell of it."""
        self._last += 1
        event = Event(self._last, self._clock(), kind, text, cluster, more)
        self._ring.append(event)
        for told in list(self._told):
            told()
        return event

    def after(self, number: int, limit: int = KEPT) -> list[Event]:
        """Events newer than that, oldest first; of more than `limit` the newest."""
        newer = [event for event in self._ring if event.id > number]
        return newer[-limit:] if limit else []

    def subscribe(self, told: Callable[[], None]) -> Callable[[], None]:
        """Have `told` called at each new event; returns what ends that."""
        self._told.append(told)
        return lambda: self._told.remove(told)
