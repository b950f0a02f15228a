"""The words of `fairlead resolve`."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from srv.lookup import Answer, Lookup, Outcome, Target
from srv.presentation import WORDS, as_json, as_text, exit_status

NAME = "_mysql._tcp.d.test"
LAST = Target("m1.d.test", 3306, 10, 100, ("192.0.2.1", "2001:db8::1"))
FIRST = Target("m2.d.test", 3307, 0, 100, ())
FOUND = Lookup(NAME, Outcome.ANSWER, Answer((LAST, FIRST), 5), "no address for m2.d.test: empty")


def test_text_in_the_order_of_use() -> None:
    assert as_text(FOUND, random.Random(1)).splitlines() == [
        "_mysql._tcp.d.test: answer, TTL 5 s",
        "  m2.d.test:3307  priority 0 weight 100  (no address)",
        "  m1.d.test:3306  priority 10 weight 100  192.0.2.1 2001:db8::1",
        "  no address for m2.d.test: empty",
    ]


def test_every_other_outcome_has_words() -> None:
    assert set(WORDS) == set(Outcome) - {Outcome.ANSWER}
    text = as_text(Lookup(NAME, Outcome.TIMEOUT, detail="why"), random.Random(1))
    assert text == f"{NAME}: timeout: cannot tell: no answer (why)"


def test_a_negative_ttl_and_where_the_records_stand_are_shown() -> None:
    empty = Lookup(NAME, Outcome.EMPTY, negative_ttl=30)
    assert as_text(empty, random.Random(1)) == f"{NAME}: empty, TTL 30 s: the name exists, with no target"
    elsewhere = replace(FOUND, found_at="_mysql._tcp.other.test")
    assert as_text(elsewhere, random.Random(1)).startswith(
        f"{NAME}: answer, TTL 5 s, found at _mysql._tcp.other.test\n"
    )
    assert [one["found_at"] for one in as_json([FOUND, elsewhere, empty], random.Random(1))] == [
        NAME,
        "_mysql._tcp.other.test",
        None,
    ]


def test_json_has_the_same() -> None:
    document = json.loads(json.dumps(as_json([FOUND, Lookup(NAME, Outcome.EMPTY, None, "", 5)], random.Random(1))))
    assert [target["name"] for target in document[0]["targets"]] == ["m2.d.test", "m1.d.test"]
    assert document[0]["outcome"] == "answer"
    assert (document[1]["outcome"], document[1]["ttl"], document[1]["targets"]) == ("empty", 5, [])


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([Outcome.ANSWER], 0),
        ([Outcome.ANSWER, Outcome.TIMEOUT], 0),
        ([Outcome.EMPTY], 1),
        ([Outcome.NXDOMAIN, Outcome.UNAVAILABLE], 1),
        ([Outcome.NXDOMAIN, Outcome.SERVFAIL], 2),
        ([Outcome.MALFORMED], 2),
    ],
)
def test_exit_status(outcomes: list[Outcome], status: int) -> None:
    assert exit_status(outcomes) == status
