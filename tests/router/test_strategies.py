"""Every strategy orders all of its members, each by its own rule."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.strategies import STRATEGIES, Contender, Draw
from router.words import StrategyName

NAMES = "abcdefghi"
CONTENDERS = st.lists(
    st.builds(
        Contender,
        st.sampled_from(NAMES),
        st.integers(0, 3),
        st.integers(0, 65535),
        st.integers(1, 100),
    ),
    max_size=9,
    unique_by=lambda one: one.name,
)
NUMBERS = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 50))
DRAWS = st.builds(Draw, st.integers(0, 10**9), NUMBERS, NUMBERS, st.integers().map(random.Random))


def names(strategy: StrategyName, members: list[Contender], draw: Draw) -> str:
    return "".join(one.name for one in STRATEGIES[strategy](members, draw))


ABC = [Contender(name) for name in "abc"]


def test_every_name_has_its_strategy() -> None:
    assert set(STRATEGIES) == set(StrategyName)


@pytest.mark.parametrize("strategy", StrategyName)
@given(CONTENDERS, DRAWS)
def test_it_returns_all_of_its_members_and_no_others(
    strategy: StrategyName, members: list[Contender], draw: Draw
) -> None:
    before = list(members)
    ordered = STRATEGIES[strategy](members, draw)
    assert members == before
    assert sorted(ordered, key=lambda one: one.name) == sorted(members, key=lambda one: one.name)


def test_the_first_available_is_always_the_same() -> None:
    assert names(StrategyName.FIRST_AVAILABLE, ABC, Draw(7, {"a": 9}, {"a": 9})) == "abc"


def test_the_next_available_does_not_come_back_before_its_turn() -> None:
    assert names(StrategyName.NEXT_AVAILABLE, ABC, Draw(1)) == "abc"
    assert names(StrategyName.NEXT_AVAILABLE, ABC, Draw(2, failures={"a": 1})) == "bca"
    assert names(StrategyName.NEXT_AVAILABLE, ABC, Draw(3, failures={"a": 1, "b": 2})) == "cab"
    assert names(StrategyName.NEXT_AVAILABLE, ABC, Draw(3, failures={"a": 4, "b": 2, "c": 3})) == "bca"


@given(CONTENDERS.filter(bool), st.integers(0, 1000))
def test_in_a_round_everyone_is_first_once(members: list[Contender], turn: int) -> None:
    for strategy in (StrategyName.ROUND_ROBIN, StrategyName.ROUND_ROBIN_WITH_FALLBACK):
        firsts = [STRATEGIES[strategy](members, Draw(turn + n))[0].name for n in range(len(members))]
        assert sorted(firsts) == sorted(one.name for one in members)


@given(CONTENDERS, DRAWS)
def test_the_least_connected_comes_first_and_equals_take_turns(members: list[Contender], draw: Draw) -> None:
    ordered = STRATEGIES[StrategyName.LEAST_CONNECTIONS](members, draw)
    counts = [draw.sessions.get(one.name, 0) for one in ordered]
    assert counts == sorted(counts)
    turned = STRATEGIES[StrategyName.ROUND_ROBIN](members, draw)
    for count in set(counts):  # stable: among equals the order is the round's
        equals = [one for one in turned if draw.sessions.get(one.name, 0) == count]
        assert [one for one in ordered if draw.sessions.get(one.name, 0) == count] == equals


def shares(
    strategy: StrategyName, members: list[Contender], sessions: dict[str, int], rounds: int = 6000
) -> Counter[str]:
    rng = random.Random(1)
    return Counter(STRATEGIES[strategy](members, Draw(n, sessions, {}, rng))[0].name for n in range(rounds))


def test_weights_hold_over_many_sessions() -> None:
    # RFC 2782 draws a whole number from 0 to the sum, so small weights are a little off: by one in the sum.
    first = shares(
        StrategyName.WEIGHTED, [Contender("a", weight=100), Contender("b", weight=200), Contender("c", weight=300)], {}
    )
    assert first["a"] == pytest.approx(1000, abs=120)  # four standard deviations
    assert first["b"] == pytest.approx(2000, abs=150)
    assert first["c"] == pytest.approx(3000, abs=160)


def test_a_member_in_trouble_has_a_share_of_its_weight() -> None:
    first = shares(StrategyName.WEIGHTED, [Contender("a", share=10), Contender("b")], {})
    assert first["a"] == pytest.approx(6000 / 11, abs=100)


def test_priority_comes_before_weight_and_a_weight_of_zero_hardly_ever() -> None:
    spare = [Contender("a", priority=1, weight=65535), Contender("b", priority=0, weight=1)]
    assert shares(StrategyName.WEIGHTED, spare, {}, 100) == {"b": 100}
    first = shares(StrategyName.WEIGHTED, [Contender("a", weight=0), Contender("b", weight=1)], {})
    assert first["a"] < 200


def test_of_two_drawn_the_less_busy_one_is_first() -> None:
    first = shares(StrategyName.RANDOM_TWO_CHOICES, ABC, {"a": 5, "b": 1, "c": 3})
    assert first["a"] == 0  # whoever is drawn beside it has fewer
    assert first["b"] == pytest.approx(4000, abs=150)  # in two of three draws
    assert first["c"] == pytest.approx(2000, abs=150)
    every = {names(StrategyName.RANDOM_TWO_CHOICES, ABC, Draw(rng=random.Random(seed))) for seed in range(100)}
    assert len(every) == 6, "with equal counts every order comes up"
