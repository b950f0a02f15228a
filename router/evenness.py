"""When a worker has so many more sessions than another that new connections should be the other's. Pure."""

from __future__ import annotations

from collections.abc import Sequence

MARGIN = 3
"""Sessions more than another's that are no matter: which of several is woken first is the kernel's choice."""
SHARE = 16
"""Of the other's sessions, one in so many is no matter either: what comes and goes in the time of a look."""


def is_ahead(own: int, others: Sequence[int]) -> bool:
    """Whether a worker with `own` sessions should leave the next ones to one of the others that accept, if any does."""
    return bool(others) and own - min(others) > max(MARGIN, min(others) // SHARE)


def is_level(own: int, others: Sequence[int]) -> bool:
    """Whether one that was ahead should accept again."""
    return not others or own <= min(others)
