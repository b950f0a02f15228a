"""The ring of events, what a change of topology is told as, and the stream that carries it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from itertools import pairwise

from cluster.members import Endpoint, Member, Role, State
from cluster.topology import MemberStatus, Topology, Trust
from router.api_events import stream_events
from router.chronicle import Chronicle
from router.events import Events, Kind
from router.forms import read, write
from router.incidents import Incidents, Outage
from router.reports import RouteReport, WorkerReport, WorkerState
from tests.router.conftest import Run


def status(name: str, role: Role, offered: Role | None, state: State = State.ONLINE) -> MemberStatus:
    return MemberStatus(Member(name, Endpoint("10.0.0.1", 3306), None), name, role, state, offered)


def topology(*members: MemberStatus, trust: Trust = Trust.QUORUM) -> Topology:
    return Topology(version=1, taken_at=1.0, trust=trust, reason="", members=members)


BEFORE = topology(status("a", Role.PRIMARY, Role.PRIMARY), status("b", Role.SECONDARY, Role.SECONDARY))
BETWEEN = topology(status("a", Role.UNKNOWN, None, State.UNREACHABLE), status("b", Role.SECONDARY, Role.SECONDARY))
AFTER = topology(status("a", Role.UNKNOWN, None, State.UNREACHABLE), status("b", Role.PRIMARY, Role.PRIMARY))


def test_the_ring_is_bounded_and_told_of() -> None:
    events, told = Events(kept=3, clock=lambda: 0.0), []
    unsubscribe = events.subscribe(lambda: told.append(events.last))
    for number in range(5):
        events.publish(Kind.RELOADED, f"text {number}", "main", count=number)
    assert told == [1, 2, 3, 4, 5]
    assert [event.id for event in events.after(0)] == [3, 4, 5]
    assert [event.id for event in events.after(4)] == [5]
    assert [event.id for event in events.after(0, limit=2)] == [4, 5]
    assert events.after(0, limit=0) == []
    document = events.after(4)[0].document()
    assert (document["kind"], document["cluster"], document["count"]) == ("reloaded", "main", 4)
    unsubscribe()
    events.publish(Kind.RELOADED, "more")
    assert told[-1] == 5


def test_a_failover_has_a_beginning_and_an_end_with_its_time() -> None:
    incidents = Incidents()
    began = incidents.tell(BEFORE, BETWEEN, 10.0)
    assert [one.kind for one in began] == [Kind.MEMBER, Kind.FAILOVER_BEGUN]
    assert began[1].more == {"was": "a"}
    ended = incidents.tell(BETWEEN, AFTER, 12.5)
    assert [one.kind for one in ended] == [Kind.ROLE, Kind.FAILOVER_ENDED]
    assert ended[1].more == {"was": "a", "member": "b", "seconds": 2.5}
    assert ended[1].text == "b takes writes, a did before; without a primary for 2.500 s"
    assert incidents.tell(AFTER, AFTER, 13.0) == []


def test_a_switchover_in_one_step_is_a_failover_of_no_time_and_a_first_primary_is_none() -> None:
    [*_, last] = Incidents().tell(BEFORE, AFTER, 1.0)
    assert (last.kind, last.more["seconds"]) == (Kind.FAILOVER_ENDED, 0.0)
    first = Incidents().tell(Topology(), BEFORE, 1.0)
    assert [one.kind for one in first] == [Kind.TRUST, Kind.MEMBER, Kind.MEMBER]


def test_a_member_that_leaves_and_a_majority_that_is_gone() -> None:
    gone = topology(status("b", Role.PRIMARY, None), trust=Trust.NO_QUORUM)
    told = Incidents().tell(AFTER, gone, 1.0)
    assert [(one.kind, one.more.get("member")) for one in told] == [
        (Kind.TRUST, None),
        (Kind.MEMBER, "a"),
        (Kind.MEMBER, "b"),
        (Kind.FAILOVER_BEGUN, None),
    ]


def writers(*names: str) -> Topology:
    return topology(*(status(name, Role.PRIMARY, Role.PRIMARY if name in names else None) for name in "abc"))


def test_the_time_without_a_primary_is_counted() -> None:
    incidents = Incidents()
    steps = [writers(), writers("a"), writers(), writers(), writers("b"), writers("c"), writers(), writers("c")]
    for number, (old, new) in enumerate(pairwise(steps)):
        incidents.tell(old, new, float(number))
        assert incidents.lasting(number + 0.5) == {1: 0.5, 2: 1.5, 5: 0.5}.get(number, 0.0)
    # From a to b after 2 s, from b to c at once, and c again after 1 s. The first primary ever is no failover.
    assert (incidents.failovers.number, incidents.failovers.seconds) == (3, 3.0)


def test_where_several_write_one_that_leaves_is_no_failover() -> None:
    incidents = Incidents()
    told = incidents.tell(writers("a", "b"), writers("b"), 1.0)
    assert (incidents.failovers.number, incidents.lasting(9.0)) == (0, 0.0)
    assert [one.kind for one in told] == [Kind.MEMBER]


def test_failovers_of_a_cluster_are_counted_until_it_is_followed_no_more() -> None:
    chronicle = Chronicle(Events())
    for each in (BEFORE, BETWEEN, AFTER):
        chronicle.see("main", each)
    assert chronicle.incidents["main"].failovers.number == 1
    chronicle.forget("main")
    assert not chronicle.incidents


def test_cut_sessions_are_counted_once() -> None:
    events = Events()
    chronicle = Chronicle(events)
    chronicle.look({"rw": RouteReport("rw")}, [])
    chronicle.look({"rw": RouteReport("rw", cut=2)}, [])
    chronicle.look({"rw": RouteReport("rw", cut=2)}, [])
    chronicle.look({"rw": RouteReport("rw", cut=3)}, [])
    chronicle.look({"rw": RouteReport("rw", cut=3, ended={"hidden": 4, "idle": 9})}, [])
    assert [event.more["count"] for event in events.after(0)] == [2, 1, 4]


def test_what_the_process_before_saw_is_not_told_again() -> None:
    events = Events()
    chronicle = Chronicle(events)
    worker = WorkerReport(3, 4711, 0.0, WorkerState.SERVING)
    chronicle.adopt({}, [worker])
    chronicle.look({"rw": RouteReport("rw", cut=5000)}, [worker])
    assert events.after(0) == []
    chronicle.look({"rw": RouteReport("rw", cut=5001)}, [worker, replace(worker, serial=4)])
    assert [event.text for event in events.after(0)] == ["route rw: 1 session was cut", "worker 4 was started"]


def test_an_outage_that_was_there_before_us_lasts_but_its_end_is_no_failover() -> None:
    incidents = Incidents()
    incidents.tell(Topology(), Topology(), 5.0)
    assert incidents.lasting(10.0) == 0.0, "nothing was seen yet"
    incidents.tell(Topology(), BETWEEN, 10.0)
    incidents.tell(BETWEEN, BETWEEN, 20.0)
    assert incidents.lasting(3610.0) == 3600.0
    assert [one.kind for one in incidents.tell(BETWEEN, AFTER, 3610.0)] == [Kind.ROLE]
    assert (incidents.lasting(4000.0), incidents.failovers.number) == (0.0, 0)


def test_an_outage_goes_on_over_an_upgrade() -> None:
    before = Chronicle(Events())
    before.see("main", BEFORE)
    before.see("main", BETWEEN)
    outages = read(dict[str, Outage], json.loads(json.dumps(write(before.outages))))
    events = Events()
    after = Chronicle(events)
    after.adopt(outages, [])
    after.see("main", BETWEEN)
    [was] = before.outages.values()
    assert after.incidents["main"].lasting(was.since + 60.0) == 60.0
    after.see("main", AFTER)
    assert (events.after(0)[-1].kind, events.after(0)[-1].more["was"]) == (Kind.FAILOVER_ENDED, "a")
    assert after.incidents["main"].failovers.number == 1
    assert not after.outages


def fields(block: bytes) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in block.decode().strip().split("\n"))


def test_a_stream_goes_on_where_it_broke_off(run: Run) -> None:
    async def scenario() -> None:
        events = Events()
        events.publish(Kind.RELOADED, "one")
        stream = stream_events(events, "", None)
        assert fields(await anext(stream)) == {"retry": "1000"}
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        events.publish(Kind.RELOADED, "two")
        block = fields(await waiting)
        assert (block["event"], json.loads(block["data"])["text"]) == ("reloaded", "two")
        await stream.aclose()
        again = stream_events(events, f"{events.instance}:1", None)
        await anext(again)
        assert json.loads(fields(await anext(again))["data"])["text"] == "two"
        other = stream_events(events, "deadbeef:99", None)
        await anext(other)
        assert json.loads(fields(await anext(other))["data"])["text"] == "one"
        endless = stream_events(events, f"{events.instance}:{'9' * 5000}", None)
        await anext(endless)
        assert json.loads(fields(await anext(endless))["data"])["text"] == "one"
        await endless.aclose()
        await again.aclose()
        await other.aclose()
        assert not events._told

    run(scenario())
