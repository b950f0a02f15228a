"""The rules of diagnosis, by example and by property."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.diagnosis import diagnose
from cluster.evidence import Policy, QuorumPolicy
from cluster.flavours import Flavour
from cluster.group_rules import has_quorum
from cluster.members import Endpoint, Member, Role, State
from cluster.observations import Observation, Outcome, Report, ViewId, ViewRow
from cluster.topology import Topology, Trust

NOW = 100.0
P, S = Role.PRIMARY, Role.SECONDARY
UP, LOST, JOINING, OUT = State.ONLINE, State.UNREACHABLE, State.RECOVERING, State.OFFLINE
MEMBERS = [
    Member(f"mysql-{n}.db.test", Endpoint(f"10.0.0.{n}", 3306), Endpoint(f"10.0.0.{n}", 33060)) for n in range(3)
]
View = Sequence[tuple[Role, State]]
CALM: View = [(P, UP), (S, UP), (S, UP)]


def rows(view: View) -> tuple[ViewRow, ...]:
    return tuple(ViewRow(f"u{n}", f"mysql-{n}", 3306, role, state) for n, (role, state) in enumerate(view))


def says(
    n: int,
    view: View,
    *,
    read_only: bool | None = None,
    counter: int = 7,
    prefix: str = "v",
    group: str = "g",
    at: float = NOW,
    offline_mode: bool = False,
    single: bool | None = None,
) -> Observation:
    if read_only is None:
        read_only = not (n < len(view) and view[n][0] is P)
    if single is None:
        single = sum(role is P for role, _ in view) < 2
    view_id = ViewId(prefix, counter)
    report = Report(f"u{n}", read_only, offline_mode, group, view_id, rows(view), single_primary=single)
    return Observation(MEMBERS[n], at, Outcome.ANSWERED, report)


def fails(n: int, outcome: Outcome = Outcome.REFUSED) -> Observation:
    return Observation(MEMBERS[n], NOW, outcome, detail="connection refused")


def judged(
    *seen: Observation, previous: Topology | None = None, now: float = NOW, policy: Policy | None = None
) -> Topology:
    return diagnose(
        MEMBERS,
        {one.member.name: one for one in seen},
        now=now,
        previous=previous or Topology(),
        policy=policy or Policy(),
    )


def offers(topology: Topology) -> Mapping[int, Role]:
    return {n: status.offered for n, status in enumerate(topology.members) if status.offered is not None}


def test_a_calm_group_is_offered_as_it_says() -> None:
    topology = judged(*(says(n, CALM) for n in range(3)))
    assert topology.trust is Trust.QUORUM
    assert offers(topology) == {0: P, 1: S, 2: S}


def test_an_unchanged_group_keeps_its_version_and_gets_younger() -> None:
    first = judged(*(says(n, CALM) for n in range(3)))
    again = judged(*(says(n, CALM, at=NOW + 1) for n in range(3)), previous=first, now=NOW + 1)
    assert (again.version, again.taken_at) == (first.version, NOW + 1)


def test_a_primary_cut_from_its_peers_is_not_offered_whatever_it_says() -> None:
    cut_off = says(0, [(P, UP), (S, LOST), (S, LOST)])
    suspicious: View = [(P, LOST), (S, UP), (S, UP)]
    topology = judged(cut_off, says(1, suspicious), says(2, suspicious))
    assert offers(topology) == {1: S, 2: S}
    assert topology.members[0].state is LOST


def test_an_expelled_primary_is_not_offered_and_its_older_view_does_not_count() -> None:
    after: View = [(S, OUT), (P, UP), (S, UP)]
    new_rows = rows(after)[1:]
    voters = []
    for n in (1, 2):
        one = says(n, after, counter=8)
        assert one.report
        voters.append(replace(one, report=replace(one.report, rows=new_rows, read_only=n != 1)))
    frozen_and_thawed = says(0, CALM, counter=7)
    topology = judged(frozen_and_thawed, *voters)
    assert offers(topology) == {1: P, 2: S}
    assert topology.members[0].reason == "the majority's view does not contain it"
    alone_again = judged(frozen_and_thawed, fails(1), fails(2), previous=topology)
    assert 0 not in offers(alone_again), "a view older than the last trusted one came back"


def test_without_a_majority_nobody_is_offered() -> None:
    topology = judged(says(2, [(P, LOST), (S, LOST), (S, UP)]), fails(0), fails(1))
    assert topology.trust is Trust.NO_QUORUM
    assert offers(topology) == {}


MINORITY: View = [(P, LOST), (S, LOST), (S, UP)]
OLD_PRIMARY_ALONE: View = [(P, UP), (S, LOST), (S, LOST)]


@pytest.mark.parametrize(
    ("seen", "quorum", "wanted"),
    [
        ((2, MINORITY), QuorumPolicy.READ, {2: S}),
        ((2, MINORITY), QuorumPolicy.ALL, {2: S}),
        ((0, OLD_PRIMARY_ALONE), QuorumPolicy.NONE, {}),
        ((0, OLD_PRIMARY_ALONE), QuorumPolicy.READ, {0: S}),
        ((0, OLD_PRIMARY_ALONE), QuorumPolicy.ALL, {0: P}),
    ],
)
def test_without_a_majority_the_policy_says(
    seen: tuple[int, View], quorum: QuorumPolicy, wanted: Mapping[int, Role]
) -> None:
    topology = judged(says(*seen), *(fails(n) for n in range(3) if n != seen[0]), policy=Policy(quorum=quorum))
    assert topology.trust is Trust.NO_QUORUM
    assert offers(topology) == wanted


def test_no_policy_offers_one_whose_view_is_outdated_or_whose_group_is_in_dispute() -> None:
    every = Policy(quorum=QuorumPolicy.ALL)
    later = judged(*(says(n, CALM, counter=9) for n in range(3)))
    assert 0 not in offers(judged(says(0, CALM), fails(1), fails(2), previous=later, policy=every))
    one, other = (
        replace(seen, report=replace(seen.report, rows=rows(CALM)[n : n + 1]))  # type: ignore[arg-type]
        for n, seen in ((0, says(0, CALM)), (1, says(1, CALM, prefix="w", read_only=False)))
    )
    assert offers(judged(one, other, policy=every)) == {}


def test_a_group_member_started_without_the_plugin_is_out_and_does_not_make_the_cluster_plain() -> None:
    plain = says(2, [], group="")
    assert offers(judged(says(0, CALM), says(1, CALM), plain)) == {0: P, 1: S}
    alone = judged(plain, fails(0), fails(1))
    assert (alone.trust, alone.flavour) == (Trust.BLIND, None)
    calm = judged(*(says(n, CALM) for n in range(3)))
    assert judged(plain, fails(0), fails(1), previous=calm).flavour is Flavour.GROUP_REPLICATION


def test_a_flavour_that_is_set_is_not_guessed() -> None:
    plain = [says(n, [], group="") for n in range(3)]
    topology = judged(*plain, policy=Policy(flavour=Flavour.GROUP_REPLICATION))
    assert (topology.trust, offers(topology)) == (Trust.NO_QUORUM, {})


def test_at_start_one_member_speaks_for_the_others_once_all_have_been_looked_at() -> None:
    assert judged(says(0, CALM)).trust is Trust.BLIND
    assert judged(says(0, CALM), fails(1), fails(2, Outcome.DENIED)).trust is Trust.QUORUM


def test_while_nobody_answers_the_last_known_roles_stay() -> None:
    calm = judged(*(says(n, CALM) for n in range(3)))
    topology = judged(*(fails(n) for n in range(3)), previous=calm)
    assert topology.trust is Trust.BLIND
    assert offers(topology) == {0: P, 1: S, 2: S}
    assert topology.taken_at == calm.taken_at


def test_observations_age_out() -> None:
    calm = judged(*(says(n, CALM) for n in range(3)))
    later = judged(*(says(n, CALM) for n in range(3)), previous=calm, now=NOW + Policy().max_age + 0.1)
    assert later.trust is Trust.BLIND


def test_a_switchover_offers_the_old_primary_until_it_steps_down_and_the_new_one_once_it_is_writable() -> None:
    new: View = [(S, UP), (P, UP), (S, UP)]
    assert offers(judged(says(0, CALM), says(1, new, read_only=True), says(2, CALM))) == {0: P, 2: S}
    assert offers(judged(says(0, new), says(1, new, read_only=True), says(2, CALM))) == {0: S, 2: S}
    assert offers(judged(says(0, new), says(1, new, read_only=False), says(2, CALM))) == {0: S, 1: P, 2: S}


def test_two_that_both_report_themselves_as_writable_primary_are_both_refused() -> None:
    other: View = [(S, UP), (P, UP), (S, UP)]
    assert offers(judged(says(0, CALM), says(1, other, read_only=False), says(2, CALM))) == {2: S}


def test_a_new_primary_that_cannot_be_asked_is_not_offered_but_a_known_one_stays() -> None:
    assert offers(judged(fails(0), says(1, CALM), says(2, CALM))) == {1: S, 2: S}
    calm = judged(*(says(n, CALM) for n in range(3)))
    topology = judged(fails(0, Outcome.TOO_MANY), says(1, CALM), says(2, CALM), previous=calm)
    assert offers(topology) == {0: P, 1: S, 2: S}


def test_multi_primary_offers_every_writable_member() -> None:
    every: View = [(P, UP)] * 3
    topology = judged(says(0, every), says(1, every), says(2, every, read_only=True))
    assert offers(topology) == {0: P, 1: P}


def test_a_recovering_member_is_not_offered() -> None:
    joining: View = [(P, UP), (S, UP), (S, JOINING)]
    assert offers(judged(*(says(n, joining) for n in range(3)))) == {0: P, 1: S}


def test_a_members_word_against_itself_counts() -> None:
    stopped = says(2, [])
    topology = judged(says(0, CALM), says(1, CALM), stopped)
    assert offers(topology) == {0: P, 1: S}
    assert offers(judged(says(0, CALM), says(1, CALM), fails(2, Outcome.OFFLINE_MODE))) == {0: P, 1: S}
    assert offers(judged(says(0, CALM), says(1, CALM), says(2, CALM, offline_mode=True))) == {0: P, 1: S}


def test_all_out_is_no_quorum() -> None:
    topology = judged(*(says(n, []) for n in range(3)))
    assert (topology.trust, topology.reason) == (Trust.NO_QUORUM, "every member says it is out of the group")


def test_one_that_is_out_proves_nothing_about_those_that_cannot_be_asked() -> None:
    calm = judged(*(says(n, CALM) for n in range(3)))
    topology = judged(fails(0), fails(1), says(2, []), previous=calm)
    assert topology.trust is Trust.BLIND
    assert offers(topology) == {0: P, 1: S}


def test_views_of_different_groups_do_not_merge() -> None:
    alone = rows(CALM)[2:]
    stray = says(2, CALM, group="other")
    assert stray.report
    stray = replace(stray, report=replace(stray.report, rows=alone, read_only=False))
    pair = rows([(P, UP), (S, UP)])
    two = [says(n, [(P, UP), (S, UP)]) for n in (0, 1)]
    assert all(one.report and one.report.rows == pair for one in two)
    assert offers(judged(*two, stray)) == {0: P, 1: S}
    silent = fails(2, Outcome.TIMEOUT)
    topology = judged(says(0, CALM), says(1, CALM, prefix="w", read_only=False), silent)
    assert (topology.trust, offers(topology)) == (Trust.NO_QUORUM, {}), "neither is more believable than the other"


FOUNDED = rows([(P, UP)])
"""What mysql-0 sees that has founded a group of its own."""


def founder() -> Observation:
    return reported(0, CALM, rows=FOUNDED, view_id=ViewId("own", 1), read_only=False)


def test_one_that_founds_a_group_of_its_own_is_not_believed_while_the_others_cannot_be_asked() -> None:
    silent = [fails(n, Outcome.TIMEOUT) for n in (1, 2)]
    assert offers(judged(founder(), *silent)) == {}
    calm = judged(*(says(n, CALM) for n in range(3)))
    alone = judged(founder(), *silent, previous=calm)
    assert (alone.trust, offers(alone)) == (Trust.BLIND, {1: S, 2: S})
    assert alone.members[0].reason == "most members do not confirm its view"


def test_the_majority_is_followed_again_whatever_was_trusted_meanwhile() -> None:
    pair = rows([(S, OUT), (P, UP), (S, UP)])[1:]
    majority = [reported(n, CALM, rows=pair, view_id=ViewId("v", 8), read_only=n != 1) for n in (1, 2)]
    gone = judged(founder(), fails(1), fails(2))
    assert offers(gone) == {0: P}, "where nothing listens on the others, whoever is left may begin anew"
    healed = judged(founder(), *majority, previous=gone)
    assert offers(healed) == {1: P, 2: S}


def test_a_cluster_that_was_started_anew_is_followed_as_soon_as_the_others_say_that_they_are_out() -> None:
    calm = judged(*(says(n, CALM) for n in range(3)))
    starting = judged(founder(), says(1, []), fails(2), previous=calm)
    assert (starting.trust, offers(starting)) == (Trust.QUORUM, {0: P})


def test_a_view_without_an_id_does_not_lower_the_floor() -> None:
    trusted = judged(*(says(n, CALM, counter=9) for n in range(3)))
    between = judged(reported(2, CALM, view_id=None), previous=trusted)
    assert between.view_id == ViewId("v", 9)
    assert 0 not in offers(judged(says(0, CALM, counter=3), previous=between))


def test_a_member_is_recognised_by_its_name_before_it_can_be_asked() -> None:
    topology = judged(says(0, CALM), says(1, CALM))
    assert topology.members[2].uuid == "u2"
    assert offers(topology) == {0: P, 1: S, 2: S}


def test_servers_that_nobody_listed_are_told() -> None:
    four = [*CALM, (S, UP)]
    topology = judged(*(says(n, four) for n in range(3)))
    assert [(one.host, one.port) for one in topology.unlisted] == [("mysql-3", 3306)]


def test_two_names_of_one_server_are_offered_once() -> None:
    alias = Member("alias.db.test", MEMBERS[0].classic, MEMBERS[0].x)
    first = says(0, CALM)
    seen = {one.member.name: one for one in (first, replace(first, member=alias), says(1, CALM), says(2, CALM))}
    topology = diagnose([*MEMBERS, alias], seen, now=NOW, previous=Topology(), policy=Policy())
    assert len(topology.primaries()) == 1


def reported(n: int, view: View, **changes: object) -> Observation:
    """What a member says, with something about the report changed."""
    one = says(n, view)
    assert one.report
    return replace(one, report=replace(one.report, **changes))  # type: ignore[arg-type]


def test_a_thawed_member_of_a_former_group_does_not_outvote_the_trusted_one() -> None:
    pair = rows([(S, OUT), (P, UP), (S, UP)])[1:]
    now = ViewId("w", 2)
    trusted = [reported(n, CALM, rows=pair, view_id=now, read_only=n != 1) for n in (1, 2)]
    before = judged(*trusted)
    assert offers(before) == {1: P, 2: S}
    assert offers(judged(says(0, CALM), *trusted, previous=before)) == {1: P, 2: S}
    assert offers(judged(says(0, CALM), *trusted)) == {1: P, 2: S}, "two that report outweigh one that claims three"


def test_two_primaries_in_one_answer_are_not_multi_primary_mode() -> None:
    torn: View = [(P, UP), (P, UP), (S, UP)]
    topology = judged(*(says(n, torn, single=True) for n in range(3)))
    assert len(topology.primaries()) == 0


def test_a_member_without_a_view_id_neither_votes_nor_divides() -> None:
    topology = judged(says(0, CALM), says(1, CALM), reported(2, CALM, view_id=None))
    assert offers(topology) == {0: P, 1: S, 2: S}


def test_what_a_member_reports_goes_before_what_is_guessed_of_another() -> None:
    impostor = Member("mysql-0.aa", MEMBERS[0].classic, None)
    seen = {one.member.name: one for one in (says(0, CALM), says(1, CALM), says(2, CALM))}
    denied = Observation(impostor, NOW, Outcome.DENIED)
    topology = diagnose(
        [impostor, *MEMBERS], seen | {impostor.name: denied}, now=NOW, previous=Topology(), policy=Policy()
    )
    assert [one.member.name for one in topology.primaries()] == [MEMBERS[0].name]


def test_a_copy_of_a_server_that_is_in_no_group_does_not_take_its_place() -> None:
    copy = Member("a-copy", Endpoint("10.0.0.9", 3306), Endpoint("10.0.0.9", 33060))
    stopped = Observation(copy, NOW, Outcome.ANSWERED, Report("u0", False, False, "g", None, ()))
    seen = {one.member.name: one for one in (says(0, CALM), says(1, CALM), says(2, CALM), stopped)}
    topology = diagnose([copy, *MEMBERS], seen, now=NOW, previous=Topology(), policy=Policy())
    assert [one.member.name for one in topology.primaries()] == [MEMBERS[0].name]
    seen[MEMBERS[0].name] = fails(0)
    later = diagnose([copy, *MEMBERS], seen, now=NOW, previous=topology, policy=Policy())
    assert "a-copy" not in [one.member.name for one in later.primaries()]


def test_a_known_primary_whose_own_report_speaks_against_it_is_not_offered() -> None:
    calm = judged(*(says(n, CALM) for n in range(3)))
    behind = reported(0, CALM, read_only=True, view_id=ViewId("v", 6))
    assert offers(judged(behind, says(1, CALM), says(2, CALM), previous=calm)) == {1: S, 2: S}
    deaf = says(0, [(P, UP), (S, LOST), (S, LOST)], read_only=False)
    assert offers(judged(deaf, says(1, CALM), says(2, CALM), previous=calm)) == {1: S, 2: S}


def test_a_role_is_not_carried_over_to_another_address() -> None:
    calm = judged(*(says(n, CALM) for n in range(3)))
    moved = replace(MEMBERS[0], classic=Endpoint("10.9.9.9", 3306))
    topology = diagnose([moved, *MEMBERS[1:]], {}, now=NOW + 60, previous=calm, policy=Policy())
    assert topology.trust is Trust.BLIND
    assert topology.primaries() == ()


def test_why_nobody_could_be_asked_is_told() -> None:
    denied = [fails(n, Outcome.DENIED) for n in range(3)]
    assert {one.reason for one in judged(*denied).members} == {"denied: connection refused"}


roles = st.sampled_from([Role.PRIMARY, Role.SECONDARY])
states = st.sampled_from([UP, UP, UP, LOST, JOINING, OUT])
views = st.lists(st.tuples(roles, states), min_size=0, max_size=3)


@st.composite
def observations(draw: st.DrawFn) -> list[Observation]:
    seen = []
    for n in range(3):
        if draw(st.booleans()):
            seen.append(
                says(
                    n,
                    draw(views),
                    read_only=draw(st.booleans()),
                    counter=draw(st.integers(6, 8)),
                    prefix=draw(st.sampled_from("vw")),
                    at=NOW - draw(st.sampled_from([0.0, 1.0, 10.0])),
                    offline_mode=draw(st.integers(0, 9)) == 0,
                    single=draw(st.integers(0, 3)) > 0,
                )
            )
        else:
            seen.append(fails(n, draw(st.sampled_from(Outcome))))
    return seen


@settings(max_examples=500, deadline=None)
@given(observations(), observations(), st.sampled_from(QuorumPolicy))
def test_invariants(before: list[Observation], seen: list[Observation], quorum: QuorumPolicy) -> None:
    previous = judged(*before)
    topology = judged(*seen, previous=previous, policy=Policy(quorum=quorum))
    writers = topology.primaries()
    if all(one.report.single_primary for one in seen if one.report is not None):
        assert len(writers) <= 1, "two members offered as PRIMARY of a single-primary group"
    if topology.trust is Trust.NO_QUORUM and quorum is QuorumPolicy.NONE:
        assert not offers(topology)
    if topology.trust is Trust.NO_QUORUM and quorum is QuorumPolicy.READ:
        assert not writers
    if topology.trust is Trust.QUORUM:
        for n, status in enumerate(topology.members):
            if status.offered is None:
                continue
            assert status.state is UP, "offered, though the majority does not see it ONLINE"
            own = seen[n].report
            if own is not None and NOW - seen[n].taken_at <= Policy().max_age:
                assert own.rows, "offered, though it is in no group"
                assert not own.offline_mode, "offered against its own word"
                if status.offered is P:
                    assert not own.read_only, "offered as PRIMARY while read-only"
    assert_the_majority_of_the_listed_is_followed(seen, previous, topology)
    floor, view = previous.view_id, topology.view_id
    if floor and view and floor.prefix == view.prefix:
        assert view.counter >= floor.counter, "an older view replaced a newer one"


def assert_the_majority_of_the_listed_is_followed(
    seen: list[Observation], previous: Topology, topology: Topology
) -> None:
    """Whatever was trusted before: more than half of the members with one view of their own majority win."""
    by_prefix: dict[str, list[int]] = {}
    for one in seen:
        view = one.report.view_id if one.report else None
        if one.report is None or view is None or NOW - one.taken_at > Policy().max_age or not has_quorum(one.report):
            continue
        if previous.view_id and view.prefix == previous.view_id.prefix and view.counter < previous.view_id.counter:
            continue
        by_prefix.setdefault(view.prefix, []).append(view.counter)
    for prefix, counters in by_prefix.items():
        if 2 * len(counters) > len(MEMBERS):
            assert (topology.trust, topology.view_id) == (Trust.QUORUM, ViewId(prefix, max(counters)))
