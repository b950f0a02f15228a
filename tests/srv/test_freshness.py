"""What is believed, and when to look again: time is a number here."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srv.freshness import JITTER, Followed, Policy, advance, wait_until_next
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
    assert (state.targets, state.failures, state.looks) == ((M1,), 1, 4)


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
    for got, wanted in zip(waits, [1, 2, 4, 8, 16, 32, 60, 60], strict=True):
        assert wanted * (1 - JITTER) <= got <= min(wanted * (1 + JITTER), 60)


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
    state = Followed(NAME, Answer((M1,), ttl), 0.0, outcome, "", failures, failures + 1, ttl)
    assert POLICY.floor <= wait_until_next(state, elapsed, POLICY, random.Random(seed)) <= POLICY.ceiling


@pytest.mark.parametrize(("floor", "ceiling", "keep"), [(0, 1, 1), (2, 1, 1), (1, 1, -1)])
def test_impossible_policies(floor: float, ceiling: float, keep: float) -> None:
    with pytest.raises(ValueError):
        Policy(floor, ceiling, keep)
