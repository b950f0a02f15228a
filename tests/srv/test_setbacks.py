"""When to try again, and what of it is news."""

from __future__ import annotations

import random

from srv.setbacks import Setback


class Latest(random.Random):
    """Draws the end of every range."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_waits_double_up_to_the_limit_and_start_anew() -> None:
    setback, now, waits = Setback(1.0, 60.0, Latest()), 100.0, []
    for _ in range(8):
        setback.add("timeout", began=now, now=now)
        waits.append(setback.due - now)
        now = setback.due
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert setback.since == 100.0
    setback.end()
    assert (setback.since, setback.failures) == (None, 0)
    assert setback.due < now
    setback.add("timeout", began=now, now=now)
    assert setback.due == now + 1.0


def test_waits_are_spread() -> None:
    dues = set()
    for seed in range(50):
        setback = Setback(1.0, 60.0, random.Random(seed))
        setback.add("timeout", began=0.0, now=0.0)
        dues.add(setback.due)
    assert len(dues) == 50
    assert min(dues) >= 0.5
    assert max(dues) <= 1.0


def test_a_long_row_of_failures_does_no_harm() -> None:
    setback, now = Setback(1.0, 60.0, Latest()), 0.0
    for _ in range(5000):
        setback.add("timeout", began=now, now=now)
        now = setback.due
    assert setback.due - now == 0.0


def test_each_kind_is_news_once_in_a_row() -> None:
    setback = Setback(1.0, 60.0, Latest())
    told = [setback.add(what, began=at, now=at) for at, what in enumerate(["a", "a", "b", "a", "b"])]
    assert told == [True, False, True, False, False]
    setback.end()
    assert setback.add("a", began=9.0, now=9.0)


def test_failures_side_by_side_count_once() -> None:
    setback = Setback(1.0, 60.0, Latest())
    for now in (5.0, 5.1, 5.2):
        setback.add("timeout", began=0.0, now=now)
    assert setback.failures == 1
    assert setback.due == 6.0
