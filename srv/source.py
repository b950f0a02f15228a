"""The shape of a source, so that the next one is obvious: a probed group, a file, a prefix in etcd.

Owns that shape alone.
"""

from __future__ import annotations

from typing import Never, Protocol

from srv.desired import Desired


class Wants(Protocol):
    """Takes what sources say."""

    def want(self, desired: Desired) -> None:
        """Publish this of the cluster from now on. Saying the same again does nothing."""

    def drop(self, domain: str) -> None:
        """Publish nothing of the cluster any more."""


class Source(Protocol):
    """Knows clusters."""

    async def run(self, wants: Wants) -> Never:
        """Say what is wanted, whenever it changes, until cancelled."""
