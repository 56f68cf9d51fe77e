"""Tables as HTML for notebooks. All text is escaped; colors are those of the page, whether it is light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_TABLE = "border-collapse:collapse;font-size:90%"
_CELL = "text-align:left;vertical-align:top;padding:2px 10px 2px 0"


def html_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]], note: str = "") -> str:
    """Return a table with a title above it and, if any, a note below it.

    >>> html_table("a < b", [], [["x", 1]])
    '<div><strong>a &lt; b</strong><table style="border-collapse:collapse;font-size:90%"><tbody><tr>\
<td style="text-align:left;vertical-align:top;padding:2px 10px 2px 0">x</td>\
<td style="text-align:left;vertical-align:top;padding:2px 10px 2px 0">1</td></tr></tbody></table></div>'
    """
    head = f"<thead>{_row(header, 'th')}</thead>" if header else ""
    body = "".join(_row(row, "td") for row in rows)
    below = f"<small>{escape(note)}</small>" if note else ""
    return (
        f'<div><strong>{escape(title)}</strong><table style="{_TABLE}">{head}<tbody>{body}</tbody></table>{below}</div>'
    )


def _row(cells: Sequence[object], tag: str) -> str:
    return "<tr>" + "".join(f'<{tag} style="{_CELL}">{escape(str(cell))}</{tag}>' for cell in cells) + "</tr>"
