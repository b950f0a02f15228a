"""The rounds as a picture: a dot and its interval for each variant in each case, as SVG text. Pure.

By hand, since it is a few lines, and a library for it would be the largest that this project has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bench.speed.cases import BOOTSTRAPPED, DIRECT, HAPROXY, OURS, OURS_TWICE, ROUTER, Round
from bench.speed.intervals import Interval
from bench.speed.summary import Line, cost_beside, lines, names_of

# Told apart by those who do not see red from green too (Okabe and Ito's), and on white as on black.
COLOURS = {OURS: "#0072b2", OURS_TWICE: "#56b4e9", ROUTER: "#d55e00", HAPROXY: "#009e73", BOOTSTRAPPED: "#cc79a7"}
WIDTH, LEFT, RIGHT, ROW, GAP, TOP = 860, 230, 40, 16, 14, 64  # pixels
GREY = "#888888"
CPU_BOUND = 0.75  # the target


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure over all cases, and a line at `bound`."""

    title: str
    bound: float
    values: dict[tuple[str, str], Interval]


def draw(rounds: Sequence[Round]) -> str:
    """Return the picture: throughput as a share of direct, and processor time per query beside MySQL Router's."""
    cases = names_of(rounds)
    found = [line for line in lines(rounds) if line.variant != DIRECT]
    panels = (
        Panel("throughput, share of direct (more is better)", 1.0, _shares(found)),
        Panel("proxy CPU per query beside MySQL Router's (less is better)", CPU_BOUND, _costs(rounds, found)),
    )
    body: list[str] = []
    top = TOP
    for panel in panels:
        if not panel.values:
            continue
        text, top = _panel(panel, cases, top)
        body += text
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
            ' font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>',
            *_legend(),
            *body,
            "</svg>",
            "",
        ]
    )


def _shares(found: Sequence[Line]) -> dict[tuple[str, str], Interval]:
    return {(line.case, line.variant): line.of_direct for line in found if line.of_direct}


def _costs(rounds: Sequence[Round], found: Sequence[Line]) -> dict[tuple[str, str], Interval]:
    costs = {(line.case, line.variant): cost_beside(rounds, line.case, line.variant, ROUTER) for line in found}
    return {key: cost for key, cost in costs.items() if cost}


def _legend() -> list[str]:
    text = []
    for number, (variant, colour) in enumerate(COLOURS.items()):
        left = LEFT + number * 122
        text.append(f'<circle cx="{left}" cy="20" r="5" fill="{colour}"/>')
        text.append(f'<text x="{left + 10}" y="24">{escape(variant)}</text>')
    return text


def _panel(panel: Panel, cases: Sequence[str], top: int) -> tuple[list[str], int]:
    # An interval that is wider than its mean is cut off, or it would press all others together.
    most = _round_up(max(panel.bound, *(min(one.high, 2 * one.mean) for one in panel.values.values())))
    scale = (WIDTH - LEFT - RIGHT) / most
    text = [f'<text x="{LEFT}" y="{top - 12}" font-weight="bold">{escape(panel.title)}</text>']
    bottom = top + sum(_height(panel, case) for case in cases)
    for step in range(6):
        value = most * step / 5
        x = LEFT + value * scale
        text.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="{GREY}" stroke-opacity="0.3"/>')
        text.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>')
    x = LEFT + panel.bound * scale
    text.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="{GREY}" stroke-width="2"/>')
    y = top
    for case in cases:
        text.append(f'<text x="{LEFT - 10}" y="{y + ROW}" text-anchor="end">{escape(case)}</text>')
        for number, variant in enumerate(_present(panel, case)):
            text += _mark(panel.values[case, variant], COLOURS[variant], y + ROW * number + ROW // 2 + 4, scale, most)
        y += _height(panel, case)
    return text, bottom + TOP


def _mark(found: Interval, colour: str, y: int, scale: float, most: float) -> list[str]:
    x = LEFT + min(found.mean, most) * scale
    text = [f'<circle cx="{x:.1f}" cy="{y}" r="5" fill="{colour}"/>']
    if found.known:
        low, high = (LEFT + max(0.0, min(end, most)) * scale for end in (found.low, found.high))
        text.append(f'<line x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}" stroke="{colour}" stroke-width="2"/>')
    return text


def _present(panel: Panel, case: str) -> list[str]:
    return [variant for variant in COLOURS if (case, variant) in panel.values]


def _height(panel: Panel, case: str) -> int:
    return ROW * max(1, len(_present(panel, case))) + GAP


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, … that is not below."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))
