"""Charts as SVG, written by hand: bars with whiskers, and lines. No library, no script, text as text.

Colours follow the reader's scheme, light or dark, and never carry a meaning alone: every bar and every
line says its name and its figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH = 760
LABEL_WIDTH = 280
"""Room for the names of bars."""
FIGURE_WIDTH = 130
"""Room for the figures after them."""
ROW_HEIGHT = 26
BAR_HEIGHT = 16
TOP = 52
"""Room for the title and what the axis means."""
BOTTOM = 16
PLOT_HEIGHT = 220
"""Of lines."""
CHAR_WIDTH = 6.4
"""Of the font at its size, about."""
DASHES = ("none", "7 4", "2 3")
"""Tell lines apart; the same stroke stands before a line's name."""

_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2937 }
.title { font-size: 14px; font-weight: 600 }
.quiet { fill: #6b7280 }
.ground { fill: #ffffff }
.ours { fill: #2563eb; stroke: #2563eb }
.other { fill: #9ca3af; stroke: #9ca3af }
.whisker, .axis { stroke: #1f2937; fill: none }
.grid { stroke: #e5e7eb; fill: none }
polyline { fill: none !important; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e5e7eb } .quiet { fill: #9ca3af } .ground { fill: #0d1117 }
  .ours { fill: #60a5fa; stroke: #60a5fa } .other { fill: #6b7280; stroke: #6b7280 }
  .whisker, .axis { stroke: #e5e7eb } .grid { stroke: #374151 }
}
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure with least and most."""

    label: str
    value: float
    low: float
    high: float
    is_ours: bool = True


@dataclass(frozen=True, slots=True)
class Line:
    """Figures over sizes, in order of size."""

    label: str
    points: Sequence[tuple[float, float]]
    is_ours: bool = True


def bars(title: str, unit: str, given: Sequence[Bar]) -> str:
    """Bars from 0 on, one below the other, each with a whisker from its least to its most."""
    most = max((bar.high for bar in given), default=0) or 1
    scale = (WIDTH - LABEL_WIDTH - FIGURE_WIDTH) / most
    parts: list[str] = []
    for place, bar in enumerate(given):
        top = TOP + place * ROW_HEIGHT
        middle, end = top + BAR_HEIGHT / 2, LABEL_WIDTH + bar.value * scale
        low, high = LABEL_WIDTH + bar.low * scale, LABEL_WIDTH + bar.high * scale
        kind = "ours" if bar.is_ours else "other"
        parts += [
            _text(LABEL_WIDTH - 8, middle + 4, _short(bar.label, LABEL_WIDTH), anchor="end"),
            f'<rect class="{kind}" x="{LABEL_WIDTH}" y="{top}" width="{end - LABEL_WIDTH:.1f}"'
            f' height="{BAR_HEIGHT}" rx="2"/>',
            f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8'
            f'M{high:.1f} {middle - 4}v8"/>',
            _text(max(end, high) + 8, middle + 4, figure(bar.value)),
        ]
    return _svg(title, unit, TOP + len(given) * ROW_HEIGHT + BOTTOM, parts)


def lines(title: str, unit: str, given: Sequence[Line], *, over: str) -> str:
    """Lines from 0 on, over sizes that grow by factors; what they are over is named below."""
    sizes = sorted({x for line in given for x, _ in line.points})
    most = max((y for line in given for _, y in line.points), default=0) or 1
    right, bottom = WIDTH - LABEL_WIDTH, TOP + PLOT_HEIGHT

    def across(x: float) -> float:
        least, span = math.log(sizes[0]), math.log(sizes[-1] / sizes[0]) or 1
        return 60 + (right - 80) * (math.log(x) - least) / span

    def up(y: float) -> float:
        return bottom - PLOT_HEIGHT * y / (most * 1.05)

    parts = [f'<path class="axis" d="M60 {TOP}V{bottom}H{right - 10}"/>']
    for share in (0.5, 1.0):
        y = up(most * share)
        parts += [
            f'<path class="grid" d="M60 {y:.1f}H{right - 10}"/>',
            _text(54, y + 4, figure(most * share), anchor="end", quiet=True),
        ]
    parts += [_text(across(x), bottom + 16, f"{x:,.0f}", anchor="middle", quiet=True) for x in sizes]
    parts.append(_text((60 + right) / 2, bottom + 34, over, anchor="middle", quiet=True))
    taken: list[float] = []
    for place, line in enumerate(given):
        kind = "ours" if line.is_ours else "other"
        dashes = f' stroke-dasharray="{DASHES[place % len(DASHES)]}"'
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline class="{kind}" points="{path}"{dashes}/>')
        parts += [
            f'<circle class="{kind}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="3"/>' for x, y in line.points
        ]
        last = _free(up(line.points[-1][1]), taken)
        taken.append(last)
        parts.append(
            f'<polyline class="{kind}" points="{right},{last:.1f} {right + 22},{last:.1f}"{dashes}/>'
        )
        parts.append(_text(right + 28, last + 4, f"{line.label}: {figure(line.points[-1][1])}"))
    return _svg(title, unit, bottom + 44, parts)


def figure(value: float) -> str:
    """A figure with as many digits as a chart needs."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _free(y: float, taken: Sequence[float]) -> float:
    """The place nearest below where no other label is."""
    while any(abs(y - other) < 14 for other in taken):
        y += 14
    return y


def _short(text: str, width: float) -> str:
    room = int((width - 12) / CHAR_WIDTH)
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _text(x: float, y: float, text: str, *, anchor: str = "start", quiet: bool = False) -> str:
    kind = ' class="quiet"' if quiet else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, unit: str, height: float, parts: Sequence[str]) -> str:
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}"'
            f' height="{height:.0f}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{height:.0f}"/>',
            f'<text class="title" x="12" y="22">{escape(title)}</text>',
            _text(12, 40, unit, quiet=True),
            *parts,
            "</svg>",
            "",
        )
    )
