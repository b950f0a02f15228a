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


class StrategyName(Enum):
    """How a route orders the members it may use."""

    FIRST_AVAILABLE = "first-available"
    ROUND_ROBIN = "round-robin"
