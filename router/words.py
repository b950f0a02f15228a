"""The words of a route: what its clients speak, where it leads, how it chooses.

Light, so that a worker process need not know how settings are read. Imports nothing of ours.
"""

from __future__ import annotations

from enum import Enum


class Protocol(Enum):
    """What a route's clients speak. The listening port decides it, never a look at the bytes."""

    CLASSIC = "classic"
    X = "x"


class Destination(Enum):
    """The role a route leads to."""

    PRIMARY = "PRIMARY"
    SECONDARY = "SECONDARY"
    PRIMARY_AND_SECONDARY = "PRIMARY_AND_SECONDARY"


class StrategyName(Enum):
    """How a route orders the members it may use; the rules are `strategies`'."""

    FIRST_AVAILABLE = "first-available"
    NEXT_AVAILABLE = "next-available"
    ROUND_ROBIN = "round-robin"
    ROUND_ROBIN_WITH_FALLBACK = "round-robin-with-fallback"
    LEAST_CONNECTIONS = "least-connections"
    WEIGHTED = "weighted"
    RANDOM_TWO_CHOICES = "random-two-choices"


class ProxyProtocol(Enum):
    """The header by which a member is told of the client's address; the formats are `proxy_header`'s."""

    OFF = "off"
    V1 = "v1"
    V2 = "v2"
