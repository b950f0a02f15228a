"""How workers' reports add up: counters never go back, gauges are of those that live."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from router.reports import RouteReport, combine, past

COUNTS = st.integers(min_value=0, max_value=1 << 53)
BY_NAME = st.dictionaries(st.sampled_from(["a", "b", "c"]), COUNTS, max_size=3)


def reports(name: str = "rw") -> st.SearchStrategy[RouteReport]:
    values = {}
    for one in fields(RouteReport):
        if one.name == "name":
            values[one.name] = st.just(name)
        elif one.name == "refused":
            values[one.name] = st.dictionaries(st.sampled_from([1040, 2003]), COUNTS)
        elif one.name == "connect_times":
            values[one.name] = st.dictionaries(st.sampled_from(["a", "b"]), st.dictionaries(st.integers(1, 3), COUNTS))
        elif "Mapping" in str(one.type):
            values[one.name] = BY_NAME
        else:
            values[one.name] = COUNTS
    return st.builds(RouteReport, **values)


def numbers(report: RouteReport, kind: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in fields(report):
        value = getattr(report, one.name)
        if one.metadata.get("kind") == kind:
            found.update(flat(one.name, value))
    return found


def flat(name: str, value: Any) -> dict[str, int]:
    if not hasattr(value, "items"):
        return {name: value} if value else {}
    return {path: number for key, part in value.items() for path, number in flat(f"{name}/{key}", part).items()}


def test_every_number_is_a_counter_or_a_gauge() -> None:
    assert {one.metadata.get("kind") for one in fields(RouteReport) if one.name != "name"} == {"counter", "gauge"}


@given(st.lists(reports(), min_size=1, max_size=4))
def test_what_several_say_adds_up_in_any_order(said: list[RouteReport]) -> None:
    [sums] = combine(said).values()
    assert combine(reversed(said)) == {"rw": sums}
    for kind in ("counter", "gauge"):
        every = [numbers(one, kind) for one in said]
        expected = {key: sum(one.get(key, 0) for one in every) for one in every for key in one}
        assert numbers(sums, kind) == expected


@given(reports())
def test_of_a_worker_that_is_gone_counters_stay_and_gauges_go(report: RouteReport) -> None:
    assert numbers(past(report), "counter") == numbers(report, "counter")
    assert numbers(past(report), "gauge") == {}


def test_routes_are_kept_apart() -> None:
    said = [RouteReport("rw", started=1), RouteReport("ro", started=2), RouteReport("rw", started=4)]
    assert {name: one.started for name, one in combine(said).items()} == {"rw": 5, "ro": 2}
