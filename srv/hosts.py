"""Addresses of hosts by the system's own resolution, and what is kept of them. Must not know what for.

The system's is the one that knows `/etc/hosts`, and it can neither be awaited nor called off. So each lookup has a
thread that nobody waits for: neither who asked, beyond a while, nor the process when it ends. The event loop's own
would keep the process until the name servers are given up, which takes ten seconds and more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable

from srv.names import is_address

log = logging.getLogger("fairlead.srv")

HOST_INTERVAL = 30.0  # seconds between looks at the members' host names; their addresses seldom change
HOST_RETRY = 1.0  # seconds between looks at those that have never been found
HOST_TIMEOUT = 5.0  # seconds for one host name
LOOKUPS = 16  # at once in a process; each holds a thread, and a thousand clusters begin together

Locate = Callable[[str], Awaitable[tuple[str, ...]]]
"""Finds a host's addresses; none where it cannot be resolved."""


class Hosts:
    """Looks up for many at once, without more threads than a few."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(LOOKUPS)

    async def locate(self, host: str) -> tuple[str, ...]:
        """A host's addresses; none where it cannot be resolved. An address stands for itself, without a lookup.

        Time spent waiting for a turn does not count against the host. One that is given up keeps its turn until the
        system has given it up, too; one that cannot even begin, as there can be no more threads, finds nothing.
        """
        if is_address(host):
            return (host,)
        await self._turns.acquire()
        try:
            lookup = _look_up(host)
        except RuntimeError as exc:
            self._turns.release()
            log.warning("host-not-asked host=%s: %s; raise the limit of threads", host, exc)
            return ()
        lookup.add_done_callback(lambda _: self._turns.release())
        try:
            async with asyncio.timeout(HOST_TIMEOUT):
                return await asyncio.shield(lookup)
        except TimeoutError:
            return ()


async def locate(host: str) -> tuple[str, ...]:
    """As `Hosts.locate`, for one who has few hosts to look up."""
    return await Hosts().locate(host)


class Addresses(dict[str, tuple[str, ...]]):
    """The addresses of hosts, by name: what was found last stays while nothing is found.

    Args:
        locate: finds a host's addresses.
    """

    def __init__(self, locate: Locate) -> None:
        super().__init__()
        self._locate = locate
        self._unresolved: set[str] = set()

    async def find(self, hosts: Iterable[str]) -> None:
        """Look these up; that one cannot be resolved is told once."""
        wanted = sorted(set(hosts))
        for host, found in zip(wanted, await asyncio.gather(*map(self._locate, wanted)), strict=True):
            if found:
                self[host] = found
                self._unresolved.discard(host)
            elif host not in self._unresolved:
                self._unresolved.add(host)
                log.warning("host-unresolved host=%s kept=%s", host, ",".join(self.get(host, ())) or "none")


def _look_up(host: str) -> asyncio.Future[tuple[str, ...]]:
    """Have the system asked.

    Raises:
        RuntimeError: no thread can be started.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[tuple[str, ...]] = loop.create_future()

    def settle(found: tuple[str, ...]) -> None:
        if not future.done():
            future.set_result(found)

    def look() -> None:
        found = _ask_system(host)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=look, name=f"look up {host}", daemon=True).start()
    return future


def _ask_system(host: str) -> tuple[str, ...]:
    try:
        entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # a UnicodeError, or a NUL in the name, is a ValueError
        return ()
    return tuple(sorted({str(entry[4][0]).partition("%")[0] for entry in entries}))
