"""Addresses of hosts by the system's own resolution. Owns how many lookups run at once; must not know what for."""

from __future__ import annotations

import asyncio
import socket

from srv.names import is_address

HOST_TIMEOUT = 5.0  # seconds for one host name
LOOKUPS = 16  # at once in a process; each holds a thread, and a thousand clusters begin together


async def locate(host: str) -> tuple[str, ...]:
    """A host's addresses; none where it cannot be resolved. An address stands for itself, without a lookup."""
    if is_address(host):
        return (host,)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(HOST_TIMEOUT):
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # a TimeoutError is an OSError; a UnicodeError, or a NUL in the name, a ValueError
        return ()
    return tuple(sorted({str(entry[4][0]).partition("%")[0] for entry in found}))


class Hosts:
    """Looks up for many at once, without more threads than a few."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(LOOKUPS)

    async def locate(self, host: str) -> tuple[str, ...]:
        """As the function; time spent waiting for a turn does not count against the host."""
        if is_address(host):
            return (host,)
        async with self._turns:
            return await locate(host)
