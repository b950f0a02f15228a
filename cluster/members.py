"""The words for a member of a cluster. Owns names and addresses; must not know what any probe saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

CLASSIC_PORT = 3306
X_PORT = 33060


class Role(Enum):
    """What the majority's view has a member do."""

    PRIMARY = "PRIMARY"
    SECONDARY = "SECONDARY"
    UNKNOWN = "UNKNOWN"


class State(Enum):
    """Group Replication's own member states (MEMBER_STATE); UNKNOWN where no view speaks of the member."""

    ONLINE = "ONLINE"
    RECOVERING = "RECOVERING"
    UNREACHABLE = "UNREACHABLE"
    OFFLINE = "OFFLINE"
    ERROR = "ERROR"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address to connect to: an IP address or a host name, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Member:
    """One MySQL server.

    `name` is the identity: the SRV target's name, so that several members may share an address with
    different ports. An endpoint is None where no record names that protocol's port. `priority` and `weight` are of its
    SRV record; a member is the same whatever they are, for a session need not end when a weight moves.
    """

    name: str
    classic: Endpoint | None
    x: Endpoint | None
    priority: int = field(default=0, compare=False)
    weight: int = field(default=1, compare=False)


def parse_endpoint(text: str, default_port: int) -> Endpoint:
    """Read `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.

    Raises:
        ValueError: what is wrong with the text, in words for a user.
    """
    host, bracket, port = text, "", ""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError(f"{text!r}: an IPv6 address with a port is written [ADDRESS]:PORT")
        port = port[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port:
            raise ValueError(f"{text!r}: a port number belongs after the colon")
    if not host:
        raise ValueError(f"{text!r}: the host is missing; write HOST or HOST:PORT")
    if not port:
        return Endpoint(host, default_port)
    if not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r}: the port must be a number from 1 to 65535")
    return Endpoint(host, int(port))
