"""Where the router listens, where a client is, and which networks are trusted. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from cluster.members import Endpoint

UNIX = "unix"
"""Stands for whoever comes through a Unix socket, where a network or a client is named."""


@dataclass(frozen=True, slots=True)
class UnixPath:
    """A Unix socket to listen on."""

    path: str

    def __str__(self) -> str:
        return f"{UNIX}:{self.path}"


Listen = Endpoint | UnixPath
"""What a route listens on."""


def peer_of(name: object) -> Endpoint | None:
    """Where the other side of an accepted connection is; None through a Unix socket, which has no address.

    Args:
        name: as `socket.getpeername` gives it. An IPv4 client of a dual-stack socket is told by its IPv4 address.
    """
    if not isinstance(name, tuple) or len(name) < 2:
        return None
    host, port = str(name[0]).partition("%")[0], int(name[1])
    if host.startswith("::ffff:"):
        mapped = ipaddress.IPv6Address(host).ipv4_mapped
        host = str(mapped) if mapped is not None else host
    return Endpoint(host, port)


def is_loopback(client: Endpoint | None) -> bool:
    """Whether the client is on this machine."""
    return client is None or ipaddress.ip_address(client.host).is_loopback


class Networks:
    """A set of networks.

    Args:
        texts: `ADDRESS`, `ADDRESS/BITS`, or `unix`.

    Raises:
        ValueError: one of them is none of these.
    """

    __slots__ = ("_networks", "_unix")

    def __init__(self, texts: Iterable[str]) -> None:
        named = tuple(texts)
        self._unix = UNIX in named
        self._networks = [ipaddress.ip_network(text) for text in named if text != UNIX]

    def __contains__(self, client: Endpoint | None) -> bool:
        if client is None:
            return self._unix
        address = ipaddress.ip_address(client.host)
        return any(address in network for network in self._networks)
