"""Waiting for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

# Seconds between two looks. A look costs a connection on a Unix socket at most.
PACE = 0.05


def wait_until(condition: Callable[[], bool], timeout: float, pace: float = PACE) -> bool:
    """Look until a condition holds, at most `timeout` seconds; say whether it does."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pace)
    return True
