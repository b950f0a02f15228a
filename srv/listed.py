"""A static file as a source: watched, and published anew when it says something else.

Owns looking at the file, and looking up the hosts in it. What stands in it is `listing`'s to read.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Never

from srv.hosts import HOST_INTERVAL, HOST_RETRY, Addresses, Locate, locate
from srv.listing import DocumentError, Listing, read_listing
from srv.source import Wants

log = logging.getLogger("fairlead.srv")

LOOK_INTERVAL = 0.5  # seconds between looks at the file
REASON_LIMIT = 2000  # characters of what is wrong with a file, on a log line
SIZE_LIMIT = 4 * 2**20  # bytes; a thousand clusters of three members take a tenth of it
UNUSABLE = (OSError, ValueError, DocumentError)  # what reading a file may raise; a UnicodeDecodeError is a ValueError


class ListedClusters:
    """Says what is to be published of the clusters that a file lists. What was last read well stands until then.

    The file is read at each look, not only its times: a clock may be coarser than two edits, and a link in the path may
    lead elsewhere (as in a Kubernetes ConfigMap) without any file having changed.

    Args:
        path: the file.
        locate: finds a host's addresses.
    """

    def __init__(self, path: Path, *, locate: Locate = locate) -> None:
        self._path = path
        self._content: bytes | None = None
        self._unusable: bytes | None = None
        self._trouble = ""
        self._listing = Listing(clusters={})
        self._gone: set[str] = set()
        self._addresses = Addresses(locate)

    def __str__(self) -> str:
        return f"file {self._path}"

    async def run(self, wants: Wants) -> Never:
        """Say what is wanted until cancelled."""
        loop = asyncio.get_running_loop()
        hosts_due = loop.time() + HOST_INTERVAL
        retry_due = 0.0
        while True:
            is_other = await self._look()
            missing = set(self._listing.hosts()) - self._addresses.keys()
            if is_other or (missing and loop.time() >= retry_due):
                await self._addresses.find(missing)
                self._say(wants)
                retry_due = loop.time() + HOST_RETRY
            if loop.time() >= hosts_due:
                await self._addresses.find(set(self._listing.hosts()))
                self._say(wants)
                hosts_due = loop.time() + HOST_INTERVAL
            await asyncio.sleep(LOOK_INTERVAL)

    async def _look(self) -> bool:
        """Read the file, and say whether it lists something else now."""
        try:
            content = await asyncio.to_thread(_read, self._path)
            if content == self._unusable:
                return False  # no better for being read again
            self._unusable = None
            if content == self._content:
                self._untroubled()
                return False
            self._unusable = content  # unless what follows shows otherwise
            listing = await asyncio.to_thread(read_listing, content.decode())
        except UNUSABLE as exc:
            return self._troubled(_reason(exc))
        self._unusable = None
        self._untroubled()
        self._content = content
        before, self._listing = self._listing, listing
        log.info("file-read path=%s clusters=%d", self._path, len(listing.clusters))
        self._gone |= before.clusters.keys() - listing.clusters.keys()
        return True

    def _troubled(self, reason: str) -> bool:
        if reason != self._trouble:
            self._trouble = reason
            log.error("file-not-used path=%s reason=%r published=as-before", self._path, reason)
        return False

    def _untroubled(self) -> None:
        if self._trouble:
            self._trouble = ""
            log.info("file-usable path=%s", self._path)

    def _say(self, wants: Wants) -> None:
        for domain in sorted(self._gone - self._listing.clusters.keys()):
            wants.drop(domain)
        self._gone = set()
        for domain, cluster in self._listing.clusters.items():
            wants.want(cluster.desired(domain, self._addresses))


def check(path: Path) -> None:
    """See that a file can be used.

    Raises:
        DocumentError: it cannot; says what is wrong with it, and where.
    """
    try:
        read_listing(_read(path).decode())
    except UNUSABLE as exc:
        raise DocumentError(f"{path}: {_reason(exc)}") from exc


def _reason(exc: Exception) -> str:
    match exc:
        case OSError():
            return exc.strerror or str(exc)
        case UnicodeDecodeError():
            return f"not UTF-8 at byte {exc.start}"
        case _:
            words = "; ".join(str(exc).splitlines())
            return words if len(words) <= REASON_LIMIT else f"{words[:REASON_LIMIT]}…"


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(SIZE_LIMIT + 1)
    if len(content) > SIZE_LIMIT:
        raise ValueError(f"more than {SIZE_LIMIT} bytes")
    return content
