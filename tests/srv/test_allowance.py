"""How much a source may ask."""

from __future__ import annotations

import pytest

from srv.allowance import Allowance, source_of


def admitted(allowance: Allowance, source: str, times: list[float]) -> int:
    return sum(allowance.admits(source, now) for now in times)


def test_a_burst_and_then_the_rate() -> None:
    allowance = Allowance(10.0, 5.0)
    assert admitted(allowance, "a", [0.0] * 20) == 5
    assert admitted(allowance, "a", [0.1] * 20) == 1
    assert admitted(allowance, "a", [10.0] * 20) == 5  # no more than the burst is saved up
    assert admitted(allowance, "a", [10 + number / 1000 for number in range(1, 10_001)]) == pytest.approx(100, abs=1)


def test_one_source_does_not_eat_the_others_share() -> None:
    allowance = Allowance(10.0, 5.0)
    assert admitted(allowance, "a", [0.0] * 1000) == 5
    assert admitted(allowance, "b", [0.0] * 5) == 5


def test_what_costs_more_counts_for_more() -> None:
    allowance = Allowance(10.0, 5.0)
    assert allowance.admits("a", 0.0)
    allowance.charge("a", 19.0)
    assert not allowance.admits("a", 1.5)
    assert allowance.admits("a", 1.61)


def test_waiting_instead_of_refusal() -> None:
    allowance = Allowance(10.0, 2.0)
    assert [allowance.delay("a", 0.0) for _ in range(4)] == pytest.approx([0, 0, 0.1, 0.2])
    assert allowance.delay("a", 10.0) == 0


def test_the_table_is_bounded_and_a_flooder_is_not_forgotten() -> None:
    allowance = Allowance(10.0, 5.0, remembered=100)
    got = 0
    for number in range(10_000):
        allowance.admits(f"forged-{number}", 0.0)
        got += allowance.admits("flooder", 0.0)
        assert len(allowance) <= 200
    assert got == 5


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:0:100::1", "2001:db8:0:100:1::9", True),
        ("2001:db8:0:100::1", "2001:db8:0:101::1", False),
        ("fe80::1%lo", "fe80::2", True),
        ("::1", "192.0.2.1", False),
    ],
)
def test_sources(one: str, other: str, same: bool) -> None:
    assert (source_of(one) == source_of(other)) is same
