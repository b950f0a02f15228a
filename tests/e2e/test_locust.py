"""`make locust` in short: all that it starts works together, and the report has the rate of stale reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.locust.__main__ import LOCK, Plan, perform
from bench.peers.environments import ensure_environment
from bench.sandbox.errors import SandboxError
from bench.sandbox.sandbox import Sandbox

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(400)]
PLAN = Plan(users=4, seconds=6)


def test_a_short_run_leaves_its_report(group: Sandbox, peers: Path, tmp_path: Path) -> None:
    try:
        ensure_environment("locust", LOCK, "Locust")
    except SandboxError as exc:
        pytest.skip(str(exc))
    output = tmp_path / "report"
    figures = perform(group, PLAN, output, lambda text: None)
    assert figures["errors"] == []
    assert {one["name"] for one in figures["requests"]} >= {
        "MySQL insert",
        "MySQL select",
        "MySQL select at once",
        "GET /get",
    }
    assert all(one["requests"] > 0 for one in figures["requests"])
    assert all(figures["reads"][kind] > 0 for kind in ("cqrs", "application"))
    # At its end a run does not wait for what its users wait for.
    assert 0 <= figures["stale"]["cqrs"] - len(figures["late"]) <= PLAN.users
    page = (output / "report.html").read_text(encoding="utf-8")
    assert f"<td>cqrs</td><td>{figures['reads']['cqrs']}</td>" in page
    assert "classic_ro</text>" in page, "Prometheus has seen the router's sessions"
    assert (output / "locust.html").stat().st_size > 10_000
    assert json.loads((output / "figures.json").read_text()) == figures
    assert "Traceback" not in (output / "application.log").read_text()
