"""Line charts as SVG, which a page can hold inside itself; without any library in the browser."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

Values = npt.NDArray[np.float64]

WIDTH, HEIGHT = 760, 300
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 12, 48
COLORS = 8
"""Number of colors in the style sheet; further lines repeat them, with dashes."""

_DIVERGED = 1e100  # beyond it, a value is as good as infinite
_LOG_FROM = 30.0  # ratio of the highest to the lowest value at which a logarithmic scale shows more


@attrs.frozen(eq=False)
class Line:
    """A line of a chart.

    Attributes:
        name: Its name in the legend.
        x: Ascending numbers.
        y: A number for each; NaN leaves a gap.
        low: The lowest of the values that each ``y`` stands for, None if it is a single one.
        high: The highest of them.
        marked: The ``x`` to mark with a ring.
    """

    name: str
    x: Values
    y: Values
    low: Values | None = None
    high: Values | None = None
    marked: float | None = None


@attrs.frozen
class _Scale:
    """A mapping of values to pixels."""

    low: float
    high: float
    begin: float
    end: float
    is_log: bool = False

    def __call__(self, values: Values) -> Values:
        with np.errstate(invalid="ignore", divide="ignore"):
            low, high, at = (np.log10(v) if self.is_log else v for v in (self.low, self.high, np.asarray(values)))
            share = np.clip((at - low) / (high - low), -1, 2)  # far beyond the frame, which cuts it off
        return np.asarray(self.begin + share * (self.end - self.begin))


def line_chart(lines: Sequence[Line], x_label: str, y_label: str, scale: str = "auto", points: bool = False) -> Markup:
    """Return a chart as an element of a page.

    Colors are those of the classes ``s0`` to ``s7`` in the style sheet. Values for a script that shows them under the
    pointer are in the attribute ``data-lines``.

    Args:
        lines: The lines; infinite values, and those beyond 1e100, are left out.
        x_label: Label of the horizontal axis.
        y_label: Label of the vertical axis.
        scale: Of the vertical axis: ``linear``, ``log``, or ``auto`` for whichever shows more.
        points: Whether to draw a point at each value.
    """
    lines = [_finite(line) for line in lines]
    known = np.concatenate([line.y[~np.isnan(line.y)] for line in lines] or [np.empty(0)])
    if not len(known):
        return Markup('<p class="empty">Nothing recorded yet.</p>')
    positive = bool(known.min() > 1 / _DIVERGED)
    is_log = positive and (scale == "log" or (scale == "auto" and known.max() / known.min() > _LOG_FROM))
    y = _Scale(*_range(known, is_log), HEIGHT - BOTTOM, TOP, is_log)
    last = max(float(line.x[-1]) for line in lines if len(line.x))
    x = _Scale(0.0, max(last, 1.0) * 1.02, LEFT, WIDTH - RIGHT)
    parts = [_grid(x, y), *(_draw(number, line, x, y, points) for number, line in enumerate(lines))]
    label = f"{y_label} over {x_label}: {', '.join(line.name for line in lines)}"
    frame = f'x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}"'
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" tabindex="0" aria-label="{label}" data-lines="{data}">'
        '{axes}'
        '<svg {frame} viewBox="{left} {top} {iw} {ih}" preserveAspectRatio="none">{lines}</svg>'
        '<text class="label" x="{mid}" y="{bottom}" text-anchor="middle">{xl}</text>'
        '<text class="label" transform="translate(13 {vm}) rotate(-90)" text-anchor="middle">{yl}</text></svg>{legend}'
    ).format(
        w=WIDTH, h=HEIGHT, label=label, data=json.dumps(_values(lines, x)), frame=Markup(frame),
        left=LEFT, top=TOP, iw=WIDTH - LEFT - RIGHT, ih=HEIGHT - TOP - BOTTOM, lines=Markup("").join(parts[1:]),
        axes=parts[0], mid=(LEFT + WIDTH - RIGHT) / 2, bottom=HEIGHT - 6, xl=x_label, vm=(TOP + HEIGHT - BOTTOM) / 2,
        yl=y_label + (" (log)" if is_log else ""), legend=_legend(lines),
    )  # fmt: skip


def number_text(value: float) -> str:
    """Return a number with few digits.

    >>> [number_text(value) for value in (0.123456, 1234567, float("nan"), 2e-7, 5)]
    ['0.1235', '1,234,567', 'n/a', '2e-07', '5']
    """
    if math.isnan(value):
        return "n/a"
    return f"{value:,.0f}" if abs(value) >= 1e4 and not math.isinf(value) else f"{value:.4g}"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers in an interval.

    >>> ticks(0, 100)
    [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(step * factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= most)
    first = math.ceil(low / step - 1e-9)
    # Divided rather than multiplied where the step is a fraction, so that 0.3 is 0.3.
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers in an interval for a logarithmic scale.

    >>> log_ticks(0.04, 30)
    [0.1, 1.0, 10.0]
    >>> log_ticks(0.5, 3)
    [0.5, 1.0, 2.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    whole = [10.0**power for power in powers if low <= 10.0**power <= high]
    if len(whole) > 7:
        return whole[:: math.ceil(len(whole) / 7)]
    fine = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    return whole if len(whole) > 2 else [tick for tick in fine if low <= tick <= high]


def _finite(line: Line) -> Line:
    def clean(values: Values) -> Values:
        return np.where(np.abs(values) > _DIVERGED, np.nan, values)

    y = clean(np.asarray(line.y, np.float64))
    low, high = (None if band is None else clean(band) for band in (line.low, line.high))
    return attrs.evolve(line, x=np.asarray(line.x, np.float64), y=y, low=low, high=high)


def _range(known: Values, is_log: bool) -> tuple[float, float]:
    low, high = float(known.min()), float(known.max())
    if is_log:
        return low / 1.1, high * 1.1
    if low >= 0 and low < 0.6 * high:
        low = 0.0  # a scale that begins at 0, unless that leaves no detail
    margin = 0.05 * (high - low) or abs(high) * 0.1 or 1.0
    return (low if low == 0 and high > 0 else low - margin), high + margin


def _grid(x: _Scale, y: _Scale) -> Markup:
    parts = []
    for tick in log_ticks(y.low, y.high) if y.is_log else ticks(y.low, y.high):
        at = _px(y(np.array(tick)))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at}" dy="0.32em" text-anchor="end">{number_text(tick)}</text>')
    for tick in ticks(x.low, x.high):
        at = _px(x(np.array(tick)))
        text = f"{tick:,.0f}" if tick == int(tick) else ""
        parts.append(f'<text x="{at}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{text}</text>')
    ground = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{ground}" y2="{ground}"/>')
    return Markup("".join(parts))


def _draw(number: int, line: Line, x: _Scale, y: _Scale, points: bool) -> Markup:
    kind = f"s{number % COLORS}" + (" dashed" if number // COLORS % 2 else "")
    across, up = x(line.x), y(line.y)
    parts = [f'<g class="{kind}">']
    if line.low is not None and line.high is not None:
        known = ~(np.isnan(line.low) | np.isnan(line.high))
        # A value that no logarithm has is at the bottom.
        lowest = np.nan_to_num(y(np.maximum(line.low, y.low)), nan=y.begin)
        edge = [*zip(across[known], y(line.high)[known], strict=True)]
        edge += [*zip(across[known][::-1], lowest[known][::-1], strict=True)]
        parts.append(f'<polygon class="band" points="{_places(edge)}"/>')
    for piece in _pieces(up):
        places = list(zip(across[piece], up[piece], strict=True))
        if len(places) > 1:
            parts.append(f'<polyline points="{_places(places)}"/>')
        if points or len(places) == 1:
            parts += [f'<circle cx="{_px(a)}" cy="{_px(b)}" r="3"/>' for a, b in places]
    for at in np.flatnonzero(line.x == line.marked) if line.marked is not None else []:
        parts.append(f'<circle class="best" cx="{_px(across[at])}" cy="{_px(up[at])}" r="7"/>')
    return Markup("".join([*parts, "</g>"]))


def _pieces(values: Values) -> list[slice]:
    """Return the stretches without a gap."""
    ends = np.flatnonzero(np.diff(np.isfinite(values), prepend=False, append=False))
    return [slice(int(begin), int(end)) for begin, end in zip(ends[::2], ends[1::2], strict=True)]


def _legend(lines: Sequence[Line]) -> Markup:
    items = [
        Markup('<li class="s{}{}"><span class="key"></span>{}</li>').format(
            number % COLORS, " dashed" if number // COLORS % 2 else "", line.name
        )
        for number, line in enumerate(lines)
    ]
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))


def _values(lines: Sequence[Line], x: _Scale) -> list[dict[str, Any]]:
    """Return, for each line, its name, and the horizontal place, ``x`` and ``y`` of each value."""
    found = []
    for line in lines:
        known = ~np.isnan(line.y)
        across, middle = x(line.x)[known].round(1).tolist(), line.x[known].round().tolist()
        found.append({"name": line.name, "px": across, "x": middle, "y": [float(f"{y:.5g}") for y in line.y[known]]})
    return found


def _places(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_px(a)},{_px(b)}" for a, b in places)


def _px(value: float | Values) -> str:
    return f"{float(value):.1f}".removesuffix(".0")
