"""Records of two protocols become members, each met at one of its addresses."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest

from cluster.access import Access
from cluster.members import Endpoint, Member
from cluster.observations import Observation, Outcome, Report
from cluster.watch import Watch
from router.watcher import HINT_CEILING, Watcher, addresses_of, pair
from srv import lookup as dns
from srv.lookup import Answer, Lookup, Target
from tests.router.fakes import until

DOMAIN = "d.test"
CLASSIC, X = f"_mysql._tcp.{DOMAIN}", f"_mysqlx._tcp.{DOMAIN}"


def target(name: str, port: int, *addresses: str) -> Target:
    return Target(name, port, 0, 1, addresses)


def test_what_names_one_target_is_one_member() -> None:
    classic = [target("a.db", 3306, "10.0.0.1"), target("b.db", 3307, "10.0.0.1"), target("c.db", 3306)]
    x = [target("b.db", 33070, "10.0.0.1"), target("a.db", 33060, "10.0.0.1")]
    assert pair(classic, x, {"a.db": "10.0.0.1", "b.db": "10.0.0.9"}) == (
        Member("a.db", Endpoint("10.0.0.1", 3306), Endpoint("10.0.0.1", 33060)),
        Member("b.db", Endpoint("10.0.0.9", 3307), Endpoint("10.0.0.9", 33070)),
    )


def test_a_member_weighs_what_its_record_says() -> None:
    [one] = pair([Target("a", 1, 2, 30, ())], [Target("a", 2, 3, 40, ())], {"a": "10.0.0.1"})
    assert (one.priority, one.weight) == (2, 30)
    [one] = pair([], [Target("a", 2, 3, 40, ())], {"a": "10.0.0.1"})
    assert (one.priority, one.weight) == (3, 40)


def test_a_member_may_speak_one_protocol_only() -> None:
    classic = [target("a.db", 3306, "10.0.0.1")]
    assert pair(classic, [], {"a.db": "10.0.0.1"}) == (Member("a.db", Endpoint("10.0.0.1", 3306), None),)


def test_addresses_are_those_that_both_answers_have() -> None:
    classic = [target("a", 1, "10.0.0.1", "::1"), target("b", 1, "10.0.0.2"), target("c", 1), target("d", 1, "::2")]
    x = [target("a", 2, "::1", "::3"), target("b", 2, "10.0.0.3"), target("c", 2)]
    assert addresses_of(classic, x) == {"a": ("::1",), "b": ("10.0.0.2", "10.0.0.3"), "d": ("::2",)}


class Names:
    """DNS by hand: the targets of both names, and how often each was asked for."""

    def __init__(self, *targets: Target, ttl: float = 60) -> None:
        self.targets: dict[str, Iterable[Target]] = {}
        self.become(*targets)
        self.ttl = ttl
        self.asked: list[str] = []

    def become(self, *targets: Target) -> None:
        """Both names have these targets from now on."""
        self.targets = {CLASSIC: targets, X: targets}

    async def srv(self, name: str) -> Lookup:
        self.asked.append(name)
        answer = Answer(tuple(self.targets[name.rstrip(".")]), self.ttl)
        return Lookup(name.rstrip("."), dns.Outcome.ANSWER, answer)


class Recording(Watch):
    """A watch that probes nobody and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__(Access(None))
        self.given: list[tuple[Member, ...]] = []

    def set_members(self, members: Iterable[Member]) -> None:
        self.given.append(tuple(members))

    def at(self) -> list[str]:
        """The addresses of the members, as they were given last."""
        return [one.classic.host for one in self.given[-1] if one.classic] if self.given else []


@asynccontextmanager
async def watching(
    names: Names, *, floor: float = 0.01, domain: str = DOMAIN
) -> AsyncIterator[tuple[Watcher, Recording]]:
    watch = Recording()
    watcher = Watcher(domain, names, watch, floor=floor, ceiling=60, keep_last_good=60)
    task = asyncio.create_task(watcher.run())
    try:
        await until(lambda: bool(watch.given), "both names are answered")
        yield watcher, watch
    finally:
        task.cancel()
        await asyncio.wait([task])


def lost(watch: Recording, outcome: Outcome = Outcome.REFUSED) -> Observation:
    return Observation(watch.given[-1][0], 0.0, outcome)


@asynccontextmanager
async def listening(*addresses: str, port: int = 0) -> AsyncIterator[int]:
    """Accepts connections at these addresses, at one port."""
    servers: list[asyncio.Server] = []
    try:
        for address in addresses:
            servers.append(await asyncio.start_server(lambda _, writer: writer.close(), address, port))
            port = servers[-1].sockets[0].getsockname()[1]
        yield port
    finally:
        for server in servers:
            server.close()


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.TIMEOUT, Outcome.BROKEN])
async def test_a_member_that_is_lost_is_looked_for_at_once(outcome: Outcome) -> None:
    names = Names(target("a", 1, "127.0.0.1"), ttl=3600)
    async with watching(names) as (watcher, watch):
        names.become(target("a", 1, "127.0.0.2"))
        watcher.observed(lost(watch, outcome))
        await until(lambda: watch.at() == ["127.0.0.2"], "it is followed to its new address")


async def test_a_connection_that_fails_is_a_hint_too() -> None:
    names = Names(target("a", 1, "127.0.0.1"), ttl=3600)
    async with watching(names) as (watcher, watch):
        names.become(target("a", 1, "127.0.0.2"))
        watcher.suspect(watch.given[-1][0])
        await until(lambda: watch.at() == ["127.0.0.2"], "it is followed to its new address")


async def test_other_outcomes_are_no_hint() -> None:
    names = Names(target("a", 1, "127.0.0.1"), ttl=3600)
    async with watching(names) as (watcher, watch):
        for outcome in set(Outcome) - {Outcome.REFUSED, Outcome.TIMEOUT, Outcome.BROKEN}:
            watcher.observed(lost(watch, outcome))
        watcher.observed(lost(watch))
        await until(lambda: names.asked.count(X) == 2, "the hint")
        assert names.asked.count(CLASSIC) == 2


class Clock:
    """Seconds by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_member_that_stays_away_asks_less_and_less_often() -> None:
    clock = Clock()
    hints: list[float] = []
    watcher = Watcher(DOMAIN, Names(), Recording(), floor=1.0, ceiling=60, keep_last_good=60, clock=clock)
    for following in watcher.names.values():
        following.refresh_soon = lambda: hints.append(clock.now)  # type: ignore[method-assign]
    gone = Observation(Member("a", None, None), 0.0, Outcome.REFUSED)
    rng = random.Random(1)
    for _ in range(300):
        watcher.observed(gone)
        clock.now += rng.uniform(0.05, 0.3)
    asked = hints[::2]  # two names
    gaps = [later - sooner for sooner, later in itertools.pairwise(asked)]
    assert min(gaps) >= 1.0
    assert gaps[0] < 1.5
    assert all(HINT_CEILING <= gap < HINT_CEILING + 0.5 for gap in gaps[3:])
    watcher.observed(Observation(gone.member, 0.0, Outcome.ANSWERED, Report("", True, False, "", None, ())))
    watcher.observed(gone)
    assert hints[-1] == clock.now  # after an answer it begins anew


async def test_a_member_stays_where_it_is_while_dns_names_that() -> None:
    names = Names(target("a", 1, "127.0.0.5"), ttl=0)
    async with watching(names) as (_, watch):
        names.become(target("a", 1, "127.0.0.1", "127.0.0.5"))
        before = len(names.asked)
        await until(lambda: len(names.asked) > before + 4, "the new answer is in")
        assert watch.at() == ["127.0.0.5"]
        names.become(target("a", 1, "127.0.0.1"))
        await until(lambda: watch.at() == ["127.0.0.1"], "it is followed to the one that is left")


async def test_a_lost_member_is_met_at_the_first_address_that_accepts() -> None:
    async with listening("127.0.0.3", "::1") as port:
        names = Names(target("a", port, "127.0.0.2", "127.0.0.3", "::1"), ttl=3600)
        async with watching(names) as (watcher, watch):
            assert watch.at() == ["127.0.0.2"]
            watcher.observed(lost(watch))
            await until(lambda: watch.at() == ["127.0.0.3"], "the next one accepts")
            watcher.observed(lost(watch, Outcome.TIMEOUT))
            await until(lambda: not watcher._finding, "all is tried")
            assert watch.at() == ["127.0.0.3"]  # it accepts: a lost look moves nobody


async def test_where_no_address_accepts_a_member_stays() -> None:
    async with listening("127.0.0.9") as port:
        pass
    names = Names(target("a", port, "127.0.0.2", "127.0.0.3"), ttl=3600)
    async with watching(names) as (watcher, watch):
        watcher.observed(lost(watch))
        await until(lambda: not watcher._finding, "all is tried")
        assert watch.at() == ["127.0.0.2"]


async def test_names_that_disagree_are_asked_again() -> None:
    names = Names(target("a", 1, "127.0.0.1"), ttl=3600)
    async with watching(names) as (watcher, watch):
        names.targets = {CLASSIC: [target("a", 1, "127.0.0.2")], X: [target("a", 2, "127.0.0.2")]}
        watcher.names[CLASSIC].refresh_soon()
        await until(lambda: names.asked.count(X) == 2, "the other name is asked as well")
        await until(lambda: watch.at() == ["127.0.0.2"], "both agree")
        assert [one.x.host for one in watch.given[-1] if one.x] == ["127.0.0.2"]
        assert names.asked.count(CLASSIC) <= 3


async def test_a_final_dot_is_for_the_resolver() -> None:
    names = Names(target("a", 1, "127.0.0.1"))
    async with watching(names, domain=f"{DOMAIN}.") as (watcher, _):
        assert set(names.asked) == {f"{CLASSIC}.", f"{X}."}
        assert set(watcher.names) == {CLASSIC, X}


async def test_a_look_that_ends_while_everything_does_starts_nothing() -> None:
    names = Names(target("a", 1, "127.0.0.2", "127.0.0.3"), ttl=3600)
    watch = Recording()
    watcher = Watcher(DOMAIN, names, watch, floor=0.01, ceiling=60, keep_last_good=60)
    task = asyncio.create_task(watcher.run())
    await until(lambda: bool(watch.given), "both names are answered")
    task.cancel()
    ended: list[BaseException | None] = []

    def observe() -> None:  # between the cancelling and the end of what it cancels
        try:
            watcher.observed(lost(watch))
        except RuntimeError as exc:
            ended.append(exc)

    asyncio.get_running_loop().call_soon(observe)
    await asyncio.wait([task])
    assert ended == []
    assert not watcher._finding
