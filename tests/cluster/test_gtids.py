"""GTID sets: the text form both ways, and arithmetic checked against plain sets."""

from __future__ import annotations

import contextlib
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gtids import GtidSet, parse

A, B = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "5c92ea1b-0b1f-11ee-9c5e-0242ac120002"

sources = st.sampled_from([A, B, f"{A}:tag", f"{B}:_t9"])
intervals = st.tuples(st.integers(1, 40), st.integers(0, 10)).map(lambda pair: (pair[0], pair[0] + pair[1]))
parts = st.lists(st.tuples(sources, st.lists(intervals, min_size=1, max_size=5)), max_size=6)


def text_of(pieces: list[tuple[str, list[tuple[int, int]]]]) -> str:
    return ",\n".join(
        f"{source}:" + ":".join(f"{first}-{last}" if last > first else str(first) for first, last in spans)
        for source, spans in pieces
    )


def numbers(gtids: GtidSet) -> set[tuple[str, int]]:
    return {(source, n) for source, spans in gtids.sources for first, last in spans for n in range(first, last + 1)}


@given(parts)
def test_a_set_is_read_as_written_whatever_its_order_and_overlaps(
    pieces: list[tuple[str, list[tuple[int, int]]]],
) -> None:
    found = parse(text_of(pieces).upper())
    assert numbers(found) == {(s, n) for s, spans in pieces for first, last in spans for n in range(first, last + 1)}
    assert found.count == len(numbers(found))
    assert parse(str(found)) == found
    assert parse(text_of(pieces[::-1])) == found, "equal sets have one form"


@given(parts, parts)
def test_subtracting_is_what_it_is_for_sets(
    left: list[tuple[str, list[tuple[int, int]]]], right: list[tuple[str, list[tuple[int, int]]]]
) -> None:
    one, other = parse(text_of(left)), parse(text_of(right))
    assert numbers(one - other) == numbers(one) - numbers(other)
    assert one - other == parse(str(one - other)), "the difference is in normal form"
    assert bool(one - other) == bool(numbers(one) - numbers(other))


@given(st.text(alphabet="0123456789abcdef-:,_ \n", max_size=120) | st.text(max_size=40))
def test_what_is_no_set_is_refused_in_words(text: str) -> None:
    with contextlib.suppress(ValueError):
        found = parse(text)
        assert parse(str(found)) == found


@pytest.mark.parametrize(
    "text", ["x", A, f"{A}:", f"{A}:0", f"{A}:5-3", f"{A}:1-2-3", f"{A}:1:A b:", f"{A}:" + "9" * 20]
)
def test_malformed_sets(text: str) -> None:
    with pytest.raises(ValueError, match="GTID set"):
        parse(text)


def test_what_servers_write() -> None:
    # As MySQL 9.7 shows it: a line for each server, and tags after the plain transactions of theirs.
    found = parse(f"{B}:1-3:5,\n{A}:1-10:backup:1-2:6")
    assert str(found) == f"{A}:1-10,{A}:backup:1-2:6,{B}:1-3:5"
    assert found.count == 17
    assert parse("") == GtidSet()
    assert str(GtidSet()) == ""


def test_without_the_transactions_of_one_server() -> None:
    found = parse(f"{B}:1-3,{A}:1-10:backup:1-2")
    assert str(found.without(A.upper())) == f"{B}:1-3"
    assert found.without(B).count == 12


def test_the_servers_on_which_a_set_was_begun() -> None:
    assert parse(f"{B}:1-3,{A}:1-10:backup:1-2").uuids == (A, B)
    assert parse("").uuids == ()


def test_sets_in_many_pieces_are_not_kept() -> None:
    pieces = ":".join(str(n) for n in range(2, 5000, 2))
    tracemalloc.start()
    try:
        for last in range(5001, 5031):
            parse(f"{A}:{pieces}:{last}")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1 << 20, "bytes, where one such part read takes 300,000"
    assert parse(f"{A}:{pieces}").count == 2499
