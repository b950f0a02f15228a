"""The shape of a publisher: the built-in server is one, updates of another server are another.

Owns that shape alone.
"""

from __future__ import annotations

from typing import Never, Protocol

from srv.zone import Zone


class Publisher(Protocol):
    """Puts zones into a DNS server. What does not await returns at once, and `run` goes on with what it began."""

    def publish(self, zone: Zone) -> None:
        """Have the zone's records stand in the server, in place of what was published of it before."""

    def withdraw(self, origin: str) -> None:
        """Have the zone's records stand there no more. A zone that was never published is not an error."""

    async def start(self) -> None:
        """Get ready.

        Raises:
            PublishError: it cannot be; the text says what and why.
        """

    async def run(self) -> Never:
        """Publish until cancelled."""

    async def close(self) -> None:
        """Let go of everything; what is published elsewhere stays."""


class PublishError(Exception):
    """A publisher cannot do its work as it is set; the text says which and why."""
