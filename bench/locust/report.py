"""The page that a run of Locust leaves: the figures, and plots over time. Pure: from figures to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

#: What was seen when: seconds since the run began, and a value.
Points = tuple[tuple[float, float], ...]
# Pixels; room for the numbers of the axes on the left and below.
WIDTH, HEIGHT, LEFT, BELOW, ABOVE = 860, 220, 70, 24, 10
TICKS = 4
COLOURS = ("#0b7285", "#e8590c", "#5f3dc4", "#2b8a3e", "#c2255c", "#495057")
STYLE = (
    ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:900px}"
    "body{margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #8886}"
    "td:first-child,th:first-child{text-align:left}svg{width:100%;height:auto}text{fill:currentColor;font-size:11px}"
)


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines over time, by what they are called in the legend."""

    title: str
    lines: Mapping[str, Points]


@dataclass(frozen=True, slots=True)
class Staleness:
    """Reads after writes of one kind of user, and how many of them did not see the row."""

    kind: str
    reads: int
    stale: int

    @property
    def rate(self) -> float:
        """The share of stale ones, 0 to 1."""
        return self.stale / self.reads if self.reads else 0.0


def staleness(figures: Mapping[str, Any]) -> tuple[Staleness, ...]:
    """What `users` has counted, from the document that it writes."""
    return tuple(
        Staleness(kind, reads, figures["stale"].get(kind, 0)) for kind, reads in sorted(figures["reads"].items())
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all is not above (nearest rank); 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def summary_lines(figures: Mapping[str, Any]) -> list[str]:
    """The figures in lines for people."""
    lines = [f"stale reads ({one.kind}): {one.stale} of {one.reads}, {one.rate:.2%}" for one in staleness(figures)]
    late = figures["late"]
    if late:
        spread = f"median {percentile(late, 0.5):.1f} ms, p99 {percentile(late, 0.99):.1f} ms"
        lines.append(f"a stale row was there after: {spread}, {max(late):.1f} ms at most")
    lines += [
        f"{one['name']}: {one['requests']} requests, {one['a_second']:.0f} a second, median {one['median']:.0f} ms, "
        f"p99 {one['p99']:.0f} ms, {one['failures']} failed"
        for one in figures["requests"]
    ]
    lines += [f"failed: {one['name']}: {one['count']} times {one['error']}" for one in figures["errors"]]
    return lines


def page(figures: Mapping[str, Any], plots: Sequence[Plot], events: Mapping[str, float], link: str) -> str:
    """The whole page, by itself: no script, and nothing that is fetched.

    Args:
        figures: what `users` has written.
        plots: what Prometheus has seen.
        events: what happened during the run, and when (seconds since it began).
        link: where Locust's own report is.
    """
    rows = "".join(
        f"<tr><td>{escape(one['name'])}</td><td>{one['requests']}</td><td>{one['a_second']:.0f}</td>"
        f"<td>{one['median']:.0f}</td><td>{one['p95']:.0f}</td><td>{one['p99']:.0f}</td><td>{one['failures']}</td></tr>"
        for one in figures["requests"]
    )
    stale = "".join(
        f"<tr><td>{escape(one.kind)}</td><td>{one.reads}</td><td>{one.stale}</td><td>{one.rate:.2%}</td></tr>"
        for one in staleness(figures)
    )
    late = figures["late"]
    after = "".join(f"<td>{percentile(late, share):.1f}</td>" for share in (0.5, 0.95, 0.99, 1.0))
    happened = "".join(f"<li>{at:.1f} s: {escape(name)}</li>" for name, at in events.items())
    errors = "".join(
        f"<li>{escape(one['name'])}: {one['count']} × {escape(one['error'])}</li>" for one in figures["errors"]
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Fairlead under Locust</title>'
        f"<style>{STYLE}</style>"
        "<h1>Fairlead under Locust</h1>"
        "<h2>Stale reads</h2><p>A row that was written through the read-write port and was not there when it was read "
        "at once through the read-only port.</p>"
        f"<table><tr><th>user</th><th>reads</th><th>stale</th><th>rate</th></tr>{stale}</table>"
        f"<p>Milliseconds until a stale row was there ({len(late)} of them):</p>"
        f"<table><tr><th>median</th><th>p95</th><th>p99</th><th>longest</th></tr><tr>{after}</tr></table>"
        "<h2>Requests</h2><table><tr><th>request</th><th>number</th><th>a second</th><th>median ms</th><th>p95 ms</th>"
        f"<th>p99 ms</th><th>failed</th></tr>{rows}</table><ul>{errors}</ul>"
        f'<p><a href="{escape(link)}">Locust\'s own report</a></p>'
        + (f"<h2>What happened</h2><ul>{happened}</ul>" if happened else "")
        + "<h2>The router, as Prometheus saw it</h2>"
        + "".join(f"<h3>{escape(one.title)}</h3>{draw(one, events)}" for one in plots)
        + "</html>\n"
    )


def draw(plot: Plot, events: Mapping[str, float]) -> str:
    """A plot as SVG, with a line down for each event."""
    points = [point for line in plot.lines.values() for point in line]
    if not points:
        return "<p>Nothing was seen.</p>"
    longest = max(at for at, _ in points) or 1.0
    highest = max(value for _, value in points) or 1.0
    right, low = WIDTH - LEFT, HEIGHT - BELOW - ABOVE

    def across(at: float) -> float:
        return LEFT + at / longest * (right - 10)

    def up(value: float) -> float:
        return ABOVE + low - value / highest * low

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 18 * len(plot.lines)}" role="img">']
    for tick in range(TICKS + 1):
        value, at = highest * tick / TICKS, longest * tick / TICKS
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH}" y1="{up(value):.1f}" y2="{up(value):.1f}" stroke="#8884"/>'
            f'<text x="{LEFT - 6}" y="{up(value) + 4:.1f}" text-anchor="end">{value:,.4g}</text>'
            f'<text x="{across(at):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{at:.0f} s</text>'
        )
    parts += [
        f'<line x1="{across(at):.1f}" x2="{across(at):.1f}" y1="{ABOVE}" y2="{ABOVE + low}" stroke="#888" '
        'stroke-dasharray="4"/>'
        for at in events.values()
        if at <= longest
    ]
    for number, (name, line) in enumerate(plot.lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        drawn = " ".join(f"{across(at):.1f},{up(value):.1f}" for at, value in line)
        y = HEIGHT + 18 * number + 12
        parts.append(
            f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
            f'<rect x="{LEFT}" y="{y - 8}" width="14" height="4" fill="{colour}"/>'
            f'<text x="{LEFT + 20}" y="{y}">{escape(name)}</text>'
        )
    return "".join((*parts, "</svg>"))
