"""Connecting to a member: where its name leads, and the header that names the client.

Owns the difference between a member's failure and our own. Must not know sessions, nor which member is right.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from cluster.members import Endpoint
from router.proxy_header import encode
from router.routes import Candidate, Route
from router.words import Protocol, ProxyProtocol
from srv.hosts import HOST_INTERVAL, HOST_RETRY, Hosts, Locate
from srv.names import is_address

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""What a failing `connect` says of this machine and not of the member: no descriptors, no memory, no ports left."""


class ExhaustedError(Exception):
    """This process or machine can open no more connections now; no member is to blame."""


class NoAddressError(OSError):
    """A member's name leads nowhere now."""


@dataclass(frozen=True, slots=True)
class _Found:
    addresses: tuple[str, ...]
    until: float  # monotonic seconds


class Names:
    """The addresses of members that are listed by name, looked up when they are wanted and kept for a while.

    What was found last serves on while it is looked up again, and when that finds nothing.

    Args:
        tasks: owns the lookups.
        locate: does one; by default the system's way.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        locate: Locate | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tasks = tasks
        self._locate = locate or Hosts().locate
        self._clock = clock
        self._found: dict[str, _Found] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def addresses(self, host: str) -> tuple[str, ...]:
        """A host's addresses; none where it cannot be resolved. An address stands for itself."""
        if is_address(host):
            return (host,)
        found = self._found.get(host)
        if found is None or self._clock() >= found.until:
            if host not in self._asking:
                self._asking[host] = self._tasks.create_task(self._ask(host), name=f"look up {host}")
            if found is None or not found.addresses:
                await asyncio.shield(self._asking[host])
        return self._found[host].addresses

    def doubt(self, host: str) -> None:
        """Look this host up again before long: nobody accepts where it was."""
        found = self._found.get(host)
        if found is not None:
            self._found[host] = _Found(found.addresses, min(found.until, self._clock() + HOST_RETRY))

    def prefer(self, host: str, address: str) -> None:
        """Give this address first from now on: it accepts."""
        found = self._found.get(host)
        if found is not None and found.addresses[:1] != (address,) and address in found.addresses:
            rest = tuple(one for one in found.addresses if one != address)
            self._found[host] = _Found((address, *rest), found.until)

    async def _ask(self, host: str) -> None:
        before = self._found.get(host)
        known = before.addresses if before else ()
        try:
            found = await self._locate(host)
        finally:
            del self._asking[host]
        ordered = tuple(sorted(found, key=lambda one: one != next(iter(known), None)))  # stable
        keep = HOST_INTERVAL if found else HOST_RETRY
        self._found[host] = _Found(ordered or known, self._clock() + keep)


async def connect(
    make_protocol: Callable[[], asyncio.Protocol],
    candidate: Candidate,
    route: Route,
    names: Names,
    *,
    source: Endpoint | None = None,
    destination: Endpoint | None = None,
) -> asyncio.BaseTransport:
    """Connect to a member, at the first of its addresses that accepts.

    Args:
        make_protocol: makes what the connection is for; it is open when its `connection_made` is called.
        candidate: who and where.
        route: for which route.
        names: where names lead.
        source: the client, for the member to be told of, where the route says so.
        destination: what the client connected to.

    Raises:
        OSError: the member cannot be connected to.
        ExhaustedError: nobody can be, for a reason of our own.
    """
    loop, endpoint = asyncio.get_running_loop(), candidate.endpoint
    addresses = await names.addresses(endpoint.host)
    if not addresses:
        raise NoAddressError(errno.EHOSTUNREACH, f"{endpoint.host} cannot be resolved")
    for number, address in enumerate(addresses, 1):
        try:
            if len(addresses) == 1:
                transport, _ = await loop.create_connection(make_protocol, address, endpoint.port)
            else:
                async with asyncio.timeout(route.connect_timeout / len(addresses)):
                    transport, _ = await loop.create_connection(make_protocol, address, endpoint.port)
        except OSError as error:  # a TimeoutError is one, too
            if error.errno in OURS:
                raise ExhaustedError(os.strerror(error.errno or 0)) from error
            if number == len(addresses):
                raise
            continue
        names.prefer(endpoint.host, address)
        if route.send_proxy is not ProxyProtocol.OFF:
            header = encode(route.send_proxy, source, destination)
            # Not through the transport, which may send later than what others send beside it. A new socket has room.
            if os.write(transport.get_extra_info("socket").fileno(), header) != len(header):
                transport.abort()
                raise OSError(errno.EIO, "it did not take the PROXY header")
        return transport
    raise AssertionError("unreachable")


async def answers(candidate: Candidate, route: Route, names: Names) -> bool:
    """Whether a member accepts a connection, and where servers speak first, greets; within `connect_timeout`."""
    heard = asyncio.get_running_loop().create_future()
    transport: asyncio.BaseTransport | None = None
    try:
        async with asyncio.timeout(route.connect_timeout):
            transport = await connect(lambda: _Ear(heard), candidate, route, names)
            if route.protocol is Protocol.CLASSIC:
                return bool(await heard)
            return True
    except (OSError, ExhaustedError):
        return False
    finally:
        if transport is not None:
            transport.abort()  # type: ignore[attr-defined]


class _Ear(asyncio.Protocol):
    """Hears whether anything is said."""

    def __init__(self, heard: asyncio.Future[bool]) -> None:
        self._heard = heard

    def data_received(self, data: bytes) -> None:
        self._tell(True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._tell(False)

    def _tell(self, said: bool) -> None:
        if not self._heard.done():
            self._heard.set_result(said)
