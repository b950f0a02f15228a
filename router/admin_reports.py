"""Workers' reports for all that ask at once: one asking of the workers serves everybody who came meanwhile.

Owns how old a report may be. A poll of any rate costs the workers ten answers a second at most; of sessions, ten for
each route that is asked about, and ten for all routes together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from router.reports import RouteReport, SessionReport, WorkerReport

if TYPE_CHECKING:
    from router.service import Router

SESSIONS_SHOWN = 1000  # sessions in one document: enough for a person, bounded for a router with 10,000
FRESH = 0.1
"""Seconds for which a report is used again: less than what people or scrapes look at."""


class Reports:
    """The reports of one router's workers."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._refreshing = asyncio.Lock()
        self._refreshed_at = float("-inf")
        self._listing = asyncio.Lock()
        self._listed: dict[str, tuple[float, list[SessionReport]]] = {}  # by route, of all under no name

    async def refresh(self) -> None:
        """Have the reports be of now."""
        asked_at = time.monotonic()
        async with self._refreshing:
            if self._refreshed_at < asked_at - FRESH:
                began = time.monotonic()
                await self._router.overview.refresh()
                self._refreshed_at = began

    async def routes(self) -> dict[str, RouteReport]:
        """What each route did and does."""
        await self.refresh()
        return self._router.overview.report()

    async def workers(self) -> Sequence[WorkerReport]:
        """The worker processes."""
        await self.refresh()
        return self._router.overview.workers()

    async def sessions(self, limit: int, route: str = "") -> list[SessionReport]:
        """Live sessions, of one route or of all, at most `limit`, and at most SESSIONS_SHOWN."""
        asked_at = time.monotonic()
        async with self._listing:
            self._listed = {name: one for name, one in self._listed.items() if one[0] >= asked_at - FRESH}
            if route not in self._listed:
                began = time.monotonic()
                # For all limits alike, so that askers of different ones are served by one asking.
                self._listed[route] = began, await self._router.overview.list_sessions(SESSIONS_SHOWN, route)
            return self._listed[route][1][:limit]
