"""Which client hosts end their sessions before they answer, and which are blocked for it.

Owns the rule of MySQL's `max_connect_errors`: errors in a row, until one handshake is done; a block stays until it is
reset. Must not know sockets, nor what an error is.
"""

from __future__ import annotations

from collections.abc import Iterable

HOSTS_LIMIT = 10_000
"""Hosts remembered, with errors or blocked: some megabyte. Of more, those whose errors are oldest are forgotten."""


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
