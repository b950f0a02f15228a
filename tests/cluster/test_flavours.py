"""How a cluster replicates, told from what its members say."""

from __future__ import annotations

from itertools import permutations

import pytest

from cluster.flavours import Flavour, tell

GROUP, GALERA, PLAIN = Flavour.GROUP_REPLICATION, Flavour.GALERA, Flavour.REPLICATION


@pytest.mark.parametrize(
    ("claims", "members", "before", "all_asked", "told"),
    [
        ([], 3, None, True, None),
        ([GROUP], 3, None, False, None),
        ([GROUP], 3, None, True, GROUP),
        ([GALERA], 3, None, True, GALERA),
        ([GROUP, PLAIN], 3, None, True, GROUP),
        ([GROUP, PLAIN, PLAIN], 3, None, True, PLAIN),
        ([GROUP, GROUP, PLAIN], 3, None, True, GROUP),
        ([PLAIN], 3, None, True, None),
        ([PLAIN, PLAIN], 3, None, False, PLAIN),
        ([PLAIN], 1, None, True, PLAIN),
        ([], 3, GROUP, True, GROUP),
        ([PLAIN], 3, GROUP, True, GROUP),
        ([PLAIN, PLAIN], 3, GROUP, True, PLAIN),
        ([PLAIN, PLAIN, GROUP], 3, GROUP, True, GROUP),
        ([GROUP, PLAIN, PLAIN], 3, PLAIN, True, PLAIN),
        ([GROUP, GROUP], 3, PLAIN, True, GROUP),
    ],
)
def test_tell(claims: list[Flavour], members: int, before: Flavour | None, all_asked: bool, told: Flavour) -> None:
    assert tell(claims, members, before, all_asked=all_asked) is told


@pytest.mark.parametrize("claims", [[GROUP, PLAIN, PLAIN], [GROUP, GROUP, PLAIN], [GALERA, GALERA, PLAIN]])
def test_who_answers_first_makes_no_difference(claims: list[Flavour]) -> None:
    told = set()
    for order in permutations(claims):
        before = None
        for answered in range(1, 4):
            before = tell(order[:answered], 3, before, all_asked=answered == 3)
        told.add(before)
    assert len(told) == 1
