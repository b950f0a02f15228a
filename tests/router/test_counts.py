"""Sessions counted across processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator

import pytest

from router.counts import COLUMNS, ROWS, SIZE, WORD, LocalCounts, Place, Rows, SharedCounts, SharedMemory


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    made = SharedMemory.make()
    made.use(7)
    yield made
    made.close()


def _count(fd: int, column: int, times: int) -> None:
    memory = SharedMemory(os.dup(fd))
    counts = SharedCounts(memory, column, {"rw": 1, "ro": 2})
    for _ in range(times):
        counts.enter("rw")
        counts.enter("ro")
        counts.leave("ro")
    memory.close()


def test_processes_that_count_at_once_lose_nothing(memory: SharedMemory) -> None:
    fork = multiprocessing.get_context("fork")
    memory.use(COLUMNS - 1)
    children = [fork.Process(target=_count, args=(memory.fd, column, 20_000)) for column in (0, 1, COLUMNS - 1)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    mine = SharedCounts(memory, 7, {"rw": 1, "ro": 2})
    assert (mine.sessions("rw"), mine.sessions("ro"), mine.total()) == (60_000, 0, 60_000)
    memory.clear(1)
    assert (mine.sessions("rw"), mine.total()) == (40_000, 40_000), "of a worker that is gone nothing counts"


def test_entering_before_comparing_never_lets_two_in(memory: SharedMemory) -> None:
    one, other = (SharedCounts(memory, column, {"rw": 1}) for column in (0, 1))
    one.enter("rw")
    other.enter("rw")
    assert [counts.sessions("rw") <= 1 for counts in (one, other)] == [False, False]
    other.leave("rw")
    assert one.sessions("rw") == 1


def test_a_route_keeps_its_row_while_it_has_sessions(memory: SharedMemory) -> None:
    rows = Rows(memory, {})
    row = rows.row_of("rw")
    counts = SharedCounts(memory, 0, rows.rows)
    counts.enter("rw")
    rows.forget_all_but({})
    assert rows.row_of("ro") != row
    counts.leave("rw")
    rows.forget_all_but({"ro": None})
    assert rows.rows.keys() == {"ro"}
    assert rows.row_of("again") == row, "a row that is free is used again"


def test_there_is_an_end_to_rows(memory: SharedMemory) -> None:
    rows = Rows(memory, {f"r{number}": number for number in range(1, ROWS)})
    with pytest.raises(ValueError, match="more than 4095 routes"):
        rows.row_of("one more")


def test_one_process_counts_the_same() -> None:
    counts = LocalCounts()
    counts.enter("rw")
    counts.enter("ro")
    counts.leave("rw")
    assert (counts.sessions("rw"), counts.sessions("ro"), counts.sessions("x"), counts.total()) == (0, 1, 0, 1)


def test_a_column_counts_from_when_the_main_process_says_so(memory: SharedMemory) -> None:
    counts = SharedCounts(memory, 8, {"rw": 1})
    counts.enter("rw")
    assert counts.total() == 0
    memory.use(8)
    memory.use(3)
    assert (counts.total(), len(memory.row(0))) == (1, 9), "once used, for good"


def test_the_memory_of_a_version_that_had_less_of_it_serves_on() -> None:
    fd = os.memfd_create("test")
    os.ftruncate(fd, WORD * COLUMNS * ROWS)
    os.pwrite(fd, (3).to_bytes(WORD, "little"), WORD * COLUMNS)
    memory = SharedMemory(fd)
    memory.use(0)
    assert (memory.sum(1), os.fstat(fd).st_size) == (3, SIZE)
    memory.close()


def test_who_accepts_is_known_while_it_says_so(memory: SharedMemory) -> None:
    places = [Place(memory, column) for column in range(3)]
    for column, sessions in enumerate((5, 6, 7)):
        counts = SharedCounts(memory, column, {"rw": 1})
        for _ in range(sessions):
            counts.enter("rw")
        places[column].tell(100.0 + column)
    assert places[0].own() == 5
    assert places[0].others(100.5) == [6, 7]
    assert places[2].others(100.5) == [6]
    places[1].leave()
    assert places[0].others(100.5) == [7]
    memory.clear(2)
    assert places[0].others(100.5) == [], "one that is gone does not accept"
