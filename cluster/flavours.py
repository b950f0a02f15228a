"""The ways in which clusters replicate. Owns the names, and how one is told from what members report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from enum import Enum


class Flavour(Enum):
    """How a cluster's members replicate; which rules judge them."""

    GROUP_REPLICATION = "group-replication"
    GALERA = "galera"
    REPLICATION = "replication"  # asynchronous or semi-synchronous, from a source to replicas; or a single server


# Whoever is part of one of these says so itself. That a server shows neither is told by the absence of a plugin alone,
# as on a member that was started without it.
EXPLICIT = (Flavour.GROUP_REPLICATION, Flavour.GALERA)


def tell(claims: Collection[Flavour], members: int, before: Flavour | None, *, all_asked: bool) -> Flavour | None:
    """Say how a cluster replicates, whoever answers first.

    What was told before stays, unless all that answer, and more than half of the members, say something else. Else it
    is what more than half of the members say; where fewer answer, an explicit word is enough once all have been asked.

    Args:
        claims: what each member that answers says of itself.
        members: how many there are.
        before: what was told before.
        all_asked: whether each has been looked at, with whatever outcome.

    Returns:
        None where too few have answered to tell.
    """
    counted = Counter(claims)
    most = next((flavour for flavour, count in counted.items() if 2 * count > members), None)
    if before is not None:
        return most if most is not None and len(counted) == 1 else before
    if most is not None or not all_asked:
        return most
    return next((flavour for flavour in EXPLICIT if counted[flavour]), None)
