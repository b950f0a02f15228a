"""The page of a run of Locust says what was counted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.locust.report import Plot, Staleness, draw, page, percentile, staleness, summary_lines

LOCK = Path(__file__).parents[3] / "requirements-locust.lock"
FIGURES: dict[str, Any] = {
    "requests": [
        {
            "name": "MySQL insert",
            "requests": 1200,
            "failures": 2,
            "a_second": 40.2,
            "median": 3.0,
            "p95": 8.0,
            "p99": 21.0,
        }
    ],
    "errors": [{"name": "insert", "error": "(2013, '<lost> & gone')", "count": 2}],
    "reads": {"cqrs": 400, "application": 100, "nobody": 0},
    "stale": {"cqrs": 100, "application": 0},
    "late": [4.0, 1.0, 2.0, 3.0],
}


def test_the_rate_of_stale_reads() -> None:
    assert staleness(FIGURES) == (
        Staleness("application", 100, 0),
        Staleness("cqrs", 400, 100),
        Staleness("nobody", 0, 0),
    )
    assert [one.rate for one in staleness(FIGURES)] == [0.0, 0.25, 0.0]


def test_the_lines_have_the_figures() -> None:
    lines = summary_lines(FIGURES)
    assert "stale reads (cqrs): 100 of 400, 25.00%" in lines
    assert "a stale row was there after: median 3.0 ms, p99 4.0 ms, 4.0 ms at most" in lines
    assert lines[-1] == "failed: insert: 2 times (2013, '<lost> & gone')"


def test_the_page_has_the_figures_and_fetches_nothing() -> None:
    plot = Plot("Sessions", {"classic_rw": ((0.0, 1.0), (1.0, 4.0))})
    text = page(FIGURES, [plot], {"switchover": 0.5}, "locust.html")
    assert "<td>cqrs</td><td>400</td><td>100</td><td>25.00%</td>" in text
    assert "&lt;lost&gt; &amp; gone" in text
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["locust.html"]
    assert "<script" not in text


def test_a_plot_is_to_scale() -> None:
    plot = Plot("x", {"a": ((0.0, 0.0), (10.0, 8.0)), "b": ((5.0, 4.0),)})
    drawing = ElementTree.fromstring(draw(plot, {"e": 5.0}))  # noqa: S314 - our own
    lines = [one.get("points", "") for one in drawing.iter("polyline")]
    [(left, bottom), (right, top)] = [tuple(map(float, pair.split(","))) for pair in lines[0].split()]
    assert (left < right, top < bottom) == (True, True)
    across, up = map(float, lines[1].split(","))
    assert (across, up) == pytest.approx(((left + right) / 2, (top + bottom) / 2))
    [event] = [one for one in drawing.iter("line") if one.get("stroke-dasharray")]
    assert float(event.get("x1", "0")) == pytest.approx(across)


@pytest.mark.parametrize("lines", [{}, {"a": ()}])
def test_nothing_seen_is_said(lines: dict[str, Any]) -> None:
    assert draw(Plot("x", lines), {}) == "<p>Nothing was seen.</p>"


def test_a_flat_line_at_zero_is_drawn() -> None:
    assert "polyline" in draw(Plot("x", {"a": ((0.0, 0.0),)}), {})


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 3.0), (1.0, 4.0)])
def test_percentiles(share: float, value: float) -> None:
    assert percentile(FIGURES["late"], share) == value
    assert percentile([], share) == 0.0


def test_each_package_is_pinned_with_a_hash() -> None:
    entries = re.split(r"\n(?=\S)", LOCK.read_text().strip())
    assert [entry for entry in entries if not re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:", entry, re.DOTALL)] == []
