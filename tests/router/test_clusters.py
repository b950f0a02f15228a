"""What workers are shown while a watcher is new."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from cluster.access import Access
from cluster.members import Member, Role, State
from cluster.topology import MemberStatus, Topology, Trust
from router.clusters import JUST_STARTED, Clusters, Followed
from router.routes import may_stay, pick
from router.settings import ClusterSettings
from router.strategies import Draw
from tests.router.conftest import Run
from tests.router.fakes import route

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
        assert not pick(old, route(), draw=Draw(), now=time.monotonic()).candidates, "not for ever"

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
            assert clusters.follow({"a": SETTINGS, "b": SETTINGS}, {}, {"a": KNOWN}) == []
            before = dict(clusters.followed)
            slower = SETTINGS.model_copy(update={"poll_interval": 2.0})
            assert clusters.follow({"a": SETTINGS, "c": slower}, {}, {}) == ["b"]
            assert clusters.followed["a"] is before["a"]
            assert clusters.follow({"a": slower, "c": slower}, {}, {}) == []
            assert clusters.followed["a"] is not before["a"]
            last = clusters.followed["a"].topology()
            assert (last.members, last.trust) == (KNOWN.members, Trust.BLIND), "its roles stand"
            assert shown[0] == ("a", replace(KNOWN, trust=Trust.BLIND, reason=JUST_STARTED))
            clusters.end()

    run(scenario())
