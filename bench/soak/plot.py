"""A run as a picture: memory, descriptors, tasks and sessions of each process over time, and the steps. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from bench.soak.findings import MIB
from bench.soak.record import Done, Record, Sample, processes_of
from bench.soak.steps import Kind

# Told apart by those who do not see red from green too (Okabe and Ito's); processes beyond these begin anew.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
WIDTH, LEFT, RIGHT, TOP, HEIGHT, GAP = 960, 70, 150, 40, 150, 46  # pixels
GREY, SIGNAL = "#888888", "#0072b2"
TICKS = 6


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure over time."""

    title: str
    figure: Callable[[Sample], float]


PANELS: Sequence[Panel] = (
    Panel("memory that belongs to no file, MiB", lambda one: one.own / MIB),
    Panel("descriptors beside two for each session", lambda one: one.spare_descriptors),
    Panel("tasks", lambda one: one.tasks),
    Panel("sessions", lambda one: one.sessions),
)


def draw(record: Record) -> str:
    """Return the picture as SVG text."""
    height = TOP + len(PANELS) * (HEIGHT + GAP)
    seconds = max([record.seconds, 1.0, *(one.at for one in record.samples)])
    text = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="18">seed {record.plan.seed}: each grey line is a trouble made to the group,'
        " each blue one a reload or an upgrade</text>",
    ]
    for number, panel in enumerate(PANELS):
        text += _panel(record, panel, TOP + number * (HEIGHT + GAP) + 16, seconds)
    return "\n".join([*text, *_legend(record), "</svg>", ""])


def _panel(record: Record, panel: Panel, top: int, seconds: float) -> list[str]:
    most = max([1.0, *(panel.figure(one) for one in record.samples)]) * 1.1
    across, bottom = (WIDTH - LEFT - RIGHT) / seconds, top + HEIGHT
    text = [f'<text x="{LEFT}" y="{top - 6}" font-weight="bold">{escape(panel.title)}</text>']
    for tick in range(TICKS):
        share = tick / (TICKS - 1)
        y, x = bottom - share * HEIGHT, LEFT + share * seconds * across
        text.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="{GREY}" opacity="0.3"/>')
        text.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share * most:.3g}</text>')
        text.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{share * seconds:.0f} s</text>')
    for step in record.steps:
        x = LEFT + step.began * across
        text.append(
            f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="{_colour(step)}" opacity="0.5">'
            f"<title>{escape(step.words)}</title></line>"
        )
    for number, (name, seen) in enumerate(processes_of(record.samples)):
        points = " ".join(
            f"{LEFT + one.at * across:.1f},{bottom - panel.figure(one) / most * HEIGHT:.1f}" for one in seen
        )
        colour = COLOURS[number % len(COLOURS)]
        text.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5">'
            f"<title>{escape(name)}</title></polyline>"
        )
    return text


def _colour(step: Done) -> str:
    return SIGNAL if step.words in (Kind.RELOAD.value, Kind.UPGRADE.value) else GREY


def _legend(record: Record) -> list[str]:
    text = []
    for number, (name, _) in enumerate(processes_of(record.samples)):
        y = TOP + 24 + number * 18
        colour = COLOURS[number % len(COLOURS)]
        text.append(f'<circle cx="{WIDTH - RIGHT + 16}" cy="{y - 4}" r="5" fill="{colour}"/>')
        text.append(f'<text x="{WIDTH - RIGHT + 28}" y="{y}">{escape(name)}</text>')
    return text
