"""Which names, subnet and ports a sandbox takes: pure choices from what is already in use."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from ipaddress import IPv4Network
from itertools import islice
from typing import Any

from bench.sandbox.record import Member

CLASSIC_PORT = 3306
X_PORT = 33060
GROUP_PORT = 33061

# Tried in this order, in /24 steps. The second is the range for benchmarks (RFC 2544), which nobody routes.
SUBNET_RANGES = (IPv4Network("10.213.0.0/16"), IPv4Network("198.18.0.0/16"))
SUBNET_PREFIX = 24
HOST_OFFSET = 1
FIRST_MEMBER_OFFSET = 10

# A VPN that takes all traffic does so with a few routes that cover everything: they do not mean that all is in use.
SHORTEST_PREFIX = 8

# Below the kernel's default range for outgoing connections (32768 and up), so that a stopped member's port stays free.
FIRST_BASE_PORT = 13306
LAST_BASE_PORT = 23306
BASE_PORT_STEP = 100
X_PORT_OFFSET = 50

# The state column of /proc/net/tcp.
LISTENING = "0A"

# Group Replication's own limit on the size of a group.
MOST_MEMBERS = 9


def choose_tag(directory: str, taken: Collection[str]) -> str:
    """Return four hex digits for a directory, the same every time unless another sandbox has them."""
    for attempt in range(1000):
        tag = hashlib.sha256(f"{directory}#{attempt}".encode()).hexdigest()[:4]
        if tag not in taken:
            return tag
    raise LookupError("every name for the network is taken")


def used_networks(addresses: Iterable[dict[str, Any]], routes: Iterable[dict[str, Any]]) -> list[IPv4Network]:
    """Return the networks that a machine has addresses in or routes to, but for routes to about everywhere.

    Args:
        addresses: what `ip -json -4 address` prints.
        routes: what `ip -json -4 route show table all` prints.
    """
    texts = [f"{row['local']}/{row['prefixlen']}" for link in addresses for row in link.get("addr_info", ())]
    texts += [str(row["dst"]) for row in routes if row.get("dst") not in (None, "default")]
    networks = [IPv4Network(text, strict=False) for text in texts]
    return [network for network in networks if network.prefixlen >= SHORTEST_PREFIX]


def choose_subnet(used: Collection[IPv4Network], preferred: str = "") -> IPv4Network:
    """Return the preferred subnet or else the first /24 that overlaps no network in use.

    Raises:
        LookupError: all are in use.
    """
    ranges = [IPv4Network(preferred), *SUBNET_RANGES] if preferred else SUBNET_RANGES
    for candidates in ranges:
        for subnet in candidates.subnets(new_prefix=SUBNET_PREFIX):
            if not any(subnet.overlaps(network) for network in used):
                return subnet
    raise LookupError(f"every /{SUBNET_PREFIX} of {', '.join(map(str, SUBNET_RANGES))} is in use")


def choose_base_port(count: int, used: Collection[int]) -> int:
    """Return a port from which the ports of `count` members are free.

    Raises:
        LookupError: none is.
    """
    for base in range(FIRST_BASE_PORT, LAST_BASE_PORT, BASE_PORT_STEP):
        members = loopback_members(count, base)
        if not any(port in used for member in members for port in (member.port, member.x_port)):
            return base
    raise LookupError(f"no free ports between {FIRST_BASE_PORT} and {LAST_BASE_PORT}")


def listening_ports(tables: Iterable[str]) -> set[int]:
    """Return the TCP ports that are listened on.

    Args:
        tables: the texts of /proc/net/tcp and /proc/net/tcp6 (proc_pid_net(5)).
    """
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == LISTENING}


def namespace_members(count: int, subnet: IPv4Network) -> tuple[Member, ...]:
    """Return members with an address each and the ports that a pod has."""
    addresses = islice(subnet, FIRST_MEMBER_OFFSET, FIRST_MEMBER_OFFSET + count)
    return tuple(
        Member(f"mysql-{index}", str(address), CLASSIC_PORT, X_PORT, GROUP_PORT, f"mysql-{index}")
        for index, address in enumerate(addresses)
    )


def loopback_members(count: int, base: int) -> tuple[Member, ...]:
    """Return members on 127.0.0.1 with ports of their own; group traffic uses the classic port there."""
    return tuple(
        Member(f"mysql-{index}", "127.0.0.1", base + index, base + X_PORT_OFFSET + index, base + index, "127.0.0.1")
        for index in range(count)
    )


def hosts_text(members: Iterable[Member]) -> str:
    """Return a hosts file in which the members find each other."""
    lines = ["127.0.0.1 localhost", *(f"{member.host} {member.name}" for member in members)]
    return "\n".join(lines) + "\n"
