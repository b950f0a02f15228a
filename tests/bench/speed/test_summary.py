"""What rounds come to: their order, verdicts, tables and the picture."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations
from xml.etree import ElementTree

import pytest

from bench.speed import plot, summary
from bench.speed.cases import (
    DIRECT,
    HAPROXY,
    NEW_SESSIONS,
    OURS,
    ROUTER,
    TARGETS,
    Round,
    Workload,
    cases,
    orders,
)
from bench.speed.intervals import Outcome

CASE = "oltp_point_select/plain/8"


def one(variant: str, number: int, queries: int, cpu: float = 0.1, case: str = CASE, p99: float = 1.0) -> Round:
    return Round(case, variant, number, queries, 1.0, 0.2, 0.5, p99, cpu, 2**20, 0.0)


def rounds(ours: int, router: int, haproxy: int = 100) -> list[Round]:
    found = []
    for number in range(15):
        pace = 1 + number % 3  # what the machine gives, to all alike
        for variant, queries in ((DIRECT, 400), (OURS, ours), (ROUTER, router), (HAPROXY, haproxy)):
            found.append(one(variant, number, queries * pace, 0.0 if variant == DIRECT else 0.1))
    return found


def test_each_is_first_and_follows_each_alike() -> None:
    names = ["a", "b", "c", "d", "e"]
    found = list(orders(names, 20))
    assert all(sorted(order) == names for order in found)
    assert set(Counter(order[0] for order in found).values()) == {4}
    for left, right in combinations(names, 2):
        assert sum(order.index(left) < order.index(right) for order in found) == 10


def test_cases_are_chosen_by_words() -> None:
    assert len(cases()) == len(Workload) * 2 * 4
    assert [case.name for case in cases((1, 8), ["select/plain"])] == ["oltp_point_select/plain/1", CASE]


def test_verdicts() -> None:
    found = {verdict.target.words: verdict for verdict in summary.verdicts(rounds(120, 100))}
    assert len(found) == sum(not target.about_sessions for target in TARGETS)
    assert found["throughput ≥ 1.15 × mysqlrouter"].outcome is Outcome.MET
    assert found["throughput ≥ 1 × haproxy"].outcome is Outcome.MET
    assert found["CPU per query ≤ 0.75 × mysqlrouter"].outcome is Outcome.MISSED
    assert found["CPU per query ≤ 0.75 × mysqlrouter"].found.mean == pytest.approx(1 / 1.2)
    assert next(summary.verdicts(rounds(114, 100))).outcome is Outcome.MISSED


def test_what_was_not_measured_has_no_verdict() -> None:
    only = [each for each in rounds(120, 100) if each.variant in (DIRECT, OURS)]
    assert list(summary.verdicts(only)) == []
    assert summary.closing(only) == [""]


def test_rounds_without_their_pair_are_left_out() -> None:
    found = [each for each in rounds(120, 100) if (each.variant, each.number) != (ROUTER, 3)]
    assert [first.number for first, _ in summary.pairs(found, CASE, OURS, ROUTER)] == [0, 1, 2, *range(4, 15)]


def test_new_sessions_have_a_target_of_their_own() -> None:
    case = f"{NEW_SESSIONS}/plain/8"
    found = [one(name, number, queries, case=case) for number in range(5) for name, queries in ((OURS, 9), (ROUTER, 9))]
    [verdict] = summary.verdicts(found)
    assert (verdict.target.about_sessions, verdict.outcome) == (True, Outcome.MET)


def test_tables() -> None:
    found = rounds(120, 100)
    text = summary.terminal(found)
    assert re.search(r"fairlead +15 +240 +0\.30 \(0\.30 to 0\.30\)", text)
    assert re.search(f"^MISSED +{CASE}: CPU per query", text, re.MULTILINE)
    assert text.endswith("p99 ≤ 1 × haproxy: met in all 1 cases")
    assert summary.closing(rounds(114, 100))[6].endswith(f": missed in {CASE}")
    document = summary.markdown(found, ["Said before."])
    rows = [line for line in document.splitlines() if line.startswith("|")]
    assert len(rows) == 6
    assert {row.count("|") for row in rows} == {len(summary.COLUMNS) + 1}
    assert "throughput ≥ 1.15 × mysqlrouter: met in all 1 cases" in document


def test_rounds_are_read_back() -> None:
    found = rounds(120, 100)
    assert summary.decode(summary.encode(found)) == found
    with pytest.raises(ValueError):
        summary.decode('[{"case": "x"}]')


def test_the_picture_is_one() -> None:
    found = [*rounds(120, 100), one(OURS, 0, 7, case="a<b")]
    found += [
        one(name, number, 100 + 900 * number * (name == OURS), case="wild")
        for name in (DIRECT, OURS)
        for number in (0, 1)
    ]
    root = ElementTree.fromstring(plot.draw(found))  # noqa: S314 - our own text
    circles = root.findall("{*}circle")
    # The legend, a dot for each proxy in each panel; the odd case has nothing to be set against.
    assert len(circles) == len(plot.COLOURS) + 3 + 3 + 1
    assert all(0 <= float(circle.get("cx", "")) <= plot.WIDTH for circle in circles)
    ends = [float(line.get(end, "")) for line in root.findall("{*}line") for end in ("x1", "x2")]
    assert all(plot.LEFT <= end <= plot.WIDTH - plot.RIGHT + 0.1 for end in ends)
    assert ElementTree.fromstring(plot.draw([])).tag.endswith("svg")  # noqa: S314 - our own text
