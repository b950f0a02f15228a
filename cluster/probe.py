"""The shape of a probe, and which one asks a member. Must not know what is asked, nor other members."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from cluster.access import Access
from cluster.classic_probe import ClassicProbe
from cluster.members import Member
from cluster.observations import Observation
from cluster.server_status import ServerStatus
from cluster.x_probe import XProbe
from xproto.notices import Notice


class Probe(Protocol):
    """Asks one member, over a session that it keeps between questions."""

    async def look(self) -> Observation:
        """Ask once. A failure is an observation too: nothing but cancellation is raised."""

    @property
    def hears_notices(self) -> bool:
        """Whether a session is open over which the member tells of changes by itself."""

    def nudge(self) -> bool:
        """Have the member deliver the notices that it holds, without waiting; say whether the session still lives."""

    async def read_status(self, timeout: float) -> ServerStatus | None:
        """Ask what the server counts of itself, over the session that is open; None where there is none.

        Args:
            timeout: seconds; a session that has not answered then is closed.
        """

    async def close(self) -> None:
        """End the session, if there is one."""


class MakeProbe(Protocol):
    """Makes the probe of a member."""

    def __call__(
        self,
        member: Member,
        access: Access,
        *,
        timeout: float,
        on_notice: Callable[[Notice], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Probe:
        """Return a probe that has not asked yet.

        Args:
            member: whom to ask.
            access: account and TLS.
            timeout: seconds for one look, connecting included.
            on_notice: called at once for each notice, also between looks.
            clock: monotonic seconds.
        """


def make_probe(
    member: Member,
    access: Access,
    *,
    timeout: float,
    on_notice: Callable[[Notice], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Probe:
    """Make the probe that suits a member: over the X Protocol, or the classic one where it has only that."""
    if member.x is None and member.classic is not None:
        return ClassicProbe(member, access, timeout=timeout, on_notice=on_notice, clock=clock)
    return XProbe(member, access, timeout=timeout, on_notice=on_notice, clock=clock)
