"""What is told of events: one line each as text or as JSON, and a flood of one event in one line."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import given
from hypothesis import strategies as st

from router import admin, logs
from router.log_lines import Format, fields_of
from router.repeats import WINDOW, Repeats
from tests.router.fakes import until

log = logging.getLogger("fairlead.test")


class Told:
    """What went to standard error."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys, self._text = capsys, ""

    def lines(self) -> list[str]:
        self._text += self._capsys.readouterr().err
        return self._text.splitlines()


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Iterator[Told]:
    level = logging.getLogger().level
    yield Told(capsys)
    logging.basicConfig(level=level, handlers=[], force=True)


def test_text_is_time_level_and_message(told: Told) -> None:
    logs.start("INFO")
    log.info("session %d: cut, client %s", 7, "192.0.2.1:5")
    log.debug("not told")
    [line] = told.lines()
    assert line[4] == "-"
    assert line[10:].partition("Z ")[2] == "INFO    session 7: cut, client 192.0.2.1:5"


def test_json_has_what_the_event_names(told: Told) -> None:
    logs.start("INFO", Format.JSON)
    log.info("session %d: cut, client %s, route %s: %s", 7, "192.0.2.1:5", "rw", 'a "reason"\nof two lines')
    [line] = told.lines()
    said = json.loads(line)
    assert said.pop("time").endswith("Z")
    assert said == {
        "level": "INFO",
        "logger": "fairlead.test",
        "event": "session %d: cut, client %s, route %s: %s",
        "message": 'session 7: cut, client 192.0.2.1:5, route rw: a "reason"\nof two lines',
        "session": 7,
        "client": "192.0.2.1:5",
        "route": "rw",
    }


def test_an_exception_is_in_its_line(told: Told) -> None:
    logs.start("INFO", Format.JSON)
    try:
        raise ValueError("odd")
    except ValueError:
        log.exception("session %d: ended by a fault", 1)
    [line] = told.lines()
    assert "ValueError: odd" in json.loads(line)["exception"]


@pytest.mark.parametrize(
    ("template", "values", "fields"),
    [
        ("srv-name name=%s kept_for=%.0fs detail=%r", ("a", 1.5, "b"), {"name": "a", "kept_for": 1.5, "detail": "b"}),
        ("%d%% of session %d", (1, 2), {"session": 2}),
        ("message=%s level=%s", ("a", "b"), {}),
        ("member %s is at %s", ("m", "x"), {"member": "m"}),
        ("too few: session %d, %d", (1,), {}),
    ],
)
def test_fields_are_what_stands_behind_their_names(
    template: str, values: tuple[object, ...], fields: dict[str, object]
) -> None:
    assert fields_of(template, values) == fields


FORGED = "/x\n2026-11-20T03:00:00.000Z ERROR   worker 1: died\x1b[2J\u2028\u202e\udcff"


def test_nobody_writes_a_line_of_his_own_into_the_log(told: Told) -> None:
    logs.start("INFO")
    log.warning("admin: POST %s denied", FORGED)
    [line] = told.lines()
    assert line.endswith("WARNING admin: POST /x?2026-11-20T03:00:00.000Z ERROR   worker 1: died?[2J??? denied")
    try:
        raise ValueError(FORGED)
    except ValueError:
        log.exception("a fault")
    first, *trace = told.lines()[1:]
    assert first.endswith("ERROR   a fault")
    assert any("ValueError: /x" in line for line in trace)
    assert all(line.startswith("  ") and line.isprintable() for line in trace)


def test_the_level_that_is_wanted_is_that_of_the_http_listener_too(told: Told) -> None:
    def say() -> None:
        admin.log.warning("admin: POST /x denied")
        admin.library_log.debug("what aiohttp says besides")
        try:
            raise HttpProcessingError(message="odd")
        except HttpProcessingError:
            admin.library_log.debug("Error handling request from %s", "192.0.2.1", exc_info=True)

    logs.start("ERROR")
    say()
    assert told.lines() == []
    logs.start("INFO")
    say()
    assert [line.partition("WARNING ")[2] for line in told.lines()] == [
        "admin: POST /x denied",
        "admin: closed, client 192.0.2.1 sent what is not HTTP: HttpProcessingError",
    ]


def test_json_is_ascii_and_one_line_whatever_it_tells(told: Told) -> None:
    logs.start("INFO", Format.JSON)
    log.warning("member %s", "é\u2028" + FORGED)
    [line] = told.lines()
    assert line.isascii()
    assert json.loads(line)["member"] == "é\u2028" + FORGED


def test_a_flood_is_one_line_more(told: Told) -> None:
    logs.start("INFO", Format.JSON, repeats=3)
    for number in range(50):
        log.info("session %d: cut", number)
    log.warning("another event")
    logging.getLogger().handlers[0].close()
    lines = [json.loads(line) for line in told.lines()]
    assert [line["message"] for line in lines] == [
        *(f"session {number}: cut" for number in range(3)),
        "another event",
        "47 more within 1 s of: session %d: cut",
    ]
    assert (lines[-1]["event"], lines[-1]["repeated"], lines[-1]["level"]) == ("session %d: cut", 47, "INFO")


def test_what_was_held_back_is_told_though_nothing_follows(told: Told) -> None:
    async def scenario() -> None:
        logs.start("INFO", repeats=1)
        for number in range(3):
            log.info("session %d: cut", number)
        await until(lambda: len(told.lines()) == 2, "the rest is told of")

    asyncio.run(scenario())
    assert told.lines()[-1].endswith("2 more within 1 s of: session %d: cut")


def test_what_a_later_window_held_back_is_told_though_nothing_follows(told: Told) -> None:
    async def scenario() -> None:
        logs.start("INFO", repeats=1)
        for _ in range(2):
            log.info("one")
        await asyncio.sleep(WINDOW / 2)  # time is the matter here: the next window ends later
        for _ in range(3):
            log.info("other")
        await until(lambda: len(told.lines()) == 4, "the rest of both is told of")

    asyncio.run(scenario())
    assert [line.partition("INFO    ")[2] for line in told.lines()] == [
        "one",
        "other",
        "1 more within 1 s of: one",
        "2 more within 1 s of: other",
    ]


def test_without_a_limit_all_is_told(told: Told) -> None:
    logs.start("INFO", repeats=0)
    for number in range(500):
        log.info("session %d: cut", number)
    assert len(told.lines()) == 500


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 2 * WINDOW)), max_size=200), st.integers(1, 5))
def test_each_repeat_is_told_or_counted_once(events: list[tuple[str, float]], limit: int) -> None:
    repeats, now, told, held = Repeats[str](limit), 0.0, 0, 0
    for key, passed in events:
        now += passed
        held += sum(count for _, count in repeats.ended(now))
        told += repeats.admit(key, now)
    held += sum(count for _, count in repeats.ended(float("inf")))
    assert told + held == len(events)
    assert not list(repeats.ended(float("inf")))
