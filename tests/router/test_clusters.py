"""What workers are shown while a watcher is new."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from cluster.access import Access
from cluster.members import Member, Role, State
from cluster.topology import MemberStatus, Topology, Trust
from router.clusters import JUST_STARTED, Clusters, Followed
from router.routes import Lineup, may_stay
from router.settings import ClusterSettings
from router.strategies import Draw
from tests.router.conftest import Run
from tests.router.fakes import route, until

SETTINGS = ClusterSettings(srv="db.test", resolvers=("127.0.0.1:1",))
MEMBER = Member("a", None, None)
KNOWN = Topology(
    version=7,
    taken_at=time.monotonic(),
    trust=Trust.QUORUM,
    reason="",
    members=(MemberStatus(MEMBER, "a", Role.PRIMARY, State.ONLINE, Role.PRIMARY),),
)


def test_what_was_known_before_stands_until_every_member_was_asked(run: Run) -> None:
    async def scenario() -> None:
        followed = Followed(SETTINGS, Access(None), KNOWN)
        assert followed.seen, "the router stays ready"
        shown = followed.topology()
        assert shown == replace(KNOWN, trust=Trust.BLIND, reason=JUST_STARTED)
        assert may_stay(shown, route(), MEMBER), "no session ends for it"
        old = replace(shown, taken_at=time.monotonic() - 60)
        assert not Lineup(old, route()).pick(Draw(), time.monotonic()).candidates, "not for ever"

    run(scenario())


def test_a_new_router_knows_nothing(run: Run) -> None:
    async def scenario() -> None:
        followed = Followed(SETTINGS, Access(None), None)
        assert not followed.seen
        assert followed.topology() == Topology()

    run(scenario())


def test_clusters_that_stay_are_not_asked_anew(run: Run) -> None:
    async def scenario() -> None:
        shown: list[tuple[str, Topology]] = []
        async with asyncio.TaskGroup() as tasks:
            clusters = Clusters(tasks, lambda name, topology: shown.append((name, topology)))
            clusters.follow({"a": SETTINGS, "b": SETTINGS}, {}, {"a": KNOWN})
            before = dict(clusters.followed)
            slower = SETTINGS.model_copy(update={"poll_interval": 2.0})
            clusters.follow({"a": SETTINGS, "c": slower}, {}, {})
            assert set(clusters.followed) == {"a", "c"}
            assert clusters.followed["a"] is before["a"]
            clusters.follow({"a": slower, "c": slower}, {}, {})
            assert clusters.followed["a"] is not before["a"]
            last = clusters.followed["a"].topology()
            assert (last.members, last.trust) == (KNOWN.members, Trust.BLIND), "its roles stand"
            assert shown[0] == ("a", replace(KNOWN, trust=Trust.BLIND, reason=JUST_STARTED))
            clusters.end()

    run(scenario())


def test_a_cluster_that_is_gone_is_followed_for_as_long_as_its_sessions_may_stay() -> None:
    async def scenario() -> None:
        shown: list[str] = []
        forgotten: list[str] = []
        async with asyncio.TaskGroup() as tasks:
            clusters = Clusters(tasks, lambda name, _: shown.append(name), forgotten.append)
            clusters.follow({"a": SETTINGS, "b": SETTINGS}, {}, {})
            a, b = clusters.followed["a"], clusters.followed["b"]
            began = time.monotonic()
            clusters.follow({}, {}, {}, linger=0.5)
            assert not clusters.followed
            clusters.follow({"a": SETTINGS}, {}, {}, linger=0.5)
            assert clusters.followed == {"a": a}, "one that comes back in time was never away"
            shown.clear()
            clusters.show_all()
            assert sorted(shown) == ["a", "b"]
            assert b.task is not None
            assert not b.task.done()
            await until(lambda: b.task is not None and b.task.done(), "it is left")
            assert time.monotonic() - began >= 0.5
            assert forgotten == ["b"]
            shown.clear()
            clusters.show_all()
            assert shown == ["a"]
            clusters.end()

    # Not on uvloop: its close hangs where a lookup was cancelled as its socket came to be.
    asyncio.run(asyncio.wait_for(scenario(), 20))
