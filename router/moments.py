"""The time of day, for people: in events and in documents that other programs know with it.

Nothing is decided by it. Pure, but for the clocks.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone


def moment_of(monotonic: float) -> str:
    """The time of day (UTC, microseconds, RFC 3339) at which the monotonic clock showed that, as far as can be told."""
    seconds = time.time() - (time.monotonic() - monotonic)
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # noqa: UP017
