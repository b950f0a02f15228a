from __future__ import annotations

from bench.sandbox.commands import MODES
from bench.sandbox.record import Mode
from bench.sandbox.replicas import Place, judge_places
from bench.sandbox.views import Standing


def test_those_that_follow_the_one_that_takes_writes_are_online() -> None:
    places = {"a": Place("ua", False, ""), "b": Place("ub", True, "ua"), "c": Place("uc", True, "")}
    assert judge_places(places) == {
        "a": Standing("ua", "ONLINE", "PRIMARY"),
        "b": Standing("ub", "ONLINE", "SECONDARY"),
        "c": Standing("uc", "OFFLINE", ""),
    }


def test_while_two_take_writes_nobody_is_the_source() -> None:
    places = {"a": Place("ua", False, ""), "b": Place("ub", False, ""), "c": Place("uc", True, "ua")}
    assert {one.state for one in judge_places(places).values()} == {"OFFLINE"}


def test_the_command_line_offers_every_mode() -> None:
    assert [*MODES] == [mode.value for mode in Mode]
