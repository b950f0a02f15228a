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


# Whoever is part of one of these says so itself, so one member's word is enough. That a server shows neither is told
# by the absence of a plugin alone, as on a member that was started without it.
EXPLICIT = (Flavour.GROUP_REPLICATION, Flavour.GALERA)


def tell(claims: Collection[Flavour], members: int, before: Flavour | None) -> Flavour | None:
    """Say how a cluster replicates.

    What was told before stays, unless all that answer, and more than half of the members, say something else.

    Args:
        claims: what each member that answers says of itself.
        members: how many there are.
        before: what was told before.

    Returns:
        None where too few have answered to tell.
    """
    counted = Counter(claims)
    explicit = next((flavour for flavour in EXPLICIT if counted[flavour]), None)
    if before is None and explicit is not None:
        return explicit
    if len(counted) == 1 and 2 * counted.total() > members:
        return next(iter(counted))
    return before
