"""Weights from how members bear up, by example, by property, and over noise."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srv.weights import BETTER_AFTER, GRADES, GRAVE, LEAST, WORSE_AFTER, Strain, Weighing, scaled, weigh
from srv.zone import WEIGHT_LIMIT

CALM, BUSY, LATE, GONE = Strain(0.0, 0, 2), Strain(load=64), Strain(lag=4.0), Strain(lag=10.0)
STRAINS = st.builds(
    Strain,
    st.none() | st.floats(0, 100),
    st.none() | st.integers(0, 100_000),
    st.none() | st.integers(0, 1000),
)


def weights(strains: Sequence[Strain], step: float = 0.5) -> list[int]:
    """The weight after each of a series of looks."""
    weighing, found = None, []
    for number, strain in enumerate(strains):
        weighing = weigh(weighing, strain, now=number * step)
        found.append(scaled(100, weighing))
    return found


def changes(found: Sequence[int]) -> list[int]:
    """After which looks the weight was another."""
    return [number for number in range(1, len(found)) if found[number] != found[number - 1]]


@pytest.mark.parametrize(
    ("strain", "share"),
    [
        *((strain, 100) for strain in (CALM, Strain(), Strain(0.99, 999, 63))),
        *((strain, 50) for strain in (BUSY, Strain(lag=1.0), Strain(queued=1000))),
        *((strain, 25) for strain in (LATE, Strain(load=100_000), Strain(lag=0.0, queued=24_999))),
        *((strain, 10) for strain in (GONE, Strain(queued=25_000))),
    ],
)
def test_a_new_member_is_graded_as_it_stands(strain: Strain, share: int) -> None:
    assert weigh(None, strain, now=0.0).share == share


def test_what_is_worse_counts_when_it_has_held_and_one_grade_at_a_time() -> None:
    held = int(WORSE_AFTER / 0.5)
    assert weights([CALM, *[LATE] * held]) == [100] * (held + 1)
    found = weights([CALM, *[LATE] * (3 * held)])
    assert [found[number] for number in changes(found)] == [50, 25]
    assert weights([CALM, *[BUSY] * held, CALM, *[BUSY] * held]) == [100] * (2 * held + 2)


def test_what_is_grave_counts_at_once_and_what_is_better_takes_its_time() -> None:
    found = weights([CALM, GONE, *[CALM] * 100])
    assert found[:2] == [100, 10]
    assert [found[number] for number in changes(found)] == [10, 25, 50, 100]
    steps = [number * 0.5 for number in changes(found)]
    assert all(later - earlier >= BETTER_AFTER for earlier, later in pairwise(steps))


def test_what_hovers_about_a_measure_stays() -> None:
    hovering = [Strain(lag=1.0), Strain(lag=0.6)] * 100
    assert set(weights(hovering)) == {50}
    assert set(weights([CALM, *hovering])) == {100}
    assert set(weights([Strain(lag=1.0), *[Strain(lag=0.6)] * 100])) == {50}


def test_records_do_not_flap_over_noise() -> None:
    """Ten minutes of looks at a member whose measures are noisy about the worst places, the grades' own limits."""
    rng = random.Random(4)
    for centre, queued, load in ((0.9, 900, 60), (1.0, 1_000, 64), (3.5, 4_500, 120), (0.2, 100, 30)):
        noisy = [
            Strain(rng.gauss(centre, centre / 4), int(rng.gauss(queued, queued / 4)), int(rng.gauss(load, load / 4)))
            for _ in range(1200)
        ]
        assert len(changes(weights(noisy))) <= 2, (centre, changes(weights(noisy)))


@given(st.lists(STRAINS, max_size=200), st.integers(1, WEIGHT_LIMIT))
def test_a_weight_is_never_nothing_and_changes_seldom(strains: list[Strain], weight: int) -> None:
    weighing, moves = None, list[tuple[float, int]]()
    for number, strain in enumerate(strains):
        before, now = weighing, number * 0.5
        weighing = weigh(before, strain, now=now)
        assert LEAST <= scaled(weight, weighing) <= weight
        if before is None or weighing.grade == before.grade:
            continue
        assert weighing.grade == GRAVE or abs(weighing.grade - before.grade) == 1
        worse = weighing.grade > before.grade
        if moves and weighing.grade != GRAVE:
            assert now - moves[-1][0] >= (WORSE_AFTER if worse else BETTER_AFTER)
        moves.append((now, weighing.grade))
    improvements = sum(1 for (_, one), (_, other) in pairwise(moves) if other < one)
    assert len(moves) <= (improvements + 2) * len(GRADES)


def test_of_a_member_that_nothing_is_known_of() -> None:
    assert scaled(100, None) == 100
    assert scaled(1, Weighing(GRAVE)) == LEAST
