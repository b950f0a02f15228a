"""What the soak thinks of what it saw: slopes, accounts, findings and the picture."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from bench.soak import findings, plot
from bench.soak.record import Done, Plan, Record, Sample
from bench.soak.slopes import FEWEST, WARM_UP, fit
from bench.soak.steps import BAG, Kind, draw_steps, upgrades_due
from bench.soak.visits import Account, Visits, account_of, total

MIB = 1 << 20
SVG = "{http://www.w3.org/2000/svg}"


def test_the_same_seed_makes_the_same_trouble_and_every_kind_comes() -> None:
    one, same, other = (list(itertools.islice(draw_steps(seed, 3), 40)) for seed in (7, 7, 8))
    assert one == same
    assert one != other
    assert sorted(step.kind for step in one[: len(BAG)]) == sorted(BAG)
    assert {step.kind for step in one} == set(Kind) - {Kind.UPGRADE}, "which come at their times"
    assert {step.member for step in one} == {0, 1, 2}
    assert all(0 < at < 600 for at in upgrades_due(600))


def test_a_line_is_found_through_noise_and_the_warm_up_is_left_out() -> None:
    rng = random.Random(1)
    points = [(float(at), 3.0 * at + rng.uniform(-1, 1)) for at in range(0, 600, 5)]
    noisy = [(at, figure + (1e6 if at < WARM_UP else 0)) for at, figure in points]
    found = fit(noisy)
    assert found is not None
    assert found.per_second == pytest.approx(3, abs=0.01)
    assert found.growth == pytest.approx(3 * found.seconds, rel=0.01)
    assert 400 < found.seconds < 430


def test_few_samples_say_nothing() -> None:
    assert fit([]) is None
    assert fit([(WARM_UP + 5.0 * n, 1.0) for n in range(FEWEST)]) is None, "the first of them are the warm-up"


def test_every_connection_has_one_fate() -> None:
    visits = Visits(opened=6, greeted=1, left=1)
    visits.failed(2003, "Can't connect to MySQL server on '127.0.0.1' ([Errno 111] Connection refused)")
    visits.failed(2003, "Fairlead: no server for route rw within 9.0 s: no primary")
    visits.failed(1040, "Too many connections")
    assert visits.unsettled == 1
    visits.failed(2013, "Lost connection to MySQL server during query")
    assert (visits.unreachable, visits.refused, visits.lost, visits.unsettled) == (1, 2, 1, 0)


def test_accounts_add_up_and_tell_what_is_missing() -> None:
    document = {
        "accepted_total": 10,
        "joined_total": 6,
        "refused_total": 3,
        "abandoned_total": 1,
        "cut_total": 2,
        "ended_total": {"idle": 5, "silent member": 1},
        "sessions": 3,
        "by_member": {"mysql-0": 2},
    }
    account = account_of(document)
    assert account.unaccounted == 0
    assert replace(account, accepted=11).unaccounted == 1
    assert total([account, account]).accepted == 20
    assert total([]).unaccounted == 0


def sample(at: float, process: str, **figures: int) -> Sample:
    usual = {"resident": 30 * MIB, "proportional": 20 * MIB, "own": 10 * MIB, "descriptors": 12, "threads": 1}
    return Sample(at, process, **{**usual, "tasks": 3, "sessions": 0, "accepted": int(at), **figures})


def sound() -> Record:
    """A run in which everything holds."""
    record = Record(Plan(600, 1, BAG), seconds=600.0, acknowledged=1000, extra=1)
    record.before = [sample(0, "main 1"), sample(0, "worker 1"), sample(0, "worker 2")]
    record.after = [sample(620, "main 2", descriptors=14), sample(620, "worker 3"), sample(620, "worker 4")]
    record.visits = {"writers": Visits(opened=9, greeted=8, refused=1)}
    record.accounts = {"rw": Account(10, 9, 1, 0, 0, 0, 0, 0)}
    record.steps = [Done(10, 20, "kill for 3 s mysql-1"), Done(30, 31, "reload")]
    for at in range(0, 600, 5):
        sessions = 20 + at % 3
        record.samples += [
            sample(at, "main 1", own=20 * MIB + at % 7),
            sample(at, "worker 1", sessions=sessions, descriptors=12 + 2 * sessions),
        ]
    return record


def broken(record: Record) -> list[str]:
    return [one.what for one in findings.findings(record) if not one.holds]


def test_a_sound_run_holds() -> None:
    assert broken(sound()) == []
    text = findings.terminal(sound())
    assert "BROKEN" not in text
    assert "worker 1" in text
    document = json.loads(findings.encode(sound()))
    assert document["missing"] == 0
    assert all(one["holds"] for one in document["findings"])


def leak(process: str, figure: str, each: int) -> Callable[[Record], None]:
    """A process in which a figure grows with every second."""

    def spoil(record: Record) -> None:
        for place, one in enumerate(record.samples):
            if one.process == process:
                grown = getattr(one, figure) + int(each * one.at)
                record.samples[place] = replace(one, **{figure: grown})

    return spoil


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda record: setattr(record, "missing", 1), "acknowledged writes missing"),
        (lambda record: setattr(record, "acknowledged", 0), "writes acknowledged"),
        (lambda record: record.faults.append("Traceback"), "faults"),
        (lambda record: record.visits["writers"].wrong.update(["1 for 2"]), "not what was asked"),
        (lambda record: record.visits.update(X=Visits(unreachable=1, opened=1)), "nobody listened for"),
        (lambda record: record.visits.update(X=Visits(opened=0, lost=1)), "unknown fate"),
        (lambda record: setattr(record, "extra", 0), "opened, and accepted"),
        (lambda record: record.accounts.update(x=Account(0, 0, 0, 0, 0, 1, 0, 0)), "cannot account for"),
        (lambda record: record.accounts.update(x=Account(0, 0, 0, 0, 0, 0, 1, 1)), "sessions left"),
        (
            lambda record: record.after.append(sample(620, "worker 5", descriptors=13)),
            "descriptors of a worker at rest",
        ),
        (lambda record: record.after.append(sample(620, "worker 5", tasks=4)), "tasks of a worker at rest"),
        (lambda record: record.after.append(sample(620, "main 3", threads=9)), "threads of a main at rest"),
        (leak("worker 1", "own", 10_000), "worker 1: growth"),
        (leak("main 1", "own", 10_000), "main 1: growth"),
        (leak("worker 1", "descriptors", 1), "worker 1: descriptors more"),
        (leak("main 1", "threads", 1), "main 1: threads more"),
        (leak("worker 1", "tasks", 1), "worker 1: tasks more"),
    ],
)
def test_each_defect_is_found_and_nothing_else(spoil: Callable[[Record], object], words: str) -> None:
    record = deepcopy(sound())
    spoil(record)
    found = broken(record)
    assert len(found) == 1, found
    assert words in found[0]


def test_the_picture_has_a_line_for_each_process_and_step_in_each_panel() -> None:
    picture = ElementTree.fromstring(plot.draw(sound()))  # noqa: S314 it is ours
    assert len(picture.findall(f"{SVG}polyline")) == 2 * len(plot.PANELS)
    assert sum(one.find(f"{SVG}title") is not None for one in picture.findall(f"{SVG}line")) == 2 * len(plot.PANELS)
    assert plot.draw(Record(Plan(1, 1, BAG))).startswith("<svg"), "also of nothing"
