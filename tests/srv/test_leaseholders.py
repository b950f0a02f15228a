"""One cluster's leased keys judged: roles by all agents' reports together, never by a member's own word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.members import Role, State
from cluster.observations import Outcome, Report, ViewId, ViewRow
from srv.desired import Desired
from srv.leaseholders import MAX_AGE, MEMBER_LIMIT, LeasedCluster, Settings
from srv.leases import Lease, write
from srv.update_plan import plan
from srv.zone import Part

P, S = Role.PRIMARY, Role.SECONDARY


def report(n: int, roles: list[Role], counter: int = 7, state: State = State.ONLINE) -> Report:
    rows = tuple(ViewRow(f"u{each}", f"m{each}", 3306, role, state) for each, role in enumerate(roles))
    return Report(f"u{n}", roles[n] is S, False, "g", ViewId("v", counter), rows)


def lease(n: int, roles: list[Role], counter: int = 7) -> Lease:
    return Lease((f"192.0.2.{n}",), 3306, 33060, Outcome.ANSWERED, report=report(n, roles, counter))


class Keys:
    """A cluster."""

    def __init__(self) -> None:
        self.cluster = LeasedCluster(Settings("db.test"))

    def put(self, n: int, what: Lease | bytes, now: float = 0.0, *, is_dated: bool = True) -> None:
        value = what if isinstance(what, bytes) else write(what)
        self.cluster.put(f"m{n}", value, now=now, since=now if is_dated else None)

    def all_put(self, roles: list[Role], now: float = 0.0) -> None:
        for n in range(len(roles)):
            self.put(n, lease(n, roles), now)

    def review(self, now: float = 0.0) -> Desired:
        return self.cluster.review(now=now)


def who(desired: Desired) -> tuple[list[str], list[str], list[str]]:
    """Labels of all, of primaries, of replicas."""
    of = [[one.label for one in desired.members if part in one.parts] for part in Part]
    return [one.label for one in desired.members], *of


@pytest.fixture
def keys() -> Keys:
    one = Keys()
    one.all_put([P, S, S])
    return one


def test_roles_are_those_of_the_groups_view(keys: Keys) -> None:
    assert who(keys.review()) == (["m0", "m1", "m2"], ["m0"], ["m1", "m2"])
    assert keys.review().roles_known
    assert keys.review().members[0].addresses == ("192.0.2.0",)


def test_two_that_call_themselves_primary_are_never_both_published(keys: Keys) -> None:
    keys.put(1, lease(1, [S, P, S]))  # the same view, and another opinion
    assert len(who(keys.review())[1]) <= 1
    keys.put(0, lease(0, [P, S, S], counter=7))
    keys.put(1, lease(1, [S, P, S], counter=8))
    keys.put(2, lease(2, [S, P, S], counter=8))
    assert who(keys.review())[1] == ["m1"]  # the later view wins


def test_a_key_that_is_gone_takes_its_member_along(keys: Keys) -> None:
    keys.review()
    keys.cluster.remove("m2", now=0.0)
    assert who(keys.review()) == (["m0", "m1"], ["m0"], ["m1"])
    keys.cluster.remove("m0", now=0.0)
    assert who(keys.review()) == (["m1"], [], ["m1"])


def test_where_all_keys_are_gone_nobody_is_a_fact(keys: Keys) -> None:
    """A store that is empty says nothing of the members: nothing is taken out of a name server for that."""
    standing = {(rrset.name, rrset.kind): rrset for rrset in keys.review().zone(serial=1).rrsets}
    for n in range(3):
        keys.cluster.remove(f"m{n}", now=1.0)
    for now in (1.0, 30.9):
        withheld = keys.review(now)
        assert not withheld.roles_known
        assert who(withheld)[0] == ["m0", "m1", "m2"]
        assert plan(withheld.zone(serial=2), standing) == ()
    for now in (31.1, 100.0):
        assert plan(keys.review(now).zone(serial=2), standing) == ()
    assert not keys.review(100.0).members_known


def test_who_comes_back_first_need_not_know_the_primary(keys: Keys) -> None:
    keys.review()
    for n in range(3):
        keys.cluster.remove(f"m{n}", now=1.0)
    keys.review(1.0)
    keys.put(1, lease(1, [P, S, S]), 2.0)
    assert not keys.review(2.0).roles_known
    keys.put(0, lease(0, [P, S, S]), 3.0)
    assert who(keys.review(3.0))[1:] == (["m0"], ["m1"])


def test_what_another_store_lacks_stays_as_long_as_roles_do(keys: Keys) -> None:
    calm = keys.review()
    for n in range(3):
        keys.cluster.miss(f"m{n}", now=1.0)
    assert keys.review(1.0) == calm
    keys.put(1, lease(1, [P, S, S]), 2.0)
    assert keys.review(2.0) == calm
    for n in (0, 1):
        keys.put(n, lease(n, [P, S, S]), 30.0)
    assert who(keys.review(31.1)) == (["m0", "m1"], ["m0"], ["m1"])


def test_a_key_that_was_there_before_us_counts_when_it_is_rewritten() -> None:
    one = Keys()
    for n in range(3):
        one.put(n, lease(n, [P, S, S]), is_dated=False)
    assert not one.review().roles_known
    assert who(one.review())[0] == ["m0", "m1", "m2"]
    for n in (1, 2):  # the old primary wrote long ago
        one.put(n, lease(n, [S, P, S], counter=8), 1.0)
    assert who(one.review(1.0))[1] == ["m1"]


def test_a_label_too_long_for_the_domain_does_no_harm_to_others(caplog: pytest.LogCaptureFixture) -> None:
    domain = ".".join(["d" * 60] * 3) + "." + "e" * 20
    cluster = LeasedCluster(Settings(domain))
    for label in ("m0", "x" * 60):
        cluster.put(label, write(lease(0, [P])), now=0.0, since=0.0)
    assert [one.label for one in cluster.review(now=0.0).members] == ["m0"]
    cluster.review(now=0.0).zone(serial=1)
    assert "member-skipped" in caplog.text


def test_who_drains_is_gone_but_the_only_primary_not_before_there_is_another(keys: Keys) -> None:
    keys.put(2, replace(lease(2, [P, S, S]), draining=True))
    assert who(keys.review()) == (["m0", "m1"], ["m0"], ["m1"])
    keys.put(0, replace(lease(0, [P, S, S]), draining=True))
    assert who(keys.review()) == (["m0", "m1"], ["m0"], ["m1"])
    for n in (0, 1):
        keys.put(n, replace(lease(n, [S, P, S]), draining=n == 0))
    keys.put(2, replace(lease(2, [S, P, S]), draining=True))
    assert who(keys.review()) == (["m1"], ["m1"], [])


def test_what_is_not_renewed_is_believed_for_a_time_and_then_withheld(keys: Keys) -> None:
    calm = keys.review()
    assert keys.review(MAX_AGE + 1) == calm  # nobody can be asked
    withheld = keys.review(MAX_AGE + 31)
    assert not withheld.roles_known
    assert who(withheld)[0] == ["m0", "m1", "m2"]
    keys.all_put([S, P, S], now=MAX_AGE + 32)
    assert who(keys.review(MAX_AGE + 32))[1] == ["m1"]


def test_a_key_that_is_read_again_is_no_younger(keys: Keys) -> None:
    keys.review()
    for n in range(3):
        keys.cluster.put(f"m{n}", write(lease(n, [P, S, S])), now=50.0, since=None)
    assert not keys.review(50.0).roles_known


def test_a_value_that_cannot_be_read_is_skipped_and_told_of_once(keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        keys.put(2, b"{}")
        assert who(keys.review())[0] == ["m0", "m1"]
    assert caplog.text.count("member-skipped domain=db.test label=m2") == 1
    keys.put(2, lease(2, [P, S, S]))
    assert who(keys.review())[0] == ["m0", "m1", "m2"]


def test_a_store_full_of_keys_is_not_all_published() -> None:
    one = Keys()
    for n in range(MEMBER_LIMIT + 5):
        one.put(n, Lease((f"192.0.2.{n}",), 3306, None, Outcome.TIMEOUT))
    assert len(one.review().members) == MEMBER_LIMIT


def test_weights_are_the_agents_times_what_the_member_bears(keys: Keys) -> None:
    strained = replace(report(2, [P, S, S]), lag=30.0)
    keys.put(1, replace(lease(1, [P, S, S]), weight=40, priority=9))
    keys.put(2, replace(lease(2, [P, S, S]), report=strained))
    found = {one.label: (one.weight, one.priority) for one in keys.review().members}
    assert found == {"m0": (100, 0), "m1": (40, 9), "m2": (10, 0)}
