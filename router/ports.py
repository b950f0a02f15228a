"""The ports of one worker: as its latest orders want them, and those of routes that are gone until their sessions are.

Owns listening in a worker, and what its routes did. Must not know the link or other workers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator

from router.accounts import report_route
from router.counts import Place
from router.listener import Listener
from router.messages import Configure, RouteOrder
from router.port import Port
from router.reports import RouteReport, combine, past
from router.yielding import Yielding

log = logging.getLogger("fairlead.router")


class Ports:
    """Ports by route.

    Args:
        make: makes the port that an order asks for.
        place: this worker's among those that have the same sockets; None where there is no other.
    """

    def __init__(self, make: Callable[[RouteOrder], Port], place: Place | None = None) -> None:
        self._make = make
        self._yielding = Yielding(place, self._step_back, self._step_forward) if place is not None else None
        self._sockets: dict[str, socket.socket] = {}
        self._held: dict[str, tuple[RouteOrder, Listener]] = {}
        self._leaving: list[
            tuple[str, Port, float]
        ] = []  # cluster, port of a route that is gone, when its time is over
        self._past: dict[str, RouteReport] = {}
        self._is_closed = False
        self.lacking: frozenset[str] = frozenset()
        """Addresses to listen on whose sockets we have not got."""

    def __iter__(self) -> Iterator[Port]:
        yield from [listener.port for _, listener in self._held.values()]
        yield from [port for _, port, _ in self._leaving]

    def of(self, cluster: str) -> list[Port]:
        """Those that lead to a cluster; an empty name is for lists of servers."""
        held = [listener.port for order, listener in self._held.values() if order.cluster == cluster]
        return [*held, *(port for led_to, port, _ in self._leaving if led_to == cluster)]

    def take(self, addresses: tuple[str, ...], fds: list[int]) -> None:
        """Take over descriptors of listening sockets, in this order."""
        if self._is_closed:
            for fd in fds:
                os.close(fd)
            return
        if len(fds) != len(addresses):  # those for which no descriptor was free did not come (unix(7), MSG_CTRUNC)
            for fd in fds:
                os.close(fd)
            return
        for address, fd in zip(addresses, fds, strict=True):
            sock = socket.socket(fileno=fd)
            sock.setblocking(False)
            old, self._sockets[address] = self._sockets.get(address), sock
            if old is not None:
                old.close()

    async def configure(self, wanted: Configure) -> None:
        """Hold ports for these routes and no others, on sockets that were taken before.

        After `close` none is opened any more, but those of routes that are gone still leave.
        """
        orders = {order.route.name: order for order in wanted.routes}
        for name, (order, listener) in list(self._held.items()):
            new = orders.get(name)
            if new is not None and is_same_port(order, new):
                listener.port.route = new.route
                self._held[name] = new, listener
            else:
                del self._held[name]
                if not self._is_closed:
                    # Whoever listens on from here on takes what is queued; where nobody does, we do first.
                    left = any(one.address == order.address for one in orders.values())
                    await self._stop(order, listener, queued=not left)
                self._leaving.append((order.cluster, listener.port, time.monotonic() + wanted.drain_timeout))
        for name, order in orders.items():
            if name not in self._held and order.address in self._sockets:
                await self._open(order)
        for address in self._sockets.keys() - {order.address for order in orders.values()}:
            self._sockets.pop(address).close()
        lacking = frozenset[str]()
        if not self._is_closed:
            lacking = frozenset(order.address for order in orders.values()) - self._sockets.keys()
        for address in sorted(lacking - self.lacking):
            log.error("nobody listens on %s: out of descriptors; it is tried again", address)
        self.lacking = lacking

    async def _open(self, order: RouteOrder) -> None:
        try:
            sock = self._sockets[order.address].dup()
        except OSError:
            self._sockets.pop(order.address).close()
            return
        accepted = self._yielding.accepted if self._yielding is not None else None
        listener = Listener(self._make(order), sock, accepted)
        try:
            await listener.start()
        except OSError:
            listener.close()
            self._sockets.pop(order.address).close()
            return
        self._held[order.route.name] = order, listener

    def tick(self, now: float) -> None:
        """What is to be done every tenth of a second, at `now` in monotonic seconds."""
        self._end_leaving(now)
        if self._yielding is not None and self._held:
            self._yielding.tick()

    async def close(self, *, queued: bool) -> None:
        """Accept no more. With `queued`, first what waits on the sockets."""
        if self._yielding is not None:
            self._yielding.end()
        self._is_closed = True
        for order, listener in self._held.values():
            await self._stop(order, listener, queued=queued)
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    def cut(self) -> int:
        """End all sessions; return how many there were."""
        return sum(port.cut("the router ends") for port in self)

    def _step_back(self) -> None:
        for _, listener in self._held.values():
            listener.step_back()

    async def _step_forward(self) -> None:
        for _, listener in list(self._held.values()):
            await listener.step_forward()

    def _end_leaving(self, now: float) -> None:
        """End the sessions of routes that are gone, where their time is over."""
        for at in list(self._leaving):
            _, port, deadline = at
            if now >= deadline:
                port.cut("its route is gone")
            if port.is_empty:
                self._leaving.remove(at)
                gone = past(report_route(port, listening=False))
                self._past = combine([*self._past.values(), gone])

    def report(self) -> tuple[RouteReport, ...]:
        """What each route did and does."""
        now = [report_route(listener.port, listening=listener.listening) for _, listener in self._held.values()]
        leaving = [report_route(port, listening=False) for _, port, _ in self._leaving]
        return tuple(combine([*self._past.values(), *now, *leaving]).values())

    async def _stop(self, order: RouteOrder, listener: Listener, *, queued: bool) -> None:
        """Accept no more. With `queued`, first what the kernel has accepted for us: closing would reset it."""
        try:
            await self._take_last(order, listener, queued=queued)
        finally:
            listener.port.sweeps.end_with_sessions()

    async def _take_last(self, order: RouteOrder, listener: Listener, *, queued: bool) -> None:
        listener.close()
        loop, sock = asyncio.get_running_loop(), self._sockets[order.address]
        while queued:
            try:
                connection, _ = sock.accept()
            except OSError:  # nothing is left, or no descriptor to take it with
                return
            connection.setblocking(False)
            await loop.connect_accepted_socket(listener.port.accept, connection)


def is_same_port(one: RouteOrder, other: RouteOrder) -> bool:
    """Whether sessions of the one may live on as the other's: limits and strategies apply to those that come."""
    return _identity(one) == _identity(other)


def _identity(order: RouteOrder) -> tuple[object, ...]:
    route = order.route
    behind_proxies = bool(route.proxy_networks)
    return order.address, order.cluster, route.protocol, route.destination, route.members, behind_proxies
