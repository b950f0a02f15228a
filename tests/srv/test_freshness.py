"""What is believed, and when to look again: time is a number here."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srv.freshness import JITTER, RETRY_CEILING, Followed, News, Policy, advance, news, wait_until_next
from srv.lookup import Answer, Lookup, Outcome, Target

NAME = "_mysql._tcp.d.test"
POLICY = Policy(floor=1, ceiling=60, keep_last_good=100)
M1 = Target("m1.d.test", 3306, 0, 100, ("192.0.2.1",))
M2 = Target("m2.d.test", 3306, 0, 100, ("192.0.2.2",))

UNDECIDED = [outcome for outcome in Outcome if not outcome.is_decided]


def answer(*targets: Target, ttl: float = 5) -> Lookup:
    return Lookup(NAME, Outcome.ANSWER, Answer(targets, ttl))


def played(*steps: tuple[float, Lookup]) -> list[Followed]:
    """The states after each look, at the given times."""
    states = [Followed(NAME)]
    for now, lookup in steps:
        states.append(advance(states[-1], lookup, now, POLICY))
    return states[1:]


def wait(state: Followed, now: float, policy: Policy = POLICY) -> float:
    return wait_until_next(state, now, policy, random.Random(1))


def test_an_answer_is_taken() -> None:
    (state,) = played((10, answer(M1)))
    assert (state.targets, state.outcome, state.age(12), state.failures) == ((M1,), Outcome.ANSWER, 2, 0)
    assert not state.is_stale


@pytest.mark.parametrize("outcome", [*UNDECIDED, Outcome.EMPTY, Outcome.NXDOMAIN])
def test_the_last_good_answer_outlives_what_proves_nothing_for_a_bounded_time(outcome: Outcome) -> None:
    failure = Lookup(NAME, outcome, detail="why")
    good, kept, still, expired = played((0, answer(M1)), (5, failure), (99, failure), (100, failure))
    assert kept.targets == still.targets == (M1,)
    assert (kept.outcome, kept.detail, kept.failures, kept.is_stale) == (outcome, "why", 1, True)
    assert still.age(99) == 99
    assert (expired.answer, expired.age(100), expired.failures, expired.is_stale) == (None, None, 3, False)
    assert expired.differs_from(still)
    assert kept.differs_from(good)
    assert not still.differs_from(kept)


def test_explicit_unavailability_ends_it_at_once() -> None:
    assert played((0, answer(M1)), (5, Lookup(NAME, Outcome.UNAVAILABLE)))[-1].answer is None


def test_an_answer_renews_the_time() -> None:
    failure = Lookup(NAME, Outcome.TIMEOUT)
    *_, state = played((0, answer(M1)), (90, failure), (91, answer(M1)), (180, failure))
    assert (state.targets, state.failures) == ((M1,), 1)


def test_ttls_and_counters_are_no_news() -> None:
    first, second, third = played((0, answer(M1, ttl=5)), (5, answer(M1, ttl=4)), (9, answer(M1, M2)))
    assert not second.differs_from(first)
    assert third.differs_from(second)


def test_a_target_whose_address_cannot_be_found_keeps_its_last_one() -> None:
    lost = Target(M1.name, M1.port, 0, 100, ())
    assert played((0, answer(M1)), (5, answer(lost, M2)))[-1].targets == (M1, M2)
    assert played((0, answer(lost)))[-1].targets == (lost,)


def test_a_targets_last_addresses_are_kept_for_a_bounded_time() -> None:
    lost = Target(M1.name, M1.port, 0, 100, ())
    *_, kept, expired = played((0, answer(M1, M2)), (60, answer(lost, M2)), (99, answer(lost, M2)), (100, answer(lost)))
    assert kept.targets == (M1, M2)
    assert expired.targets == (lost,)
    assert expired.located_at == ()
    failure = Lookup(NAME, Outcome.TIMEOUT)
    *_, after_failures = played((0, answer(M1)), (60, answer(lost, M2)), (90, failure), (110, answer(lost, M2)))
    assert after_failures.targets == (lost, M2)


def test_a_target_that_decidedly_has_no_address_loses_its_last_one() -> None:
    lost = Target(M1.name, M1.port, 0, 100, ())
    denied = Lookup(NAME, Outcome.ANSWER, Answer((lost, M2), 5), nowhere=frozenset({M1.name}))
    assert played((0, answer(M1, M2)), (5, denied), (6, answer(lost, M2)))[-1].targets == (lost, M2)


@pytest.mark.parametrize(("ttl", "wanted"), [(0, 1), (5, 5), (30, 30), (86400, 60)])
def test_the_ttl_counts_between_floor_and_ceiling(ttl: float, wanted: float) -> None:
    (state,) = played((0, answer(M1, ttl=ttl)))
    assert wanted * (1 - JITTER) <= wait(state, 0) <= min(wanted * (1 + JITTER), 60)


def test_failures_wait_twice_as_long_each_time() -> None:
    failure = Lookup(NAME, Outcome.TIMEOUT)
    waits = [wait(state, 0, Policy(1, 60, 0)) for state in played(*[(0, failure)] * 8)]
    for got, wanted in zip(waits, [1, 2, 4, *[RETRY_CEILING] * 5], strict=True):
        assert wanted * (1 - JITTER) <= got <= min(wanted * (1 + JITTER), 60)


@pytest.mark.parametrize("outcome", [*UNDECIDED, Outcome.EMPTY, Outcome.NXDOMAIN])
def test_a_server_that_is_back_after_long_is_heard_within_the_last_ttl(outcome: Outcome) -> None:
    """However long it was away, and whatever TTL its negative answers bear."""
    for ttl, failure in ((2.0, Lookup(NAME, outcome)), (2.0, Lookup(NAME, outcome, negative_ttl=900))):
        *_, state = played((0, answer(M1, ttl=ttl)), *[(float(now), failure) for now in range(2, 60, 2)])
        assert state.is_stale
        assert wait(state, 60) <= ttl * (1 + JITTER)


def test_a_negative_answer_is_good_for_as_long_as_it_says() -> None:
    (state,) = played((0, Lookup(NAME, Outcome.EMPTY, negative_ttl=5)))
    assert 5 <= wait(state, 0) <= 5.5


def test_the_moment_of_expiry_is_not_slept_through() -> None:
    *_, state = played((0, answer(M1)), (97, Lookup(NAME, Outcome.EMPTY, negative_ttl=50)))
    assert wait(state, 97) == 3


@given(
    st.sampled_from(list(Outcome)),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.integers(0, 50),
    st.integers(),
)
def test_waits_stay_between_floor_and_ceiling(
    outcome: Outcome, ttl: float, elapsed: float, failures: int, seed: int
) -> None:
    state = Followed(NAME, Answer((M1,), ttl), 0.0, outcome, "", failures, ttl)
    assert POLICY.floor <= wait_until_next(state, elapsed, POLICY, random.Random(seed)) <= POLICY.ceiling


TARGETS = st.lists(
    st.builds(
        Target,
        st.sampled_from(["m1.d.test", "m2.d.test"]),
        st.just(3306),
        st.just(0),
        st.just(1),
        st.sampled_from([(), ("192.0.2.1",), ("192.0.2.2", "2001:db8::2")]),
    ),
    max_size=2,
    unique_by=lambda target: target.name,
)
LOOKUPS = st.one_of(
    st.builds(
        lambda targets, ttl, nowhere: Lookup(NAME, Outcome.ANSWER, Answer(tuple(targets), ttl), nowhere=nowhere),
        TARGETS,
        st.floats(0, 1e5),
        st.frozensets(st.sampled_from(["m1.d.test", "m2.d.test"])),
    ),
    st.builds(
        lambda outcome, ttl: Lookup(NAME, outcome, negative_ttl=ttl),
        st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.ANSWER]),
        st.none() | st.floats(0, 1e5),
    ),
)
POLICIES = st.builds(
    lambda floor, more, keep: Policy(floor, floor + more, keep),
    st.floats(0.1, 10),
    st.floats(0, 100),
    st.floats(0, 300),
)


@given(POLICIES, st.lists(st.tuples(LOOKUPS, st.floats(0, 10)), max_size=30), st.integers())
def test_whatever_comes_an_answer_and_an_address_are_never_used_beyond_their_time(
    policy: Policy, steps: list[tuple[Lookup, float]], seed: int
) -> None:
    """Played as the loop plays it: each look takes its time, the next one starts after the wait."""
    rng = random.Random(seed)
    state, now = Followed(NAME), 0.0
    answered, heard = float("-inf"), dict[str, float]()
    story: list[News] = []
    for lookup, duration in steps:
        now += duration
        before, state = state, advance(state, lookup, now, policy)
        if lookup.answer is not None:
            answered = now
            heard |= {target.name: now for target in lookup.answer.targets if target.addresses}
        if state.answer is not None:
            assert state.answered_at == answered
            assert now == answered or now - answered < policy.keep_last_good
        for target in state.targets:
            if target.addresses and state.outcome is Outcome.ANSWER:
                assert now == heard[target.name] or now - heard[target.name] < policy.keep_last_good
        assert state.is_stale == (state.answer is not None and lookup.outcome is not Outcome.ANSWER)
        told = news(before, state)
        story += [told] if told else []
        wait = wait_until_next(state, now, policy, rng)
        assert policy.floor <= wait <= policy.ceiling
        if state.is_stale:
            # Looked at again when it expires at the latest, give or take the floor.
            assert now + wait <= max(answered + policy.keep_last_good, now + policy.floor) + 1e-6
            assert wait <= max(policy.floor, state.answer.ttl) * (1 + JITTER)  # type: ignore[union-attr]
        elif state.outcome is Outcome.ANSWER:
            wanted = min(max(state.good_for or 0.0, policy.floor), policy.ceiling)
            assert wanted * (1 - JITTER) <= wait <= wanted * (1 + JITTER)
        now += wait
    # To each beginning of a time without answers belongs one end, and nothing is told in between.
    for told, following in itertools.pairwise(story):
        if told is News.KEPT:
            assert following in (News.RENEWED, News.EXPIRED)
    assert all(before is News.KEPT for before, told in itertools.pairwise(story) if told is News.RENEWED)


def test_news() -> None:
    silence, servfail = Lookup(NAME, Outcome.TIMEOUT), Lookup(NAME, Outcome.SERVFAIL)
    steps = [
        (0, silence, News.UNKNOWN),
        (1, silence, None),
        (2, servfail, News.UNKNOWN),
        (3, answer(M1), News.FOUND),
        (4, answer(M1, ttl=9), None),
        (5, answer(M1, M2), News.FOUND),
        (6, silence, News.KEPT),
        (7, servfail, None),
        (8, Lookup(NAME, Outcome.EMPTY), None),
        (9, answer(M1), News.RENEWED),
        (10, servfail, News.KEPT),
        (110, servfail, News.EXPIRED),
        (111, servfail, None),
        (112, answer(M1), News.FOUND),
        (113, Lookup(NAME, Outcome.UNAVAILABLE), News.EXPIRED),
    ]
    states = [Followed(NAME), *played(*[(now, lookup) for now, lookup, _ in steps])]
    told = [news(before, after) for before, after in itertools.pairwise(states)]
    assert told == [each for _, _, each in steps]


@pytest.mark.parametrize(("floor", "ceiling", "keep"), [(0, 1, 1), (2, 1, 1), (1, 1, -1)])
def test_impossible_policies(floor: float, ceiling: float, keep: float) -> None:
    with pytest.raises(ValueError):
        Policy(floor, ceiling, keep)
