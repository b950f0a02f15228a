"""The nft ruleset that cuts a member off: text only. It is loaded inside the member's namespace, never on the host."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

TABLE = "fairlead_cut"
# Adding before deleting makes the deletion succeed whether or not the table is there.
REMOVE = f"add table inet {TABLE}\ndelete table inet {TABLE}\n"


class Side(StrEnum):
    """Whom a member is cut off from."""

    PEERS = "peers"
    CLIENTS = "clients"
    ALL = "all"


class Direction(StrEnum):
    """Which packets are dropped, as the member sees them."""

    IN = "in"
    OUT = "out"
    BOTH = "both"


def cut_text(addresses: Sequence[str], direction: Direction) -> str:
    """Return a ruleset that drops what goes to or comes from these addresses, replacing an earlier one in one step.

    Args:
        addresses: IPv4 addresses, at least one.
        direction: relative to the member that loads it.
    """
    if not addresses:
        raise ValueError("a cut needs an address to cut off")
    those = "{ " + ", ".join(addresses) + " }"
    chains = []
    if direction is not Direction.OUT:
        chains.append(f"  chain in {{ type filter hook input priority -300; ip saddr {those} drop; }}")
    if direction is not Direction.IN:
        chains.append(f"  chain out {{ type filter hook output priority -300; ip daddr {those} drop; }}")
    return REMOVE + f"table inet {TABLE} {{\n" + "\n".join(chains) + "\n}\n"
