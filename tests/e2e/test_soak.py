"""The soak for some seconds, as a smoke test: each kind of step that is quick, once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import uvloop

from bench.demo.stage import arrange
from bench.sandbox.sandbox import Sandbox
from bench.soak import __main__ as command
from bench.soak import findings
from bench.soak.clients import KINDS
from bench.soak.course import perform
from bench.soak.record import Plan
from bench.soak.steps import Kind

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]
SECONDS = 15.0  # under load
QUICK = (Kind.SWITCH, Kind.RELOAD)
"""What takes no member away. Three upgrades come at their times."""


def test_some_seconds_of_it(group: Sandbox, tmp_path: Path) -> None:
    stage = arrange(group, tmp_path)
    said: list[str] = []
    try:
        record = uvloop.run(perform(stage, Plan(SECONDS, 1, QUICK), said.append))
    finally:
        stage.children.end()
    text = findings.terminal(record)
    print(text)
    assert [one for one in findings.findings(record) if not one.holds] == [], text
    done = {one.words.split()[0] for one in record.steps}
    assert {"upgrade"} < done <= {"switch", "reload", "upgrade"}
    assert len(said) == len(record.steps) + 1
    assert record.visits.keys() == KINDS.keys()
    assert all(visits.greeted for visits in record.visits.values())
    assert {one.process for one in record.samples} > {"main 1", "worker 1", "worker 2"}
    command.save(record, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"soak.json", "soak.txt", "soak.svg"}
    assert json.loads((tmp_path / "out" / "soak.json").read_text())["plan"]["seed"] == 1
