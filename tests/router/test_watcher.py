"""Records of two protocols become members."""

from __future__ import annotations

from cluster.members import Endpoint, Member
from router.watcher import pair
from srv.lookup import Target


def target(name: str, port: int, *addresses: str) -> Target:
    return Target(name, port, 0, 1, addresses)


def test_what_names_one_target_is_one_member() -> None:
    classic = [target("a.db", 3306, "10.0.0.1"), target("b.db", 3307, "10.0.0.1"), target("c.db", 3306)]
    x = [target("b.db", 33070, "10.0.0.1"), target("a.db", 33060, "10.0.0.1")]
    assert pair(classic, x) == (
        Member("a.db", Endpoint("10.0.0.1", 3306), Endpoint("10.0.0.1", 33060)),
        Member("b.db", Endpoint("10.0.0.1", 3307), Endpoint("10.0.0.1", 33070)),
    )


def test_a_member_may_speak_one_protocol_only() -> None:
    assert pair([target("a.db", 3306, "10.0.0.1")], []) == (Member("a.db", Endpoint("10.0.0.1", 3306), None),)
