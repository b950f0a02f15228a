"""Weights from how members bear up, by example, by property, and over noise."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srv.weights import GRADES, GRAVE, LAG_PATIENCE, LEAST, LOAD_PATIENCE, Damped, Strain, Weighing, scaled, weigh
from srv.zone import WEIGHT_LIMIT

CALM, BUSY = Strain(0.0, 0, 2, 2.0), Strain(0.0, 0, 32, 10.0)
LATE, GONE = Strain(lag=1.0), Strain(lag=10.0)
STRAINS = st.builds(
    Strain,
    st.none() | st.floats(0, 100),
    st.none() | st.integers(0, 100_000),
    st.none() | st.integers(0, 1000),
    st.none() | st.floats(0, 300),
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
        *((strain, 100) for strain in (CALM, BUSY, Strain(), Strain(0.99, 999, 10_000, 1.0))),
        *((strain, 50) for strain in (LATE, Strain(queued=1000), Strain(lag=9.9), Strain(lag=0.0, queued=24_999))),
        *((strain, 10) for strain in (GONE, Strain(queued=25_000))),
    ],
)
def test_a_new_member_is_graded_as_it_stands(strain: Strain, share: int) -> None:
    assert weigh(None, strain, now=0.0).share == share


def test_what_is_worse_counts_when_it_has_held() -> None:
    held = int(LAG_PATIENCE.worse / 0.5)
    assert weights([CALM, *[LATE] * held]) == [100] * (held + 1)
    assert weights([CALM, *[LATE] * (held + 1)])[-1] == 50
    assert weights([CALM, *[LATE] * held, CALM, *[LATE] * held]) == [100] * (2 * held + 2)


def test_what_is_grave_counts_at_once_and_what_is_better_takes_its_time() -> None:
    found = weights([CALM, GONE, *[CALM] * 100])
    assert found[:2] == [100, 10]
    assert [found[number] for number in changes(found)] == [10, 50, 100]
    steps = [number * 0.5 for number in changes(found)]
    assert all(later - earlier >= LAG_PATIENCE.better for earlier, later in pairwise(steps))


def test_load_takes_one_step_slowly_and_only_beside_others() -> None:
    held = int(LOAD_PATIENCE.worse / 0.5)
    assert set(weights([CALM, *[BUSY] * held])) == {100}
    found = weights([CALM, *[BUSY] * 10 * held, *[CALM] * 10 * held])
    assert [found[number] for number in changes(found)] == [50, 100]
    assert changes(found)[1] * 0.5 - 10 * LOAD_PATIENCE.worse >= LOAD_PATIENCE.better
    for alike in (Strain(load=1000), Strain(load=1000, others=400.0), Strain(load=31, others=1.0)):
        assert set(weights([CALM, *[alike] * 10 * held])) == {100}
    assert set(weights([LATE, *[Strain(1.0, 0, 900, 1.0)] * 10 * held])) == {50}


@pytest.mark.parametrize("arrivals", [3, 6, 8, 10, 40])
def test_clients_that_take_the_heaviest_do_not_make_weights_swing(arrivals: int) -> None:
    """Ten minutes of sessions of 10 to 30 s, all to the heaviest of three replicas: they are the load."""
    rng, labels = random.Random(1), "abc"
    weighings: dict[str, Weighing | None] = dict.fromkeys(labels)
    published, sessions, moves = dict.fromkeys(labels, 100), list[tuple[str, float]](), 0
    for now in range(600):
        sessions = [one for one in sessions if one[1] > now]
        load = {label: sum(where == label for where, _ in sessions) for label in labels}
        for label in labels:
            others = statistics.median(load[other] for other in labels if other != label)
            weighings[label] = weigh(weighings[label], Strain(load=load[label], others=others), now=float(now))
        weighed = {label: scaled(100, weighings[label]) for label in labels}
        moves, published = moves + (weighed != published), weighed
        heaviest = [label for label in labels if published[label] == max(published.values())]
        sessions.extend((rng.choice(heaviest), now + rng.uniform(10, 30)) for _ in range(arrivals))
    print(f"{arrivals} arrivals a second: {moves} changes in ten minutes")
    assert moves <= 2


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
            Strain(
                rng.gauss(centre, centre / 4), int(rng.gauss(queued, queued / 4)), int(rng.gauss(load, load / 4)), 20.0
            )
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
        assert before is None or weighing.load.grade == before.load.grade or now >= LOAD_PATIENCE.worse
        if before is None or weighing.lag.grade == before.lag.grade:
            continue
        grade = weighing.lag.grade
        assert grade == GRAVE or abs(grade - before.lag.grade) == 1
        worse = grade > before.lag.grade
        if moves and grade != GRAVE:
            assert now - moves[-1][0] >= (LAG_PATIENCE.worse if worse else LAG_PATIENCE.better)
        moves.append((now, grade))
    improvements = sum(1 for (_, one), (_, other) in pairwise(moves) if other < one)
    assert len(moves) <= (improvements + 2) * len(GRADES)


def test_of_a_member_that_nothing_is_known_of() -> None:
    assert scaled(100, None) == 100
    assert scaled(1, Weighing(Damped(GRAVE))) == LEAST
