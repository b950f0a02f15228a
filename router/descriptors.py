"""Whether this process can open the files that one more session needs. Owns the reserve; must not know sockets.

A process that is out of descriptors can neither accept a client nor tell it why: so clients are refused while some are
left. Numbers are given out lowest first, so the number of a new one says how many are in use.
"""

from __future__ import annotations

import resource

RESERVE = 48
"""Descriptors that sessions leave alone: for refusing (each for a second at most), and in one process for probes,
DNS and HTTP as well."""


class Descriptors:
    """The descriptors of this process.

    Args:
        limit: how many it may have (RLIMIT_NOFILE).
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.owed = 0
        """Sessions that have a client and no member yet: each will open one more."""

    def are_short(self, latest: int) -> bool:
        """Whether a session whose client got this number should be refused."""
        return latest + self.owed >= self.limit - min(RESERVE, self.limit // 2)


def raise_limit() -> None:
    """Allow as many open sockets as the system lets us: a session needs two, and the usual soft limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
