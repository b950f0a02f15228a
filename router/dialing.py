"""Connecting to a member: where its name leads, and the header that names the client.

Owns the difference between a member's failure and our own. Must not know sessions, nor which member is right.
"""

from __future__ import annotations

import asyncio
import errno
import logging
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

log = logging.getLogger("fairlead.router")

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What a failing `connect` says of this machine and not of the member: no descriptors, no memory."""
CAPABILITIES_GET = b"\x01\x00\x00\x00\x01"
"""The X message that every server answers, before anybody has logged in."""


class ExhaustedError(Exception):
    """This process or machine can open no more connections now; no member is to blame."""


class NoPortError(Exception):
    """Nothing can be connected to from here at this address: no port is left for it, or we have none of its family."""


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

    def is_asking(self, host: str) -> bool:
        """Whether it is not known yet where a host is, since the lookup has no answer."""
        return host in self._asking and host not in self._found

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
        found: tuple[str, ...] = ()
        try:
            found = await self._locate(host)
        except Exception:  # a fault in one lookup must not end the router
            log.exception("%s could not be looked up, by a fault of the router", host)
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
        NoPortError: it cannot be from here, at none of its addresses.
        ExhaustedError: nobody can be, for a reason of our own.
    """
    loop, endpoint = asyncio.get_running_loop(), candidate.endpoint
    addresses = await names.addresses(endpoint.host)
    if not addresses:
        raise NoAddressError(errno.EHOSTUNREACH, f"{endpoint.host} cannot be resolved")
    failures: list[OSError] = []
    for address in addresses:
        try:
            if len(addresses) == 1:
                transport, _ = await loop.create_connection(make_protocol, address, endpoint.port)
            else:
                async with asyncio.timeout(route.connect_timeout / len(addresses)):
                    transport, _ = await loop.create_connection(make_protocol, address, endpoint.port)
        except OSError as error:  # a TimeoutError is one, too
            if error.errno in OURS:
                raise ExhaustedError(os.strerror(error.errno or 0)) from error
            failures.append(error)
            continue
        names.prefer(endpoint.host, address)
        if route.send_proxy is not ProxyProtocol.OFF:
            header = encode(route.send_proxy, source, destination)
            # Not through the transport, which may send later than what others send beside it. A new socket has room.
            if os.write(transport.get_extra_info("socket").fileno(), header) != len(header):
                transport.abort()
                raise OSError(errno.EIO, "it did not take the PROXY header")
        return transport
    told = [error for error in failures if error.errno != errno.EADDRNOTAVAIL]
    if told:
        raise told[-1]
    raise NoPortError(f"{endpoint}: {os.strerror(errno.EADDRNOTAVAIL)}") from failures[-1]


def tell_late(candidate: Candidate, names: Names, seconds: float) -> str:
    """Why a member was not connected to within so many seconds."""
    name, endpoint = candidate.member.name, candidate.endpoint
    where = name if name == str(endpoint) else f"{name} at {endpoint}"
    if names.is_asking(endpoint.host):
        return f"{where}: {endpoint.host} cannot be resolved: no answer within {seconds:.1f} s"
    return f"{where} did not accept within {seconds:.1f} s"


async def answers(candidate: Candidate, route: Route, names: Names) -> bool:
    """Whether a member accepts a connection and says something, within `connect_timeout`."""
    heard = asyncio.get_running_loop().create_future()
    transport: asyncio.BaseTransport | None = None
    try:
        async with asyncio.timeout(route.connect_timeout):
            transport = await connect(lambda: _Ear(heard), candidate, route, names)
            if route.protocol is Protocol.X:
                transport.write(CAPABILITIES_GET)  # type: ignore[attr-defined]  # uvloop's transports derive from nothing
            return bool(await heard)
    except (OSError, ExhaustedError, NoPortError):
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
