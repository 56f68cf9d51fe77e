"""What the drawings have in common: one style, and the elements of an SVG file.

Drawings have a white background, so that they look the same on light and dark pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from dacapo.utils.drawing import BLUE, GRAY, GREEN, INK, ORANGE
from dacapo.utils.label_colors import label_colors

WIDTH = 760
"""Width of the text of a page, in pixels."""

# Fill and outline of boxes.
PALE = {BLUE: "#e3eefa", GREEN: "#e4f3ec", ORANGE: "#fdf1dc", GRAY: "#f5f6f8"}
FAINT = "#e1e4e8"
MUTED = "#57606a"

Point = tuple[float, float]


class Canvas:
    """An SVG file in the making. Lengths are in pixels, y grows downwards, and later elements cover earlier ones."""

    def __init__(self, height: float, label: str, width: float = WIDTH) -> None:
        self._lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" font-family="sans-serif" '
            f'font-size="13" role="img" aria-label="{escape(label)}">',
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" fill="{GRAY}"/></marker></defs>',
            f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>',
        ]

    def __str__(self) -> str:
        return "\n".join([*self._lines, "</svg>", ""])

    def add(self, element: str) -> None:
        """Add an element of SVG."""
        self._lines.append(element)

    def rect(
        self,
        corner: Point,
        size: Point,
        fill: str = "none",
        stroke: str = "none",
        *,
        thick: float = 1,
        dashed: bool = False,
        radius: float = 0,
    ) -> None:
        """Draw a rectangle from its upper left corner."""
        dashes = ' stroke-dasharray="5 3"' if dashed else ""
        round_ = f' rx="{radius:g}"' if radius else ""
        self.add(
            f'<rect x="{corner[0]:g}" y="{corner[1]:g}" width="{size[0]:g}" height="{size[1]:g}"{round_} fill="{fill}" '
            f'stroke="{stroke}" stroke-width="{thick:g}"{dashes}/>'
        )

    def text(
        self,
        place: Point,
        text: str,
        *,
        anchor: str = "start",
        size: float = 13,
        color: str = INK,
        bold: bool = False,
        code: bool = False,
        turned: bool = False,
    ) -> None:
        """Write a line of text, whose baseline begins, or has its ``anchor``, at a place."""
        style = (' font-weight="bold"' if bold else "") + (' font-family="monospace"' if code else "")
        turn = f' transform="rotate(-90 {place[0]:g} {place[1]:g})"' if turned else ""
        self.add(
            f'<text x="{place[0]:g}" y="{place[1]:g}" text-anchor="{anchor}" font-size="{size:g}" '
            f'fill="{color}"{style}{turn}>{escape(text)}</text>'
        )

    def box(self, corner: Point, size: Point, title: str, lines: Sequence[str] = (), color: str = BLUE) -> None:
        """Draw a box with a title and lines of smaller text, centered."""
        self.rect(corner, size, PALE[color], color, radius=5)
        middle = corner[0] + size[0] / 2
        baseline = corner[1] + size[1] / 2 + 4.5 - 8 * len(lines)
        self.text((middle, baseline), title, anchor="middle", bold=bool(lines))
        for number, line in enumerate(lines, start=1):
            self.text((middle, baseline + 16 * number), line, anchor="middle", size=11.5, color=MUTED)

    def path(
        self,
        points: Sequence[Point],
        color: str = GRAY,
        *,
        thick: float = 1.2,
        dashed: bool = False,
        heads: str = "end",
    ) -> None:
        """Draw straight lines from point to point, with arrowheads at the "end", at "both" ends, or "none"."""
        way = "L".join(f"{x:g} {y:g}" for x, y in points)
        dashes = ' stroke-dasharray="4 3"' if dashed else ""
        marks = {"end": ' marker-end="url(#head)"', "both": ' marker-start="url(#head)" marker-end="url(#head)"'}
        self.add(
            f'<path d="M{way}" fill="none" stroke="{color}" stroke-width="{thick:g}"{dashes}{marks.get(heads, "")}/>'
        )

    def grid(self, corner: Point, count: tuple[int, int], step: float, color: str) -> None:
        """Draw the lines of a grid with a number of columns and rows."""
        (x, y), (columns, rows) = corner, count
        across = "".join(f"M{x:g} {y + step * row:g}h{step * columns:g}" for row in range(rows + 1))
        down = "".join(f"M{x + step * column:g} {y:g}v{step * rows:g}" for column in range(columns + 1))
        self.add(f'<path d="{across}{down}" fill="none" stroke="{color}" stroke-width="0.8"/>')

    def pixels(self, corner: Point, colors: npt.NDArray[np.str_], step: float) -> None:
        """Draw an image of color names with pixels of a size, and an outline."""
        for color in np.unique(colors):
            runs = "".join(
                f"M{corner[0] + step * start:g} {corner[1] + step * row:g}h{step * (end - start):g}v{step:g}"
                f"h{step * (start - end):g}z"
                for row, line in enumerate(colors == color)
                for start, end in zip(*_runs(line), strict=True)
            )
            self.add(f'<path d="{runs}" fill="{color}" shape-rendering="crispEdges"/>')
        rows, columns = colors.shape
        self.rect(corner, (step * columns, step * rows), stroke=GRAY)


def _runs(line: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return where runs of true values start and end."""
    changes = np.flatnonzero(np.diff(line, prepend=False, append=False))
    return changes[::2], changes[1::2]


def grays(values: npt.NDArray[np.floating]) -> npt.NDArray[np.str_]:
    """Return gray colors of values from 0, black, to 1, white, in 16 levels."""
    return _names(np.repeat(np.rint(np.clip(values, 0, 1) * 15)[..., np.newaxis] * 17, 3, axis=-1))


def object_colors(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.str_]:
    """Return the colors of labels, as in pictures of dacapo."""
    return _names(np.rint(label_colors(labels) * 255))


def _names(colors: npt.NDArray[np.floating]) -> npt.NDArray[np.str_]:
    flat = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in colors.reshape(-1, 3).astype(int)]
    return np.array(flat).reshape(colors.shape[:-1])
