"""Which client hosts end their sessions before they answer, and which are blocked for it.

Owns the rule of MySQL's `max_connect_errors`: errors in a row, until one handshake is done; a block stays until it is
reset. Must not know sockets, nor what an error is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol as Shape

HOSTS_LIMIT = 10_000
"""Hosts remembered, with errors or blocked: some megabyte. Of more, those whose errors are oldest are forgotten."""


class Hosts(Shape):
    """What a port tells of its clients' hosts and asks about them."""

    limit: int

    def failed(self, host: str) -> bool:
        """A session ended before its handshake was done; whether that blocks the host now."""

    def succeeded(self, host: str) -> None:
        """A handshake is done."""

    def is_blocked(self, host: str) -> bool:
        """Whether new sessions of the host are refused."""


class HostErrors:
    """The errors of one route's clients.

    Args:
        limit: errors in a row that block a host; 0 blocks none.
        capacity: hosts remembered.
    """

    def __init__(self, limit: int, capacity: int = HOSTS_LIMIT) -> None:
        self.limit = limit
        self._capacity = capacity
        self._errors: dict[str, int] = {}  # the latest to err is last
        self._blocked: dict[str, None] = {}  # in the order of blocking

    def failed(self, host: str) -> bool:
        """One more error; whether that blocks the host now."""
        if not self.limit or host in self._blocked:
            return False
        errors = self._errors.pop(host, 0) + 1
        if errors >= self.limit:
            self.block((host,))
            return True
        self._errors[host] = errors
        while len(self._errors) > self._capacity:
            del self._errors[next(iter(self._errors))]
        return False

    def succeeded(self, host: str) -> None:
        """A handshake is done: what was before does not count any more. A block stays."""
        if self._errors:
            self._errors.pop(host, None)

    def is_blocked(self, host: str) -> bool:
        """Whether new sessions of the host are refused."""
        return host in self._blocked

    def errors(self) -> dict[str, int]:
        """Errors in a row, by host, of those that are not blocked."""
        return dict(self._errors)

    def blocked(self) -> tuple[str, ...]:
        """Hosts that are blocked, the latest last."""
        return tuple(self._blocked)

    def block(self, hosts: Iterable[str]) -> None:
        """Block these, whatever they did here: another worker's count says so."""
        for host in hosts:
            self._errors.pop(host, None)
            self._blocked[host] = None
        while len(self._blocked) > self._capacity:
            del self._blocked[next(iter(self._blocked))]

    def reset(self, host: str | None = None) -> tuple[str, ...]:
        """Forget a host's errors and block, or those of all; return those that were blocked (`FLUSH HOSTS`)."""
        chosen = self.blocked() if host is None else (host,) if host in self._blocked else ()
        if host is None:
            self._errors.clear()
        else:
            self._errors.pop(host, None)
        for one in chosen:
            del self._blocked[one]
        return chosen


class HostNews:
    """The same in one of several workers: what happens is noted to be told, and who is blocked is heard."""

    def __init__(self, capacity: int = HOSTS_LIMIT) -> None:
        self.limit = 0
        self._capacity = capacity
        self._failed: dict[str, int] = {}
        self._done: dict[str, None] = {}
        self._blocked: frozenset[str] = frozenset()
        self._some_err = False

    def failed(self, host: str) -> bool:
        """A session ended before its handshake was done."""
        if host in self._failed or len(self._failed) < self._capacity:
            self._failed[host] = self._failed.get(host, 0) + 1
        return False

    def succeeded(self, host: str) -> None:
        """A handshake is done: worth telling only where some host has errors."""
        if self._some_err or self._failed:
            self._failed.pop(host, None)
            if len(self._done) < self._capacity:
                self._done[host] = None

    def is_blocked(self, host: str) -> bool:
        """Whether new sessions of the host are refused."""
        return host in self._blocked

    def hear(self, blocked: Iterable[str], *, some_err: bool) -> None:
        """Who is blocked from now on, and whether any host has errors."""
        self._blocked, self._some_err = frozenset(blocked), some_err

    def take(self) -> tuple[dict[str, int], tuple[str, ...]]:
        """Errors by host, and hosts whose handshakes were done, since the call before."""
        failed, done = self._failed, tuple(self._done)
        self._failed, self._done = {}, {}
        return failed, done


class HostBlocks:
    """What the workers tell together, by route. Blocks outlive the workers that saw the errors."""

    def __init__(self) -> None:
        self._routes: dict[str, HostErrors] = {}

    def configure(self, limits: dict[str, int]) -> tuple[str, ...]:
        """Errors in a row that block a host, by route; 0 blocks none, and other routes are forgotten.

        Returns:
            Routes whose blocks are lifted by that.
        """
        lifted = tuple(name for name, one in self._routes.items() if one.blocked() and not limits.get(name))
        kept = {name: one for name, one in self._routes.items() if name not in lifted}
        self._routes = {name: kept.get(name) or HostErrors(limit) for name, limit in limits.items()}
        for name, limit in limits.items():
            self._routes[name].limit = limit
        return lifted

    def remember(self, blocked: Mapping[str, Iterable[str]]) -> None:
        """Hosts that were blocked before an upgrade, by route."""
        for route, hosts in blocked.items():
            self._routes.setdefault(route, HostErrors(0)).block(hosts)

    def hear(self, route: str, failed: dict[str, int], done: Iterable[str]) -> bool:
        """What a worker tells; whether the others should know how it stands now. Blocks are only added."""
        errors = self._routes.get(route)
        if errors is None:
            return False
        before = errors.blocked(), bool(errors.errors())
        for host in done:
            errors.succeeded(host)
        for host, number in failed.items():
            for _ in range(min(number, errors.limit)):
                errors.failed(host)
        return before != (errors.blocked(), bool(errors.errors()))

    def stand(self, route: str) -> tuple[tuple[str, ...], bool]:
        """Hosts that are blocked on a route, and whether any other has errors."""
        errors = self._routes.get(route)
        return (errors.blocked(), bool(errors.errors())) if errors is not None else ((), False)

    def reset(self, route: str, host: str | None = None) -> tuple[str, ...]:
        """Forget a host's errors and block on a route, or all; return those that were blocked."""
        errors = self._routes.get(route)
        return errors.reset(host) if errors is not None else ()
