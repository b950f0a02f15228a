"""How a cluster replicates, told from what its members say."""

from __future__ import annotations

import pytest

from cluster.flavours import Flavour, tell

GROUP, GALERA, PLAIN = Flavour.GROUP_REPLICATION, Flavour.GALERA, Flavour.REPLICATION


@pytest.mark.parametrize(
    ("claims", "members", "before", "told"),
    [
        ([], 3, None, None),
        ([GROUP], 3, None, GROUP),
        ([GALERA], 3, None, GALERA),
        ([GROUP, PLAIN, PLAIN], 3, None, GROUP),
        ([PLAIN], 3, None, None),
        ([PLAIN, PLAIN], 3, None, PLAIN),
        ([PLAIN], 1, None, PLAIN),
        ([], 3, GROUP, GROUP),
        ([PLAIN], 3, GROUP, GROUP),
        ([PLAIN, PLAIN], 3, GROUP, PLAIN),
        ([PLAIN, PLAIN, GROUP], 3, GROUP, GROUP),
        ([GROUP, PLAIN, PLAIN], 3, PLAIN, PLAIN),
        ([GROUP, GROUP], 3, PLAIN, GROUP),
    ],
)
def test_tell(claims: list[Flavour], members: int, before: Flavour | None, told: Flavour | None) -> None:
    assert tell(claims, members, before) is told
