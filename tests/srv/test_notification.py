"""What a secondary is told, and when; and the messages."""

from __future__ import annotations

import itertools

import dns.flags
import dns.message
import dns.opcode
import pytest

from srv.notification import FIRST_RETRY, GAP, TRIES, Agenda, read_acknowledgement, write_notify
from srv.zone import Zone


@pytest.fixture
def agenda() -> Agenda:
    return Agenda(itertools.count(1).__next__)


def sent(agenda: Agenda, now: float) -> list[str]:
    return [notice.origin for notice in agenda.due(now, 100)]


def test_tried_again_later_and_later_until_given_up(agenda: Agenda) -> None:
    agenda.owe("a", 0.0)
    at: list[float] = []
    while (next_at := agenda.next_at()) is not None:
        at += [next_at] * len(sent(agenda, next_at))
    assert at == [0.0, *itertools.accumulate(FIRST_RETRY * 2**number for number in range(TRIES - 1))]
    assert agenda.given_up == ["a"]


def test_an_acknowledgement_settles_it(agenda: Agenda) -> None:
    agenda.owe("a", 0.0)
    (notice,) = agenda.due(0.0, 100)
    (again,) = agenda.due(FIRST_RETRY, 100)
    assert notice.id == again.id  # so that a late answer to the first counts
    assert agenda.settle(notice.id) == "a"
    assert agenda.settle(notice.id) is None
    assert agenda.next_at() is None


def test_changes_that_come_fast_are_told_together(agenda: Agenda) -> None:
    for number in range(100):
        agenda.owe("a", number * GAP / 1000)
        sent(agenda, number * GAP / 1000)
    times = [now / 1000 for now in range(100, 1000) if sent(agenda, now / 1000)]
    assert times[0] == pytest.approx(GAP, abs=0.002)
    assert len(times) == 2  # the change behind the first, and that one's first retry


def test_an_answer_to_what_is_superseded_does_not_count(agenda: Agenda) -> None:
    agenda.owe("a", 0.0)
    (first,) = agenda.due(0.0, 100)
    agenda.owe("a", 0.01)
    assert agenda.settle(first.id) is None
    assert sent(agenda, 0.02) == []
    assert sent(agenda, GAP) == ["a"]


def test_the_gap_is_kept_after_an_answer_too(agenda: Agenda) -> None:
    agenda.owe("a", 0.0)
    (first,) = agenda.due(0.0, 100)
    agenda.settle(first.id)
    agenda.owe("a", 0.01)
    assert agenda.next_at() == pytest.approx(GAP)


def test_at_most_so_many_at_once_and_nobody_is_left_out(agenda: Agenda) -> None:
    for number in range(25):
        agenda.owe(str(number), 0.0)
    batches = [agenda.due(0.0, 10) for _ in range(4)]
    assert [len(batch) for batch in batches] == [10, 10, 5, 0]
    assert len({notice.origin for batch in batches for notice in batch}) == 25


def test_a_zone_that_is_gone_is_not_told_of(agenda: Agenda) -> None:
    agenda.owe("a", 0.0)
    agenda.drop("a")
    agenda.drop("b")
    assert sent(agenda, 1.0) == []
    assert agenda.next_at() is None


def test_the_message_is_a_notify_with_the_soa(zone: Zone) -> None:
    message = dns.message.from_wire(write_notify(zone, 0x1234))
    assert (message.id, message.opcode()) == (0x1234, dns.opcode.NOTIFY)
    assert message.flags & dns.flags.AA
    assert not message.flags & dns.flags.QR
    assert message.question[0].to_text() == f"{zone.origin}. IN SOA"
    assert message.answer[0][0].serial == zone.serial


def test_acknowledgements() -> None:
    header = read_acknowledgement(b"\x12\x34\xa0\x05" + bytes(8))
    assert header is not None
    assert (header.id, header.flags & 15) == (0x1234, 5)
    for wire in (b"", b"\x12\x34\x20\x00" + bytes(8), b"\x12\x34\x80\x00" + bytes(8)):
        assert read_acknowledgement(wire) is None
