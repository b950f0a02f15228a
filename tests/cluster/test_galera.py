"""How Galera clusters are judged, by example and by property; and how a node's answer is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.diagnosis import diagnose
from cluster.evidence import Policy, QuorumPolicy
from cluster.flavours import Flavour
from cluster.galera_questions import ASK_MARIADB, NO_COMPONENT, compare, read_mariadb
from cluster.galera_rules import DONOR_GRACE
from cluster.members import Endpoint, Member, Role, State
from cluster.observations import GaleraNode, Observation, Outcome, Report
from cluster.questions import AnswerError
from cluster.topology import Topology, Trust

NOW = 1000.0
VARIABLES = ("WSREP_DESYNC", "WSREP_DIRTY_READS", "WSREP_ON", "WSREP_PROVIDER", "WSREP_REJECT_QUERIES")
P, S = Role.PRIMARY, Role.SECONDARY
MEMBERS = [Member(f"galera-{n}.db.test", Endpoint(f"10.0.0.{n}", 3306), None) for n in range(3)]
ALL = (0, 1, 2)


def says(
    n: int,
    *,
    of: tuple[int, ...] = ALL,
    conf: int = 7,
    state: int = 4,
    uptime: int = 0,
    start: int = 0,
    at: float = NOW,
    read_only: bool = False,
    cluster: str = "s",
    ready: bool = True,
    primary: bool = True,
    desync: bool = False,
    dirty_reads: bool = False,
    connected: bool = True,
    rejects: bool = False,
    written: float = 0.0,
    in_state: float = 0.0,
    compared: bool = True,
) -> Observation:
    """One node's word: `of` are its component's nodes, `start` counts its restarts; without an uptime 100 s more for
    each number below."""
    node = GaleraNode(
        state_uuid=cluster,
        conf_id=conf if primary else None,
        primary=primary,
        connected=connected,
        ready=ready and primary,
        local_state=state if primary else 0,
        size=len(of) if primary else 1,
        index=of.index(n) if n in of else None,
        addresses=tuple(f"10.0.0.{other}:3306" for other in of),
        desync=desync,
        dirty_reads=dirty_reads,
        rejects=rejects,
        written=written,
        compared=compared,
        in_state=in_state,
        uptime=uptime or 600 - 100 * n,
    )
    report = Report(f"u{n}.{start}", read_only, False, "", None, (), single_primary=False, galera=node)
    return Observation(MEMBERS[n], at, Outcome.ANSWERED, report)


def alone(n: int, **options: object) -> Observation:
    """A node that lost the others."""
    return says(n, of=(n,), primary=False, **options)  # type: ignore[arg-type]


def fails(n: int, outcome: Outcome = Outcome.REFUSED, at: float = NOW) -> Observation:
    return Observation(MEMBERS[n], at, outcome, detail="connection refused")


def judged(*seen: Observation, previous: Topology | None = None, policy: Policy | None = None) -> Topology:
    return diagnose(
        MEMBERS,
        {one.member.name: one for one in seen},
        now=max((one.taken_at for one in seen), default=NOW),
        previous=previous or Topology(),
        policy=policy or Policy(),
    )


def offers(topology: Topology) -> Mapping[int, Role]:
    return {n: status.offered for n, status in enumerate(topology.members) if status.offered is not None}


CALM = judged(*(says(n) for n in ALL))


def test_the_one_that_is_up_longest_is_the_writer_and_the_others_are_read_from() -> None:
    assert (CALM.trust, CALM.flavour) == (Trust.QUORUM, Flavour.GALERA)
    assert offers(CALM) == {0: P, 1: S, 2: S}
    assert offers(judged(says(0, uptime=10), says(1, uptime=500), says(2, uptime=900))) == {0: S, 1: S, 2: P}


def test_of_those_that_started_together_the_first_by_name_is_the_writer() -> None:
    assert offers(judged(says(0, uptime=99), says(1, uptime=100), says(2, uptime=101))) == {0: P, 1: S, 2: S}


def test_no_writer_is_chosen_before_every_member_was_asked() -> None:
    galera = Policy(flavour=Flavour.GALERA)
    first = judged(says(2), policy=galera)
    assert offers(first) == {2: S}
    second = judged(says(2), says(1), previous=first)
    assert offers(second) == {1: S, 2: S}
    assert offers(judged(says(2), says(1), says(0), previous=second)) == {0: P, 1: S, 2: S}
    assert offers(judged(says(2), says(1), fails(0, Outcome.TIMEOUT), previous=second)) == {1: P, 2: S}


def test_a_node_that_returns_does_not_take_the_role_back() -> None:
    pair = (1, 2)
    without = judged(fails(0), says(1, of=pair, conf=8), says(2, of=pair, conf=8), previous=CALM)
    assert offers(without) == {1: P, 2: S}
    back = judged(says(0, start=1, conf=9, uptime=5), says(1, conf=9), says(2, conf=9), previous=without)
    assert offers(back) == {0: S, 1: P, 2: S}
    older = judged(says(0, start=1, conf=9, uptime=9999), says(1, conf=9), says(2, conf=9), previous=without)
    assert offers(older) == {0: S, 1: P, 2: S}


def test_a_writer_that_restarted_between_two_looks_is_no_longer_the_writer() -> None:
    again = judged(says(0, start=1, conf=9, uptime=1), says(1, conf=9), says(2, conf=9), previous=CALM)
    assert offers(again) == {0: S, 1: P, 2: S}


@pytest.mark.parametrize(("state", "word"), [(0, "Initialized"), (1, "Joining"), (2, "Donor"), (3, "Joined"), (5, "")])
def test_only_synced_nodes_are_offered(state: int, word: str) -> None:
    topology = judged(says(0), says(1), says(2, state=state), previous=CALM)
    assert offers(topology) == {0: P, 1: S}
    assert word in topology.members[2].reason
    assert topology.members[2].reason
    assert topology.members[2].state is not State.ONLINE
    moved = judged(says(0, state=state, in_state=DONOR_GRACE), says(1), says(2), previous=CALM)
    assert offers(moved) == {1: P, 2: S}
    assert offers(judged(says(0), says(1), says(2), previous=moved)) == {0: S, 1: P, 2: S}


def test_a_desynced_node_is_told_from_a_donor() -> None:
    topology = judged(says(0), says(1), says(2, state=2, desync=True), previous=CALM)
    assert "wsrep_desync" in topology.members[2].reason


def test_read_only_nodes_are_read_from_only() -> None:
    assert offers(judged(says(0, read_only=True), says(1), says(2), previous=CALM)) == {0: S, 1: P, 2: S}
    assert offers(judged(*(says(n, read_only=True) for n in ALL), previous=CALM)) == {0: S, 1: S, 2: S}


def test_a_node_that_is_not_ready_is_not_offered() -> None:
    topology = judged(says(0), says(1), says(2, ready=False), previous=CALM)
    assert offers(topology) == {0: P, 1: S}
    assert topology.members[2].state is State.RECOVERING


def test_a_node_that_was_cut_off_is_not_offered_and_says_why() -> None:
    pair = (1, 2)
    topology = judged(alone(0), says(1, of=pair, conf=8), says(2, of=pair, conf=8), previous=CALM)
    assert (topology.trust, offers(topology)) == (Trust.QUORUM, {1: P, 2: S})
    assert (topology.members[0].state, topology.members[0].reason) == (
        State.OFFLINE,
        "it belongs to no primary component, and refuses statements (wsrep_dirty_reads = OFF)",
    )


def test_a_frozen_node_that_goes_on_is_not_offered_by_what_it_still_claims() -> None:
    pair = (1, 2)
    two = [says(1, of=pair, conf=8), says(2, of=pair, conf=8)]
    assert offers(judged(says(0, conf=7), *two)) == {1: P, 2: S}, "a later configuration wins"
    assert offers(judged(says(0, conf=7), says(1, of=pair, conf=8), fails(2))) == {1: P}, "however many report it"
    moved = judged(fails(0, Outcome.TIMEOUT), *two, previous=CALM)
    assert offers(moved) == {1: P, 2: S}
    thawed = judged(says(0, conf=7), fails(1), fails(2), previous=moved)
    assert 0 not in offers(thawed), "a component older than the one trusted last came back"
    lost = judged(says(0, conf=7), alone(1), fails(2), previous=moved)
    assert (lost.trust, offers(lost)) == (Trust.NO_QUORUM, {})
    assert offers(judged(says(0, conf=7), fails(1), fails(2), previous=lost)) == {}


def test_one_that_was_asked_before_the_configuration_changed_is_inside() -> None:
    pair = (0, 1)
    topology = judged(says(0, conf=7), says(1, of=pair, conf=8), fails(2), previous=CALM)
    assert offers(topology) == {0: P, 1: S}, "the writer was withdrawn for having been asked too early"
    assert topology.view_id is not None
    assert topology.view_id.counter == 8


def test_a_cluster_that_begins_anew_is_believed_though_it_counts_from_zero() -> None:
    lost = judged(alone(0), alone(1), alone(2), previous=CALM)
    assert lost.trust is Trust.NO_QUORUM
    options = {"start": 1, "conf": 0, "at": NOW + 60, "uptime": 30}
    recovered = judged(*(says(n, **options) for n in ALL), previous=lost)  # type: ignore[arg-type]
    assert offers(recovered) == {0: P, 1: S, 2: S}
    one = judged(
        says(2, of=(2,), start=1, conf=1, uptime=30, at=NOW + 60),
        *(fails(n, at=NOW + 60) for n in (0, 1)),
        previous=CALM,
    )
    assert offers(one) == {2: P}


def test_one_that_said_it_was_out_and_is_made_a_cluster_of_its_own_is_believed() -> None:
    pair = (0, 1)
    before = judged(says(0, of=pair, conf=9), says(1, of=pair, conf=9), alone(2))
    lost = judged(fails(0), fails(1), alone(2), previous=before)
    assert lost.trust is Trust.NO_QUORUM
    assert offers(judged(fails(0), fails(1), says(2, of=(2,), conf=4), previous=lost)) == {2: P}


def test_a_thawed_node_with_a_higher_number_of_an_earlier_life_is_not_believed() -> None:
    pair = (0, 1)
    options = {"of": pair, "start": 1, "conf": 1, "at": NOW + 60, "uptime": 30}
    silent = fails(2, Outcome.TIMEOUT, NOW + 60)
    anew = judged(*(says(n, **options) for n in pair), silent, previous=CALM)  # type: ignore[arg-type]
    assert offers(anew) == {0: P, 1: S}
    thawed = judged(*(says(n, **options) for n in pair), says(2, conf=7, at=NOW + 60), previous=anew)  # type: ignore[arg-type]
    assert offers(thawed) == {0: P, 1: S}


def test_two_components_never_merge() -> None:
    split = [says(0, of=(0,), conf=8), says(1, of=(1, 2), conf=8), says(2, of=(1, 2), conf=8)]
    assert offers(judged(*split)) == {1: P, 2: S}, "more members"
    assert offers(judged(*split, previous=CALM)) == {0: P}, "the one with the writer trusted last stays"
    strangers = [says(0, of=(0,), cluster="a"), says(1, of=(1,), cluster="b")]
    tie = judged(*strangers, fails(2))
    assert (tie.trust, offers(tie)) == (Trust.NO_QUORUM, {})
    assert "none can be preferred" in tie.reason


def test_without_a_primary_component_nobody_is_offered_but_for_dirty_reads() -> None:
    survivor = [fails(0), fails(1)]
    for policy in QuorumPolicy:
        topology = judged(alone(2), *survivor, previous=CALM, policy=Policy(quorum=policy))
        assert (topology.trust, offers(topology)) == (Trust.NO_QUORUM, {})
        assert "wsrep_dirty_reads" in topology.members[2].reason
        dirty = judged(alone(2, dirty_reads=True), *survivor, previous=CALM, policy=Policy(quorum=policy))
        assert offers(dirty) == ({} if policy is QuorumPolicy.NONE else {2: S})
        rejecting = alone(2, dirty_reads=True, rejects=True)
        assert offers(judged(rejecting, *survivor, previous=CALM, policy=Policy(quorum=policy))) == {}


def test_the_writer_is_the_same_when_a_lost_quorum_returns() -> None:
    moved = judged(says(0, state=3), says(1), says(2), previous=CALM)
    lost = judged(*(alone(n) for n in ALL), previous=moved)
    assert (lost.trust, offers(lost)) == (Trust.NO_QUORUM, {})
    assert offers(judged(*(says(n, conf=9) for n in ALL), previous=lost)) == {0: S, 1: P, 2: S}


def test_while_nobody_can_be_asked_the_last_known_roles_stay() -> None:
    blind = judged(*(fails(n) for n in ALL), previous=CALM)
    assert (blind.trust, offers(blind)) == (Trust.BLIND, offers(CALM))


@pytest.mark.parametrize("outcome", [Outcome.TOO_MANY, Outcome.DENIED, Outcome.ALIVE])
def test_a_writer_that_cannot_be_asked_stays_while_the_others_list_it(outcome: Outcome) -> None:
    unasked = judged(fails(0, outcome), says(1), says(2), previous=CALM)
    assert offers(unasked) == {0: P, 1: S, 2: S}
    pair = (1, 2)
    left = judged(fails(0, outcome), says(1, of=pair, conf=8), says(2, of=pair, conf=8), previous=unasked)
    assert offers(left) == {1: P, 2: S}


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.TIMEOUT, Outcome.BROKEN])
def test_a_writer_that_refuses_or_is_silent_is_replaced(outcome: Outcome) -> None:
    assert offers(judged(fails(0, outcome), says(1), says(2), previous=CALM)) == {1: P, 2: S}


def test_a_writer_that_feeds_another_node_stays_for_a_while() -> None:
    fed = judged(says(0, state=2), says(1, state=2), says(2), previous=CALM)
    assert offers(fed) == {0: P, 2: S}, "the writer stays, a reader is excluded at once"
    assert "Donor" in fed.members[0].reason
    assert offers(judged(says(0), says(1), says(2), previous=fed)) == {0: P, 1: S, 2: S}
    almost = judged(says(0, state=2, in_state=DONOR_GRACE - 0.1), says(1), says(2), previous=fed)
    assert offers(almost) == {0: P, 1: S, 2: S}
    long = judged(says(0, state=2, in_state=DONOR_GRACE), says(1), says(2), previous=fed)
    assert offers(long) == {1: P, 2: S}
    others = [says(1, read_only=True), fails(2)]
    assert offers(judged(says(0, state=2, in_state=99.0), *others, previous=fed)) == {0: P, 1: S}, "nobody else can"
    for spoilt in ({"rejects": True}, {"read_only": True}, {"start": 1}, {"ready": False}):
        topology = judged(says(0, state=2, **spoilt), says(1), says(2), previous=fed)  # type: ignore[arg-type]
        assert offers(topology) == {1: P, 2: S}, spoilt


def test_a_node_that_rejects_statements_is_not_offered() -> None:
    topology = judged(says(0, rejects=True), says(1), says(2, rejects=True), previous=CALM)
    assert offers(topology) == {1: P}
    assert "wsrep_reject_queries" in topology.members[2].reason


def test_a_node_that_is_not_connected_is_not_offered() -> None:
    topology = judged(says(0, connected=False), says(1), says(2), previous=CALM)
    assert offers(topology) == {1: P, 2: S}
    assert "starts or ends" in topology.members[0].reason


def test_a_node_that_is_not_connected_does_not_speak_for_a_component() -> None:
    assert judged(says(0, connected=False), fails(1), fails(2)).trust is Trust.BLIND


def test_a_node_that_is_not_connected_knows_nothing_of_the_others() -> None:
    ending = judged(says(0, connected=False, primary=False), fails(1), fails(2), previous=CALM)
    assert (ending.trust, offers(ending)) == (Trust.BLIND, {1: S, 2: S})


def test_who_has_known_no_writer_prefers_the_node_that_is_written_to() -> None:
    moved = judged(says(0, state=3), says(1), says(2), previous=CALM)
    back = [says(0, written=2.0), says(1, written=40.0), says(2)]
    assert offers(judged(*back, previous=moved)) == offers(judged(*back)) == {0: S, 1: P, 2: S}
    early = judged(says(0, compared=False), says(1, written=40.0), says(2))
    assert offers(early) == {0: S, 1: S, 2: S}, "the one that was asked once may be the one"
    busy = judged(fails(0), says(1), says(2, written=9.0), previous=CALM)
    assert offers(busy) == {1: P, 2: S}, "once a writer was known, all go by the same: who is up longest"


def test_without_a_writer_for_a_moment_the_role_returns_to_who_had_it() -> None:
    moved = judged(says(0, read_only=True), says(1), says(2), previous=CALM)
    none = judged(*(says(n, read_only=True) for n in ALL), previous=moved)
    assert offers(none) == {0: S, 1: S, 2: S}
    assert offers(judged(*(says(n) for n in ALL), previous=none)) == {0: S, 1: P, 2: S}


def test_a_change_that_is_seen_half_is_one_component() -> None:
    pair = (0, 1)
    last = judged(says(0, uptime=1), says(1, uptime=2), says(2, uptime=900))
    assert offers(last) == {0: S, 1: S, 2: P}
    killed = judged(says(0, conf=7), says(1, of=pair, conf=7), fails(2), previous=last)
    assert (killed.trust, offers(killed)) == (Trust.QUORUM, {0: P, 1: S})
    full = judged(says(0, conf=7), says(1, of=pair, conf=7), fails(2, Outcome.TOO_MANY), previous=last)
    assert offers(full) == {0: S, 1: S, 2: P}, "one of them still lists it"
    joining = judged(says(0, of=pair), says(1), fails(2), previous=judged(says(0, of=pair), says(1, of=pair), fails(2)))
    assert offers(joining) == {0: P, 1: S}


def test_a_component_that_shares_nobody_does_not_supersede() -> None:
    split = [says(0, of=(0,), conf=9), says(1, of=(1, 2), conf=8), says(2, of=(1, 2), conf=8)]
    assert offers(judged(*split)) == {1: P, 2: S}


def test_of_two_components_that_are_reported_alike_the_larger_wins() -> None:
    assert offers(judged(says(0, of=(0,)), says(1, of=(1, 2)), fails(2))) == {1: P}


def test_a_node_of_another_cluster_is_not_inside_whatever_addresses_are_listed() -> None:
    topology = judged(says(0, cluster="t", of=(0,), conf=6), says(1, conf=8), says(2, conf=8))
    assert offers(topology) == {1: P, 2: S}
    assert topology.members[0].reason == "it belongs to another cluster"


def test_a_component_is_not_outlived_where_no_member_was_in_the_one_trusted_last() -> None:
    strangers = [replace(status.member, name=f"former-{status.member.name}") for status in CALM.members]
    former = replace(
        CALM, members=tuple(replace(one, member=m) for one, m in zip(CALM.members, strangers, strict=True))
    )
    assert offers(judged(*(says(n, conf=3, at=NOW + 9) for n in ALL), previous=former)) == {0: P, 1: S, 2: S}


@pytest.mark.parametrize(("uptime", "trust"), [(30, Trust.QUORUM), (300, Trust.BLIND)])
def test_one_that_was_never_seen_is_believed_by_when_it_started(uptime: int, trust: Trust) -> None:
    pair = (0, 1)
    before = judged(says(0, of=pair, conf=9), says(1, of=pair, conf=9), fails(2))
    gone = [fails(n, at=NOW + 60) for n in pair]
    assert judged(*gone, says(2, of=(2,), conf=1, uptime=uptime, at=NOW + 60), previous=before).trust is trust


def test_one_that_has_restarted_is_believed_though_others_were_trusted_since() -> None:
    pair = (1, 2)
    later = judged(*(says(n, of=pair, conf=8, at=NOW + 30) for n in pair), fails(0, at=NOW + 30), previous=CALM)
    gone = [fails(n, at=NOW + 60) for n in pair]
    again = judged(says(0, of=(0,), conf=1, start=1, uptime=50, at=NOW + 60), *gone, previous=later)
    assert offers(again) == {0: P}


def test_one_server_under_two_names_is_offered_once() -> None:
    double = replace(says(0), member=MEMBERS[1])
    topology = judged(says(0), double, says(2))
    assert offers(topology) == {0: P, 2: S}
    assert topology.members[1].reason == "the same server as galera-0.db.test"


def test_nodes_that_are_not_among_ours_are_told() -> None:
    topology = judged(says(0, of=(0, 1, 2, 3)), says(1, of=(0, 1, 2, 3)), says(2, of=(0, 1, 2, 3)))
    assert [(one.host, one.port) for one in topology.unlisted] == [("10.0.0.3", 3306)]
    assert CALM.unlisted == ()


def test_nodes_that_are_listed_by_other_names_than_ours_are_told_by_their_own_place() -> None:
    pods = tuple(f"pod-{n}:3306" for n in ALL)
    inside = []
    for n in ALL:
        report = says(n).report
        assert report is not None
        assert report.galera is not None
        node = replace(report.galera, addresses=pods)
        inside.append(replace(says(n), report=replace(report, galera=node)))
    assert judged(*inside).unlisted == ()
    assert len(judged(*inside[:2], fails(2)).unlisted) == 1


def test_what_is_applied_late_is_withdrawn_by_the_limit() -> None:
    late = says(2)
    assert late.report is not None
    late = replace(late, report=replace(late.report, queued=500))
    policy = Policy(lag=replace(Policy().lag, queued=100))
    topology = judged(says(0), says(1), late, previous=CALM, policy=policy)
    assert offers(topology) == {0: P, 1: S}


words = st.one_of(
    st.builds(
        says,
        st.sampled_from(ALL),
        of=st.sampled_from([ALL, (0, 1), (1, 2), (0, 2), (0,), (1,), (2,)]),
        conf=st.integers(5, 9),
        state=st.sampled_from([4, 4, 4, 2, 3, 1]),
        start=st.integers(0, 1),
        uptime=st.integers(1, 900),
        read_only=st.booleans(),
        cluster=st.sampled_from("st"),
        ready=st.booleans(),
        rejects=st.booleans(),
        in_state=st.sampled_from([0.0, 99.0]),
    ),
    st.builds(alone, st.sampled_from(ALL)),
    st.builds(fails, st.sampled_from(ALL), st.sampled_from([one for one in Outcome if one is not Outcome.ANSWERED])),
)
moments = st.lists(st.lists(words, max_size=3), min_size=1, max_size=6)


@settings(max_examples=400, deadline=None)
@given(moments)
def test_whatever_is_said_at_most_one_is_written_to_and_only_the_winners_are_offered(
    history: list[list[Observation]],
) -> None:
    topology = Topology()
    for seen in history:
        previous, latest = topology, {one.member.name: one for one in seen}
        topology = judged(*latest.values(), previous=previous)
        assert len(topology.primaries()) <= 1
        for status in topology.members:
            one = latest.get(status.member.name)
            if status.offered is None or topology.trust is not Trust.QUORUM:
                continue
            if one is None or one.report is None:
                before = previous.status_of(status.member.name)
                assert before is not None
                assert before.offered is not None, "offered without a word of its own, and it was not before"
                continue
            node = one.report.galera
            assert node is not None
            assert node.primary
            assert node.ready
            assert node.local_state == 4 or (node.local_state, status.offered) == (2, P)
            assert not node.rejects
            assert topology.view_id is not None
            assert node.conf_id is not None
            assert (node.state_uuid, node.conf_id <= topology.view_id.counter) == (topology.view_id.prefix, True)
            assert node.conf_id == topology.view_id.counter or _is_listed(one, topology, latest)
            assert not (status.offered is P and one.report.read_only)
        latest_of = [n for n in _nodes(topology, latest) if topology.view_id and n.conf_id == topology.view_id.counter]
        assert _hang_together([set(node.addresses) for node in latest_of]), "components merged"


def _hang_together(lists: list[set[str]]) -> bool:
    """Whether each list shares an address with another, directly or through more of them."""
    reached, rest = lists[:1], lists[1:]
    while near := [one for one in rest if any(one & other for other in reached)]:
        reached, rest = [*reached, *near], [one for one in rest if one not in near]
    return not rest


def _nodes(topology: Topology, latest: Mapping[str, Observation]) -> list[GaleraNode]:
    """What those say that are offered by a trusted component."""
    names = [one.member.name for one in topology.members if one.offered and topology.trust is Trust.QUORUM]
    reports = [latest[name].report for name in names if name in latest]
    return [report.galera for report in reports if report is not None and report.galera is not None]


def _is_listed(one: Observation, topology: Topology, latest: Mapping[str, Observation]) -> bool:
    """Whether a node of the latest configuration lists another."""
    assert one.report is not None
    assert one.report.galera is not None
    node = one.report.galera
    own = node.addresses[node.index] if node.index is not None else ""
    seen = [
        each.report.galera for each in latest.values() if each.report is not None and each.report.galera is not None
    ]
    return any(
        topology.view_id is not None
        and (other.state_uuid, other.conf_id) == (topology.view_id.prefix, topology.view_id.counter)
        and own in other.addresses
        for other in seen
    )


@given(
    st.lists(st.tuples(st.sampled_from(ALL), st.sampled_from(["leaves", "returns", "full"])), min_size=1, max_size=12)
)
def test_the_writer_changes_only_when_it_leaves(events: list[tuple[int, str]]) -> None:
    up, starts, conf, at = set(ALL), dict.fromkeys(ALL, 0), 7, NOW
    topology = CALM
    for n, event in events:
        writer = [int(one.member.name[7]) for one in topology.primaries()]
        at, full = at + 1, set()
        if event == "leaves" and len(up) > 1 and n in up:
            up.remove(n)
            conf += 1
        elif event == "returns" and n not in up:
            up.add(n)
            starts[n] += 1
            conf += 1
        elif event == "full" and len(up) > 1:
            full.add(n)
        of = tuple(sorted(up))
        seen = [
            fails(m, Outcome.TOO_MANY) if m in full else says(m, of=of, conf=conf, start=starts[m], at=at) for m in of
        ]
        seen += [fails(m) for m in ALL if m not in up]
        topology = judged(*(replace(one, taken_at=at) for one in seen), previous=topology)
        now = [int(one.member.name[7]) for one in topology.primaries()]
        if writer and writer[0] in up:
            assert now == writer
        assert len(now) == 1


def answer(**changes: str) -> list[tuple[str, str]]:
    """A real node's answer, MariaDB 10.11.18 with Galera 4.23."""
    said = {
        "THREADS_RUNNING": "2",
        "UPTIME": "19",
        "WSREP_LOCAL_RECV_QUEUE": "3",
        "WSREP_LOCAL_STATE": "4",
        "WSREP_LOCAL_STATE_COMMENT": "Synced",
        "WSREP_INCOMING_ADDRESSES": "10.213.2.10:3306,10.213.2.12:3306,10.213.2.11:3306",
        "WSREP_GCOMM_UUID": "5cd59279-e4d4-11f1-ad9a-1367931e65cc",
        "WSREP_CLUSTER_CONF_ID": "3",
        "WSREP_CLUSTER_SIZE": "3",
        "WSREP_CLUSTER_STATE_UUID": "5cd5dcb3-e4d4-11f1-a7f3-fe70ed14b47d",
        "WSREP_CLUSTER_STATUS": "Primary",
        "WSREP_CONNECTED": "ON",
        "WSREP_LOCAL_INDEX": "2",
        "WSREP_READY": "ON",
        "WSREP_REPLICATED": "41",
        "HOSTNAME": "vm",
        "PORT": "3306",
        "READ_ONLY": "OFF",
        "VERSION": "10.11.18-MariaDB-0+deb12u1",
        "WSREP_DESYNC": "OFF",
        "WSREP_DIRTY_READS": "OFF",
        "WSREP_ON": "ON",
        "WSREP_PROVIDER": "/usr/lib/galera/libgalera_smm.so",
        "WSREP_REJECT_QUERIES": "NONE",
        **changes,
    }
    return list(said.items())


def test_a_nodes_answer_is_read() -> None:
    report = read_mariadb(answer())
    node = report.galera
    assert node is not None
    assert (report.uuid, report.queued, report.load) == ("5cd59279-e4d4-11f1-ad9a-1367931e65cc", 3, 2)
    assert (node.primary, node.ready, node.conf_id, node.index) == (True, True, 3, 2)
    assert node.addresses[2] == "10.213.2.11:3306"
    assert not report.read_only


def test_a_node_without_a_component_has_no_number() -> None:
    lost = answer(WSREP_CLUSTER_CONF_ID=str(NO_COMPONENT), WSREP_CLUSTER_STATUS="non-Primary", WSREP_READY="OFF")
    node = read_mariadb(lost).galera
    assert node is not None
    assert (node.conf_id, node.primary, node.ready) == (None, False, False)


def test_a_server_without_galera_is_no_node() -> None:
    report = read_mariadb(answer(WSREP_ON="OFF"))
    assert (report.galera, report.flavour, report.uuid) == (None, Flavour.REPLICATION, "vm:3306")
    assert read_mariadb(answer(WSREP_PROVIDER="none")).galera is None


def test_a_node_whose_provider_is_not_loaded_is_out_and_no_plain_server() -> None:
    said = dict(answer())
    for name in [name for name in said if name.startswith("WSREP_") and name not in VARIABLES]:
        del said[name]
    report = read_mariadb(said.items())
    assert report.galera is not None
    assert (report.flavour, report.galera.primary, report.galera.connected) == (Flavour.GALERA, False, False)


def test_an_address_that_was_not_set_is_none() -> None:
    node = read_mariadb(answer(WSREP_INCOMING_ADDRESSES="AUTO,AUTO,10.0.0.2:3306")).galera
    assert node is not None
    assert node.addresses == ("", "", "10.0.0.2:3306")


def test_two_looks_tell_what_is_written_and_for_how_long_a_node_is_as_it_is() -> None:
    first = read_mariadb(answer())
    second = compare(read_mariadb(answer(WSREP_REPLICATED="61", WSREP_LOCAL_STATE="2")), first, 0.5)
    assert second.galera is not None
    assert (second.galera.written, second.galera.in_state) == (40.0, 0.0)
    assert (first.galera is not None and first.galera.compared, second.galera.compared) == (False, True)
    third = compare(read_mariadb(answer(WSREP_REPLICATED="61", WSREP_LOCAL_STATE="2")), second, 2.0)
    assert third.galera is not None
    assert (third.galera.written, third.galera.in_state) == (20.0, 2.0), "it pauses, and is not forgotten at once"
    again = read_mariadb(answer(WSREP_GCOMM_UUID="another", WSREP_REPLICATED="99"))
    assert compare(again, third, 1.0) == again


def test_measurements_are_no_facts() -> None:
    calm = compare(read_mariadb(answer()), read_mariadb(answer()), 1.0)
    measured = compare(read_mariadb(answer(UPTIME="20", WSREP_REPLICATED="61")), calm, 0.5)
    assert measured != calm
    assert measured.facts == calm.facts
    assert read_mariadb(answer(WSREP_LOCAL_STATE="2")).facts != calm.facts


@given(st.lists(st.tuples(st.text(), st.text())))
def test_any_other_answer_is_one_named_error(rows: list[tuple[str, str]]) -> None:
    with pytest.raises(AnswerError):
        read_mariadb(rows)


def test_only_tables_that_every_node_lets_be_read_are_asked() -> None:
    assert ASK_MARIADB.count("FROM information_schema.") == 2
    assert "@@" not in ASK_MARIADB
