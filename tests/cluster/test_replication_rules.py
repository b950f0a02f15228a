"""The rules for a source and its replicas, by example and by property."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.diagnosis import diagnose
from cluster.evidence import LagLimits, Policy
from cluster.flavours import Flavour
from cluster.gtids import parse
from cluster.members import Endpoint, Member, Role, State
from cluster.observations import Channel, Observation, Outcome, Receiver, Replication, Report, SemiSync
from cluster.topology import Topology, Trust

NOW = 100.0
P, S = Role.PRIMARY, Role.SECONDARY
ON, CONNECTING, OFF = Receiver.ON, Receiver.CONNECTING, Receiver.OFF
MEMBERS = [
    Member(f"mysql-{n}.db.test", Endpoint(f"10.0.0.{n}", 3306), Endpoint(f"10.0.0.{n}", 33060)) for n in range(9)
]
NAMES = [member.name for member in MEMBERS]
POLICY = Policy(flavour=Flavour.REPLICATION)


def uuid(n: int) -> str:
    return f"0000000{n}-0000-0000-0000-000000000000"


def of(n: int, receiver: Receiver = ON, *, applying: bool = True, **changes: object) -> Channel:
    """A channel from member n."""
    return replace(Channel(f"10.0.0.{n}", 3306, uuid(n), receiver, applying), **changes)  # type: ignore[arg-type]


def says(
    n: int,
    *channels: Channel,
    writable: bool = False,
    executed: str | None = f"{uuid(0)}:1-100",
    offline_mode: bool = False,
    semi_sync: SemiSync | None = None,
    at: float = NOW,
) -> Observation:
    gtids = None if executed is None else parse(executed)
    replication = Replication(channels, gtids, "" if gtids is not None else "gtid_mode is OFF", semi_sync)
    report = Report(uuid(n), not writable, offline_mode, "", None, (), replication=replication)
    return Observation(MEMBERS[n], at, Outcome.ANSWERED, report)


def fails(n: int, outcome: Outcome = Outcome.TIMEOUT) -> Observation:
    return Observation(MEMBERS[n], NOW, outcome, detail="no answer")


def judged(*seen: Observation, previous: Topology | None = None, now: float = NOW, policy: Policy = POLICY) -> Topology:
    members = [one.member for one in seen]
    by_name = {one.member.name: one for one in seen}
    return diagnose(members, by_name, now=now, previous=previous or Topology(), policy=policy)


def among(count: int, *seen: Observation, previous: Topology | None = None) -> Topology:
    """Judged while only some of the first `count` members have been looked at."""
    by_name = {one.member.name: one for one in seen}
    return diagnose(MEMBERS[:count], by_name, now=NOW, previous=previous or Topology(), policy=POLICY)


def offers(topology: Topology) -> Mapping[int, Role]:
    return {NAMES.index(one.member.name): one.offered for one in topology.members if one.offered is not None}


def reason(topology: Topology, n: int) -> str:
    status = topology.status_of(NAMES[n])
    assert status is not None
    return status.reason


def state(topology: Topology, n: int) -> State:
    status = topology.status_of(NAMES[n])
    assert status is not None
    return status.state


SOURCE = says(0, writable=True)
CALM = (SOURCE, says(1, of(0)), says(2, of(0)))


def calm() -> Topology:
    return judged(*CALM)


# Who is the PRIMARY.


def test_a_source_and_its_replicas_are_offered_as_they_are_and_detected_by_themselves() -> None:
    topology = judged(*CALM, policy=Policy())
    assert (topology.flavour, topology.trust) == (Flavour.REPLICATION, Trust.QUORUM)
    assert offers(topology) == {0: P, 1: S, 2: S}
    assert [one.state for one in topology.members] == [State.ONLINE] * 3
    assert topology.last_primary == uuid(0)


def test_a_single_server_is_the_primary() -> None:
    assert offers(judged(SOURCE)) == {0: P}
    assert offers(judged(SOURCE, policy=Policy())) == {0: P}


def test_the_one_with_the_replicas_wins_over_a_returned_old_source() -> None:
    frozen = judged(fails(0), says(1, writable=True), says(2, of(1)), previous=calm())
    assert offers(frozen) == {1: P, 2: S}
    thawed = judged(SOURCE, says(1, writable=True), says(2, of(1)), previous=frozen)
    assert offers(thawed) == {1: P, 2: S}
    assert reason(thawed, 0) == f"writable beside {NAMES[1]}, which is the primary: set it read_only"
    assert offers(judged(SOURCE, says(1, writable=True), says(2, of(1)))) == {1: P, 2: S}, "also at first sight"


def test_a_returned_old_source_stays_out_while_the_new_one_cannot_be_asked() -> None:
    promoted = judged(fails(0), says(1, writable=True), says(2, of(1)), previous=calm())
    vouched = judged(SOURCE, fails(1), says(2, of(1)), previous=promoted)
    assert offers(vouched) == {1: P, 2: S}
    alone = judged(SOURCE, fails(1), fails(2), previous=promoted)
    assert offers(alone) == {}
    assert (
        alone.reason == f"{NAMES[0]} is writable, but {NAMES[1]} was the primary last, and no replica follows this one"
    )
    lost = judged(SOURCE, fails(1), says(2, of(1, CONNECTING, silent=1.0)), previous=promoted)
    assert lost.primaries() == ()
    failed_back = judged(SOURCE, fails(1), says(2, of(0)), previous=alone)
    assert offers(failed_back) == {0: P, 2: S}


def test_of_two_that_are_writable_with_nothing_between_them_the_last_primary_stays() -> None:
    both = (SOURCE, says(1, writable=True))
    topology = judged(*both, previous=judged(SOURCE, says(1, of(0))))
    assert offers(topology) == {0: P}
    split = judged(*both)
    assert split.primaries() == ()
    assert split.reason == (
        f"{NAMES[0]}, {NAMES[1]} are writable, and the replicas prefer none of them: set all but one read_only"
    )
    assert reason(split, 0) == reason(split, 1) == split.reason


def test_a_split_with_a_replica_each_offers_nobody_for_writing() -> None:
    topology = judged(SOURCE, says(1, writable=True), says(2, of(0)), says(3, of(1)))
    assert offers(topology) == {2: S, 3: S}


def test_a_writable_replica_is_offered_for_nothing() -> None:
    topology = judged(SOURCE, says(1, of(0), writable=True), says(2, of(0)))
    assert offers(topology) == {0: P, 2: S}
    assert reason(topology, 1) == f"writable replica of {NAMES[0]}: set it read_only"
    orphan = judged(fails(0), says(1, of(0, CONNECTING), writable=True), previous=topology)
    assert offers(orphan) == {}
    assert orphan.reason == "only replicas are writable"


def test_a_ring_with_one_writable_half_writes_to_that_half_whatever_the_other_does() -> None:
    active = says(0, of(1), writable=True)
    ring = judged(active, says(1, of(0)))
    assert offers(ring) == {0: P, 1: S}
    assert offers(judged(says(0, of(1, CONNECTING), writable=True), fails(1), previous=ring)) == {0: P}
    assert offers(judged(active, says(1), previous=ring)) == {0: P}
    assert offers(judged(active, says(1, of(0), writable=True), previous=ring)) == {0: P}


@pytest.mark.parametrize("receiver", [ON, CONNECTING])
def test_a_source_that_became_the_replica_of_the_new_one_is_not_kept_for_having_been_first(receiver: Receiver) -> None:
    pair = judged(SOURCE, says(1, of(0)))
    assert offers(judged(says(0, of(1, receiver), writable=True), says(1, writable=True), previous=pair)) == {1: P}


def test_a_channel_that_is_stopped_makes_no_replica() -> None:
    stopped = of(0, OFF, applying=False)
    assert offers(judged(says(0), says(1, stopped, writable=True), previous=judged(SOURCE, says(1, of(0))))) == {1: P}


def test_those_behind_a_relay_count_for_the_source_before_it() -> None:
    relayed = (says(1, of(0)), says(2, of(1)), says(3, of(1)))
    assert judged(SOURCE, *relayed, says(4, writable=True), says(5, of(4))).primaries()[0].uuid == uuid(0)


def test_a_primary_that_is_not_listed_any_more_stands_in_nobodys_way() -> None:
    newcomer = judged(says(1), says(3, writable=True), previous=calm())
    assert offers(newcomer) == {3: P}
    assert newcomer.last_primary == uuid(3)


@pytest.mark.parametrize("outcome", [Outcome.TOO_MANY, Outcome.DENIED, Outcome.TIMEOUT, Outcome.REFUSED])
def test_a_primary_that_cannot_be_asked_stays_while_its_replicas_are_connected(outcome: Outcome) -> None:
    topology = judged(fails(0, outcome), says(1, of(0)), says(2, of(0, CONNECTING, silent=1.0)), previous=calm())
    assert offers(topology) == {0: P, 1: S, 2: S}
    assert "cannot be asked" in reason(topology, 0)
    lost = of(0, CONNECTING, silent=1.0, receiver_error="error 2003: Can't connect")
    gone = judged(fails(0, outcome), says(1, lost), says(2, lost), previous=calm())
    assert offers(gone) == {1: S, 2: S}
    assert gone.reason == "no member is writable"
    assert reason(gone, 1) == "its receiver is not connected (CONNECTING): error 2003: Can't connect"


def test_one_that_turns_our_account_away_stays_where_no_replica_can_speak_of_it() -> None:
    before = judged(SOURCE, says(1))
    assert offers(judged(fails(0, Outcome.TOO_MANY), says(1), previous=before)) == {0: P}
    assert offers(judged(fails(0, Outcome.TIMEOUT), says(1), previous=before)) == {}


def test_a_new_primary_is_not_accepted_while_a_replica_is_connected_to_one_that_cannot_be_asked() -> None:
    topology = judged(fails(0), says(1, writable=True), says(2, of(0)))
    assert topology.primaries() == ()
    assert topology.reason == f"{NAMES[1]} is writable, but {NAMES[2]} replicates from 10.0.0.0:3306"
    assert judged(fails(0), says(1, writable=True), says(2, of(0, CONNECTING, silent=1.0))).primaries()[0].uuid == uuid(
        1
    )


def test_of_two_that_are_writable_the_first_answer_does_not_decide() -> None:
    both = (SOURCE, says(1, writable=True))
    for first in both:
        topology = among(2, first)
        assert (offers(topology), topology.trust) == ({}, Trust.QUORUM)
        assert topology.reason == f"{first.member.name} is writable, but not every member has been asked yet"
        assert judged(*both, previous=topology).primaries() == ()
        assert offers(among(3, first, says(2), previous=topology)) == {}, "more than half, and still not all"


def test_a_majority_of_source_and_replicas_waits_for_nobody() -> None:
    assert offers(among(3, SOURCE, says(1, of(0)))) == {0: P, 1: S}
    half = among(4, SOURCE, says(1, of(0)))
    assert half.primaries() == ()
    assert judged(SOURCE, says(1, of(0)), says(2, writable=True), says(3, of(2)), previous=half).primaries() == ()
    assert offers(judged(SOURCE, says(1, of(0)), fails(2), fails(3), previous=half)) == {0: P, 1: S}


def test_a_lone_first_answer_is_not_enough() -> None:
    assert offers(judged(SOURCE, fails(1), fails(2))) == {}
    assert offers(judged(SOURCE, fails(1))) == {0: P}, "of two, one is half"
    assert offers(judged(SOURCE, fails(1), fails(2), previous=calm())) == {0: P}


def test_a_switchover_by_hand() -> None:
    stepping_down = judged(says(0), says(1, of(0)), says(2, of(0)), previous=calm())
    assert offers(stepping_down) == {0: S, 1: S, 2: S}
    assert reason(stepping_down, 0) == "it was the primary last, and is read-only now"
    writable = judged(says(0), says(1, writable=True), says(2, of(0)), previous=stepping_down)
    assert offers(writable) == {1: P}, "the others do not follow it yet"
    assert reason(writable, 2) == f"it replicates from {NAMES[0]}, not from {NAMES[1]}"
    assert offers(judged(says(0, of(1)), says(1, writable=True), says(2, of(1)), previous=writable)) == {
        0: S,
        1: P,
        2: S,
    }


def test_a_failover_of_two_servers() -> None:
    pair = judged(SOURCE, says(1, of(0)))
    dead = judged(fails(0), says(1, of(0, CONNECTING, silent=2.0)), previous=pair)
    assert offers(dead) == {1: S}
    assert offers(judged(fails(0), says(1, writable=True), previous=dead)) == {1: P}
    early = judged(SOURCE, says(1, writable=True), previous=pair)
    assert offers(early) == {0: P}
    assert offers(judged(fails(0), says(1, writable=True), previous=early)) == {1: P}


def test_offline_mode_counts_against_any_member() -> None:
    assert offers(judged(says(0, writable=True, offline_mode=True), *CALM[1:], previous=calm())) == {1: S, 2: S}
    turned_away = judged(fails(0, Outcome.OFFLINE_MODE), *CALM[1:], previous=calm())
    assert offers(turned_away) == {1: S, 2: S}
    assert (state(turned_away, 0), reason(turned_away, 0)) == (State.OFFLINE, "it is in offline_mode")
    assert offers(judged(SOURCE, says(1, of(0), offline_mode=True), says(2, of(0)))) == {0: P, 2: S}


def test_while_nobody_answers_the_last_known_roles_stay() -> None:
    topology = judged(fails(0), fails(1), fails(2), previous=calm())
    assert (topology.trust, offers(topology)) == (Trust.BLIND, {0: P, 1: S, 2: S})
    assert topology.last_primary == uuid(0)
    assert judged(fails(0), fails(1), fails(2, Outcome.OFFLINE_MODE), previous=calm()).secondaries()[0].uuid == uuid(1)


def test_two_names_of_one_server_and_a_copy_with_its_uuid_are_offered_once() -> None:
    copy = Member("a-copy", Endpoint("10.0.0.9", 3306), None)
    topology = judged(*CALM, replace(SOURCE, member=copy), previous=calm())
    assert [one.member.name for one in topology.primaries()] == [NAMES[0]]
    status = topology.status_of("a-copy")
    assert status is not None
    assert status.reason == f"the same server as {NAMES[0]}"


def test_a_recreated_server_under_an_old_name_is_not_the_one_that_was_primary() -> None:
    fresh = replace(says(3, writable=True), member=MEMBERS[0])
    topology = judged(fresh, says(1, of(0, CONNECTING, silent=1.0)), says(2, of(0, CONNECTING, silent=1.0)))
    assert offers(topology) == {0: P}
    before = judged(fails(0), says(1, writable=True), says(2, of(1)), previous=calm())
    assert 0 not in offers(judged(fresh, fails(1), says(2, of(1)), previous=before))


def test_advice_never_is_to_close_what_may_be_the_only_live_source() -> None:
    promoted = judged(fails(0), says(1, writable=True), says(2, of(0)), previous=calm())
    assert reason(promoted, 1) == (
        f"{NAMES[1]} is writable too; {NAMES[2]} still follows {NAMES[0]}, which cannot be asked:"
        f" repoint to {NAMES[1]} if {NAMES[0]} is gone"
    )
    several = judged(fails(0), says(1, writable=True), says(2, of(0)), says(3, of(2)), previous=calm())
    assert f"{NAMES[2]}, {NAMES[3]} still follow {NAMES[0]}" in reason(several, 1)
    turned_away = judged(
        fails(0, Outcome.TOO_MANY), says(1, writable=True), previous=judged(SOURCE, says(1, writable=True), fails(2))
    )
    assert "read_only" not in reason(turned_away, 1)
    undone = judged(fails(0), says(1, of(0, CONNECTING), writable=True), says(2, of(0)), previous=calm())
    assert reason(undone, 1) == (
        f"writable replica of {NAMES[0]}, which cannot be asked: end its channel if it is to be the primary, "
        "else set it read_only"
    )


@pytest.mark.parametrize("applying", [True, False])
def test_a_full_mesh_is_judged_in_no_time(applying: bool) -> None:
    beside = range(1 if applying else 0, 9)  # none of them follows the source, or none applies what it receives
    mesh = [says(n, *(of(k, applying=applying, name=str(k)) for k in beside if k != n)) for n in range(1, 9)]
    began = time.process_time()
    topology = judged(SOURCE, *mesh)
    assert time.process_time() - began < 0.2, "seconds of this process; every path tried took 1.5"
    assert [one.uuid for one in topology.primaries()] == [uuid(0)]
    assert topology.secondaries() == ()


def test_in_a_mesh_a_way_round_a_stopped_channel_is_found() -> None:
    roundabout = judged(SOURCE, says(1, of(2), of(0)), says(2, of(1), of(0, applying=False)), says(3, of(2), of(1)))
    assert offers(roundabout) == {0: P, 1: S, 2: S, 3: S}
    past_it = judged(SOURCE, says(1, of(2, name="b"), of(0)), says(2, of(1)), says(3, of(1, applying=False), of(2)))
    assert offers(past_it) == {0: P, 1: S, 2: S, 3: S}


# Who may be read from.


def test_a_chain_is_followed_to_its_end() -> None:
    topology = judged(SOURCE, says(1, of(0, lag=3.0)), says(2, of(1, lag=1.0)))
    assert offers(topology) == {0: P, 1: S, 2: S}
    status = topology.status_of(NAMES[2])
    assert status is not None
    assert status.lag == 3.0, "what its source does not have it cannot have either"
    broken = judged(SOURCE, says(1, of(0, applying=False)), says(2, of(1)))
    assert offers(broken) == {0: P}
    assert reason(broken, 2) == f"its source is {NAMES[1]}: its applier is stopped"
    unasked = judged(SOURCE, fails(1), says(2, of(1)), says(3, of(0)))
    assert offers(unasked) == {0: P, 3: S}


def test_an_applier_that_an_error_stopped_is_told_with_its_number() -> None:
    stopped = of(0, applying=False, applier_error="error 1062: Duplicate entry '1' for key 't.PRIMARY'")
    topology = judged(SOURCE, says(1, stopped), says(2, of(0)))
    assert offers(topology) == {0: P, 2: S}
    assert reason(topology, 1) == "its applier has stopped: error 1062: Duplicate entry '1' for key 't.PRIMARY'"
    assert state(topology, 1) is State.ERROR


def test_errant_transactions_exclude_a_replica_once_the_source_has_been_asked_again() -> None:
    errant = says(1, of(0), executed=f"{uuid(0)}:1-101,{uuid(1)}:1-3")
    suspected = judged(SOURCE, errant, says(2, of(0)))
    assert offers(suspected) == {0: P, 1: S, 2: S}
    again = says(0, writable=True, at=NOW + 0.1)
    topology = judged(again, errant, says(2, of(0)), previous=suspected, now=NOW + 0.2)
    assert offers(topology) == {0: P, 2: S}
    assert reason(topology, 1) == f"it has transactions that {NAMES[0]} lacks, begun on {uuid(1)}"
    more = replace(says(1, of(0), executed=f"{uuid(0)}:1-101,{uuid(1)}:1-9"), taken_at=NOW + 0.5)
    for now in (NOW + 0.6, NOW + 0.7):
        after = judged(again, more, says(2, of(0)), previous=topology, now=now)
        assert after.version == topology.version, "more of the same is nothing new"
        topology = after
    injected = says(0, writable=True, executed=f"{uuid(0)}:1-110,{uuid(1)}:1-9", at=NOW + 1)
    assert offers(judged(injected, more, says(2, of(0)), previous=topology, now=NOW + 1)) == {0: P, 1: S, 2: S}


def test_a_replica_stays_errant_while_its_applier_is_stopped_and_its_source_away() -> None:
    def mine(applying: bool) -> Observation:
        return says(1, of(0, applying=applying), executed=f"{uuid(0)}:1-100,{uuid(1)}:1")

    topology = judged(SOURCE, mine(True), says(2, of(0)))
    topology = judged(says(0, writable=True, at=NOW + 1), mine(True), says(2, of(0)), previous=topology, now=NOW + 1)
    for applying in (False, True):
        topology = judged(fails(0), mine(applying), says(2, of(0)), previous=topology, now=NOW + 1)
        assert offers(topology) == {0: P, 2: S}
    assert "begun on" in reason(topology, 1)


def rounds_under_load(*, over: str, step: int, source: Channel) -> list[Topology]:
    """Looks at a source and at two replicas 0.2 s later each, while 100 transactions a second come to all of them."""
    history, topology = [], Topology()
    for n in range(12):
        at, done = NOW + n * 0.5, 1000 + 50 * n
        first = says(0, source, writable=True, executed=f"{over}:1-{done},{uuid(0)}:1-5", at=at)
        later = f"{over}:1-{done + step},{uuid(0)}:1-5"
        both = [says(k, of(0), executed=later, at=at + 0.2) for k in (1, 2)]
        between = [replace(one, taken_at=at - 0.3) for one in both]
        for seen, now in ((between, at + 0.01), (both, at + 0.21)):
            topology = judged(first, *seen, previous=topology, now=now)
            history.append(topology)
    return history


def test_what_comes_to_the_source_from_beyond_its_own_source_is_not_errant() -> None:
    history = rounds_under_load(over=uuid(9), step=20, source=of(8, host="10.9.9.9"))
    assert all(offers(topology) == {0: P, 1: S, 2: S} for topology in history)
    assert {topology.version for topology in history} == {1}, "no look makes a new version"


def test_what_the_source_is_late_in_replicating_itself_is_not_errant() -> None:
    history = rounds_under_load(over=uuid(9), step=500, source=of(9, host="10.9.9.9"))
    assert {topology.version for topology in history} == {1}
    broken = rounds_under_load(over=uuid(9), step=500, source=of(9, host="10.9.9.9", applying=False))
    assert offers(broken[-1]) == {0: P}, "it will not have them"


def test_a_passive_half_of_a_ring_that_is_written_to_is_not_errant() -> None:
    topology = Topology()
    for n in range(4):
        active = says(0, of(1), writable=True, executed=f"{uuid(0)}:1-9,{uuid(1)}:1-{50 * n + 1}", at=NOW + n / 2)
        passive = says(1, of(0), executed=f"{uuid(0)}:1-9,{uuid(1)}:1-{50 * n + 200}", at=NOW + n / 2)
        topology = judged(active, passive, previous=topology, now=NOW + n / 2 + 0.2)
        assert offers(topology) == {0: P, 1: S}
    assert topology.version == 1


def test_servers_with_errant_transactions_are_named_up_to_a_few() -> None:
    stray = ",".join(f"{uuid(n)}:1-{n}" for n in range(3, 8))
    errant = says(1, of(0), executed=stray)
    topology = judged(SOURCE, errant)
    topology = judged(says(0, writable=True, at=NOW + 1), errant, previous=topology, now=NOW + 1)
    assert reason(topology, 1).endswith(f"begun on {uuid(3)}, {uuid(4)}, {uuid(5)} and others")


def test_what_was_begun_on_the_primary_after_it_was_asked_is_not_errant() -> None:
    assert offers(judged(SOURCE, says(1, of(0), executed=f"{uuid(0)}:1-105"))) == {0: P, 1: S}


def test_where_transactions_cannot_be_compared_it_is_said() -> None:
    topology = judged(SOURCE, says(1, of(0), executed=None))
    assert offers(topology) == {0: P, 1: S}
    assert reason(topology, 1) == "errant transactions not checked: gtid_mode is OFF"


def test_lag_beyond_the_limit_excludes_and_half_of_it_brings_back() -> None:
    policy = replace(POLICY, lag=LagLimits(seconds=2.0))
    late = judged(SOURCE, says(1, of(0, lag=2.5, waiting=7)), says(2, of(0)), policy=policy)
    assert offers(late) == {0: P, 2: S}
    status = late.status_of(NAMES[1])
    assert status is not None
    assert (status.lag, status.queued, status.lagging) == (2.5, 7, True)
    better = judged(SOURCE, says(1, of(0, lag=1.5)), says(2, of(0)), policy=policy, previous=late)
    assert offers(better) == {0: P, 2: S}
    assert offers(judged(*CALM, policy=policy, previous=better)) == {0: P, 1: S, 2: S}


def test_a_replica_that_lost_its_source_is_late_since_it_last_heard_of_it() -> None:
    topology = judged(SOURCE, says(1, of(0, OFF, silent=59.0)), says(2, of(0, OFF, silent=61.0)), says(3, of(0, OFF)))
    assert offers(topology) == {0: P, 1: S}
    assert reason(topology, 2) == "late, beyond 60 s"
    assert reason(topology, 3) == "its receiver is not connected (OFF); it has heard nothing yet"


def test_reads_go_on_while_nobody_is_writable() -> None:
    lost = of(0, CONNECTING, silent=5.0)
    topology = judged(fails(0, Outcome.REFUSED), says(1, lost), says(2, lost), previous=calm())
    assert (offers(topology), topology.trust) == ({1: S, 2: S}, Trust.QUORUM)
    status = topology.status_of(NAMES[0])
    assert status is not None
    assert (status.role, status.state) == (P, State.UNREACHABLE)


def test_all_read_only_at_first_sight_offers_those_that_replicate() -> None:
    assert offers(judged(says(0), says(1, of(0)), says(2, of(0)))) == {1: S, 2: S}


def test_one_that_replicates_from_elsewhere_is_not_read_from() -> None:
    topology = judged(SOURCE, says(1, of(9, host="10.9.9.9")), says(2))
    assert offers(topology) == {0: P}
    assert reason(topology, 1) == f"it replicates from 10.9.9.9:3306, not from {NAMES[0]}"
    assert reason(topology, 2) == "it replicates from nobody"
    joining = judged(SOURCE, says(1, of(0, CONNECTING, source_uuid="")), says(2, of(0)))
    assert offers(joining) == {0: P, 2: S}


def test_a_channel_from_elsewhere_does_not_matter_beside_the_one_from_the_primary() -> None:
    topology = judged(SOURCE, says(1, of(9, name="a"), of(0, name="b")), says(2, of(0)))
    assert offers(topology) == {0: P, 1: S, 2: S}


def test_semi_sync_is_shown() -> None:
    def with_source(facts: SemiSync) -> str:
        lost = says(2, of(0, CONNECTING, silent=1.0))
        return reason(judged(says(0, writable=True, semi_sync=facts), says(1, of(0)), lost), 0)

    assert with_source(SemiSync(True, True, 1, False)) == "semi-sync: 1 of 2 replicas acknowledge"
    assert "fallen back to asynchronous" in with_source(SemiSync(True, False, 0, False))
    assert with_source(SemiSync(False, False, 0, False)) == ""


# Properties, over whatever members may say.

channels = st.lists(
    st.builds(
        of,
        st.integers(0, 4),
        st.sampled_from(Receiver),
        applying=st.booleans(),
        lag=st.sampled_from([0.0, 5.0, 90.0]),
        silent=st.sampled_from([None, 1.0, 90.0]),
        source_uuid=st.sampled_from([*map(uuid, range(5)), ""]),
    ),
    max_size=2,
)


def observation(n: int) -> st.SearchStrategy[Observation]:
    sets = st.sampled_from([None, "", f"{uuid(0)}:1-100", f"{uuid(0)}:1-90,{uuid(n)}:1-5"])
    answers = st.builds(
        lambda found, writable, executed, offline, at: says(
            n, *found, writable=writable, executed=executed, offline_mode=offline, at=at
        ),
        *(channels, st.booleans(), sets, st.sampled_from([False, False, False, True]), st.sampled_from([NOW, NOW - 9])),
    )
    return answers | st.sampled_from([Outcome.TIMEOUT, Outcome.TOO_MANY, Outcome.OFFLINE_MODE]).map(
        lambda outcome: fails(n, outcome)
    )


rounds = st.lists(st.tuples(*(observation(n) for n in range(4))), min_size=1, max_size=5)


def vouched(target: int, seen: Mapping[int, Report]) -> set[int]:
    """Who is connected to a server, directly or through others; told in another way than the rules do."""
    reached: set[int] = set()
    while True:
        more = {
            n
            for n, report in seen.items()
            if n != target and report.replication
            for one in report.replication.channels
            if one.receiver is ON and one.source_uuid in {uuid(target), *map(uuid, reached - {n})}
        }
        if more <= reached:
            return reached
        reached |= more


@settings(max_examples=400, deadline=None)
@given(rounds)
def test_what_must_hold_whatever_members_say(story: list[tuple[Observation, ...]]) -> None:
    topology = Topology()
    for seen in story:
        before = topology
        topology = judged(*seen, previous=before)
        assert topology == judged(*reversed(seen), previous=before), "it depends on the order of the answers"
        reports = {
            n: one.report
            for n, one in enumerate(seen)
            if one.report is not None and NOW - one.taken_at <= POLICY.max_age
        }
        assert len(topology.primaries()) <= 1
        for n, one in enumerate(seen):
            role = offers(topology).get(n)
            fresh = NOW - one.taken_at <= POLICY.max_age
            if fresh and (one.outcome is Outcome.OFFLINE_MODE or (one.report and one.report.offline_mode)):
                assert role is None, "it says itself that it is offline"
            if not reports:
                continue
            if role is P and n in reports:
                assert not reports[n].read_only
            elif role is P:
                assert before.last_primary == uuid(n)
                assert vouched(n, reports) or one.outcome is Outcome.TOO_MANY
            elif role is S:
                assert n in reports
                assert reports[n].read_only
        for primary in topology.primaries() if reports else ():
            # Nobody who is writable and free has more replicas: a lone old source never wins over a vouched one.
            winner = int(str(primary.uuid)[7])
            for n, report in reports.items():
                free = report.replication and not report.replication.channels
                if free and not report.read_only and not report.offline_mode:
                    assert len(vouched(n, reports)) <= len(vouched(winner, reports))


@settings(max_examples=200, deadline=None)
@given(rounds)
def test_an_old_source_that_nobody_follows_does_not_come_back_by_itself(story: list[tuple[Observation, ...]]) -> None:
    promoted = judged(fails(0), says(1, writable=True), says(2, of(1)), says(3, of(1)), previous=calm())
    topology = promoted
    for seen in story:
        topology = judged(says(0, writable=True), *seen[1:], previous=topology)
        reports = {n: one.report for n, one in enumerate(seen[1:], 1) if one.report and one.taken_at == NOW}
        if vouched(0, reports):
            return
        assert 0 not in offers(topology)
