"""Tables for people, and that what stands in them cannot leave its cell."""

from __future__ import annotations

from router.tables import status_tables
from tests.router.test_screen import MEMBER, ROUTE, WORKER

EVIL = "\x1b]0;owned\x07\x1b[2J\nFAKE  ROW"
CLUSTER = {
    "trust": "blind",
    "reason": EVIL,
    "version": 1,
    "age_seconds": 1.0,
    "dns": [{"name": EVIL, "outcome": "found", "stale": False}],
    "members": [{**MEMBER, "name": EVIL, "reason": EVIL}],
}


def test_reasons_and_names_of_others_stay_in_their_cells() -> None:
    documents = {"clusters": {"main": CLUSTER}, "routes": [ROUTE], "workers": [WORKER]}
    lines = status_tables(documents).split("\n")
    assert all(line.isprintable() for line in lines)
    assert len(lines) == 10
    assert sum("FAKE  ROW" in line for line in lines) == 3
