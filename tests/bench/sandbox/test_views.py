from __future__ import annotations

from dataclasses import replace

import pytest

from bench.sandbox.views import Seen, View, all_online, count_transactions, judge, most_advanced, primary_of


def view(uuid: str, view_id: str, **states: str) -> View:
    """A view such as `view("a", "7:3", a="ONLINE*", b="ONLINE")`; the star marks the primary."""
    seen = tuple(
        Seen(name, state.rstrip("*"), "PRIMARY" if state.endswith("*") else "SECONDARY")
        for name, state in states.items()
    )
    return View(uuid, view_id, seen)


def test_members_of_one_view_are_what_it_says() -> None:
    rows = {"a": "ONLINE*", "b": "ONLINE", "c": "RECOVERING"}
    standings = judge({name: view(name, "7:3", **rows) for name in "abc"})
    assert [standings[name].state for name in "abc"] == ["ONLINE", "ONLINE", "RECOVERING"]
    assert primary_of(standings) == "a"
    assert standings["c"].role == ""
    assert not all_online("abc", standings)


def test_a_cut_off_primary_is_not_believed() -> None:
    standings = judge(
        {
            "a": view("a", "7:3", a="ONLINE*", b="UNREACHABLE", c="UNREACHABLE"),
            "b": view("b", "7:4", b="ONLINE*", c="ONLINE"),
            "c": view("c", "7:4", b="ONLINE*", c="ONLINE"),
        }
    )
    assert standings["a"].state == "UNREACHABLE"
    assert primary_of(standings) == "b"


def test_a_member_is_not_online_before_it_knows_so_itself() -> None:
    others = {"a": "ONLINE*", "b": "ONLINE", "c": "ONLINE"}
    standings = judge(
        {
            "a": view("a", "7:3", **others),
            "b": view("b", "7:3", **others),
            "c": view("c", "7:3", **others | {"c": "RECOVERING"}),
        }
    )
    assert standings["c"].state == "RECOVERING"
    assert not all_online("abc", standings)


def test_an_expelled_member_with_the_view_from_before_does_not_rule() -> None:
    # It reaches the others again and shows all three ONLINE; theirs is the later view.
    standings = judge(
        {
            "a": view("a", "7:3", a="ONLINE*", b="ONLINE", c="ONLINE"),
            "b": view("b", "7:4", b="ONLINE*", c="ONLINE"),
            "c": view("c", "7:4", b="ONLINE*", c="ONLINE"),
        }
    )
    assert standings["a"].state == "UNREACHABLE"
    assert primary_of(standings) == "b"


def test_a_group_of_one_does_not_overrule_a_group_of_two() -> None:
    standings = judge(
        {
            "a": view("a", "9:8", a="ONLINE*"),
            "b": view("b", "7:4", b="ONLINE*", c="ONLINE"),
            "c": view("c", "7:4", b="ONLINE*", c="ONLINE"),
        }
    )
    assert standings["a"].state == "UNREACHABLE"


def test_a_restarted_member_is_not_online_because_the_others_still_list_it() -> None:
    rows = {"a": "ONLINE*", "b": "ONLINE"}
    standings = judge({"a": view("a", "7:3", **rows), "b": view("b", "", b="OFFLINE")})
    assert standings["b"].state == "OFFLINE"


def test_without_a_majority_nobody_is_online() -> None:
    standings = judge({"a": view("a", "7:3", a="ONLINE*", b="UNREACHABLE"), "b": view("b", "")})
    assert (standings["a"].state, standings["b"].state) == ("UNREACHABLE", "OFFLINE")
    assert primary_of(standings) is None


def test_several_primaries_are_not_one() -> None:
    rows = {"a": "ONLINE*", "b": "ONLINE*"}
    assert primary_of(judge({name: view(name, "7:3", **rows) for name in "ab"})) is None


@pytest.mark.parametrize(
    ("gtid_set", "count"),
    [
        ("", 0),
        ("3e11fa47-71ca-11e1-9e33-c80aa9429562:5", 1),
        ("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5", 5),
        ("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:11-18,\n4e11fa47-71ca-11e1-9e33-c80aa9429562:7", 14),
        ("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-3:tag_1:1-2", 5),
    ],
)
def test_transactions_are_counted(gtid_set: str, count: int) -> None:
    assert count_transactions(gtid_set) == count


def test_the_group_starts_from_whoever_has_most_also_what_it_has_not_applied_yet() -> None:
    uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
    assert most_advanced({"a": [f"{uuid}:1-5", ""], "b": [f"{uuid}:1-4", f"{uuid}:5-6"]}) == "b"
    assert most_advanced({"b": ["", ""], "a": ["", ""]}) == "a"


@pytest.mark.parametrize(
    ("state", "rejoining", "stuck"),
    [
        ("OFFLINE", False, True),
        ("ERROR", True, True),
        # It is leaving the group still, and is not to be disturbed.
        ("ERROR", False, False),
        ("RECOVERING", False, False),
        ("ONLINE*", False, False),
    ],
)
def test_who_needs_to_be_told_to_join(state: str, rejoining: bool, stuck: bool) -> None:
    assert replace(view("a", "7:3", a=state), rejoining=rejoining).is_stuck is stuck
