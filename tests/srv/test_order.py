"""The order of use (RFC 2782)."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srv.order import in_order_of_use
from srv.records import SrvRecord

DRAWS = 20_000


def record(name: str, weight: int, priority: int = 0) -> SrvRecord:
    return SrvRecord(priority, weight, 3306, name)


def firsts(records: list[SrvRecord], seed: int = 1) -> Counter[str]:
    rng = random.Random(seed)
    return Counter(in_order_of_use(records, rng)[0].target for _ in range(DRAWS))


def expected(weight: int, total: int, zeros: int = 0) -> float:
    """RFC 2782 draws from 0 to the sum, both included: `total + 1` numbers, and 0 falls to the record at the front."""
    return DRAWS * weight / (total + 1) if zeros == 0 else DRAWS / (total + 1) / zeros


def assert_about(count: int, wanted: float) -> None:
    """Within five standard deviations of a binomial; the seed is fixed, so this holds always or never."""
    share = wanted / DRAWS
    assert abs(count - wanted) < 5 * (DRAWS * share * (1 - share)) ** 0.5 + 1


def test_lower_priority_numbers_come_first_whatever_their_weight() -> None:
    records = [record("last", 65535, 20), record("first", 0, 1), record("second", 0, 10)]
    assert [each.target for each in in_order_of_use(records, random.Random(1))] == ["first", "second", "last"]


def test_weights_share_in_proportion() -> None:
    counts = firsts([record("one", 100), record("three", 300)])
    # The number 0 goes to whichever stands in front, and that is even odds: the shuffle.
    assert_about(counts["one"], expected(100, 400) + DRAWS / 401 / 2)
    assert_about(counts["three"], expected(300, 400) + DRAWS / 401 / 2)


def test_weight_0_has_a_very_small_chance_beside_others() -> None:
    counts = firsts([record("heavy", 99), record("zero", 0)])
    assert_about(counts["zero"], expected(0, 99, zeros=1))
    assert counts["zero"] > 0


def test_all_of_weight_0_share_alike() -> None:
    counts = firsts([record(name, 0) for name in "abcd"])
    for name in "abcd":
        assert_about(counts[name], DRAWS / 4)


def test_the_second_place_is_drawn_by_weight_too() -> None:
    rng = random.Random(2)
    records = [record("a", 100), record("b", 100), record("c", 800)]
    seconds = Counter(
        ordered[1].target for _ in range(DRAWS) if (ordered := in_order_of_use(records, rng))[0].target == "c"
    )
    assert 0.45 < seconds["a"] / seconds.total() < 0.55


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 65535))), st.integers())
def test_every_record_comes_once_and_priorities_ascend(pairs: list[tuple[int, int]], seed: int) -> None:
    records = [record(f"m{index}", weight, priority) for index, (priority, weight) in enumerate(pairs)]
    ordered = in_order_of_use(records, random.Random(seed))
    assert sorted(ordered) == sorted(records)
    assert [each.priority for each in ordered] == sorted(priority for priority, _ in pairs)


@pytest.mark.parametrize("records", [[], [record("only", 0)]])
def test_small_sets(records: list[SrvRecord]) -> None:
    assert in_order_of_use(records, random.Random(1)) == records
