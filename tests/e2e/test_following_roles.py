"""A role change is in the topology soon after the majority shows it: the figure's own way of measuring, made short.

`bench.figures.following` states how soon; the bounds here only tell a router that follows from one that does not.
"""

from __future__ import annotations

import statistics

import pytest

from bench.figures.following import WAYS, Way, delays
from bench.sandbox.sandbox import Sandbox
from cluster.watch import Timing

pytestmark = pytest.mark.sandbox
SWITCHOVERS = 3


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.words)
def test_a_role_change_is_followed(group: Sandbox, way: Way) -> None:
    bound = Timing().poll / 2 if way.notices else 2 * Timing().poll
    assert statistics.median(delays(group, way, SWITCHOVERS)) < bound
