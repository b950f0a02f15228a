"""What pytest reports is read right, and what differs is found."""

from __future__ import annotations

import pytest

from bench.transparency.outcomes import Difference, compare, read_junit, render

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" tests="7">
<testcase classname="test.dialect.RowTest_mysql+pymysql" name="test_passes" time="0.1" />
<testcase classname="test.a" name="test_fails"><failure message="sqlalchemy.exc.OperationalError: (pymysql.err.OperationalError) (2013, 'Lost connection')&#10;more">…</failure></testcase>
<testcase classname="test.a" name="test_asserts"><failure message="AssertionError: 1 != 2" /></testcase>
<testcase classname="test.a" name="test_skipped"><skipped type="pytest.skip" message="not on MySQL&#10;at all" /></testcase>
<testcase classname="test.a" name="test_expected"><skipped type="pytest.xfail" message="" /></testcase>
<testcase classname="test.a" name="test_twice"><failure message="ValueError" /></testcase>
<testcase classname="test.a" name="test_twice"><error message='failed on teardown with "OSError: gone"' /></testcase>
</testsuite></testsuites>
"""  # noqa: E501 - as it is written


def test_a_report_is_read() -> None:
    assert read_junit(REPORT) == {
        "test.dialect.RowTest_mysql+pymysql::test_passes": "passed",
        "test.a::test_fails": "failed sqlalchemy.exc.OperationalError 2013",
        "test.a::test_asserts": "failed AssertionError",
        "test.a::test_skipped": "skipped",
        "test.a::test_expected": "xfailed",
        "test.a::test_twice": "failed ValueError, error OSError",
    }


def test_what_is_no_report_is_refused() -> None:
    with pytest.raises(ValueError, match="not a JUnit report"):
        read_junit("<testsuite>")


def test_the_same_is_the_same() -> None:
    run = read_junit(REPORT)
    found = compare((run, run), run)
    assert (found.same, found.differences, found.unstable) == (True, (), ())
    assert found.counts == {"passed": 1, "failed": 3, "skipped": 1, "xfailed": 1}


@pytest.mark.parametrize("routed", ["failed OperationalError 2003", "failed OSError", "passed", "absent"])
def test_another_outcome_differs_even_where_the_test_fails_anyway(routed: str) -> None:
    direct = {"a": "passed", "b": "failed OperationalError 2013"}
    through = {"a": "passed"} | ({"b": routed} if routed != "absent" else {})
    found = compare((direct, direct), through)
    assert not found.same
    assert found.differences == (Difference("b", ("failed OperationalError 2013",) * 2, routed),)
    assert "DIFFERS b: " in render("suite", found)


def test_a_test_that_is_unstable_by_itself_may_come_out_either_way_but_no_third() -> None:
    direct = ({"a": "passed", "b": "passed"}, {"a": "passed", "b": "failed X"})
    for routed, same in (("passed", True), ("failed X", True), ("failed Y", False)):
        found = compare(direct, {"a": "passed", "b": routed})
        assert (found.unstable, found.same) == (("b",), same)


def test_a_test_that_only_the_router_has_differs() -> None:
    assert not compare(({"a": "passed"}, {"a": "passed"}), {"a": "passed", "b": "passed"}).same


def test_nothing_that_passes_proves_nothing() -> None:
    run = {"a": "skipped"}
    assert not compare((run, run), run).same
