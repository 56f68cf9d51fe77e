"""The layers of the package and the imports between them.

The rows are the layers in ``tests/helpers/layers.py``; tests fail where an import points upwards. An arrow goes
from a box to each box that it imports, except where a way of other arrows leads there already.
"""

from __future__ import annotations

import math
from html import escape

from dacapo.utils.drawing import BLUE, GREEN
from tests.helpers.layers import LAYERS, imports

from .canvas import PALE, Canvas

WIDTH, ROW, BOX, GAP, MARGIN = 960, 84, 34, 6, 8
FONT, CHARACTER, PADDING = 12, 6.7, 10
# Boxes of the package experiments carry no prefix, but another color.
INNER = "experiments"
COLORS = {True: GREEN, False: BLUE}
ROOT_MODULES = {"dacapo", "dacapo.__main__"}


def layers() -> list[list[str]]:
    """Return the layers, lowest first."""
    return [[name for name in row if f"dacapo.{name}" not in ROOT_MODULES] for row in LAYERS]


def box_of(module: str, boxes: list[str]) -> str | None:
    """Return the box that a module belongs to: the longest name that it begins with."""
    fitting = [box for box in boxes if f"{module}.".startswith(f"dacapo.{box}.")]
    return max(fitting, key=len, default=None)


def arrows(rows: list[list[str]]) -> dict[str, set[str]]:
    """Return for each box the boxes that it imports."""
    boxes = [name for row in rows for name in row]
    level = {name: index for index, row in enumerate(rows) for name in row}
    edges: dict[str, set[str]] = {name: set() for name in boxes}
    for module, targets in imports().items():
        box = box_of(module, boxes)
        if box is None or module in ROOT_MODULES:
            continue
        for target in targets:
            other = box_of(target, boxes)
            if other is not None and other != box and level[other] <= level[box]:
                edges[box].add(other)
    return edges


def without_detours(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """Drop each arrow whose end is also reached through another arrow."""

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        stack = [start]
        while stack:
            for name in edges[stack.pop()] - found:
                found.add(name)
                stack.append(name)
        return found

    beyond = {name: reached(name) for name in edges}
    return {
        # Boxes of one row may import each other's modules in both directions; then neither stands for the other.
        name: {t for t in targets if not any(t in beyond[o] and o not in beyond[t] for o in targets)}
        for name, targets in edges.items()
    }


def picture(rows: list[list[str]], edges: dict[str, set[str]]) -> str:
    """Return the drawing."""
    places = _places(rows, edges)
    canvas = Canvas(round(MARGIN + len(rows) * ROW), "Layers of dacapo and what imports what", WIDTH)
    for index in range(1, len(rows), 2):
        canvas.rect((0, MARGIN / 2 + (len(rows) - 1 - index) * ROW), (WIDTH, ROW), "#f5f6f8")
    for name in places:
        for target in sorted(edges[name]):
            canvas.add(_arrow(name, target, places))
    for name, (x, y, width) in places.items():
        color = COLORS[name.split(".")[0] == INNER]
        canvas.add(f"<g><title>{escape(_tooltip(name, edges))}</title>")
        canvas.rect((x, y), (width, BOX), PALE[color], color, radius=5)
        canvas.text((x + width / 2, y + BOX / 2 + 4.5), _label(name), anchor="middle", size=FONT)
        canvas.add("</g>")
    return str(canvas)


def _places(rows: list[list[str]], edges: dict[str, set[str]]) -> dict[str, tuple[float, float, float]]:
    """Return left edge, top and width of each box; boxes are placed above their imports if possible.

    Raises:
        ValueError: If a row is wider than the drawing.
    """
    middle: dict[str, float] = {}
    places = {}
    for index, row in enumerate(rows):
        # The exact sum does not depend on the order of a set.
        wanted = {
            name: math.fsum(below) / len(below)
            if (below := [middle[t] for t in edges[name] if t in middle])
            else WIDTH / 2
            for name in row
        }
        order = sorted(row, key=lambda name: (wanted[name], name))
        widths = {name: len(_label(name)) * CHARACTER + PADDING for name in row}
        gap = min(60.0, max(GAP, (WIDTH - 2 * MARGIN - sum(widths.values())) / (len(row) + 1)))
        total = sum(widths.values()) + gap * (len(row) - 1)
        if total > WIDTH - 2 * MARGIN:
            raise ValueError(f"the boxes of {', '.join(row)} take {total:g} of {WIDTH} pixels; draw them narrower")
        center = math.fsum(wanted.values()) / len(row)
        x = min(max(MARGIN, center - total / 2), max(MARGIN, WIDTH - MARGIN - total))
        y = MARGIN / 2 + (len(rows) - 1 - index) * ROW + (ROW - BOX) / 2
        for name in order:
            places[name] = (round(x, 1), round(y, 1), round(widths[name], 1))
            middle[name] = x + widths[name] / 2
            x += widths[name] + gap
    return places


def _arrow(name: str, target: str, places: dict[str, tuple[float, float, float]]) -> str:
    (x, y, width), (tx, ty, twidth) = places[name], places[target]
    start, end = x + width / 2, tx + twidth / 2
    if y == ty:
        side = width / 4 if end > start else -width / 4
        start, end, dip = start + side, end - side * twidth / width, y + BOX + 22
        return (
            f'<path d="M{start:.1f} {y + BOX:.1f}C{start:.1f} {dip:.1f} {end:.1f} {dip:.1f} {end:.1f} '
            f'{y + BOX + 1:.1f}" fill="none" stroke="#8c8c8c" stroke-width="1.2" stroke-dasharray="4 3" '
            'marker-end="url(#head)"/>'
        )
    # Ends are spread a little over the edge of the box, so that arrows from different sides can be told apart.
    end += max(-0.35, min(0.35, (start - end) / WIDTH)) * twidth
    below, above = y + BOX, ty - 1
    bend = min(60.0, (above - below) / 2)
    return (
        f'<path d="M{start:.1f} {below:.1f}C{start:.1f} {below + bend:.1f} {end:.1f} {above - bend:.1f} '
        f'{end:.1f} {above:.1f}" fill="none" stroke="#8c8c8c" stroke-width="1.2" marker-end="url(#head)"/>'
    )


def _label(name: str) -> str:
    return f"{INNER} (the rest)" if name == INNER else name.removeprefix(f"{INNER}.")


def _tooltip(name: str, edges: dict[str, set[str]]) -> str:
    return f"dacapo.{name}" + (f" imports {', '.join(sorted(edges[name]))}" if edges[name] else "")


def draw() -> str:
    """Return the drawing of the package as it is now."""
    rows = layers()
    return picture(rows, without_detours(arrows(rows)))
