"""How often one event may be told before it is only counted. Pure: time is given; must not know what a log is."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
WINDOW = 1.0  # seconds over which an event's repeats are counted: a person reads no faster


@dataclass(slots=True)
class _Window:
    began: float
    told: int = 0
    held: int = 0


class Repeats(Generic[Key]):
    """Lets the first of an event through and counts the rest, window by window.

    Args:
        limit: how many of one event are told in a window; 0: all.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._windows: dict[Key, _Window] = {}

    def admit(self, key: Key, now: float) -> bool:
        """Whether this one is to be told; one that is not is counted. Call `ended` before, with the same time."""
        if not self._limit:
            return True
        window = self._windows.setdefault(key, _Window(now))
        if window.told < self._limit:
            window.told += 1
            return True
        window.held += 1
        return False

    @property
    def holding(self) -> bool:
        """Whether any window has something that was not told."""
        return any(window.held for window in self._windows.values())

    def ended(self, now: float) -> Iterator[tuple[Key, int]]:
        """Forget the windows that are over; of those that held something back: the event and how many."""
        for key, window in list(self._windows.items()):
            if now - window.began >= WINDOW:
                del self._windows[key]
                if window.held:
                    yield key, window.held
